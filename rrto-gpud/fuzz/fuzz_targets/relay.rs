//! A relay: datagrams of strangers and of members of its room, one after the other.

#![no_main]

#[path = "../bodies/relay.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|input: &[u8]| bodies::relay(input));
