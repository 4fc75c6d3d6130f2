//! Several sequences, and their ends.

use rrto_core::operator::{MAX_SEQUENCES, Operator};
use rrto_core::replay::ReplayStatistics;
use rrto_core::testing::{Call, Script};
use rrto_core::wire::Mode;

use crate::model::{MEMORY_BYTES, event, inference, inferences, mix, params, setup, stream};

fn compare(calls: &[Call]) -> ReplayStatistics {
    let mut script = Script::new(Mode::Replay, MEMORY_BYTES);
    calls.iter().for_each(|call| script.call(call));
    let statistics = script.pair.client.replay_statistics();
    assert_eq!(script.end(), Script::run(Mode::Percall, MEMORY_BYTES, calls));
    statistics
}

#[test]
fn models_that_take_turns_are_all_replayed() {
    let rounds = (0..40).flat_map(|round| inference(0, 20 + round % 4 * 7, round));
    let calls: Vec<Call> = setup(1).into_iter().chain(rounds).collect();
    let statistics = compare(&calls);
    assert_eq!(statistics.found, 4);
    assert!(statistics.runs >= 40 - 4 * 4, "{statistics:?}");
    assert_eq!(statistics.retired, 0);
}

#[test]
fn a_branch_is_taken_without_a_divergence_once_both_ways_are_known() {
    // Two ways that part in the middle of the inference, and are equally long.
    let way = |round: u64| {
        let mut calls = inference(0, 60, round);
        if round % 2 == 1 {
            calls[30] = Call::new(0, mix(0, 30, 8, 16));
        }
        calls
    };
    let mut calls = setup(1);
    calls.extend((0..8).flat_map(way));
    let known = compare(&calls);
    calls.extend((8..28).flat_map(way));
    let statistics = compare(&calls);
    assert_eq!(statistics.found, 2);
    assert_eq!(statistics.divergences, known.divergences);
    assert_eq!(statistics.runs - known.runs, 20);
}

#[test]
fn two_lanes_at_once_are_both_replayed() {
    let pairs = (0..12).flat_map(|round| {
        let (one, other) = (inference(0, 30, round), inference(1, 30, round));
        one.into_iter().zip(other).flat_map(|(one, other)| [one, other]).collect::<Vec<_>>()
    });
    let calls: Vec<Call> = setup(2).into_iter().chain(pairs).collect();
    let statistics = compare(&calls);
    assert!(statistics.runs >= 2 * (12 - 4) && statistics.divergences.is_empty(), "{statistics:?}");
    // Turns at every call cost no more than the operators would.
    let mut script = Script::new(Mode::Replay, MEMORY_BYTES);
    calls.iter().for_each(|call| script.call(call));
    let before = script.pair.carried.control_up;
    calls[calls.len() - 66..].iter().for_each(|call| script.call(call));
    assert!(script.pair.carried.control_up - before < 500, "{:?}", script.pair.carried);
}

#[test]
fn a_launch_that_is_always_different_is_foreseen() {
    let rounds = (0..30).flat_map(|round| {
        let mut calls = inference(0, 40, round);
        for at in [12, 20] {
            let params = params(&mut calls[at]).unwrap();
            *params = [&(round * 8).to_le_bytes(), &params[8..]].concat().into();
        }
        calls
    });
    let calls: Vec<Call> = setup(1).into_iter().chain(rounds).collect();
    let statistics = compare(&calls);
    assert!(statistics.runs >= 20 && statistics.divergences.is_empty(), "{statistics:?}");
    assert_eq!(statistics.sequences.iter().map(|sequence| sequence.varying).max(), Some(2));
}

#[test]
fn what_differs_in_many_places_every_other_time_is_learnt() {
    let way = |round: u64| {
        let mut calls = inference(0, 60, round);
        calls.iter_mut().filter_map(params).for_each(|params| {
            *params = [&params[..], &(round % 2).to_le_bytes()].concat().into();
        });
        calls
    };
    let mut calls = setup(1);
    calls.extend((0..12).flat_map(way));
    let known = compare(&calls);
    calls.extend((12..32).flat_map(way));
    let statistics = compare(&calls);
    assert_eq!(statistics.runs - known.runs, 20);
    assert_eq!(statistics.patched_operators, known.patched_operators, "{statistics:?}");
}

#[test]
fn a_loop_that_never_waits_is_replayed() {
    let rounds = (0..20).flat_map(|round| {
        let mut calls = inference(0, 80, round);
        calls.pop();
        calls
    });
    let end = Call::new(0, Operator::ContextSynchronize);
    let calls: Vec<Call> = setup(1).into_iter().chain(rounds).chain([end]).collect();
    let mut script = Script::new(Mode::Replay, MEMORY_BYTES);
    for call in &calls {
        script.call(call);
        while script.pair.client.poll_search() {}
    }
    let statistics = script.pair.client.replay_statistics();
    assert!(statistics.runs >= 12, "{statistics:?}");
    assert_eq!(script.end(), Script::run(Mode::Percall, MEMORY_BYTES, &calls));
}

#[test]
fn a_sequence_ends_with_what_it_names() {
    let ends = [Operator::EventDestroy { event: event(0) }, Operator::StreamDestroy { stream: stream(0) }];
    for end in ends {
        let calls = [setup(1), inferences(0, 20, 0, 8), vec![Call::new(0, end)]].concat();
        let statistics = compare(&calls);
        assert_eq!((statistics.found, statistics.retired), (1, 1));
        assert!(!statistics.sequences[0].live && statistics.sequences[0].runs >= 4, "{statistics:?}");
    }
}

#[test]
fn sequences_that_keep_diverging_are_given_up() {
    let rounds = (0..60).flat_map(|round| {
        let mut calls = inference(0, 40, round);
        if round > 6 {
            // Never the same, and nothing that a patch could express.
            calls[20] = copy_out_of_nowhere(round);
        }
        calls
    });
    let calls: Vec<Call> = setup(1).into_iter().chain(rounds).collect();
    let statistics = compare(&calls);
    assert!(statistics.sequences.iter().any(|sequence| !sequence.live), "{statistics:?}");
}

fn copy_out_of_nowhere(round: u64) -> Call {
    Call::new(0, Operator::CopyDevice { dst: round, src: 2 * round, bytes: 8, stream: stream(0) })
}

#[test]
fn more_sequences_than_there_is_room_for_take_turns() {
    let models = MAX_SEQUENCES as u64 + 10;
    let rounds = (0..models).flat_map(|model| inferences(0, 8 + model, 0, 5));
    let calls: Vec<Call> = setup(1).into_iter().chain(rounds).collect();
    let statistics = compare(&calls);
    assert!(statistics.found >= models, "{}", statistics.found);
    assert!(statistics.found - statistics.retired <= MAX_SEQUENCES as u64);
    assert!(statistics.retired >= 10, "{}", statistics.retired);
}

#[test]
fn a_sequence_whose_runs_have_become_alike_in_another_way_is_defined_anew() {
    // Twenty launches have something else in bytes that mean nothing, from the tenth inference on.
    let way = |round: u64| {
        let mut calls = inference(0, 200, round);
        let launches = calls.iter_mut().filter_map(params).take(20);
        for params in launches.filter(|_| round >= 10) {
            let kept = params.len() - 16;
            *params = [&params[..kept], &[7; 16]].concat().into();
        }
        calls
    };
    let mut script = Script::new(Mode::Replay, MEMORY_BYTES);
    setup(1).iter().for_each(|call| script.call(call));
    let mut control_up = Vec::new();
    for round in 0..30 {
        let before = script.pair.carried.control_up;
        way(round).iter().for_each(|call| script.call(call));
        control_up.push(script.pair.carried.control_up - before);
    }
    let statistics = script.pair.client.replay_statistics();
    assert_eq!((statistics.found, statistics.retired), (2, 1), "{statistics:?}");
    assert!(statistics.divergences.is_empty(), "{statistics:?}");
    assert!(control_up[12] > 320 && control_up[28] < 256, "{control_up:?}");
    let calls: Vec<Call> = setup(1).into_iter().chain((0..30).flat_map(way)).collect();
    assert_eq!(script.end(), Script::run(Mode::Percall, MEMORY_BYTES, &calls));
}

#[test]
fn threads_that_come_and_go_are_forgotten() {
    // Each does the same, to its end or not; the first one goes on all the time.
    let threads = (1..300).flat_map(|lane| {
        let calls = inference(1, 12, 0).into_iter().take(if lane % 3 == 0 { 5 } else { 15 });
        let calls = calls.map(move |call| Call { lane, ..call });
        calls.chain(inference(0, 30, u64::from(lane))).collect::<Vec<_>>()
    });
    let calls: Vec<Call> = setup(2).into_iter().chain(inferences(0, 30, 0, 6)).chain(threads).collect();
    let statistics = compare(&calls);
    assert!(statistics.runs >= 290, "{statistics:?}");
}
