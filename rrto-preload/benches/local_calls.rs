//! What a call costs that is answered in the client, from the exported C symbol on: at most 100 ns each.

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::hint::black_box;
use std::ptr;

use criterion::{Criterion, criterion_group, criterion_main};
use rrto_core::api::Function;
use rrto_core::wire::{ATTRIBUTE_SLOTS, DeviceInfo};

/// The address that a program gets for a function.
fn address(symbol: &str) -> *const c_void {
    let function = Function::from_symbol(symbol).expect("a row of the table");
    rrto_preload::entry::address(function)
}

/// A function of the driver by its C prototype.
macro_rules! driver {
    ($name:ident($($argument:ty),* $(,)?)) => {
        // SAFETY: the prototype is cuda.h's for this function.
        let $name = unsafe {
            std::mem::transmute::<*const c_void, unsafe extern "C" fn($($argument),*) -> c_uint>(address(
                stringify!($name),
            ))
        };
    };
}

#[allow(non_snake_case, reason = "functions have the names that libcuda exports")]
fn local_calls(criterion: &mut Criterion) {
    let attributes = vec![Some(1); ATTRIBUTE_SLOTS];
    rrto_preload::runtime::start_without_server(DeviceInfo { attributes, ..DeviceInfo::default() });
    driver!(cuDevicePrimaryCtxRetain(*mut *mut c_void, c_int));
    driver!(cuCtxSetCurrent(*mut c_void));
    driver!(cuCtxGetCurrent(*mut *mut c_void));
    driver!(cuCtxGetDevice(*mut c_int));
    driver!(cuCtxGetDevice_v2(*mut c_int, *mut c_void));
    driver!(cuDevicePrimaryCtxGetState(c_int, *mut c_uint, *mut c_int));
    driver!(cuDeviceGetAttribute(*mut c_int, c_int, c_int));
    driver!(cuStreamIsCapturing(*mut c_void, *mut c_uint));
    driver!(cuModuleLoadData(*mut *mut c_void, *const c_void));
    driver!(cuModuleGetFunction(*mut *mut c_void, *mut c_void, *const c_char));
    driver!(
        cuLaunchKernel(
            *mut c_void,
            c_uint,
            c_uint,
            c_uint,
            c_uint,
            c_uint,
            c_uint,
            c_uint,
            *mut c_void,
            *mut *mut c_void,
            *mut *mut c_void,
        )
    );
    driver!(cuKernelGetAttribute(*mut c_int, c_int, *mut c_void, c_int));

    let (mut context, mut module, mut kernel) = (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
    // SAFETY: here and below, the arguments are what each prototype asks for.
    let started = unsafe {
        [
            cuDevicePrimaryCtxRetain(&mut context, 0),
            cuCtxSetCurrent(context),
            cuModuleLoadData(&mut module, c".version 8.0".as_ptr().cast()),
            cuModuleGetFunction(&mut kernel, module, c"kernel".as_ptr()),
        ]
    };
    assert_eq!(started, [0; 4]);
    let (mut int, mut unsigned) = (0, 0);
    let mut bench = |name: &str, call: &mut dyn FnMut() -> c_uint| {
        assert_eq!(call(), 0, "{name}");
        criterion.bench_function(name, |bencher| bencher.iter(|| black_box(call())));
    };
    // SAFETY: as above.
    unsafe {
        bench("cuCtxGetDevice", &mut || cuCtxGetDevice(&mut int));
        bench("cuCtxGetDevice_v2", &mut || cuCtxGetDevice_v2(&mut int, ptr::null_mut()));
        bench("cuCtxGetCurrent", &mut || cuCtxGetCurrent(&mut context));
        bench("cuDevicePrimaryCtxGetState", &mut || cuDevicePrimaryCtxGetState(0, &mut unsigned, &mut int));
        bench("cuDeviceGetAttribute", &mut || cuDeviceGetAttribute(&mut int, 16, 0));
        bench("cuStreamIsCapturing", &mut || cuStreamIsCapturing(ptr::null_mut(), &mut unsigned));
        bench("cuKernelGetAttribute", &mut || cuKernelGetAttribute(&mut int, 0, kernel, 0));
        // Not local, but all of it that happens before the engine.
        let nothing: *mut *mut c_void = ptr::null_mut();
        bench("cuLaunchKernel, to the engine", &mut || {
            cuLaunchKernel(kernel, 1, 1, 1, 1, 1, 1, 0, nothing.cast(), nothing, nothing)
        });
    }
}

criterion_group!(benches, local_calls);
criterion_main!(benches);
