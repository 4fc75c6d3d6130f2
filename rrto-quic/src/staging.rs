//! Where a server puts bulk payloads as they arrive, when that is not its own memory.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use rrto_core::engine::Staged;

/// A place for one payload.
pub trait Place: Staged {
    /// Puts `pieces`, one behind the other, at `offset` of it; never more than it was taken for.
    ///
    /// # Errors
    /// The memory's.
    fn write(&self, offset: u64, pieces: &[Bytes]) -> io::Result<()>;
}

/// Places for one session's payloads.
pub trait Staging: Send + Sync {
    /// A place for a payload of so many bytes, which nobody else has until it is dropped. `None` if there is none now;
    /// the payload is then kept in the server's memory.
    fn take(&self, bytes: u64) -> Option<Arc<dyn Place>>;
}
