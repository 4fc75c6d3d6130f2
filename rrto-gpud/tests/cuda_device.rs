//! The real GPU behind the `Device` trait. What a real driver answers is the expectation, so these run only where
//! there is one, and otherwise say that they were skipped.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "test code: a failure is a panic"
)]

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rrto_core::api::{CuResult, DeviceAttribute};
use rrto_core::operator::{
    Geometry, Handle, KernelInfo, Launch, LaunchAttribute, MAX_PAYLOAD_BYTES, Operator, Outcome, TensorMap,
    Value,
};
use rrto_gpud::device::cuda::CudaDevice;
use rrto_gpud::device::{Context, Device, Limits, Progress};

/// `add_value` adds to n words; `wait_for` spins until a word is set, or for some seconds; `write_wild` writes to an
/// address that no one has.
const KERNELS: &str = r"
.version 7.0
.target sm_52
.address_size 64
.visible .global .align 4 .u32 counter = 41;
.visible .entry add_value(.param .u64 out, .param .u32 n, .param .u32 value)
{
    .reg .pred %p<2>; .reg .b32 %r<6>; .reg .b64 %d<4>;
    mov.u32 %r1, %ctaid.x;
    mov.u32 %r2, %ntid.x;
    mov.u32 %r3, %tid.x;
    mad.lo.s32 %r1, %r1, %r2, %r3;
    ld.param.u32 %r2, [n];
    setp.ge.u32 %p1, %r1, %r2;
    @%p1 bra done;
    ld.param.u64 %d1, [out];
    cvta.to.global.u64 %d1, %d1;
    mul.wide.u32 %d2, %r1, 4;
    add.s64 %d1, %d1, %d2;
    ld.global.u32 %r3, [%d1];
    ld.param.u32 %r4, [value];
    add.u32 %r3, %r3, %r4;
    st.global.u32 [%d1], %r3;
done:
    ret;
}
.visible .entry wait_for(.param .u64 flag)
{
    .reg .pred %p<3>; .reg .b32 %r<2>; .reg .b64 %d<5>;
    ld.param.u64 %d1, [flag];
    cvta.to.global.u64 %d1, %d1;
    mov.u64 %d2, %clock64;
again:
    ld.volatile.global.u32 %r1, [%d1];
    setp.ne.u32 %p1, %r1, 0;
    @%p1 bra done;
    mov.u64 %d3, %clock64;
    sub.s64 %d4, %d3, %d2;
    setp.lt.u64 %p2, %d4, 20000000000;
    @%p2 bra again;
done:
    ret;
}
.visible .entry write_wild()
{
    .reg .b32 %r<2>; .reg .b64 %d<2>;
    mov.u64 %d1, 16;
    mov.u32 %r1, 1;
    st.global.u32 [%d1], %r1;
    ret;
}
";

const LEGACY: Handle = Handle::LEGACY_STREAM;
const IMAGE: Handle = Handle(1);
const CODE: Handle = Handle(2);
const ADD: Handle = Handle(3);
const WAIT: Handle = Handle(4);
const WILD: Handle = Handle(5);

/// Longer than any of this takes on any GPU; a hang becomes a failure.
const PATIENCE: Duration = Duration::from_secs(120);

/// The GPU, one test at a time, so that what one test measures of its memory is its own; `None` where there is none.
fn gpu() -> Option<(CudaDevice, MutexGuard<'static, ()>)> {
    static ONE: Mutex<()> = Mutex::new(());
    match CudaDevice::new(0) {
        Ok(device) => Some((device, ONE.lock().unwrap_or_else(PoisonError::into_inner))),
        Err(error) => {
            assert!(!error.to_string().is_empty());
            println!("SKIPPED, no GPU to test: {error}");
            None
        }
    }
}

struct Session {
    context: Box<dyn Context>,
    next: u64,
    finished: Vec<(u64, Outcome)>,
}

impl Session {
    fn open(device: &CudaDevice, limits: Limits) -> Session {
        Session { context: device.open(limits).unwrap(), next: 0, finished: Vec::new() }
    }

    /// Issues it; its number if it is pending.
    fn issue(&mut self, operator: Operator, payload: Option<Bytes>) -> Result<u64, Outcome> {
        assert_eq!(operator.check_limits(), Ok(()));
        self.next += 1;
        match self.context.execute(self.next, operator, payload) {
            Progress::Done(outcome) => Err(outcome),
            Progress::Pending => Ok(self.next),
        }
    }

    fn pending(&mut self, operator: Operator) -> u64 {
        self.issue(operator, None).unwrap()
    }

    fn take(&mut self, number: u64) -> Option<Outcome> {
        self.context.poll(&mut self.finished);
        let at = self.finished.iter().position(|(finished, _)| *finished == number)?;
        Some(self.finished.swap_remove(at).1)
    }

    fn wait(&mut self, number: u64) -> Outcome {
        let start = Instant::now();
        loop {
            if let Some(outcome) = self.take(number) {
                return outcome;
            }
            assert!(start.elapsed() < PATIENCE, "operator {number} never ends");
            std::thread::yield_now();
        }
    }

    fn call(&mut self, operator: Operator) -> Outcome {
        self.issue(operator, None).map_or_else(|outcome| outcome, |number| self.wait(number))
    }

    fn done(&mut self, operator: Operator) {
        assert_eq!(self.call(operator), Ok(Value::None));
    }

    fn fails(&mut self, operator: Operator, error: CuResult) {
        assert_eq!(self.call(operator.clone()), Err(error), "{operator:?}");
    }

    fn alloc(&mut self, bytes: u64) -> u64 {
        match self.call(Operator::MemAlloc { bytes }) {
            Ok(Value::Address(address)) => address,
            other => panic!("{other:?}"),
        }
    }

    fn copy_in(&mut self, dst: u64, bytes: &[u8], stream: Handle) -> Outcome {
        let operator = Operator::CopyIn { dst, bytes: bytes.len() as u64, stream };
        self.issue(operator, Some(Bytes::copy_from_slice(bytes))).unwrap_err()
    }

    fn copy_out(&mut self, src: u64, bytes: u64, stream: Handle) -> Bytes {
        match self.call(Operator::CopyOut { src, bytes, stream }) {
            Ok(Value::Payload(bytes)) => bytes,
            other => panic!("{other:?}"),
        }
    }

    fn load(&mut self) {
        for piece in KERNELS.as_bytes().chunks(700) {
            let operator = Operator::ImageAppend { image: IMAGE, bytes: piece.len() as u64 };
            let outcome = self.issue(operator, Some(Bytes::copy_from_slice(piece))).unwrap_err();
            assert_eq!(outcome, Ok(Value::None));
        }
        self.done(Operator::LibraryLoad { library: CODE, image: IMAGE });
    }

    fn kernel(&mut self, name: &str, function: Handle) -> KernelInfo {
        let name = name.into();
        match self.call(Operator::LibraryGetKernel { library: CODE, name, function }) {
            Ok(Value::Kernel(info)) => info,
            other => panic!("{other:?}"),
        }
    }

    fn launch(&mut self, function: Handle, blocks: u32, params: &[u8], stream: Handle) -> Outcome {
        let geometry = Geometry { grid: [blocks, 1, 1], block: [128, 1, 1], shared_bytes: 0 };
        let params = Bytes::copy_from_slice(params);
        let (cooperative, attributes) = (false, Vec::new());
        self.call(Operator::Launch(Launch { function, geometry, stream, cooperative, attributes, params }))
    }

    fn stream(&mut self, stream: Handle) -> Handle {
        self.done(Operator::StreamCreate { stream, flags: 1, priority: 0 });
        stream
    }
}

fn add_params(out: u64, n: u32, value: u32) -> Vec<u8> {
    [&out.to_ne_bytes()[..], &n.to_ne_bytes(), &value.to_ne_bytes()].concat()
}

fn pattern(bytes: usize, seed: usize) -> Vec<u8> {
    (0..bytes).map(|n| ((n * 31 + seed * 7) >> 3) as u8).collect()
}

#[test]
fn without_a_driver_the_error_says_what_is_missing() {
    if let Err(error) = CudaDevice::new(0) {
        let text = error.to_string();
        assert!(text.contains("driver") || text.contains("GPU"), "{text}");
    }
}

#[test]
fn the_device_is_described() {
    let Some((device, _one)) = gpu() else { return };
    let info = device.info();
    println!("{info:?}");
    assert!(!info.name.is_empty() && info.total_bytes > 0 && info.driver_version >= 12_000);
    assert!(info.compute_capability().0 >= 5);
    assert_eq!(info.attribute(10), Some(32), "threads of a warp");
    assert_eq!(info.attribute(0), None);
    assert_eq!(info.attribute(DeviceAttribute::MANAGED_MEMORY.0), Some(0), "not offered");
    assert!(info.limits.first().copied().flatten().is_some_and(|stack_bytes| stack_bytes > 0));
    assert!(info.stream_priorities.0 >= info.stream_priorities.1);
    assert!(CudaDevice::new(usize::MAX).is_err());
}

#[test]
fn copies_of_every_length_come_back() {
    let Some((device, _one)) = gpu() else { return };
    let mut session = Session::open(&device, Limits::default());
    let address = session.alloc(MAX_PAYLOAD_BYTES);
    let other = session.alloc(MAX_PAYLOAD_BYTES);
    for (seed, len) in [0, 1, 3, 4096, 4097, 65_536, 65_537, 1 << 20].into_iter().enumerate() {
        let sent = pattern(len, seed);
        assert_eq!(session.copy_in(address, &sent, LEGACY), Ok(Value::None));
        session.done(Operator::CopyDevice { dst: other, src: address, bytes: len as u64, stream: LEGACY });
        assert_eq!(session.copy_out(other, len as u64, LEGACY), sent, "{len} bytes");
    }
    let wrong = Operator::CopyIn { dst: address, bytes: 5, stream: LEGACY };
    assert_eq!(session.issue(wrong, Some(Bytes::from_static(b"four"))), Err(Err(CuResult::INVALID_VALUE)));
    session.done(Operator::MemFree { address });
    session.fails(Operator::MemFree { address }, CuResult::INVALID_VALUE);
    assert_eq!(session.context.pending(), 0);
}

#[test]
fn many_copies_pass_through_little_staging_memory() {
    let Some((device, _one)) = gpu() else { return };
    let limits = Limits { staging_bytes: 0, ..Limits::default() };
    let mut session = Session::open(&device, limits);
    let (pieces, bytes) = (40, MAX_PAYLOAD_BYTES);
    let address = session.alloc(pieces * bytes);
    let at = |piece: u64| address + piece * bytes;
    for piece in 0..pieces {
        assert_eq!(session.copy_in(at(piece), &pattern(1 << 20, piece as usize), LEGACY), Ok(Value::None));
    }
    for small in 0..2000_u64 {
        assert_eq!(session.copy_in(at(small % pieces), &[small as u8], LEGACY), Ok(Value::None));
    }
    // All issued before any is waited for, and all payloads kept.
    let numbers: Vec<u64> = (0..pieces)
        .map(|piece| session.pending(Operator::CopyOut { src: at(piece), bytes, stream: LEGACY }))
        .collect();
    assert_eq!(session.context.pending() as u64, pieces);
    let kept: Vec<Outcome> = numbers.into_iter().map(|number| session.wait(number)).collect();
    assert_eq!(session.context.pending(), 0);
    drop(session);
    for (piece, outcome) in kept.into_iter().enumerate() {
        let Ok(Value::Payload(bytes)) = outcome else { panic!("{outcome:?}") };
        assert_eq!(bytes[1..], pattern(1 << 20, piece)[1..]);
        assert_eq!(bytes[0], (0..2000).rfind(|small| small % 40 == piece).unwrap() as u8);
    }
}

#[test]
fn fills() {
    let Some((device, _one)) = gpu() else { return };
    let mut session = Session::open(&device, Limits::default());
    let address = session.alloc(1024);
    let fill = |address, value, element_bytes, width, height| Operator::Memset {
        address,
        pitch_bytes: 256,
        value,
        element_bytes,
        width,
        height,
        stream: LEGACY,
    };
    session.done(fill(address, 0, 1, 1024, 1));
    session.done(fill(address, 0x1122_3344, 4, 2, 1));
    session.done(fill(address + 256, 0xaabb, 2, 2, 2));
    session.done(fill(address + 768, 0x77, 1, 3, 1));
    let bytes = session.copy_out(address, 1024, LEGACY);
    let mut expected = vec![0_u8; 1024];
    for (at, part) in [
        (0, &0x1122_3344_1122_3344_u64.to_ne_bytes()[..]),
        (256, &0xaabb_aabb_u32.to_ne_bytes()),
        (512, &0xaabb_aabb_u32.to_ne_bytes()),
        (768, &[0x77; 3]),
    ] {
        expected[at..at + part.len()].copy_from_slice(part);
    }
    assert_eq!(bytes, expected);
    session.fails(fill(address, 0, 1, 1025, 1), CuResult::INVALID_VALUE);
    session.fails(fill(address + 1, 0, 4, 1, 1), CuResult::INVALID_VALUE);
    session.fails(fill(address, 0, 3, 1, 1), CuResult::INVALID_VALUE);
    session.done(fill(0, 0, 1, 0, 1));
}

#[test]
fn kernels_and_variables() {
    let Some((device, _one)) = gpu() else { return };
    let mut session = Session::open(&device, Limits::default());
    session.load();
    let info = session.kernel("add_value", ADD);
    assert_eq!(info.params, [(0, 8), (8, 4), (12, 4)]);
    assert_eq!(info.attributes.len(), 16);
    assert!(info.attributes[0].is_some_and(|threads| threads >= 128));
    assert_eq!(session.kernel("write_wild", WILD).params, []);
    let absent = Operator::LibraryGetKernel { library: CODE, name: "absent".into(), function: Handle(99) };
    session.fails(absent, CuResult::NOT_FOUND);
    match session.call(Operator::LibraryKernels { library: CODE }) {
        Ok(Value::Names(mut names)) => {
            names.sort();
            assert_eq!(names, ["add_value", "wait_for", "write_wild"]);
        }
        older => assert_eq!(older, Err(CuResult::NOT_SUPPORTED)),
    }

    let words = session.alloc(4000);
    session.done(Operator::Memset {
        address: words,
        pitch_bytes: 0,
        value: 5,
        element_bytes: 4,
        width: 1000,
        height: 1,
        stream: LEGACY,
    });
    assert_eq!(session.launch(ADD, 8, &add_params(words, 1000, 37), LEGACY), Ok(Value::None));
    let result = session.copy_out(words, 4000, LEGACY);
    assert!(result.chunks(4).all(|word| word == 42_u32.to_ne_bytes()));
    assert_eq!(
        session.launch(ADD, 8, &add_params(words, 1000, 37)[..12], LEGACY),
        Err(CuResult::INVALID_VALUE)
    );
    assert_eq!(session.launch(ADD, 0, &add_params(words, 1000, 37), LEGACY), Err(CuResult::INVALID_VALUE));
    assert_eq!(session.launch(Handle(99), 1, &[], LEGACY), Err(CuResult::INVALID_HANDLE));
    if device.info().compute_capability() >= (9, 0) {
        attributes(&mut session, words);
    }

    session.done(Operator::LibraryGetModule { library: CODE, module: Handle(20) });
    let name = || String::from("counter");
    let global = session.call(Operator::LibraryGetGlobal { library: CODE, name: name() });
    assert_eq!(session.call(Operator::ModuleGetGlobal { module: Handle(20), name: name() }), global);
    let Ok(Value::Global { address, bytes: 4 }) = global else { panic!("{global:?}") };
    assert_eq!(session.copy_out(address, 4, LEGACY), 41_u32.to_ne_bytes()[..]);
    session.fails(Operator::ModuleUnload { module: Handle(20) }, CuResult::NOT_PERMITTED);

    let blocks =
        Operator::OccupancyMaxActiveBlocks { function: ADD, block_threads: 128, shared_bytes: 0, flags: 0 };
    assert!(matches!(session.call(blocks), Ok(Value::Number(1..))));
    let shared = Operator::OccupancyAvailableSharedMemory { function: ADD, blocks: 1, block_threads: 128 };
    assert!(matches!(session.call(shared), Ok(Value::Number(1..))));
    let set = Operator::FunctionSetAttribute { function: ADD, attribute: 8, value: 1024 };
    match session.call(set) {
        Ok(Value::Kernel(now)) => assert_eq!(now.attributes[8], Some(1024)),
        other => panic!("{other:?}"),
    }
    session.done(Operator::FunctionSetCacheConfig { function: ADD, config: 1 });
    session.done(Operator::LibraryUnload { library: CODE });
    assert_eq!(session.launch(ADD, 1, &add_params(words, 1, 1), LEGACY), Err(CuResult::INVALID_HANDLE));
    session.fails(Operator::CopyOut { src: address, bytes: 4, stream: LEGACY }, CuResult::INVALID_VALUE);
}

fn attributes(session: &mut Session, words: u64) {
    let launch = |id, value: &[u8], cooperative| {
        Operator::Launch(Launch {
            function: ADD,
            geometry: Geometry { grid: [1, 1, 1], block: [32, 1, 1], shared_bytes: 0 },
            stream: LEGACY,
            cooperative,
            attributes: vec![LaunchAttribute { id, value: Bytes::copy_from_slice(value) }],
            params: Bytes::from(add_params(words, 1, 0)),
        })
    };
    session.done(launch(6, &[1], false));
    session.done(launch(0, &[], true));
    session.fails(launch(7, &[1; 8], false), CuResult::NOT_SUPPORTED);
}

#[test]
fn code_that_is_none_is_refused_as_by_the_driver() {
    let Some((device, _one)) = gpu() else { return };
    let mut session = Session::open(&device, Limits { image_bytes: 100, ..Limits::default() });
    let append = |session: &mut Session, bytes: &'static [u8]| {
        let operator = Operator::ImageAppend { image: IMAGE, bytes: bytes.len() as u64 };
        session.issue(operator, Some(Bytes::from_static(bytes))).unwrap_err()
    };
    for (image, error) in [
        (&b"this is no module at all"[..], CuResult::INVALID_IMAGE),
        (
            b".version 6.3\n.target sm_52\n.address_size 64\n.visible .entry b() { no; }",
            CuResult::INVALID_PTX,
        ),
        (b"\x7fELF", CuResult::INVALID_IMAGE),
    ] {
        assert_eq!(append(&mut session, image), Ok(Value::None));
        session.fails(Operator::ModuleLoad { module: CODE, image: IMAGE }, error);
    }
    session.fails(Operator::ModuleLoad { module: CODE, image: IMAGE }, CuResult::INVALID_IMAGE);
    assert_eq!(append(&mut session, &[b' '; 100]), Ok(Value::None));
    assert_eq!(append(&mut session, b" "), Err(CuResult::OUT_OF_MEMORY));
}

#[test]
fn nothing_waits_for_another_lanes_wait() {
    let Some((device, _one)) = gpu() else { return };
    let mut session = Session::open(&device, Limits::default());
    session.load();
    assert_eq!(session.kernel("wait_for", WAIT).params, [(0, 8)]);
    session.kernel("add_value", ADD);
    let (slow, fast, event) = (session.stream(Handle(10)), session.stream(Handle(11)), Handle(12));
    session.done(Operator::EventCreate { event, flags: 0 });
    let (flag, words) = (session.alloc(4), session.alloc(4));
    assert_eq!(session.copy_in(flag, &[0; 4], LEGACY), Ok(Value::None));
    assert_eq!(session.copy_in(words, &[0; 4], LEGACY), Ok(Value::None));
    session.call(Operator::EventSynchronize { event }).expect("never recorded is completed");
    session.done(Operator::ContextSynchronize);

    assert_eq!(session.launch(WAIT, 1, &flag.to_ne_bytes(), slow), Ok(Value::None));
    session.done(Operator::EventRecord { event, stream: slow, flags: 0 });
    let stream_wait = session.pending(Operator::StreamSynchronize { stream: slow });
    let event_wait = session.pending(Operator::EventSynchronize { event });
    let all_wait = session.pending(Operator::ContextSynchronize);
    let copy_wait = session.pending(Operator::CopyOut { src: flag, bytes: 4, stream: slow });
    session.fails(Operator::StreamQuery { stream: slow }, CuResult::NOT_READY);
    session.fails(Operator::EventQuery { event }, CuResult::NOT_READY);

    // Recorded again elsewhere, the event completes there, while who waited for the first record goes on waiting.
    assert_eq!(session.launch(ADD, 1, &add_params(words, 1, 9), fast), Ok(Value::None));
    session.done(Operator::EventRecord { event, stream: fast, flags: 0 });
    session.done(Operator::EventSynchronize { event });
    session.done(Operator::EventQuery { event });
    assert_eq!(session.copy_out(words, 4, fast), 9_u32.to_ne_bytes()[..]);
    for number in [stream_wait, event_wait, all_wait, copy_wait] {
        assert_eq!(session.take(number), None);
    }
    assert_eq!(session.context.pending(), 4);

    assert_eq!(session.copy_in(flag, &1_u32.to_ne_bytes(), fast), Ok(Value::None));
    for number in [stream_wait, event_wait, all_wait] {
        assert_eq!(session.wait(number), Ok(Value::None));
    }
    assert_eq!(session.wait(copy_wait), Ok(Value::Payload(Bytes::copy_from_slice(&1_u32.to_ne_bytes()))));
    session.done(Operator::StreamDestroy { stream: slow });
    session.done(Operator::EventDestroy { event });
    session.done(Operator::StreamSynchronize { stream: fast });
}

#[test]
fn events_measure_and_order() {
    let Some((device, _one)) = gpu() else { return };
    let mut session = Session::open(&device, Limits::default());
    let (first, second, stream) = (Handle(10), Handle(11), Handle(12));
    for event in [first, second] {
        session.done(Operator::EventCreate { event, flags: 0 });
    }
    session.stream(stream);
    session.fails(Operator::EventElapsedTime { start: first, end: second }, CuResult::INVALID_HANDLE);
    for event in [first, second] {
        session.done(Operator::EventRecord { event, stream: LEGACY, flags: 0 });
    }
    session.done(Operator::StreamWaitEvent { stream, event: second, flags: 0 });
    session.done(Operator::StreamSynchronize { stream });
    let elapsed = session.call(Operator::EventElapsedTime { start: first, end: second });
    assert!(matches!(elapsed, Ok(Value::Milliseconds(0.0..))), "{elapsed:?}");
    session.fails(Operator::EventCreate { event: Handle(13), flags: 0x4000 }, CuResult::INVALID_VALUE);
    session.fails(
        Operator::StreamCreate { stream: Handle(14), flags: 0x80, priority: 0 },
        CuResult::INVALID_VALUE,
    );
}

#[test]
fn handles_that_nobody_made() {
    let Some((device, _one)) = gpu() else { return };
    let mut session = Session::open(&device, Limits { handles: 2, ..Limits::default() });
    let none = Handle(77);
    for operator in [
        Operator::StreamDestroy { stream: none },
        Operator::StreamDestroy { stream: LEGACY },
        Operator::StreamQuery { stream: none },
        Operator::StreamSynchronize { stream: none },
        Operator::EventRecord { event: none, stream: LEGACY, flags: 0 },
        Operator::EventQuery { event: none },
        Operator::EventSynchronize { event: none },
        Operator::EventDestroy { event: none },
        Operator::ModuleUnload { module: none },
        Operator::LibraryUnload { library: none },
        Operator::ModuleGetFunction { module: none, name: "f".into(), function: Handle(78) },
        Operator::FunctionSetCacheConfig { function: none, config: 0 },
    ] {
        session.fails(operator, CuResult::INVALID_HANDLE);
    }
    session.stream(Handle(1));
    session
        .fails(Operator::StreamCreate { stream: Handle(1), flags: 0, priority: 0 }, CuResult::INVALID_VALUE);
    session.stream(Handle(2));
    session
        .fails(Operator::StreamCreate { stream: Handle(3), flags: 0, priority: 0 }, CuResult::OUT_OF_MEMORY);
}

#[test]
fn memory_has_limits() {
    let Some((device, _one)) = gpu() else { return };
    let limits = Limits { memory_bytes: 1 << 20, allocations: 2, ..Limits::default() };
    let mut session = Session::open(&device, limits);
    session.fails(Operator::MemAlloc { bytes: 0 }, CuResult::INVALID_VALUE);
    session.fails(Operator::MemAlloc { bytes: (1 << 20) + 1 }, CuResult::OUT_OF_MEMORY);
    let address = session.alloc(1 << 19);
    match session.call(Operator::MemGetInfo) {
        Ok(Value::Memory { free_bytes, total_bytes }) => {
            assert_eq!(free_bytes, 1 << 19);
            assert!(total_bytes > 1 << 20);
        }
        other => panic!("{other:?}"),
    }
    let pitched = Operator::MemAllocPitch { width_bytes: 100, height: 4, element_bytes: 4 };
    assert!(matches!(session.call(pitched), Ok(Value::Pitched { pitch_bytes: 100.., .. })));
    session.fails(Operator::MemAlloc { bytes: 1 }, CuResult::OUT_OF_MEMORY);
    session.done(Operator::MemFree { address });
    session.done(Operator::MemFree { address: 0 });
    session.alloc(1);
    session.fails(Operator::ContextSetLimit { limit: 2, value: 1 << 30 }, CuResult::OUT_OF_MEMORY);
    assert!(matches!(session.call(Operator::ContextGetLimit { limit: 0 }), Ok(Value::Number(1..))));
}

#[test]
fn a_session_names_no_memory_but_its_own() {
    let Some((device, _one)) = gpu() else { return };
    let mut mine = Session::open(&device, Limits::default());
    let mut other = Session::open(&device, Limits::default());
    let (address, theirs) = (mine.alloc(256), other.alloc(256));
    let host = [7_u8; 256];
    for foreign in [theirs, host.as_ptr() as u64, 16, u64::MAX - 8] {
        let (bytes, stream) = (16, LEGACY);
        mine.fails(Operator::CopyOut { src: foreign, bytes, stream }, CuResult::INVALID_VALUE);
        mine.fails(
            Operator::CopyDevice { dst: foreign, src: address, bytes, stream },
            CuResult::INVALID_VALUE,
        );
        mine.fails(
            Operator::CopyDevice { dst: address, src: foreign, bytes, stream },
            CuResult::INVALID_VALUE,
        );
        assert_eq!(mine.copy_in(foreign, &[0; 16], LEGACY), Err(CuResult::INVALID_VALUE));
        mine.fails(Operator::MemFree { address: foreign }, CuResult::INVALID_VALUE);
    }
    assert_eq!(host, [7; 256]);
}

#[test]
fn one_sessions_fault_stays_its_own() {
    let Some((device, _one)) = gpu() else { return };
    let mut healthy = Session::open(&device, Limits::default());
    let address = healthy.alloc(64);
    healthy.load();
    healthy.kernel("add_value", ADD);
    let mut faulty = Session::open(&device, Limits::default());
    faulty.load();
    faulty.kernel("write_wild", WILD);
    let memory = faulty.alloc(64);
    assert_eq!(faulty.launch(WILD, 1, &[], LEGACY), Ok(Value::None));
    faulty.fails(Operator::StreamSynchronize { stream: LEGACY }, CuResult::ILLEGAL_ADDRESS);
    for operator in [
        Operator::MemAlloc { bytes: 1 },
        Operator::MemFree { address: memory },
        Operator::ContextSynchronize,
        Operator::StreamCreate { stream: Handle(50), flags: 0, priority: 0 },
        Operator::CopyOut { src: memory, bytes: 4, stream: LEGACY },
    ] {
        faulty.fails(operator, CuResult::ILLEGAL_ADDRESS);
    }
    for round in 0..2 {
        assert_eq!(healthy.copy_in(address, &[round; 64], LEGACY), Ok(Value::None));
        assert_eq!(healthy.launch(ADD, 1, &add_params(address, 1, 1), LEGACY), Ok(Value::None));
        assert_eq!(healthy.copy_out(address, 64, LEGACY)[0], round + 1);
        if round == 0 {
            drop(std::mem::replace(&mut faulty, Session::open(&device, Limits::default())));
        }
    }
    let fresh = faulty.alloc(64);
    assert_eq!(faulty.copy_in(fresh, &[3; 64], LEGACY), Ok(Value::None));
    assert_eq!(faulty.copy_out(fresh, 64, LEGACY), [3; 64][..]);
}

#[test]
fn the_end_of_a_session_frees_its_memory() {
    let Some((device, _one)) = gpu() else { return };
    let mut watch = Session::open(&device, Limits::default());
    let mut free = || match watch.call(Operator::MemGetInfo) {
        Ok(Value::Memory { free_bytes, .. }) => free_bytes,
        other => panic!("{other:?}"),
    };
    let before = free();
    let big = 256 << 20;
    let mut session = Session::open(&device, Limits::default());
    session.load();
    let address = session.alloc(big);
    assert_eq!(session.copy_in(address, &[1; 1 << 16], LEGACY), Ok(Value::None));
    session.pending(Operator::CopyOut { src: address, bytes: 1 << 16, stream: LEGACY });
    assert!(free() <= before - big);
    drop(session);
    assert!(free() > before - big / 2, "{} of {before} free", free());
}

#[test]
fn tensor_maps() {
    let Some((device, _one)) = gpu() else { return };
    if device.info().attribute(DeviceAttribute::TENSOR_MAP_ACCESS_SUPPORTED.0) != Some(1) {
        println!("SKIPPED, this GPU has no tensor maps");
        return;
    }
    let mut session = Session::open(&device, Limits::default());
    let map = TensorMap {
        data_type: 7, // CU_TENSOR_MAP_DATA_TYPE_FLOAT32
        address: session.alloc(1 << 16),
        dims: vec![64, 64],
        strides: vec![256],
        box_dims: vec![16, 16],
        element_strides: vec![1, 1],
        interleave: 0,
        swizzle: 0,
        l2_promotion: 0,
        oob_fill: 0,
    };
    match session.call(Operator::TensorMapTiled(map.clone())) {
        Ok(Value::Payload(bytes)) => assert!(bytes.len() == 128 && bytes.iter().any(|byte| *byte != 0)),
        other => panic!("{other:?}"),
    }
    session.fails(Operator::TensorMapTiled(TensorMap { data_type: 99, ..map }), CuResult::INVALID_VALUE);
}
