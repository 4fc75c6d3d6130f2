//! The client's and the server's state machines, without I/O: bytes and calls go in through `handle_*`, what is to
//! be done comes out of `poll_*`. Whoever drives them owns sockets, clocks and threads.
//!
//! A driver of [`Client`] does, under one lock: `handle_submit` for each call of the program, `handle_control` for
//! bytes that arrived, and then, until all are empty, `poll_delivery`, `poll_control`, `poll_bulk`. A driver of
//! [`Server`] does `handle_control` and `handle_payload` for what arrived, executes what `poll_ready` gives, in that
//! order, tells each outcome through `handle_outcome`, and sends what `poll_control` and `poll_bulk` give.
//!
//! A session outlives its connections. What belongs to one of them is in a [`client::Channel`] and a [`server::Channel`],
//! which the drivers make for each connection and drop with it; several may be there at a time, and each carries
//! everything, so that whichever is the quickest counts. Nothing else is needed for that than names: operators have numbers
//! and answers have places, both sides keep what the other has not confirmed, and what comes twice is left out.
//!
//! Invariants, which `tests/engine.rs` holds on random schedules with a link that loses its connection:
//! - The server gives each operator number to `poll_ready` once, in order.
//! - The client keeps an operator until it is acknowledged, and the server an answer until it is confirmed: both send again
//!   on a new connection what has not come on another.
//! - A reply becomes visible to the program only after every payload that the server sent before it has been
//!   delivered to the program's memory.

pub mod client;
mod payload;
mod progress;
pub mod server;

pub use client::{Client, ClientLimits, Delivery, Lost, Submitted};
pub use payload::{Payload, Staged};
pub use server::{Ready, Server, ServerLimits, Work};
