//! What server and worker read from the socket between them.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| rrto_gpud::device::process::fuzzing::messages(input));
