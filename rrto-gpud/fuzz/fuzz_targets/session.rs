//! What a client can make the software GPU do: operators, modules, launches, sequences, through the engine that a server has.

#![no_main]

#[path = "../bodies/session.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|input: &[u8]| bodies::session(input));
