//! Answers on their way to the calls that wait for them. One becomes visible only after every payload that was sent
//! before it has been delivered.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use bytes::Bytes;

use super::channel::Confirmed;
use crate::api::CuResult;
use crate::operator::{Operator, Outcome, Value};
use crate::wire::{Answer, WireError};

/// An answer that is in order to become visible, once the payloads before it have been delivered.
#[derive(Debug)]
struct Held {
    number: u64,
    /// Its place among all answers.
    place: u64,
    outcome: Outcome,
    /// Its own bulk payload has not arrived yet.
    awaits_bulk: bool,
}

#[derive(Debug, Default)]
pub(super) struct Answers {
    /// Operators whose answer is awaited.
    asked: BTreeMap<u64, Operator>,
    held: VecDeque<Held>,
    /// Bulk payloads that arrived before the reply that announces them.
    early_bulk: HashSet<u64>,
    /// What calls have yet to take.
    visible: HashMap<u64, Outcome>,
    /// Answers that have come, failures counted in, and the bytes of bulk payloads.
    come: Confirmed,
}

impl Answers {
    /// The answer to this operator is awaited.
    pub(super) fn ask(&mut self, number: u64, operator: Operator) {
        self.asked.insert(number, operator);
    }

    pub(super) fn is_awaited(&self, number: u64) -> bool {
        self.asked.contains_key(&number)
    }

    /// Whether any answer is still to come.
    pub(super) fn are_awaited(&self) -> bool {
        !self.asked.is_empty()
    }

    /// The length of the bulk payload that may come under this number.
    pub(super) fn awaited_payload(&self, number: u64) -> Option<u64> {
        match self.asked.get(&number) {
            Some(Operator::CopyOut { bytes, .. }) => Some(*bytes),
            _ => None,
        }
    }

    /// How many answers have come.
    pub(super) fn count(&self) -> u64 {
        self.come.answers
    }

    /// An answer has come that no call waits for.
    pub(super) fn handle_failed(&mut self) {
        self.come.answers += 1;
    }

    /// Up to where answers have come with their payloads, so that nobody has to send them again.
    pub(super) fn confirmed(&self) -> Confirmed {
        let answers = self.held.front().map_or(self.come.answers, |held| held.place);
        Confirmed { answers, ..self.come }
    }

    /// Answers that have come without their bulk payloads, by their operators' numbers.
    pub(super) fn missing_payloads(&self) -> Vec<u64> {
        self.held.iter().filter(|held| held.awaits_bulk).map(|held| held.number).collect()
    }

    /// Bulk payloads that have come without their answers, by their operators' numbers.
    pub(super) fn early_payloads(&self) -> Vec<u64> {
        self.early_bulk.iter().copied().collect()
    }

    pub(super) fn handle_reply(
        &mut self,
        number: u64,
        outcome: Result<Answer, CuResult>,
    ) -> Result<(), WireError> {
        let known = self.is_awaited(number) && !self.held.iter().any(|held| held.number == number);
        if !known {
            return Err(WireError::Unexpected { what: "reply to an operator that wants none" });
        }
        let (outcome, awaits_bulk) = match outcome {
            Ok(Answer::Value(value)) => (Ok(value), false),
            Ok(Answer::Bulk(_)) => (Ok(Value::None), !self.early_bulk.remove(&number)),
            Err(result) => (Err(result), false),
        };
        self.held.push_back(Held { number, place: self.come.answers, outcome, awaits_bulk });
        self.come.answers += 1;
        Ok(())
    }

    /// The bulk payload of an operator that awaits one has come.
    pub(super) fn handle_payload_delivered(&mut self, number: u64) {
        self.come.bytes += self.awaited_payload(number).unwrap_or(0);
        match self.held.iter_mut().find(|held| held.number == number) {
            Some(held) => held.awaits_bulk = false,
            None => drop(self.early_bulk.insert(number)),
        }
    }

    /// The next answer that nothing holds back, with its number and operator.
    pub(super) fn poll(&mut self) -> Option<(u64, Operator, Outcome)> {
        while self.held.front().is_some_and(|held| !held.awaits_bulk)
            && let Some(held) = self.held.pop_front()
        {
            if let Some(operator) = self.asked.remove(&held.number) {
                return Some((held.number, operator, held.outcome));
            }
        }
        None
    }

    /// The call that waits for this number can take its outcome.
    pub(super) fn show(&mut self, number: u64, outcome: Outcome) {
        self.visible.insert(number, outcome);
    }

    /// Takes an outcome.
    pub(super) fn take(&mut self, number: u64) -> Option<Outcome> {
        self.visible.remove(&number)
    }

    /// No answer will come any more: every call that waits for one gets this error.
    pub(super) fn fail(&mut self, result: CuResult) {
        self.held.clear();
        for number in std::mem::take(&mut self.asked).into_keys() {
            self.visible.insert(number, Err(result));
        }
    }

    /// Payload bytes of a small answer to a copy, which belong to the program's memory.
    pub(super) fn payload(operator: &Operator, outcome: &mut Outcome) -> Option<Bytes> {
        match (operator, std::mem::replace(outcome, Ok(Value::None))) {
            (Operator::CopyOut { .. }, Ok(Value::Payload(bytes))) => Some(bytes),
            (_, other) => {
                *outcome = other;
                None
            }
        }
    }
}
