//! Launches, cached questions and images.

use rrto_core::image::building::{EntrySpec, container};
use rrto_core::image::unread::Leftovers;
use rrto_core::operator::{Geometry, Launch, LaunchAttribute, MAX_PAYLOAD_BYTES, TpcPlace};

use super::*;
use crate::marshal::{Extra, Params};

fn kernel(client: &Client, recorder: &Recorder, max_threads: i32, max_shared_bytes: i32) -> usize {
    let call = call(client);
    let module = visible(call.load_module(b"ptx\0", false).unwrap());
    recorder.answer(Ok(Value::Kernel(kernel_info(max_threads, max_shared_bytes))));
    let kernel = call.module_function(module, "k").unwrap();
    recorder.sent();
    visible(kernel)
}

#[test]
fn a_launch_is_checked_and_travels() {
    let (client, recorder) = recorded();
    let kernel = kernel(&client, &recorder, 512, 48 << 10);
    let call = call(&client);
    let (pointer, number) = (0x1122_3344_5566_7788_u64, 42_u32);
    let params = [(&raw const pointer).cast(), (&raw const number).cast()];
    let arguments = Arguments { params: Params::from(&params), extra: Extra::none() };
    let geometry = |grid, block, shared_bytes| Geometry { grid, block, shared_bytes };
    let launch =
        |geometry| call.launch(kernel, geometry, Handle::LEGACY_STREAM, arguments, Manner::default());

    let good = geometry([1, 1, 1], [512, 1, 1], 48 << 10);
    launch(good).unwrap();
    let [Operator::Launch(sent)] = &recorder.operators()[..] else { panic!("one launch") };
    let expected: Vec<u8> = pointer.to_le_bytes().into_iter().chain(number.to_le_bytes()).collect();
    assert_eq!((sent.geometry, &sent.params[..]), (good, &expected[..]));

    for wrong in [
        geometry([0, 1, 1], [1, 1, 1], 0),
        geometry([1, 65536, 1], [1, 1, 1], 0),
        geometry([1, 1, 65536], [1, 1, 1], 0),
        geometry([1, 1, 1], [0, 1, 1], 0),
        geometry([1, 1, 1], [1025, 1, 1], 0),
        geometry([1, 1, 1], [1, 1, 65], 0),
        geometry([1, 1, 1], [32, 32, 2], 0),
        geometry([1, 1, 1], [513, 1, 1], 0),
        geometry([1, 1, 1], [1, 1, 1], (48 << 10) + 1),
    ] {
        assert_eq!(launch(wrong), Err(CuResult::INVALID_VALUE), "{wrong:?}");
    }
    let nothing = Arguments { params: Params::from(&[]), extra: Extra::none() };
    let wrong = call.launch(0, good, Handle::LEGACY_STREAM, nothing, Manner::default());
    assert_eq!(wrong, Err(CuResult::INVALID_HANDLE));
    assert_eq!(recorder.sent(), []);
}

#[test]
fn a_question_is_asked_once() {
    let (client, recorder) = recorded();
    let kernel = kernel(&client, &recorder, 512, 48 << 10);
    let call = call(&client);
    let blocks = || call.max_active_blocks(kernel, 128, 0, 0);
    recorder.answer(Err(CuResult::OUT_OF_MEMORY));
    assert_eq!(blocks(), Err(CuResult::OUT_OF_MEMORY));
    recorder.answer(Ok(Value::Number(8)));
    assert_eq!((blocks(), blocks()), (Ok(8), Ok(8)));
    assert_eq!(recorder.sent().len(), 2, "an error is not remembered, an answer is");
    assert_eq!(call.max_active_blocks(kernel, 0, 0, 0), Err(CuResult::INVALID_VALUE));

    // Setting what is set already costs nothing; setting something else makes the answer void.
    let shared = FunctionAttribute::MAX_DYNAMIC_SHARED_SIZE_BYTES.0;
    call.set_kernel_attribute(kernel, shared, 48 << 10).unwrap();
    assert_eq!((recorder.sent(), blocks()), (vec![], Ok(8)));
    recorder.answer(Ok(Value::Kernel(kernel_info(512, 60 << 10))));
    call.set_kernel_attribute(kernel, shared, 60 << 10).unwrap();
    assert_eq!(client.kernel_attribute(kernel, shared), Ok(60 << 10));
    recorder.answer(Ok(Value::Number(3)));
    assert_eq!(blocks(), Ok(3));
    let registers = FunctionAttribute::NUM_REGS.0;
    assert_eq!(call.set_kernel_attribute(kernel, registers, 1), Err(CuResult::INVALID_VALUE));
    assert_eq!(client.kernel_attribute(kernel, 9999), Err(CuResult::INVALID_VALUE));
    assert_eq!(client.kernel_attribute(kernel, -1), Err(CuResult::INVALID_VALUE));
}

#[test]
fn limits_are_the_new_contexts_until_one_is_set() {
    let (client, recorder) = recorded();
    let call = call(&client);
    assert_eq!((call.limit(0), call.limit(1)), (Ok(1024), Ok(8 << 20)));
    assert_eq!(call.limit(9), Err(CuResult::UNSUPPORTED_LIMIT));
    assert_eq!(recorder.sent(), []);
    call.set_limit(0, 2000).unwrap();
    recorder.answer(Ok(Value::None));
    recorder.sent();
    assert_eq!(call.limit(0), Err(CuResult::UNKNOWN), "an answer of the wrong form");
    recorder.answer(Ok(Value::Number(2048)));
    assert_eq!((call.limit(0), call.limit(0)), (Ok(2048), Ok(2048)));
}

#[test]
fn what_is_not_offered_is_not_there() {
    let (client, _) = recorded();
    let device = client.device();
    assert_eq!(device.attribute(DeviceAttribute::MANAGED_MEMORY), Ok(0));
    assert_eq!(device.attribute(DeviceAttribute::MAX_BLOCK_DIM_Z), Ok(64));
    for unknown in [0, -1, 9999, DeviceAttribute::MAX_PITCH.0] {
        assert_eq!(device.attribute(DeviceAttribute(unknown)), Err(CuResult::INVALID_VALUE), "{unknown}");
    }
}

#[test]
fn after_a_sticky_error_nothing_is_taken() {
    let (client, recorder) = recorded();
    recorder.stick(CuResult::ILLEGAL_ADDRESS);
    assert!(matches!(client.call(0, context(16)), Err(CuResult::ILLEGAL_ADDRESS)));
}

#[test]
fn an_image_travels_in_pieces_and_without_what_the_device_cannot_use() {
    let (client, recorder) = recorded();
    let call = call(&client);
    let code: Vec<u8> = (0..3 * MAX_PAYLOAD_BYTES / 2).map(|at| at as u8).collect();
    let image = container(&[EntrySpec::cubin(75, &code), EntrySpec::cubin(90, &code)]);
    let loaded = |whole| {
        let module = call.load_module(&image, whole).unwrap();
        let sent = recorder.sent();
        let (last, pieces) = sent.split_last().unwrap();
        let Operator::ModuleLoad { module: sent_module, image } = last.operator else { panic!("{last:?}") };
        assert_eq!(sent_module, module);
        let is_piece =
            |operator: &Operator| matches!(operator, Operator::ImageAppend { image: of, .. } if *of == image);
        assert!(pieces.iter().all(|piece| is_piece(&piece.operator)));
        pieces.iter().flat_map(|piece| piece.payload.clone().unwrap()).collect::<Vec<u8>>()
    };
    assert_eq!(loaded(true), image);
    assert!(loaded(false).len() < image.len() - code.len() + 100);

    let foreign = container(&[EntrySpec::cubin(75, b"code")]);
    assert_eq!(call.load_module(&foreign, false), Err(CuResult::NO_BINARY_FOR_GPU));
    assert_eq!(recorder.sent(), []);
}

#[test]
fn who_uses_a_library_learns_that_it_is_none() {
    let (client, recorder) = recorded();
    let call = call(&client);
    let foreign = container(&[EntrySpec::cubin(75, b"code")]);
    for (image, error) in [
        (Ok(&foreign[..]), CuResult::NO_BINARY_FOR_GPU),
        (Err(CuResult::INVALID_IMAGE), CuResult::INVALID_IMAGE),
    ] {
        let library = visible(call.load_library(image, false).unwrap());
        for _ in 0..2 {
            assert_eq!(call.library_kernel(library, "k"), Err(error));
            assert_eq!(call.library_kernel_count(library), Err(error));
            assert_eq!(call.library_global(library, "g"), Err(error));
            assert_eq!(call.library_module(library), Err(error));
        }
        assert_eq!(call.unload_library(library), Ok(()));
        assert_eq!(call.unload_library(library), Err(CuResult::INVALID_HANDLE));
    }
    assert_eq!(recorder.sent(), []);
}

#[test]
fn a_library_has_one_module() {
    let (client, recorder) = recorded();
    let call = call(&client);
    let library = visible(call.load_library(Ok(b"ptx\0"), false).unwrap());
    let module = call.library_module(library).unwrap();
    recorder.sent();
    assert_eq!(call.library_module(library), Ok(module));
    assert_eq!(call.unload_module(visible(module)), Err(CuResult::NOT_PERMITTED), "it goes with the library");
    recorder.answer(Ok(Value::Names(vec!["a".into(), "b".into()])));
    assert_eq!(call.library_kernel_count(library), Ok(2));
    recorder.answer(Ok(Value::Kernel(kernel_info(1, 1))));
    assert_eq!(call.library_kernels(library, 1).unwrap().len(), 1);
    assert_eq!(recorder.sent().len(), 2, "the names and one kernel");
    call.unload_library(library).unwrap();
    assert_eq!(call.module_function(visible(module), "k"), Err(CuResult::INVALID_HANDLE));
    assert_eq!(call.library_kernel(library, "k"), Err(CuResult::INVALID_HANDLE));
}

#[test]
fn enumerated_functions_are_those_that_are_found_by_name() {
    let (client, recorder) = recorded();
    let call = call(&client);
    let library = visible(call.load_library(Ok(b"ptx\0"), false).unwrap());
    let modules = [call.load_module(b"ptx\0", false).unwrap(), call.library_module(library).unwrap()];
    for module in modules.map(visible) {
        recorder.answer(Ok(Value::Names(vec!["a".into(), "b".into(), "c".into()])));
        assert_eq!(call.module_function_count(module), Ok(3));
        for _ in 0..3 {
            recorder.answer(Ok(Value::Kernel(kernel_info(1, 1))));
        }
        let two = call.module_functions(module, 2).unwrap();
        let named = call.named_functions(module).unwrap();
        assert_eq!(two.iter().copied().map(visible).collect::<Vec<_>>(), [named[0].0, named[1].0]);
        for (function, name) in named {
            assert_eq!(call.module_function(module, name.to_str().unwrap()).map(visible), Ok(function));
        }
    }
    assert_eq!(call.named_functions(library), Err(CuResult::INVALID_HANDLE));
}

#[test]
fn places_of_tpcs_are_asked_for_once_and_made_up_only_where_no_driver_tells() {
    let (client, recorder) = recorded();
    let call = call(&client);
    recorder.answer(Err(CuResult::NOT_SUPPORTED));
    assert_eq!(call.tpc_places().unwrap().len(), MULTIPROCESSORS as usize / 2);
    let places = vec![TpcPlace { gpc: 3, index: 1 }];
    recorder.answer(Ok(Value::TpcPlaces(places.clone())));
    assert_eq!(call.tpc_places(), Ok(places.clone()));
    assert_eq!(call.tpc_places(), Ok(places));
    assert_eq!(recorder.operators(), [Operator::TpcPlaces, Operator::TpcPlaces]);
    recorder.answer(Err(CuResult::INVALID_VALUE));
    assert_eq!(call.export_table([1; 16]), Err(CuResult::INVALID_VALUE));
    recorder.answer(Ok(Value::None));
    assert_eq!(call.export_table([2; 16]), Ok(()));
}

#[test]
fn equal_launches_are_equal_operators() {
    let (client, recorder) = recorded();
    let kernel = kernel(&client, &recorder, 512, 0);
    let call = call(&client);
    let (pointer, number) = (1_u64, 2_u32);
    let params = [(&raw const pointer).cast(), (&raw const number).cast()];
    let attribute = LaunchAttribute { id: 6, value: vec![1].into() };
    let launch = |blocks| {
        let arguments = Arguments { params: Params::from(&params), extra: Extra::none() };
        let manner = Manner { cooperative: true, attributes: vec![attribute.clone()] };
        let geometry = Geometry { grid: [blocks, 1, 1], block: [1; 3], shared_bytes: 0 };
        call.launch(kernel, geometry, Handle::LEGACY_STREAM, arguments, manner)
    };
    recorder.answer(Ok(Value::Number(2)));
    assert_eq!([launch(8), launch(8)], [Ok(()); 2]);
    assert_eq!(launch(9), Err(CuResult::COOPERATIVE_LAUNCH_TOO_LARGE), "two on each of four multiprocessors");
    let sent = recorder.operators();
    let [question, sent @ ..] = &sent[..] else { panic!("nothing was sent") };
    assert!(matches!(question, Operator::OccupancyMaxActiveBlocks { .. }), "asked once: {question:?}");
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0], sent[1]);
    assert!(
        matches!(&sent[0], Operator::Launch(Launch { cooperative: true, attributes, .. }) if attributes.len() == 1)
    );
}

#[test]
fn leftovers_in_a_block_do_not_make_launches_differ() {
    let (client, recorder) = recorded();
    let call = call(&client);
    let module = visible(call.load_module(b"ptx\0", false).unwrap());
    let info = KernelInfo {
        params: vec![(0, 16)],
        unread: Leftovers::new(vec![(4, 8)], Vec::new()),
        ..kernel_info(512, 0)
    };
    recorder.answer(Ok(Value::Kernel(info)));
    let kernel = visible(call.module_function(module, "k").unwrap());
    recorder.sent();
    let geometry = Geometry { grid: [1; 3], block: [1; 3], shared_bytes: 0 };
    let launch = |arguments| {
        call.launch(kernel, geometry, Handle::LEGACY_STREAM, arguments, Manner::default()).unwrap();
    };
    for leftover in [0xaa_u8, 0xbb] {
        let mut block = [7_u8; 16];
        block[4..12].fill(leftover);
        let params = [block.as_ptr().cast()];
        launch(Arguments { params: Params::from(&params), extra: Extra::none() });
        let (bytes, key) = (block.len(), std::ptr::without_provenance::<std::ffi::c_void>);
        let list = [key(1), block.as_ptr().cast(), key(2), (&raw const bytes).cast(), key(0)];
        launch(Arguments { params: Params::none(), extra: Extra::from(&list) });
    }
    let sent = recorder.operators();
    assert_eq!(sent.len(), 4);
    assert!(sent.iter().all(|operator| *operator == sent[0]));
    let Operator::Launch(launch) = &sent[0] else { panic!("a launch") };
    assert_eq!(launch.params[..], [7, 7, 7, 7, 0, 0, 0, 0, 0, 0, 0, 0, 7, 7, 7, 7]);
}
