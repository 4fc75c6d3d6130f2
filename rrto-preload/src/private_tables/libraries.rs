//! Functions of tables that CUDA libraries ask for, not cudart.
//!
//! cuBLASLt asks TPC_PLACES where the multiprocessors are, to plan launches of clusters, and gets two arrays that it
//! has freed again at once. cuFFT asks MODULE_FUNCTIONS for the one kernel of each module that it has loaded.

use std::{
    ffi::{c_char, c_int, c_void},
    ptr,
};

use rrto_core::{api::CuResult, operator::TpcPlace};

use super::source;
use crate::boundary::{guard, outside};

/// Writes two arrays with a byte for each TPC: the number of its GPC, and its own number there. Nothing says how long
/// they are, and both are as long again in zeroes, so that a caller who counts multiprocessors finds memory too.
pub(super) unsafe extern "C" fn make_places(gpcs: *mut *mut u8, indices: *mut *mut u8) -> u32 {
    guard(|| {
        if gpcs.is_null() || indices.is_null() {
            return CuResult::INVALID_VALUE;
        }
        let places = match source().and_then(|source| (source.tpc_places)()) {
            Ok(places) => places,
            Err(error) => return error,
        };
        let arrays = [array(&places, |place| place.gpc), array(&places, |place| place.index)];
        if arrays.iter().any(|array| array.is_null()) {
            for array in arrays {
                // SAFETY: it is malloc's, or null.
                unsafe { libc::free(array.cast()) };
            }
            return CuResult::OUT_OF_MEMORY;
        }
        // SAFETY: the caller passes two places for an address; neither is null.
        unsafe {
            gpcs.write(arrays[0]);
            indices.write(arrays[1]);
        }
        CuResult::SUCCESS
    })
}

/// An array of malloc's, as the driver's is; null where there is no memory.
fn array(places: &[TpcPlace], part: fn(&TpcPlace) -> u8) -> *mut u8 {
    // SAFETY: it has no preconditions.
    let array = unsafe { libc::calloc(places.len().max(1), 2) }.cast::<u8>();
    if !array.is_null() {
        let bytes: Vec<u8> = places.iter().map(part).collect();
        // SAFETY: the array has room for twice as many bytes, and nobody else knows of it yet.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), array, bytes.len()) };
    }
    array
}

/// Frees both arrays.
pub(super) unsafe extern "C" fn free_places(gpcs: *mut u8, indices: *mut u8) -> u32 {
    guard(|| {
        // SAFETY: the caller passes arrays of `make_places`, which are malloc's, and does not use them again; or null.
        unsafe {
            libc::free(gpcs.cast());
            libc::free(indices.cast());
        }
        CuResult::SUCCESS
    })
}

/// What a caller wants done with each function: given its own pointer, the function, and the function's name.
type EachFunction = unsafe extern "C" fn(*mut c_void, *mut c_void, *const c_char) -> c_int;

/// Calls back for each function of a module, with the handle that cuModuleGetFunction gives. Answers how many there
/// are: 0 also on an error, which cuFFT makes an error of its own of.
pub(super) unsafe extern "C" fn each_function(
    _context: *mut c_void,
    module: *mut c_void,
    callback: Option<EachFunction>,
    user: *mut c_void,
) -> u32 {
    let mut count = 0;
    guard(|| {
        let functions = source().and_then(|source| (source.module_functions)(module.addr()));
        let (Some(callback), Ok(functions)) = (callback, functions) else { return CuResult::INVALID_VALUE };
        for (function, name) in functions {
            let function = ptr::with_exposed_provenance_mut(function);
            // SAFETY: the caller's own function with the caller's own pointer; the name ends in a zero. No lock is
            // held.
            outside(|| unsafe { callback(user, function, name.as_ptr()) });
            count += 1;
        }
        CuResult::SUCCESS
    });
    count
}
