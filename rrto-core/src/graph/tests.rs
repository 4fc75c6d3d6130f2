use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::operator::Geometry;

/// Allocations of 256 bytes at these addresses.
const BUFFERS: [u64; 4] = [0x1000, 0x2000, 0x2100, 0x4000];

fn memory() -> Memory {
    let mut memory = Memory::default();
    BUFFERS.iter().for_each(|&address| memory.handle_allocated(address, 256));
    memory
}

fn launch(stream: u64, words: &[u64]) -> Operator {
    Operator::Launch(Launch {
        function: Handle(100),
        geometry: Geometry::default(),
        stream: Handle(stream),
        cooperative: false,
        attributes: Vec::new(),
        params: Bytes::from_iter(words.iter().flat_map(|word| word.to_le_bytes())),
    })
}

fn copy_in(dst: u64, bytes: u64) -> Operator {
    Operator::CopyIn { dst, bytes, stream: Handle(0) }
}

fn copy_out(src: u64, bytes: u64) -> Operator {
    Operator::CopyOut { src, bytes, stream: Handle(0) }
}

fn graph(operators: &[Operator]) -> Graph {
    Graph::of(operators, &memory()).unwrap()
}

fn edges(operators: &[Operator]) -> Vec<(u32, u32, EdgeKind)> {
    graph(operators).edges().iter().map(|edge| (edge.from, edge.to, edge.kind)).collect()
}

#[test]
fn an_inference_starts_with_its_input_and_ends_with_its_output() {
    let inference = [
        copy_in(0x1000, 256),
        launch(0, &[3, 0x1010, 0x2000]),
        launch(0, &[0x2000, 0x2100]),
        Operator::StreamSynchronize { stream: Handle(0) },
        copy_out(0x2100, 8),
    ];
    let graph = graph(&inference);
    assert_eq!(graph.starts(), [0]);
    assert_eq!(graph.ends(), [3, 4]);
    let twice = Graph::of(inference.iter().chain(&inference), &memory()).unwrap();
    assert_eq!(twice.starts(), [0, 5]);
}

#[test]
fn a_word_counts_if_it_points_into_an_allocation_and_is_aligned() {
    let unaligned = Operator::Launch(Launch {
        params: [&[0; 4][..], &0x1000_u64.to_le_bytes(), &[0; 4]].concat().into(),
        function: Handle(1),
        geometry: Geometry::default(),
        stream: Handle(0),
        cooperative: false,
        attributes: Vec::new(),
    });
    assert_eq!(edges(&[copy_in(0x1000, 8), unaligned]), []);
    assert_eq!(edges(&[copy_in(0x1000, 8), launch(0, &[0x1100])]), []);
    let found = [(0, 1, EdgeKind::Flow), (0, 1, EdgeKind::Overwrite)];
    assert_eq!(edges(&[copy_in(0x1000, 8), launch(0, &[0x10ff])])[..1], found[..1]);
}

#[test]
fn events_pass_dependencies_between_streams() {
    let operators = [
        launch(1, &[]),
        Operator::EventRecord { event: Handle(9), stream: Handle(1), flags: 0 },
        Operator::StreamWaitEvent { stream: Handle(2), event: Handle(9), flags: 0 },
        launch(2, &[]),
        launch(2, &[]),
        Operator::ContextSynchronize,
    ];
    let handle = |from, to| (from, to, EdgeKind::Handle);
    assert_eq!(edges(&operators), [handle(0, 1), handle(0, 5), handle(1, 2), handle(2, 3), handle(4, 5)]);
}

fn one(start: u64, bytes: u64) -> Vec<Range<u64>> {
    std::iter::once(start..start + bytes).collect()
}

/// Accesses of an operator: ranges read, ranges written.
fn accesses(operator: &Operator, memory: &Memory) -> (Vec<Range<u64>>, Vec<Range<u64>>) {
    match operator {
        Operator::CopyIn { dst, bytes, .. } => (vec![], one(*dst, *bytes)),
        Operator::CopyOut { src, bytes, .. } => (one(*src, *bytes), vec![]),
        Operator::CopyDevice { src, dst, bytes, .. } => (one(*src, *bytes), one(*dst, *bytes)),
        Operator::Launch(launch) => {
            let words =
                launch.params.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap()));
            let ranges: Vec<_> = words.filter_map(|word| memory.allocation(word)).collect();
            (ranges.clone(), ranges)
        }
        _ => (vec![], vec![]),
    }
}

/// Byte by byte: who wrote each byte last, and who has read it since.
fn literal_edges(operators: &[Operator], memory: &Memory) -> Vec<Edge> {
    let mut bytes: HashMap<u64, (Option<u32>, Vec<u32>)> = HashMap::new();
    let mut edges = Vec::new();
    for (to, operator) in (0..).zip(operators) {
        let (read, written) = accesses(operator, memory);
        for byte in read.into_iter().flatten() {
            let (writer, readers) = bytes.entry(byte).or_default();
            edges.extend(writer.map(|from| Edge { from, to, kind: EdgeKind::Flow }));
            readers.push(to);
        }
        for byte in written.into_iter().flatten() {
            let (writer, readers) = bytes.entry(byte).or_default();
            let before = writer.iter().chain(readers.iter()).filter(|from| **from != to);
            edges.extend(before.map(|from| Edge { from: *from, to, kind: EdgeKind::Overwrite }));
            (*writer, *readers) = (Some(to), Vec::new());
        }
    }
    edges.retain(|edge| edge.from != edge.to);
    edges.sort_unstable();
    edges.dedup();
    edges
}

fn any_operator() -> impl Strategy<Value = Operator> {
    let address = || (0..BUFFERS.len(), 0..256_u64).prop_map(|(buffer, offset)| BUFFERS[buffer] + offset);
    prop_oneof![
        (address(), 0..300_u64).prop_map(|(dst, bytes)| copy_in(dst, bytes)),
        (address(), 0..300_u64).prop_map(|(src, bytes)| copy_out(src, bytes)),
        (address(), address(), 0..300_u64).prop_map(|(dst, src, bytes)| Operator::CopyDevice {
            dst,
            src,
            bytes,
            stream: Handle(0)
        }),
        proptest::collection::vec(prop_oneof![address(), Just(5)], 0..4).prop_map(|words| launch(0, &words)),
    ]
}

proptest! {
    #[test]
    fn edges_are_those_of_a_search_byte_by_byte(operators in proptest::collection::vec(any_operator(), 0..25)) {
        let memory = memory();
        let graph = Graph::of(&operators, &memory).unwrap();
        prop_assert_eq!(graph.edges(), &literal_edges(&operators, &memory)[..]);
    }
}

#[test]
fn what_is_too_entangled_is_refused_in_bounded_time() {
    let pieces = (0..8000).map(|at| copy_in(at * 8, 8));
    let reads = (0..8000).map(|at| copy_out(at, 64_000));
    let operators: Vec<_> = pieces.chain(reads).collect();
    assert_eq!(Graph::of(&operators, &Memory::default()), Err(TooEntangled));
    let unwritten: Vec<_> = (0..16_000).map(|at| copy_out(at, 100_000)).collect();
    assert_eq!(Graph::of(&unwritten, &Memory::default()), Err(TooEntangled));
}
