//! Programs that poll.

use rrto_core::api::CuResult;
use rrto_core::engine::Submitted;
use rrto_core::operator::{Operator, Value};
use rrto_core::testing::{Call, Manner, Script, kernel, launch};
use rrto_core::wire::Mode;

use crate::model::{MEMORY_BYTES, event, inference, inferences, mix, setup, stream};

fn query(script: &mut Script, operator: Operator) -> Result<Value, CuResult> {
    match script.pair.client.handle_submit(0, operator, None) {
        Submitted::Answered(outcome) => outcome,
        other => panic!("{other:?}"),
    }
}

#[test]
fn polling_costs_no_round_trip() {
    for mode in [Mode::Pipeline, Mode::Replay] {
        let stream = stream(0);
        for (question, legacy) in [
            (Operator::EventQuery { event: event(0) }, false),
            (Operator::StreamQuery { stream }, false),
            (Operator::StreamQuery { stream }, true),
        ] {
            let mut script = Script::new(mode, MEMORY_BYTES);
            setup(1).iter().for_each(|call| script.call(call));
            script.call(&Call::new(0, mix(0, 1, 0, 64)));
            if legacy {
                // What is on the legacy stream is none of the query's business.
                script.call(&Call::new(0, launch(1, Default::default(), kernel(0, 0, 8, Manner::Mixes))));
            }
            script.call(&Call::new(0, Operator::EventRecord { event: event(0), stream, flags: 0 }));
            for _ in 0..1000 {
                assert_eq!(query(&mut script, question.clone()), Err(CuResult::NOT_READY));
            }
            script.pair.settle();
            assert_eq!(query(&mut script, question.clone()), Ok(Value::None), "{mode} {question:?}");
            assert!(script.pair.carried.control_up < 500, "{:?}", script.pair.carried);
            // What comes after the answer is waited for again.
            script.call(&Call::new(0, mix(0, 1, 0, 64)));
            script.call(&Call::new(0, Operator::EventRecord { event: event(0), stream, flags: 0 }));
            assert_eq!(query(&mut script, question.clone()), Err(CuResult::NOT_READY));
            script.pair.settle();
            assert_eq!(query(&mut script, question), Ok(Value::None));
        }
    }
}

#[test]
fn an_event_is_complete_though_its_stream_is_gone() {
    let mut script = Script::new(Mode::Replay, MEMORY_BYTES);
    setup(1).iter().for_each(|call| script.call(call));
    script.call(&Call::new(0, mix(0, 1, 0, 64)));
    script.call(&Call::new(0, Operator::EventRecord { event: event(0), stream: stream(0), flags: 0 }));
    script.call(&Call::new(0, Operator::StreamDestroy { stream: stream(0) }));
    let question = Operator::EventQuery { event: event(0) };
    assert_eq!(query(&mut script, question.clone()), Err(CuResult::NOT_READY));
    script.pair.settle();
    assert_eq!(query(&mut script, question), Ok(Value::None));
}

#[test]
fn a_query_gives_the_error_of_what_it_asks_about() {
    let mut script = Script::new(Mode::Replay, MEMORY_BYTES);
    setup(1).iter().for_each(|call| script.call(call));
    script.call(&Call::new(0, launch(1, stream(0), kernel(0, 0, 8, Manner::Fails))));
    let question = Operator::StreamQuery { stream: stream(0) };
    assert_eq!(query(&mut script, question.clone()), Err(CuResult::NOT_READY));
    script.pair.settle();
    assert_eq!(query(&mut script, question.clone()), Err(CuResult::INVALID_VALUE));
    assert_eq!(query(&mut script, question), Ok(Value::None));
}

#[test]
fn a_query_in_a_run_is_no_divergence_and_lets_the_work_begin() {
    let mut script = Script::new(Mode::Replay, MEMORY_BYTES);
    setup(1).iter().chain(&inferences(0, 60, 0, 6)).for_each(|call| script.call(call));
    let runs = script.pair.client.replay_statistics().runs;
    let calls = inference(0, 60, 6);
    calls[..30].iter().for_each(|call| script.call(call));
    let question = Operator::StreamQuery { stream: stream(0) };
    assert_eq!(query(&mut script, question.clone()), Err(CuResult::NOT_READY));
    assert!(script.pair.client_has_output());
    script.pair.settle();
    assert_eq!(query(&mut script, question), Ok(Value::None));
    calls[30..].iter().for_each(|call| script.call(call));
    let statistics = script.pair.client.replay_statistics();
    assert_eq!((statistics.runs, statistics.divergences.len()), (runs + 1, 0));
}

#[test]
fn what_the_program_can_know_to_be_complete_is_complete() {
    for mode in [Mode::Percall, Mode::Pipeline, Mode::Replay] {
        let mut script = Script::new(mode, MEMORY_BYTES);
        let calls = [
            Call::new(0, mix(0, 1, 0, 64)),
            Call::new(0, Operator::EventRecord { event: event(0), stream: stream(0), flags: 0 }),
            Call::new(0, Operator::StreamWaitEvent { stream: stream(1), event: event(0), flags: 0 }),
            Call::new(0, Operator::StreamSynchronize { stream: stream(1) }),
            Call::new(0, Operator::EventQuery { event: event(0) }),
        ];
        setup(2).iter().chain(&calls).for_each(|call| script.call(call));
        assert_eq!(script.end().outcomes.last(), Some(&Ok(Value::None)), "{mode}");
    }
}
