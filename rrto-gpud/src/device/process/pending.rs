//! Operators whose outcome the worker has still to tell.

use std::collections::BTreeMap;

/// Runs of operators, each run a single operator or a span.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// By the first number that has not been told. Runs do not overlap.
    runs: BTreeMap<u64, Run>,
    operators: usize,
    bytes: u64,
}

/// What is left to be told of one operator or span.
#[derive(Clone, Copy, Debug)]
struct Run {
    count: u64,
    /// What it counts for until all of it has been told.
    bytes: u64,
    is_span: bool,
}

/// An outcome was told that is not due.
#[derive(Debug)]
pub(super) struct NotPending;

impl Pending {
    /// One operator.
    pub(super) fn push(&mut self, number: u64, bytes: u64) {
        self.insert(number, Run { count: 1, bytes, is_span: false });
    }

    /// A span of `count` operators, of which only failures matter.
    pub(super) fn push_span(&mut self, first: u64, count: u32, bytes: u64) {
        self.insert(first, Run { count: count.into(), bytes, is_span: true });
    }

    fn insert(&mut self, first: u64, run: Run) {
        self.operators += run.count as usize;
        self.bytes = self.bytes.saturating_add(run.bytes);
        self.runs.insert(first, run);
    }

    /// Operators and spans.
    pub(super) fn len(&self) -> usize {
        self.runs.len()
    }

    /// Operators, those of spans included.
    pub(super) fn operators(&self) -> usize {
        self.operators
    }

    /// What all of it counts for.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes note that `count` outcomes from `first` on were told, those of one span in order. Gives `told` the first
    /// number that this is of each operator or span, and whether it is a span.
    ///
    /// # Errors
    /// One of them is not due.
    pub(super) fn tell(
        &mut self,
        mut first: u64,
        mut count: u64,
        mut told: impl FnMut(u64, bool),
    ) -> Result<(), NotPending> {
        while count > 0 {
            let Some(mut run) = self.runs.remove(&first) else { return Err(NotPending) };
            let part = run.count.min(count);
            told(first, run.is_span);
            self.operators -= part as usize;
            first += part;
            count -= part;
            run.count -= part;
            match run.count {
                0 => self.bytes -= run.bytes,
                _ => drop(self.runs.insert(first, run)),
            }
        }
        Ok(())
    }

    /// Takes all numbers whose outcome has not been told.
    pub(super) fn take(&mut self) -> impl Iterator<Item = u64> + use<> {
        let runs = std::mem::take(self).runs;
        runs.into_iter().flat_map(|(first, run)| (first..).take(run.count as usize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operator_is_told_once() {
        let mut pending = Pending::default();
        pending.push(1, 10);
        pending.push_span(2, 5, 20);
        pending.push(7, 30);
        assert_eq!((pending.len(), pending.operators(), pending.bytes()), (3, 7, 60));
        let mut told = Vec::new();
        let mut tell = |pending: &mut Pending, first, count| {
            pending.tell(first, count, |number, is_span| told.push((number, is_span))).is_ok()
        };
        assert!(!tell(&mut pending, 3, 1), "out of order");
        assert!(tell(&mut pending, 1, 3));
        assert!(!tell(&mut pending, 2, 1), "twice");
        assert_eq!((pending.len(), pending.operators(), pending.bytes()), (2, 4, 50));
        assert!(tell(&mut pending, 4, 1));
        assert!(tell(&mut pending, 5, 2));
        assert_eq!((pending.len(), pending.operators(), pending.bytes()), (1, 1, 30));
        assert!(!tell(&mut pending, 7, 2), "past the end");
        assert_eq!(told, [(1, false), (2, true), (4, true), (5, true), (7, false)]);
    }

    #[test]
    fn what_is_left_is_taken() {
        let mut pending = Pending::default();
        pending.push_span(2, 3, 20);
        pending.push(9, 30);
        assert!(pending.tell(2, 1, |_, _| {}).is_ok());
        assert_eq!(pending.take().collect::<Vec<_>>(), [3, 4, 9]);
        assert_eq!((pending.len(), pending.operators(), pending.bytes()), (0, 0, 0));
    }
}
