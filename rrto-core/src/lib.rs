//! What RRTO knows, with no I/O: no socket, file, clock, thread, CUDA binding or raw host pointer.
//!
//! | room | what it holds |
//! |---|---|
//! | [`api`] | the table: one row a driver function, its class and version; result codes and attributes |
//! | [`image`] | reading module images: containers, cubins, PTX |
//! | [`operator`] | a call that reaches the server, as data |
//! | [`log`] | operators that were called, kept: the bounded log, recordings |
//! | [`graph`] | data dependencies of a stretch of operators, by handle and by device memory |
//! | [`search`] | log -> candidate sequences |
//! | [`verify`] | candidate -> sequence, or why not; the recorder |
//! | [`replay`] | the runs of sequences that lanes are in, and what ends them |
//! | [`wire`] | messages, codec, protocol version and schema hash |
//! | [`engine`] | the client and server state machines |
//! | `testing` | (feature) a seeded link, a fake device and a pair of engines |
//!
//! Imports go one way: `api <- operator <- wire <- log <- graph <- search <- verify <- replay <- engine`; `image` stands alone.

#![forbid(unsafe_code)]

pub mod api;
pub mod engine;
pub mod graph;
pub mod image;
pub mod log;
pub mod operator;
pub mod replay;
pub mod search;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod verify;
pub mod wire;
