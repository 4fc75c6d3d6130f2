//! The search of the RRTO paper (section IV-B, Algorithm 3), literally: slow, and the specification of what is found.

use rrto_core::graph::{Graph, Memory};
use rrto_core::operator::Operator;

/// Repetitions that count as covering the log.
const REPETITIONS: usize = 3;

/// The longest sequence from a start operator to an end operator whose repetitions cover the log, from some point after
/// the program's initialisation on to its end.
pub(crate) fn longest_covering<'a>(history: &'a [Operator], memory: &Memory) -> Option<&'a [Operator]> {
    let graph = Graph::of(history, memory).unwrap();
    let mut pairs: Vec<(u32, u32)> = Vec::new();
    for start in graph.starts() {
        pairs.extend(graph.ends().into_iter().filter(|end| *end >= start).map(|end| (start, end)));
    }
    pairs.sort_by_key(|(start, end)| std::cmp::Reverse(end - start));
    let candidates = pairs.into_iter().map(|(start, end)| &history[start as usize..=end as usize]);
    candidates.into_iter().find(|candidate| covers(history, candidate))
}

fn covers(history: &[Operator], sequence: &[Operator]) -> bool {
    history.len() >= REPETITIONS * sequence.len()
        && history.rchunks_exact(sequence.len()).take(REPETITIONS).all(|chunk| chunk == sequence)
}

/// Where `sequence` occurs in `history`: the places of its first operator.
pub(crate) fn occurrences(history: &[Operator], sequence: &[Operator]) -> Vec<usize> {
    let windows = history.windows(sequence.len()).enumerate();
    windows.filter(|(_, window)| *window == sequence).map(|(at, _)| at).collect()
}
