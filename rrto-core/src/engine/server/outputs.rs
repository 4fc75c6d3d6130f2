//! Answers and their payloads, kept until the client has them.

use std::collections::{BTreeMap, HashSet, VecDeque};

use bytes::Bytes;

use crate::api::CuResult;
use crate::operator::{Outcome, Value};
use crate::wire::{Answer, INLINE_PAYLOAD_BYTES, ServerFrame, put_frame};

/// Counted for each answer beside its bytes: about what keeping it takes.
const ANSWER_BYTES: u64 = 64;

/// A frame, as it travels.
#[derive(Debug)]
pub(super) struct Coded {
    pub(super) bytes: Box<[u8]>,
    /// The operator whose payload goes with it.
    pub(super) bulk: Option<u64>,
}

/// What the client has not confirmed. An answer's *place* is how many were made before it.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    frames: VecDeque<Coded>,
    /// Place of the first of them.
    first: u64,
    /// Bulk payloads by operator, with the place of their answers.
    payloads: BTreeMap<u64, (u64, Bytes)>,
    bytes: u64,
}

impl Outputs {
    /// About what is kept.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The place of the next answer.
    pub(super) fn end(&self) -> u64 {
        self.first + self.frames.len() as u64
    }

    /// The answer to an operator that wants one. One over the wire's limits becomes an error.
    pub(super) fn push_reply(&mut self, number: u64, outcome: Outcome) {
        let answer = match outcome {
            Ok(Value::Payload(bytes)) if bytes.len() as u64 > INLINE_PAYLOAD_BYTES => {
                let length = bytes.len() as u64;
                self.bytes += length;
                self.payloads.insert(number, (self.end(), bytes));
                return self
                    .push(ServerFrame::Reply { number, outcome: Ok(Answer::Bulk(length)) }, Some(number));
            }
            Ok(value) => Ok(Answer::Value(value)),
            Err(result) => Err(result),
        };
        self.push(ServerFrame::Reply { number, outcome: answer }, None);
    }

    /// The failure of one that wants none.
    pub(super) fn push_failure(&mut self, number: u64, result: CuResult) {
        self.push(ServerFrame::Failed { number, result }, None);
    }

    fn push(&mut self, frame: ServerFrame, bulk: Option<u64>) {
        let mut bytes = Vec::new();
        if put_frame(&frame, &mut bytes).is_err()
            && let ServerFrame::Reply { number, .. } = frame
        {
            // An error is always short enough.
            let outcome = Err(CuResult::NOT_SUPPORTED);
            let _ = put_frame(&ServerFrame::Reply { number, outcome }, &mut bytes);
        }
        self.bytes += bytes.len() as u64 + ANSWER_BYTES;
        self.frames.push_back(Coded { bytes: bytes.into(), bulk });
    }

    /// The answer at `place`, or the next one that is kept, and its place.
    pub(super) fn get(&self, place: u64) -> Option<(u64, &Coded)> {
        let place = place.max(self.first);
        let coded = self.frames.get(usize::try_from(place - self.first).ok()?)?;
        Some((place, coded))
    }

    pub(super) fn has_payloads(&self) -> bool {
        !self.payloads.is_empty()
    }

    pub(super) fn payload(&self, number: u64) -> Option<&Bytes> {
        self.payloads.get(&number).map(|(_, bytes)| bytes)
    }

    /// The client has all answers before `through`, and their payloads but those of `missing`.
    pub(super) fn handle_received(&mut self, through: u64, missing: &HashSet<u64>) {
        let through = through.min(self.end());
        while self.first < through
            && let Some(known) = self.frames.pop_front()
        {
            self.first += 1;
            self.bytes -= known.bytes.len() as u64 + ANSWER_BYTES;
        }
        let Outputs { payloads, bytes, .. } = self;
        payloads.retain(|number, (place, payload)| {
            let is_kept = *place >= through || missing.contains(number);
            *bytes -= if is_kept { 0 } else { payload.len() as u64 };
            is_kept
        });
    }
}
