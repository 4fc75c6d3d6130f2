//! The engines of `rrto-core` on QUIC (quinn, RFC 9000) with mutual TLS (rustls).
//!
//! ```text
//! robot                                              server
//! Link (app threads, blocking)                       Session (executor thread, blocking)
//!   | engine::Client under a lock                      | engine::Server under a lock
//! transport thread: writer, bulk sender,             tasks: writer, bulk sender,
//!   control reader, bulk reader  <==== QUIC ====>       control reader, bulk reader
//! ```
//!
//! One bidirectional stream carries control frames; it has the highest priority. Every payload over
//! `INLINE_PAYLOAD_BYTES` has a unidirectional stream of its own, so a lost packet of one holds up nothing else.
//! Application threads never touch the network: they hand calls to the engine and wait on a condition variable.
//!
//! A session outlives its connections. The client watches the one that it has (`client/supervisor`), and if that is lost or
//! silent, makes others, with early data that carries what the server may not have; the server keeps a session without a
//! connection for a while (`server/registry`). Whatever is sent twice is executed and delivered once: that is the engines'
//! doing. What may be taken from early data, and why, is told in `server/connection`.
//!
//! The server's certificate is checked for the fixed name [`SERVER_NAME`] instead of its address, which changes when
//! a robot roams or the server moves; the authority signs that name for servers only.

#![forbid(unsafe_code)]

pub mod bare;
mod client;
mod close;
mod coding;
mod congestion;
mod credit;
mod hot;
mod names;
pub mod relay;
mod reports;
mod routes;
mod secret;
mod server;
mod signal;
mod source;
mod staging;
mod streams;
mod system;
#[cfg(feature = "testing")]
pub mod testing;
mod tls;
mod transport;

#[cfg(feature = "testing")]
pub use client::AsyncLink;
pub use client::{
    ConnectError, Link, LinkConfig, LinkStatistics, ProgramMemory, RobotFault, ServerFault, Submission, Tap,
};
pub use coding::{Coding, UnknownCoding};
pub use congestion::{Congestion, UnknownCongestion};
pub use names::resolve;
pub use reports::ClosedPorts;
pub use routes::Routes;
pub use server::{
    Admission, Counted, Gate, Listener, Next, Reloader, ServeConfig, ServeError, Session, SessionStatistics,
};
pub use source::source_of;
pub use staging::{Place, Staging};
pub use system::{Bell, Host, Later, Ring, System};
pub use tls::{Credentials, CredentialsError, Date, Role, SERVER_NAME, Standing, Validity};
