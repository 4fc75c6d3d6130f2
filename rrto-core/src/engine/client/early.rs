//! A copy to the host that is asked for before the program calls it.
//!
//! Where a run has come to a short copy to the host, its bytes are asked for together with the operators before it: the
//! program still has to return from the launch of the last kernel and to call the copy, and finds the bytes nearer, or
//! there.
//!
//! A copy to the host changes nothing on the server, so one that is asked for in vain does no harm. It reads what it would
//! read later because nothing comes between: the program gets its bytes only if the copy is the very next
//! operator of the session, of whatever lane; and none is asked for while another answer is awaited, from which the program may
//! learn that work of another stream is over which the copy has to come after.

use std::collections::BTreeSet;

use crate::operator::{Operator, Outcome, SequenceId};

/// A copy that the program has not called yet.
#[derive(Debug)]
pub(super) struct Copy {
    pub(super) number: u64,
    pub(super) lane: u32,
    pub(super) operator: Operator,
    /// Of the run that it belongs to.
    pub(super) sequence: SequenceId,
    /// Its answer, if that has come.
    pub(super) outcome: Option<Outcome>,
}

impl Copy {
    /// Whether this is the call of it.
    pub(super) fn is(&self, lane: u32, operator: &Operator) -> bool {
        self.lane == lane && self.operator == *operator
    }
}

/// Copies that were asked for early.
#[derive(Debug, Default)]
pub(super) struct Early {
    copy: Option<Copy>,
    /// Numbers of those that the program has not called, and that are not answered.
    unwanted: BTreeSet<u64>,
}

impl Early {
    pub(super) fn handle_asked(&mut self, copy: Copy) {
        self.copy = Some(copy);
    }

    /// The one that the program has not called, if there is one.
    pub(super) fn take(&mut self) -> Option<Copy> {
        self.copy.take()
    }

    /// The program will not call the copy of this number.
    pub(super) fn handle_unwanted(&mut self, number: u64) {
        self.unwanted.insert(number);
    }

    /// Whether this was the answer to a copy that the program has not called, and will not.
    pub(super) fn is_unwanted(&mut self, number: u64) -> bool {
        self.unwanted.remove(&number)
    }

    /// Keeps an answer that the program has yet to ask for; gives back any other.
    pub(super) fn keep(&mut self, number: u64, outcome: Outcome) -> Option<Outcome> {
        match self.copy.as_mut().filter(|copy| copy.number == number) {
            Some(copy) => {
                copy.outcome = Some(outcome);
                None
            }
            None => Some(outcome),
        }
    }
}
