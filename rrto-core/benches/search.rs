//! What recording costs an operator: noting it, and the search's work whenever the program waits. At most 200 ns, and
//! the same for a program that runs for long.

use std::borrow::Borrow;
use std::hint::black_box;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rrto_core::operator::{Geometry, Handle, Launch, Operator};
use rrto_core::verify::{Recorder, RecorderLimits};

const INFERENCE_OPERATORS: u64 = 300;
const PARAM_BYTES: usize = 200;

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
        }
    }
}

/// Inferences in which no launch is like any before, each made when it is its turn: what a program has just made is in
/// the processor's cache.
fn noise(count: u64) -> impl Iterator<Item = Operator> {
    let runs = (0..).flat_map(|run| inference(move |at| run * INFERENCE_OPERATORS + at));
    runs.take(count as usize)
}

fn search(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("search");
    group.sample_size(10);
    for count in [10_000_u64, 100_000, 1_000_000] {
        group.throughput(Throughput::Elements(count));
        let repeated = inference(|at| at);
        group.bench_with_input(BenchmarkId::new("repeated", count), &count, |bencher, &count| {
            bencher.iter(|| {
                let mut recorder = Recorder::new(RecorderLimits::default());
                record(&mut recorder, repeated.iter().cycle().take(count as usize));
                recorder
            });
        });
        group.bench_with_input(BenchmarkId::new("noise", count), &count, |bencher, &count| {
            bencher.iter(|| {
                let mut recorder = Recorder::new(RecorderLimits::default());
                record(&mut recorder, noise(count));
                recorder
            });
        });
        group.bench_with_input(BenchmarkId::new("making noise", count), &count, |bencher, &count| {
            bencher.iter(|| noise(count).for_each(|operator| _ = black_box(operator)));
        });
    }
    group.finish();
}

criterion_group!(benches, search);
criterion_main!(benches);
