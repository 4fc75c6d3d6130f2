//! The guard around every exported function.
//!
//! The library lives inside somebody else's program. Whatever happens in here, that program must get a
//! `CUresult` back and go on:
//!
//! - a panic becomes CUDA_ERROR_UNKNOWN, logged once;
//! - a CUDA call from inside our own code on the same thread (an interposed allocator, a signal handler)
//!   is refused with CUDA_ERROR_NOT_PERMITTED, because our locks may be held;
//! - in a forked child of a process that has used the device, everything is CUDA_ERROR_NOT_INITIALIZED, as
//!   with CUDA: the threads and the connection stayed with the parent;
//! - once the process is ending, everything is CUDA_ERROR_DEINITIALIZED, and nothing waits for a thread that
//!   may be gone or a lock that it may have held.
//!
//! [`guard`] costs an atomic load, a look at the thread and an unwinding frame: a few nanoseconds.
//!
//! What is the process's and not ours has a room each: [signals](quietly), [descriptors](Guest), [what is written](Output).

mod guest;
mod output;
mod signals;

use std::{
    any::Any,
    ffi::c_int,
    panic::{self, AssertUnwindSafe},
    sync::{
        Once, OnceLock,
        atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering},
    },
};

pub use guest::Guest;
pub use output::{Output, to_standard_error, write};
pub use signals::{quietly, with_signals_blocked};

use rrto_core::api::CuResult;

use crate::{log, thread};

/// Nothing has been called yet, and the handlers below are not installed.
const FRESH: u8 = 0;
/// Calls are served.
const LIVE: u8 = 1;
/// This is a forked child of a process that had used the device.
const FORKED: u8 = 2;
/// The process is ending.
const ENDED: u8 = 3;

static STATE: AtomicU8 = AtomicU8::new(FRESH);
static STARTED: AtomicBool = AtomicBool::new(false);
/// Threads that are about to use the device, or to find that they cannot.
static STARTING: AtomicU32 = AtomicU32::new(0);
static AT_END: OnceLock<fn(Interrupted)> = OnceLock::new();

/// Whether the process ends from a signal handler that interrupted one of our own calls: then this very thread may have any lock of
/// ours, or the allocator's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interrupted(pub bool);

/// Runs an exported function, if it may run now, and makes a `CUresult` of whatever it does.
#[inline]
pub fn guard(call: impl FnOnce() -> CuResult) -> u32 {
    match STATE.load(Ordering::Acquire) {
        LIVE => {}
        FRESH => install(),
        FORKED => return CuResult::NOT_INITIALIZED.0,
        _ => return CuResult::DEINITIALIZED.0,
    }
    if thread::this(|this| this.is_inside.get()) {
        return refuse_reentry().0;
    }
    run(call)
}

/// Like [`guard`], for functions that answer from constants, whenever they are called: cuGetErrorString must
/// work in a forked child too, where the program wants to print why nothing else does.
///
/// The function must use no lock that [`guard`]ed code uses, and not the network.
#[inline]
pub fn guard_constant(call: impl FnOnce() -> CuResult) -> u32 {
    if STATE.load(Ordering::Acquire) == FRESH {
        install();
    }
    run(call)
}

/// Runs a callback of the program from inside our code. It may make CUDA calls, so hold no lock.
pub fn outside<R>(callback: impl FnOnce() -> R) -> R {
    let _restore = Inside::set(false);
    callback()
}

/// Marks the calling thread as ours for good: nothing on it may call CUDA, and what it says is said by another one.
pub fn enter_own_thread() {
    thread::this(|this| {
        this.is_inside.set(true);
        this.is_own.set(true);
    });
}

/// Uses the device for the first time: if `start` succeeds there are threads and a connection, which a forked child does not have.
/// Neither has a child forked meanwhile, in which nobody would go on with it.
pub fn start<T, E>(start: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    /// However it ends.
    struct Starting;
    impl Drop for Starting {
        fn drop(&mut self) {
            STARTING.fetch_sub(1, Ordering::AcqRel);
        }
    }
    STARTING.fetch_add(1, Ordering::AcqRel);
    let _starting = Starting;
    let started = start();
    if started.is_ok() {
        STARTED.store(true, Ordering::Release);
    }
    started
}

/// Sets what to do when the process ends: say goodbye to the server, within a short bounded time. It runs
/// once, after new calls are already refused, and not in a forked child. Only the first function set counts.
pub fn at_end(farewell: fn(Interrupted)) {
    let _ = AT_END.set(farewell);
}

/// Whether the process is ending, for loops that would otherwise wait.
pub fn is_ending() -> bool {
    STATE.load(Ordering::Acquire) == ENDED
}

#[inline]
fn run(call: impl FnOnce() -> CuResult) -> u32 {
    let _restore = Inside::set(true);
    // Unwind safety: what a panic leaves behind is behind our own locks, whose users expect that.
    match panic::catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.0,
        // The panic hook has logged it, with its place.
        Err(payload) => {
            forget(payload);
            CuResult::UNKNOWN.0
        }
    }
}

/// Dropping a panic's payload may itself panic, outside any guard.
#[cold]
fn forget(payload: Box<dyn Any + Send>) {
    std::mem::forget(payload);
}

#[cold]
fn refuse_reentry() -> CuResult {
    log::error!(
        "a CUDA call was made from inside the library (a signal handler or an interposed function?): refused"
    );
    CuResult::NOT_PERMITTED
}

/// Says whether the calling thread runs our code, and puts back what was said before.
struct Inside {
    before: bool,
}

impl Inside {
    #[inline]
    fn set(now: bool) -> Self {
        Self { before: thread::this(|this| this.is_inside.replace(now)) }
    }
}

impl Drop for Inside {
    #[inline]
    fn drop(&mut self) {
        thread::this(|this| this.is_inside.set(self.before));
    }
}

/// Installs the handlers, once, when the first function is called: not when the library is loaded, because it
/// is also loaded into programs that never use CUDA.
#[cold]
fn install() {
    static INSTALL: Once = Once::new();
    // A handler of the program that came in between, with a call of its own, would wait here for itself.
    with_signals_blocked(|| INSTALL.call_once(install_once));
}

fn install_once() {
    log::prepare();
    install_panic_hook();
    // SAFETY: both take plain functions of static lifetime, which the library, being preloaded, outlives.
    // `forked` is async-signal-safe, as code in a forked child must be.
    let failed = unsafe { pthread_atfork(None, None, Some(forked)) != 0 || atexit(ended) != 0 };
    if failed {
        log::error!("cannot watch for fork and exit: out of memory");
    }
    let _ = STATE.compare_exchange(FRESH, LIVE, Ordering::AcqRel, Ordering::Acquire);
}

/// Our panics go to our log; those of the program that shares our standard library (the `rrto` command,
/// tests) go where they went before.
fn install_panic_hook() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if thread::this(|this| this.is_inside.get()) {
            let at = info.location().map_or("an unknown place", |location| location.file());
            let line = info.location().map_or(0, |location| location.line());
            log::error!("internal error at {at}:{line}: {}; please report it", message(info.payload()));
        } else {
            before(info);
        }
    }));
}

fn message(payload: &(dyn Any + Send)) -> &str {
    let literal = payload.downcast_ref::<&str>().copied();
    literal.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// Runs in the child of every fork. A child of a process that has not used the device may still use it.
extern "C" fn forked() {
    if STARTED.load(Ordering::Acquire) || STARTING.load(Ordering::Acquire) > 0 {
        STATE.store(FORKED, Ordering::Release);
    }
}

/// Runs when the process ends by exit or by returning from main.
extern "C" fn ended() {
    if STATE.compare_exchange(LIVE, ENDED, Ordering::AcqRel, Ordering::Acquire).is_ok()
        && let Some(farewell) = AT_END.get()
    {
        let interrupted = Interrupted(thread::this(|this| this.is_inside.get()));
        run(|| {
            farewell(interrupted);
            CuResult::SUCCESS
        });
    }
}

// SAFETY: the prototypes of POSIX pthread.h and of C stdlib.h. libc's crate does not have them on every
// target.
unsafe extern "C" {
    fn pthread_atfork(
        prepare: Option<extern "C" fn()>,
        parent: Option<extern "C" fn()>,
        child: Option<extern "C" fn()>,
    ) -> c_int;
    fn atexit(handler: extern "C" fn()) -> c_int;
}

#[cfg(test)]
mod tests;
