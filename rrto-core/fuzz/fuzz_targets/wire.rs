//! Everything that a peer can send: frames, coded operators, bulk headers.

#![no_main]

#[path = "../bodies/wire.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|input: &[u8]| bodies::wire(input));
