//! Which phrases occurred how often, and where last.

use std::collections::HashMap;

use foldhash::fast::FixedState;

/// How many occurrences are compared: the paper's verification needs a repetition, and one more makes chance unlikely.
pub const COMPARED: usize = 3;

/// What is known of a phrase.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// How often it occurred.
    pub(super) occurrences: u32,
    /// How many of the latest occurrences in a row were like no other one. Of shapes.
    pub(super) fresh: u32,
    /// How many of the latest occurrences in a row had not occurred often enough exactly alike. Of shapes.
    pub(super) unproven: u32,
    /// From how many occurrences on it is a candidate; doubles with each time that it has been one.
    pub(super) next_try: u32,
    /// Positions of the latest occurrences, latest first.
    pub(super) starts: [u64; COMPARED],
}

impl Known {
    /// Whether it is a candidate now. If so, it is not one again before it has occurred twice as often.
    pub(super) fn is_due(&mut self) -> bool {
        let is_due = self.occurrences >= self.next_try;
        if is_due {
            self.next_try = self.occurrences.saturating_mul(2);
        }
        is_due
    }
}

/// The phrases that occurred last, by their hash; at least half of `most` and at most all of it. A phrase that two
/// hashes collide for is no loss but of time.
///
/// Two generations stand in for a list by age: a phrase that occurs moves to the young one, and when that is full, it
/// becomes the old one, and what was the old one is forgotten.
#[derive(Debug)]
pub(super) struct Table {
    young: HashMap<u64, Known, FixedState>,
    old: HashMap<u64, Known, FixedState>,
    most_young: usize,
    first_try: u32,
}

impl Table {
    /// A table of at most `most` phrases, which are candidates from `first_try` occurrences on.
    pub(super) fn new(most: usize, first_try: u32) -> Self {
        Table { young: HashMap::default(), old: HashMap::default(), most_young: (most / 2).max(1), first_try }
    }

    /// A phrase occurred at `start`.
    pub(super) fn note(&mut self, hash: u64, start: u64) -> &mut Known {
        if self.young.len() >= self.most_young && !self.young.contains_key(&hash) {
            std::mem::swap(&mut self.young, &mut self.old);
            // What was old and occurs again now is remembered, whatever happens to the others.
            let again = self.young.remove(&hash);
            self.young.clear();
            self.young.extend(again.map(|known| (hash, known)));
        }
        let first_try = self.first_try;
        let known = self.young.entry(hash).or_insert_with(|| {
            let starts = [start; COMPARED];
            self.old.remove(&hash).unwrap_or(Known {
                occurrences: 0,
                fresh: 0,
                unproven: 0,
                next_try: first_try,
                starts,
            })
        });
        known.occurrences = known.occurrences.saturating_add(1);
        known.starts.rotate_right(1);
        known.starts[0] = start;
        known
    }

    /// Memory in use, bytes.
    pub(super) fn bytes(&self) -> usize {
        buckets_bytes(self.young.capacity()) + buckets_bytes(self.old.capacity())
    }

    /// The most memory that a table of `most` phrases uses, bytes.
    pub(super) fn most_bytes(most: usize) -> usize {
        // A table doubles when it is full, and is full with 7 of 8 buckets.
        2 * buckets_bytes((2 * (most / 2).max(1)).max(8) * 2)
    }
}

/// Memory of a hash table that has room for `capacity` phrases: 8 buckets for 7 of them, a byte of control for each.
fn buckets_bytes(capacity: usize) -> usize {
    capacity.div_ceil(7) * 8 * (size_of::<(u64, Known)>() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_occurred_lately_is_known() {
        let mut table = Table::new(100, 3);
        for round in 0..10 {
            for hash in 0..50 {
                let known = table.note(hash, round * 50 + hash);
                assert_eq!(u64::from(known.occurrences), round + 1);
                assert_eq!(known.starts[0], round * 50 + hash);
            }
        }
        (1000..1100).for_each(|hash| assert_eq!(table.note(hash, 0).occurrences, 1));
        assert_eq!(table.note(3, 0).occurrences, 1);
        assert!(table.young.len() + table.old.len() <= 100);
    }

    #[test]
    fn a_phrase_is_due_more_and_more_seldom() {
        let mut table = Table::new(100, 3);
        let due: Vec<_> = (1..=30).filter(|_| table.note(7, 0).is_due()).collect();
        let expected = [3, 6, 12, 24];
        assert_eq!(due, expected);
    }

    #[test]
    fn its_memory_is_bounded() {
        for most in [0, 1, 2, 7, 100, 1024, 5000] {
            let mut table = Table::new(most, 3);
            (0..20_000).for_each(|hash| _ = table.note(hash % 9000, hash));
            assert!(table.bytes() <= Table::most_bytes(most), "{most}: {}", table.bytes());
        }
    }
}
