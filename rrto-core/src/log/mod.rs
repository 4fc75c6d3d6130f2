//! What a program asked of the server, kept.

pub mod recording;
