//! The operator log.
//!
//! ```text
//! entries   ring of (operator, lane, distance to the lane's next)     position: counts from 0, never repeats
//! latest    exact fingerprint, cut to the ring's size -> latest position with it
//! ```
//!
//! A program that repeats itself logs the same operators over and over: an entry then shares the operator of an
//! earlier one, which `latest` finds, and costs [`ENTRY_BYTES`] instead of some hundred. So a log of a few MiB holds
//! several inferences of a large model, and comparing two occurrences is mostly comparing pointers.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::Fingerprint;
use crate::operator::{Launch, LaunchAttribute, Operator};

/// An operator as the log keeps it, with its fingerprint.
#[derive(PartialEq, Eq, Debug)]
pub struct Logged {
    /// The operator.
    pub operator: Operator,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// Memory that this is, bytes.
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    logged: Arc<Logged>,
    lane: u32,
    /// Entries to the same lane's next one; 0 if there is none yet.
    next: u32,
}

/// Memory of an entry without its operator, bytes: in the ring and in `latest`.
const ENTRY_BYTES: usize = size_of::<Entry>() + size_of::<u32>();

/// The most entries of any log: positions are found again by 32 bits of theirs.
const MOST_ENTRIES: usize = 1 << 30;

/// The latest operators of a program, all lanes in one order. Bounded by their number and by memory; the oldest go
/// first.
#[derive(Debug)]
pub struct OperatorLog {
    entries: VecDeque<Entry>,
    /// Position of the oldest entry.
    first: u64,
    latest: Vec<u32>,
    most_entries: usize,
    most_bytes: usize,
    operator_bytes: usize,
}

impl OperatorLog {
    /// A log of at most `operators` entries and `bytes` bytes of memory. It takes half of the memory for entries at
    /// most; the number of them is rounded down to a power of two, because that is how a ring grows.
    pub fn new(operators: usize, bytes: usize) -> Self {
        let most = operators.min(bytes / 2 / ENTRY_BYTES).clamp(1, MOST_ENTRIES);
        OperatorLog {
            entries: VecDeque::new(),
            first: 0,
            latest: Vec::new(),
            most_entries: 1 << most.ilog2(),
            most_bytes: bytes,
            operator_bytes: 0,
        }
    }

    /// Adds what `lane` did after the operator at `previous`, if that belongs to the same run; gives its position.
    pub fn push(
        &mut self,
        lane: u32,
        operator: &Operator,
        fingerprint: Fingerprint,
        previous: Option<u64>,
    ) -> u64 {
        if self.entries.len() >= self.most_entries {
            self.drop_oldest();
        }
        let position = self.next();
        if let Some(previous) = previous {
            // A distance is less than MOST_ENTRIES if the previous entry is still there.
            let distance = position.saturating_sub(previous) as u32;
            if let Some(entry) = self.entry_mut(previous) {
                entry.next = distance;
            }
        }
        let logged = self.share(operator, fingerprint, position);
        self.entries.push_back(Entry { logged, lane, next: 0 });
        while self.bytes() > self.most_bytes && !self.entries.is_empty() {
            self.drop_oldest();
        }
        position
    }

    /// The position that the next entry will have.
    pub fn next(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// How many entries it can have.
    pub fn most_entries(&self) -> usize {
        self.most_entries
    }

    /// The operator at a position. `None` if the log does not reach it.
    pub fn get(&self, position: u64) -> Option<&Arc<Logged>> {
        Some(&self.entry(position)?.logged)
    }

    /// What a lane did from `position` on, as far as it was logged as one run.
    pub fn run_from(&self, position: u64) -> impl Iterator<Item = &Arc<Logged>> {
        let mut at = Some(position);
        let lane = self.entry(position).map(|entry| entry.lane);
        std::iter::from_fn(move || {
            let here = at?;
            let entry = self.entry(here).filter(|entry| Some(entry.lane) == lane)?;
            at = (entry.next > 0).then(|| here + u64::from(entry.next));
            Some(&entry.logged)
        })
    }

    /// Memory in use, bytes.
    pub fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
            + self.latest.capacity() * size_of::<u32>()
            + self.operator_bytes
    }

    fn entry(&self, position: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(position.checked_sub(self.first)?).ok()?)
    }

    fn entry_mut(&mut self, position: u64) -> Option<&mut Entry> {
        self.entries.get_mut(usize::try_from(position.checked_sub(self.first)?).ok()?)
    }

    /// `operator` as an earlier entry has it, or a new one for the entry at `position`.
    fn share(&mut self, operator: &Operator, fingerprint: Fingerprint, position: u64) -> Arc<Logged> {
        if self.latest.is_empty() {
            // Zeroed memory costs nothing until it is used.
            self.latest = vec![0; self.most_entries];
        }
        let slot = fingerprint.exact as usize & (self.most_entries - 1);
        let before = self.latest.get(slot).copied().unwrap_or_default();
        if let Some(latest) = self.latest.get_mut(slot) {
            *latest = position as u32;
        }
        let distance = (position as u32).wrapping_sub(before);
        let known = position.checked_sub(u64::from(distance)).and_then(|before| self.get(before));
        if let Some(known) = known
            && known.fingerprint == fingerprint
            && known.operator == *operator
        {
            return known.clone();
        }
        let operator = detached(operator);
        let bytes = ALLOCATED_BYTES + size_of::<Logged>() + outside_bytes(&operator);
        self.operator_bytes += bytes;
        Arc::new(Logged { operator, fingerprint, bytes })
    }

    fn drop_oldest(&mut self) {
        let Some(oldest) = self.entries.pop_front() else { return };
        self.first += 1;
        if Arc::strong_count(&oldest.logged) == 1 {
            self.operator_bytes -= oldest.logged.bytes;
        }
    }
}

/// Counters of an `Arc`.
const ALLOCATED_BYTES: usize = 2 * size_of::<usize>();

/// A copy that shares no memory with `operator`: bytes may be a small part of a large buffer, and the log's memory
/// must be what it says.
fn detached(operator: &Operator) -> Operator {
    let Operator::Launch(launch) = operator else { return operator.clone() };
    let own = |attribute: &LaunchAttribute| LaunchAttribute {
        id: attribute.id,
        value: Bytes::copy_from_slice(&attribute.value),
    };
    Operator::Launch(Launch {
        attributes: launch.attributes.iter().map(own).collect(),
        params: Bytes::copy_from_slice(&launch.params),
        ..*launch
    })
}

/// Memory of an operator besides itself, bytes. Only operators that repeat are logged, and of these only launches
/// have any.
fn outside_bytes(operator: &Operator) -> usize {
    let Operator::Launch(launch) = operator else { return 0 };
    let attributes = launch.attributes.iter().map(|attribute| attribute.value.len());
    launch.params.len() + launch.attributes.len() * size_of::<LaunchAttribute>() + attributes.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::operator::Handle;

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

    proptest! {
        #[test]
        fn it_holds_the_latest_operators_of_each_lane_within_its_bounds(
            calls in proptest::collection::vec((0..3_u32, 0..40_u64, 0..300_usize), 1..400),
            (most, most_bytes) in (1..200_usize, 500..40_000_usize),
        ) {
            let mut log = OperatorLog::new(most, most_bytes);
            let mut latest: HashMap<u32, u64> = HashMap::new();
            let mut all = Vec::new();
            for (lane, id, size) in calls {
                let operator = operator(id, size);
                let position = log.push(lane, &operator, Fingerprint::of(&operator), latest.get(&lane).copied());
                prop_assert_eq!(position, all.len() as u64);
                latest.insert(lane, position);
                all.push((lane, operator));
                prop_assert!(log.bytes() <= most_bytes.max(log.most_entries() * ENTRY_BYTES + 64), "{} bytes", log.bytes());
            }
            let held: usize = {
                let mut distinct: HashMap<*const Logged, usize> = HashMap::new();
                (0..log.next()).filter_map(|at| log.get(at)).for_each(|logged| {
                    distinct.insert(Arc::as_ptr(logged), logged.bytes);
                });
                distinct.values().sum()
            };
            prop_assert_eq!(log.operator_bytes, held);
            for (at, (lane, operator)) in all.iter().enumerate() {
                let Some(logged) = log.get(at as u64) else { continue };
                prop_assert_eq!(&logged.operator, operator);
                let run: Vec<_> = log.run_from(at as u64).map(|logged| &logged.operator).collect();
                let expected: Vec<_> =
                    all.iter().skip(at).filter(|(other, _)| other == lane).map(|(_, operator)| operator).collect();
                prop_assert_eq!(run, expected);
            }
        }
    }

    #[test]
    fn what_repeats_is_shared() {
        let mut log = OperatorLog::new(1024, 1 << 20);
        for id in (0..50).cycle().take(500) {
            let operator = operator(id, 200);
            log.push(0, &operator, Fingerprint::of(&operator), None);
        }
        assert!(Arc::ptr_eq(log.get(499).unwrap(), log.get(49).unwrap()));
    }

    #[test]
    fn an_operator_larger_than_the_log_is_gone_at_once() {
        let mut log = OperatorLog::new(64, 4096);
        let operator = operator(1, 5000);
        assert_eq!(log.push(0, &operator, Fingerprint::of(&operator), None), 0);
        assert!(log.get(0).is_none());
        assert_eq!(log.next(), 1);
    }
}
