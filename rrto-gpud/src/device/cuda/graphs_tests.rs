use bytes::Bytes;
use rrto_core::operator::Geometry;

use super::*;

fn launch(stream: u64) -> Operator {
    Operator::Launch(Launch {
        function: Handle(1),
        geometry: Geometry::default(),
        stream: Handle(stream),
        cooperative: false,
        attributes: Vec::new(),
        params: Bytes::new(),
    })
}

fn copy(stream: u64) -> Operator {
    Operator::CopyDevice { dst: 1, src: 2, bytes: 3, stream: Handle(stream) }
}

fn record(stream: u64) -> Operator {
    Operator::EventRecord { event: Handle(9), stream: Handle(stream), flags: 0 }
}

/// The pieces' ends, and the streams of those that are to become graphs.
fn cut(operators: Vec<Operator>, place: Place) -> Vec<(u32, u32, Option<u64>)> {
    let sequence = Sequence::new(0, operators).unwrap();
    let piece = |piece: Piece| match piece.state {
        State::Issued(stream, 0) => (piece.range.start, piece.range.end, Some(stream.0)),
        State::Single => (piece.range.start, piece.range.end, None),
        _ => panic!("a new piece has not been issued"),
    };
    pieces(&sequence, place).into_iter().map(piece).collect()
}

#[test]
fn stretches_of_one_stream_become_graphs() {
    let mut operators = vec![record(5), launch(5), launch(5), copy(5), launch(5), launch(5)];
    operators.extend([launch(6), launch(6), record(5), launch(0)]);
    operators.extend([copy(0), launch(0), launch(0), launch(0)]);
    let all = (0, operators.len() as u32);
    assert_eq!(cut(operators.clone(), all), [(0, 1, None), (1, 6, Some(5)), (6, 9, None), (9, 14, Some(0))]);
    // What is short is not worth a graph.
    assert_eq!(cut(operators.clone(), (2, 4)), [(2, 6, None)]);
    assert_eq!(cut(operators, (9, 2)), [(9, 11, None)]);
}

#[test]
fn what_a_copy_or_fill_names_is_known() {
    assert_eq!(ranges_of(&copy(0)), Ok([(1, 3), (2, 3)]));
    let fill = |width, height| Operator::Memset {
        address: 100,
        pitch_bytes: 64,
        value: 0,
        element_bytes: 4,
        width,
        height,
        stream: Handle(0),
    };
    assert_eq!(ranges_of(&fill(2, 3)), Ok([(100, 136), (0, 0)]));
    assert_eq!(ranges_of(&fill(u64::MAX, 1)), Err(CuResult::INVALID_VALUE));
    assert_eq!(ranges_of(&launch(0)), Ok([(0, 0); 2]));
}
