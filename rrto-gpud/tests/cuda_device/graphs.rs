//! Spans that are executed as CUDA graphs, against the same operators one by one.

use std::sync::Arc;

use crate::harness::*;
use bytes::Bytes;
use rrto_core::api::CuResult;
use rrto_core::operator::{
    Geometry, Handle, LaunchAttribute, Operator, Patch, Sequence, SequenceId, Span, Value,
};
use rrto_gpud::device::cuda::CudaDevice;
use rrto_gpud::device::{Device, Limits};

const WORDS: u32 = 1024;
const BYTES: u64 = WORDS as u64 * 4;

fn fill(address: u64, value: u32, stream: Handle) -> Operator {
    let (width, height, pitch_bytes, element_bytes) = (64, 1, 0, 4);
    Operator::Memset { address, pitch_bytes, value, element_bytes, width, height, stream }
}

fn copy(dst: u64, src: u64, stream: Handle) -> Operator {
    Operator::CopyDevice { dst, src, bytes: 256, stream }
}

/// Operators whose order matters, on one stream; the launches are at 1, 2, 4, 5, 7 and 8.
fn operators(memory: u64, stream: Handle) -> Vec<Operator> {
    vec![
        fill(memory, 3, stream),
        add(memory, 64, 5, stream),
        add(memory, 32, 7, stream),
        copy(memory + 256, memory, stream),
        add(memory + 256, 64, 11, stream),
        add(memory + 128, 64, 13, stream),
        copy(memory + 512, memory + 128, stream),
        add(memory + 512, 64, 17, stream),
        add(memory, 128, 19, stream),
        fill(memory + 1024, 21, stream),
    ]
}

fn sequence(memory: u64, stream: Handle) -> Arc<Sequence> {
    Arc::new(Sequence::new(0, operators(memory, stream)).unwrap())
}

fn all(sequence: &Sequence) -> (u32, u32) {
    (0, sequence.operators().len() as u32)
}

/// A session with the kernel, and memory.
fn open(device: &CudaDevice) -> (Session, u64) {
    let mut session = Session::open(device, Limits::default());
    session.load();
    session.kernel("add_value", ADD);
    let memory = session.alloc(BYTES);
    (session, memory)
}

fn reset(session: &mut Session, memory: u64) {
    let zeros = vec![0; BYTES as usize];
    assert_eq!(session.copy_in(memory, &zeros, LEGACY), Ok(Value::None));
    session.done(Operator::ContextSynchronize);
}

/// What is in memory after the operators of a span, one by one.
fn expected(session: &mut Session, memory: u64, sequence: &Sequence, patches: &[Patch]) -> Bytes {
    reset(session, memory);
    let (from, count) = all(sequence);
    let span = Span { sequence: SequenceId(0), from, count, patches: patches.to_vec() };
    for at in from..count {
        session.done(sequence.operator(at, &span).unwrap().into_owned());
    }
    session.done(Operator::ContextSynchronize);
    session.copy_out(memory, BYTES, LEGACY)
}

fn found(session: &mut Session, memory: u64, sequence: &Arc<Sequence>, patches: &[Patch]) -> Bytes {
    reset(session, memory);
    assert_eq!(session.span(1, sequence, all(sequence), patches.to_vec()), []);
    session.done(Operator::ContextSynchronize);
    session.copy_out(memory, BYTES, LEGACY)
}

fn changed(sequence: &Sequence, at: u32, to: &Operator) -> Patch {
    Patch::between(at, &sequence.operators()[at as usize], to).unwrap()
}

#[test]
fn graphs_do_what_single_operators_do_on_every_kind_of_stream() {
    let Some((device, _one)) = gpu() else { return };
    let (mut session, memory) = open(&device);
    let (blocking, non_blocking) = (Handle(10), Handle(11));
    session.done(Operator::StreamCreate { stream: blocking, flags: 0, priority: 0 });
    session.done(Operator::StreamCreate { stream: non_blocking, flags: 1, priority: -1 });
    for (id, stream) in [LEGACY, blocking, non_blocking].into_iter().enumerate() {
        let sequence = sequence(memory, stream);
        let expected = expected(&mut session, memory, &sequence, &[]);
        session.context.take_span_use();
        for run in 0..5 {
            assert_eq!(found(&mut session, memory, &sequence, &[]), expected, "run {run} on {stream:?}");
        }
        let used = session.context.take_span_use();
        assert_eq!((used.graph_builds, used.graph_launches, used.single_operators), (1, 3, 20), "{id}");
        session.context.retire(SequenceId(1));
    }
}

#[test]
fn graphs_are_in_order_with_what_is_around_them() {
    let Some((device, _one)) = gpu() else { return };
    let (mut session, memory) = open(&device);
    let (blocking, event) = (Handle(10), Handle(12));
    session.done(Operator::StreamCreate { stream: blocking, flags: 0, priority: 0 });
    session.done(Operator::EventCreate { event, flags: 0 });
    let other = session.stream(Handle(11));
    // A graph on a blocking stream, one on the legacy stream that waits for it, and one that an event makes wait.
    let mut operators = operators(memory, blocking);
    operators.extend((0..6).map(|_| add(memory, 128, 23, LEGACY)));
    operators.push(copy(memory + 2048, memory, blocking));
    operators.push(Operator::EventRecord { event, stream: blocking, flags: 0 });
    operators.push(Operator::StreamWaitEvent { stream: other, event, flags: 0 });
    operators.extend((0..6).map(|_| add(memory + 2048, 64, 29, other)));
    operators.push(copy(memory + 3072, memory + 2048, other));
    let sequence = Arc::new(Sequence::new(0, operators).unwrap());
    let expected = expected(&mut session, memory, &sequence, &[]);
    for run in 0..20 {
        assert_eq!(found(&mut session, memory, &sequence, &[]), expected, "run {run}");
    }
    let used = session.context.take_span_use();
    assert_eq!((used.graph_builds, used.graph_launches), (3, 54));
}

#[test]
fn launches_are_patched_and_set_back() {
    let Some((device, _one)) = gpu() else { return };
    let (mut session, memory) = open(&device);
    let sequence = sequence(memory, LEGACY);
    let two_blocks = |operator: Operator| match operator {
        Operator::Launch(mut launch) => {
            launch.geometry = Geometry { grid: [2, 1, 1], block: [96, 1, 1], shared_bytes: 64 };
            Operator::Launch(launch)
        }
        other => panic!("{other:?}"),
    };
    let value = changed(&sequence, 1, &add(memory, 64, 500, LEGACY));
    let place = changed(&sequence, 7, &add(memory + 2048, 16, 17, LEGACY));
    let grid = changed(&sequence, 8, &two_blocks(add(memory, 192, 19, LEGACY)));
    let other_value = changed(&sequence, 1, &add(memory, 64, 501, LEGACY));
    let runs: [&[Patch]; 10] = [
        &[],
        &[],
        &[],
        std::slice::from_ref(&value),
        std::slice::from_ref(&value),
        &[],
        &[value.clone(), place.clone(), grid.clone()],
        &[other_value, grid],
        &[place],
        &[],
    ];
    for (run, patches) in runs.into_iter().enumerate() {
        let expected = expected(&mut session, memory, &sequence, patches);
        assert_eq!(found(&mut session, memory, &sequence, patches), expected, "run {run}");
    }
    let used = session.context.take_span_use();
    assert_eq!((used.graph_builds, used.graph_launches), (1, 8));
    assert_eq!(used.patched_nodes, 1 + 1 + 3 + 2 + 3 + 1);
}

#[test]
fn a_sequence_is_retired_and_another_comes() {
    let Some((device, _one)) = gpu() else { return };
    let (mut session, memory) = open(&device);
    let sequence = sequence(memory, LEGACY);
    let expected = expected(&mut session, memory, &sequence, &[]);
    for _ in 0..30 {
        for _ in 0..4 {
            session.span(1, &sequence, all(&sequence), Vec::new());
        }
        // While the last graph may still be running.
        session.context.retire(SequenceId(1));
    }
    assert_eq!(found(&mut session, memory, &sequence, &[]), expected);
    assert_eq!(session.context.take_span_use().graph_builds, 30);
}

#[test]
fn parts_of_a_sequence_have_graphs_of_their_own() {
    let Some((device, _one)) = gpu() else { return };
    let (mut session, memory) = open(&device);
    let operators: Vec<Operator> = (0..200).map(|value| add(memory, 128, value, LEGACY)).collect();
    let sequence = Arc::new(Sequence::new(0, operators).unwrap());
    reset(&mut session, memory);
    for _ in 0..3 {
        for from in 0..100 {
            assert_eq!(session.span(1, &sequence, (from, 10), Vec::new()), []);
        }
    }
    let sum: u32 = (0..100).flat_map(|from| from..from + 10).sum();
    let words = session.copy_out(memory, 128 * 4, LEGACY);
    assert!(words.chunks(4).all(|word| word == (3 * sum).to_ne_bytes()));
    let used = session.context.take_span_use();
    assert_eq!((used.graph_builds, used.graph_launches), (64, 64), "no more than a sequence may have");
}

#[test]
fn what_is_gone_fails_as_it_does_one_by_one() {
    let Some((device, _one)) = gpu() else { return };
    let (mut session, memory) = open(&device);
    let stream = session.stream(Handle(10));
    let freed = session.alloc(4096);
    let mut operators = operators(memory, stream);
    operators[3] = copy(freed, memory, stream);
    operators[9] = fill(freed, 1, stream);
    let sequence = Arc::new(Sequence::new(0, operators).unwrap());
    for _ in 0..4 {
        assert_eq!(session.span(1, &sequence, all(&sequence), Vec::new()), []);
    }
    assert!(session.context.take_span_use().graph_launches > 0);

    session.done(Operator::MemFree { address: freed });
    let invalid = CuResult::INVALID_VALUE;
    assert_eq!(session.span(1, &sequence, all(&sequence), Vec::new()), [(3, invalid), (9, invalid)]);
    session.done(Operator::LibraryUnload { library: CODE });
    let failures = session.span(1, &sequence, all(&sequence), Vec::new());
    assert_eq!(failures.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 7, 8, 9]);
    session.done(Operator::StreamDestroy { stream });
    let failures = session.span(1, &sequence, all(&sequence), Vec::new());
    assert_eq!(failures.len(), 10);
    assert_eq!(session.context.take_span_use().graph_launches, 0);
    session.done(Operator::ContextSynchronize);
}

#[test]
fn what_fails_never_becomes_a_graph() {
    let Some((device, _one)) = gpu() else { return };
    let (mut session, memory) = open(&device);
    let mut operators = operators(memory, LEGACY);
    operators.push(add(memory, 1, 1, LEGACY));
    let Some(Operator::Launch(bad)) = operators.last_mut() else { panic!("it is a launch") };
    bad.geometry.block = [4096, 1, 1];
    let sequence = Arc::new(Sequence::new(0, operators).unwrap());
    for _ in 0..4 {
        assert_eq!(session.span(1, &sequence, all(&sequence), Vec::new()), [(10, CuResult::INVALID_VALUE)]);
    }
    assert_eq!(session.context.take_span_use().graph_builds, 0);
    session.done(Operator::ContextSynchronize);
}

#[test]
fn launches_with_attributes() {
    let Some((device, _one)) = gpu() else { return };
    if device.info().compute_capability() < (9, 0) {
        println!("SKIPPED, this GPU has no clusters");
        return;
    }
    let (mut session, memory) = open(&device);
    let with = |value: u32, cooperative, attributes: &[(u32, &[u8])]| match add(memory, 128, value, LEGACY) {
        Operator::Launch(mut launch) => {
            launch.geometry = Geometry { grid: [4, 1, 1], block: [32, 1, 1], shared_bytes: 0 };
            launch.cooperative = cooperative;
            let attribute =
                |&(id, value): &(u32, &[u8])| LaunchAttribute { id, value: Bytes::copy_from_slice(value) };
            launch.attributes = attributes.iter().map(attribute).collect();
            Operator::Launch(launch)
        }
        other => panic!("{other:?}"),
    };
    let two_blocks = [2_u32, 1, 1].map(u32::to_ne_bytes).concat();
    let operators = vec![
        with(1, false, &[]),
        with(2, true, &[]),
        with(3, false, &[(4, &two_blocks)]),
        // Programmatic stream serialization: these kernels do not ask for it, so they wait for each other all the same.
        with(4, false, &[(6, &[1])]),
        with(5, false, &[(6, &[1]), (4, &two_blocks)]),
        with(6, false, &[]),
    ];
    let patch = changed(
        &Sequence::new(0, operators.clone()).unwrap(),
        4,
        &with(50, false, &[(6, &[1]), (4, &two_blocks)]),
    );
    let sequence = Arc::new(Sequence::new(0, operators).unwrap());
    for patches in [vec![], vec![], vec![], vec![patch], vec![]] {
        let expected = expected(&mut session, memory, &sequence, &patches);
        assert_eq!(found(&mut session, memory, &sequence, &patches), expected);
    }
    let used = session.context.take_span_use();
    println!("{used:?}");
}
