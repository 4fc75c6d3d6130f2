//! What coding and decoding a payload cost, and what they save, by what the payload is. The names of the cases have the
//! coded length as a part of the payload's.

#![allow(clippy::unwrap_used, reason = "a bench may panic")]

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rrto_quic::testing::Codec;

/// Elements of an input of a vision network, 1 x 3 x 224 x 224.
const IMAGE: usize = 3 * 224 * 224;
/// Words that GPT-2 knows.
const WORDS: usize = 50_257;

/// A sum of twelve, which is close enough to normal.
fn normal(random: &mut ChaCha8Rng) -> f32 {
    (0..12).map(|_| random.random::<f32>()).sum::<f32>() - 6.0
}

/// Pixels of one channel after the other: a few smooth waves, and noise.
fn pixels(random: &mut ChaCha8Rng) -> Vec<u8> {
    let wave = |at: usize, period: f32| (at as f32 / period).sin();
    (0..IMAGE)
        .map(|at| (at % 224, at / 224))
        .map(|(x, y)| 118.0 + 50.0 * wave(x, 37.0) + 40.0 * wave(y, 23.0) + 4.0 * normal(random))
        .map(|pixel| pixel.clamp(0.0, 255.0) as u8)
        .collect()
}

fn f16_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    // Tiny ones become 0: there are few.
    let exponent = (bits >> 23 & 0xff).saturating_sub(112);
    let magnitude = if exponent == 0 { 0 } else { exponent << 10 | bits >> 13 & 0x3ff };
    (bits >> 16 & 0x8000 | magnitude) as u16
}

fn payloads() -> Vec<(&'static str, Vec<u8>)> {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let normals: Vec<f32> = (0..IMAGE).map(|_| normal(&mut random)).collect();
    let pixels = pixels(&mut random);
    let normalised = pixels.iter().map(|pixel| (f32::from(*pixel) / 255.0 - 0.485) / 0.229);
    let mut noise = vec![0; 4 * IMAGE];
    random.fill_bytes(&mut noise);
    vec![
        ("randn f32", normals.iter().flat_map(|value| value.to_le_bytes()).collect()),
        ("rand f32", (0..IMAGE).flat_map(|_| random.random::<f32>().to_le_bytes()).collect()),
        ("randn f16", normals.iter().flat_map(|value| f16_bits(*value).to_le_bytes()).collect()),
        ("randn bf16", normals.iter().flat_map(|value| value.to_le_bytes()[2..].to_vec()).collect()),
        ("logits f32", (0..WORDS).flat_map(|_| (normal(&mut random) * 3.0 - 35.0).to_le_bytes()).collect()),
        ("image f32", normalised.flat_map(f32::to_le_bytes).collect()),
        ("tokens i64", (0..WORDS).flat_map(|_| random.random_range(0..WORDS as u64).to_le_bytes()).collect()),
        ("image u8", pixels),
        ("zeros", vec![0; 4 * IMAGE]),
        ("noise", noise),
    ]
}

fn coding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("coding");
    for (what, payload) in payloads() {
        let payload = Bytes::from(payload);
        let mut codec = Codec::default();
        let coded: Bytes = codec.encode(&payload).concat().into();
        let name = format!("{what} to {:.3}", coded.len() as f64 / payload.len() as f64);
        group.throughput(Throughput::Bytes(payload.len() as u64));
        group.bench_function(BenchmarkId::new("encode", &name), |bench| {
            bench.iter(|| codec.encode(black_box(&payload)));
        });
        // What is not coded is not decoded either.
        if coded.len() < payload.len() {
            group.bench_function(BenchmarkId::new("decode", &name), |bench| {
                bench.iter(|| Codec::decode(black_box(&coded), payload.len() as u64).unwrap());
            });
        }
    }
    group.finish();
}

criterion_group!(benches, coding);
criterion_main!(benches);
