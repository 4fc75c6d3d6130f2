//! Sessions that outlive their connections, on the engines alone: whatever is cut and raced, a program sees what it sees
//! without that, and a repetition of what a client once said does nothing.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code: a failure is a panic")]

use bytes::Bytes;
use proptest::prelude::*;
use rrto_core::api::CuResult;
use rrto_core::engine::server::{Channel, Greeting};
use rrto_core::engine::{Client, ClientLimits, Server, ServerLimits, Submitted, Work};
use rrto_core::operator::{Handle, Operator, Value};
use rrto_core::testing::{Call, FakeDevice, Manner, Script, Trace, kernel, launch};
use rrto_core::wire::{
    ClientFrame, DeviceInfo, Mode, Resume, ServerFrame, SessionToken, TOKEN_BYTES, Welcome, put_frame,
};

const MEMORY_BYTES: usize = 64 << 10;
const STREAM: Handle = Handle::LEGACY_STREAM;

/// An inference with a bulk input, kernels and a bulk output, which the program waits for, and a small one.
fn inference(round: u8) -> Vec<Call> {
    let input = Call {
        payload: Some(Bytes::from(vec![round; 6000])),
        ..Call::new(0, Operator::CopyIn { dst: 0, bytes: 6000, stream: STREAM })
    };
    let kernels = (0..12).map(|at| launch(at % 3, STREAM, kernel(at * 40, at * 70, 50, Manner::Mixes)));
    let out = |bytes| Call::new(0, Operator::CopyOut { src: 0, bytes, stream: STREAM });
    let later = Call { later: true, ..out(5000) };
    [input].into_iter().chain(kernels.map(|kernel| Call::new(0, kernel))).chain([later, out(100)]).collect()
}

fn program(rounds: u8) -> Vec<Call> {
    (0..rounds).flat_map(inference).collect()
}

/// Everything moves one step.
fn step(script: &mut Script, at: usize) {
    let pair = &mut script.pair;
    match at % 7 {
        0 => pair.flush_client(),
        1 => drop(pair.move_up(90)),
        2 => drop(pair.move_bulk_up(1)),
        3 => drop(pair.execute(5)),
        4 => pair.flush_server(),
        5 => drop(pair.move_down(20)),
        _ => drop(pair.move_bulk_down(1)),
    }
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Cut,
    Race,
    Roam,
}

/// Runs a program of which the connection changes after so many steps behind its last call but one.
fn run_with(mode: Mode, calls: &[Call], change: Change, after: usize) -> Trace {
    let mut script = Script::new(mode, MEMORY_BYTES);
    let (last, before) = calls.split_last().unwrap();
    before.iter().for_each(|call| script.call(call));
    (0..after).for_each(|at| step(&mut script, at));
    match change {
        Change::Cut => script.pair.cut(),
        Change::Race => script.pair.race(),
        Change::Roam => script.pair.roam(),
    }
    (0..after / 2).for_each(|at| step(&mut script, at));
    script.call(last);
    let executed = script.pair.device.executed.clone();
    assert!(executed.is_sorted_by(|one, next| one < next), "once, in order");
    script.end()
}

#[test]
fn a_program_does_not_see_that_its_connection_changes_at_any_point_of_an_inference() {
    for mode in [Mode::Pipeline, Mode::Replay] {
        let calls = program(10);
        let uncut = Script::run(mode, MEMORY_BYTES, &calls);
        for change in [Change::Cut, Change::Race, Change::Roam] {
            for after in 0..70 {
                assert_eq!(run_with(mode, &calls, change, after), uncut, "{mode}, {change:?} after {after}");
            }
        }
    }
}

#[test]
fn a_failure_is_told_once_whatever_is_cut() {
    for after in 0..40 {
        let mut script = Script::new(Mode::Pipeline, MEMORY_BYTES);
        script.call(&Call::new(0, launch(1, STREAM, kernel(0, 0, 8, Manner::Fails))));
        script.call(&Call {
            later: true,
            ..Call::new(0, Operator::CopyOut { src: 0, bytes: 5000, stream: STREAM })
        });
        for at in 0..after {
            step(&mut script, at);
        }
        script.pair.cut();
        script.pair.settle();
        let synchronisation = Operator::StreamSynchronize { stream: STREAM };
        let mut submit = || script.pair.client.handle_submit(0, synchronisation.clone(), None);
        assert!(matches!(submit(), Submitted::Answered(Err(CuResult::INVALID_VALUE))), "after {after}");
        assert!(matches!(submit(), Submitted::Awaits(_) | Submitted::Answered(Ok(_))), "after {after}");
    }
}

fn welcome() -> Welcome {
    Welcome { session: 1, server_version: String::new(), device: DeviceInfo::default() }
}

const TOKEN: SessionToken = SessionToken([3; TOKEN_BYTES]);

/// A server and the connection that its session began on.
fn server(client: &mut Client) -> (Server, Channel) {
    let mut out = Vec::new();
    let mut opened = client.open();
    client.poll_control(&mut opened, &mut out, usize::MAX).unwrap();
    let mut server = Server::new(ServerLimits::default());
    let mut channel = Channel::new(false);
    assert!(matches!(channel.handle_greeting(&out), Ok(Some(Greeting::Hello(_)))));
    server.handle_welcome(&mut channel, welcome(), TOKEN);
    let mut down = Vec::new();
    server.poll_control(&mut channel, &mut down).unwrap();
    client.handle_control(&mut opened, &down).unwrap();
    (server, channel)
}

/// What a server executes of what has come.
fn execute(server: &mut Server, device: &mut FakeDevice) {
    use rrto_core::testing::Device;
    while let Ok(Some(Work::Operator(ready))) = server.poll_ready() {
        let outcome = device.execute(&ready);
        server.handle_outcome(ready.number, outcome);
    }
}

/// Takes a flight that a connection begins with.
fn take(server: &mut Server, flight: &[u8], is_early: bool) -> Channel {
    let mut channel = Channel::new(is_early);
    match channel.handle_greeting(flight) {
        Ok(Some(Greeting::Resume(resume))) => server.handle_resume(&mut channel, &resume),
        other => panic!("{other:?}"),
    }
    server.handle_control(&mut channel, &[]).unwrap();
    channel
}

#[test]
fn an_early_flight_that_is_repeated_executes_each_operator_once_and_ends_nothing() {
    let mut client = Client::new(Mode::Pipeline, "test", ClientLimits::default());
    let (mut server, _) = server(&mut client);
    let mut device = FakeDevice::new(MEMORY_BYTES);
    for at in 0..5 {
        client.handle_submit(0, launch(at, STREAM, kernel(at, 0, 8, Manner::Mixes)), None);
    }
    client.handle_goodbye();
    let (mut flight, mut channel) = (Vec::new(), client.open());
    client.poll_control(&mut channel, &mut flight, usize::MAX).unwrap();
    // Were a client to say goodbye early, it would not count either.
    put_frame(&ClientFrame::Goodbye, &mut flight).unwrap();
    for _ in 0..100 {
        take(&mut server, &flight, true);
        execute(&mut server, &mut device);
    }
    assert_eq!(device.executed, [1, 2, 3, 4, 5]);
    assert!(!server.is_finished() && !server.is_ended());
    let mut confirmed = take(&mut server, &flight, true);
    server.handle_confirmed(&mut confirmed);
    assert!(server.is_finished());
}

#[test]
fn a_goodbye_ends_a_session_whose_payloads_are_still_to_come() {
    let mut client = Client::new(Mode::Pipeline, "test", ClientLimits::default());
    let (mut server, _) = server(&mut client);
    let mut device = FakeDevice::new(MEMORY_BYTES);
    client.handle_submit(0, launch(0, STREAM, kernel(0, 0, 8, Manner::Mixes)), None);
    let copy = Operator::CopyIn { dst: 0, bytes: 6000, stream: STREAM };
    client.handle_submit(0, copy, Some(vec![1; 6000].into()));
    client.handle_goodbye();
    let (mut flight, mut line) = (Vec::new(), client.open());
    client.poll_control(&mut line, &mut flight, usize::MAX).unwrap();
    put_frame(&ClientFrame::Goodbye, &mut flight).unwrap();
    take(&mut server, &flight, false);
    execute(&mut server, &mut device);
    assert_eq!(device.executed, [1], "what has come is executed");
    assert!(server.is_finished());
}

#[test]
fn a_hello_is_not_taken_early() {
    let mut client = Client::new(Mode::Pipeline, "test", ClientLimits::default());
    let (mut flight, mut channel) = (Vec::new(), client.open());
    client.poll_control(&mut channel, &mut flight, usize::MAX).unwrap();
    assert!(Channel::new(true).handle_greeting(&flight).is_err());
}

#[test]
fn what_a_client_never_confirms_is_bounded() {
    let limits = ServerLimits { output_bytes: 1 << 20, ..ServerLimits::default() };
    let mut server = Server::new(limits);
    let mut channel = Channel::new(false);
    server.handle_welcome(&mut channel, welcome(), TOKEN);
    let mut client = Client::new(Mode::Pipeline, "test", ClientLimits::default());
    let mut opened = client.open();
    for _ in 0..1000 {
        client.handle_submit(0, Operator::CopyOut { src: 0, bytes: 50_000, stream: STREAM }, None);
    }
    let mut out = Vec::new();
    client.poll_control(&mut opened, &mut out, usize::MAX).unwrap();
    assert!(matches!(channel.handle_greeting(&out), Ok(Some(_))));
    server.handle_control(&mut channel, &[]).unwrap();
    let mut device = FakeDevice::new(MEMORY_BYTES);
    execute(&mut server, &mut device);
    assert!((20..23).contains(&device.executed.len()), "{}", device.executed.len());
    let mut confirmation = Vec::new();
    put_frame(&ClientFrame::Received { answers: 10 }, &mut confirmation).unwrap();
    server.handle_control(&mut channel, &confirmation).unwrap();
    execute(&mut server, &mut device);
    assert!((30..33).contains(&device.executed.len()), "{}", device.executed.len());
}

#[test]
fn a_client_confirms_what_it_gets() {
    let mut script = Script::new(Mode::Pipeline, MEMORY_BYTES);
    // 250 MB: a server that had to keep them all would have stopped long before.
    for _ in 0..5000 {
        script.call(&Call::new(0, Operator::CopyOut { src: 0, bytes: 50_000, stream: STREAM }));
    }
    let trace = script.end();
    assert!(trace.outcomes.iter().all(|outcome| *outcome == Ok(Value::None)));
}

proptest! {
    #[test]
    fn any_resumption_is_answered_or_refused(
        answers in any::<u64>(),
        missing in prop::collection::vec(any::<u64>(), 0..5),
        early in prop::collection::vec(0..5_u64, 0..5),
        near in 0..5_u64,
        is_near in any::<bool>(),
    ) {
        let mut client = Client::new(Mode::Pipeline, "test", ClientLimits::default());
        let (mut server, mut first) = server(&mut client);
        let answers = if is_near { near } else { answers };
        let mut flight = Vec::new();
        let resume = Resume { token: TOKEN, answers, missing, early };
        put_frame(&ClientFrame::Resume(resume), &mut flight).unwrap();
        let mut channel = take(&mut server, &flight, false);
        let mut out = Vec::new();
        server.poll_control(&mut channel, &mut out).unwrap();
        server.poll_control(&mut first, &mut out).unwrap();
        prop_assert!(server.poll_bulk(&mut channel).is_none());
        prop_assert!(!server.has_output(&channel));
    }

    #[test]
    fn a_client_survives_any_answer_to_its_resumption(
        executed in 0..10_u64,
        expected in 0..10_u64,
        payloads in prop::collection::vec(0..10_u64, 0..5),
        answers in 0..4_u64,
    ) {
        let mut client = Client::new(Mode::Pipeline, "test", ClientLimits::default());
        server(&mut client);
        for at in 0..5 {
            client.handle_submit(0, launch(at, STREAM, kernel(at, 0, 8, Manner::Mixes)), None);
        }
        let (mut channel, mut out) = (client.open(), Vec::new());
        client.poll_control(&mut channel, &mut out, usize::MAX).unwrap();
        let mut down = Vec::new();
        let resumed = rrto_core::wire::Resumed { executed, expected, payloads };
        put_frame(&ServerFrame::Resumed(resumed), &mut down).unwrap();
        put_frame(&ServerFrame::AnswersFrom { answers }, &mut down).unwrap();
        let taken = client.handle_control(&mut channel, &down);
        prop_assert_eq!(taken.is_ok(), executed <= 5 && expected <= 6 && answers == 0);
        out.clear();
        prop_assert!(client.poll_control(&mut channel, &mut out, usize::MAX).is_ok());
    }
}
