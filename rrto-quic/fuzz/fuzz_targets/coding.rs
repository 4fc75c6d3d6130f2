//! Coded payloads: blocks, planes, palettes; and that payloads come back.

#![no_main]

#[path = "../bodies/coding.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|input: &[u8]| bodies::coding(input));
