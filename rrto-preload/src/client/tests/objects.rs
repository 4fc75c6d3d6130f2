//! Streams, events, modules, kernels and memory: what is known here, and what travels.

use super::*;
use crate::marshal::{Block, HostAddress};

#[test]
fn a_stream_is_what_it_was_made_as() {
    let (client, recorder) = recorded();
    let call = call(&client);
    let stream = call.create_stream(1, -99).unwrap();
    assert_eq!(
        recorder.operators(),
        [Operator::StreamCreate { stream, flags: 1, priority: -5 }],
        "the priority is clamped"
    );
    assert_eq!(call.stream_flags(stream), Ok(1));
    assert_eq!(call.stream_priority(stream), Ok(-5));
    assert_eq!(call.stream_context(stream), Ok(context(16)));
    assert_eq!(call.stream(visible(stream), DefaultStream::PerThread), Ok(stream));
    assert_eq!(call.create_stream(0x80, 0), Err(CuResult::INVALID_VALUE));
    call.destroy_stream(visible(stream)).unwrap();
    assert_eq!(recorder.operators(), [Operator::StreamDestroy { stream }]);
    for gone in [visible(stream), 0, 1, 2, 0xdead_beef] {
        assert_eq!(call.destroy_stream(gone), Err(CuResult::INVALID_HANDLE), "{gone:#x}");
    }
    assert_eq!(call.stream(visible(stream), DefaultStream::Legacy), Err(CuResult::INVALID_HANDLE));
    assert_eq!(client.check_stream(visible(stream)), Err(CuResult::INVALID_HANDLE));
}

#[test]
fn default_streams() {
    let (client, recorder) = recorded();
    let lane = |lane, of| client.call(lane, context(of)).unwrap();
    for legacy in [0, 1] {
        assert_eq!(lane(0, 16).stream(legacy, DefaultStream::Legacy), Ok(Handle::LEGACY_STREAM));
    }
    assert_eq!(lane(0, 16).stream(1, DefaultStream::PerThread), Ok(Handle::LEGACY_STREAM));
    assert_eq!(recorder.sent(), []);
    // Made once a lane and context, whichever way it is meant.
    let own = lane(1, 16).stream(0, DefaultStream::PerThread).unwrap();
    assert_eq!(lane(1, 16).stream(2, DefaultStream::Legacy), Ok(own));
    assert_eq!(recorder.operators(), [Operator::StreamCreate { stream: own, flags: 0, priority: 0 }]);
    let others = [lane(2, 16).stream(2, DefaultStream::Legacy), lane(1, 32).stream(2, DefaultStream::Legacy)];
    assert!(others.iter().all(|other| other.is_ok_and(|other| other != own)));
}

#[test]
fn events() {
    let (client, recorder) = recorded();
    let call = call(&client);
    let timed = visible(call.create_event(0).unwrap());
    let untimed = visible(call.create_event(2).unwrap());
    for (flags, error) in
        [(0x4000, CuResult::INVALID_VALUE), (4, CuResult::INVALID_VALUE), (6, CuResult::NOT_SUPPORTED)]
    {
        assert_eq!(call.create_event(flags), Err(error));
    }
    recorder.sent();
    // Never recorded: complete, without asking.
    assert_eq!((call.event_query(timed), call.event_synchronize(timed)), (Ok(()), Ok(())));
    assert_eq!(call.elapsed_ms(timed, timed), Err(CuResult::INVALID_HANDLE));
    assert_eq!(recorder.sent(), []);
    for event in [timed, untimed] {
        call.record_event(event, Handle::LEGACY_STREAM, 0).unwrap();
    }
    assert_eq!(call.elapsed_ms(timed, untimed), Err(CuResult::INVALID_HANDLE));
    recorder.answer(Ok(Value::Milliseconds(2.5)));
    assert_eq!(call.elapsed_ms(timed, timed), Ok(2.5));
    for wrong in [0, 1, visible(Handle(99))] {
        assert_eq!(call.event_query(wrong), Err(CuResult::INVALID_HANDLE));
        assert_eq!(call.record_event(wrong, Handle::LEGACY_STREAM, 0), Err(CuResult::INVALID_HANDLE));
        assert_eq!(call.wait_event(Handle::LEGACY_STREAM, wrong, 0), Err(CuResult::INVALID_HANDLE));
        assert_eq!(call.destroy_event(wrong), Err(CuResult::INVALID_HANDLE));
    }
    call.destroy_event(timed).unwrap();
    assert_eq!(call.event_query(timed), Err(CuResult::INVALID_HANDLE));
}

#[test]
fn elapsed_time_waits_for_what_the_program_was_told_is_complete() {
    let (client, recorder) = recorded();
    let call = call(&client);
    let event = visible(call.create_event(0).unwrap());
    call.record_event(event, Handle::LEGACY_STREAM, 0).unwrap();
    for outcome in [Err(CuResult::NOT_READY), Ok(Value::None), Ok(Value::None), Ok(Value::Milliseconds(1.0))]
    {
        recorder.answer(outcome);
    }
    assert_eq!(call.elapsed_ms(event, event), Ok(1.0));
    recorder.answer(Err(CuResult::NOT_READY));
    recorder.answer(Err(CuResult::NOT_READY));
    assert_eq!(call.elapsed_ms(event, event), Err(CuResult::NOT_READY));
}

#[test]
fn memory() {
    let (client, recorder) = recorded();
    let call = call(&client);
    let invalid = Err(CuResult::INVALID_VALUE);
    assert_eq!(call.allocate(0), Err(CuResult::INVALID_VALUE));
    recorder.answer(Err(CuResult::OUT_OF_MEMORY));
    assert_eq!(call.allocate(1 << 50), Err(CuResult::OUT_OF_MEMORY));
    recorder.answer(Ok(Value::Address(NOWHERE + 0x7000)));
    assert_eq!(call.allocate(256), Ok(NOWHERE + 0x7000));
    recorder.answer(Ok(Value::Pitched { address: NOWHERE + 0x8000, pitch_bytes: 512 }));
    assert_eq!(call.allocate_pitched(100, 3, 4), Ok((NOWHERE + 0x8000, 512)));
    let facts = client.pointer(NOWHERE + 0x8000 + 1535).unwrap();
    assert_eq!((facts.place, facts.start, facts.bytes), (Place::Device, NOWHERE + 0x8000, 1536));
    assert_ne!(facts.id, client.pointer(NOWHERE + 0x7000).unwrap().id);
    assert_eq!(client.pointer(NOWHERE + 0x7100), None);
    recorder.sent();
    assert_eq!((call.free(0), call.free(NOWHERE + 0x7001), call.free(0x1234)), (Ok(()), invalid, invalid));
    assert_eq!(recorder.sent(), []);
    assert_eq!((call.free(NOWHERE + 0x7000), call.free(NOWHERE + 0x7000)), (Ok(()), invalid));
    assert_eq!(recorder.operators(), [Operator::MemFree { address: NOWHERE + 0x7000 }]);
}

#[test]
fn device_memory_lies_apart_from_the_programs() {
    let (client, recorder) = recorded();
    let call = call(&client);
    let own = Block::new(1 << 16).unwrap();
    let (taken, free) = (own.address() as u64, NOWHERE + 0x7000);
    recorder.answer(Ok(Value::Address(taken)));
    recorder.answer(Ok(Value::Address(free)));
    assert_eq!(call.allocate(256), Ok(free));
    let alloc = || Operator::MemAlloc { bytes: 256 };
    assert_eq!(recorder.operators(), [alloc(), alloc(), Operator::MemFree { address: taken }]);
    // Where there is only one place, it is that.
    recorder.answer(Ok(Value::Address(taken)));
    recorder.answer(Err(CuResult::OUT_OF_MEMORY));
    assert_eq!(call.allocate(256), Ok(taken));
    assert_eq!(recorder.operators().len(), 2);
}

#[test]
fn a_threads_default_stream_goes_with_it() {
    let (client, recorder) = recorded();
    let lane = |lane| client.call(lane, context(16)).unwrap();
    let [first, second] = [1, 2].map(|of| lane(of).stream(2, DefaultStream::Legacy).unwrap());
    recorder.sent();
    client.end_lane(1);
    client.end_lane(1);
    assert_eq!(recorder.operators(), [Operator::StreamDestroy { stream: first }]);
    assert_eq!(lane(2).stream(2, DefaultStream::Legacy), Ok(second));
    assert_ne!(lane(1).stream(2, DefaultStream::Legacy), Ok(first));
}

#[test]
fn pinned_memory() {
    let (client, recorder) = recorded();
    let call = call(&client);
    assert_eq!(call.allocate_host(0, 0), Ok(0), "nothing, at null");
    assert_eq!(call.allocate_host(16, 8), Err(CuResult::INVALID_VALUE));
    assert_eq!(call.allocate_host(1 << 60, 0), Err(CuResult::OUT_OF_MEMORY));
    let address = call.allocate_host(100, 2).unwrap();
    let memory = HostAddress::of(address as u64).unwrap();
    assert_eq!(memory.source(100).unwrap().piece(0, 100), [0; 100].as_slice());
    assert_eq!(call.host_flags(memory), Ok(2));
    assert_eq!(client.pointer(address as u64 + 99).unwrap().place, Place::Host);
    assert_eq!(recorder.sent(), [], "host memory is this machine's own");
    let mut other = [0; 8];
    let other = HostAddress::to(&mut other);
    assert_eq!(call.free_host(other), Err(CuResult::INVALID_VALUE));
    assert_eq!(
        call.unregister_host(memory),
        Err(CuResult::INVALID_VALUE),
        "allocated, and so not registered"
    );
    assert_eq!(call.register_host(memory, 100, 0), Err(CuResult::INVALID_VALUE));
    assert_eq!(call.unregister_host(other), Err(CuResult::HOST_MEMORY_NOT_REGISTERED));
    assert_eq!(call.unregister_host(HostAddress::of(0).unwrap()), Err(CuResult::INVALID_VALUE));
    call.free_host(memory).unwrap();
    assert_eq!(recorder.sent(), []);
    call.register_host(other, 8, 0).unwrap();
    assert_eq!(call.register_host(other, 4, 0), Err(CuResult::HOST_MEMORY_ALREADY_REGISTERED));
}

#[test]
fn no_program_is_given_a_device_address_of_its_memory() {
    let (client, recorder) = recorded();
    let call = call(&client);
    let allocate = |bytes| HostAddress::of(call.allocate_host(bytes, 2).unwrap() as u64).unwrap();
    for bytes in [4, 16, 64 << 10] {
        assert_eq!(
            call.host_device_pointer(allocate(bytes), || false),
            Err(CuResult::NOT_SUPPORTED),
            "{bytes}"
        );
    }
    assert_eq!(call.host_device_pointer(allocate(17), || true), Err(CuResult::NOT_SUPPORTED));
    assert_eq!(recorder.sent(), []);
    // cuBLAS cannot do without.
    let memory = allocate(8);
    let (start, inside) = (memory.address() as u64, HostAddress::of(memory.address() as u64 + 4).unwrap());
    recorder.answer(Ok(Value::Address(NOWHERE + 0x9000)));
    assert_eq!(call.host_device_pointer(memory, || true), Ok(NOWHERE + 0x9000));
    assert_eq!(call.host_device_pointer(inside, || true), Ok(NOWHERE + 0x9004));
    assert_eq!(call.host_device_pointer(memory, || false), Err(CuResult::NOT_SUPPORTED));
    assert_eq!(client.pointer(start + 4).unwrap().device_address, Some(NOWHERE + 0x9004));
    assert_eq!(recorder.operators().len(), 2, "an allocation and its zeroes");
    call.free_host(memory).unwrap();
    assert_eq!(recorder.operators(), [Operator::MemFree { address: NOWHERE + 0x9000 }]);
}

#[test]
fn pinned_memory_is_copied_and_filled_where_it_is() {
    let (client, recorder) = recorded();
    let call = call(&client);
    let (from, to) = (call.allocate_host(64, 0).unwrap() as u64, call.allocate_host(64, 0).unwrap() as u64);
    let memory = |address| HostAddress::of(address).unwrap();
    let content = |address: u64| memory(address).source(64).unwrap().piece(0, 64);
    let fill = |address, pitch_bytes, value, element_bytes, width, height| Fill {
        address,
        pitch_bytes,
        value,
        element_bytes,
        width,
        height,
    };
    call.fill(fill(from, 0, 0x0201, 2, 32, 1), Handle::LEGACY_STREAM).unwrap();
    assert_eq!(content(from), [1, 2].repeat(32));
    call.copy_in(to, memory(from), 16, Handle::LEGACY_STREAM, Until::Done).unwrap();
    call.copy_out(memory(to + 16), from, 16, Handle::LEGACY_STREAM, Until::Done).unwrap();
    call.copy_device(to + 32, from, 16, Handle::LEGACY_STREAM).unwrap();
    assert_eq!(content(to), [[1, 2].repeat(24), vec![0; 16]].concat());
    call.fill(fill(to, 16, 9, 1, 4, 4), Handle::LEGACY_STREAM).unwrap();
    let rows =
        Rows { dst: from, dst_pitch_bytes: 8, src: to, src_pitch_bytes: 16, width_bytes: 4, height: 4 };
    call.fill(fill(from, 0, 0, 1, 64, 1), Handle::LEGACY_STREAM).unwrap();
    call.copy_rows(rows, Handle::LEGACY_STREAM, Until::Done).unwrap();
    assert_eq!(content(from), [[9, 9, 9, 9, 0, 0, 0, 0].repeat(4), vec![0; 32]].concat());
    assert_eq!(
        call.fill(fill(from + 60, 0, 0, 1, 64, 1), Handle::LEGACY_STREAM),
        Err(CuResult::INVALID_VALUE)
    );
    assert!(
        recorder.operators().iter().all(|operator| matches!(operator, Operator::StreamSynchronize { .. }))
    );
    // Rows of the device's are not offered, unless they lie end to end.
    recorder.answer(Ok(Value::Address(NOWHERE + 0xb000)));
    let device = call.allocate(256).unwrap();
    recorder.sent();
    // Whatever the direction is called, the addresses say where the bytes are.
    call.copy_in(to, HostAddress::of(device).unwrap(), 16, Handle::LEGACY_STREAM, Until::Done).unwrap();
    call.copy_device(to, device, 16, Handle::LEGACY_STREAM).unwrap();
    assert!(
        recorder
            .operators()
            .iter()
            .all(|operator| matches!(operator, Operator::CopyOut { src, .. } if *src == device))
    );
    call.copy_out(HostAddress::of(device).unwrap(), from, 16, Handle::LEGACY_STREAM, Until::Done).unwrap();
    call.copy_device(device, from, 16, Handle::LEGACY_STREAM).unwrap();
    assert!(
        recorder
            .operators()
            .iter()
            .all(|operator| matches!(operator, Operator::CopyIn { dst, .. } if *dst == device))
    );
    assert_eq!(
        call.copy_rows(Rows { dst: device, ..rows }, Handle::LEGACY_STREAM, Until::Done),
        Err(CuResult::NOT_SUPPORTED)
    );
    let whole = Rows { dst: device, dst_pitch_bytes: 16, width_bytes: 16, ..rows };
    call.copy_rows(whole, Handle::LEGACY_STREAM, Until::Done).unwrap();
    assert_eq!(recorder.operators().len(), 1);
}

#[test]
fn a_kernel_is_asked_for_once() {
    let (client, recorder) = recorded();
    let call = call(&client);
    let module = visible(call.load_module(b"ptx\0", false).unwrap());
    let library = visible(call.load_library(Ok(b"ptx\0"), false).unwrap());
    recorder.sent();
    for kernel in [Call::module_function, Call::library_kernel] {
        let of = if recorder.sent().is_empty() { module } else { library };
        recorder.answer(Ok(Value::Kernel(kernel_info(1024, 48 << 10))));
        let Ok(first) = kernel(&call, of, "k") else { panic!("the kernel is there") };
        assert_eq!(kernel(&call, of, "k"), Ok(first));
        assert_eq!(client.kernel(visible(first)).unwrap().1.name(), c"k");
        assert_eq!(recorder.operators().len(), 1);
        recorder.answer(Err(CuResult::NOT_FOUND));
        assert_eq!(kernel(&call, of, "absent"), Err(CuResult::NOT_FOUND));
        assert_eq!(kernel(&call, 0, "k"), Err(CuResult::INVALID_HANDLE));
    }
}

#[test]
fn what_a_module_brought_goes_with_it() {
    let (client, recorder) = recorded();
    let call = call(&client);
    let module = visible(call.load_module(b"ptx\0", false).unwrap());
    recorder.answer(Ok(Value::Kernel(kernel_info(1024, 0))));
    let kernel = visible(call.module_function(module, "k").unwrap());
    for _ in 0..2 {
        recorder.answer(Ok(Value::Global { address: 0x100, bytes: 4 }));
        assert_eq!(call.module_global(module, "g"), Ok((0x100, 4)));
    }
    assert_eq!(call.kernel_module(kernel).map(visible), Ok(module));
    assert_eq!(call.free(0x100), Err(CuResult::INVALID_VALUE), "a variable is no allocation");
    recorder.sent();
    call.unload_module(module).unwrap();
    assert_eq!(recorder.operators().len(), 1);
    assert!(client.kernel(kernel).is_err() && client.pointer(0x100).is_none());
    assert_eq!(call.unload_module(module), Err(CuResult::INVALID_HANDLE));
    assert_eq!(call.unload_module(0), Err(CuResult::INVALID_HANDLE));
}

#[test]
fn a_context_takes_its_objects_with_it() {
    let (client, recorder) = recorded();
    let [ending, staying] = [16, 32].map(|raw| client.call(0, context(raw)).unwrap());
    let library = visible(ending.load_library(Ok(b"ptx\0"), false).unwrap());
    let mut objects = Vec::new();
    for (call, address) in [(ending, NOWHERE + 0x1000), (staying, NOWHERE + 0x2000)] {
        recorder.answer(Ok(Value::Address(address)));
        call.allocate(16).unwrap();
        let stream = call.stream(0, DefaultStream::PerThread).unwrap();
        objects.push((stream, visible(call.create_event(0).unwrap())));
    }
    recorder.sent();
    ending.end_context(context(16)).unwrap();
    let destroyed = recorder.operators();
    assert!(destroyed.contains(&Operator::MemFree { address: NOWHERE + 0x1000 }), "{destroyed:?}");
    assert!(destroyed.contains(&Operator::StreamDestroy { stream: objects[0].0 }), "{destroyed:?}");
    assert_eq!(destroyed.len(), 4, "a synchronisation and three objects: {destroyed:?}");
    assert!(client.pointer(NOWHERE + 0x1000).is_none() && client.pointer(NOWHERE + 0x2000).is_some());
    assert_eq!(staying.stream(0, DefaultStream::PerThread), Ok(objects[1].0));
    assert_eq!(staying.event_query(objects[0].1), Err(CuResult::INVALID_HANDLE));
    assert_eq!(staying.event_query(objects[1].1), Ok(()));
    recorder.answer(Ok(Value::Kernel(kernel_info(1024, 0))));
    assert!(staying.library_kernel(library, "k").is_ok(), "a library belongs to no context");
}
