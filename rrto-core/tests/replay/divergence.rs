//! Divergence of every kind, at every operator of a run.

use rrto_core::operator::{Handle, Operator};
use rrto_core::replay::{Reason, ReplayStatistics};
use rrto_core::testing::{Call, Manner, Script, Trace, kernel, launch};
use rrto_core::wire::Mode;

use crate::model::{MEMORY_BYTES, event, inference, inferences, mix, params, setup, stream};

/// Kernels of an inference; the operators are three more.
const KERNELS: u64 = 45;

/// Inferences before the one that is disturbed: more than it takes to find the sequence.
const BEFORE: u64 = 5;

/// What happens at one place of one inference.
type Disturbance = fn(&mut Vec<Call>, usize);

const DISTURBANCES: &[(&str, Disturbance)] = &[
    ("a launch's argument, which is a patch", |calls, at| {
        if let Some(params) = params(&mut calls[at]) {
            *params = [&7_u64.to_le_bytes(), &params[8..]].concat().into();
        }
    }),
    ("arguments of another length", |calls, at| match params(&mut calls[at]) {
        Some(params) => *params = [&params[..], &[9]].concat().into(),
        None => calls[at].operator = mix(0, 3, 16, 32),
    }),
    ("another kernel", |calls, at| {
        calls[at] = Call::new(0, launch(40, stream(0), kernel(8, 16, 50, Manner::Mixes)));
    }),
    ("another shape", |calls, at| {
        for call in &mut calls[at..] {
            if let Operator::Launch(launch) = &mut call.operator {
                launch.geometry.grid = [2, 1, 1];
            }
        }
    }),
    ("a shorter inference", |calls, at| drop(calls.drain(at..))),
    ("a call left out", |calls, at| drop(calls.remove(at))),
    ("a call made twice", |calls, at| calls.insert(at, calls[at].clone())),
    ("an allocation", |calls, at| calls.insert(at, Call::new(0, Operator::MemAlloc { bytes: 100 }))),
    ("memory given back", |calls, at| calls.insert(at, Call::new(0, Operator::MemFree { address: 1 << 20 }))),
    ("another lane's call", |calls, at| calls.insert(at, Call::new(1, mix(1, 2, 10, 20)))),
    ("another lane's calls at every place", |calls, at| {
        for place in (at..calls.len()).rev() {
            calls.insert(place, Call::new(1, mix(1, 2, place as u64, 20)));
        }
    }),
    ("a wait for everything", |calls, at| calls.insert(at, Call::new(0, Operator::ContextSynchronize))),
    ("a query", |calls, at| calls.insert(at, Call::new(0, Operator::StreamQuery { stream: stream(0) }))),
    ("the event destroyed", |calls, at| {
        let event = event(0);
        calls.insert(at, Call::new(0, Operator::EventDestroy { event }));
        calls.insert(at + 1, Call::new(0, Operator::EventCreate { event, flags: 0 }));
    }),
    ("another lane destroys the event", |calls, at| {
        let event = event(0);
        calls.insert(at, Call::new(1, Operator::EventDestroy { event }));
        calls.insert(at + 1, Call::new(1, Operator::EventCreate { event, flags: 0 }));
    }),
    ("a module unloaded", |calls, at| {
        calls.insert(at, Call::new(0, Operator::ModuleUnload { module: Handle(900) }));
    }),
];

fn program(disturb: Disturbance, at: usize) -> Vec<Call> {
    let load = Operator::ModuleGetFunction { module: Handle(900), name: "k".into(), function: Handle(3) };
    let mut calls = setup(2);
    calls.push(Call::new(0, load));
    calls.extend(inferences(0, KERNELS, 0, BEFORE));
    let mut disturbed = inference(0, KERNELS, BEFORE);
    disturb(&mut disturbed, at);
    calls.extend(disturbed);
    calls.extend(inferences(0, KERNELS, BEFORE + 1, 3));
    calls
}

fn run_replay(calls: &[Call]) -> (Trace, ReplayStatistics) {
    let mut script = Script::new(Mode::Replay, MEMORY_BYTES);
    calls.iter().for_each(|call| script.call(call));
    let statistics = script.pair.client.replay_statistics();
    (script.end(), statistics)
}

#[test]
fn a_disturbed_inference_does_what_it_does_without_replay() {
    let places = inference(0, KERNELS, 0).len();
    for (what, disturb) in DISTURBANCES {
        for at in 0..places {
            let calls = program(*disturb, at);
            let (trace, statistics) = run_replay(&calls);
            assert_eq!(trace, Script::run(Mode::Percall, MEMORY_BYTES, &calls), "{what} at {at}");
            // Three to find it, and from then on all but the disturbed one.
            assert!(statistics.runs >= BEFORE - 3, "{what} at {at}: {statistics:?}");
        }
    }
}

#[test]
fn a_program_that_ends_in_a_run_has_done_what_it_called() {
    let places = inference(0, KERNELS, 0).len();
    for at in 0..places {
        let calls =
            [setup(1), inferences(0, KERNELS, 0, BEFORE), inference(0, KERNELS, BEFORE)[..at].to_vec()];
        let calls = calls.concat();
        let (trace, _) = run_replay(&calls);
        assert_eq!(trace, Script::run(Mode::Percall, MEMORY_BYTES, &calls), "at {at}");
    }
}

#[test]
fn errors_come_where_they_come_without_replay() {
    for manner in [Manner::Fails, Manner::Faults] {
        for at in 0..inference(0, KERNELS, 0).len() {
            let mut calls = [setup(1), inferences(0, KERNELS, 0, BEFORE + 3)].concat();
            let place = setup(1).len() + BEFORE as usize * inference(0, KERNELS, 0).len() + at;
            let fails = |stream| launch(4, stream, kernel(0, 8, 60, manner));
            // In place of a launch it is a patch, in place of anything else a divergence.
            calls[place] = Call::new(0, fails(stream(0)));
            let (trace, _) = run_replay(&calls);
            let pipeline = Script::run(Mode::Pipeline, MEMORY_BYTES, &calls);
            assert_eq!(trace, pipeline, "{manner:?} at {at}");
            let percall = Script::run(Mode::Percall, MEMORY_BYTES, &calls);
            assert_eq!(
                (trace.memory, trace.history),
                (percall.memory, percall.history),
                "{manner:?} at {at}"
            );
            assert!(trace.outcomes.iter().any(Result::is_err));
        }
    }
}

#[test]
fn a_lost_connection_in_a_run_neither_loses_nor_repeats_an_operator() {
    let inference_calls = inference(0, KERNELS, 0).len();
    let calls = [setup(1), inferences(0, KERNELS, 0, BEFORE + 3)].concat();
    let expected = Script::run(Mode::Percall, MEMORY_BYTES, &calls);
    for at in 0..inference_calls {
        for arrived in [0, 3, 17, usize::MAX] {
            for has_left in [false, true] {
                let mut script = Script::new(Mode::Replay, MEMORY_BYTES);
                // Once while the sequence is being found, and once in a run.
                let places = [2, BEFORE as usize].map(|round| setup(1).len() + round * inference_calls + at);
                for (place, call) in calls.iter().enumerate() {
                    if places.contains(&place) {
                        if has_left {
                            script.pair.flush_client();
                            script.pair.move_bulk_up(arrived);
                            script.pair.move_up(arrived);
                            script.pair.execute(arrived / 2);
                        }
                        script.pair.cut();
                    }
                    script.call(call);
                }
                let executed = &script.pair.device.executed;
                assert!(executed.is_sorted_by(|one, next| one < next));
                let statistics = script.pair.client.replay_statistics();
                assert!(statistics.runs >= 4 && statistics.divergences.is_empty(), "{statistics:?}");
                assert_eq!(script.end(), expected, "at {at}, {arrived} arrived");
            }
        }
    }
}

#[test]
fn a_lost_session_ends_runs() {
    let mut script = Script::new(Mode::Replay, MEMORY_BYTES);
    let calls =
        [setup(1), inferences(0, KERNELS, 0, BEFORE), inference(0, KERNELS, 9)[..20].to_vec()].concat();
    calls.iter().for_each(|call| script.call(call));
    script.pair.client.handle_lost(rrto_core::engine::Lost("gone".into()));
    let statistics = script.pair.client.replay_statistics();
    assert_eq!(statistics.divergences.get(&Reason::Lost), Some(&1));
}

#[test]
fn a_divergence_names_itself() {
    let mut script = Script::new(Mode::Replay, MEMORY_BYTES);
    program(DISTURBANCES[2].1, 20).iter().for_each(|call| script.call(call));
    let divergence = script.pair.client.poll_divergence().unwrap();
    assert_eq!((divergence.at, divergence.reason, divergence.before.len()), (20, Reason::Operator, 3));
    let text = divergence.to_string();
    for part in
        ["sequence 0 of lane 0 diverged at 20 of 48 (another call): expected ", "got Launch", "before it"]
    {
        assert!(text.contains(part), "{text}");
    }
    let statistics = script.pair.client.replay_statistics();
    assert_eq!(statistics.sequences[0].last_divergence, Some(text));
    assert_eq!(script.pair.client.poll_divergence(), None);
}
