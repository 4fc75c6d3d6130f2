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
