//! What replay makes of real programs. To add a recording, put it into the folder and into [`EXPECTED`], run this test,
//! and check what it prints before it becomes a row.

use rrto_core::log::recording::{Became, Event};
use rrto_core::operator::Operator;
use rrto_core::replay::Reason;
use rrto_core::wire::Mode;
use rrto_core::wire::repeat::Record;

use crate::golden;
use crate::player::{Costs, Player};

/// What a program's inferences are replayed as.
struct Expected {
    name: &'static str,
    /// An inference begins with a copy of so many bytes, and has so many of them.
    begins: (u64, usize),
    /// Runs of sequences to their end.
    runs: u64,
    /// Operators of them that were patched.
    patched_operators: u64,
    /// Runs that were given up.
    divergences: &'static [(Reason, u64)],
    /// Of the last inferences: round trips of each, and the median of the control stream's bytes, which are upper bounds.
    steady: Costs,
}

const fn costs(round_trips: u64, control_up: u64, control_down: u64) -> Costs {
    Costs { round_trips, control_up, control_down }
}

/// Bytes up are patches nearly all, of bytes that nobody set and that the kernels read in principle.
const EXPECTED: &[Expected] = &[
    Expected {
        name: "convnext_base",
        begins: (602_112, 1),
        runs: 9,
        patched_operators: 693,
        divergences: &[],
        steady: costs(1, 1_757, 14),
    },
    Expected {
        name: "faster_rcnn",
        begins: (794_624, 1),
        runs: 75,
        patched_operators: 387,
        divergences: &[(Reason::Operator, 2)],
        steady: costs(19, 100_985, 282),
    },
    Expected {
        name: "gpt2",
        begins: (512, 1),
        runs: 10,
        patched_operators: 0,
        divergences: &[],
        steady: costs(1, 116, 13),
    },
    Expected {
        name: "gpt2_generate",
        begins: (256, 1),
        // Each token's attention has a shape of its own, which repeats with the whole text only. Sequences are still being
        // found and defined when the recording ends.
        runs: 132,
        patched_operators: 599,
        divergences: &[],
        steady: costs(52, 250_598, 1_129),
    },
    Expected {
        name: "mobilenet_v3_small",
        begins: (602_112, 1),
        runs: 8,
        patched_operators: 167,
        divergences: &[],
        steady: costs(1, 663, 14),
    },
    Expected {
        name: "resnet50",
        begins: (602_112, 1),
        runs: 8,
        patched_operators: 63,
        divergences: &[],
        steady: costs(1, 231, 14),
    },
    Expected {
        name: "train",
        begins: (196_608, 1),
        runs: 19,
        patched_operators: 90,
        divergences: &[(Reason::Operator, 1)],
        steady: costs(2, 3_252, 22),
    },
    Expected {
        name: "train_item",
        begins: (196_608, 1),
        runs: 22,
        patched_operators: 99,
        divergences: &[],
        steady: costs(2, 3_186, 30),
    },
    Expected {
        name: "two_models",
        begins: (602_112, 2),
        runs: 17,
        patched_operators: 255,
        divergences: &[(Reason::Operator, 1)],
        steady: costs(2, 924, 28),
    },
    Expected {
        name: "vgg19_bn",
        begins: (602_112, 1),
        runs: 8,
        patched_operators: 128,
        divergences: &[],
        steady: costs(1, 714, 14),
    },
    Expected {
        name: "vit_b_16",
        begins: (602_112, 1),
        runs: 9,
        patched_operators: 18,
        divergences: &[],
        steady: costs(1, 223, 14),
    },
];

/// So many inferences at the end, before the last one, show what every further one would cost.
const STEADY: usize = 3;

fn is_input(operator: &Operator, length: u64) -> bool {
    matches!(operator, Operator::CopyIn { bytes, .. } if *bytes == length)
}

/// What the last inferences have cost, by what the program has cost up to each input. What follows the last input is no
/// whole inference: the program ends in it.
fn steady(inputs: usize, marks: &[Costs]) -> Costs {
    let begins: Vec<&Costs> = marks.iter().step_by(inputs).collect();
    let costs: Vec<Costs> = begins.windows(2).map(|pair| pair[1].since(*pair[0])).collect();
    let last = &costs[costs.len() - STEADY..];
    assert!(last.iter().all(|costs| costs.round_trips == last[0].round_trips), "{last:?}");
    let median = |bytes: fn(&Costs) -> u64| {
        let mut all: Vec<u64> = last.iter().map(bytes).collect();
        all.sort_unstable();
        all[STEADY / 2]
    };
    Costs {
        round_trips: last[0].round_trips,
        control_up: median(|costs| costs.control_up),
        control_down: median(|costs| costs.control_down),
    }
}

/// What a program has the server do, in order, without waiting for it: a synchronisation with nothing left to wait for
/// does not travel, and when that is the case depends on the link.
fn works<'a>(operators: impl Iterator<Item = (u32, &'a Operator)>) -> Vec<(u32, &'a Operator)> {
    let is_wait = |operator: &Operator| {
        use Operator::*;
        matches!(operator, StreamSynchronize { .. } | EventSynchronize { .. } | ContextSynchronize)
    };
    operators.filter(|(_, operator)| !is_wait(operator)).collect()
}

fn recorded_works(events: &[Event]) -> Vec<(u32, &Operator)> {
    works(events.iter().filter_map(|event| match event {
        Event::Submit { became: Became::Answered(_), .. } => None,
        Event::Submit { record: Record { lane, operator, .. }, .. } => Some((*lane, operator)),
        _ => None,
    }))
}

#[test]
fn what_real_models_repeat_is_replayed() {
    let expected: Vec<&str> = EXPECTED.iter().map(|expected| expected.name).collect();
    assert_eq!(golden::names(), expected);
    let wrong: Vec<String> = EXPECTED.iter().filter_map(differs).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is not as expected, in words.
fn differs(expected: &Expected) -> Option<String> {
    let name = expected.name;
    let events: Vec<Event> = golden::events(golden::recording(name)).collect();
    let mut marks = Vec::new();
    let player = Player::play(Mode::Replay, &events, |operator, costs| {
        if is_input(operator, expected.begins.0) {
            marks.push(costs);
        }
    });
    // It arrives as it was issued, and all that the real program issued is.
    assert!(player.issued == player.pair.device.arrived, "{name}");
    let issued = player.issued.iter().map(|issued| (issued.lane, &issued.operator));
    assert!(works(issued) == recorded_works(&events), "{name}");
    // Nothing is waited for that is not waited for without replay.
    let pipeline = Player::play(Mode::Pipeline, &events, |_, _| {});
    assert_eq!(player.costs().round_trips, pipeline.costs().round_trips, "{name}");

    let statistics = player.pair.client.replay_statistics();
    let divergences: Vec<_> = statistics.divergences.into_iter().collect();
    let steady = steady(expected.begins.1, &marks);
    let is_steady = steady.round_trips == expected.steady.round_trips
        && steady.control_up <= expected.steady.control_up
        && steady.control_down <= expected.steady.control_down;
    let counts = (statistics.runs, statistics.patched_operators, &divergences[..]);
    let is_expected = counts == (expected.runs, expected.patched_operators, expected.divergences);
    (!is_steady || !is_expected)
        .then(|| format!("{name}: runs, patched operators, divergences {counts:?}; {steady:?}"))
}
