//! A second of the `coding` fuzz target: coded payloads, damaged in seeded ways, and bytes that never were one.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

#[path = "../fuzz/bodies/coding.rs"]
mod bodies;

use bytes::Bytes;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rrto_quic::testing::Codec;

/// Coded payloads of some kinds behind the target's four bytes: floats for planes, few values for a palette.
fn sent() -> Vec<Vec<u8>> {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let floats: Vec<u8> = (0..3000).flat_map(|_| random.random::<f32>().to_le_bytes()).collect();
    let few: Vec<u8> = (0..3000).flat_map(|_| random.random_range(0_u32..9).to_le_bytes()).collect();
    let coded = [floats, few].map(|payload| {
        let bytes = payload.len() as u32;
        let coded = Codec::default().encode(&Bytes::from(payload)).concat();
        let [a, b, c, _] = bytes.to_le_bytes();
        [&[a, b, c, 200][..], &coded].concat()
    });
    coded.into()
}

#[test]
fn damaged_payloads_are_refused_or_bounded() {
    for sent in sent() {
        bodies::coding(&sent);
        for seed in 0..300 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let mut damaged = sent.clone();
            for _ in 0..random.random_range(1..6) {
                // The headers are at the beginning.
                let end = if random.random() { 64 } else { damaged.len() };
                let at = random.random_range(0..end);
                damaged[at] = random.random();
            }
            damaged.truncate(random.random_range(4..=sent.len() * 2));
            bodies::coding(&damaged);
            let mut anything = vec![0; random.random_range(0..500)];
            random.fill(anything.as_mut_slice());
            bodies::coding(&anything);
        }
    }
}

/// Not a test: leaves inputs for the fuzzer to start from.
#[test]
#[ignore = "writes to the folder RRTO_FUZZ_SEEDS"]
fn seeds() {
    let folder = std::path::PathBuf::from(std::env::var_os("RRTO_FUZZ_SEEDS").unwrap()).join("coding");
    std::fs::create_dir_all(&folder).unwrap();
    for (number, seed) in sent().into_iter().enumerate() {
        std::fs::write(folder.join(number.to_string()), seed).unwrap();
    }
}
