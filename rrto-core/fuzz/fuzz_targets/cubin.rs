//! Cubins: sections and kernel parameter layouts.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| rrto_core::image::fuzzing::cubin(input));
