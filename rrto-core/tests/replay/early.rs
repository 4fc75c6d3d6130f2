//! Copies to the host that are asked for before the program calls them.

use rrto_core::operator::Operator;
use rrto_core::testing::{Call, Script, Trace};
use rrto_core::wire::Mode;

use crate::model::{MEMORY_BYTES, copy_in, inference, inferences, mix, setup, stream};

/// Inferences after which everything is replayed.
const WARM_UP: u64 = 8;
const KERNELS: u64 = 30;

fn warm(mode: Mode) -> Script {
    let mut script = Script::new(mode, MEMORY_BYTES);
    setup(2).iter().chain(&inferences(0, KERNELS, 0, WARM_UP)).for_each(|call| script.call(call));
    script
}

/// An inference without its last call, which is the copy to the host, and that one.
fn but_the_copy(round: u64) -> (Vec<Call>, Call) {
    let mut calls = inference(0, KERNELS, round);
    let copy = calls.pop().unwrap();
    assert!(matches!(copy.operator, Operator::CopyOut { .. }));
    (calls, copy)
}

/// How many copies to the host the server executes when a program has called all of an inference but the copy.
fn asked_early(script: &mut Script, round: u64) -> usize {
    let (calls, _) = but_the_copy(round);
    let before = script.pair.device.executed.len();
    calls.iter().for_each(|call| script.call(call));
    script.pair.client.handle_goodbye();
    script.pair.settle();
    script.pair.device.executed.len() - before - calls.len()
}

/// What a program sees that makes these calls between an inference's last kernel and its copy to the host.
fn with_between(mode: Mode, between: &[Call]) -> (Trace, usize) {
    let mut script = warm(mode);
    let (calls, copy) = but_the_copy(WARM_UP);
    calls.iter().for_each(|call| script.call(call));
    script.pair.settle();
    between.iter().for_each(|call| script.call(call));
    script.call(&copy);
    inferences(0, KERNELS, WARM_UP + 1, 2).iter().for_each(|call| script.call(call));
    let asked = asked_early(&mut script, WARM_UP + 3);
    (script.end(), asked)
}

#[test]
fn the_bytes_are_there_before_the_call() {
    let mut script = warm(Mode::Replay);
    let (calls, copy) = but_the_copy(WARM_UP);
    calls.iter().for_each(|call| script.call(call));
    script.pair.settle();
    let before = (script.round_trips, script.pair.carried);
    script.call(&copy);
    script.pair.settle();
    assert_eq!((script.round_trips, script.pair.carried), before);
    let percall = Script::run(
        Mode::Percall,
        MEMORY_BYTES,
        &[setup(2), inferences(0, KERNELS, 0, WARM_UP + 1)].concat(),
    );
    assert_eq!(script.end(), percall);
}

#[test]
fn they_are_not_what_something_in_between_has_changed() {
    let copied = copy_in(1, 0, 700, 5);
    let synchronised = Call::new(1, Operator::StreamSynchronize { stream: stream(1) });
    let (percall, _) = with_between(Mode::Percall, &[copied.clone(), synchronised.clone()]);
    let (replay, asked) = with_between(Mode::Replay, &[copied, synchronised]);
    assert_eq!(replay, percall);
    assert_eq!(asked, 1, "another lane is no reason to ask for none any more");
}

#[test]
fn a_program_that_goes_on_in_another_way_is_not_mistaken_again() {
    let another = Call::new(0, mix(0, 2, 0, 64));
    let (percall, _) = with_between(Mode::Percall, std::slice::from_ref(&another));
    let (replay, asked) = with_between(Mode::Replay, &[another]);
    assert_eq!(replay, percall);
    assert_eq!(asked, 0);
}

#[test]
fn none_is_asked_for_while_another_answer_is_awaited() {
    let mut script = warm(Mode::Replay);
    script.call(&Call::new(1, mix(1, 2, 0, 64)));
    let synchronise = Call::new(1, Operator::StreamSynchronize { stream: stream(1) });
    script.call(&Call { later: true, ..synchronise });
    // The server has not got any of it.
    let operators = script.pair.client.next_number();
    let (calls, _) = but_the_copy(WARM_UP);
    calls.iter().for_each(|call| script.call(call));
    assert_eq!(script.pair.client.next_number() - operators, calls.len() as u64);
    let mut script = warm(Mode::Replay);
    assert_eq!(asked_early(&mut script, WARM_UP), 1);
}
