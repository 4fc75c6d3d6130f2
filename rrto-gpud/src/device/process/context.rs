//! The server's side of a session: a context whose operators a worker executes.
//!
//! Every operator is pending until the worker has told its outcome. Calls are queued and go out when the executor
//! polls, which it does as soon as no further operator is ready and every few operators anyway, or at once when much is
//! queued: so a burst costs few system calls, and no operator waits for the next one.
//!
//! A sequence goes to the worker before its first span, and stays there until it is retired. A span is then as short a
//! message as it is on the wire; of its operators the worker tells only failures one by one.
//!
//! What is queued, under way, or waits for the executor is bounded by the calls that are pending:
//! [`MAX_PENDING_OPERATORS`], and the bytes of them, their payloads and the payloads that they ask for by the session's
//! staging memory, as in a context in this process. Past it there is no room until the worker has finished some. The
//! worker then needs no bounds of its own, and always reads. A sequence counts with its first span; it is no longer than
//! what the server itself holds of it.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rrto_core::api::CuResult;
use rrto_core::engine::{Payload, Staged};
use rrto_core::operator::{Operator, Outcome, Sequence, SequenceId, Span, Value};

use super::child::Worker;
use super::inbox::Filled;
use super::message::{Carried, MAX_BODY_BYTES, ToServer, ToWorker};
use super::outbox::TooLong;
use super::pending::{NotPending, Pending};
use crate::device::{Context, DeviceError, Limits, Progress, SpanUse};

/// Operators that may be pending, those of spans included: some inferences of a large model, each of a few thousand.
const MAX_PENDING_OPERATORS: usize = 16 << 10;

/// Bytes of a sequence that are told in one message. An operator is shorter than the rest of a body.
const PIECE_BYTES: usize = MAX_BODY_BYTES / 2;

/// Bytes of calls that are worth a system call of their own: a payload then is on its way before the next operator is
/// looked at.
const FLUSH_BYTES: usize = 16 << 10;

/// What all operators of a session answer once its worker is gone.
const LOST: CuResult = CuResult::LAUNCH_FAILED;

/// A session in a worker. Dropping it ends the worker.
pub(super) struct ProcessContext {
    worker: Worker,
    pending: Pending,
    max_pending_bytes: u64,
    /// Sequences that the worker knows.
    sequences: HashSet<SequenceId>,
    /// Payloads that are in no message, by number: their places are the worker's until it has told the outcome.
    staged: HashMap<u64, Arc<dyn Staged>>,
    used: SpanUse,
    /// Outcomes for the next poll.
    ready: Vec<(u64, Outcome)>,
    lost: bool,
}

impl ProcessContext {
    /// Opens the session's context in a worker. Gives with it what that cannot be confined by.
    ///
    /// # Errors
    /// The device has no room for it, or is lost.
    pub(super) fn open(mut worker: Worker, limits: Limits) -> Result<(Self, Vec<String>), DeviceError> {
        let lacking = worker.open(limits)?;
        tracing::debug!(worker = worker.id(), "a session has its worker");
        let context = ProcessContext {
            worker,
            pending: Pending::default(),
            max_pending_bytes: limits.staging_bytes,
            sequences: HashSet::new(),
            staged: HashMap::new(),
            used: SpanUse::default(),
            ready: Vec::new(),
            lost: false,
        };
        Ok((context, lacking))
    }

    fn send(&mut self, number: u64, operator: Operator, payload: Option<Payload>) -> Result<(), CuResult> {
        let asked_bytes = match operator {
            Operator::CopyOut { bytes, .. } => bytes,
            _ => 0,
        };
        let (payload, body, staged) = match payload {
            None => (Carried::Nowhere, Bytes::new(), None),
            Some(Payload::Bytes(body)) => (Carried::Body, body, None),
            Some(Payload::Staged(staged)) => {
                let carried = Carried::Staged { place: staged.place(), bytes: staged.bytes() };
                (carried, Bytes::new(), Some(staged))
            }
        };
        let staged_bytes = staged.as_ref().map_or(0, |staged| staged.bytes());
        let sent = self.worker.channel.send(&ToWorker::Call { number, payload, operator }, body);
        let bytes = sent.map_err(|_| CuResult::INVALID_VALUE)? as u64;
        self.pending.push(number, asked_bytes.saturating_add(bytes).saturating_add(staged_bytes));
        self.staged.extend(staged.map(|staged| (number, staged)));
        Ok(())
    }

    /// Tells the worker of a sequence, in pieces; gives their bytes.
    fn define(&mut self, id: SequenceId, sequence: &Sequence) -> Result<usize, TooLong> {
        let mut sent_bytes = 0;
        let mut body = Vec::new();
        let mut operators = sequence.operators().iter().peekable();
        while let Some(operator) = operators.next() {
            body = postcard::to_extend(operator, body).map_err(|_| TooLong)?;
            let is_last = operators.peek().is_none();
            if is_last || body.len() >= PIECE_BYTES {
                let piece = ToWorker::Define { sequence: id, lane: sequence.lane(), is_last };
                sent_bytes += self.worker.channel.send(&piece, std::mem::take(&mut body).into())?;
            }
        }
        Ok(sent_bytes)
    }

    fn send_span(&mut self, first: u64, sequence: &Sequence, span: &Span) -> Result<(), TooLong> {
        let mut bytes = 0;
        if !self.sequences.contains(&span.sequence) {
            bytes = self.define(span.sequence, sequence)?;
            self.sequences.insert(span.sequence);
        }
        match self.worker.channel.send(&ToWorker::Span { first, span: span.clone() }, Bytes::new()) {
            Ok(sent) => {
                self.pending.push_span(first, span.count, (bytes + sent) as u64);
                Ok(())
            }
            // Its patches are what is long, and one of them is always short enough.
            Err(TooLong) if span.count > 1 => {
                let half = span.count / 2;
                let middle = span.from + half;
                self.send_span(first, sequence, &span.part(span.from..middle))?;
                self.send_span(first + u64::from(half), sequence, &span.part(middle..span.end()))
            }
            Err(TooLong) => Err(TooLong),
        }
    }

    fn is_full(&self) -> bool {
        self.pending.operators() >= MAX_PENDING_OPERATORS
            || (self.pending.len() > 0 && self.pending.bytes() >= self.max_pending_bytes)
    }

    /// What has been queued goes out now if it is much.
    fn flush_much(&mut self) {
        if self.worker.channel.unsent_bytes() >= FLUSH_BYTES {
            self.unless_lost(Self::exchange);
        }
    }

    /// Sends and receives what goes without blocking.
    fn exchange(&mut self) -> io::Result<()> {
        let sent = self.worker.channel.flush();
        // Outcomes that were told before the end are as good as ever.
        self.receive()?;
        sent
    }

    /// Ends, because only operators that are pending are answered.
    fn receive(&mut self) -> io::Result<()> {
        loop {
            let filled = self.worker.channel.fill()?;
            while let Some((message, body)) = self.worker.channel.next()? {
                self.handle(message, body)?;
            }
            match filled {
                Filled::More => {}
                Filled::Drained => return Ok(()),
                Filled::End => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }

    fn handle(&mut self, message: ToServer, body: Bytes) -> io::Result<()> {
        let told = match message {
            ToServer::Succeeded { first, count } => {
                let Self { ready, staged, .. } = self;
                self.pending.tell(first, count, |number, is_span| {
                    if !is_span {
                        staged.remove(&number);
                        ready.push((number, Ok(Value::None)));
                    }
                })
            }
            ToServer::Failed { number, error } => self.finish(number, Err(error)),
            ToServer::Answered { number, value } => self.finish(number, Ok(value)),
            ToServer::Payload { number } => self.finish(number, Ok(Value::Payload(body))),
            ToServer::Used(used) => {
                self.used.add(used);
                Ok(())
            }
            ToServer::Ready(_) | ToServer::Opened { .. } | ToServer::Refused(_) => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a message that is not for now"));
            }
        };
        told.map_err(|NotPending| {
            io::Error::new(io::ErrorKind::InvalidData, "an outcome of an operator that is not pending")
        })
    }

    fn finish(&mut self, number: u64, outcome: Outcome) -> Result<(), NotPending> {
        let mut outcome = Some(outcome);
        self.staged.remove(&number);
        let ready = &mut self.ready;
        self.pending
            .tell(number, 1, |number, _| ready.extend(outcome.take().map(|outcome| (number, outcome))))
    }

    /// The worker is gone, or as good as: so is the session's context.
    fn lose(&mut self, error: &io::Error) {
        self.lost = true;
        let status = self.worker.end();
        tracing::error!(worker = self.worker.id(), %error, status, "a session has lost its worker");
        self.staged.clear();
        self.ready.extend(self.pending.take().map(|number| (number, Err(LOST))));
    }

    /// Does something with the worker, unless it is gone; it is if that fails.
    fn unless_lost(&mut self, work: impl FnOnce(&mut Self) -> io::Result<()>) {
        if self.lost {
            return;
        }
        if let Err(error) = work(self) {
            self.lose(&error);
        }
    }
}

impl Context for ProcessContext {
    fn execute(&mut self, number: u64, operator: Operator, payload: Option<Payload>) -> Progress {
        while !self.has_room(Duration::MAX) {}
        if self.lost {
            return Progress::Done(Err(LOST));
        }
        if let Err(error) = self.send(number, operator, payload) {
            return Progress::Done(Err(error));
        }
        self.flush_much();
        Progress::Pending
    }

    fn execute_span(&mut self, first: u64, sequence: &Arc<Sequence>, span: &Span) -> Vec<(u64, CuResult)> {
        while !self.has_room(Duration::MAX) {}
        if !self.lost {
            match self.send_span(first, sequence, span) {
                Ok(()) => {
                    self.flush_much();
                    return Vec::new();
                }
                // What is within its limits is never too long for a message. If it were, the worker would now have a part.
                Err(TooLong) => self.lose(&io::Error::other("a sequence does not fit into messages")),
            }
        }
        // What was pending of it is among what has been lost.
        let told: HashSet<u64> = self.ready.iter().map(|(number, _)| *number).collect();
        let numbers = (first..).take(span.count as usize);
        numbers.filter(|number| !told.contains(number)).map(|number| (number, LOST)).collect()
    }

    fn staging(&self) -> Option<Arc<dyn rrto_quic::Staging>> {
        Some(self.worker.staging.clone())
    }

    fn retire(&mut self, sequence: SequenceId) {
        if self.sequences.remove(&sequence) && !self.lost {
            // Some bytes, so never too long.
            let _ = self.worker.channel.send(&ToWorker::Retire(sequence), Bytes::new());
        }
    }

    fn take_span_use(&mut self) -> SpanUse {
        std::mem::take(&mut self.used)
    }

    fn has_room(&mut self, limit: Duration) -> bool {
        let started = Instant::now();
        while !self.lost && self.is_full() {
            let left = limit.saturating_sub(started.elapsed());
            if left.is_zero() {
                return false;
            }
            self.unless_lost(|context| {
                context.exchange()?;
                if context.is_full() { context.worker.channel.wait(Some(left)) } else { Ok(()) }
            });
        }
        true
    }

    fn poll(&mut self, finished: &mut Vec<(u64, Outcome)>) {
        self.unless_lost(Self::exchange);
        finished.append(&mut self.ready);
    }

    fn pending(&self) -> usize {
        self.pending.len() + self.ready.len()
    }
}
