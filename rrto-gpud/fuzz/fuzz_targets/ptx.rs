//! PTX: lexer, parser, lowering, and the executor for what is accepted.
//! `rrto-gpud/tests/ptx` is a good corpus to start from.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| rrto_gpud::device::cpu::fuzzing::load_anything(input));
