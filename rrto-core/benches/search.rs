//! What recording costs an operator: noting it, and the search's work whenever the program waits. At most 200 ns, and
//! the same for a program that runs for long. `repeated` is an inference again and again; `noise` never repeats
//! anything and includes making the operators, which `making noise` is by itself.
//!
//! Measured on 2026-11-21 on a shared x86-64 server (Xeon, 2.5 GHz), least processor time of 6 runs in ns an
//! operator. That is not what criterion shows, which counts the time of others on such a machine, too.
//!
//! | operators | repeated | noise | making noise | recording noise |
//! |---|---|---|---|---|
//! | 10^4 | 97 | 201 | 80 | 121 |
//! | 10^5 | 97 | 189 | 80 | 109 |
//! | 10^6 | 97 | 198 | 84 | 114 |

use std::borrow::Borrow;
use std::hint::black_box;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rrto_core::operator::{Geometry, Handle, Launch, Operator};
use rrto_core::verify::{Recorder, RecorderLimits};

const INFERENCE_OPERATORS: u64 = 300;
const PARAM_BYTES: usize = 200;
const WARM_UP_OPERATORS: usize = 60_000;

fn launch(function: u64, first_word: u64) -> Operator {
    let mut params = vec![function as u8; PARAM_BYTES];
    params[..8].copy_from_slice(&first_word.to_le_bytes());
    Operator::Launch(Launch {
        function: Handle(function),
        geometry: Geometry { grid: [12, 1, 1], block: [256, 1, 1], shared_bytes: 0 },
        stream: Handle(0),
        cooperative: false,
        attributes: Vec::new(),
        params: Bytes::from(params),
    })
}

/// An input, launches, an output that is waited for.
fn inference(words: impl Fn(u64) -> u64) -> Vec<Operator> {
    let mut operators = vec![Operator::CopyIn { dst: 0x7000_0000, bytes: 602_112, stream: Handle(0) }];
    operators.extend((2..INFERENCE_OPERATORS).map(|at| launch(at, words(at))));
    operators.push(Operator::CopyOut { src: 0x7100_0000, bytes: 4000, stream: Handle(0) });
    operators
}

fn record(recorder: &mut Recorder, operators: impl Iterator<Item = impl Borrow<Operator>>) {
    for operator in operators {
        let operator = operator.borrow();
        let waits = matches!(operator, Operator::CopyOut { .. });
        recorder.handle_operator(0, black_box(operator), waits);
        if waits {
            black_box(recorder.poll_sequence());
            // Or it would soon look at one operator in eight, because nothing is replayed here.
            recorder.handle_operator(0, &Operator::MemGetInfo, true);
        }
    }
}

/// Inferences in which no launch is like any before, each made when it is its turn: what a program has just made is in
/// the processor's cache.
fn noise() -> impl Iterator<Item = Operator> {
    (0..).flat_map(|run| inference(move |at| run * INFERENCE_OPERATORS + at))
}

/// A recorder all of whose memory has been used once: while it is new, touching it adds up to 240 ns to each of the
/// first ten thousand operators.
fn warm_recorder() -> Recorder {
    let mut recorder = Recorder::new(RecorderLimits::default());
    record(&mut recorder, noise().take(WARM_UP_OPERATORS));
    recorder
}

fn search(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("search");
    group.sample_size(10);
    for count in [10_000, 100_000, 1_000_000] {
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::new("repeated", count), |bencher| {
            let (mut recorder, inference) = (warm_recorder(), inference(|at| at));
            bencher.iter(|| record(&mut recorder, inference.iter().cycle().take(count)));
        });
        group.bench_function(BenchmarkId::new("noise", count), |bencher| {
            let (mut recorder, mut noise) = (warm_recorder(), noise().skip(WARM_UP_OPERATORS));
            bencher.iter(|| record(&mut recorder, noise.by_ref().take(count)));
        });
        group.bench_function(BenchmarkId::new("making noise", count), |bencher| {
            let mut noise = noise();
            bencher.iter(|| noise.by_ref().take(count).for_each(|operator| _ = black_box(operator)));
        });
    }
    group.finish();
}

criterion_group!(benches, search);
criterion_main!(benches);
