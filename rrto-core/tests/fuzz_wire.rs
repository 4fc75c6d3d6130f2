//! A few seconds of the `wire` fuzz target: frames that were sent, damaged in
//! seeded ways, and bytes that never were one.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../fuzz/bodies/wire.rs"]
mod bodies;

use bytes::Bytes;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rrto_core::operator::{Edit, Geometry, Handle, Launch, Operator, Patch, SequenceId, Span};
use rrto_core::wire::repeat::{Encoder, Record};
use rrto_core::wire::{ClientFrame, Hello, Mode, Refusal, ServerFrame, put_frame};

/// What a client and a server send at the start of a session.
fn sent() -> Vec<u8> {
    let launch = |id| Launch {
        function: Handle(id),
        geometry: Geometry { grid: [1, 2, 3], block: [32, 1, 1], shared_bytes: 0 },
        stream: Handle(0),
        cooperative: false,
        attributes: Vec::new(),
        params: Bytes::from(vec![7; 40]),
    };
    let operators = [
        (Operator::Launch(launch(1)), None),
        (Operator::CopyIn { dst: 64, bytes: 4, stream: Handle(1) }, Some([1, 2, 3, 4].as_slice())),
        (Operator::Launch(launch(2)), None),
        (Operator::Launch(launch(1)), None),
    ];
    let mut encoder = Encoder::default();
    let mut coded = Vec::new();
    for (operator, payload) in operators {
        let record = Record { lane: 0, wants_answer: false, operator };
        encoder.encode(&record, payload, &mut coded).unwrap();
    }
    let mut stream = Vec::new();
    put_frame(&ClientFrame::Hello(Hello::new(Mode::Pipeline, "program")), &mut stream).unwrap();
    put_frame(&ClientFrame::Operators { first: 1, coded: coded.into() }, &mut stream).unwrap();
    let mut sequence = Vec::new();
    for id in [1, 2, 1] {
        let record = Record { lane: 0, wants_answer: false, operator: Operator::Launch(launch(id)) };
        encoder.encode_record(&record, &mut sequence).unwrap();
    }
    let id = SequenceId(0);
    put_frame(&ClientFrame::Define { number: 5, id, lane: 0, coded: sequence.into() }, &mut stream).unwrap();
    let edits = vec![Edit { offset: 8, bytes: Bytes::from_static(&[1; 8]) }];
    let patches = vec![Patch { at: 1, geometry: None, edits }];
    let span = Span { sequence: id, from: 0, count: 3, patches };
    put_frame(&ClientFrame::Advance { first: 6, span, payloads: Bytes::new() }, &mut stream).unwrap();
    put_frame(&ClientFrame::Retire { number: 9, id }, &mut stream).unwrap();
    put_frame(&ClientFrame::Goodbye, &mut stream).unwrap();
    put_frame(&ServerFrame::Refused(Refusal::Full { limit: 8 }), &mut stream).unwrap();
    put_frame(&ServerFrame::Executed { through: 3 }, &mut stream).unwrap();
    stream
}

#[test]
fn damaged_streams_never_panic() {
    let sent = sent();
    bodies::wire(&sent);
    for seed in 0..3000 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut damaged = sent.clone();
        for _ in 0..random.random_range(1..6) {
            let at = random.random_range(0..damaged.len());
            damaged[at] = random.random();
        }
        // From anywhere, so that the operators' and the server's frames also come first.
        bodies::wire(&damaged[random.random_range(0..damaged.len())..]);
        bodies::wire(&damaged);
        let mut anything = vec![0; random.random_range(0..500)];
        random.fill(anything.as_mut_slice());
        bodies::wire(&anything);
    }
}

/// Not a test: leaves a frame stream for the fuzzer to start from.
#[test]
#[ignore = "writes to the folder RRTO_FUZZ_SEEDS"]
fn seeds() {
    let folder = std::path::PathBuf::from(std::env::var_os("RRTO_FUZZ_SEEDS").unwrap());
    std::fs::write(folder.join("wire"), sent()).unwrap();
}
