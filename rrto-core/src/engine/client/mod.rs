//! The client engine: numbers operators, keeps them until they are acknowledged, and matches answers to calls.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;

use bytes::Bytes;

use super::progress::Progress;
use crate::api::CuResult;
use crate::operator::{Operator, Outcome, Value};
use crate::wire::repeat::{Encoder, Record};
use crate::wire::{
    Answer, ClientFrame, FrameReader, Hello, INLINE_PAYLOAD_BYTES, Mode, ServerFrame, Welcome, WireError,
    put_frame,
};

/// Bounds of what a client holds.
#[derive(Clone, Copy, Debug)]
pub struct ClientLimits {
    /// Payload bytes that may be unacknowledged; a further copy waits. Bounds the memory that the preload library
    /// adds to the program.
    pub bulk_bytes: u64,
    /// Operators that may be unacknowledged; a further call waits.
    pub operators: usize,
}

impl Default for ClientLimits {
    fn default() -> Self {
        // A copy from pageable memory is over for the program once it is in here, so a burst of them up to this long
        // costs the program no time on the link; with QUIC's own windows it keeps what the library adds to the program
        // under 25 MB. 64 Ki operators are 200 inferences.
        ClientLimits { bulk_bytes: 8 << 20, operators: 64 << 10 }
    }
}

/// Operators coded into one frame: enough to spread the frame's cost, few enough that the first does not wait.
const OPERATORS_PER_FRAME: usize = 256;

/// What became of a submitted call.
#[derive(Debug)]
pub enum Submitted {
    /// It will be executed; nothing to wait for.
    Queued,
    /// It will be executed; its outcome comes under this number.
    Awaits(u64),
    /// Answered here and now.
    Answered(Outcome),
    /// Too much is unacknowledged: submit it again after [`Client::handle_control`] made progress. The call's
    /// parts come back.
    Full(Operator, Option<Bytes>),
}

/// Why a connection can carry no more calls.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lost(pub String);

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Bytes that belong to the program's memory, for the operator of this number.
#[derive(Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The CopyOut's number.
    pub number: u64,
    /// All its bytes.
    pub bytes: Bytes,
}

#[derive(Debug)]
struct Retained {
    number: u64,
    record: Record,
    payload: Option<Bytes>,
}

impl Retained {
    fn payload_bytes(&self) -> u64 {
        self.payload.as_ref().map_or(0, |payload| payload.len() as u64)
    }

    fn is_bulk(&self) -> bool {
        self.payload_bytes() > INLINE_PAYLOAD_BYTES
    }
}

/// An answer that is in order to become visible, once the payloads before it have been delivered.
#[derive(Debug)]
struct Held {
    number: u64,
    outcome: Result<Value, CuResult>,
    /// Its own bulk payload has not arrived yet.
    awaits_bulk: bool,
}

/// The client's side of a session.
#[derive(Debug)]
pub struct Client {
    mode: Mode,
    limits: ClientLimits,
    next_number: u64,
    /// All operators that are not acknowledged, oldest first; the first `sent` of them have been given to
    /// `poll_control`.
    retained: VecDeque<Retained>,
    sent: usize,
    retained_bytes: u64,
    bulk: VecDeque<(u64, Bytes)>,
    encoder: Encoder,
    reader: FrameReader,
    hello: Option<Hello>,
    goodbye: bool,
    said_goodbye: bool,
    welcome: Option<Welcome>,
    /// Operators whose answer is awaited.
    asked: BTreeMap<u64, Operator>,
    held: VecDeque<Held>,
    /// Bulk payloads that arrived before the reply that announces them.
    early_bulk: HashMap<u64, ()>,
    answered: HashMap<u64, Outcome>,
    deliveries: VecDeque<Delivery>,
    progress: Progress,
    deferred: Option<CuResult>,
    sticky: Option<CuResult>,
    lost: Option<Lost>,
}

impl Client {
    /// A client that has yet to say hello as `program`.
    pub fn new(mode: Mode, program: &str, limits: ClientLimits) -> Self {
        Client {
            mode,
            limits,
            next_number: 1,
            retained: VecDeque::new(),
            sent: 0,
            retained_bytes: 0,
            bulk: VecDeque::new(),
            encoder: Encoder::default(),
            reader: FrameReader::default(),
            hello: Some(Hello::new(mode, program)),
            goodbye: false,
            said_goodbye: false,
            welcome: None,
            asked: BTreeMap::new(),
            held: VecDeque::new(),
            early_bulk: HashMap::new(),
            answered: HashMap::new(),
            deliveries: VecDeque::new(),
            progress: Progress::default(),
            deferred: None,
            sticky: None,
            lost: None,
        }
    }

    /// The server's welcome, once it has come.
    pub fn welcome(&self) -> Option<&Welcome> {
        self.welcome.as_ref()
    }

    /// The mode that it was made with.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Why nothing works any more, if so.
    pub fn lost(&self) -> Option<&Lost> {
        self.lost.as_ref()
    }

    /// The error that every call gets from now on, if the context is corrupted or the server is gone.
    pub fn sticky(&self) -> Option<CuResult> {
        self.sticky
    }

    /// The number that the next queued operator will get.
    pub fn next_number(&self) -> u64 {
        self.next_number
    }

    /// Whether the goodbye has been given to the driver: nothing more will come.
    pub fn said_goodbye(&self) -> bool {
        self.said_goodbye
    }

    /// Whether nothing is left to send.
    pub fn is_drained(&self) -> bool {
        self.sent == self.retained.len() && self.bulk.is_empty() && self.hello.is_none() && !self.goodbye
    }

    /// Takes a call of the program. `payload` is there exactly if the operator takes one.
    ///
    /// Synchronisations with nothing outstanding are answered at once, and so is every call once the session has
    /// a sticky error. An error of an earlier asynchronous operator is given by the first call that waits, as CUDA
    /// allows.
    pub fn handle_submit(&mut self, lane: u32, operator: Operator, payload: Option<Bytes>) -> Submitted {
        if let Some(sticky) = self.sticky {
            return Submitted::Answered(Err(sticky));
        }
        let wants_answer = self.mode == Mode::Percall || operator.needs_answer();
        if wants_answer && self.mode == Mode::Pipeline {
            if let Some(deferred) = self.deferred.take() {
                return Submitted::Answered(Err(deferred));
            }
            if self.progress.is_settled(&operator) {
                return Submitted::Answered(Ok(Value::None));
            }
        }
        let bytes = payload.as_ref().map_or(0, |payload| payload.len() as u64);
        let over_bytes = self.retained_bytes + bytes > self.limits.bulk_bytes && self.retained_bytes > 0;
        if over_bytes || self.retained.len() >= self.limits.operators {
            return Submitted::Full(operator, payload);
        }
        let number = self.next_number;
        self.next_number += 1;
        self.retained_bytes += bytes;
        self.progress.handle_submitted(number, &operator);
        if wants_answer {
            self.asked.insert(number, operator.clone());
        }
        self.retained.push_back(Retained {
            number,
            record: Record { lane, wants_answer, operator },
            payload,
        });
        if wants_answer { Submitted::Awaits(number) } else { Submitted::Queued }
    }

    /// The program has ended.
    pub fn handle_goodbye(&mut self) {
        self.goodbye = true;
    }

    /// Takes bytes of the control stream.
    ///
    /// # Errors
    /// What is wrong with them; the connection is then of no more use.
    pub fn handle_control(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        self.reader.handle_bytes(bytes);
        while let Some(frame) = self.reader.poll_frame()? {
            self.handle_frame(frame)?;
        }
        Ok(())
    }

    fn handle_frame(&mut self, frame: ServerFrame) -> Result<(), WireError> {
        match (frame, self.welcome.is_some()) {
            (ServerFrame::Welcome(welcome), false) => self.welcome = Some(*welcome),
            (ServerFrame::Refused(refusal), false) => self.handle_lost(Lost(refusal.to_string())),
            (ServerFrame::Reply { number, outcome }, true) => self.handle_reply(number, outcome)?,
            (ServerFrame::Failed { number, result }, true) => self.handle_failed(number, result)?,
            (ServerFrame::Executed { through }, true) => self.handle_executed(through)?,
            (ServerFrame::Ended { reason }, _) => {
                self.handle_lost(Lost(format!("the server ended the session: {reason}")))
            }
            _ => return Err(WireError::Unexpected { what: "frame for the session's state" }),
        }
        Ok(())
    }

    fn handle_reply(&mut self, number: u64, outcome: Result<Answer, CuResult>) -> Result<(), WireError> {
        let known = self.asked.contains_key(&number) && !self.held.iter().any(|held| held.number == number);
        if !known {
            return Err(WireError::Unexpected { what: "reply to an operator that wants none" });
        }
        let (outcome, awaits_bulk) = match outcome {
            Ok(Answer::Value(value)) => (Ok(value), false),
            Ok(Answer::Bulk(_)) => (Ok(Value::None), self.early_bulk.remove(&number).is_none()),
            Err(result) => (Err(result), false),
        };
        self.held.push_back(Held { number, outcome, awaits_bulk });
        self.release_held();
        Ok(())
    }

    /// The bulk payload of a CopyOut has been written to the program's memory.
    ///
    /// # Errors
    /// A payload that no CopyOut waits for.
    pub fn handle_payload_delivered(&mut self, number: u64) -> Result<(), WireError> {
        if !matches!(self.asked.get(&number), Some(Operator::CopyOut { .. })) {
            return Err(WireError::Unexpected { what: "bulk payload" });
        }
        match self.held.iter_mut().find(|held| held.number == number) {
            Some(held) => held.awaits_bulk = false,
            None => drop(self.early_bulk.insert(number, ())),
        }
        self.release_held();
        Ok(())
    }

    /// The length that the bulk payload of `number` must have, if one is awaited.
    pub fn awaited_payload(&self, number: u64) -> Option<u64> {
        match self.asked.get(&number) {
            Some(Operator::CopyOut { bytes, .. }) => Some(*bytes),
            _ => None,
        }
    }

    fn release_held(&mut self) {
        while let Some(held) = self.held.pop_front() {
            if held.awaits_bulk {
                self.held.push_front(held);
                return;
            }
            let Some(operator) = self.asked.remove(&held.number) else { continue };
            let mut outcome = held.outcome;
            match &outcome {
                Ok(_) => self.progress.handle_completed(held.number, &operator),
                Err(result) if result.is_sticky() => self.sticky = Some(*result),
                Err(_) => {}
            }
            if let (Operator::CopyOut { .. }, Ok(Value::Payload(bytes))) = (&operator, &mut outcome) {
                self.deliveries.push_back(Delivery { number: held.number, bytes: std::mem::take(bytes) });
                outcome = Ok(Value::None);
            }
            self.answered.insert(held.number, outcome);
        }
    }

    fn handle_failed(&mut self, number: u64, result: CuResult) -> Result<(), WireError> {
        if number >= self.next_number {
            return Err(WireError::Unexpected { what: "failure of an operator that was never sent" });
        }
        if result.is_sticky() {
            self.sticky.get_or_insert(result);
        } else {
            self.deferred.get_or_insert(result);
        }
        Ok(())
    }

    fn handle_executed(&mut self, through: u64) -> Result<(), WireError> {
        if through >= self.next_number {
            return Err(WireError::Unexpected { what: "acknowledgement of an operator that was never sent" });
        }
        while let Some(first) = self.retained.front().filter(|first| first.number <= through) {
            self.retained_bytes -= first.payload_bytes();
            self.retained.pop_front();
            // On a new connection an acknowledgement can overtake the second sending.
            self.sent = self.sent.saturating_sub(1);
        }
        Ok(())
    }

    /// The connection is gone for good: every call, waiting or to come, fails with
    /// [`CuResult::DEVICE_UNAVAILABLE`].
    pub fn handle_lost(&mut self, lost: Lost) {
        self.lost.get_or_insert(lost);
        self.sticky.get_or_insert(CuResult::DEVICE_UNAVAILABLE);
        self.retained.clear();
        self.bulk.clear();
        self.sent = 0;
        self.retained_bytes = 0;
        self.held.clear();
        let sticky = self.sticky.unwrap_or(CuResult::DEVICE_UNAVAILABLE);
        for (number, _) in std::mem::take(&mut self.asked) {
            self.answered.insert(number, Err(sticky));
        }
    }

    /// A new control stream to the same session replaces the old one on the way up: everything that is not
    /// acknowledged is sent again, under the same numbers. (Replies that were lost on the way down are the server's to
    /// keep and send again.)
    pub fn handle_reconnected(&mut self) {
        self.encoder = Encoder::default();
        self.bulk.clear();
        self.sent = 0;
    }

    /// The outcome of an operator that [`Submitted::Awaits`], once it is there; gives it once.
    pub fn poll_outcome(&mut self, number: u64) -> Option<Outcome> {
        self.answered.remove(&number)
    }

    /// Whether an answer is still to come for `number`.
    pub fn is_awaited(&self, number: u64) -> bool {
        self.asked.contains_key(&number)
    }

    /// The next payload to write to the program's memory. Drain it before waiting threads are woken.
    pub fn poll_delivery(&mut self) -> Option<Delivery> {
        self.deliveries.pop_front()
    }

    /// Appends the next frames of the control stream to `out`, until there are no more or `out` has `limit` bytes.
    ///
    /// # Errors
    /// An operator that cannot be coded: one over the wire's limits.
    pub fn poll_control(&mut self, out: &mut Vec<u8>, limit: usize) -> Result<(), WireError> {
        if let Some(hello) = self.hello.take() {
            put_frame(&ClientFrame::Hello(hello), out)?;
        }
        while out.len() < limit && self.sent < self.retained.len() {
            self.put_operators(out)?;
        }
        if self.sent == self.retained.len() && std::mem::take(&mut self.goodbye) {
            put_frame(&ClientFrame::Goodbye, out)?;
            self.said_goodbye = true;
        }
        Ok(())
    }

    fn put_operators(&mut self, out: &mut Vec<u8>) -> Result<(), WireError> {
        let mut coded = Vec::new();
        let mut first = None;
        for _ in 0..OPERATORS_PER_FRAME {
            let Some(next) =
                self.retained.get(self.sent).filter(|_| coded.len() < INLINE_PAYLOAD_BYTES as usize)
            else {
                break;
            };
            first.get_or_insert(next.number);
            self.encoder.encode(&next.record, next.payload.as_deref(), &mut coded)?;
            if next.is_bulk() {
                self.bulk.extend(next.payload.clone().map(|payload| (next.number, payload)));
            }
            self.sent += 1;
        }
        match first {
            Some(first) => put_frame(&ClientFrame::Operators { first, coded: coded.into() }, out),
            None => Ok(()),
        }
    }

    /// The next payload for a bulk stream of its own.
    pub fn poll_bulk(&mut self) -> Option<(u64, Bytes)> {
        self.bulk.pop_front()
    }
}
