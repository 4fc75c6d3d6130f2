use bytes::Bytes;

use super::*;
use crate::operator::{Geometry, Handle, Launch};

fn launch(function: u64, words: &[u64]) -> Operator {
    Operator::Launch(Launch {
        function: Handle(function),
        geometry: Geometry::default(),
        stream: Handle(0),
        cooperative: false,
        attributes: Vec::new(),
        params: Bytes::from_iter(words.iter().flat_map(|word| word.to_le_bytes())),
    })
}

/// An inference of `operators` launches, the first ones with `changed` as parameters, that ends with its output.
fn inference(operators: u64, changed: &[&[u64]]) -> Vec<Operator> {
    let launches = (0..operators).map(|at| launch(at, changed.get(at as usize).unwrap_or(&&[at][..])));
    let input = Operator::CopyIn { dst: 64, bytes: 16, stream: Handle(0) };
    let output = Operator::CopyOut { src: 64, bytes: 16, stream: Handle(0) };
    std::iter::once(input).chain(launches).chain([output]).collect()
}

fn record(recorder: &mut Recorder, operators: &[Operator]) {
    for operator in operators {
        recorder.handle_operator(5, operator, matches!(operator, Operator::CopyOut { .. }));
    }
}

fn recorded(inferences: &[Vec<Operator>]) -> Recorder {
    let mut recorder = Recorder::default();
    inferences.iter().for_each(|operators| record(&mut recorder, operators));
    recorder
}

fn why(recorder: &mut Recorder) -> Option<Rejection> {
    assert_eq!(recorder.poll_sequence(), None);
    recorder.poll_rejected().map(|rejected| rejected.why)
}

#[test]
fn three_equal_occurrences_are_a_sequence() {
    let inferences = vec![inference(20, &[]); 3];
    assert_eq!(recorded(&inferences[..2]).poll_sequence(), None);
    let mut recorder = recorded(&inferences);
    let found = recorder.poll_sequence().unwrap();
    assert_eq!(found.sequence, Sequence::new(5, inferences[0].clone()).unwrap());
    assert_eq!((found.patched, found.occurrences), (vec![], 3));
    assert_eq!(recorder.poll_sequence(), None);
    // Given again when it has occurred twice as often.
    let given: Vec<_> = (4..=12)
        .filter(|_| {
            record(&mut recorder, &inferences[0]);
            recorder.poll_sequence().is_some()
        })
        .collect();
    assert_eq!(given, [6, 12]);
}

#[test]
fn a_short_phrase_is_none() {
    assert_eq!(why(&mut recorded(&vec![inference(5, &[]); 5])), None);
    assert!(recorded(&vec![inference(6, &[]); 5]).poll_sequence().is_some());
}

#[test]
fn a_launch_that_differs_each_time_is_patched() {
    let inferences: Vec<_> = (0..4).map(|step| inference(20, &[&[1], &[1000 + step]])).collect();
    assert_eq!(recorded(&inferences[..3]).poll_sequence(), None);
    let found = recorded(&inferences).poll_sequence().unwrap();
    assert_eq!(found.sequence.operators(), inferences[3]);
    assert_eq!((found.patched, found.occurrences), (vec![2], 4));
}

#[test]
fn buffers_that_take_turns_are_two_sequences_and_no_patches() {
    let inferences: Vec<_> = (0..6).map(|at| inference(20, &[&[at % 2]])).collect();
    let mut recorder = recorded(&inferences);
    for expected in &inferences[..2] {
        let found = recorder.poll_sequence().unwrap();
        assert_eq!((found.sequence.operators(), found.patched), (&expected[..], vec![]));
    }
    assert_eq!(recorder.poll_sequence(), None);
}

/// Four runs of `operators` launches with `words` words each, of which `changed` are never the same.
fn runs_with(operators: u64, words: usize, changed: usize) -> Vec<Vec<Operator>> {
    let run = |run: u64| {
        let mut params = vec![7; words];
        params[..changed].fill(run * 0x0101_0101_0101_0101);
        inference(operators, &vec![&params[..]; operators as usize])
    };
    (1..=4).map(run).collect()
}

#[test]
fn bytes_that_nobody_set_are_patched_wherever_they_are() {
    let found = recorded(&runs_with(100, 24, 1)).poll_sequence().unwrap();
    assert_eq!(found.patched, (1..=100).collect::<Vec<_>>());
}

#[test]
fn what_differs_too_much_is_rejected() {
    let why = |runs: Vec<_>| why(&mut recorded(&runs));
    assert!(matches!(
        why(runs_with(100, 24, 4)),
        Some(Rejection::TooManyPatchBytes { most: ..MAX_PATCH_BYTES })
    ));
    assert_eq!(why(runs_with(1000, 24, 1)), Some(Rejection::TooManyPatchBytes { most: MAX_PATCH_BYTES }));
}

#[test]
fn garbage_of_a_few_values_does_not_keep_a_shape_from_being_found() {
    // Two exact occurrences of each, and never a third, nor four new ones in a row.
    let mut recorder = recorded(&[]);
    let found = (0..60).find_map(|run| {
        let garbage = run & !1;
        record(&mut recorder, &inference(20, &[&[garbage]]));
        recorder.poll_sequence().map(|found| (run, found.patched))
    });
    assert_eq!(found, Some((11, vec![1])));
}

#[test]
fn what_depends_on_something_else_is_rejected() {
    let runs = |third_reads: [u64; 4]| {
        let run = |(step, reads): (u64, u64)| inference(20, &[&[0x1000], &[0x2000], &[reads, 7777 + step]]);
        let mut recorder = recorded(&[]);
        recorder.handle_allocated(0x1000, 256);
        recorder.handle_allocated(0x2000, 256);
        (0..).zip(third_reads).map(run).for_each(|operators| record(&mut recorder, &operators));
        recorder
    };
    assert!(runs([0x1000, 0x1008, 0x1010, 0x1018]).poll_sequence().is_some());
    assert_eq!(why(&mut runs([0x1000, 0x1000, 0x1000, 0x2000])), Some(Rejection::DependenciesDiffer));
}

#[test]
fn what_left_the_log_is_rejected() {
    let mut recorder = Recorder::new(RecorderLimits { log_operators: 128, ..RecorderLimits::default() });
    for other in 0..3 {
        record(&mut recorder, &inference(20, &[]));
        record(&mut recorder, &inference(20, &[&[other], &[other], &[other], &[other], &[other]]));
        record(&mut recorder, &inference(20, &[&[9], &[other]]));
        (0..70).for_each(|at| recorder.handle_operator(6, &launch(other, &[at, other]), false));
        // So that it goes on being looked at.
        recorder.handle_operator(6, &Operator::MemAlloc { bytes: 8 }, true);
    }
    assert_eq!(why(&mut recorder), Some(Rejection::LeftLog));
}

#[test]
fn a_break_leaves_no_phrase() {
    let mut recorder = Recorder::default();
    for _ in 0..5 {
        record(&mut recorder, &inference(20, &[])[..15]);
        recorder.handle_break(5);
    }
    assert_eq!(why(&mut recorder), None);
}

#[test]
fn a_program_that_repeats_nothing_is_looked_at_less_often_and_noticed_when_it_does() {
    const OPERATORS: u64 = 1 << 10;
    let mut recorder =
        Recorder::new(RecorderLimits { log_operators: OPERATORS as usize, ..RecorderLimits::default() });
    let mut looked_at = 0;
    for round in 0..64 * OPERATORS {
        record(&mut recorder, &[launch(round, &[round])]);
        looked_at += u64::from(!recorder.is_resting());
        assert_eq!(recorder.poll_sequence(), None);
    }
    assert!(looked_at < 16 * OPERATORS, "{looked_at}");
    let inference = inference(30, &[]);
    let most = (LOOKED_AT_ONE_IN + 1) * OPERATORS / inference.len() as u64;
    let noticed = (0..most).find_map(|_| {
        record(&mut recorder, &inference);
        recorder.poll_sequence()
    });
    assert_eq!(noticed.map(|found| found.sequence.operators().to_vec()), Some(inference));
    assert!(!recorder.is_resting());
}
