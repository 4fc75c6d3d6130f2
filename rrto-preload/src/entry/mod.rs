//! The exported functions.
//!
//! There is one for each row of the table: those that are offered, written here by theme; all others, expanded from
//! the table, say CUDA_ERROR_NOT_SUPPORTED and name themselves once in the log. A row that is offered and has no
//! function here does not compile, and neither does a function whose row says that it is not offered.
//!
//! Each has the C prototype of cuda.h (CUDA 13), with the types of `marshal` where C has pointers and `usize` where it
//! has handles. A body checks its pointers, takes the call that it needs (`runtime::client` for what needs cuInit only,
//! `runtime::call` for what needs a context and the server), and leaves the rest to the client.
//! No logic that could be tested without a C caller belongs here.
//!
//! # What a call needs
//!
//! As the CUDA driver API says, and as NVIDIA's driver does where it does not say (`netem/cuda/misuse.c` asks both):
//!
//! | what | needs | by |
//! |---|---|---|
//! | cuDriverGetVersion, cuGetErrorName, cuGetErrorString, cuGetProcAddress | nothing | `constant` |
//! | cuDevice.., cuCtx.. of a given context, cuPointerGetAttribute | cuInit | `runtime::client` |
//! | cuLibrary.., cuKernel.. | cuInit | `runtime::client`, `runtime::contextless_call` |
//! | what names an object that has a context: an event, a stream to destroy, a module, a function, memory to free | no context, or one that exists | `runtime::object_call` |
//! | cuLibraryGetModule, cuLibraryGetGlobal, cuKernelGetFunction, cuKernelGetParamInfo, and all others | the current context | `runtime::call` |
//!
//! A program that has failed (a kernel's fault, the server lost) gets its error from every call that takes one of the
//! last three, until it ends.
//!
//! # Success means done
//!
//! These answer SUCCESS and do nothing, or less than it seems. That is so for these reasons, and nothing else does:
//!
//! - cuFuncSetCacheConfig, cuKernelSetCacheConfig, cuCtxSetCacheConfig, cuFuncSetSharedMemConfig,
//!   cuCtxSetSharedMemConfig: "only a preference", which "does nothing on devices where the size of the L1 cache and shared memory
//!   are fixed", as is the size of banks on every GPU that CUDA 13 supports. Contexts tell what was set.
//! - cuProfilerStart, cuProfilerStop: they turn on and off what a profiler collects, and none can attach here.
//! - cuThreadExchangeStreamCaptureMode, cuStreamIsCapturing, cuStreamGetCaptureInfo: nothing captures, because what begins a
//!   capture is refused.
//! - Flags of contexts: CU_CTX_SCHED_.. say how a thread waits, which no result depends on. CU_CTX_MAP_HOST: refused where a
//!   device address is asked for (`client::host_memory`). CU_CTX_LMEM_RESIZE_TO_MAX is advice. CU_CTX_SYNC_MEMOPS: a copy
//!   that its call waits for is over, as far as this program can tell; other devices that could tell are not offered.
//!   CU_CTX_COREDUMP_ENABLE and CU_CTX_USER_COREDUMP_ENABLE are refused by name, because nobody would write the file.
//! - cuCtxSetLimit: the server sets it for the session, of which all contexts of the program are views. The software GPU
//!   has nothing that a limit limits.
//! - cuMemHostAlloc and cuMemHostRegister: PORTABLE is so of itself, WRITECOMBINED and READ_ONLY change no result; DEVICEMAP
//!   as above. That the pages are locked has no effect but speed; what copies may do with such memory, they do.
//! - cuEventCreate with CU_EVENT_BLOCKING_SYNC: how a thread waits.
//! - cuModuleLoadDataEx's and cuLibraryLoadData's JIT options: advice to the compiler. Log buffers come back empty, because the
//!   server's driver compiles; its words are in the server's log. Of cuLibraryLoadData's own options,
//!   CU_LIBRARY_BINARY_IS_PRESERVED is a promise of the program's, and CU_LIBRARY_HOST_UNIVERSAL_FUNCTION_AND_DATA_TABLE serves
//!   cuLibraryGetUnifiedFunction and cuLibraryGetManaged, which are refused.
//! - cuLibraryLoadData of what is no library: so says the driver, too; who asks for something in it is told.
//! - cuFuncLoad, cuFuncIsLoaded: all that there is to know of a function came from the server's driver with its handle.
//! - Launch attributes: PRIORITY, SYNCHRONIZATION_POLICY and the like go to the server's driver. The software GPU ignores those
//!   that change no result, and refuses the others.
//! - cuMemFree, cuMemFreeHost of null, cuMemHostAlloc of nothing, copies and fills of no bytes: there is nothing to do.
//! - Everything of the classes Ordered, Launch, CopyIn and CopyOut that does not wait: it will be done, or the next call that
//!   waits says why not, as CUDA's asynchronous calls do.

mod caller;
mod context;
mod copy;
mod device;
mod driver;
mod event;
mod fill;
mod function;
mod host_memory;
mod launch;
mod memory;
mod module;
mod pointer;
mod rows;
mod stream;
mod tensor_map;
mod unsupported;

use std::ffi::c_void;

use rrto_core::api::{CuResult, Function};
use rrto_core::wire::{RELEASE, RELEASE_BYTES};

use crate::{boundary, calls};

/// Exports functions. `fn NAME(..)` is one function; `fn NAME / VARIANT(..) |default|` two of the same body, in which
/// `default` says what a null stream means: the legacy stream in NAME, the thread's own in VARIANT.
macro_rules! exports {
    () => {};
    (fn $name:ident($($arg:ident: $type:ty),* $(,)?) $body:block $($rest:tt)*) => {
        crate::entry::export! { $name, ($($arg: $type),*), $body }
        crate::entry::exports! { $($rest)* }
    };
    (
        fn $name:ident / $variant:ident($($arg:ident: $type:ty),* $(,)?) |$default:ident| $body:block
        $($rest:tt)*
    ) => {
        crate::entry::export! { $name, ($($arg: $type),*), {
            let $default = crate::client::DefaultStream::Legacy;
            $body
        } }
        crate::entry::export! { $variant, ($($arg: $type),*), {
            let $default = crate::client::DefaultStream::PerThread;
            $body
        } }
        crate::entry::exports! { $($rest)* }
    };
}

/// Exports one function, inside the guard that every one has.
macro_rules! export {
    ($name:ident, ($($arg:ident: $type:ty),*), $body:block) => {
        #[allow(clippy::too_many_arguments, reason = "as many as the C prototype has")]
        #[unsafe(no_mangle)]
        pub(crate) extern "C" fn $name($($arg: $type),*) -> u32 {
            crate::entry::run(rrto_core::api::Function::$name, move || -> Result<(), rrto_core::api::CuResult> { $body })
        }
    };
}
use {export, exports};

#[inline]
fn run(function: Function, body: impl FnOnce() -> Result<(), CuResult>) -> u32 {
    boundary::guard(|| {
        calls::begin(function);
        body().err().unwrap_or(CuResult::SUCCESS)
    })
}

/// A session has one device, number 0.
#[inline]
fn check_device(device: i32) -> Result<(), CuResult> {
    if device == 0 { Ok(()) } else { Err(CuResult::INVALID_DEVICE) }
}

/// Fails with INVALID_VALUE where a condition of the arguments does not hold.
#[inline]
fn check(holds: bool) -> Result<(), CuResult> {
    if holds { Ok(()) } else { Err(CuResult::INVALID_VALUE) }
}

macro_rules! define_address {
    ($($symbol:ident since $since:tt $class:ident;)*) => {
        /// Where a driver function is: the address that its exported symbol has.
        pub fn address(function: Function) -> *const c_void {
            use {
                context::*, copy::*, device::*, driver::*, event::*, fill::*, function::*, host_memory::*,
                launch::*, memory::*, module::*, pointer::*, rows::*, stream::*, tensor_map::*, unsupported::*,
            };
            match function {
                $(Function::$symbol => $symbol as *const c_void,)*
            }
        }
    };
}

rrto_core::for_each_function!(define_address);

/// Tells that a library is RRTO's: nothing else exports it. Its value is the version of the interface between the
/// library and the `rrto` command.
#[unsafe(no_mangle)]
pub extern "C" fn rrto_preload_marker() -> u32 {
    1
}

/// Which release the library is of. It lies in the library's file as it is here, so that the `rrto` command, which must not load a
/// stranger's library to find out whose it is, can read it there.
#[unsafe(no_mangle)]
pub static rrto_library_release: [u8; RELEASE_BYTES] = RELEASE;

/// Writes what the session has carried so far, as a JSON object and a zero byte, to `buffer`; the fields are those of
/// `RRTO_STATS`. Returns the object's length, or 0 if there is no session or it does not fit into `bytes` bytes. For
/// programs that measure themselves; it sends nothing.
///
/// # Safety
/// `buffer` must be null, or writable for `bytes` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rrto_statistics(buffer: *mut u8, bytes: usize) -> usize {
    let mut written = 0;
    boundary::guard(|| {
        if let Some(object) = crate::runtime::statistics_json()
            && object.len() < bytes
            && !buffer.is_null()
        {
            // SAFETY: the caller promises that `bytes` bytes can be written, and the object and its zero byte are no
            // more than that; a new String does not overlap with the caller's buffer.
            unsafe {
                std::ptr::copy_nonoverlapping(object.as_ptr(), buffer, object.len());
                buffer.add(object.len()).write(0);
            }
            written = object.len();
        }
        CuResult::SUCCESS
    });
    written
}
