//! What a session's worker adds to an operator: from its issue to its outcome, on the software GPU, in this process and
//! in a worker.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use rrto_core::operator::{Handle, Operator, Outcome, Value};
use rrto_gpud::cli::{DeviceKind, WorkerArgs};
use rrto_gpud::device::cpu::CpuDevice;
use rrto_gpud::device::process::{ProcessDevice, WorkerCommand};
use rrto_gpud::device::{Context, Device, Limits, Progress};
use tracing::level_filters::LevelFilter;

const STREAM: Handle = Handle::LEGACY_STREAM;

/// A camera's image: 224 x 224 pixels of 3 floats.
const IMAGE_BYTES: u64 = 224 * 224 * 3 * 4;

struct Session {
    context: Box<dyn Context>,
    number: u64,
    finished: Vec<(u64, Outcome)>,
}

impl Session {
    fn issue(&mut self, operator: Operator, payload: Option<Bytes>) {
        self.number += 1;
        if let Progress::Done(outcome) = self.context.execute(self.number, operator, payload.map(Into::into))
        {
            self.finished.push((self.number, outcome));
        }
    }

    /// The outcome of the operator that was issued last.
    fn wait(&mut self) -> Outcome {
        loop {
            if let Some(at) = self.finished.iter().position(|(number, _)| *number == self.number) {
                let outcome = self.finished.swap_remove(at).1;
                self.finished.clear();
                return outcome;
            }
            self.context.poll(&mut self.finished);
            std::thread::yield_now();
        }
    }

    fn call(&mut self, operator: Operator, payload: Option<Bytes>) -> Outcome {
        self.issue(operator, payload);
        self.wait()
    }
}

fn measure(criterion: &mut Criterion) {
    let line = WorkerArgs { device: DeviceKind::Cpu, gpu: 0, log_level: LevelFilter::OFF }.command_line();
    let command = WorkerCommand { program: env!("CARGO_BIN_EXE_rrto-gpud").into(), arguments: line };
    let here: Box<dyn Device> = Box::new(CpuDevice::new().expect("the software GPU opens"));
    let worker: Box<dyn Device> = Box::new(ProcessDevice::new(command).expect("a worker starts"));
    for (name, device) in [("here", here), ("worker", worker)] {
        let context = device.open(Limits::default()).expect("a context opens");
        let mut session = Session { context, number: 0, finished: Vec::new() };
        let Ok(Value::Address(dst)) = session.call(Operator::MemAlloc { bytes: IMAGE_BYTES }, None) else {
            continue;
        };
        let image = Bytes::from(vec![1; IMAGE_BYTES as usize]);
        let mut group = criterion.benchmark_group(name);
        group.bench_function("round trip", |b| b.iter(|| session.call(Operator::MemGetInfo, None)));
        group.bench_function("8 bytes out", |b| {
            b.iter(|| session.call(Operator::CopyOut { src: dst, bytes: 8, stream: STREAM }, None));
        });
        group.bench_function("image in", |b| {
            b.iter(|| {
                let copy = Operator::CopyIn { dst, bytes: IMAGE_BYTES, stream: STREAM };
                session.call(copy, Some(image.clone()))
            });
        });
        group.bench_function("image in, 8 bytes out", |b| {
            b.iter(|| {
                let copy = Operator::CopyIn { dst, bytes: IMAGE_BYTES, stream: STREAM };
                session.issue(copy, Some(image.clone()));
                session.call(Operator::CopyOut { src: dst, bytes: 8, stream: STREAM }, None)
            });
        });
        group.bench_function("image out", |b| {
            b.iter(|| {
                black_box(
                    session.call(Operator::CopyOut { src: dst, bytes: IMAGE_BYTES, stream: STREAM }, None),
                )
            });
        });
        group.finish();
    }
}

criterion_group!(benches, measure);
criterion_main!(benches);
