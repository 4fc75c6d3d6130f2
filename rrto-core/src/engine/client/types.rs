//! What goes into a client and comes out of it.

use std::fmt;

use bytes::Bytes;

use crate::operator::{Operator, Outcome};

/// Bounds of what a client holds.
#[derive(Clone, Copy, Debug)]
pub struct ClientLimits {
    /// Payload bytes that may be unacknowledged; a further copy waits. Bounds the memory that the preload library
    /// adds to the program.
    pub bulk_bytes: u64,
    /// Operators that may be unacknowledged; a further call waits.
    pub operators: usize,
}

impl Default for ClientLimits {
    fn default() -> Self {
        // A copy from pageable memory is over for the program once it is in here, so a burst of them up to this long
        // costs the program no time on the link; with QUIC's own windows it keeps what the library adds to the program
        // under 25 MB. 64 Ki operators are 200 inferences.
        ClientLimits { bulk_bytes: 8 << 20, operators: 64 << 10 }
    }
}

/// What became of a submitted call.
#[derive(Debug)]
pub enum Submitted {
    /// It will be executed under this number; nothing to wait for.
    Queued(u64),
    /// It will be executed; its outcome comes under this number, or has come.
    Awaits(u64),
    /// Answered here and now.
    Answered(Outcome),
    /// Too much is unacknowledged: submit it again after [`Client::handle_control`](super::Client::handle_control) made
    /// progress. The call's parts come back.
    Full(Operator, Option<Bytes>),
}

/// Why a connection can carry no more calls.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lost(pub String);

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Bytes that belong to the program's memory, for the operator of this number.
#[derive(Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The CopyOut's number.
    pub number: u64,
    /// All its bytes.
    pub bytes: Bytes,
}
