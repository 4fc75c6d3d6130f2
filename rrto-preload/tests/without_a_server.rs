//! What a CUDA program sees where no server is configured: through the C interface, in a process of its own.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::ptr;

use rrto_core::api::{Class, Function};
use rrto_preload::entry::address;

/// The functions under test, by their C prototypes.
macro_rules! driver {
    ($(fn $name:ident($($argument:ident: $type:ty),*);)*) => { $(
        pub(super) fn $name($($argument: $type),*) -> c_uint {
            let function = address(Function::$name);
            // SAFETY: the prototype is cuda.h's, and the tests pass what it asks for.
            unsafe {
                let function = std::mem::transmute::<*const c_void, extern "C" fn($($type),*) -> c_uint>(function);
                function($($argument),*)
            }
        }
    )* };
}

#[allow(non_snake_case, reason = "functions have the names that libcuda exports")]
mod c {
    use super::*;

    driver! {
        fn cuInit(flags: c_uint);
        fn cuDriverGetVersion(version: *mut c_int);
        fn cuDeviceGetCount(count: *mut c_int);
        fn cuMemAlloc_v2(address: *mut u64, bytes: usize);
        fn cuCtxGetCurrent(context: *mut *mut c_void);
        fn cuGetErrorName(error: c_uint, name: *mut *const c_char);
        fn cuGetErrorString(error: c_uint, text: *mut *const c_char);
        fn cuGraphCreate(graph: *mut *mut c_void, flags: c_uint);
        fn cuGetProcAddress_v2(
            symbol: *const c_char, function: *mut *mut c_void, version: c_int, flags: u64, status: *mut c_int
        );
    }
}

#[test]
fn there_is_no_device_and_no_crash() {
    let (mut number, mut context, mut memory) = (-1, ptr::null_mut(), 0);
    assert_eq!((c::cuDriverGetVersion(&mut number), number), (0, 13000));
    assert_eq!(c::cuDriverGetVersion(ptr::null_mut()), 1);
    for _ in 0..2 {
        assert_eq!(c::cuDeviceGetCount(&mut number), 3, "not initialised");
        assert_eq!(c::cuMemAlloc_v2(&mut memory, 16), 3);
        assert_eq!(c::cuCtxGetCurrent(&mut context), 3);
        assert_eq!(c::cuInit(1), 1);
        assert_eq!(c::cuInit(0), 100, "no device");
    }
    assert_eq!(c::cuGraphCreate(&mut context, 0), 801, "not supported");
}

#[test]
fn errors_have_names() {
    let mut text = ptr::null();
    let said = |text: *const c_char| {
        // SAFETY: the driver's texts are static and zero-terminated.
        unsafe { CStr::from_ptr(text) }
    };
    assert_eq!((c::cuGetErrorName(500, &mut text), said(text)), (0, c"CUDA_ERROR_NOT_FOUND"));
    assert_eq!((c::cuGetErrorString(1, &mut text), said(text)), (0, c"invalid argument"));
    assert_eq!((c::cuGetErrorName(12345, &mut text), text.is_null()), (1, true));
    assert_eq!(c::cuGetErrorName(1, ptr::null_mut()), 1);
}

#[test]
fn every_function_has_an_address_of_its_own() {
    let offered = Function::ALL.iter().filter(|function| function.class() != Class::Unsupported);
    let mut addresses: Vec<_> = offered.map(|function| (address(*function), *function)).collect();
    assert!(addresses.iter().all(|(address, _)| !address.is_null()));
    addresses.sort();
    for pair in addresses.windows(2) {
        // The two forms of one function may be one function; the linker folds them.
        assert!(pair[0].0 != pair[1].0 || pair[0].1.base() == pair[1].1.base(), "{pair:?}");
    }
}

#[test]
fn a_found_function_is_the_exported_one() {
    let (mut function, mut status) = (ptr::null_mut(), -1);
    let found = c::cuGetProcAddress_v2(c"cuMemAlloc".as_ptr(), &mut function, 13000, 0, &mut status);
    assert_eq!((found, status, function.cast_const()), (0, 0, address(Function::cuMemAlloc_v2)));
}
