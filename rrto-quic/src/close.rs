//! What a connection is closed with.

use quinn::VarInt;

/// The session is over, or there was none.
pub(crate) const DONE: VarInt = VarInt::from_u32(0);

/// The session goes on, on another connection.
pub(crate) const SUPERSEDED: VarInt = VarInt::from_u32(1);
