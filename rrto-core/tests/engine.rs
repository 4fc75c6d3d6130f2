//! The engines on random schedules: whatever the link does, the device ends as if every operator had been executed
//! once, in order, and the program sees every payload and answer.

use bytes::Bytes;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rrto_core::api::CuResult;
use rrto_core::engine::{ClientLimits, Submitted};
use rrto_core::operator::{Geometry, Handle, Launch, Operator, Value};
use rrto_core::testing::{Device, FakeDevice, Pair};
use rrto_core::wire::Mode;

const MEMORY_BYTES: usize = 64 << 10;

fn random_operator(rng: &mut ChaCha8Rng) -> (Operator, Option<Bytes>) {
    let stream = Handle::LEGACY_STREAM;
    let bytes = if rng.random_bool(0.3) { rng.random_range(5000..20000) } else { rng.random_range(1..200) };
    let at = |rng: &mut ChaCha8Rng| rng.random_range(0..MEMORY_BYTES as u64 - bytes);
    match rng.random_range(0..6) {
        0 => (
            Operator::CopyIn { dst: at(rng), bytes, stream },
            Some(vec![rng.random::<u8>(); bytes as usize].into()),
        ),
        1 => (Operator::CopyOut { src: at(rng), bytes, stream }, None),
        2 => (Operator::CopyDevice { dst: at(rng), src: at(rng), bytes, stream }, None),
        3 => (
            Operator::Memset {
                address: at(rng),
                pitch_bytes: 0,
                value: rng.random_range(0..256),
                element_bytes: 1,
                width: bytes,
                height: 1,
                stream,
            },
            None,
        ),
        4 => (Operator::StreamSynchronize { stream }, None),
        _ => {
            let params = vec![rng.random_range(0..3u8); rng.random_range(0..64)].into();
            let function = Handle(rng.random_range(0..5));
            let (geometry, attributes) = (Geometry::default(), Vec::new());
            (
                Operator::Launch(Launch {
                    function,
                    geometry,
                    stream,
                    cooperative: false,
                    attributes,
                    params,
                }),
                None,
            )
        }
    }
}

/// Runs `count` random operators over a link that moves random pieces; now and then a connection is cut with all that is on
/// its way, or another one is raced against it.
fn run(seed: u64, mode: Mode, count: usize, cuts: bool) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let limits = ClientLimits { bulk_bytes: 100_000, operators: 50 };
    let mut pair = Pair::new(mode, limits, FakeDevice::new(MEMORY_BYTES));
    let mut reference = FakeDevice::new(MEMORY_BYTES);
    let mut outs = Vec::new();
    let mut awaited = Vec::new();
    for _ in 0..count {
        let (mut operator, mut payload) = random_operator(&mut rng);
        loop {
            let ready = rrto_core::engine::Ready {
                number: pair.client.next_number(),
                lane: 0,
                wants_answer: true,
                operator: operator.clone(),
                payload: payload.clone().map(Into::into),
            };
            match pair.client.handle_submit(0, operator, payload) {
                Submitted::Full(back, back_payload) => {
                    (operator, payload) = (back, back_payload);
                    step(&mut pair, &mut rng, cuts);
                }
                Submitted::Answered(outcome) => {
                    assert_eq!(outcome, Ok(Value::None), "seed {seed}: {:?}", pair.client.lost());
                    break;
                }
                submitted => {
                    let outcome = reference.execute(&ready);
                    if let (Operator::CopyOut { .. }, Ok(Value::Payload(bytes))) = (&ready.operator, outcome)
                    {
                        outs.push((ready.number, bytes));
                    }
                    if let Submitted::Awaits(number) = submitted {
                        awaited.push(number);
                    }
                    break;
                }
            }
        }
        step(&mut pair, &mut rng, cuts);
    }
    pair.settle();
    assert_eq!(pair.device, reference, "seed {seed}");
    for (number, bytes) in outs {
        assert_eq!(pair.delivered.get(&number), Some(&bytes), "payload of operator {number}, seed {seed}");
    }
    for number in awaited {
        assert_eq!(pair.client.poll_outcome(number), Some(Ok(Value::None)), "operator {number}, seed {seed}");
    }
    assert!(pair.is_drained());
}

fn step(pair: &mut Pair, rng: &mut ChaCha8Rng, cuts: bool) {
    match rng.random_range(0..8) {
        0 => pair.flush_client(),
        1 => drop(pair.move_up(rng.random_range(0..2000))),
        2 => drop(pair.move_bulk_up(rng.random_range(0..3))),
        3 => drop(pair.execute(rng.random_range(0..20))),
        4 => pair.flush_server(),
        5 => drop(pair.move_down(rng.random_range(0..2000))),
        6 => drop(pair.move_bulk_down(rng.random_range(0..3))),
        _ if cuts && rng.random_bool(0.5) => match rng.random_range(0..4) {
            0 => pair.cut(),
            1 => pair.race(),
            2 => pair.roam(),
            _ => pair.supersede(),
        },
        _ => {}
    }
}

#[test]
fn every_operator_is_executed_once_in_order() {
    for seed in 0..150 {
        run(seed, Mode::Pipeline, 400, false);
        run(seed, Mode::Percall, 100, false);
    }
}

#[test]
fn a_lost_connection_neither_loses_nor_repeats_an_operator() {
    for seed in 1000..1100 {
        run(seed, Mode::Pipeline, 400, true);
        run(seed, Mode::Percall, 100, true);
    }
}

fn pair() -> Pair {
    Pair::new(Mode::Pipeline, ClientLimits::default(), FakeDevice::new(1024))
}

#[test]
fn copies_in_and_their_synchronisations_need_no_round_trip() {
    let mut pair = pair();
    for _ in 0..320 {
        let stream = Handle::LEGACY_STREAM;
        let copy = Operator::CopyIn { dst: 0, bytes: 4, stream };
        assert!(matches!(
            pair.client.handle_submit(0, copy, Some(Bytes::from_static(b"abcd"))),
            Submitted::Queued(_)
        ));
        let sync = Operator::StreamSynchronize { stream };
        assert!(matches!(pair.client.handle_submit(0, sync, None), Submitted::Answered(Ok(Value::None))));
    }
}

#[test]
fn an_asynchronous_error_is_given_once_at_the_next_call_that_waits() {
    let mut pair = pair();
    let stream = Handle::LEGACY_STREAM;
    let wrong = Operator::CopyDevice { dst: 0, src: 5000, bytes: 8, stream };
    assert!(matches!(pair.client.handle_submit(0, wrong, None), Submitted::Queued(_)));
    pair.settle();
    let copy = Operator::CopyIn { dst: 0, bytes: 4, stream };
    assert!(matches!(
        pair.client.handle_submit(0, copy, Some(Bytes::from_static(b"abcd"))),
        Submitted::Queued(_)
    ));
    let sync = Operator::StreamSynchronize { stream };
    let first = pair.client.handle_submit(0, sync.clone(), None);
    assert!(matches!(first, Submitted::Answered(Err(CuResult::INVALID_VALUE))), "{first:?}");
    assert!(matches!(pair.client.handle_submit(0, sync, None), Submitted::Awaits(_)));
}

#[test]
fn a_payload_of_the_wrong_length_ends_the_session_and_is_told() {
    let mut pair = pair();
    let copy = Operator::CopyIn { dst: 0, bytes: 8, stream: Handle::LEGACY_STREAM };
    pair.client.handle_submit(0, copy, Some(Bytes::from_static(b"abcd")));
    pair.settle();
    assert!(pair.client.lost().is_some());
    assert_eq!(pair.client.sticky(), Some(CuResult::DEVICE_UNAVAILABLE));
}

#[test]
fn a_synchronisation_waits_for_a_copy_to_the_host_that_is_still_out() {
    let mut pair = pair();
    let stream = Handle::LEGACY_STREAM;
    let out = pair.client.handle_submit(0, Operator::CopyOut { src: 0, bytes: 8, stream }, None);
    assert!(matches!(out, Submitted::Awaits(_)));
    let sync = Operator::StreamSynchronize { stream };
    assert!(matches!(pair.client.handle_submit(0, sync.clone(), None), Submitted::Awaits(_)));
    pair.settle();
    assert!(matches!(pair.client.handle_submit(0, sync, None), Submitted::Answered(Ok(Value::None))));
}
