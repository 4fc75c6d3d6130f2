//! The context stack of a thread. Its top is current to the thread.

use std::cell::RefCell;

use rrto_core::api::CuResult;

use super::ContextHandle;
use crate::thread;

/// Deeper than any program goes on purpose. CUDA has no limit of its own.
const DEPTH_MAX: usize = 4096;

thread_local! {
    static STACK: RefCell<Vec<ContextHandle>> = const { RefCell::new(Vec::new()) };
}

/// A context that a thread has found alive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FoundAlive {
    pub(super) epoch: u64,
    pub(super) context: Option<ContextHandle>,
    pub(super) id: u64,
}

impl FoundAlive {
    /// None yet: there is no epoch 0.
    pub(crate) const NONE: FoundAlive = FoundAlive { epoch: 0, context: None, id: 0 };
}

/// The context current to this thread, alive or not.
#[inline]
pub(super) fn current() -> Option<ContextHandle> {
    thread::this(|this| this.context.get())
}

pub(super) fn push(context: ContextHandle) -> Result<(), CuResult> {
    change(|stack| {
        if stack.len() >= DEPTH_MAX {
            return Err(CuResult::OUT_OF_MEMORY);
        }
        stack.push(context);
        Ok(())
    })
}

/// Takes the top off.
pub(super) fn pop() -> Result<ContextHandle, CuResult> {
    change(|stack| stack.pop().ok_or(CuResult::INVALID_CONTEXT))
}

/// Replaces the top, or pushes onto an empty stack. With `None`, pops; an empty stack stays empty.
pub(super) fn set(context: Option<ContextHandle>) -> Result<(), CuResult> {
    change(|stack| {
        stack.pop();
        stack.extend(context);
        Ok(())
    })
}

fn change<R>(change: impl FnOnce(&mut Vec<ContextHandle>) -> Result<R, CuResult>) -> Result<R, CuResult> {
    STACK
        .try_with(|stack| {
            // Not borrowed: no change calls out.
            let mut stack = stack.try_borrow_mut().map_err(|_| CuResult::NOT_PERMITTED)?;
            let result = change(&mut stack);
            thread::this(|this| this.context.set(stack.last().copied()));
            result
        })
        // The thread is ending and its stack is gone.
        .unwrap_or(Err(CuResult::INVALID_CONTEXT))
}
