//! Programs that nobody has thought of.

use std::fmt;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use rrto_core::operator::Operator;
use rrto_core::testing::{Call, Launches, Manner, Script, Trace, kernel, launch};
use rrto_core::wire::Mode;

use crate::model::{MEMORY_BYTES, copy_in, setup};

/// How a part of a model differs from round to round.
#[derive(Clone, Copy, Debug)]
enum Varies {
    Never,
    /// Two buffers take turns.
    Turns,
    Always,
}

/// A call of a model, in each round.
#[derive(Clone, Debug)]
enum Part {
    Kernel { function: u64, dst: u64, src: u64, bytes: u32, further: usize, varies: Varies },
    Grid { function: u64, varies: Varies },
    In { dst: u64, bytes: u64 },
    Out { src: u64, bytes: u64, later: bool },
    Copy { dst: u64, src: u64, varies: Varies },
    Fill { dst: u64, value: u32 },
    Record,
    Await,
    SynchroniseEvent,
    SynchroniseStream,
    Query,
    QueryStream,
    Allocate,
    Fails,
}

/// A model: parts, each of them only in rounds that its period divides.
#[derive(Clone, Debug)]
struct Model {
    lane: u32,
    parts: Vec<(Part, u64)>,
}

fn varies() -> impl Strategy<Value = Varies> {
    prop_oneof![12 => Just(Varies::Never), 2 => Just(Varies::Turns), 1 => Just(Varies::Always)]
}

fn part(errors: bool) -> impl Strategy<Value = Part> {
    // Few places, so that buffers overlap.
    let place = || (0..12_u64).prop_map(|place| place * 40);
    let function = 0..6_u64;
    prop_oneof![
        30 => (function.clone(), place(), place(), 1..90_u32, 0..3_usize, varies()).prop_map(
            |(function, dst, src, bytes, further, varies)| Part::Kernel {
                function, dst, src, bytes, further, varies
            }
        ),
        3 => (function, varies()).prop_map(|(function, varies)| Part::Grid { function, varies }),
        3 => (place(), prop_oneof![Just(8_u64), Just(200), Just(5000)])
            .prop_map(|(dst, bytes)| Part::In { dst, bytes }),
        1 => (place(), prop_oneof![Just(8_u64), Just(5000)], any::<bool>())
            .prop_map(|(src, bytes, later)| Part::Out { src, bytes, later }),
        3 => (place(), place(), varies()).prop_map(|(dst, src, varies)| Part::Copy { dst, src, varies }),
        2 => (place(), any::<u32>()).prop_map(|(dst, value)| Part::Fill { dst, value }),
        2 => Just(Part::Record),
        2 => Just(Part::Await),
        1 => prop_oneof![
            Just(Part::SynchroniseEvent),
            Just(Part::SynchroniseStream),
            Just(Part::Query),
            Just(Part::QueryStream),
        ],
        1 => prop_oneof![Just(Part::Allocate), Just(if errors { Part::Fails } else { Part::Record })],
    ]
}

fn model(errors: bool) -> impl Strategy<Value = Model> {
    let period = prop_oneof![30 => Just(1_u64), 1 => Just(2_u64), 1 => Just(7_u64)];
    // What is rare in a part is rarer still in a round.
    let part = part(errors).prop_flat_map(move |part| {
        let is_rare = matches!(part, Part::Allocate | Part::Fails);
        (Just(part), if is_rare { Just(11_u64).boxed() } else { period.clone().boxed() })
    });
    (0..2_u32, prop::collection::vec(part, 6..50), 0..12_u64).prop_map(|(lane, mut parts, src)| {
        parts.push((Part::Out { src: src * 40, bytes: 100, later: false }, 1));
        Model { lane, parts }
    })
}

fn calls(model: &Model, round: u64) -> Vec<Call> {
    let lane = model.lane;
    let (stream, event) = (crate::model::stream(lane), crate::model::event(lane));
    let shift = |varies| match varies {
        Varies::Never => 0,
        Varies::Turns => round % 2 * 400,
        Varies::Always => round * 8,
    };
    let call = |part: &Part| match *part {
        Part::Kernel { function, dst, src, bytes, further, varies } => {
            let params = kernel(dst + shift(varies), src, bytes, Manner::Mixes);
            Call::new(lane, launch(function, stream, [params, vec![1; further]].concat()))
        }
        Part::Grid { function, varies } => {
            let mut operator = launch(function, stream, kernel(0, 40, 30, Manner::Mixes));
            if let Operator::Launch(launch) = &mut operator {
                launch.geometry.grid = [1 + shift(varies) as u32, 1, 1];
            }
            Call::new(lane, operator)
        }
        Part::In { dst, bytes } => copy_in(lane, dst, bytes, round),
        Part::Out { src, bytes, later } => {
            Call { later, ..Call::new(lane, Operator::CopyOut { src, bytes, stream }) }
        }
        Part::Copy { dst, src, varies } => {
            Call::new(lane, Operator::CopyDevice { dst: dst + shift(varies), src, bytes: 33, stream })
        }
        Part::Fill { dst, value } => {
            let (pitch_bytes, element_bytes, width, height) = (0, 1, 10, 1);
            let address = dst;
            Call::new(
                lane,
                Operator::Memset { address, pitch_bytes, value, element_bytes, width, height, stream },
            )
        }
        Part::Record => Call::new(lane, Operator::EventRecord { event, stream, flags: 0 }),
        // The other lane's event.
        Part::Await => {
            let event = crate::model::event(1 - lane);
            Call::new(lane, Operator::StreamWaitEvent { stream, event, flags: 0 })
        }
        Part::SynchroniseEvent => Call::new(lane, Operator::EventSynchronize { event }),
        Part::SynchroniseStream => Call::new(lane, Operator::StreamSynchronize { stream }),
        Part::Query => Call::new(lane, Operator::EventQuery { event }),
        Part::QueryStream => Call::new(lane, Operator::StreamQuery { stream }),
        Part::Allocate => Call::new(lane, Operator::MemAlloc { bytes: 64 }),
        Part::Fails => Call::new(lane, launch(1, stream, kernel(0, 0, 10, Manner::Fails))),
    };
    let parts = model.parts.iter().filter(|(_, period)| round.is_multiple_of(*period));
    parts.map(|(part, _)| call(part)).collect()
}

/// Rounds of models, those of one lane one after the other, the two lanes mixed in pieces of these lengths.
fn program(models: &[Model], rounds: &[usize], pieces: &[usize]) -> Vec<Call> {
    let mut lanes = [Vec::new(), Vec::new()];
    for (round, chosen) in rounds.iter().enumerate() {
        let model = &models[chosen % models.len()];
        lanes[model.lane as usize].extend(calls(model, round as u64 / models.len() as u64));
    }
    let mut lanes = lanes.map(Vec::into_iter);
    let mut all = setup(2);
    for piece in pieces.iter().cycle() {
        for lane in &mut lanes {
            all.extend(lane.by_ref().take(*piece));
        }
        if lanes.iter().all(|lane| lane.len() == 0) {
            return all;
        }
    }
    all
}

/// A program that prints as one line a call.
struct Program(Vec<Call>);

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(at, Call { lane, operator, later, .. })| {
            let later = if *later { "later " } else { "" };
            match operator {
                Operator::Launch(launch) => {
                    writeln!(f, "{at}: {lane} launch {} {:?}", launch.function.0, launch.params)
                }
                other => writeln!(f, "{at}: {lane} {later}{other:?}"),
            }
        })
    }
}

/// The first thing that two traces do not have in common.
fn difference(one: &Trace, other: &Trace) -> Option<String> {
    for (at, (one, other)) in one.outcomes.iter().zip(&other.outcomes).enumerate() {
        if one != other {
            return Some(format!("call {at} returned {one:?} and {other:?}"));
        }
    }
    let delivered = one.delivered.iter().zip(&other.delivered).position(|(one, other)| one != other);
    let memory = one.memory.iter().zip(&other.memory).position(|(one, other)| one != other);
    let is_history_other = one.history != other.history;
    let delivered = delivered.map(|at| format!("call {at} delivered something else"));
    let memory = memory.map(|at| format!("memory at {at}"));
    delivered.or(memory).or(is_history_other.then(|| "history".into()))
}

fn any_program(errors: bool) -> impl Strategy<Value = Program> {
    let models = prop::collection::vec(model(errors), 1..4);
    // Mostly in turn, as programs do.
    let rounds =
        prop_oneof![Just((0..30).collect::<Vec<usize>>()), prop::collection::vec(0..3_usize, 10..30),];
    let pieces =
        prop_oneof![Just(vec![1_usize]), Just(vec![10_000]), prop::collection::vec(1..40_usize, 1..5)];
    (models, rounds, pieces).prop_map(|(models, rounds, pieces)| Program(program(&models, &rounds, &pieces)))
}

/// What happens to the link between two calls.
fn disturb(script: &mut Script, what: u16) {
    let (pair, much) = (&mut script.pair, usize::from(what >> 5));
    match what & 31 {
        0 => pair.flush_client(),
        1 => drop(pair.move_up(much)),
        2 => drop(pair.move_bulk_up(much & 3)),
        3 => drop(pair.execute(much & 15)),
        4 => pair.flush_server(),
        5 => drop(pair.move_down(much)),
        6 => drop(pair.move_bulk_down(much & 3)),
        7 => drop(pair.client.poll_search()),
        8 if much > 1500 => pair.cut(),
        9 if much > 1500 => pair.race(),
        10 if much > 1500 => pair.roam(),
        11 => pair.supersede(),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]

    #[test]
    fn replay_sees_and_does_what_percall_does(Program(calls) in any_program(false)) {
        let percall = Script::run(Mode::Percall, MEMORY_BYTES, &calls);
        for mode in [Mode::Pipeline, Mode::Replay] {
            prop_assert_eq!(difference(&Script::run(mode, MEMORY_BYTES, &calls), &percall), None, "{}", mode);
        }
    }

    #[test]
    fn a_launch_that_never_becomes_an_operator_is_sent_like_one(Program(calls) in any_program(true)) {
        let run = |mode, launches| {
            let mut script = Script::new(mode, MEMORY_BYTES);
            script.launches = launches;
            calls.iter().for_each(|call| script.call(call));
            let statistics = script.pair.client.replay_statistics();
            (script.pair.carried, script.round_trips, statistics, script.end())
        };
        for mode in [Mode::Percall, Mode::Pipeline, Mode::Replay] {
            prop_assert_eq!(run(mode, Launches::Asked), run(mode, Launches::Submitted), "{}", mode);
        }
    }

    #[test]
    fn errors_come_where_they_come_in_pipeline(Program(calls) in any_program(true)) {
        let percall = Script::run(Mode::Percall, MEMORY_BYTES, &calls);
        let pipeline = Script::run(Mode::Pipeline, MEMORY_BYTES, &calls);
        let replay = Script::run(Mode::Replay, MEMORY_BYTES, &calls);
        prop_assert_eq!(difference(&replay, &pipeline), None);
        // A call that is answered with an earlier one's error is not made, so an allocation may be missing.
        prop_assert_eq!(replay.memory, percall.memory);
    }

    #[test]
    fn whatever_the_link_does(
        Program(calls) in any_program(false),
        link in prop::collection::vec(any::<u16>(), 1..500),
    ) {
        let mut script = Script::new(Mode::Replay, MEMORY_BYTES);
        for (call, what) in calls.iter().zip(link.iter().cycle()) {
            script.call(call);
            disturb(&mut script, *what);
        }
        prop_assert!(script.pair.device.executed.is_sorted_by(|one, next| one < next));
        prop_assert_eq!(difference(&script.end(), &Script::run(Mode::Percall, MEMORY_BYTES, &calls)), None);
    }
}

#[test]
fn generated_programs_are_replayed() {
    // Were the cuts so that nothing is ever recognised, the properties above would hold for nothing.
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut runs = 0;
    for _ in 0..20 {
        let Program(calls) = any_program(false).new_tree(&mut runner).unwrap().current();
        let mut script = Script::new(Mode::Replay, MEMORY_BYTES);
        calls.iter().for_each(|call| script.call(call));
        runs += u64::from(script.pair.client.replay_statistics().runs > 2);
    }
    assert!(runs >= 10, "{runs} of 20");
}
