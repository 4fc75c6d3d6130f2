//! What a call of a function costs.

/// What a call costs, and how it travels. Every function has exactly one class.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Class {
    /// Answered in the client. Never travels.
    Local = 0,
    /// A pure question: asked once for each distinct set of arguments, answered from memory afterwards.
    Cached = 1,
    /// Changes state and is not waited for. An error surfaces at the next synchronising call, as CUDA allows.
    Ordered = 2,
    /// Starts a kernel. Not waited for, and carries the kernel's arguments.
    Launch = 3,
    /// Carries host bytes to the device. Complete for the program once its bytes are copied out of its
    /// buffer.
    CopyIn = 4,
    /// Brings device bytes to the host. The synchronous forms wait for them.
    CopyOut = 5,
    /// Needs its answer before the program can go on.
    Blocking = 6,
    /// Not offered: CUDA_ERROR_NOT_SUPPORTED, named once in the log.
    Unsupported = 7,
}

impl Class {
    /// Whether a call of this class reaches the server as a numbered operator that changes state there.
    ///
    /// Blocking calls are operators too: whether one changes state or merely asks is its own affair, but it
    /// takes its place in the order.
    pub const fn is_operator(self) -> bool {
        matches!(self, Self::Ordered | Self::Launch | Self::CopyIn | Self::CopyOut | Self::Blocking)
    }
}
