//! Copies to the host whose bytes are still to come.
//!
//! A copy into pageable memory is waited for before its call returns. A copy into pinned memory goes on after its
//! call: its destination is kept here until the program waits for it, frees the memory, or wants the bytes for another
//! copy. The transport thread writes through [`ProgramMemory`]; once a destination is forgotten, nothing writes there.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use rrto_core::api::CuResult;
use rrto_core::operator::Handle;
use rrto_quic::ProgramMemory;

use crate::marshal::Destination;

/// So many copies into pinned memory may be outstanding; a further one waits for the oldest. Bounds the memory of a
/// program that looks at its buffers without ever waiting in a way that CUDA sees.
pub(super) const OUTSTANDING_MAX: usize = 1024;

/// Where the bytes of outstanding copies go, by operator number.
#[derive(Debug, Default)]
pub(crate) struct Deliveries {
    state: Mutex<State>,
    /// Some delivery was forgotten.
    settled: Condvar,
}

#[derive(Debug, Default)]
struct State {
    expected: BTreeMap<u64, Delivery>,
    /// The first error of a copy that nobody was waiting for.
    failed: Option<CuResult>,
}

#[derive(Debug)]
struct Delivery {
    destination: Destination,
    stream: Handle,
    /// A thread waits for it, and will forget it. Outcomes are given once.
    claimed: bool,
}

/// Who waits for a delivery.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Claim {
    /// The caller has to wait for the outcome, and then forget the delivery.
    Mine,
    /// Another thread did; it is over now.
    Over,
}

impl Deliveries {
    /// Notes where the bytes of a copy go; `claimed` if the caller is going to wait for it in any case.
    pub(super) fn expect(&self, number: u64, destination: Destination, stream: Handle, claimed: bool) {
        self.lock().expected.insert(number, Delivery { destination, stream, claimed });
    }

    /// Makes the caller the one who waits for a delivery; if another thread is, waits until that one is done.
    pub(super) fn claim(&self, number: u64) -> Claim {
        let mut state = self.lock();
        loop {
            match state.expected.get_mut(&number) {
                None => return Claim::Over,
                Some(delivery) if !delivery.claimed => {
                    delivery.claimed = true;
                    return Claim::Mine;
                }
                // The other thread's wait is bounded, by the link.
                Some(_) => state = self.settled.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// Nothing more is written for this number.
    pub(super) fn forget(&self, number: u64) {
        self.lock().expected.remove(&number);
        self.settled.notify_all();
    }

    /// Keeps an error for the next call that waits.
    pub(super) fn fail(&self, error: CuResult) {
        self.lock().failed.get_or_insert(error);
    }

    /// Takes the error that was kept.
    pub(super) fn take_failure(&self) -> Option<CuResult> {
        self.lock().failed.take()
    }

    /// Copies that write into `range`.
    pub(super) fn overlapping(&self, range: &Range<usize>) -> Vec<u64> {
        self.chosen(|_, delivery| {
            let destination = delivery.destination.range();
            destination.start < range.end && range.start < destination.end
        })
    }

    /// Copies on `stream` up to the operator `last`. The legacy stream comes after all that blocking streams do, so
    /// it stands for every stream.
    pub(super) fn on_stream(&self, stream: Handle, last: u64) -> Vec<u64> {
        self.chosen(|number, delivery| {
            number <= last && (stream == Handle::LEGACY_STREAM || delivery.stream == stream)
        })
    }

    /// The latest outstanding copy.
    pub(super) fn latest(&self) -> Option<u64> {
        self.lock().expected.last_key_value().map(|(number, _)| *number)
    }

    /// The oldest outstanding copy, if there are too many.
    pub(super) fn excess(&self) -> Option<u64> {
        let state = self.lock();
        if state.expected.len() < OUTSTANDING_MAX {
            return None;
        }
        state.expected.first_key_value().map(|(number, _)| *number)
    }

    fn chosen(&self, mut chosen: impl FnMut(u64, &Delivery) -> bool) -> Vec<u64> {
        let state = self.lock();
        let matching = state.expected.iter().filter(|(number, delivery)| chosen(**number, delivery));
        matching.map(|(number, _)| *number).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic cannot leave the map half changed: each change is a single operation on it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ProgramMemory for Deliveries {
    fn deliver(&self, number: u64, offset: u64, bytes: &[u8]) {
        // Under the lock, so that who forgets a delivery knows that nothing is being written for it.
        let state = self.lock();
        if let (Some(delivery), Ok(offset)) = (state.expected.get(&number), usize::try_from(offset)) {
            delivery.destination.write(offset, bytes);
        }
    }
}
