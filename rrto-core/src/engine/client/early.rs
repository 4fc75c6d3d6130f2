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

use super::Client;
use crate::operator::{Operator, Outcome, SequenceId};
use crate::replay::Step;
use crate::wire::INLINE_PAYLOAD_BYTES;

/// Whether a copy of so many bytes may be asked for early: they come with the answer, and are held until the program
/// calls for them.
pub(super) fn is_short(bytes: u64) -> bool {
    bytes <= INLINE_PAYLOAD_BYTES
}

/// A copy that the program has not called yet.
#[derive(Debug)]
struct Copy {
    number: u64,
    lane: u32,
    operator: Operator,
    /// Of the run that it belongs to.
    sequence: SequenceId,
    /// Its answer, if that has come.
    outcome: Option<Outcome>,
}

impl Copy {
    /// Whether this is the call of it.
    fn is(&self, lane: u32, operator: &Operator) -> bool {
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
    /// Whether the program may be about to call a copy that was asked for.
    pub(super) fn is_asked(&self) -> bool {
        self.copy.is_some()
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

impl Client {
    /// Asks for the copy to the host that `lane` is about to call.
    pub(super) fn ask_early(&mut self, lane: u32) {
        if self.answers.are_awaited() || self.outbox.is_full(0) {
            return;
        }
        let Some((checked, operator)) = self.replay.upcoming(lane) else { return };
        let (sequence, operator) = (checked.id, operator.clone());
        let number = self.outbox.extend_span(checked, None);
        self.answers.ask(number, operator.clone());
        self.early.copy = Some(Copy { number, lane, operator, sequence, outcome: None });
    }

    /// The number of this operator, if it was asked for early. Whatever else it is, what was asked for is not wanted.
    pub(super) fn take_early(&mut self, lane: u32, operator: &Operator) -> Option<u64> {
        let copy = self.early.copy.take()?;
        if !copy.is(lane, operator) {
            self.give_up(lane, copy);
            return None;
        }
        // Its sequence may have been retired meanwhile. It is what the program calls nevertheless.
        if let Step::Recorded = self.replay.handle_operator(lane, operator) {
            self.push_retired();
        }
        self.progress.handle_submitted(copy.number, operator);
        if let Some(outcome) = copy.outcome {
            self.show(copy.number, operator, outcome);
        }
        Some(copy.number)
    }

    /// The call of `lane` is answered in another way than with what was asked for.
    pub(super) fn give_up_early(&mut self, lane: u32) {
        if let Some(copy) = self.early.copy.take() {
            self.give_up(lane, copy);
        }
    }

    /// `lane` has called something else than this copy.
    fn give_up(&mut self, lane: u32, copy: Copy) {
        if copy.lane == lane {
            self.replay.handle_astray(copy.sequence);
        }
        match copy.outcome {
            None => drop(self.early.unwanted.insert(copy.number)),
            Some(Err(result)) => self.note_failure(result, true),
            Some(Ok(_)) => {}
        }
    }
}
