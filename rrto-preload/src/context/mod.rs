//! Contexts, as the program sees them.
//!
//! The server has one context a session. The contexts that a program makes are views of it: they have
//! handles, flags, a place on the stack of a thread and storage of their own, and the same memory, streams
//! and modules. So nothing here travels; only the end of the primary context means something to the server.
//!
//! This is the hottest state of the client. cuCtxGetDevice, cuDevicePrimaryCtxGetState and the context-local
//! storage of cudart are asked thousands of times an inference, so those read one atomic and thread-local
//! memory. Everything else takes a lock.
//!
//! `stack` is a thread's own; `storage` is what cudart keeps in a context.

#![forbid(unsafe_code)]

mod flags;
mod registry;
mod stack;
mod storage;

pub use registry::{Contexts, Ended, Preference, PrimaryState, contexts};
pub(crate) use stack::FoundAlive;
pub use storage::Destructor;

use std::num::NonZeroUsize;

/// A `CUcontext`: opaque, never null, never used twice in a process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ContextHandle(NonZeroUsize);

impl ContextHandle {
    /// The handle that a program passed; `None` for null.
    pub fn from_raw(raw: usize) -> Option<Self> {
        NonZeroUsize::new(raw).map(Self)
    }

    /// The handle as the program sees it.
    pub fn as_raw(self) -> usize {
        self.0.get()
    }
}

#[cfg(test)]
mod tests;
