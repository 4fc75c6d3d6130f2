//! The server engine: puts what arrives in order, gives each operator to the executor once, and carries outcomes back.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use crate::api::CuResult;
use crate::operator::{Operator, Outcome, Sequence, SequenceId, Span, Value};
use crate::wire::repeat::Decoder;
use crate::wire::{
    Answer, ClientFrame, FrameReader, Hello, INLINE_PAYLOAD_BYTES, Refusal, ServerFrame, Welcome, WireError,
    put_frame, truncated,
};

/// Bounds of what a session may make the server hold.
#[derive(Clone, Copy, Debug)]
pub struct ServerLimits {
    /// Operators that have arrived and are not executed. Past it the driver stops reading, and QUIC's flow control
    /// holds the client back.
    pub queued_operators: usize,
    /// Payload bytes that have arrived and are not executed. Twice what a client may have unacknowledged.
    pub payload_bytes: u64,
}

impl Default for ServerLimits {
    fn default() -> Self {
        ServerLimits { queued_operators: 64 << 10, payload_bytes: 32 << 20 }
    }
}

/// Executed operators after which an acknowledgement is due.
const ACKNOWLEDGE_OPERATORS: u64 = 64;

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
    pub payload: Option<Bytes>,
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
    /// Operators in order; a bulk payload may still be missing.
    queue: VecDeque<Ready>,
    /// Bulk payloads that came before their operators' turn.
    payloads: HashMap<u64, Bytes>,
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
            queue: VecDeque::new(),
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
        self.goodbye && self.queue.is_empty()
    }

    /// Whether the driver may read more of the control stream.
    pub fn wants_control(&self) -> bool {
        self.queue.len() < self.limits.queued_operators && !self.ended
    }

    /// Whether there is room for a bulk payload of `bytes`. A payload that the next operator waits for always has.
    pub fn wants_payload(&self, number: u64, bytes: u64) -> bool {
        self.payload_bytes + bytes <= self.limits.payload_bytes || number == self.issued + 1
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
                ClientFrame::Goodbye if self.hello.is_some() => self.goodbye = true,
                _ => return Err(WireError::Unexpected { what: "frame for the session's state" }),
            }
        }
        Ok(())
    }

    fn handle_operators(&mut self, first: u64, mut coded: Bytes) -> Result<(), WireError> {
        if first > self.expected || first == 0 {
            return Err(WireError::Unexpected { what: "operator number: some are missing before it" });
        }
        let mut number = first;
        while !coded.is_empty() {
            let (record, payload) = self.decoder.decode(&mut coded)?;
            // Sent again after a lost connection, and already here: its turn has come or will come once.
            if number == self.expected {
                self.payload_bytes += payload.as_ref().map_or(0, |payload| payload.len() as u64);
                self.queue.push_back(Ready {
                    number,
                    lane: record.lane,
                    wants_answer: record.wants_answer,
                    operator: record.operator,
                    payload,
                });
                self.expected += 1;
            }
            number += 1;
        }
        Ok(())
    }

    /// Takes a whole bulk payload.
    ///
    /// # Errors
    /// A payload that is for no operator that could be waiting for it, or over the session's limit.
    pub fn handle_payload(&mut self, number: u64, payload: Bytes) -> Result<(), WireError> {
        if number <= self.issued || self.payloads.contains_key(&number) {
            return Ok(()); // a repetition after a lost connection
        }
        if number >= self.expected.saturating_add(self.limits.queued_operators as u64) {
            return Err(WireError::Unexpected { what: "bulk payload far ahead of its operator" });
        }
        if !self.wants_payload(number, payload.len() as u64) {
            return Err(WireError::Limit { what: "payload bytes of a session" });
        }
        self.payload_bytes += payload.len() as u64;
        self.payloads.insert(number, payload);
        Ok(())
    }

    /// The connection was replaced by a new one of the same client.
    pub fn handle_reconnected(&mut self) {
        self.reader = FrameReader::default();
        self.decoder = Decoder::default();
    }

    /// The next operator to execute, if everything it needs is here. Its outcome is due through
    /// [`Server::handle_outcome`].
    ///
    /// # Errors
    /// A payload whose length is not the operator's; the session must end.
    pub fn poll_ready(&mut self) -> Result<Option<Work>, WireError> {
        let Some(next) = self.queue.front_mut() else { return Ok(None) };
        if let Some(bytes) = next.operator.payload_bytes() {
            if next.payload.is_none() {
                next.payload = self.payloads.remove(&next.number);
            }
            match &next.payload {
                None => return Ok(None),
                Some(payload) if payload.len() as u64 != bytes => {
                    return Err(WireError::Malformed { what: "bulk payload: not of its operator's length" });
                }
                Some(_) => {}
            }
        }
        let Some(ready) = self.queue.pop_front() else { return Ok(None) };
        let bytes = ready.payload.as_ref().map_or(0, |payload| payload.len() as u64);
        self.payload_bytes -= bytes;
        self.issued_bytes += bytes;
        self.issued = ready.number;
        self.open.insert(ready.number, ready.wants_answer);
        Ok(Some(Work::Operator(ready)))
    }

    /// Tells how an operator ended. Outcomes may come in any order.
    pub fn handle_outcome(&mut self, number: u64, outcome: Outcome) {
        let Some(wants_answer) = self.open.remove(&number) else { return };
        match (wants_answer, outcome) {
            (true, outcome) => self.push_reply(number, outcome),
            // A corrupted context fails everything that follows; once told, the client knows.
            (false, Err(result)) if !self.failed => {
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
