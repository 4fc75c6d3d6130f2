//! The server engine: puts what arrives in order, gives each operator to the executor once, and carries outcomes back.

mod channel;
mod outputs;
mod queue;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use super::Payload;
use crate::operator::{MAX_SEQUENCES, Operator, Outcome, Sequence, SequenceId, Span};
use crate::wire::{
    ClientFrame, INLINE_PAYLOAD_BYTES, MAX_RESUME_PAYLOADS, Resume, Resumed, ServerFrame, SessionToken,
    Welcome, WireError, put_frame, truncated,
};
pub use channel::{Channel, Greeting};
use outputs::Outputs;
use queue::Queue;

/// Bounds of what a session may make the server hold.
#[derive(Clone, Copy, Debug)]
pub struct ServerLimits {
    /// Operators and spans that have arrived and are not executed. Past it the driver stops reading, and QUIC's flow
    /// control holds the client back. More than a client may have unacknowledged, so that what it confirms is always read.
    pub queued_operators: usize,
    /// Payload bytes, and those of patches, that have arrived and are not executed. Four times what a client may have
    /// unacknowledged.
    pub payload_bytes: u64,
    /// Answers and payloads that the client has not confirmed. Past it nothing is executed.
    pub output_bytes: u64,
}

impl Default for ServerLimits {
    fn default() -> Self {
        ServerLimits { queued_operators: 128 << 10, payload_bytes: 32 << 20, output_bytes: 32 << 20 }
    }
}

/// Executed operators after which an acknowledgement is due: a small part of what a client may have unacknowledged, and
/// more than most inferences have, so that they cost no acknowledgement beside the one that rides with their output.
const ACKNOWLEDGE_OPERATORS: u64 = 1024;

/// Executed payload bytes after which an acknowledgement is due: the client's copies wait for it.
const ACKNOWLEDGE_BYTES: u64 = 1 << 20;

/// An operator whose turn it is, with everything it needs.
#[derive(Debug, PartialEq, Eq)]
pub struct Ready {
    /// Its number.
    pub number: u64,
    /// The client's host thread.
    pub lane: u32,
    /// Whether an outcome of success has to travel too.
    pub wants_answer: bool,
    /// The call.
    pub operator: Operator,
    /// Its payload.
    pub payload: Option<Payload>,
}

/// What an executor does next.
#[derive(Debug, PartialEq, Eq)]
pub enum Work {
    /// Execute this operator.
    Operator(Ready),
    /// Execute a span of a sequence, which fits it and has no slots. Its operators want no answers: only failures are
    /// told, each under its operator's number.
    Span {
        /// The number of its first operator; the others follow.
        first: u64,
        /// The sequence that it is of.
        sequence: Arc<Sequence>,
        /// Which piece.
        span: Span,
    },
    /// Forget what is kept for a sequence: there will be no span of it any more.
    Retire(SequenceId),
}

/// The server's side of a session.
#[derive(Debug)]
pub struct Server {
    limits: ServerLimits,
    goodbye: bool,
    /// The number that the next new operator has.
    expected: u64,
    /// What comes next, in order; a bulk payload may still be missing.
    queue: Queue,
    /// Bulk payloads that came before their operators' turn.
    payloads: HashMap<u64, Payload>,
    /// Of `payloads`.
    payload_bytes: u64,
    /// All up to here have been executed, or are being.
    issued: u64,
    /// Bytes of their payloads.
    issued_bytes: u64,
    idle: bool,
    /// Operators given out whose outcome is still to come, and whether it has to travel.
    open: HashMap<u64, bool>,
    outputs: Outputs,
    failed: bool,
    ended: Option<String>,
}

impl Server {
    /// A session that nobody has been welcomed to.
    pub fn new(limits: ServerLimits) -> Self {
        Server {
            limits,
            goodbye: false,
            expected: 1,
            queue: Queue::default(),
            payloads: HashMap::new(),
            payload_bytes: 0,
            issued: 0,
            issued_bytes: 0,
            idle: false,
            open: HashMap::new(),
            outputs: Outputs::default(),
            failed: false,
            ended: None,
        }
    }

    /// Whether the client has said goodbye. What [`Server::poll_ready`] can still give may be executed; what lacks a payload
    /// never will be, as the client sends no more, and there is nobody to see what it would do.
    pub fn is_finished(&self) -> bool {
        self.goodbye
    }

    /// Whether everything that has come is executed, and its answers are made.
    pub fn is_settled(&self) -> bool {
        self.queue.len() == 0 && self.open.is_empty() && self.payloads.is_empty()
    }

    /// Whether there are bulk payloads that the client has not confirmed. It does so at its leisure.
    pub fn has_unconfirmed_payloads(&self) -> bool {
        self.outputs.has_payloads()
    }

    /// Whether the driver may read more of the control stream.
    pub fn wants_control(&self) -> bool {
        let has_room =
            self.queue.len() < self.limits.queued_operators && self.queue.bytes() < self.limits.payload_bytes;
        has_room && self.ended.is_none()
    }

    /// Whether there is room for a bulk payload of `bytes`. A payload that the next operator waits for always has.
    pub fn wants_payload(&self, number: u64, bytes: u64) -> bool {
        let held = self.payload_bytes + self.queue.bytes();
        held + bytes <= self.limits.payload_bytes || number == self.issued + 1
    }

    /// Whether a bulk payload has come already, or its operator has had its turn.
    pub fn has_payload(&self, number: u64) -> bool {
        number <= self.issued || self.payloads.contains_key(&number)
    }

    /// Whether the session has been ended: what is left to send are last words.
    pub fn is_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// Takes the client in, on the connection that it said hello on.
    pub fn handle_welcome(&mut self, channel: &mut Channel, welcome: Welcome, token: SessionToken) {
        channel.is_open = true;
        channel.opening = Some(ServerFrame::Welcome(Box::new(welcome), token));
    }

    /// Goes on with the session on another connection. Everything that the client says it has not got is sent on it.
    pub fn handle_resume(&mut self, channel: &mut Channel, resume: &Resume) {
        let missing: HashSet<u64> = resume.missing.iter().copied().collect();
        self.outputs.handle_received(resume.answers, &missing);
        channel.is_open = true;
        channel.next_answer = resume.answers.min(self.outputs.end());
        channel.bulk.extend(&resume.missing);
        channel.had.extend(&resume.early);
        channel.acknowledged = self.issued;
        channel.acknowledged_bytes = self.issued_bytes;
        let payloads = self.payloads.keys().copied().take(MAX_RESUME_PAYLOADS).collect();
        let resumed = Resumed { executed: self.issued, expected: self.expected, payloads };
        channel.opening = Some(ServerFrame::Resumed(resumed));
    }

    /// The handshake of an early connection is over: it is the client itself that is there.
    pub fn handle_confirmed(&mut self, channel: &mut Channel) {
        channel.is_early = false;
        self.goodbye |= channel.goodbye;
    }

    /// Ends the session for a reason that is the client's to know.
    pub fn handle_end(&mut self, reason: &str) {
        if self.ended.is_none() {
            self.ended = Some(truncated(reason));
            self.queue.clear();
        }
    }

    /// Takes bytes of the control stream, after the greeting has been answered.
    ///
    /// # Errors
    /// What is wrong with them; the session must end.
    pub fn handle_control(&mut self, channel: &mut Channel, bytes: &[u8]) -> Result<(), WireError> {
        channel.reader.handle_bytes(bytes);
        while let Some(frame) = channel.reader.poll_frame()? {
            match frame {
                ClientFrame::Operators { first, coded } => self.handle_operators(channel, first, coded)?,
                ClientFrame::Define { number, id, lane, coded } => {
                    self.handle_define(channel, number, id, (lane, coded))?
                }
                ClientFrame::Advance { first, span, payloads } => {
                    self.handle_advance(first, span, payloads)?
                }
                ClientFrame::Retire { number, id } => {
                    if self.take_numbers(number, 1)? {
                        self.queue.push_retire(number, id)?;
                    }
                }
                ClientFrame::Received { answers } => {
                    self.outputs.handle_received(answers, &HashSet::new());
                }
                ClientFrame::Kept => channel.kept = true,
                // It has no number, so it is not taken from whoever may be repeating it.
                ClientFrame::Goodbye => {
                    channel.goodbye = true;
                    self.goodbye |= !channel.is_early;
                }
                ClientFrame::Hello(_) | ClientFrame::Resume(_) => {
                    return Err(WireError::Unexpected { what: "frame for the session's state" });
                }
            }
        }
        Ok(())
    }

    /// Whether the numbers from `first` on are new. They are not if they were sent again after a lost connection, and
    /// are already here: their turn has come or will come once.
    fn take_numbers(&mut self, first: u64, count: u64) -> Result<bool, WireError> {
        if first > self.expected || first == 0 {
            return Err(WireError::Unexpected { what: "operator number: some are missing before it" });
        }
        if first < self.expected {
            // What is sent again is cut as it was.
            let is_known = first.checked_add(count).is_some_and(|end| end <= self.expected);
            return if is_known { Ok(false) } else { Err(WireError::Unexpected { what: "operator number" }) };
        }
        self.expected = first.checked_add(count).ok_or(WireError::Unexpected { what: "operator number" })?;
        Ok(true)
    }

    fn handle_define(
        &mut self,
        channel: &mut Channel,
        number: u64,
        id: SequenceId,
        (lane, coded): (u32, Bytes),
    ) -> Result<(), WireError> {
        // Decoded even if it is known: the window goes with what was sent.
        let operators = queue::decode_sequence(&mut channel.decoder, lane, coded)?;
        if self.take_numbers(number, 1)? {
            self.queue.push_define(number, id, lane, operators)?;
        }
        Ok(())
    }

    fn handle_advance(&mut self, first: u64, span: Span, payloads: Bytes) -> Result<(), WireError> {
        if self.take_numbers(first, span.count.into())? {
            self.queue.push_advance(first, span, payloads)?;
        }
        Ok(())
    }

    fn handle_operators(
        &mut self,
        channel: &mut Channel,
        first: u64,
        mut coded: Bytes,
    ) -> Result<(), WireError> {
        if coded.is_empty() {
            return Err(WireError::Malformed { what: "operators: there are none" });
        }
        let mut number = first;
        while !coded.is_empty() {
            let (record, payload) = channel.decoder.decode(&mut coded)?;
            if self.take_numbers(number, 1)? {
                self.queue.push_operator(number, record, payload);
            }
            number += 1;
        }
        Ok(())
    }

    /// Takes a whole bulk payload.
    ///
    /// # Errors
    /// A payload that is for no operator that could be waiting for it, or over the session's limit.
    pub fn handle_payload(&mut self, number: u64, payload: Payload) -> Result<(), WireError> {
        if self.has_payload(number) {
            return Ok(()); // a repetition after a lost connection
        }
        // A client may have so many operators unacknowledged; a definition or two come on top of them.
        let ahead = self.limits.queued_operators + 2 * MAX_SEQUENCES;
        if number >= self.expected.saturating_add(ahead as u64) {
            return Err(WireError::Unexpected { what: "bulk payload far ahead of its operator" });
        }
        if !self.wants_payload(number, payload.bytes()) {
            return Err(WireError::Limit { what: "payload bytes of a session" });
        }
        self.payload_bytes += payload.bytes();
        self.payloads.insert(number, payload);
        Ok(())
    }

    /// The next operator or span to execute, if everything it needs is here. An operator's outcome is due through
    /// [`Server::handle_outcome`].
    ///
    /// # Errors
    /// A payload whose length is not the operator's; the session must end.
    pub fn poll_ready(&mut self) -> Result<Option<Work>, WireError> {
        if self.outputs.bytes() >= self.limits.output_bytes {
            return Ok(None);
        }
        while let Some(next) = self.queue.poll(&mut self.payloads)? {
            self.issued = next.through;
            self.idle = false;
            if let Some(Work::Operator(ready)) = &next.work {
                let bytes = ready.payload.as_ref().map_or(0, Payload::bytes);
                if bytes > INLINE_PAYLOAD_BYTES {
                    self.payload_bytes -= bytes;
                }
                self.issued_bytes += bytes;
                self.open.insert(ready.number, ready.wants_answer);
            }
            if next.work.is_some() {
                return Ok(next.work);
            }
        }
        Ok(None)
    }

    /// Tells how an operator ended. Outcomes may come in any order. Of a span's operators only failures count.
    pub fn handle_outcome(&mut self, number: u64, outcome: Outcome) {
        let wants_answer = self.open.remove(&number).unwrap_or(false);
        match (wants_answer, outcome) {
            (true, outcome) => self.outputs.push_reply(number, outcome),
            // A corrupted context fails everything that follows; once told, the client knows.
            (false, Err(result)) if !self.failed && number <= self.issued => {
                self.failed = result.is_sticky();
                self.outputs.push_failure(number, result);
            }
            (false, _) => {}
        }
    }

    /// Appends the next frames of the control stream to `out`.
    ///
    /// # Errors
    /// A welcome over the wire's limits.
    pub fn poll_control(&mut self, channel: &mut Channel, out: &mut Vec<u8>) -> Result<(), WireError> {
        if !channel.is_open {
            return Ok(());
        }
        if let Some(opening) = channel.opening.take() {
            put_frame(&opening, out)?;
        }
        while let Some((place, answer)) = self.outputs.get(channel.next_answer) {
            if place != channel.next_answer {
                put_frame(&ServerFrame::AnswersFrom { answers: place }, out)?;
            }
            channel.next_answer = place + 1;
            out.extend_from_slice(&answer.bytes);
            let to_send = answer.bulk.filter(|number| !channel.had.remove(number));
            channel.bulk.extend(to_send);
        }
        if let Some(reason) = &self.ended
            && !std::mem::replace(&mut channel.told_end, true)
        {
            return put_frame(&ServerFrame::Ended { reason: reason.clone() }, out);
        }
        // An acknowledgement that rides along with a reply costs no packet of its own.
        if self.acknowledgement_due(channel) || (!out.is_empty() && self.issued > channel.acknowledged) {
            put_frame(&ServerFrame::Executed { through: self.issued }, out)?;
            channel.acknowledged = self.issued;
            channel.acknowledged_bytes = self.issued_bytes;
        }
        Ok(())
    }

    fn acknowledgement_due(&self, channel: &Channel) -> bool {
        let lag = self.issued - channel.acknowledged;
        let bytes = self.issued_bytes - channel.acknowledged_bytes;
        lag >= ACKNOWLEDGE_OPERATORS || bytes >= ACKNOWLEDGE_BYTES || (lag > 0 && self.idle)
    }

    /// Whether [`Server::poll_control`] or [`Server::poll_bulk`] has something to give.
    pub fn has_output(&self, channel: &Channel) -> bool {
        let has_frames = channel.opening.is_some()
            || channel.next_answer < self.outputs.end()
            || (self.ended.is_some() && !channel.told_end)
            || self.acknowledgement_due(channel);
        channel.is_open && (has_frames || !channel.bulk.is_empty())
    }

    /// The executor has had nothing to do for a while: what it executed is acknowledged now.
    pub fn handle_idle(&mut self) {
        self.idle = true;
    }

    /// The next payload for a bulk stream of its own.
    pub fn poll_bulk(&mut self, channel: &mut Channel) -> Option<(u64, Bytes)> {
        while let Some(number) = channel.bulk.pop_front() {
            // One that has been confirmed since needs no sending.
            if let Some(bytes) = self.outputs.payload(number) {
                return Some((number, bytes.clone()));
            }
        }
        None
    }
}
