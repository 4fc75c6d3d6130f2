//! The server engine: puts what arrives in order, gives each operator to the executor once, and carries outcomes back.

mod queue;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::Payload;
use crate::api::CuResult;
use crate::operator::{MAX_SEQUENCES, Operator, Outcome, Sequence, SequenceId, Span, Value};
use crate::wire::repeat::Decoder;
use crate::wire::{
    Answer, ClientFrame, FrameReader, Hello, INLINE_PAYLOAD_BYTES, Refusal, ServerFrame, Welcome, WireError,
    put_frame, truncated,
};
use queue::Queue;

/// Bounds of what a session may make the server hold.
#[derive(Clone, Copy, Debug)]
pub struct ServerLimits {
    /// Operators and spans that have arrived and are not executed. Past it the driver stops reading, and QUIC's flow
    /// control holds the client back.
    pub queued_operators: usize,
    /// Payload bytes, and those of patches, that have arrived and are not executed. Four times what a client may have
    /// unacknowledged.
    pub payload_bytes: u64,
}

impl Default for ServerLimits {
    fn default() -> Self {
        ServerLimits { queued_operators: 64 << 10, payload_bytes: 32 << 20 }
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
    reader: FrameReader,
    decoder: Decoder,
    hello: Option<Hello>,
    greeted: bool,
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
    issued_bytes: u64,
    acknowledged: u64,
    idle: bool,
    /// Operators given out whose outcome is still to come, and whether it has to travel.
    open: HashMap<u64, bool>,
    frames: VecDeque<ServerFrame>,
    bulk: VecDeque<(u64, Bytes)>,
    failed: bool,
    ended: bool,
}

impl Server {
    /// A session that nobody has said hello to.
    pub fn new(limits: ServerLimits) -> Self {
        Server {
            limits,
            reader: FrameReader::default(),
            decoder: Decoder::default(),
            hello: None,
            greeted: false,
            goodbye: false,
            expected: 1,
            queue: Queue::default(),
            payloads: HashMap::new(),
            payload_bytes: 0,
            issued: 0,
            issued_bytes: 0,
            acknowledged: 0,
            idle: false,
            open: HashMap::new(),
            frames: VecDeque::new(),
            bulk: VecDeque::new(),
            failed: false,
            ended: false,
        }
    }

    /// The client's hello, once it has come; the driver answers with `handle_welcome` or `handle_refusal`.
    pub fn hello(&self) -> Option<&Hello> {
        self.hello.as_ref()
    }

    /// Whether the client has said goodbye.
    pub fn is_finished(&self) -> bool {
        self.goodbye && self.queue.len() == 0
    }

    /// Whether the driver may read more of the control stream.
    pub fn wants_control(&self) -> bool {
        let has_room =
            self.queue.len() < self.limits.queued_operators && self.queue.bytes() < self.limits.payload_bytes;
        has_room && !self.ended
    }

    /// Whether there is room for a bulk payload of `bytes`. A payload that the next operator waits for always has.
    pub fn wants_payload(&self, number: u64, bytes: u64) -> bool {
        let held = self.payload_bytes + self.queue.bytes();
        held + bytes <= self.limits.payload_bytes || number == self.issued + 1
    }

    /// Whether the session has been ended, or the client turned away: what is left to send are last words.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// Takes the client in.
    pub fn handle_welcome(&mut self, welcome: Welcome) {
        self.greeted = true;
        self.frames.push_back(ServerFrame::Welcome(Box::new(welcome)));
    }

    /// Turns the client away.
    pub fn handle_refusal(&mut self, refusal: Refusal) {
        self.ended = true;
        self.frames.push_back(ServerFrame::Refused(refusal));
    }

    /// Ends the session for a reason that is the client's to know.
    pub fn handle_end(&mut self, reason: &str) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.queue.clear();
        self.frames.push_back(ServerFrame::Ended { reason: truncated(reason) });
    }

    /// Takes bytes of the control stream.
    ///
    /// # Errors
    /// What is wrong with them; the session must end.
    pub fn handle_control(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        self.reader.handle_bytes(bytes);
        while let Some(frame) = self.reader.poll_frame()? {
            match frame {
                ClientFrame::Hello(hello) if self.hello.is_none() => self.hello = Some(hello),
                ClientFrame::Operators { first, coded } if self.hello.is_some() => {
                    self.handle_operators(first, coded)?
                }
                ClientFrame::Define { number, id, lane, coded } if self.hello.is_some() => {
                    self.handle_define(number, id, lane, coded)?
                }
                ClientFrame::Advance { first, span, payloads } if self.hello.is_some() => {
                    self.handle_advance(first, span, payloads)?
                }
                ClientFrame::Retire { number, id } if self.hello.is_some() => {
                    if self.take_numbers(number, 1)? {
                        self.queue.push_retire(number, id)?;
                    }
                }
                ClientFrame::Goodbye if self.hello.is_some() => self.goodbye = true,
                _ => return Err(WireError::Unexpected { what: "frame for the session's state" }),
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
        number: u64,
        id: SequenceId,
        lane: u32,
        coded: Bytes,
    ) -> Result<(), WireError> {
        // Decoded even if it is known: the window goes with what was sent.
        let operators = queue::decode_sequence(&mut self.decoder, lane, coded)?;
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

    fn handle_operators(&mut self, first: u64, mut coded: Bytes) -> Result<(), WireError> {
        if coded.is_empty() {
            return Err(WireError::Malformed { what: "operators: there are none" });
        }
        let mut number = first;
        while !coded.is_empty() {
            let (record, payload) = self.decoder.decode(&mut coded)?;
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
        if number <= self.issued || self.payloads.contains_key(&number) {
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

    /// The connection was replaced by a new one of the same client.
    pub fn handle_reconnected(&mut self) {
        self.reader = FrameReader::default();
        self.decoder = Decoder::default();
    }

    /// The next operator or span to execute, if everything it needs is here. An operator's outcome is due through
    /// [`Server::handle_outcome`].
    ///
    /// # Errors
    /// A payload whose length is not the operator's; the session must end.
    pub fn poll_ready(&mut self) -> Result<Option<Work>, WireError> {
        while let Some(next) = self.queue.poll(&mut self.payloads)? {
            self.issued = next.through;
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
            (true, outcome) => self.push_reply(number, outcome),
            // A corrupted context fails everything that follows; once told, the client knows.
            (false, Err(result)) if !self.failed && number <= self.issued => {
                self.failed = result.is_sticky();
                self.frames.push_back(ServerFrame::Failed { number, result });
            }
            (false, _) => {}
        }
    }

    fn push_reply(&mut self, number: u64, outcome: Outcome) {
        let outcome = match outcome {
            Ok(Value::Payload(bytes)) if bytes.len() as u64 > INLINE_PAYLOAD_BYTES => {
                let length = bytes.len() as u64;
                self.bulk.push_back((number, bytes));
                Ok(Answer::Bulk(length))
            }
            Ok(value) => Ok(Answer::Value(value)),
            Err(result) => Err(result),
        };
        self.frames.push_back(ServerFrame::Reply { number, outcome });
    }

    /// Appends the next frames of the control stream to `out`.
    ///
    /// # Errors
    /// A reply over the wire's limits, of which the client is told an error instead.
    pub fn poll_control(&mut self, out: &mut Vec<u8>) -> Result<(), WireError> {
        while let Some(frame) = self.frames.pop_front() {
            match (put_frame(&frame, out), frame) {
                (Ok(()), _) => {}
                (Err(WireError::FrameTooLong { .. }), ServerFrame::Reply { number, .. }) => {
                    let outcome = Err(CuResult::NOT_SUPPORTED);
                    put_frame(&ServerFrame::Reply { number, outcome }, out)?;
                }
                (Err(error), _) => return Err(error),
            }
        }
        // An acknowledgement that rides along with a reply costs no packet of its own.
        if self.acknowledgement_due() || (!out.is_empty() && self.issued > self.acknowledged) {
            put_frame(&ServerFrame::Executed { through: self.issued }, out)?;
            self.acknowledged = self.issued;
            self.issued_bytes = 0;
            self.idle = false;
        }
        Ok(())
    }

    fn acknowledgement_due(&self) -> bool {
        let lag = self.issued - self.acknowledged;
        lag >= ACKNOWLEDGE_OPERATORS || self.issued_bytes >= ACKNOWLEDGE_BYTES || (lag > 0 && self.idle)
    }

    /// Whether [`Server::poll_control`] or [`Server::poll_bulk`] has something to give.
    pub fn has_output(&self) -> bool {
        !self.frames.is_empty() || !self.bulk.is_empty() || self.acknowledgement_due()
    }

    /// The executor has had nothing to do for a while: what it executed is acknowledged now.
    pub fn handle_idle(&mut self) {
        self.idle = true;
    }

    /// The next payload for a bulk stream of its own.
    pub fn poll_bulk(&mut self) -> Option<(u64, Bytes)> {
        self.bulk.pop_front()
    }
}
