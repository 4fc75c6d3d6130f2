use std::num::NonZero;
use std::time::Duration;

use bytes::Bytes;
use rrto_core::api::CuResult;
use rrto_core::operator::{Geometry, Handle, KernelInfo, Launch, Operator, Outcome, Value};

use super::{CpuDevice, CpuSettings};
use crate::device::{Context, Device, Limits, Progress};

/// Kernels by hand: one that adds to every element, one that never ends, one that reads nowhere, one that
/// spins until a flag is set.
const PTX: &str = include_str!("../../../../tests/ptx/session.ptx");

const MODULE: Handle = Handle(1);
const FUNCTION: Handle = Handle(2);
const STREAM: Handle = Handle(10);
const OTHER: Handle = Handle(11);
const EVENT: Handle = Handle(20);

/// A session that counts its operators.
struct Session {
    context: Box<dyn Context>,
    number: u64,
    finished: Vec<(u64, Outcome)>,
}

fn settings() -> CpuSettings {
    CpuSettings {
        memory_bytes: 1 << 20,
        workers: NonZero::<usize>::MIN,
        kernel_time: Duration::from_secs(60),
    }
}

impl Session {
    fn on(device: &CpuDevice) -> Self {
        let context = device.open(Limits::default()).unwrap();
        Self { context, number: 0, finished: Vec::new() }
    }

    fn new() -> Self {
        Self::on(&CpuDevice::with(settings()))
    }

    fn issue(&mut self, operator: Operator, payload: Option<&[u8]>) -> Progress {
        self.number += 1;
        self.context.execute(self.number, operator, payload.map(|bytes| Bytes::copy_from_slice(bytes).into()))
    }

    /// The outcome of an operator that answers at once.
    fn now(&mut self, operator: Operator) -> Outcome {
        match self.issue(operator, None) {
            Progress::Done(outcome) => outcome,
            Progress::Pending => panic!("the operator is pending"),
        }
    }

    fn wait(&mut self, number: u64) -> Outcome {
        loop {
            self.context.poll(&mut self.finished);
            if let Some(at) = self.finished.iter().position(|(n, _)| *n == number) {
                return self.finished.remove(at).1;
            }
            std::thread::yield_now();
        }
    }

    /// The outcome of any operator.
    fn call(&mut self, operator: Operator, payload: Option<&[u8]>) -> Outcome {
        match self.issue(operator, payload) {
            Progress::Done(outcome) => outcome,
            Progress::Pending => self.wait(self.number),
        }
    }

    fn load(&mut self, image: &[u8]) -> Outcome {
        let append = Operator::ImageAppend { image: Handle(99), bytes: image.len() as u64 };
        self.call(append, Some(image)).unwrap();
        self.call(Operator::ModuleLoad { module: MODULE, image: Handle(99) }, None)
    }

    fn function(&mut self, name: &str, function: Handle) -> Result<KernelInfo, CuResult> {
        match self.now(Operator::ModuleGetFunction { module: MODULE, name: name.into(), function })? {
            Value::Kernel(info) => Ok(info),
            other => panic!("{other:?}"),
        }
    }

    fn alloc(&mut self, bytes: u64) -> u64 {
        match self.now(Operator::MemAlloc { bytes }) {
            Ok(Value::Address(address)) => address,
            other => panic!("{other:?}"),
        }
    }

    fn launch(&mut self, function: Handle, stream: Handle, params: &[u64]) -> Outcome {
        let params: Vec<u8> = params.iter().flat_map(|p| p.to_le_bytes()).collect();
        self.now(Operator::Launch(Launch {
            function,
            geometry: Geometry { grid: [2, 1, 1], block: [32, 1, 1], shared_bytes: 0 },
            stream,
            cooperative: false,
            attributes: Vec::new(),
            params: params.into(),
        }))
    }

    fn read(&mut self, src: u64, bytes: u64, stream: Handle) -> Result<Vec<u8>, CuResult> {
        match self.call(Operator::CopyOut { src, bytes, stream }, None)? {
            Value::Payload(payload) => Ok(payload.to_vec()),
            other => panic!("{other:?}"),
        }
    }

    /// With the test module loaded, a kernel looked up, and two streams.
    fn ready(kernel: &str) -> Self {
        let mut session = Self::new();
        session.load(PTX.as_bytes()).unwrap();
        session.function(kernel, FUNCTION).unwrap();
        for (stream, flags) in [(STREAM, 0), (OTHER, 1)] {
            session.now(Operator::StreamCreate { stream, flags, priority: 0 }).unwrap();
        }
        session.now(Operator::EventCreate { event: EVENT, flags: 0 }).unwrap();
        session
    }
}

#[test]
fn copies_fills_and_launches_come_in_order() {
    let mut session = Session::ready("increment");
    let address = session.alloc(256);
    let fill = Operator::Memset {
        address,
        pitch_bytes: 0,
        value: 7,
        element_bytes: 4,
        width: 64,
        height: 1,
        stream: STREAM,
    };
    session.now(fill).unwrap();
    let payload: Vec<u8> = (0..8u32).flat_map(|i| i.to_le_bytes()).collect();
    session.call(Operator::CopyIn { dst: address, bytes: 32, stream: STREAM }, Some(&payload)).unwrap();
    for _ in 0..5 {
        session.launch(FUNCTION, STREAM, &[address]).unwrap();
    }
    let bytes = session.read(address, 256, STREAM).unwrap();
    let values: Vec<u32> = bytes.chunks(4).map(|c| u32::from_le_bytes(c.try_into().unwrap())).collect();
    let expected: Vec<u32> = (0..64).map(|i| if i < 8 { i + 5 } else { 12 }).collect();
    assert_eq!(values, expected);
}

#[test]
fn memory_freed_behind_a_launch_is_still_there_for_it() {
    let mut session = Session::ready("increment");
    let (first, second) = (session.alloc(256), session.alloc(256));
    session.launch(FUNCTION, STREAM, &[first]).unwrap();
    session.now(Operator::CopyDevice { dst: second, src: first, bytes: 256, stream: STREAM }).unwrap();
    session.now(Operator::MemFree { address: first }).unwrap();
    assert_eq!(session.alloc(256), first);
    assert_eq!(session.read(second, 4, STREAM).unwrap(), [1, 0, 0, 0]);
    assert_eq!(session.read(first, 4, STREAM).unwrap(), [0, 0, 0, 0]);
}

#[test]
fn one_streams_wait_holds_up_no_other() {
    let mut session = Session::ready("wait_for_flag");
    let flag = session.alloc(4);
    session.launch(FUNCTION, OTHER, &[flag]).unwrap();
    session.now(Operator::EventRecord { event: EVENT, stream: OTHER, flags: 0 }).unwrap();
    assert_eq!(session.now(Operator::StreamQuery { stream: OTHER }), Err(CuResult::NOT_READY));
    assert_eq!(session.now(Operator::EventQuery { event: EVENT }), Err(CuResult::NOT_READY));
    // The other stream is non-blocking, so neither a blocking stream nor the legacy one waits for it.
    assert!(session.read(flag, 4, STREAM).is_ok());
    assert!(session.read(flag, 4, Handle::LEGACY_STREAM).is_ok());
    session.now(Operator::StreamWaitEvent { stream: STREAM, event: EVENT, flags: 0 }).unwrap();
    assert_eq!(session.now(Operator::StreamQuery { stream: STREAM }), Err(CuResult::NOT_READY));
    // Legacy waits for blocking streams; so this one waits for the event.
    let Progress::Pending =
        session.issue(Operator::StreamSynchronize { stream: Handle::LEGACY_STREAM }, None)
    else {
        panic!("the legacy stream does not wait for a blocking one");
    };
    let waiting = session.number;
    let third = Handle(12);
    session.now(Operator::StreamCreate { stream: third, flags: 1, priority: 0 }).unwrap();
    session.call(Operator::CopyIn { dst: flag, bytes: 4, stream: third }, Some(&[1, 0, 0, 0])).unwrap();
    assert_eq!(session.wait(waiting), Ok(Value::None));
    assert_eq!(session.now(Operator::EventQuery { event: EVENT }), Ok(Value::None));
    assert_eq!(session.context.pending(), 0);
}

#[test]
fn events_measure_time() {
    let mut session = Session::ready("increment");
    let later = Handle(21);
    session.now(Operator::EventCreate { event: later, flags: 0 }).unwrap();
    let elapsed = Operator::EventElapsedTime { start: EVENT, end: later };
    assert_eq!(session.now(elapsed.clone()), Err(CuResult::INVALID_HANDLE));
    for event in [EVENT, later] {
        session.now(Operator::EventRecord { event, stream: STREAM, flags: 0 }).unwrap();
    }
    session.call(Operator::EventSynchronize { event: later }, None).unwrap();
    let Ok(Value::Milliseconds(ms)) = session.now(elapsed) else { panic!("no time") };
    assert!(ms >= 0.0);
}

#[test]
fn a_fault_is_sticky_and_only_its_own_sessions() {
    let device = CpuDevice::with(settings());
    let (mut bad, mut good) = (Session::on(&device), Session::on(&device));
    for session in [&mut bad, &mut good] {
        session.load(PTX.as_bytes()).unwrap();
        session.function("increment", FUNCTION).unwrap();
    }
    let address = good.alloc(256);
    bad.launch(FUNCTION, Handle::LEGACY_STREAM, &[0x1000]).unwrap();
    assert_eq!(bad.call(Operator::ContextSynchronize, None), Err(CuResult::ILLEGAL_ADDRESS));
    assert_eq!(bad.now(Operator::MemAlloc { bytes: 4 }), Err(CuResult::ILLEGAL_ADDRESS));
    good.launch(FUNCTION, Handle::LEGACY_STREAM, &[address]).unwrap();
    assert_eq!(good.call(Operator::ContextSynchronize, None), Ok(Value::None));
}

#[test]
fn a_session_that_ends_stops_its_kernels_and_frees_its_memory() {
    let device = CpuDevice::with(settings());
    let mut session = Session::on(&device);
    session.load(PTX.as_bytes()).unwrap();
    session.function("forever", FUNCTION).unwrap();
    session.alloc(1 << 19);
    session.launch(FUNCTION, Handle::LEGACY_STREAM, &[]).unwrap();
    session.launch(FUNCTION, Handle::LEGACY_STREAM, &[]).unwrap();
    let Progress::Pending = session.issue(Operator::ContextSynchronize, None) else { panic!("it ended") };
    drop(session);
    assert_eq!(device.budget.left(), device.budget.total());
}

#[test]
fn sessions_share_the_devices_memory() {
    let device = CpuDevice::with(settings());
    let (mut first, mut second) = (Session::on(&device), Session::on(&device));
    first.alloc(600 << 10);
    assert_eq!(second.now(Operator::MemAlloc { bytes: 600 << 10 }), Err(CuResult::OUT_OF_MEMORY));
    let Ok(Value::Memory { free_bytes, total_bytes }) = second.now(Operator::MemGetInfo) else { panic!() };
    assert_eq!((free_bytes, total_bytes), (424 << 10, 1 << 20));
    drop(first);
    second.alloc(600 << 10);
}

#[test]
fn the_memory_that_is_seen_is_what_the_session_may_have() {
    let device = CpuDevice::with(settings());
    for (limit, total) in [(1 << 19, 1 << 19), (1 << 30, 1 << 20)] {
        let context = device.open(Limits { memory_bytes: limit, ..Limits::default() }).unwrap();
        let mut session = Session { context, number: 0, finished: Vec::new() };
        let memory = |free_bytes| Ok(Value::Memory { free_bytes, total_bytes: total });
        assert_eq!(session.now(Operator::MemGetInfo), memory(total));
        session.alloc(1 << 18);
        assert_eq!(session.now(Operator::MemGetInfo), memory(total - (1 << 18)));
    }
}

#[test]
fn a_kernel_is_told_with_its_parameters_and_attributes() {
    let mut session = Session::ready("increment");
    let info = session.function("many_params", Handle(30)).unwrap();
    assert_eq!(info.params, [(0, 1), (4, 4), (8, 8), (16, 12), (32, 16)]);
    assert_eq!(info.attributes[0], Some(256));
    assert_eq!(info.attributes[1], Some(64));
    assert_eq!(info.attributes.len(), 16);
    let set = |value| Operator::FunctionSetAttribute { function: Handle(30), attribute: 8, value };
    let Ok(Value::Kernel(info)) = session.now(set(100 << 10)) else { panic!() };
    assert_eq!(info.attributes[8], Some(100 << 10));
    assert_eq!(session.now(set(1 << 20)), Err(CuResult::INVALID_VALUE));
    assert_eq!(session.function("absent", Handle(31)), Err(CuResult::NOT_FOUND));
    let occupancy = Operator::OccupancyMaxActiveBlocks {
        function: Handle(30),
        block_threads: 256,
        shared_bytes: 0,
        flags: 0,
    };
    assert_eq!(session.now(occupancy), Ok(Value::Number(8)));
}

#[test]
fn images_that_cannot_run_are_refused_as_the_driver_does() {
    let mut session = Session::new();
    assert_eq!(session.load(b"\x7fELF and some machine code"), Err(CuResult::NO_BINARY_FOR_GPU));
    assert_eq!(session.load(b"not PTX at all"), Err(CuResult::INVALID_IMAGE));
    assert_eq!(session.load(b".version 8.0\n.visible .entry k() { nonsense; }"), Err(CuResult::INVALID_PTX));
    assert_eq!(session.load(b"\x50\xed\x55\xba"), Err(CuResult::INVALID_IMAGE));
    assert_eq!(session.load(b".version 9.9\n"), Err(CuResult::UNSUPPORTED_PTX_VERSION));
    let strange = PTX.replace("add.u32", "frobnicate.u32");
    assert_eq!(session.load(strange.as_bytes()), Err(CuResult::INVALID_PTX));
    assert_eq!(session.now(Operator::ModuleUnload { module: MODULE }), Err(CuResult::INVALID_HANDLE));
    session.load(PTX.as_bytes()).unwrap();
    session.now(Operator::ModuleUnload { module: MODULE }).unwrap();
}

#[test]
fn who_uses_a_library_that_is_none_learns_why() {
    let (library, image) = (Handle(50), Handle(99));
    let mut session = Session::new();
    for (content, error) in [
        (&b"\x7fELF and some machine code"[..], CuResult::NO_BINARY_FOR_GPU),
        (b".version 8.0\n.visible .entry k() { nonsense; }", CuResult::INVALID_PTX),
    ] {
        session.call(Operator::ImageAppend { image, bytes: content.len() as u64 }, Some(content)).unwrap();
        assert_eq!(session.now(Operator::LibraryLoad { library, image }), Ok(Value::None));
        for _ in 0..2 {
            let get = Operator::LibraryGetKernel { library, name: "k".into(), function: Handle(60) };
            assert_eq!(session.now(get), Err(error));
            assert_eq!(session.now(Operator::KernelNames { owner: library }), Err(error));
            assert_eq!(session.now(Operator::LibraryGetModule { library, module: Handle(51) }), Err(error));
        }
        assert_eq!(session.now(Operator::LibraryUnload { library }), Ok(Value::None));
        assert_eq!(session.now(Operator::KernelNames { owner: library }), Err(CuResult::INVALID_HANDLE));
    }
}

#[test]
fn libraries_have_kernels_modules_and_variables() {
    let (library, module) = (Handle(50), Handle(51));
    let mut session = Session::new();
    let append = Operator::ImageAppend { image: Handle(99), bytes: PTX.len() as u64 };
    session.call(append, Some(PTX.as_bytes())).unwrap();
    session.now(Operator::LibraryLoad { library, image: Handle(99) }).unwrap();
    let Ok(Value::Names(names)) = session.now(Operator::KernelNames { owner: library }) else { panic!() };
    assert_eq!(names, ["forever", "increment", "many_params", "wait_for_flag"]);
    session.now(Operator::LibraryGetModule { library, module }).unwrap();
    let global = |owner| Operator::ModuleGetGlobal { module: owner, name: "table".into() };
    let Ok(Value::Global { address, bytes }) = session.now(global(module)) else { panic!() };
    assert_eq!(bytes, 16);
    assert_eq!(session.now(Operator::MemFree { address }), Err(CuResult::INVALID_VALUE));
    assert_eq!(session.now(Operator::ModuleUnload { module }), Err(CuResult::NOT_PERMITTED));
    session.now(Operator::LibraryUnload { library }).unwrap();
    assert_eq!(session.now(global(module)), Err(CuResult::INVALID_HANDLE));
    assert_eq!(session.read(address, 4, Handle::LEGACY_STREAM), Err(CuResult::INVALID_VALUE));
}
