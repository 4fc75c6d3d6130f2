//! Queries that are not settled. In place of a query that the server would answer with "not ready" travels, once, the
//! synchronisation that it stands for; nobody blocks on it, and until it is answered every query is answered here. CUDA
//! promises no time by which a query must see that work has completed, so a program that polls costs no round trips.

use std::collections::{HashMap, HashSet};

use crate::operator::Operator;

/// Synchronisations that nobody blocks on.
#[derive(Debug, Default)]
pub(super) struct Watches {
    /// The latest of each.
    latest: HashMap<Operator, u64>,
    /// All that are not answered.
    numbers: HashSet<u64>,
}

impl Watches {
    /// Whether one that was submitted after `number` is still to be answered.
    pub(super) fn is_outstanding(&self, synchronisation: &Operator, number: u64) -> bool {
        self.latest.get(synchronisation).is_some_and(|latest| *latest > number)
    }

    pub(super) fn handle_submitted(&mut self, number: u64, synchronisation: Operator) {
        self.latest.insert(synchronisation, number);
        self.numbers.insert(number);
    }

    /// Whether this was the answer to one.
    pub(super) fn handle_answered(&mut self, number: u64, synchronisation: &Operator) -> bool {
        let was_outstanding = self.numbers.remove(&number);
        if was_outstanding && self.latest.get(synchronisation) == Some(&number) {
            self.latest.remove(synchronisation);
        }
        was_outstanding
    }
}
