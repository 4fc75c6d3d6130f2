//! A client that sends anything.

use bytes::Bytes;
use proptest::prelude::*;
use rrto_core::api::CuResult;
use rrto_core::engine::server::{Channel, Greeting};
use rrto_core::engine::{Server, ServerLimits, Work};
use rrto_core::operator::{
    Edit, Geometry, MAX_PATCH_EDITS, MAX_SEQUENCES, Operator, Patch, SequenceId, Span, Value,
};
use rrto_core::wire::repeat::{Encoder, Record};
use rrto_core::wire::{ClientFrame, DeviceInfo, Hello, Mode, SessionToken, TOKEN_BYTES, Welcome, put_frame};

use crate::model::inference;

fn patch() -> impl Strategy<Value = Patch> {
    let edit =
        (0..80_u16, 0..12_usize).prop_map(|(offset, bytes)| Edit { offset, bytes: vec![5; bytes].into() });
    (0..40_u32, any::<bool>(), prop::collection::vec(edit, 0..4)).prop_map(|(at, reshaped, edits)| Patch {
        at,
        geometry: reshaped.then(Geometry::default),
        edits,
    })
}

/// Frames that are almost right: numbers near those that are expected, sequences that there may be.
#[derive(Clone, Debug)]
enum Sent {
    Operators { ahead: i64, count: usize },
    Define { ahead: i64, id: u32, from: usize, count: usize, lane: u32 },
    Advance { ahead: i64, span: Span, payload_bytes: usize },
    Retire { ahead: i64, id: u32 },
    Payload { ahead: i64, bytes: usize },
    Execute { count: usize },
}

fn sent() -> impl Strategy<Value = Sent> {
    let ahead = || prop_oneof![8 => Just(0_i64), 1 => -4..4_i64, 1 => any::<i64>()];
    let span =
        (0..4_u32, 0..20_u32, prop_oneof![0..25_u32, any::<u32>()], prop::collection::vec(patch(), 0..3));
    let span =
        span.prop_map(|(id, from, count, patches)| Span { sequence: SequenceId(id), from, count, patches });
    prop_oneof![
        (ahead(), 0..20_usize).prop_map(|(ahead, count)| Sent::Operators { ahead, count }),
        (ahead(), 0..4_u32, 0..30_usize, 0..30_usize, 0..2_u32)
            .prop_map(|(ahead, id, from, count, lane)| Sent::Define { ahead, id, from, count, lane }),
        (ahead(), span, prop_oneof![Just(0_usize), Just(40), 0..100_usize])
            .prop_map(|(ahead, span, payload_bytes)| Sent::Advance { ahead, span, payload_bytes }),
        (ahead(), 0..4_u32).prop_map(|(ahead, id)| Sent::Retire { ahead, id }),
        (ahead(), prop_oneof![Just(5000_usize), 0..6000_usize])
            .prop_map(|(ahead, bytes)| Sent::Payload { ahead, bytes }),
        (0..30_usize).prop_map(|count| Sent::Execute { count }),
    ]
}

struct Peer {
    server: Server,
    channel: Channel,
    encoder: Encoder,
    /// What an honest client would number next.
    next: u64,
    executed: u64,
}

impl Peer {
    fn new() -> Self {
        let mut server = Server::new(ServerLimits::default());
        let mut hello = Vec::new();
        put_frame(&ClientFrame::Hello(Hello::new(Mode::Replay, "hostile")), &mut hello).unwrap();
        let mut channel = Channel::new(false);
        assert!(matches!(channel.handle_greeting(&hello), Ok(Some(Greeting::Hello(_)))));
        let welcome = Welcome { session: 1, server_version: String::new(), device: DeviceInfo::default() };
        server.handle_welcome(&mut channel, welcome, SessionToken([1; TOKEN_BYTES]));
        Peer { server, channel, encoder: Encoder::default(), next: 1, executed: 0 }
    }

    fn number(&self, ahead: i64) -> u64 {
        self.next.wrapping_add_signed(ahead)
    }

    /// Whether the session goes on.
    fn send(&mut self, sent: Sent) -> bool {
        let records = |lane, from: usize, count: usize| {
            let calls = inference(lane, 30, 1).into_iter().skip(from).take(count);
            calls.map(move |call| {
                let wants_answer = call.operator.needs_answer();
                (Record { lane, wants_answer, operator: call.operator }, call.payload)
            })
        };
        let (frame, taken) = match sent {
            Sent::Operators { ahead, count } => {
                let mut coded = Vec::new();
                for (record, payload) in records(0, 0, count) {
                    self.encoder.encode(&record, payload.as_deref(), &mut coded).unwrap();
                }
                (ClientFrame::Operators { first: self.number(ahead), coded: coded.into() }, count as u64)
            }
            Sent::Define { ahead, id, from, count, lane } => {
                let mut coded = Vec::new();
                for (record, _) in records(0, from, count) {
                    self.encoder.encode_record(&record, &mut coded).unwrap();
                }
                let (number, id) = (self.number(ahead), SequenceId(id));
                (ClientFrame::Define { number, id, lane, coded: coded.into() }, 1)
            }
            Sent::Advance { ahead, span, payload_bytes } => {
                let taken = span.count.into();
                let payloads = vec![7; payload_bytes].into();
                (ClientFrame::Advance { first: self.number(ahead), span, payloads }, taken)
            }
            Sent::Retire { ahead, id } => {
                (ClientFrame::Retire { number: self.number(ahead), id: SequenceId(id) }, 1)
            }
            Sent::Payload { ahead, bytes } => {
                let number = self.number(ahead);
                return self.server.handle_payload(number, Bytes::from(vec![3; bytes]).into()).is_ok();
            }
            Sent::Execute { count } => return self.execute(count),
        };
        let mut bytes = Vec::new();
        put_frame(&frame, &mut bytes).unwrap();
        self.next = self.next.wrapping_add(taken);
        self.server.handle_control(&mut self.channel, &bytes).is_ok()
    }

    fn execute(&mut self, count: usize) -> bool {
        for _ in 0..count {
            match self.server.poll_ready() {
                Ok(None) => break,
                Ok(Some(Work::Operator(ready))) => {
                    assert!(ready.number > self.executed, "in order");
                    let payload = ready.payload.as_ref().map(rrto_core::engine::Payload::bytes);
                    assert_eq!(payload, ready.operator.payload_bytes());
                    self.executed = ready.number;
                    self.server.handle_outcome(ready.number, Ok(Value::None));
                }
                Ok(Some(Work::Span { first, sequence, span })) => {
                    assert!(first > self.executed, "in order");
                    self.executed = first + u64::from(span.count) - 1;
                    assert_eq!(sequence.check(&span), Ok(()));
                    let operators = (span.from..span.end()).map(|at| sequence.operator(at, &span).unwrap());
                    assert!(operators.into_iter().all(|operator| !operator.is_slot()));
                    self.server.handle_outcome(first, Err(CuResult::INVALID_VALUE));
                }
                Ok(Some(Work::Retire(_))) => {}
                Err(_) => return false,
            }
        }
        self.server.poll_control(&mut self.channel, &mut Vec::new()).is_ok()
    }
}

proptest! {
    #[test]
    fn frames_in_any_order_are_executed_in_order_or_end_the_session(
        all in prop::collection::vec(sent(), 1..60),
    ) {
        let mut peer = Peer::new();
        for sent in all {
            if !peer.send(sent) {
                break;
            }
        }
        peer.execute(usize::MAX);
    }

    #[test]
    fn bytes_that_are_no_frames_end_the_session(raw in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut peer = Peer::new();
        let _ = peer.server.handle_control(&mut peer.channel, &raw);
        peer.execute(usize::MAX);
    }
}

#[test]
fn a_session_has_only_so_many_sequences() {
    let mut peer = Peer::new();
    let define = |id: usize| Sent::Define { ahead: 0, id: id as u32, from: 0, count: 12, lane: 0 };
    assert!((0..MAX_SEQUENCES).all(|id| peer.send(define(id))));
    // One that is retired counts until its retirement has been executed.
    assert!(peer.send(Sent::Retire { ahead: 0, id: 0 }));
    assert!(peer.execute(usize::MAX));
    assert!(peer.send(define(MAX_SEQUENCES)));
    assert!(!peer.send(define(MAX_SEQUENCES + 1)));
}

#[test]
fn a_span_waits_for_the_bulk_payload_of_its_slot() {
    let mut peer = Peer::new();
    assert!(peer.send(Sent::Define { ahead: 0, id: 0, from: 0, count: 20, lane: 0 }));
    let span = Span { sequence: SequenceId(0), from: 0, count: 20, patches: Vec::new() };
    assert!(peer.send(Sent::Advance { ahead: 0, span, payload_bytes: 40 }));
    assert_eq!(peer.server.poll_ready(), Ok(None));
    peer.server.handle_payload(2, Bytes::from(vec![1; 5000]).into()).unwrap();
    let Ok(Some(Work::Operator(ready))) = peer.server.poll_ready() else { panic!("the input") };
    assert_eq!((ready.number, ready.payload.map(|payload| payload.bytes())), (2, Some(5000)));
    let Ok(Some(Work::Operator(ready))) = peer.server.poll_ready() else { panic!("the second input") };
    assert!(matches!(ready.operator, Operator::CopyIn { bytes: 40, .. }));
    let Ok(Some(Work::Span { first, span, .. })) = peer.server.poll_ready() else { panic!("the rest") };
    assert_eq!((first, span.from, span.count), (4, 2, 18));
    assert_eq!(peer.server.poll_ready(), Ok(None));
}

#[test]
fn patches_of_nothing_are_held_within_the_session_s_limit() {
    let mut peer = Peer::new();
    assert!(peer.send(Sent::Define { ahead: 0, id: 0, from: 0, count: 20, lane: 0 }));
    // What comes behind this waits for its payload.
    let first = Span { sequence: SequenceId(0), from: 0, count: 20, patches: Vec::new() };
    assert!(peer.send(Sent::Advance { ahead: 0, span: first, payload_bytes: 40 }));
    let patch = Patch {
        at: 2,
        geometry: None,
        edits: vec![Edit { offset: 0, bytes: Bytes::new() }; MAX_PATCH_EDITS],
    };
    let span = Span { sequence: SequenceId(0), from: 2, count: 1, patches: vec![patch] };
    let most = ServerLimits::default().payload_bytes as usize / (MAX_PATCH_EDITS * size_of::<Edit>());
    for _ in 0..most {
        assert!(peer.send(Sent::Advance { ahead: 0, span: span.clone(), payload_bytes: 0 }));
    }
    assert!(!peer.server.wants_control());
}
