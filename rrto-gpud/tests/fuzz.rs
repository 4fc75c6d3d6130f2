//! A few seconds of the fuzz targets: what was sent, damaged in seeded ways, and bytes that never were sent.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

#[path = "../fuzz/bodies/relay.rs"]
mod relay;
#[path = "../fuzz/bodies/session.rs"]
mod session;

use bytes::Bytes;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rrto_core::operator::{Geometry, Handle, Launch, Operator, SequenceId, Span};
use rrto_core::wire::repeat::{Encoder, Record};
use rrto_core::wire::{ClientFrame, put_frame};
use rrto_gpud::device::cpu::BASE_ADDRESS;
use rrto_gpud::device::process;

const PTX: &str = ".version 7.0\n.target sm_75\n.address_size 64\n.global .align 4 .b8 table[64];\n\
    .visible .entry add(.param .u64 words)\n{\n.reg .b32 %r<3>;\n.reg .b64 %rd<4>;\n\
    ld.param.u64 %rd1, [words];\nmov.u32 %r1, %tid.x;\nmul.wide.u32 %rd2, %r1, 4;\nadd.s64 %rd3, %rd1, %rd2;\n\
    ld.global.u32 %r2, [%rd3];\nadd.u32 %r2, %r2, 1;\nst.global.u32 [%rd3], %r2;\nret;\n}\n";

/// Handles of the session below.
const IMAGE: Handle = Handle(1);
const MODULE: Handle = Handle(2);
const FUNCTION: Handle = Handle(3);
const STREAM: Handle = Handle(4);
const EVENT: Handle = Handle(5);

fn launch(words: u64) -> Operator {
    Operator::Launch(Launch {
        function: FUNCTION,
        geometry: Geometry { grid: [1, 1, 1], block: [16, 1, 1], shared_bytes: 0 },
        stream: STREAM,
        cooperative: false,
        attributes: Vec::new(),
        params: Bytes::copy_from_slice(&words.to_le_bytes()),
    })
}

/// What a client sends whose program loads a module, has memory, streams and events, launches, and does it again as a sequence.
fn a_session() -> Vec<u8> {
    let words = BASE_ADDRESS;
    let image = PTX.as_bytes();
    let copy = [7; 64];
    let calls = [
        (Operator::ImageAppend { image: IMAGE, bytes: image.len() as u64 }, Some(image)),
        (Operator::ModuleLoad { module: MODULE, image: IMAGE }, None),
        (Operator::ModuleGetFunction { module: MODULE, name: "add".into(), function: FUNCTION }, None),
        (Operator::ModuleGetGlobal { module: MODULE, name: "table".into() }, None),
        (Operator::MemAlloc { bytes: 4096 }, None),
        (Operator::MemAllocPitch { width_bytes: 100, height: 3, element_bytes: 4 }, None),
        (Operator::StreamCreate { stream: STREAM, flags: 1, priority: 0 }, None),
        (Operator::EventCreate { event: EVENT, flags: 0 }, None),
        (
            Operator::Memset {
                address: words,
                pitch_bytes: 0,
                value: 1,
                element_bytes: 4,
                width: 16,
                height: 1,
                stream: STREAM,
            },
            None,
        ),
        (Operator::CopyIn { dst: words, bytes: 64, stream: STREAM }, Some(copy.as_slice())),
        (Operator::EventRecord { event: EVENT, stream: STREAM, flags: 0 }, None),
        (Operator::StreamWaitEvent { stream: Handle(0), event: EVENT, flags: 0 }, None),
        (Operator::CopyDevice { dst: words + 64, src: words, bytes: 64, stream: STREAM }, None),
        (launch(words), None),
        (Operator::CopyOut { src: words, bytes: 64, stream: STREAM }, None),
        (Operator::StreamSynchronize { stream: STREAM }, None),
        (Operator::EventQuery { event: EVENT }, None),
        (Operator::MemGetInfo, None),
        (Operator::ContextSynchronize, None),
    ];
    let (mut encoder, mut coded, mut stream) = (Encoder::default(), Vec::new(), Vec::new());
    let mut number = 1;
    for (operator, payload) in calls {
        let record = Record { lane: 0, wants_answer: operator.needs_answer(), operator };
        encoder.encode(&record, payload, &mut coded).unwrap();
        let frame = ClientFrame::Operators { first: number, coded: std::mem::take(&mut coded).into() };
        put_frame(&frame, &mut stream).unwrap();
        number += 1;
    }
    for _ in 0..3 {
        encoder
            .encode_record(&Record { lane: 0, wants_answer: false, operator: launch(words) }, &mut coded)
            .unwrap();
    }
    let id = SequenceId(0);
    put_frame(&ClientFrame::Define { number, id, lane: 0, coded: coded.into() }, &mut stream).unwrap();
    let span = Span { sequence: id, from: 0, count: 3, patches: Vec::new() };
    let advance = ClientFrame::Advance { first: number + 1, span, payloads: Bytes::new() };
    put_frame(&advance, &mut stream).unwrap();
    put_frame(&ClientFrame::Retire { number: number + 4, id }, &mut stream).unwrap();
    put_frame(&ClientFrame::Goodbye, &mut stream).unwrap();
    stream
}

/// A client and a server come to a relay, speak, and leave.
fn at_a_relay() -> Vec<u8> {
    let data = [3, 1, 9, 0, 1, 2, 3, 4, 5, 6, 7, 64];
    [&[5, 1, 5, 1, 13, 2, 13, 2][..], &data, &[21, 1, 4, 240, 29, 2]].concat()
}

/// A frame between server and worker: lengths of head and body, the head, no body.
fn a_message() -> Vec<u8> {
    [&2_u32.to_le_bytes()[..], &0_u32.to_le_bytes(), &[4, 1]].concat()
}

/// `sent` with some bytes changed, from anywhere on; and bytes at random.
fn damaged(sent: &[u8], seed: u64) -> [Vec<u8>; 2] {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut damaged = sent.to_vec();
    for _ in 0..random.random_range(1..6) {
        let at = random.random_range(0..damaged.len());
        damaged[at] = random.random();
    }
    if random.random_ratio(1, 4) {
        damaged.drain(..random.random_range(0..sent.len()));
    }
    let mut anything = vec![0; random.random_range(0..500)];
    random.fill(anything.as_mut_slice());
    [damaged, anything]
}

#[test]
fn whatever_a_client_sends_is_executed_or_refused() {
    let sent = a_session();
    session::session(&sent);
    for seed in 0..300 {
        damaged(&sent, seed).iter().for_each(|input| session::session(input));
    }
}

#[test]
fn whatever_comes_to_a_relay_is_forwarded_answered_or_dropped() {
    let sent = at_a_relay();
    relay::relay(&sent);
    for seed in 0..3000 {
        damaged(&sent, seed).iter().for_each(|input| relay::relay(input));
    }
}

#[test]
fn whatever_is_between_server_and_worker_is_read_or_refused() {
    let sent = a_message();
    for seed in 0..1000 {
        damaged(&sent, seed).iter().for_each(|input| process::fuzzing::messages(input));
    }
}

/// Not a test: leaves inputs for the fuzzer to start from.
#[test]
#[ignore = "writes to the folder RRTO_FUZZ_SEEDS"]
fn seeds() {
    let folder = std::path::PathBuf::from(std::env::var_os("RRTO_FUZZ_SEEDS").unwrap());
    for (name, seed) in [("session", a_session()), ("relay", at_a_relay()), ("messages", a_message())] {
        std::fs::create_dir_all(folder.join(name)).unwrap();
        std::fs::write(folder.join(name).join("seed"), seed).unwrap();
    }
}
