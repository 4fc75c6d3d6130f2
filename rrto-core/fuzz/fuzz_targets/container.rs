//! Module images of any kind: length, entries, decompression, selection.
//! `rrto-core/tests/fixtures` is a good corpus to start from.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| rrto_core::image::fuzzing::container(input));
