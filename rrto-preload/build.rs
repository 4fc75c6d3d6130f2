//! Makes the cdylib the driver library that the dynamic linker looks for.

fn main() {
    // A preloaded library with this SONAME is what `dlopen("libcuda.so.1")` returns, whatever its file is called.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libcuda.so.1");
    println!("cargo:rerun-if-changed=build.rs");
}
