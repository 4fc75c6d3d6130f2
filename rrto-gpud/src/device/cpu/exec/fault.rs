//! Why a kernel was stopped.

use rrto_core::api::CuResult;

/// Why a launch failed: the driver's result code, and what a person wants to know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// The driver's result code for it.
    pub code: CuResult,
    /// Kernel, line, block and thread where there are any, and what happened.
    pub message: String,
}

impl Fault {
    pub(crate) fn new(code: CuResult, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// The machine has no memory for a block's registers or its local or shared memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct OutOfMemory;

impl From<OutOfMemory> for Fault {
    fn from(_: OutOfMemory) -> Self {
        Fault::new(CuResult::OUT_OF_MEMORY, "the machine has no memory for a block of the kernel")
    }
}

/// Makes it as long as asked for, if the machine has the memory.
pub(super) fn lengthen<T: Clone>(what: &mut Vec<T>, len: usize, value: T) -> Result<(), OutOfMemory> {
    if let Some(more) = len.checked_sub(what.len()) {
        what.try_reserve(more).map_err(|_| OutOfMemory)?;
        what.resize(len, value);
    }
    Ok(())
}

/// What a lane did wrong, before it is known where.
#[derive(Clone, Debug)]
pub(super) struct LaneFault {
    pub lane: usize,
    pub code: CuResult,
    pub what: String,
}

impl LaneFault {
    #[cold]
    pub(super) fn new(lane: usize, code: CuResult, what: impl Into<String>) -> Self {
        Self { lane, code, what: what.into() }
    }
}
