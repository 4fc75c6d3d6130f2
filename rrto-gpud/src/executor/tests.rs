use std::time::Duration;

use proptest::prelude::*;
use rrto_core::api::CuResult;
use rrto_core::operator::{Operator, Value};

use super::fake::{FAILS, FakeContext, Script, allocates_after, answers, completes_after};
use super::*;

fn run_script(operators: impl IntoIterator<Item = Operator>) -> (Script, FakeContext) {
    let script = Script::new(operators);
    let mut context = FakeContext::default();
    let reason = run(&script, &mut context, &mut SessionMeter::new());
    assert_eq!(reason, "the script is over");
    (script, context)
}

#[test]
fn completions_overtake_each_other() {
    let (script, context) =
        run_script([completes_after(3), completes_after(1), answers(5), completes_after(2)]);
    assert_eq!(context.executed, [1, 2, 3, 4]);
    assert_eq!(script.finished_numbers(), [3, 2, 4, 1]);
    assert_eq!(script.finished.borrow()[0].1, Ok(Value::Payload(vec![0; 5].into())));
}

#[test]
fn an_error_is_an_outcome_like_any_other() {
    let (script, context) = run_script([FAILS, completes_after(1), FAILS]);
    assert_eq!(context.executed, [1, 2, 3]);
    let failed = Err(CuResult::INVALID_VALUE);
    assert_eq!(*script.finished.borrow(), [(1, failed.clone()), (3, failed), (2, Ok(Value::None))]);
}

#[test]
fn an_allocation_waits_for_the_memory_of_the_dead() {
    for (failures, dead, outcome) in
        [(2, 3, Ok(Value::None)), (2, 2, Ok(Value::None)), (2, 1, Err(CuResult::OUT_OF_MEMORY))]
    {
        let script = Script::new([allocates_after(failures), answers(1)]);
        *script.dead.borrow_mut() = dead;
        let mut context = FakeContext::default();
        run(&script, &mut context, &mut SessionMeter::new());
        assert_eq!(script.finished.borrow()[0], (1, outcome));
        assert_eq!(*script.dead.borrow(), dead.saturating_sub(failures as u32));
    }
}

#[test]
fn a_burst_of_operators_does_not_delay_answers() {
    let (script, _) = run_script(std::iter::once(completes_after(1)).chain((0..200).map(answers)));
    let position = script.finished_numbers().iter().position(|number| *number == 1);
    assert!(position.is_some_and(|at| at < POLL_OPERATORS as usize), "{position:?}");
}

#[test]
fn waits_long_only_while_nothing_is_pending() {
    let (script, context) = run_script([answers(1), completes_after(100), answers(1)]);
    let waits = script.waits.borrow();
    // One for each poll, and one for the operator that came in between.
    let pending = &waits[2..waits.len() - 1];
    assert_eq!(pending.len() as u64, context.polls + 1);
    assert!(pending.iter().all(|wait| *wait < Duration::from_millis(1)));
    assert_eq!(pending[0], Duration::ZERO);
}

proptest! {
    #[test]
    fn each_operator_is_executed_and_finished_once(delays in prop::collection::vec(0_u64..40, 0..200)) {
        let operators = delays.iter().map(|delay| if *delay == 0 { answers(0) } else { completes_after(*delay) });
        let (script, context) = run_script(operators);
        let all: Vec<u64> = (1..=delays.len() as u64).collect();
        prop_assert_eq!(&context.executed, &all);
        let mut finished = script.finished_numbers();
        finished.sort_unstable();
        prop_assert_eq!(finished, all);
    }
}
