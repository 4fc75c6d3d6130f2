//! The operator log.
//!
//! ```text
//! entries   ring of (place of its bytes, distance to the next of its run)   position: counts from 0, never repeats
//! bytes     ring of coded operators: length (u32 LE), coded                   place: counts from 0, never repeats
//! latest    table by exact fingerprint: where that operator was stored last
//! ```
//!
//! A program that repeats itself logs the same operators over and over: an entry then shares the bytes of an earlier
//! one, which `latest` finds, and costs [`ENTRY_BYTES`] instead of some hundred. So a log of a few MiB holds
//! several inferences of a large model, and comparing two occurrences is mostly comparing two numbers.
//!
//! Nothing is ever allocated or freed for an operator, and nothing old is looked at to make room: what is too old is
//! overwritten, and known to be by its position or place.

use super::coding::{Fingerprint, decode, encode};
use crate::operator::Operator;

#[derive(Clone, Copy, Default, Debug)]
struct Entry {
    /// Where its coded operator begins.
    place: u64,
    /// Entries to the next one of the same lane's run; 0 if there is none yet.
    next: u32,
}

/// Where an operator was stored last.
#[derive(Clone, Copy, Default, Debug)]
struct Latest {
    exact: u64,
    place: u64,
}

/// Memory of an entry without its operator, bytes.
const ENTRY_BYTES: usize = size_of::<Entry>() + size_of::<Latest>();

/// The most entries of any log: their distances are 32-bit numbers.
const MOST_ENTRIES: usize = 1 << 30;

/// The most bytes of any log: lengths of operators are 32-bit numbers.
const MOST_BYTES: usize = 1 << 31;

/// The ring holds at least this many of the longest operators.
const OPERATORS_IN_RING: usize = 8;

/// One in so many bytes is for the operator that is being prepared, which may take twice its length: vectors double.
const PREPARED_PART: usize = OPERATORS_IN_RING / 2 + 1;

/// The latest operators of a program, all lanes in one order. Bounded by their number and by memory.
#[derive(Debug)]
pub struct OperatorLog {
    entries: Vec<Entry>,
    bytes: Vec<u8>,
    latest: Vec<Latest>,
    /// Position of the next entry.
    next: u64,
    /// Place of the next coded operator.
    end: u64,
    most_entries: usize,
    most_bytes: usize,
    prepared: Vec<u8>,
    fingerprint: Option<Fingerprint>,
}

/// An operator in the log.
#[derive(Clone, Copy, Debug)]
pub struct Stored<'a> {
    place: u64,
    coded: &'a [u8],
}

impl PartialEq for Stored<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.place == other.place || self.coded == other.coded
    }
}

impl Eq for Stored<'_> {}

impl Stored<'_> {
    /// Bytes that it takes, about as many as it takes to send it.
    pub fn coded_bytes(&self) -> usize {
        self.coded.len()
    }

    /// The operator itself.
    pub fn operator(&self) -> Option<Operator> {
        decode(self.coded)
    }
}

impl OperatorLog {
    /// A log of at most `operators` entries, rounded down to a power of two, and `bytes` bytes of memory, of which
    /// entries take half at most.
    pub fn new(operators: usize, bytes: usize) -> Self {
        let bytes = bytes.min(MOST_BYTES);
        let most = operators.min(bytes / 2 / ENTRY_BYTES).clamp(1, MOST_ENTRIES);
        let most_entries = 1 << most.ilog2();
        let rest = bytes.saturating_sub(most_entries * ENTRY_BYTES);
        OperatorLog {
            entries: Vec::new(),
            bytes: Vec::new(),
            latest: Vec::new(),
            next: 0,
            end: 0,
            most_entries,
            most_bytes: rest - rest / PREPARED_PART,
            prepared: Vec::new(),
            fingerprint: None,
        }
    }

    /// Prepares an operator for [`push`](Self::push); gives its fingerprint. `None` for one that is too long for the
    /// log.
    pub fn prepare(&mut self, operator: &Operator) -> Option<Fingerprint> {
        self.fingerprint = encode(operator, &mut self.prepared);
        if self.prepared.len() + size_of::<u32>() > self.most_bytes / OPERATORS_IN_RING {
            // Nor is its memory kept.
            (self.prepared, self.fingerprint) = (Vec::new(), None);
        }
        self.fingerprint
    }

    /// Adds what was prepared, as what follows the operator at `previous` in a lane's run, or begins a run; gives its
    /// position. `None` if nothing is prepared.
    pub fn push(&mut self, previous: Option<u64>) -> Option<u64> {
        let fingerprint = self.fingerprint.take()?;
        if self.entries.is_empty() {
            self.entries = vec![Entry::default(); self.most_entries];
            self.latest = vec![Latest::default(); self.most_entries];
            self.bytes = vec![0; self.most_bytes];
        }
        let place = self.share(fingerprint.exact);
        let position = self.next;
        if let Some(previous) = previous.filter(|previous| self.holds(*previous))
            && let Some(entry) = self.entries.get_mut(previous as usize & (self.most_entries - 1))
        {
            entry.next = (position - previous) as u32;
        }
        if let Some(entry) = self.entries.get_mut(position as usize & (self.most_entries - 1)) {
            *entry = Entry { place, next: 0 };
        }
        self.next += 1;
        Some(position)
    }

    /// How many entries it can have.
    pub fn most_entries(&self) -> usize {
        self.most_entries
    }

    /// What a lane did from `position` on, as far as it was logged as one run and is still there.
    pub fn run_from(&self, position: u64) -> impl Iterator<Item = Stored<'_>> {
        let mut at = Some(position);
        std::iter::from_fn(move || {
            let here = at?;
            let entry = self.entry(here)?;
            at = (entry.next > 0).then(|| here + u64::from(entry.next));
            Some(Stored { place: entry.place, coded: self.coded(entry.place)? })
        })
    }

    /// Memory in use, bytes.
    pub fn bytes(&self) -> usize {
        let entries = self.entries.capacity() * size_of::<Entry>();
        let latest = self.latest.capacity() * size_of::<Latest>();
        entries + latest + self.bytes.capacity() + self.prepared.capacity()
    }

    fn holds(&self, position: u64) -> bool {
        position < self.next && self.next - position <= self.most_entries as u64
    }

    fn entry(&self, position: u64) -> Option<&Entry> {
        self.entries.get(position as usize & (self.most_entries - 1)).filter(|_| self.holds(position))
    }

    /// The coded operator at `place`. `None` if it has been overwritten.
    fn coded(&self, place: u64) -> Option<&[u8]> {
        if self.end.saturating_sub(place) > self.bytes.len() as u64 {
            return None;
        }
        let (length, rest) = self.bytes.get(self.index(place)..)?.split_first_chunk()?;
        rest.get(..u32::from_le_bytes(*length) as usize)
    }

    fn index(&self, place: u64) -> usize {
        (place % self.bytes.len().max(1) as u64) as usize
    }

    /// The place of what was prepared: where it has been stored before, or where it is now. What is in the older half
    /// of the ring is stored again, so that what shares it is not soon without it.
    fn share(&mut self, exact: u64) -> u64 {
        let slot = exact as usize & (self.most_entries - 1);
        let latest = self.latest.get(slot).copied().unwrap_or_default();
        let is_young = self.end.saturating_sub(latest.place) <= self.bytes.len() as u64 / 2;
        if latest.exact == exact && is_young && self.coded(latest.place) == Some(&self.prepared) {
            return latest.place;
        }
        let place = self.store();
        if let Some(latest) = self.latest.get_mut(slot) {
            *latest = Latest { exact, place };
        }
        place
    }

    fn store(&mut self) -> u64 {
        let bytes = self.prepared.len() + size_of::<u32>();
        let left = self.bytes.len() - self.index(self.end);
        if left < bytes {
            // An operator is in one piece.
            self.end += left as u64;
        }
        let place = self.end;
        let start = self.index(place);
        if let Some((length, coded)) =
            self.bytes.get_mut(start..start + bytes).and_then(<[u8]>::split_first_chunk_mut)
        {
            *length = (self.prepared.len() as u32).to_le_bytes();
            coded.copy_from_slice(&self.prepared);
        }
        self.end += bytes as u64;
        place
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::operator::{Handle, Launch};

    fn operator(id: u64, size: usize) -> Operator {
        Operator::Launch(Launch {
            function: Handle(id),
            geometry: Default::default(),
            stream: Handle(0),
            cooperative: false,
            attributes: Vec::new(),
            params: Bytes::from(vec![id as u8; size]),
        })
    }

    fn push(log: &mut OperatorLog, operator: &Operator) -> Option<u64> {
        log.prepare(operator);
        log.push(None)
    }

    proptest! {
        #[test]
        fn it_holds_the_latest_operators_of_each_lane_within_its_bounds(
            calls in proptest::collection::vec((0..3_u32, 0..40_u64, 0..300_usize), 1..400),
            (most, most_bytes) in (1..200_usize, 8000..80_000_usize),
        ) {
            let mut log = OperatorLog::new(most, most_bytes);
            let mut latest: HashMap<u32, u64> = HashMap::new();
            let mut all = Vec::new();
            for (lane, id, size) in calls {
                let operator = operator(id, size % 10 * 30);
                prop_assert!(log.prepare(&operator).is_some());
                let position = log.push(latest.get(&lane).copied()).unwrap();
                prop_assert_eq!(position, all.len() as u64);
                latest.insert(lane, position);
                all.push((lane, operator));
                prop_assert!(log.bytes() <= most_bytes, "{} bytes", log.bytes());
            }
            let length_of_run = |at: usize| {
                let held: Vec<_> = log.run_from(at as u64).map(|stored| stored.operator().unwrap()).collect();
                let lane = all[at].0;
                let expected = all[at..].iter().filter(|(other, _)| *other == lane).map(|(_, operator)| operator);
                assert!(held.iter().eq(expected.take(held.len())));
                held.len()
            };
            let runs: Vec<_> = (0..all.len()).map(length_of_run).collect();
            // Half of the bytes are young, and every operator of the last ones is.
            let young = log.bytes.len() / 2 / 400;
            prop_assert!(runs.iter().rev().take(young.min(log.most_entries())).all(|length| *length > 0));
            prop_assert!(runs.iter().rev().skip(log.most_entries()).all(|length| *length == 0));
        }
    }

    #[test]
    fn what_repeats_is_shared() {
        let mut log = OperatorLog::new(1024, 1 << 20);
        let positions: Vec<_> =
            (0..50).cycle().take(500).filter_map(|id| push(&mut log, &operator(id, 200))).collect();
        let place = |position| log.run_from(position).next().unwrap().place;
        assert_eq!(place(positions[499]), place(positions[49]));
        // Few of them have a slot of `latest` in common.
        assert!(log.end < 100 * 300);
    }

    #[test]
    fn an_operator_too_long_for_the_log_is_not_taken() {
        let mut log = OperatorLog::new(64, 16 << 10);
        assert_eq!(push(&mut log, &operator(1, 5000)), None);
        assert_eq!(log.bytes(), 0);
        assert_eq!(push(&mut log, &operator(1, 200)), Some(0));
        assert_eq!(log.push(None), None);
    }
}
