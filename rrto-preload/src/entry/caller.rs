//! Which library calls.

use std::ffi::{CStr, OsStr, c_int, c_void};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use libc::Dl_info;

/// Where the unwinder is (`struct _Unwind_Context`).
#[repr(C)]
struct UnwindContext {
    _opaque: [u8; 0],
}

/// `_URC_NO_REASON`: on to the next frame.
const GO_ON: c_int = 0;
/// `_URC_NORMAL_STOP`: enough.
const ENOUGH: c_int = 4;

// The unwinder of the C++ ABI (Itanium C++ ABI, 1.6), which is in every process that has Rust's panics, so in this library.
unsafe extern "C" {
    fn _Unwind_Backtrace(
        visit: extern "C" fn(*mut UnwindContext, *mut c_void) -> c_int,
        argument: *mut c_void,
    ) -> c_int;
    fn _Unwind_GetIP(context: *mut UnwindContext) -> usize;
}

/// More frames than this library has on the way to a caller.
const FRAMES_MAX: usize = 64;

struct Walk {
    own: *mut c_void,
    left: usize,
    found: Option<Dl_info>,
}

/// Whether the file that the calling code came from has a name that begins with `name`: the library that calls an exported
/// function, with the copy of the CUDA runtime that is linked into it. False where it cannot be told.
///
/// Takes microseconds; not for calls that repeat.
#[inline(never)]
pub(super) fn is(name: &str) -> bool {
    let Some(own) = object_of(is as fn(&str) -> bool as usize) else { return false };
    let mut walk = Walk { own: own.dli_fbase, left: FRAMES_MAX, found: None };
    // SAFETY: `visit` gets this `walk`, which nothing else uses until the unwinder returns, and does not unwind.
    unsafe { _Unwind_Backtrace(visit, (&raw mut walk).cast()) };
    walk.found.as_ref().and_then(file_name).is_some_and(|file| file.starts_with(name.as_bytes()))
}

extern "C" fn visit(context: *mut UnwindContext, walk: *mut c_void) -> c_int {
    // SAFETY: `is` passes its own walk, and the unwinder calls back on the same thread before it returns.
    let walk = unsafe { &mut *walk.cast::<Walk>() };
    // SAFETY: the unwinder's own context, within its callback.
    let at = unsafe { _Unwind_GetIP(context) };
    match object_of(at) {
        Some(object) if object.dli_fbase == walk.own && walk.left > 0 => {
            walk.left -= 1;
            GO_ON
        }
        found => {
            walk.found = found;
            ENOUGH
        }
    }
}

/// The loaded file that an address is in.
fn object_of(address: usize) -> Option<Dl_info> {
    let mut object = MaybeUninit::<Dl_info>::uninit();
    // SAFETY: dladdr takes any address and writes the structure if it answers anything but 0.
    let found = unsafe { libc::dladdr(address as *const c_void, object.as_mut_ptr()) };
    // SAFETY: written, as said.
    (found != 0).then(|| unsafe { object.assume_init() })
}

fn file_name(object: &Dl_info) -> Option<&[u8]> {
    if object.dli_fname.is_null() {
        return None;
    }
    // SAFETY: the dynamic linker's zero-terminated name of a loaded file, which stays while the file does; the code in it
    // is in the middle of a call.
    let path = unsafe { CStr::from_ptr(object.dli_fname) };
    Path::new(OsStr::from_bytes(path.to_bytes())).file_name().map(OsStrExt::as_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_has_the_name_of_its_file() {
        // In a test all code is of one file; who calls that is the C library, whose thread this is.
        assert!(is("libc.") || is("libpthread"), "the thread began in the C library");
        assert!(!is("libcublas"));
    }
}
