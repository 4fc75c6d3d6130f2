//! cuGetProcAddress: how cudart and everything built on it finds the driver's functions.
//!
//! Which function a name means is the table's knowledge ([`Function::resolve`]); where that function is, the
//! entry room's. Functions that are not offered are found too: they exist, and say CUDA_ERROR_NOT_SUPPORTED
//! when they are called, because a program may look up what it then never uses.

use std::{
    ffi::{c_char, c_int, c_void},
    ptr,
};

use rrto_core::api::{CuResult, Function, ResolveError, resolve_flags};

use crate::log;

/// A `CUdriverProcAddressQueryResult`: what cuGetProcAddress_v2 says of a name beside its result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i32)]
pub enum SymbolStatus {
    /// CU_GET_PROC_ADDRESS_SUCCESS.
    Success = 0,
    /// CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND.
    NotFound = 1,
    /// CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT: there is such a function, newer than the version asked
    /// for.
    VersionNotSufficient = 2,
}

/// Every flag that cuGetProcAddress accepts.
const FLAGS: u64 = resolve_flags::LEGACY_STREAM | resolve_flags::PER_THREAD_DEFAULT_STREAM;

/// A longer name is no function's; the longest is about 60 bytes. Bounds the search for its end.
const NAME_MAX_BYTES: usize = 128;

/// cuGetProcAddress_v2, and cuGetProcAddress with a null `status`.
///
/// `address` tells where a function is; null where it is nowhere, which counts as not found.
///
/// # Safety
/// `symbol` must be null or point to a zero-terminated string, `function` null or to a writable pointer,
/// `status` null or to a writable `int`; what cuGetProcAddress demands of its caller.
pub unsafe fn get_proc_address(
    symbol: *const c_char,
    function: *mut *mut c_void,
    version: c_int,
    flags: u64,
    status: *mut c_int,
    address: impl Fn(Function) -> *const c_void,
) -> CuResult {
    if symbol.is_null() || function.is_null() {
        return CuResult::INVALID_VALUE;
    }
    // SAFETY: not null, and a zero-terminated string by this function's contract.
    let name = unsafe { read_name(symbol) };
    let (Ok(version), true) = (u32::try_from(version), flags & !FLAGS == 0 && flags != FLAGS) else {
        return CuResult::INVALID_VALUE;
    };

    let (found, said) = find(name, version, flags, address);
    // SAFETY: not null, and writable by this function's contract.
    unsafe { function.write(found.cast_mut()) };
    if !status.is_null() {
        // SAFETY: not null, and writable by this function's contract.
        unsafe { status.write(said as c_int) };
    }
    // Who asks for the status is told by it alone.
    if said == SymbolStatus::Success || !status.is_null() { CuResult::SUCCESS } else { CuResult::NOT_FOUND }
}

/// Where the function is that a name means; null, and why, where there is none.
fn find(
    name: Option<&str>,
    version: u32,
    flags: u64,
    address: impl Fn(Function) -> *const c_void,
) -> (*const c_void, SymbolStatus) {
    let resolved =
        name.ok_or(ResolveError::NotFound).and_then(|name| Function::resolve(name, version, flags));
    let (found, said) = match resolved.map(address) {
        Ok(found) if !found.is_null() => (found, SymbolStatus::Success),
        Ok(_) | Err(ResolveError::NotFound) => (ptr::null(), SymbolStatus::NotFound),
        Err(ResolveError::VersionTooLow) => (ptr::null(), SymbolStatus::VersionNotSufficient),
    };
    log::debug!("cuGetProcAddress({}, {version}, {flags}): {said:?}", name.unwrap_or("?"));
    (found, said)
}

/// The name; `None` where it is none that a function could have.
///
/// # Safety
/// `symbol` must point to a zero-terminated string that stays unchanged for as long as the name is used.
unsafe fn read_name<'a>(symbol: *const c_char) -> Option<&'a str> {
    // SAFETY: strnlen reads no further than the string's zero byte, and those bytes are the slice's.
    let bytes = unsafe {
        let length = libc::strnlen(symbol, NAME_MAX_BYTES);
        std::slice::from_raw_parts(symbol.cast::<u8>(), length)
    };
    if bytes.len() == NAME_MAX_BYTES {
        return None;
    }
    std::str::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests;
