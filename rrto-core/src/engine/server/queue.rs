//! What has arrived and is not executed, in order, and the sequences that it is told in.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::{Payload, Ready, Work};
use crate::operator::{
    MAX_SEQUENCE_OPERATORS, MAX_SEQUENCES, MAX_SEQUENCES_BYTES, Operator, Patch, Sequence, SequenceId, Span,
};
use crate::wire::repeat::{Decoder, Record};
use crate::wire::{INLINE_PAYLOAD_BYTES, WireError};

/// Something that takes a number, or several.
#[derive(Debug)]
enum Item {
    Operator(Ready),
    /// What is left of an Advance. Not expanded before its turn: a few bytes can stand for very many operators.
    Advance(Advance),
    /// Done when it arrived, but it has a number.
    Define {
        number: u64,
    },
    Retire {
        number: u64,
        id: SequenceId,
        bytes: u64,
    },
}

#[derive(Debug)]
struct Advance {
    first: u64,
    sequence: Arc<Sequence>,
    span: Span,
    /// Inline payloads of its slots.
    payloads: Bytes,
    patch_bytes: u64,
}

/// Operators in the order of their numbers.
#[derive(Debug, Default)]
pub(super) struct Queue {
    items: VecDeque<Item>,
    /// Of payloads and patches.
    bytes: u64,
    /// Those that are defined and not retired.
    sequences: HashMap<SequenceId, Arc<Sequence>>,
    /// Sequences that are defined and whose retirement has not been executed, and the bytes of them.
    held: usize,
    held_bytes: u64,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// Bytes of payloads and patches.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn clear(&mut self) {
        self.items.clear();
        self.bytes = 0;
    }

    pub(super) fn push_operator(&mut self, number: u64, record: Record, payload: Option<Bytes>) {
        let payload = payload.map(Payload::from);
        self.bytes += payload.as_ref().map_or(0, Payload::bytes);
        let Record { lane, wants_answer, operator } = record;
        self.items.push_back(Item::Operator(Ready { number, lane, wants_answer, operator, payload }));
    }

    /// A new sequence.
    pub(super) fn push_define(
        &mut self,
        number: u64,
        id: SequenceId,
        lane: u32,
        operators: Vec<Operator>,
    ) -> Result<(), WireError> {
        let sequence = Sequence::new(lane, operators).map_err(|what| WireError::Limit { what })?;
        if self.held >= MAX_SEQUENCES || self.held_bytes + sequence.bytes() > MAX_SEQUENCES_BYTES {
            return Err(WireError::Limit { what: "sequences of a session" });
        }
        self.held += 1;
        self.held_bytes += sequence.bytes();
        if self.sequences.insert(id, Arc::new(sequence)).is_some() {
            return Err(WireError::Unexpected { what: "definition of a sequence that there is" });
        }
        self.items.push_back(Item::Define { number });
        Ok(())
    }

    pub(super) fn push_retire(&mut self, number: u64, id: SequenceId) -> Result<(), WireError> {
        let Some(sequence) = self.sequences.remove(&id) else {
            return Err(WireError::Unexpected { what: "retirement of a sequence that there is not" });
        };
        self.items.push_back(Item::Retire { number, id, bytes: sequence.bytes() });
        Ok(())
    }

    pub(super) fn push_advance(&mut self, first: u64, span: Span, payloads: Bytes) -> Result<(), WireError> {
        let Some(sequence) = self.sequences.get(&span.sequence) else {
            return Err(WireError::Unexpected { what: "span of a sequence that there is not" });
        };
        sequence.check(&span).map_err(|what| WireError::Malformed { what })?;
        let slots = sequence.slots_within(span.from, span.end()).iter();
        let operators = slots.filter_map(|at| sequence.operators().get(*at as usize));
        let inline_bytes: u64 = operators.filter_map(inline_bytes).sum();
        if inline_bytes != payloads.len() as u64 {
            return Err(WireError::Malformed { what: "inline payloads: not of their slots' lengths" });
        }
        let patch_bytes = span.patches.iter().map(Patch::memory_bytes).sum();
        self.bytes += inline_bytes + patch_bytes;
        let sequence = sequence.clone();
        self.items.push_back(Item::Advance(Advance { first, sequence, span, payloads, patch_bytes }));
        Ok(())
    }

    /// The next that has everything it needs; `bulk` has the bulk payloads that have arrived. `None` if there is none.
    pub(super) fn poll(&mut self, bulk: &mut HashMap<u64, Payload>) -> Result<Option<Next>, WireError> {
        let next = match self.items.front_mut() {
            None => return Ok(None),
            Some(Item::Operator(ready)) => {
                if !take_payload(ready, bulk)? {
                    return Ok(None);
                }
                let Some(Item::Operator(ready)) = self.items.pop_front() else { return Ok(None) };
                Next::of(ready)
            }
            Some(Item::Advance(advance)) => {
                let Some(next) = advance.poll(bulk)? else { return Ok(None) };
                if advance.span.count == 0 {
                    self.bytes -= advance.patch_bytes;
                    self.items.pop_front();
                }
                next
            }
            Some(&mut Item::Define { number }) => {
                self.items.pop_front();
                Next { through: number, work: None }
            }
            Some(&mut Item::Retire { number, id, bytes }) => {
                self.items.pop_front();
                self.held -= 1;
                self.held_bytes -= bytes;
                Next { through: number, work: Some(Work::Retire(id)) }
            }
        };
        self.bytes -= next.inline_bytes();
        Ok(Some(next))
    }
}

/// What comes next.
#[derive(Debug)]
pub(super) struct Next {
    /// The last number that it takes.
    pub(super) through: u64,
    /// What an executor has to do for it.
    pub(super) work: Option<Work>,
}

impl Next {
    fn of(ready: Ready) -> Self {
        Next { through: ready.number, work: Some(Work::Operator(ready)) }
    }

    fn inline_bytes(&self) -> u64 {
        match &self.work {
            Some(Work::Operator(ready)) => inline_bytes(&ready.operator).unwrap_or(0),
            _ => 0,
        }
    }
}

impl Advance {
    /// Takes the next operator off, if it is a slot, or all up to the next slot. `None` if a payload is missing.
    fn poll(&mut self, bulk: &mut HashMap<u64, Payload>) -> Result<Option<Next>, WireError> {
        let Advance { first, sequence, span, payloads, .. } = self;
        let (from, end) = (span.from, span.end());
        let next_slot = sequence.slots_within(from, end).first().copied();
        if next_slot == Some(from) {
            let Some(operator) = sequence.operators().get(from as usize).cloned() else { return Ok(None) };
            // `push_advance` has seen that the payloads are as long as their slots say.
            let payload = inline_bytes(&operator).map(|bytes| {
                payloads.split_to(payloads.len().min(usize::try_from(bytes).unwrap_or(0))).into()
            });
            let (lane, wants_answer) = (sequence.lane(), operator.needs_answer());
            let mut ready = Ready { number: *first, lane, wants_answer, operator, payload };
            if !take_payload(&mut ready, bulk)? {
                return Ok(None);
            }
            self.pass(from + 1);
            return Ok(Some(Next::of(ready)));
        }
        let until = next_slot.unwrap_or(end);
        let (first, sequence) = (*first, sequence.clone());
        let part = span.part(from..until);
        self.pass(until);
        Ok(Some(Next { through: self.first - 1, work: Some(Work::Span { first, sequence, span: part }) }))
    }

    fn pass(&mut self, until: u32) {
        let count = until - self.span.from;
        self.first += u64::from(count);
        self.span.from = until;
        self.span.count -= count;
    }
}

/// Length of the payload that travels in the control stream with this operator.
fn inline_bytes(operator: &Operator) -> Option<u64> {
    operator.payload_bytes().filter(|bytes| *bytes <= INLINE_PAYLOAD_BYTES)
}

/// Gives an operator its bulk payload, if it takes one. Whether it now has what it needs.
fn take_payload(ready: &mut Ready, bulk: &mut HashMap<u64, Payload>) -> Result<bool, WireError> {
    let Some(bytes) = ready.operator.payload_bytes() else { return Ok(true) };
    if ready.payload.is_none() {
        ready.payload = bulk.remove(&ready.number);
    }
    match &ready.payload {
        None => Ok(false),
        Some(payload) if payload.bytes() == bytes => Ok(true),
        Some(_) => Err(WireError::Malformed { what: "bulk payload: not of its operator's length" }),
    }
}

/// The operators of a Define of `lane`.
pub(super) fn decode_sequence(
    decoder: &mut Decoder,
    lane: u32,
    mut coded: Bytes,
) -> Result<Vec<Operator>, WireError> {
    let mut operators = Vec::new();
    while !coded.is_empty() {
        if operators.len() >= MAX_SEQUENCE_OPERATORS {
            return Err(WireError::Limit { what: "operators of a sequence" });
        }
        let record = decoder.decode_record(&mut coded)?;
        if record.lane != lane || record.wants_answer != record.operator.needs_answer() {
            return Err(WireError::Malformed { what: "operator of a sequence" });
        }
        operators.push(record.operator);
    }
    Ok(operators)
}
