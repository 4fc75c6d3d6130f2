//! Sessions in processes of their own, on the software GPU: the same results, the same errors, and nobody else's faults.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod session;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use rrto_core::api::CuResult;
use rrto_core::operator::{
    Edit, Geometry, Handle, Launch, MAX_PARAM_BYTES, MAX_PAYLOAD_BYTES, MAX_SEQUENCE_BYTES, MAX_SPAN_PATCHES,
    Operator, Outcome, Patch, Sequence, SequenceId, Span, Value,
};
use rrto_gpud::cli::{DeviceKind, WorkerArgs};
use rrto_gpud::device::cpu::CpuDevice;
use rrto_gpud::device::process::{ProcessDevice, WorkerCommand};
use rrto_gpud::device::{Device, Limits};
use session::Session;
use tracing::level_filters::LevelFilter;

const PROGRAM: &str = env!("CARGO_BIN_EXE_rrto-gpud");
const STREAM: Handle = Handle::LEGACY_STREAM;
const MODULE: Handle = Handle(1);
const FUNCTION: Handle = Handle(2);

/// A kernel that never ends, among others.
const PTX: &str = include_str!("../ptx/session.ptx");

fn arguments() -> Vec<OsString> {
    WorkerArgs { device: DeviceKind::Cpu, gpu: 0, log_level: LevelFilter::OFF }.command_line()
}

fn processes() -> ProcessDevice {
    ProcessDevice::new(WorkerCommand { program: PROGRAM.into(), arguments: arguments() }).unwrap()
}

/// Whether the process is there, or was and nobody has taken note of its end.
fn exists(process: u32) -> bool {
    Path::new(&format!("/proc/{process}")).exists()
}

fn kill(process: u32) {
    assert!(Command::new("kill").args(["-KILL", &process.to_string()]).status().unwrap().success());
}

/// What a program does, with the buffer that it does it to.
#[derive(Clone, Debug)]
enum Step {
    Alloc(u64),
    Free(usize),
    CopyIn(usize, u64, u8),
    CopyOut(usize, u64),
    CopyDevice(usize, usize, u64),
    Memset(usize, u8, u64),
    Stream(u64, bool),
    Event(u64, bool),
    Load(u64, bool),
    Lookup(u64),
    /// From, how many, and the place of a patch.
    Span(u32, u32, u32),
    Retire,
    Synchronize,
    Wait,
}

fn step() -> impl Strategy<Value = Step> {
    use Step::*;
    let bytes = || prop_oneof![0_u64..100, 4_000_u64..5_000, 60_000_u64..140_000, Just(MAX_PAYLOAD_BYTES)];
    prop_oneof![
        bytes().prop_map(Alloc),
        (0..8_usize).prop_map(Free),
        (0..8_usize, bytes(), any::<u8>()).prop_map(|(to, bytes, fill)| CopyIn(to, bytes, fill)),
        (0..8_usize, bytes()).prop_map(|(from, bytes)| CopyOut(from, bytes)),
        (0..8_usize, 0..8_usize, bytes()).prop_map(|(to, from, bytes)| CopyDevice(to, from, bytes)),
        (0..8_usize, any::<u8>(), bytes()).prop_map(|(at, value, bytes)| Memset(at, value, bytes)),
        (10..14_u64, any::<bool>()).prop_map(|(stream, create)| Stream(stream, create)),
        (20..24_u64, any::<bool>()).prop_map(|(event, create)| Event(event, create)),
        (30..33_u64, any::<bool>()).prop_map(|(module, good)| Load(module, good)),
        (30..33_u64).prop_map(Lookup),
        (0..8_u32, 1..8_u32, 0..8_u32).prop_map(|(from, count, patch)| Span(from, count, patch)),
        (0..8_u32, 1..8_u32, 0..8_u32).prop_map(|(from, count, patch)| Span(from, count, patch)),
        Just(Retire),
        Just(Synchronize),
        Just(Wait),
    ]
}

/// What a program repeats: some of it fails, and the launch can be patched.
fn sequence(buffer: u64) -> Arc<Sequence> {
    let fill = |address, value| Operator::Memset {
        address,
        pitch_bytes: 0,
        value,
        element_bytes: 4,
        width: 64,
        height: 1,
        stream: STREAM,
    };
    let launch = |function, values: u64| {
        Operator::Launch(Launch {
            function,
            geometry: Geometry { grid: [2, 1, 1], block: [32, 1, 1], shared_bytes: 0 },
            stream: STREAM,
            cooperative: false,
            attributes: Vec::new(),
            params: Bytes::copy_from_slice(&values.to_le_bytes()),
        })
    };
    let operators = vec![
        fill(buffer, 7),
        launch(FUNCTION, buffer),
        Operator::CopyDevice { dst: buffer + 512, src: buffer, bytes: 256, stream: STREAM },
        launch(Handle(77), buffer),
        fill(0, 1),
        launch(FUNCTION, buffer + 256),
        Operator::EventRecord { event: Handle(20), stream: STREAM, flags: 0 },
        Operator::StreamWaitEvent { stream: STREAM, event: Handle(20), flags: 0 },
    ];
    Arc::new(Sequence::new(3, operators).unwrap())
}

fn span(id: u32, sequence: &Sequence, from: u32, count: u32, patch: u32, buffer: u64) -> Span {
    let end = (from + count).min(sequence.operators().len() as u32);
    let is_launch = matches!(sequence.operators()[patch as usize], Operator::Launch(_));
    let edits = vec![Edit { offset: 0, bytes: Bytes::copy_from_slice(&(buffer + 1024).to_le_bytes()) }];
    let patches = match is_launch && (from..end).contains(&patch) {
        true => vec![Patch { at: patch, geometry: None, edits }],
        false => Vec::new(),
    };
    Span { sequence: SequenceId(id), from, count: end - from, patches }
}

/// Does the steps; gives all outcomes, but not the successes of operators of spans.
fn act(session: &mut Session, steps: &[Step]) -> BTreeMap<u64, Outcome> {
    // Addresses are the same on both devices, or the outcomes differ.
    let mut buffers = [session.alloc(MAX_PAYLOAD_BYTES); 8];
    // Never freed: when a kernel's fault shows is a matter of time.
    let repeated = session.alloc(4096);
    let (sequence, mut id) = (sequence(repeated), 0);
    session.load("increment");
    for (at, step) in steps.iter().enumerate() {
        let mut payload = None;
        let operator = match *step {
            Step::Alloc(bytes) => {
                let number = session.issue(Operator::MemAlloc { bytes }, None);
                let outcome = session.wait(number);
                if let Ok(Value::Address(address)) = outcome {
                    buffers[at % 8] = address;
                }
                session.outcomes.insert(number, outcome);
                continue;
            }
            Step::Free(at) => Operator::MemFree { address: buffers[at] },
            Step::CopyIn(to, bytes, fill) => {
                payload = Some(Bytes::from(vec![fill; bytes as usize]));
                Operator::CopyIn { dst: buffers[to], bytes, stream: STREAM }
            }
            Step::CopyOut(from, bytes) => Operator::CopyOut { src: buffers[from], bytes, stream: STREAM },
            Step::CopyDevice(to, from, bytes) => {
                Operator::CopyDevice { dst: buffers[to], src: buffers[from], bytes, stream: STREAM }
            }
            Step::Memset(at, value, width) => Operator::Memset {
                address: buffers[at],
                pitch_bytes: 0,
                value: value.into(),
                element_bytes: 1,
                width,
                height: 1,
                stream: STREAM,
            },
            Step::Stream(stream, true) => {
                Operator::StreamCreate { stream: Handle(stream), flags: 0, priority: 0 }
            }
            Step::Stream(stream, false) => Operator::StreamSynchronize { stream: Handle(stream) },
            Step::Event(event, true) => Operator::EventCreate { event: Handle(event), flags: 0 },
            Step::Event(event, false) => {
                Operator::EventRecord { event: Handle(event), stream: STREAM, flags: 0 }
            }
            Step::Load(module, good) => {
                let text = if good { PTX } else { "no PTX" };
                let image = Handle(40);
                payload = Some(Bytes::from_static(text.as_bytes()));
                session.issue(Operator::ImageAppend { image, bytes: text.len() as u64 }, payload.take());
                Operator::ModuleLoad { module: Handle(module), image }
            }
            Step::Lookup(module) => Operator::ModuleGetFunction {
                module: Handle(module),
                name: "increment".to_owned(),
                function: Handle(50 + at as u64),
            },
            Step::Span(from, count, patch) => {
                session.issue_span(&sequence, &span(id, &sequence, from, count, patch, repeated));
                Operator::CopyOut { src: repeated, bytes: 2048, stream: STREAM }
            }
            Step::Retire => {
                session.context.retire(SequenceId(id));
                id += 1;
                continue;
            }
            Step::Synchronize => Operator::ContextSynchronize,
            Step::Wait => {
                session.poll();
                continue;
            }
        };
        session.issue(operator, payload);
    }
    session.wait_for_all()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn results_are_those_of_a_session_in_this_process(steps in prop::collection::vec(step(), 0..80)) {
        static PROCESSES: LazyLock<ProcessDevice> = LazyLock::new(processes);
        let here = CpuDevice::new().unwrap();
        prop_assert_eq!(PROCESSES.info(), here.info());
        let expected = act(&mut Session::on(&here, Limits::default()), &steps);
        let found = act(&mut Session::on(&*PROCESSES, Limits::default()), &steps);
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn a_killed_worker_ends_its_own_session_only() {
    let device = processes();
    let (mut lost, worker) = Session::with_worker(&device);
    let mut bystander = Session::on(&device, Limits::default());
    lost.spin();
    let pending: Vec<u64> = (0..3).map(|_| lost.issue(Operator::ContextSynchronize, None)).collect();
    lost.poll();
    kill(worker);
    for number in pending {
        assert_eq!(lost.wait(number), Err(CuResult::LAUNCH_FAILED));
    }
    assert_eq!(lost.call(Operator::MemGetInfo), Err(CuResult::LAUNCH_FAILED));
    assert_eq!(lost.context.pending(), 0);
    assert!(!exists(worker));
    bystander.assert_works();
    Session::on(&device, Limits::default()).assert_works();
}

#[test]
fn a_worker_that_dies_idle_is_noticed_at_the_next_operator() {
    let device = processes();
    let (mut session, worker) = Session::with_worker(&device);
    session.assert_works();
    kill(worker);
    while session.call(Operator::MemGetInfo).is_ok() {}
    assert_eq!(session.call(Operator::MemGetInfo), Err(CuResult::LAUNCH_FAILED));
    drop(session);
    // And a spare worker that dies is replaced.
    let spare = loop {
        if let [spare] = device.processes()[..] {
            break spare;
        }
        std::thread::yield_now();
    };
    kill(spare);
    Session::on(&device, Limits::default()).assert_works();
}

#[test]
fn nothing_remains_of_workers() {
    let device = processes();
    let mut seen = device.processes();
    for _ in 0..3 {
        let mut session = Session::on(&device, Limits::default());
        session.assert_works();
        // What is still to be executed, and a kernel that never ends, do not keep the process.
        session.spin();
        session.issue(Operator::ContextSynchronize, None);
        seen.extend(device.processes());
    }
    drop(device);
    seen.sort_unstable();
    seen.dedup();
    assert!(seen.len() >= 3, "{seen:?}");
    for process in seen {
        while exists(process) {
            // The last spare one may still have been about to start.
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_worker_ends_with_its_server() {
    for close_first in [true, false] {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let ours = (!close_first).then_some(ours);
        let mut command = Command::new(PROGRAM);
        command.args(arguments()).stdin(Stdio::from(OwnedFd::from(theirs)));
        let mut child = command.spawn().unwrap();
        // The command holds the worker's end too, until it is dropped.
        drop(command);
        drop(ours);
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn a_backlog_in_both_directions_is_no_deadlock() {
    const COPIES: u64 = 200;
    let device = processes();
    for staging_bytes in [0, 4 << 20, 256 << 20] {
        let mut session = Session::on(&device, Limits { staging_bytes, ..Limits::default() });
        let address = session.alloc(MAX_PAYLOAD_BYTES);
        let copy = |at: u64| Bytes::from(vec![at as u8; MAX_PAYLOAD_BYTES as usize]);
        let (bytes, stream) = (MAX_PAYLOAD_BYTES, STREAM);
        // Nothing is polled in between.
        let numbers: Vec<u64> = (0..COPIES)
            .map(|at| {
                session.issue(Operator::CopyIn { dst: address, bytes, stream }, Some(copy(at)));
                session.issue(Operator::CopyOut { src: address, bytes, stream }, None)
            })
            .collect();
        for (at, number) in numbers.into_iter().enumerate() {
            assert_eq!(session.wait(number), Ok(Value::Payload(copy(at as u64))));
        }
    }
}

#[test]
fn many_small_operators_are_no_deadlock_either() {
    let device = processes();
    let mut session = Session::on(&device, Limits::default());
    let address = session.alloc(64);
    for _ in 0..50_000 {
        let fill = Operator::Memset {
            address,
            pitch_bytes: 0,
            value: 1,
            element_bytes: 4,
            width: 16,
            height: 1,
            stream: STREAM,
        };
        session.issue(fill, None);
        session.issue(Operator::MemFree { address: 1 }, None);
    }
    assert_eq!(session.call(Operator::ContextSynchronize), Ok(Value::None));
}

#[test]
fn the_largest_sequence_with_as_much_patched_as_may_be() {
    let device = processes();
    let mut session = Session::on(&device, Limits::default());
    let launch = Operator::Launch(Launch {
        function: Handle(77),
        geometry: Geometry::default(),
        stream: STREAM,
        cooperative: false,
        attributes: Vec::new(),
        params: vec![0; MAX_PARAM_BYTES / 16].into(),
    });
    let one = Sequence::new(0, vec![launch.clone()]).unwrap();
    let count = (MAX_SEQUENCE_BYTES / one.bytes()) as u32;
    let sequence = Arc::new(Sequence::new(0, vec![launch; count as usize]).unwrap());
    let edits = vec![Edit { offset: 0, bytes: vec![1; MAX_PARAM_BYTES / 16].into() }];
    let patches =
        (0..MAX_SPAN_PATCHES as u32).map(|at| Patch { at, geometry: None, edits: edits.clone() }).collect();
    session.issue_span(&sequence, &Span { sequence: SequenceId(1), from: 0, count, patches });
    let failures = session.wait_for_all();
    assert_eq!(failures.len(), count as usize);
    assert!(failures.values().all(|outcome| *outcome == Err(CuResult::INVALID_HANDLE)));
    session.assert_works();
}

#[test]
fn spans_of_a_worker_that_is_gone_are_told() {
    let device = processes();
    let (mut session, worker) = Session::with_worker(&device);
    let buffer = session.alloc(4096);
    let sequence = sequence(buffer);
    let whole = span(1, &sequence, 0, 8, 3, buffer);
    session.spin();
    session.issue(Operator::ContextSynchronize, None);
    kill(worker);
    session.wait_for_all();
    let first = session.number + 1;
    session.issue_span(&sequence, &whole);
    let expected: BTreeMap<u64, Outcome> =
        (first..first + 8).map(|number| (number, Err(CuResult::LAUNCH_FAILED))).collect();
    assert_eq!(session.wait_for_all(), expected);
}

#[test]
fn a_full_session_can_be_left() {
    let device = processes();
    let mut session = Session::on(&device, Limits { staging_bytes: 1, ..Limits::default() });
    session.spin();
    assert!(session.context.has_room(Duration::MAX));
    session.issue(Operator::ContextSynchronize, None);
    assert!(!session.context.has_room(Duration::from_millis(1)));
}

#[test]
fn a_device_that_cannot_be_opened_is_told() {
    let command = WorkerCommand { program: "/nonexistent/rrto-gpud".into(), arguments: Vec::new() };
    let error = ProcessDevice::new(command).map(drop).unwrap_err();
    assert!(error.0.contains("/nonexistent/rrto-gpud"), "{error}");

    let line = WorkerArgs { device: DeviceKind::Cuda, gpu: 999, log_level: LevelFilter::OFF }.command_line();
    let command = WorkerCommand { program: PROGRAM.into(), arguments: line };
    let error = ProcessDevice::new(command).map(drop).unwrap_err();
    assert!(!error.0.contains("worker process"), "it is the worker that tells why: {error}");

    let command = WorkerCommand { program: "/bin/true".into(), arguments: Vec::new() };
    let error = ProcessDevice::new(command).map(drop).unwrap_err();
    assert!(error.0.contains("exit status: 0"), "{error}");
}
