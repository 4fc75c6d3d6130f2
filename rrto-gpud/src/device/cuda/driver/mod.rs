//! The raw driver: the only place that calls it, one method a function.
//!
//! A method takes and gives handles as types that only this room can make and that are not `Copy`: destroying an
//! object consumes its handle, so a handle that exists is one that the driver knows. What the types cannot say, and
//! the callers keep:
//!
//! - the context that an object belongs to is current ([`Context::make_current`]); the driver answers
//!   `CUDA_ERROR_INVALID_CONTEXT` or `INVALID_HANDLE` otherwise, which is an error but not undefined;
//! - a [`Function`] is dropped no later than the module or library that it was found in;
//! - nothing of a context outlives the context.
//!
//! Device addresses and sizes are numbers for the driver to check. Whether a *session* may name an address is decided
//! before this room is entered, in `memory`: see there why that must be.
//!
//! This room must never know of operators, sessions or limits.

mod device;
mod functions;
mod graph;
mod launch;
mod memory;
mod module;
mod stream;
mod tensor_map;
mod tpc;

use std::ffi::{c_int, c_uint};
use std::sync::OnceLock;

use cudarc::driver::sys;
use rrto_core::api::CuResult;

use crate::device::DeviceError;
use functions::Functions;

pub(super) use device::{Context, DeviceId};
pub(super) use graph::{Executable, Node};
pub(super) use launch::RawAttribute;
pub(super) use memory::{Element, Fill};
pub(super) use module::{Function, Library, Module};
pub(super) use stream::{Event, Stream};
pub(super) use tensor_map::Im2col;

/// What a driver function answers.
pub(super) type Answer<T> = Result<T, CuResult>;

/// The oldest driver that is supported: it has libraries and kernels without contexts, cluster launches and tensor
/// maps.
const OLDEST_VERSION: c_int = 12_000;

/// What our own preload library exports so that it is recognised.
const PRELOAD_MARKER: &[u8] = b"rrto_preload_marker\0";

/// NVIDIA's driver library, opened.
pub(super) struct Driver {
    functions: Functions,
    version: c_int,
}

impl Driver {
    /// The driver of this machine, opened and initialised at the first call.
    ///
    /// # Errors
    /// There is none, it is too old, it does not start, or what was found is our own preload library.
    pub(super) fn get() -> Result<&'static Driver, DeviceError> {
        static DRIVER: OnceLock<Result<Driver, String>> = OnceLock::new();
        DRIVER.get_or_init(Driver::open).as_ref().map_err(|why| DeviceError(why.clone()))
    }

    /// What `cuDriverGetVersion` answers, such as 13000.
    pub(super) fn version(&self) -> i32 {
        self.version
    }

    fn open() -> Result<Driver, String> {
        refuse_preload()?;
        // SAFETY: opens the library under its well-known names, which runs its constructors; NVIDIA's driver is made
        // to be opened so.
        if !unsafe { sys::is_culib_present() } {
            return Err(
                "no CUDA driver on this machine: libcuda.so.1 cannot be opened (it comes with NVIDIA's \
                        display driver; in a container, with the NVIDIA container toolkit)"
                    .into(),
            );
        }
        refuse_opened_preload()?;
        // SAFETY: the library is there, and is not ours.
        let functions = unsafe { Functions::load() }.map_err(|name| {
            format!("the CUDA driver has no function {name}: a driver for CUDA 12.0 or newer is needed")
        })?;
        // SAFETY: the flags must be 0.
        check(unsafe { (functions.cuInit)(0) })
            .map_err(|e| format!("the CUDA driver does not start: {e}"))?;
        let version = out(0, |version| {
            // SAFETY: writes one int.
            unsafe { (functions.cuDriverGetVersion)(version) }
        })
        .map_err(|e| format!("the CUDA driver does not tell its version: {e}"))?;
        if version < OLDEST_VERSION {
            return Err(format!(
                "the CUDA driver is for CUDA {version}, {OLDEST_VERSION} or newer is needed"
            ));
        }
        Ok(Driver { functions, version })
    }
}

const OWN_LIBRARY: &str = "the libcuda.so.1 found here is RRTO's preload library, not NVIDIA's driver: start \
                           rrto-gpud without LD_PRELOAD and without RRTO's library on LD_LIBRARY_PATH";

/// Refuses to start inside our own preload library: the server would become its own client.
fn refuse_preload() -> Result<(), String> {
    // SAFETY: the name ends in a zero, and the address is only compared.
    let marker = unsafe { libc::dlsym(libc::RTLD_DEFAULT, PRELOAD_MARKER.as_ptr().cast()) };
    if marker.is_null() { Ok(()) } else { Err(OWN_LIBRARY.into()) }
}

/// Refuses our own preload library found as the driver. To be called once `sys::is_culib_present()` has said yes.
fn refuse_opened_preload() -> Result<(), String> {
    // SAFETY: `culib` does not panic where `is_culib_present` said yes; the symbol is taken as an untyped address,
    // which is never used.
    let ours = unsafe { sys::culib().get::<*const ()>(PRELOAD_MARKER).is_ok() };
    if ours { Err(OWN_LIBRARY.into()) } else { Ok(()) }
}

/// A `CUresult` as a result.
fn check(result: c_uint) -> Answer<()> {
    CuResult(result).ok()
}

/// Calls a function that writes one value to an address.
fn out<T>(initial: T, call: impl FnOnce(*mut T) -> c_uint) -> Answer<T> {
    let mut value = initial;
    check(call(&raw mut value))?;
    Ok(value)
}
