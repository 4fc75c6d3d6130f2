//! The driver itself: start, version, errors, entry points.

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_void};
use std::ptr;

use rrto_core::api::{CuResult, Function};

use super::{address, check, exports};
use crate::boundary::guard_constant;
use crate::calls;
use crate::marshal::{In, Out, Text};
use crate::private_tables;
use crate::proc_address::get_proc_address;
use crate::runtime;

exports! {
    fn cuInit(flags: u32) {
        check(flags == 0)?;
        runtime::start()
    }

    fn cuDriverGetVersion(version: Out<i32>) {
        version.set(runtime::DRIVER_VERSION)
    }

    fn cuGetExportTable(table: Out<*const c_void>, id: In<[u8; 16]>) {
        private_tables::set_source(&runtime::TABLES);
        table.require()?;
        let found = private_tables::find(&id.get()?);
        // A table that there is not is null, as with the driver.
        table.set(found.unwrap_or(ptr::null()))?;
        found.map(|_| ())
    }

    // Profilers attach to the real driver. A program that only marks its interesting part goes on.
    fn cuProfilerStart() {
        runtime::call().map(|_| ())
    }

    fn cuProfilerStop() {
        runtime::call().map(|_| ())
    }

    fn cuThreadExchangeStreamCaptureMode(mode: Out<u32>) {
        // CU_STREAM_CAPTURE_MODE_GLOBAL, THREAD_LOCAL and RELAXED. Nothing captures, so none is in effect.
        thread_local! { static MODE: Cell<u32> = const { Cell::new(0) }; }
        runtime::client()?;
        // The driver takes any number.
        let new = mode.get()?;
        mode.set(MODE.replace(new))
    }
}

// These answer from constants, even where nothing else works: in a forked child, before cuInit, at the end.

#[inline]
fn constant(function: Function, answer: impl FnOnce() -> CuResult) -> u32 {
    guard_constant(|| {
        calls::begin(function);
        answer()
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuGetErrorName(error: u32, name: Out<*const c_char>) -> u32 {
    constant(Function::cuGetErrorName, || describe(CuResult(error).c_name(), &name))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuGetErrorString(error: u32, text: Out<*const c_char>) -> u32 {
    constant(Function::cuGetErrorString, || describe(CuResult(error).c_description(), &text))
}

fn describe(text: Option<&'static std::ffi::CStr>, to: &Out<*const c_char>) -> CuResult {
    let known = text.map_or(ptr::null(), std::ffi::CStr::as_ptr);
    match to.set(known) {
        Ok(()) if known.is_null() => CuResult::INVALID_VALUE,
        Ok(()) => CuResult::SUCCESS,
        Err(error) => error,
    }
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuGetProcAddress(
    symbol: Text,
    function: Out<*mut c_void>,
    version: c_int,
    flags: u64,
) -> u32 {
    cuGetProcAddress_v2(symbol, function, version, flags, Out::unwanted())
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuGetProcAddress_v2(
    symbol: Text,
    function: Out<*mut c_void>,
    version: c_int,
    flags: u64,
    status: Out<c_int>,
) -> u32 {
    constant(Function::cuGetProcAddress_v2, || {
        // SAFETY: the three are a C caller's pointers, bound by cuGetProcAddress's contract, which is the callee's.
        unsafe {
            get_proc_address(symbol.as_ptr(), function.as_ptr(), version, flags, status.as_ptr(), address)
        }
    })
}
