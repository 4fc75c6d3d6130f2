//! Kernels, streams, events, and handles.

use crate::harness::*;
use bytes::Bytes;
use rrto_core::api::{CuResult, DeviceAttribute};
use rrto_core::operator::{Geometry, Handle, Launch, LaunchAttribute, Operator, TensorMap, Value};
use rrto_gpud::device::{Device, Limits};

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
    match session.call(Operator::KernelNames { owner: CODE }) {
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
