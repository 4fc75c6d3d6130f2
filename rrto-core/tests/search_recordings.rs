//! The search on recordings of real models (`RRTO_RECORD`, compressed with zstd), which lie in `tests/golden`.
//!
//! What is found in each is in [`EXPECTED`]. To add one, put it there, run this test, and check what it prints before
//! it becomes a row.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::Path;

use bytes::Bytes;
use rrto_core::log::recording::{Became, Event, Reader, Writer};
use rrto_core::operator::{Operator, Value};
use rrto_core::verify::{Found, Recorder};
use rrto_core::wire::Answer;
use rrto_core::wire::repeat::Record;

/// A recording, and what is found in it.
struct Expected {
    /// The file's name without `.zst`.
    name: &'static str,
    /// Sequences in the order in which they are found.
    sequences: &'static [Sequence],
}

/// A sequence found.
#[derive(PartialEq, Eq, Debug)]
struct Sequence {
    operators: usize,
    patched: usize,
}

const EXPECTED: &[Expected] = &[];

/// Feeds the events of a recording to a recorder, as a client does.
#[derive(Default)]
struct Feed {
    recorder: Recorder,
    /// The latest operator of each lane: whether the program waits for it is what comes next.
    held: BTreeMap<u32, Operator>,
    /// Bytes asked for, by operator number.
    allocating: HashMap<u64, u64>,
    /// Each sequence once, as it was first found.
    found: Vec<Found>,
}

impl Feed {
    fn take(&mut self, event: Event) {
        match event {
            // It never left the client.
            Event::Submit { became: Became::Answered(_), .. } => {}
            Event::Submit {
                record: Record { lane, operator, .. },
                became: Became::Queued(number) | Became::Awaits(number),
            } => {
                self.release(lane, false);
                match &operator {
                    Operator::MemAlloc { bytes } => _ = self.allocating.insert(number, *bytes),
                    Operator::MemAllocPitch { height, .. } => _ = self.allocating.insert(number, *height),
                    Operator::MemFree { address } => self.recorder.handle_freed(*address),
                    _ => {}
                }
                self.held.insert(lane, operator);
            }
            Event::Wait { lane, .. } => {
                self.release(lane, true);
                while let Some(found) = self.recorder.poll_sequence() {
                    if self.found.iter().all(|known| known.sequence != found.sequence) {
                        self.found.push(found);
                    }
                }
            }
            Event::Outcome { number, outcome: Ok(Answer::Value(value)) } => {
                let Some(asked) = self.allocating.remove(&number) else { return };
                match value {
                    Value::Address(address) => self.recorder.handle_allocated(address, asked),
                    Value::Pitched { address, pitch_bytes } => {
                        self.recorder.handle_allocated(address, pitch_bytes * asked);
                    }
                    _ => {}
                }
            }
            Event::Outcome { number, .. } => _ = self.allocating.remove(&number),
        }
    }

    fn release(&mut self, lane: u32, waits: bool) {
        if let Some(operator) = self.held.remove(&lane) {
            self.recorder.handle_operator(lane, &operator, waits);
        }
    }
}

fn search(recording: Bytes) -> Vec<Found> {
    let mut feed = Feed::default();
    Reader::new(recording).unwrap().for_each(|event| feed.take(event.unwrap()));
    feed.found
}

#[test]
fn what_real_models_repeat_is_found() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let entries = std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    let mut found: BTreeMap<String, Vec<Sequence>> = BTreeMap::new();
    for path in entries.filter(|path| path.extension().is_some_and(|extension| extension == "zst")) {
        let compressed = std::fs::File::open(&path).unwrap();
        let mut recording = Vec::new();
        ruzstd::decoding::StreamingDecoder::new(compressed).unwrap().read_to_end(&mut recording).unwrap();
        let sequences = search(recording.into()).into_iter().map(|found| Sequence {
            operators: found.sequence.operators().len(),
            patched: found.patched.len(),
        });
        found.insert(path.file_stem().unwrap().to_string_lossy().into(), sequences.collect());
    }
    let names: Vec<_> = EXPECTED.iter().map(|expected| expected.name).collect();
    assert_eq!(found.keys().collect::<Vec<_>>(), names, "{found:#?}");
    for expected in EXPECTED {
        assert_eq!(found[expected.name], expected.sequences, "{}", expected.name);
    }
}

/// A recording made here goes the same way as one of a real model.
#[test]
fn a_recorded_inference_is_found() {
    let inference: Vec<_> = (0..10)
        .map(|at| Operator::CopyDevice { dst: 64 * at, src: 0, bytes: 64, stream: Default::default() })
        .chain([Operator::CopyOut { src: 0, bytes: 64, stream: Default::default() }])
        .collect();
    let mut writer = Writer::new();
    let mut number = 1;
    for _ in 0..4 {
        for operator in &inference {
            let record = Record { lane: 3, wants_answer: false, operator: operator.clone() };
            let became =
                if operator.needs_answer() { Became::Awaits(number) } else { Became::Queued(number) };
            writer.append(&Event::Submit { record, became }).unwrap();
            if operator.needs_answer() {
                writer.append(&Event::Wait { lane: 3, number, blocks: true }).unwrap();
            }
            number += 1;
        }
    }
    let found = search(Bytes::copy_from_slice(writer.bytes()));
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].sequence.operators(), found[0].sequence.lane()), (&inference[..], 3));
}
