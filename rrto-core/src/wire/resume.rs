//! What both sides say when a session goes on over a new connection.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::operator::bounded;

/// Length of a [`SessionToken`], bytes: 128 bits cannot be guessed.
pub const TOKEN_BYTES: usize = 16;

/// Payloads named in a [`Resume`] or [`Resumed`]. More than a side holds: each is over
/// [`INLINE_PAYLOAD_BYTES`](super::INLINE_PAYLOAD_BYTES), and the bounds on their bytes are some 32 MiB.
pub const MAX_RESUME_PAYLOADS: usize = 64 << 10;

/// Names a session to its server. Only the server and the client of the session know it, and the server takes it only from
/// the robot that the session is of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SessionToken(pub [u8; TOKEN_BYTES]);

impl fmt::Debug for SessionToken {
    /// Without the bytes, which are nobody's to read in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionToken")
    }
}

/// A client's first frame on a connection that continues a session. It may travel as early data: it only says what has come,
/// so taking it twice, or late, changes nothing.
///
/// Answers (the frames `Reply` and `Failed`) count from 0, in the order in which the server first sent them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Resume {
    /// Which session.
    pub token: SessionToken,
    /// All answers before this one have come.
    pub answers: u64,
    /// Operators among them whose bulk payload has not come.
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_RESUME_PAYLOADS>")]
    pub missing: Vec<u64>,
    /// Operators of later answers whose bulk payload has come all the same.
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_RESUME_PAYLOADS>")]
    pub early: Vec<u64>,
}

/// The server's answer to it. Everything that the client has not got follows.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Resumed {
    /// All operators up to this one have been issued.
    pub executed: u64,
    /// The number that the next operator must have: all before it have come.
    pub expected: u64,
    /// Operators after `executed` whose bulk payload has come.
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_RESUME_PAYLOADS>")]
    pub payloads: Vec<u64>,
}
