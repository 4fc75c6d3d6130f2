//! What the search finds. To add a recording, put it into the folder and into [`EXPECTED`], run this test, and check
//! what it prints before it becomes a row.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use rrto_core::log::recording::{Became, Event, HEADER_BYTES, Reader, Writer};
use rrto_core::operator::{Operator, Patch, Sequence, Value};
use rrto_core::verify::{Found, Recorder};
use rrto_core::wire::Answer;
use rrto_core::wire::repeat::Record;

use crate::golden;

/// A recording's name, and the sequences that are found, in that order. Of each, the number of operators and how many
/// of them are patched.
type Expected = (&'static str, &'static [(usize, usize)]);

const EXPECTED: &[Expected] = &[
    ("convnext_base", &[(399, 77)]),
    (
        "faster_rcnn",
        &[(39, 18), (9, 2), (9, 2), (15, 3), (27, 5), (10, 2), (34, 14), (19, 8), (13, 9), (9, 6), (8, 5)],
    ),
    ("gpt2", &[(285, 0)]),
    ("gpt2_generate", TOKENS),
    ("mobilenet_v3_small", &[(177, 21)]),
    ("resnet50", &[(229, 8)]),
    ("train", &[(11, 2), (12, 7)]),
    ("train_item", &[(12, 2), (12, 7)]),
    ("two_models", &[(177, 21), (229, 8)]),
    ("vgg19_bn", &[(120, 16)]),
    ("vit_b_16", &[(164, 2)]),
];

/// What gives a token, and what comes of it. Each token has shapes of its own, and so a sequence; most of a text's are found by
/// its sixth repetition.
#[rustfmt::skip]
const TOKENS: &[(usize, usize)] = &[
    (11, 1), (11, 1), (11, 3), (11, 3), (274, 11), (11, 1), (274, 11), (11, 1), (274, 11), (11, 1),
    (274, 11), (17, 1), (274, 11), (274, 11), (11, 1), (274, 11), (11, 3), (274, 11), (11, 3), (274, 11),
    (11, 3), (274, 11), (11, 3), (274, 11), (11, 3), (274, 11), (11, 3), (274, 11), (11, 3), (274, 11),
    (11, 3), (274, 11), (11, 3), (274, 11), (11, 3), (11, 1), (274, 11), (11, 3), (274, 11), (11, 3),
    (274, 11), (11, 1),
];

/// Feeds the events of a recording to a recorder, as a client does.
#[derive(Default)]
struct Feed {
    recorder: Recorder,
    /// The latest operator of each lane: whether the program waits for it is what comes next.
    held: BTreeMap<u32, Operator>,
    /// Bytes asked for, by operator number.
    allocating: HashMap<u64, u64>,
    /// Each sequence once, as it was first found: nothing is replayed here, so each goes on to be found.
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
                    if !self.found.iter().any(|known| is_alike(&known.sequence, &found.sequence)) {
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

/// Whether patches can make one sequence of the other.
fn is_alike(one: &Sequence, other: &Sequence) -> bool {
    let (from, to) = (one.operators(), other.operators());
    one.lane() == other.lane()
        && from.len() == to.len()
        && from.iter().zip(to).all(|(from, to)| from == to || Patch::between(0, from, to).is_some())
}

fn search(recording: Bytes) -> Vec<Found> {
    let mut feed = Feed::default();
    golden::events(recording).for_each(|event| feed.take(event));
    feed.found
}

fn counts(found: &[Found]) -> Vec<(usize, usize)> {
    found.iter().map(|found| (found.sequence.operators().len(), found.patched.len())).collect()
}

#[test]
fn what_real_models_repeat_is_found() {
    let found: BTreeMap<_, _> = golden::names()
        .into_iter()
        .map(|name| (name.clone(), counts(&search(golden::recording(&name)))))
        .collect();
    let expected = EXPECTED.iter().map(|(name, sequences)| ((*name).to_owned(), sequences.to_vec()));
    assert_eq!(found, expected.collect());
}

/// Most changes of the protocol change no operator, and recordings are kept for years.
#[test]
fn a_recording_of_another_schema_is_read_all_the_same() {
    let recording = golden::recording("vit_b_16");
    let mut other = recording.to_vec();
    // The header ends with the hash.
    other[HEADER_BYTES - 1] ^= 1;
    let other = Bytes::from(other);
    assert!(!Reader::new(other.clone()).unwrap().has_same_schema());
    assert!(golden::events(other).eq(golden::events(recording)));
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
