//! What is kept of the calling thread.
//!
//! Each use of a thread-local variable in a shared library calls the dynamic loader (ELF Handling For Thread-Local
//! Storage, "General Dynamic TLS Model"), and a program asks for its context thousands of times an inference. So all that
//! hot calls need is in one variable, whose address is found once a call.

use std::cell::Cell;

use rrto_core::api::Function;

use crate::context::{ContextHandle, FoundAlive};
use crate::lane;

/// What is kept of a thread. None of it has a destructor, so all works until the thread is gone.
#[derive(Debug)]
pub(crate) struct Thread {
    /// Whether it runs our code.
    pub(crate) is_inside: Cell<bool>,
    /// Whether it is ours: the transport thread, or one that it has started.
    pub(crate) is_own: Cell<bool>,
    /// Its number, once it has called.
    pub(crate) lane: Cell<u32>,
    /// What it called last.
    pub(crate) function: Cell<Option<Function>>,
    /// The top of its stack of contexts.
    pub(crate) context: Cell<Option<ContextHandle>>,
    /// The context that it found alive last.
    pub(crate) found_alive: Cell<FoundAlive>,
}

thread_local! {
    static THREAD: Thread = const {
        Thread {
            is_inside: Cell::new(false),
            is_own: Cell::new(false),
            lane: Cell::new(lane::NONE),
            function: Cell::new(None),
            context: Cell::new(None),
            found_alive: Cell::new(FoundAlive::NONE),
        }
    };
}

/// Looks at the calling thread.
#[inline(always)]
pub(crate) fn this<R>(look: impl FnOnce(&Thread) -> R) -> R {
    THREAD.with(look)
}
