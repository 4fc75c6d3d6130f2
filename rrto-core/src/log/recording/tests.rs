use proptest::prelude::*;

use super::*;
use crate::operator::{Geometry, Handle, KernelInfo, Launch, Operator};

fn launch(function: u64, params: Vec<u8>) -> Operator {
    Operator::Launch(Launch {
        function: Handle(function),
        geometry: Geometry { grid: [1, 2, 3], block: [32, 1, 1], shared_bytes: 0 },
        stream: Handle(1),
        cooperative: false,
        attributes: Vec::new(),
        params: params.into(),
    })
}

fn operator() -> impl Strategy<Value = Operator> {
    prop_oneof![
        4 => (0..5_u64, proptest::collection::vec(0..3_u8, 0..9)).prop_map(|(f, params)| launch(f, params)),
        1 => (0..9_u64, 0..20_000_u64)
            .prop_map(|(dst, bytes)| Operator::CopyIn { dst, bytes, stream: Handle(0) }),
        1 => any::<u64>().prop_map(|bytes| Operator::MemAlloc { bytes }),
        1 => ".{0,9}".prop_map(|name| Operator::ModuleGetGlobal { module: Handle(3), name: name.replace('\0', "") }),
    ]
}

fn outcome() -> impl Strategy<Value = Summary> {
    prop_oneof![
        Just(Ok(Answer::Value(Value::None))),
        any::<u64>().prop_map(|address| Ok(Answer::Value(Value::Address(address)))),
        any::<u64>().prop_map(|bytes| Ok(Answer::Bulk(bytes))),
        any::<u32>().prop_map(|error| Err(CuResult(error))),
        proptest::collection::vec(any::<(u32, u32)>(), 0..4).prop_map(|params| {
            Ok(Answer::Value(Value::Kernel(KernelInfo {
                params,
                attributes: vec![None, Some(-1)],
                ..KernelInfo::default()
            })))
        }),
    ]
}

/// Numbers are mostly in order, but a recording need not rely on that.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 1..40_u64, 1 => any::<u64>()]
}

fn event() -> impl Strategy<Value = Event> {
    let became = prop_oneof![
        number().prop_map(Became::Queued),
        number().prop_map(Became::Awaits),
        outcome().prop_map(Became::Answered),
    ];
    prop_oneof![
        6 => (0..3_u32, any::<bool>(), operator(), became).prop_map(|(lane, wants_answer, operator, became)| {
            Event::Submit { record: Record { lane, wants_answer, operator }, became }
        }),
        1 => (0..3_u32, number(), any::<bool>())
            .prop_map(|(lane, number, blocks)| Event::Wait { lane, number, blocks }),
        1 => (number(), outcome()).prop_map(|(number, outcome)| Event::Outcome { number, outcome }),
    ]
}

fn recorded(events: &[Event]) -> Vec<u8> {
    let mut writer = Writer::new();
    let mut bytes = Vec::new();
    for event in events {
        writer.append(event).unwrap();
        bytes.extend_from_slice(writer.bytes());
        writer.clear();
    }
    bytes.extend_from_slice(writer.bytes());
    bytes
}

fn read(bytes: &[u8]) -> Vec<Result<Event, RecordingError>> {
    Reader::new(Bytes::copy_from_slice(bytes)).unwrap().collect()
}

proptest! {
    #[test]
    fn reading_gives_what_was_recorded(events in proptest::collection::vec(event(), 0..200)) {
        let expected: Vec<_> = events.iter().cloned().map(Ok).collect();
        prop_assert_eq!(read(&recorded(&events)), expected);
    }

    #[test]
    fn a_recording_that_is_cut_off_gives_what_came_before(
        events in proptest::collection::vec(event(), 1..30),
        cut in 0.0..1.0_f64,
    ) {
        let whole = recorded(&events);
        let cut = HEADER_BYTES + ((whole.len() - HEADER_BYTES) as f64 * cut) as usize;
        for (at, read) in read(&whole[..cut]).into_iter().enumerate() {
            match read {
                Ok(event) => prop_assert_eq!(&event, &events[at]),
                Err(error) => prop_assert!(matches!(error, RecordingError::Event { .. }), "{error}"),
            }
        }
    }

    #[test]
    fn random_bytes_are_refused_or_read_never_a_panic(
        raw in proptest::collection::vec(any::<u8>(), 0..400),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
        events in proptest::collection::vec(event(), 1..30),
    ) {
        let _ = Reader::new(raw.clone().into());
        let header = Writer::new().bytes().to_vec();
        let _ = read(&[header, raw].concat());
        let mut damaged = recorded(&events);
        for (at, byte) in damage {
            let at = HEADER_BYTES + at.index(damaged.len() - HEADER_BYTES);
            damaged[at] = byte;
        }
        let _ = read(&damaged);
    }
}

#[test]
fn a_repeated_inference_costs_two_bytes_an_operator() {
    let inference = |first: u64| {
        (0..300_u64).map(move |at| {
            let record = Record { lane: 0, wants_answer: false, operator: launch(at, vec![at as u8; 200]) };
            Event::Submit { record, became: Became::Queued(first + at) }
        })
    };
    let mut writer = Writer::new();
    inference(1).for_each(|event| writer.append(&event).unwrap());
    for first in [301, 601] {
        writer.clear();
        inference(first).for_each(|event| writer.append(&event).unwrap());
        assert_eq!(writer.bytes().len(), 600);
    }
}

#[test]
fn what_is_no_recording_is_said() {
    let header = Writer::new().bytes().to_vec();
    assert_eq!(header.len(), HEADER_BYTES);
    assert!(Reader::new(header.clone().into()).unwrap().has_same_schema());
    let refusal = |bytes: &[u8]| Reader::new(Bytes::copy_from_slice(bytes)).unwrap_err();
    assert_eq!(refusal(&[]), RecordingError::NotOne);
    assert_eq!(refusal(&header[..HEADER_BYTES - 1]), RecordingError::NotOne);
    assert_eq!(refusal(&[0; 100]), RecordingError::NotOne);

    let mut newer = header.clone();
    newer[MAGIC.len()] = 2;
    assert_eq!(refusal(&newer), RecordingError::Version { found: 2 });

    let mut other = header;
    other[HEADER_BYTES - 1] ^= 1;
    assert!(!Reader::new(other.into()).unwrap().has_same_schema());
}

#[test]
fn payloads_are_their_lengths() {
    assert_eq!(summary(&Ok(Value::Payload(vec![7; 9].into()))), Ok(Answer::Bulk(9)));
    assert_eq!(summary(&Ok(Value::Number(9))), Ok(Answer::Value(Value::Number(9))));
    assert_eq!(summary(&Err(CuResult::UNKNOWN)), Err(CuResult::UNKNOWN));
}
