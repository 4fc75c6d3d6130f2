//! What a program asked of the server, kept.
//!
//! - [`OperatorLog`]: the latest operators of the running program, bounded, in memory. Sequences are searched in it.
//! - [`Fingerprint`]: what operators are compared by before they are compared byte by byte.
//! - [`recording`]: all that a program asked for, as bytes that can be kept.

mod coding;
mod operators;
pub mod recording;

pub use coding::{Fingerprint, fold};
pub use operators::{OperatorLog, Stored};
