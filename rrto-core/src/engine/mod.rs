//! The client's and the server's state machines, without I/O: bytes and calls go in through `handle_*`, what is to
//! be done comes out of `poll_*`. Whoever drives them owns sockets, clocks and threads.
//!
//! A driver of [`Client`] does, under one lock: `handle_submit` for each call of the program, `handle_control` for
//! bytes that arrived, and then, until all are empty, `poll_delivery`, `poll_control`, `poll_bulk`. A driver of
//! [`Server`] does `handle_control` and `handle_payload` for what arrived, executes what `poll_ready` gives, in that
//! order, tells each outcome through `handle_outcome`, and sends what `poll_control` and `poll_bulk` give.
//!
//! Invariants, which `tests/engine.rs` holds on random schedules with a link that loses its connection:
//! - The server gives each operator number to `poll_ready` once, in order.
//! - The client keeps an operator until it is acknowledged, and can send it again on a new connection.
//! - A reply becomes visible to the program only after every payload that the server sent before it has been
//!   delivered to the program's memory.

mod client;
mod payload;
mod progress;
mod server;

pub use client::{Client, ClientLimits, Delivery, Lost, Submitted};
pub use payload::{Payload, Staged};
pub use server::{Ready, Server, ServerLimits, Work};
