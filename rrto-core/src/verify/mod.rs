//! The recorder: takes what a program does, gives the sequences that it is proven to repeat.
//!
//! A phrase that the [search](crate::search) takes for one is compared with its earlier occurrences here, operator by
//! operator. An operator of a [`Sequence`] is one of
//! - *constant*: equal in every occurrence,
//! - *input* or *output slot*: a copy from or to the host; equal too, and only the payload differs,
//! - *patched*: a launch whose geometry or parameters differ, within limits.
//!
//! The recorder is called with every operator that is not replayed, so noting one is cheap
//! ([`Recorder::handle_operator`]) and all that takes longer is left for when a thread is about to wait anyway
//! ([`Recorder::poll_sequence`]).

mod candidate;

use std::collections::VecDeque;

pub use candidate::{BYTES_A_PATCH_BYTE, MAX_PATCH_BYTES, MIN_PATCH_BYTES, Rejection, verify};

use crate::graph::{ALLOCATION_BYTES, MAX_ALLOCATIONS, Memory};
use crate::log::OperatorLog;
use crate::operator::{Operator, Sequence};
use crate::search::Search;

/// How much a recorder remembers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecorderLimits {
    /// Operators in the log, rounded down to a power of two. A phrase is at most a quarter of it.
    pub log_operators: usize,
    /// Memory of the log, bytes.
    pub log_bytes: usize,
    /// Phrases, exact ones and shapes each.
    pub phrases: usize,
}

impl Default for RecorderLimits {
    /// Four inferences of a large detection model, or four texts of 25 tokens of a language model, in a robot's process.
    fn default() -> Self {
        RecorderLimits { log_operators: 32 << 10, log_bytes: 8 << 20, phrases: 1024 }
    }
}

impl RecorderLimits {
    /// The log's memory is at least this, bytes.
    const MIN_LOG_BYTES: usize = 4 << 10;

    /// The most memory that a recorder with these limits keeps, bytes.
    pub fn most_bytes(&self) -> usize {
        self.log_bytes.max(Self::MIN_LOG_BYTES)
            + Search::most_bytes(self.phrases)
            + MAX_ALLOCATIONS * ALLOCATION_BYTES
            + MAX_REJECTED * size_of::<Rejected>()
    }
}

/// A proven sequence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// As it was in its latest occurrence.
    pub sequence: Sequence,
    /// Places whose launch was not the same in every occurrence compared, in order.
    pub patched: Vec<u32>,
    /// How often it has occurred, as far as is remembered.
    pub occurrences: u32,
}

/// A candidate that is no sequence, or not yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{operators} operators of lane {lane}, {occurrences} times, are no sequence: {why}")]
pub struct Rejected {
    /// Whose.
    pub lane: u32,
    /// Its length.
    pub operators: u32,
    /// How often it has occurred.
    pub occurrences: u32,
    /// Why it is none.
    pub why: Rejection,
}

/// Rejections kept for whoever asks; of more, the latest.
const MAX_REJECTED: usize = 16;

/// A program that has repeated nothing in so many logs' worth of operators is looked at less often. Two are four times the longest
/// sequence.
const FRUITLESS_LOGS: u64 = 2;

/// Then the operators of one log in so many are recorded. A program whose inferences grow, as a language model's do, hardly
/// pays for being looked at; one that begins to repeat itself is noticed a few seconds later.
const LOOKED_AT_ONE_IN: u64 = 8;

/// Finds the sequences in what a program does. Nothing in it knows of time, threads or the program's memory.
#[derive(Debug)]
pub struct Recorder {
    search: Search,
    memory: Memory,
    rejected: VecDeque<Rejected>,
    /// Operators of the log, as a power of two.
    log_bits: u32,
    /// Operators since the last sequence was found, or the last operator that never is in one.
    fruitless: u64,
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new(RecorderLimits::default())
    }
}

impl Recorder {
    /// A recorder that has seen nothing.
    pub fn new(limits: RecorderLimits) -> Self {
        let log_bytes = limits.log_bytes.max(RecorderLimits::MIN_LOG_BYTES);
        Recorder {
            search: Search::new(OperatorLog::new(limits.log_operators, log_bytes), limits.phrases),
            memory: Memory::default(),
            rejected: VecDeque::new(),
            log_bits: limits.log_operators.max(1).ilog2(),
            fruitless: 0,
        }
    }

    /// `lane` has submitted `operator`. If it `waits`, the program waits for the answer, which ends the phrase.
    ///
    /// Takes amortised constant time, about that of hashing the operator: this is on the program's path.
    pub fn handle_operator(&mut self, lane: u32, operator: &Operator, waits: bool) {
        // What makes or frees something may begin something new: another model, another shape.
        self.fruitless = if operator.repeats() { self.fruitless + 1 } else { 0 };
        if self.is_resting() {
            // What is recorded later does not follow on it.
            self.search.handle_break(lane);
        } else {
            self.search.handle_operator(lane, operator, waits);
        }
    }

    /// Whether this operator is one of those that are left out.
    fn is_resting(&self) -> bool {
        let logs = self.fruitless >> self.log_bits;
        logs >= FRUITLESS_LOGS && !logs.is_multiple_of(LOOKED_AT_ONE_IN)
    }

    /// What `lane` does next does not follow on what it has done, and what it was in the middle of is no phrase: a
    /// run of a sequence took over, or there was an error.
    pub fn handle_break(&mut self, lane: u32) {
        self.search.handle_break(lane);
    }

    /// The program has got device memory: `bytes` bytes from `address` on.
    pub fn handle_allocated(&mut self, address: u64, bytes: u64) {
        self.memory.handle_allocated(address, bytes);
    }

    /// The program has given back the device memory at `address`.
    pub fn handle_freed(&mut self, address: u64) {
        self.memory.handle_freed(address);
    }

    /// Does a bounded piece of what was left to do, which is to verify one candidate; gives a sequence if that made
    /// one. To be called when a thread is about to wait.
    ///
    /// A sequence that goes on to occur outside of replay is given again, after twice as many occurrences each time:
    /// whoever has forgotten it gets another chance, and whoever has not can pass over it.
    pub fn poll_sequence(&mut self) -> Option<Found> {
        let candidate = self.search.poll_candidate()?;
        match verify(&candidate, self.search.log(), &self.memory) {
            Ok(found) => {
                self.fruitless = 0;
                Some(found)
            }
            Err(why) => {
                if self.rejected.len() >= MAX_REJECTED {
                    self.rejected.pop_front();
                }
                let (lane, operators, occurrences) =
                    (candidate.lane, candidate.length, candidate.occurrences);
                self.rejected.push_back(Rejected { lane, operators, occurrences, why });
                None
            }
        }
    }

    /// Candidates that [`Recorder::poll_sequence`] has found to be none, for the log. Only the latest are kept.
    pub fn poll_rejected(&mut self) -> Option<Rejected> {
        self.rejected.pop_front()
    }

    /// Memory kept, bytes.
    pub fn bytes(&self) -> usize {
        self.search.bytes() + self.memory.bytes() + self.rejected.capacity() * size_of::<Rejected>()
    }
}

#[cfg(test)]
mod tests;
