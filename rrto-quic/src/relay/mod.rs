//! Both ends behind address translators: they dial a relay, which forwards between them.
//!
//! ```text
//! client --NAT--> relay <--NAT-- server        QUIC and its TLS are between client and server
//! ```
//!
//! `rrto-gpud relay` is the relay; its state machine is there. Here is what both ends do, and what they and the relay
//! say to each other ([`wire`]).
//!
//! **Rooms.** A room is a secret of 32 bytes ([`RoomKey`]) that the relay, one server and its clients have. Who proves to know it is
//! forwarded: a client's datagrams to the room's server, the server's to the client that they name. That is all the
//! secret is for: server and clients prove to each other who they are by their certificates, as without a relay, and the
//! relay can neither read nor change what it forwards.
//!
//! **Admission.** A party sends `register`. The relay answers with a cookie (an HMAC, under a key of its own, of the
//! party's address and the time) and remembers nothing. The party sends `register` again with the cookie and an HMAC under the room's secret, and
//! is taken in. The answer brings the cookie for the next time, because the same message renews the registration:
//! every 15 s for a client, every 2 s for a server. From another address, or after a restart of the relay, the cookie is no good, and the relay answers
//! with a new one. So one exchange admits, keeps alive, moves and repairs ([`Registration`]).
//!
//! **Replay.** A cookie is good for its address only, for some seconds, and never after one that was made later. A recorded `register` sent again
//! from the same address changes nothing; from another it is not taken.
//!
//! **Flows.** A client's flow is the HMAC of a random number that it drew, so it stays the same wherever the client goes,
//! and through a restart of the relay. It stands before each datagram (8 bytes), and the server's QUIC sees it as the
//! client's address ([`FlowId::address`]): a translator that forgets a client is not even a migration for QUIC. A client that takes another
//! socket has another flow, as it would have another address. Data from where the relay does not expect it is answered by `stray`, which makes
//! its sender register at once.
//!
//! **In this crate** a relay is a [`System`](crate::System) whose sockets put headers on and take them off, so everything
//! above is as without one.

mod address;
mod batch;
mod key;
mod registration;
mod socket;
mod system;
pub mod wire;

pub use address::{AddressError, RelayAddress, ServerAddress};
pub use key::{RoomKey, RoomKeyError};
pub use registration::{CLIENT_REFRESH, Registration, SERVER_REFRESH, Standing};
pub use system::RelayError;
pub(crate) use system::{Relayed, Way};
pub use wire::FlowId;
