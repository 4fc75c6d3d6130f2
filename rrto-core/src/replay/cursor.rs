//! Where a lane is in its run of a sequence.

use std::sync::Arc;

use super::divergence::{CALLS_BEFORE, Divergence, Reason};
use super::known::Known;
use crate::operator::{Operator, Patch};

/// A run of a sequence, as far as it has been checked.
#[derive(Debug)]
pub(super) struct Cursor {
    known: Arc<Known>,
    /// The place that comes next.
    at: u32,
    /// The segment that `at` is in.
    segment: usize,
    /// Of this run, in order.
    patches: Vec<Patch>,
    /// Places of those that were not foreseen.
    unforeseen: Vec<u32>,
}

impl Cursor {
    /// At the beginning.
    pub(super) fn new(known: Arc<Known>) -> Self {
        Cursor { known, at: 0, segment: 0, patches: Vec::new(), unforeseen: Vec::new() }
    }

    pub(super) fn known(&self) -> &Arc<Known> {
        &self.known
    }

    pub(super) fn at(&self) -> u32 {
        self.at
    }

    /// What was different so far in this run, in order.
    pub(super) fn patches(&self) -> &[Patch] {
        &self.patches
    }

    /// The places where this run differed and it was not foreseen.
    pub(super) fn unforeseen(&self) -> &[u32] {
        &self.unforeseen
    }

    /// Whether nothing is left of the run.
    pub(super) fn is_at_end(&self) -> bool {
        self.at >= self.known.sequence.len()
    }

    /// What comes next.
    pub(super) fn expected(&self) -> Option<&Operator> {
        self.known.operator(self.at)
    }

    /// What comes next and its length, if it is a copy to the host that the program is sure to call.
    pub(super) fn upcoming_copy(&self) -> Option<(&Operator, u64)> {
        match self.expected() {
            Some(operator @ Operator::CopyOut { bytes, .. }) if self.known.copies_are_foreseen => {
                Some((operator, *bytes))
            }
            _ => None,
        }
    }

    /// Goes one place on; gives that place, and whether a segment ends after it.
    pub(super) fn pass(&mut self) -> (u32, bool) {
        let at = self.at;
        self.at += 1;
        let ends_segment = self.known.segments.get(self.segment) == Some(&self.at);
        self.segment += usize::from(ends_segment);
        (at, ends_segment)
    }

    /// Goes on as a run of another sequence, which is like this one up to here.
    pub(super) fn switch(&mut self, known: Arc<Known>) {
        self.segment = known.segments.partition_point(|end| *end <= self.at);
        self.known = known;
    }

    /// The patch that makes `actual` of what comes next, if this run may have it.
    pub(super) fn patch(&mut self, actual: &Operator) -> Result<Patch, Reason> {
        let Some(expected) = self.expected() else { return Err(Reason::Operator) };
        let Some(patch) = Patch::between(self.at, expected, actual) else {
            return Err(Reason::between(expected, actual));
        };
        if !self.known.foresees(self.at) {
            if self.unforeseen.len() >= self.known.unforeseen_patches {
                return Err(Reason::TooManyPatches);
            }
            self.unforeseen.push(self.at);
        }
        self.patches.push(patch.clone());
        Ok(patch)
    }

    /// What the program has called so far in this run.
    pub(super) fn checked(&self) -> impl Iterator<Item = Operator> {
        (0..self.at).filter_map(|at| {
            let operator = self.known.operator(at)?;
            // After a switch a patch may, in theory, not fit: a prefix is recognised by a hash.
            let found = self.patches.binary_search_by_key(&at, |patch| patch.at);
            let patch = found.ok().and_then(|found| self.patches.get(found));
            Some(patch.and_then(|patch| patch.apply(operator)).unwrap_or_else(|| operator.clone()))
        })
    }

    /// The run is given up here. `None` if nothing is left of it.
    pub(super) fn diverge(&self, reason: Reason, actual: Option<&Operator>) -> Option<Divergence> {
        let first = self.at.saturating_sub(CALLS_BEFORE as u32);
        Some(Divergence {
            sequence: self.known.id,
            lane: self.known.sequence.lane(),
            operators: self.known.sequence.len(),
            at: self.at,
            reason,
            expected: self.expected()?.clone(),
            actual: actual.cloned(),
            before: (first..self.at).filter_map(|at| self.known.operator(at)).cloned().collect(),
        })
    }
}
