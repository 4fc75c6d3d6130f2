//! What an inference costs once it is replayed.

use rrto_core::operator::{Operator, Value};
use rrto_core::replay::NEAR;
use rrto_core::testing::{Carried, Script};
use rrto_core::wire::Mode;

use crate::model::{MEMORY_BYTES, inference, inferences, params, setup};

/// Inferences after which everything is replayed.
const WARM_UP: u64 = 8;

fn warm(kernels: u64) -> Script {
    let mut script = Script::new(Mode::Replay, MEMORY_BYTES);
    setup(1).iter().chain(&inferences(0, kernels, 0, WARM_UP)).for_each(|call| script.call(call));
    script
}

fn spent(script: &mut Script, kernels: u64, round: u64) -> (Carried, u64) {
    let (before, trips) = (script.pair.carried, script.round_trips);
    inference(0, kernels, round).iter().for_each(|call| script.call(call));
    let after = script.pair.carried;
    let carried = Carried {
        control_up: after.control_up - before.control_up,
        control_down: after.control_down - before.control_down,
        bulk_up: after.bulk_up - before.bulk_up,
        bulk_down: after.bulk_down - before.bulk_down,
        spans: after.spans - before.spans,
    };
    (carried, script.round_trips - trips)
}

#[test]
fn an_inference_is_one_round_trip_and_few_bytes() {
    for kernels in [6, 30, 300, 3000] {
        let mut script = warm(kernels);
        let runs = script.pair.client.replay_statistics().runs;
        for round in 0..20 {
            let (carried, round_trips) = spent(&mut script, kernels, WARM_UP + round);
            assert_eq!(round_trips, 1, "{kernels} kernels");
            assert_eq!((carried.bulk_up, carried.bulk_down), (5000, 0));
            // 40 bytes of input and 1000 of output travel on the control stream.
            let (up, down) = (carried.control_up - 40, carried.control_down - 1000);
            assert!(up <= 256 - 16 && down <= 256, "{kernels} kernels: {up} up, {down} down");
        }
        let statistics = script.pair.client.replay_statistics();
        assert_eq!(statistics.runs - runs, 20);
        assert!(statistics.divergences.is_empty(), "{statistics:?}");
    }
}

#[test]
fn a_patched_launch_costs_little_more_than_its_bytes() {
    let mut script = warm(300);
    let (plain, _) = spent(&mut script, 300, WARM_UP);
    let before = script.pair.carried.control_up;
    for (at, mut call) in inference(0, 300, WARM_UP + 1).into_iter().enumerate() {
        if at == 100 {
            let params = params(&mut call).unwrap();
            *params = [&77_u64.to_le_bytes(), &params[8..]].concat().into();
        }
        script.call(&call);
    }
    let patched = script.pair.carried.control_up - before;
    assert!(patched <= plain.control_up + 14, "{patched} instead of {}", plain.control_up);
    let statistics = script.pair.client.replay_statistics();
    assert_eq!(statistics.patched_operators, 1);
    assert!(statistics.divergences.is_empty(), "{statistics:?}");
}

#[test]
fn nothing_leaves_within_a_segment_but_bulk() {
    let mut script = warm(300);
    let mut sends = 0;
    for call in inference(0, 300, WARM_UP) {
        // The driver sends whatever there is.
        if let Operator::CopyIn { bytes: 5000, .. } = call.operator {
            script.call(&call);
            assert!(script.pair.client_has_output(), "a bulk payload leaves at once");
        } else {
            script.call(&call);
        }
        sends += u32::from(script.pair.client_has_output());
        script.pair.settle();
    }
    assert!(sends <= 13, "{sends}");
    assert_eq!(script.pair.client.poll_divergence(), None);
    assert_eq!(script.end().outcomes.last(), Some(&Ok(Value::None)));
}

#[test]
fn a_short_inference_is_replayed_only_where_messages_take_long() {
    for (kernels, near, is_replayed) in [(6, true, false), (6, false, true), (300, true, true)] {
        let mut script = warm(kernels);
        let runs = script.pair.client.replay_statistics().runs;
        // Roaming changes it while the sequence is known.
        for (round, near) in [(0, near), (1, false), (2, near)] {
            script.pair.client.handle_round_trip(if near { NEAR / 2 } else { NEAR });
            let before = script.pair.client.replay_statistics().runs;
            let (_, round_trips) = spent(&mut script, kernels, WARM_UP + round);
            assert_eq!(round_trips, 1);
            let has_run = script.pair.client.replay_statistics().runs > before;
            assert_eq!(has_run, is_replayed || !near, "{kernels} kernels, near: {near}");
        }
        let statistics = script.pair.client.replay_statistics();
        assert!(statistics.runs > runs && statistics.divergences.is_empty(), "{statistics:?}");
    }
}
