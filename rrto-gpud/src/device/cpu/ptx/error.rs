//! Why a module cannot be loaded.

use rrto_core::api::CuResult;

/// Why PTX text was refused: where, in which function, and what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("PTX line {line}{}: {message}", self.function.as_ref().map(|f| format!(", in `{f}`")).unwrap_or_default())]
pub struct LoadError {
    /// The driver's result code for it.
    pub status: CuResult,
    /// The line of the text, from 1.
    pub line: u32,
    /// The kernel or device function, where the trouble is inside one.
    pub function: Option<String>,
    /// What was expected, or what is not supported.
    pub message: String,
}

impl LoadError {
    /// The text is not PTX: CUDA_ERROR_INVALID_PTX.
    pub(crate) fn syntax(line: u32, message: impl Into<String>) -> Self {
        Self { status: CuResult::INVALID_PTX, line, function: None, message: message.into() }
    }

    /// The text is PTX of a kind that the software GPU cannot run: CUDA_ERROR_INVALID_PTX too, which is what
    /// a driver says to an instruction that it does not know.
    pub(crate) fn unsupported(line: u32, what: impl std::fmt::Display) -> Self {
        Self::syntax(line, format!("the software GPU does not support {what}"))
    }

    /// A module's variables did not fit, or the like.
    pub(crate) fn with_status(status: CuResult, line: u32, message: impl Into<String>) -> Self {
        Self { status, line, function: None, message: message.into() }
    }

    /// Names the function, unless an inner level has.
    pub(crate) fn within(mut self, function: &str) -> Self {
        self.function.get_or_insert_with(|| function.to_owned());
        self
    }
}
