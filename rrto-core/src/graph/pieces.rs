//! Who has touched which piece of memory last, within a stretch of operators.

use std::collections::BTreeMap;
use std::ops::Range;

/// A piece of memory all of whose bytes have the same history.
#[derive(Clone, Debug)]
struct Piece {
    end: u64,
    /// Who wrote it last.
    writer: Option<u32>,
    /// Who has read it since.
    readers: Vec<u32>,
}

/// Memory as pieces that do not overlap, by their start.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    pieces: BTreeMap<u64, Piece>,
    /// Pieces and readers looked at or copied so far. Memory is less than proportional to it.
    pub(super) steps: usize,
}

impl Pieces {
    /// `reader` reads `range`: `flow` gets who wrote what it reads.
    pub(super) fn read(&mut self, range: Range<u64>, reader: u32, mut flow: impl FnMut(u32)) {
        if range.is_empty() {
            return;
        }
        self.split(range.start);
        self.split(range.end);
        let mut at = range.start;
        let mut gaps = Vec::new();
        for (&start, piece) in self.pieces.range_mut(range.clone()) {
            if at < start {
                gaps.push(at..start);
            }
            at = piece.end;
            self.steps += 1;
            piece.writer.into_iter().for_each(&mut flow);
            if piece.readers.last() != Some(&reader) {
                piece.readers.push(reader);
            }
        }
        gaps.push(at..range.end);
        for gap in gaps.into_iter().filter(|gap| !gap.is_empty()) {
            self.pieces.insert(gap.start, Piece { end: gap.end, writer: None, readers: vec![reader] });
        }
    }

    /// `writer` writes `range`: `overwrite` gets who wrote or has read what is there before.
    pub(super) fn write(&mut self, range: Range<u64>, writer: u32, mut overwrite: impl FnMut(u32)) {
        if range.is_empty() {
            return;
        }
        self.split(range.start);
        self.split(range.end);
        while let Some((&start, piece)) = self.pieces.range(range.clone()).next() {
            self.steps += 1 + piece.readers.len();
            piece.writer.iter().chain(&piece.readers).copied().for_each(&mut overwrite);
            self.pieces.remove(&start);
        }
        self.pieces.insert(range.start, Piece { end: range.end, writer: Some(writer), readers: Vec::new() });
    }

    /// Makes `at` a border between pieces.
    fn split(&mut self, at: u64) {
        let Some((_, piece)) = self.pieces.range_mut(..at).next_back().filter(|(_, piece)| piece.end > at)
        else {
            return;
        };
        let second = piece.clone();
        self.steps += 1 + piece.readers.len();
        piece.end = at;
        self.pieces.insert(at, second);
    }
}
