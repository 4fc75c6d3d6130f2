//! The incremental search against the paper's algorithm and against what made-up programs are known to repeat.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "search/draft.rs"]
mod draft;
#[path = "search/program.rs"]
mod program;

use bytes::Bytes;
use program::{BUFFER_BYTES, Event, Program, history, launch, search};
use proptest::prelude::*;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rrto_core::graph::Memory;
use rrto_core::operator::{Geometry, Handle, Launch, LaunchAttribute, Operator, Patch};
use rrto_core::verify::{Found, Recorder, RecorderLimits};

/// The places of `history` that no occurrence of what was found covers, and that are not between two points so near to
/// each other, at which the program waits, that there is no phrase.
fn missed(history: &[Operator], found: &[Found], lane: u32) -> Vec<usize> {
    let covered = covered(history, found, lane);
    let stretches = history.split_inclusive(Operator::needs_answer);
    let must = stretches.flat_map(|stretch| std::iter::repeat_n(stretch.len() >= 8, stretch.len()));
    must.zip(covered).enumerate().filter(|(_, (must, covered))| *must && !covered).map(|(at, _)| at).collect()
}

/// The places of `history` that occurrences of what was found cover.
fn covered(history: &[Operator], found: &[Found], lane: u32) -> Vec<bool> {
    let mut covered = vec![false; history.len()];
    for found in found.iter().filter(|found| found.sequence.lane() == lane) {
        let operators = found.sequence.operators();
        for at in draft::occurrences(history, operators) {
            covered[at..at + operators.len()].fill(true);
        }
    }
    covered
}

/// Every sequence found occurs as often as it must.
fn check_sound(events: &[Event], found: &[Found]) -> Result<(), TestCaseError> {
    for found in found {
        let operators = found.sequence.operators();
        let history = history(events, found.sequence.lane());
        let is_alike = |window: &[Operator]| {
            (0..).zip(window.iter().zip(operators)).all(|(at, (one, other))| {
                let is_patched = found.patched.contains(&at) && Patch::between(at, one, other).is_some();
                one == other || is_patched
            })
        };
        let occurrences = history.windows(operators.len()).filter(|window| is_alike(window)).count();
        prop_assert!(occurrences >= 3, "{occurrences} times: {operators:?}");
        prop_assert!(operators.len() >= 8);
    }
    Ok(())
}

fn memory(events: &[Event]) -> Memory {
    let mut memory = Memory::default();
    for event in events {
        if let Event::Allocated { address } = event {
            memory.handle_allocated(*address, BUFFER_BYTES);
        }
    }
    memory
}

/// Inferences of the first models with what they do the first time: other kernels are tried, memory grows.
fn warm_up(program: &mut Program, lane: u32, model: &[Operator], random: &mut ChaCha8Rng) {
    for operator in model {
        if random.random_bool(0.1) {
            program.allocate(lane);
        }
        if random.random_bool(0.2) {
            program.call(lane, launch(random.random_range(2000..2100), 0, &[random.random()]));
        }
        program.call(lane, operator.clone());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Where the draft's algorithm covers the log's end by repetition, so do the sequences found here.
    #[test]
    fn it_finds_what_the_draft_finds(
        seed in any::<u64>(), models in 1..3_usize, parts in 1..4_usize, rounds in 4..6_usize, variants in 1..3_u64,
    ) {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut program = Program::default();
        program.noise(0, &mut random);
        let models: Vec<_> = (0..models).map(|_| program.model(0, parts, &mut random)).collect();
        for model in &models {
            warm_up(&mut program, 0, model, &mut random);
        }
        program.noise(0, &mut random);
        for round in 0..rounds as u64 * variants {
            for model in &models {
                // Buffers that take turns: the first launch is told which.
                program.call(0, launch(99, 0, &[round % variants]));
                program.run(0, model);
            }
        }
        let found = search(&mut Recorder::default(), &program.events);
        check_sound(&program.events, &found)?;
        let history = history(&program.events, 0);
        let sequence = draft::longest_covering(&history, &memory(&program.events));
        prop_assert!(sequence.is_some());
        let length = sequence.unwrap().len();
        let missed: Vec<_> =
            missed(&history, &found, 0).into_iter().filter(|at| *at >= history.len() - length).collect();
        prop_assert!(missed.is_empty(), "{missed:?} of {}, {length}", history.len());
        prop_assert!(found.iter().all(|found| found.patched.is_empty()));
    }

    /// Several host threads, each with models in any order, at any place of which another thread's calls come between.
    #[test]
    fn it_finds_what_repeats_in_any_order(seed in any::<u64>(), lanes in 1..4_u32, models in 1..4_usize) {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut programs = Vec::new();
        let mut last_runs = Vec::new();
        let mut program = Program::default();
        for lane in 0..lanes {
            program.noise(lane, &mut random);
            let models: Vec<_> = (0..models).map(|_| program.model(lane, 2, &mut random)).collect();
            let mut order: Vec<_> = (0..models.len()).cycle().take(3 * models.len()).collect();
            order.shuffle(&mut random);
            let mut of_lane = Program::default();
            order.iter().for_each(|model| of_lane.run(lane, &models[*model]));
            programs.push(of_lane.events.into_iter().collect::<std::collections::VecDeque<_>>());
            last_runs.push(models);
        }
        while programs.iter().any(|events| !events.is_empty()) {
            let turn = random.random_range(0..programs.len());
            let count = random.random_range(1..40);
            let events = &mut programs[turn];
            program.events.extend(events.drain(..count.min(events.len())));
        }
        let found = search(&mut Recorder::default(), &program.events);
        check_sound(&program.events, &found)?;
        for (lane, models) in (0..).zip(&last_runs) {
            for model in models {
                prop_assert_eq!(missed(model, &found, lane), vec![]);
            }
        }
    }

    /// A step that counts is a patch; nothing else is.
    #[test]
    fn a_counter_is_patched(seed in any::<u64>()) {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut program = Program::default();
        let model = program.model(0, 1, &mut random);
        for step in 0..4 {
            program.run(0, &model[..3]);
            program.call(0, launch(99, 0, &[1 << 40 | step]));
            program.run(0, &model[3..]);
        }
        let found = search(&mut Recorder::default(), &program.events);
        check_sound(&program.events, &found)?;
        let patched: Vec<_> = found.iter().filter(|found| !found.patched.is_empty()).collect();
        prop_assert_eq!(patched.len(), 1);
        prop_assert_eq!(&patched[0].patched, &[3]);
    }

    /// Loops that never wait are cut, wherever one begins to look.
    #[test]
    fn a_loop_that_never_waits_is_found(operators in 3..200_u64, skipped in 0..200_u64) {
        let call = |at| Event::Call { lane: 0, operator: launch(at % operators, 0, &[at % operators]), waits: false };
        let looks = skipped..skipped + operators * 8 + 64 * 8;
        let mut events: Vec<_> = looks.map(call).collect();
        let operator = Operator::StreamSynchronize { stream: Handle(0) };
        events.push(Event::Call { lane: 0, operator, waits: true });
        let found = search(&mut Recorder::default(), &events);
        check_sound(&events, &found)?;
        let history = history(&events, 0);
        let covered = covered(&history, &found, 0);
        prop_assert!(covered[..history.len() - operators as usize - 64].iter().all(|covered| *covered));
    }

    #[test]
    fn nothing_is_found_where_nothing_repeats(seed in any::<u64>()) {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut program = Program::default();
        (0..40).for_each(|_| program.noise(0, &mut random));
        prop_assert_eq!(search(&mut Recorder::default(), &program.events), vec![]);
    }

    /// Whatever a program does, searching it never panics and keeps within its memory.
    #[test]
    fn any_log_is_searched_within_bounds(
        operators in proptest::collection::vec((any_operator(), 0..100_u32, any::<bool>()), 1..60),
        order in proptest::collection::vec((0..60_usize, 0..12_u8), 1..1500),
        (log_operators, log_bytes, phrases) in (0..3000_usize, 0..200_000_usize, 0..50_usize),
    ) {
        let limits = RecorderLimits { log_operators, log_bytes, phrases };
        let mut recorder = Recorder::new(limits);
        let mut at = 0;
        for (jump, what) in order {
            // Mostly onwards, so that there are repetitions.
            at = if what < 2 { jump } else { at + 1 };
            let (operator, lane, waits) = &operators[at % operators.len()];
            let lane = if what < 11 { 0 } else { *lane };
            recorder.handle_operator(lane, operator, *waits && what == 3);
            match what {
                4 => recorder.handle_allocated(jump as u64 * 100, 4096),
                5 => recorder.handle_freed(jump as u64 * 100),
                6 if jump == 0 => recorder.handle_break(lane),
                7 => _ = recorder.poll_sequence(),
                _ => {}
            }
            prop_assert!(recorder.bytes() <= limits.most_bytes(), "{} bytes", recorder.bytes());
        }
        while recorder.poll_sequence().is_some() || recorder.poll_rejected().is_some() {}
    }
}

fn any_operator() -> impl Strategy<Value = Operator> {
    let bytes = |most| proptest::collection::vec(any::<u8>(), 0..most).prop_map(Bytes::from);
    let attribute = (any::<u32>(), bytes(100)).prop_map(|(id, value)| LaunchAttribute { id, value });
    let attributes = proptest::collection::vec(attribute, 0..40);
    let params = prop_oneof![8 => bytes(300), 1 => Just(Bytes::from(vec![7; 40_000]))];
    prop_oneof![
        12 => (0..4_u64, attributes, params, any::<bool>()).prop_map(|(id, attributes, params, cooperative)| {
            let geometry = Geometry { grid: [id as u32; 3], ..Geometry::default() };
            Operator::Launch(Launch {
                function: Handle(id), geometry, stream: Handle(id % 2), cooperative, attributes, params,
            })
        }),
        1 => any::<(u64, u64)>().prop_map(|(dst, bytes)| Operator::CopyIn { dst, bytes, stream: Handle(0) }),
        1 => any::<(u64, u64)>().prop_map(|(src, bytes)| Operator::CopyOut { src, bytes, stream: Handle(0) }),
        1 => any::<[u64; 4]>().prop_map(|[address, pitch_bytes, width, height]| Operator::Memset {
            address, pitch_bytes, value: 1, element_bytes: 4, width, height, stream: Handle(0),
        }),
        1 => any::<(u64, u64, u64)>().prop_map(|(dst, src, bytes)| Operator::CopyDevice {
            dst, src, bytes, stream: Handle(1)
        }),
        1 => prop_oneof![
            Just(Operator::ContextSynchronize),
            Just(Operator::StreamSynchronize { stream: Handle(0) }),
            Just(Operator::EventSynchronize { event: Handle(0) }),
            Just(Operator::StreamWaitEvent { stream: Handle(0), event: Handle(1), flags: 0 }),
            Just(Operator::EventQuery { event: Handle(0) }),
            Just(Operator::MemGetInfo),
        ],
        1 => (0..3_u64).prop_map(|event| Operator::EventRecord { event: Handle(event), stream: Handle(0), flags: 0 }),
        1 => any::<u64>().prop_map(|bytes| Operator::MemAlloc { bytes }),
        1 => ".*".prop_map(|name| Operator::ModuleGetGlobal { module: Handle(1), name }),
    ]
}
