//! `rrto-gpud relay`: forwards between servers and clients that are both behind address translators.
//!
//! ```text
//! state    of each datagram, where it goes; who is admitted, and within which limits (no I/O, no clock)
//! serve    the UDP socket in front of it
//! rooms    the secrets, a file each
//! cookie   proof of an address without memory
//! bucket   limits on rates
//! ```
//!
//! [`rrto_quic::relay`] says how parties and relay talk, and why nobody gets anything forwarded who does not know a room's
//! secret. The relay never looks behind the eight bytes that say whose a datagram is.

mod bucket;
mod cookie;
mod rooms;
mod serve;
mod state;

pub use rooms::{RoomConfig, RoomsError, load};
pub use serve::RelayServer;
pub use state::{CLIENT_IDLE, Limits, Place, Relay, SERVER_IDLE, Statistics, Verdict};
