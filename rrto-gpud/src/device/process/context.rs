//! The server's side of a session: a context whose operators a worker executes.
//!
//! Every operator is pending until the worker has told its outcome. Calls are queued and go out when the executor
//! polls, which it does as soon as no further operator is ready and every few operators anyway, or at once when much is
//! queued: so a burst costs few system calls, and no operator waits for the next one.
//!
//! What is queued, under way, or waits for the executor is bounded by the calls that are pending:
//! [`MAX_PENDING_OPERATORS`], and the bytes of them, their payloads and the payloads that they ask for by the session's
//! staging memory, as in a context in this process. Past it `execute` waits until the worker has finished some. The
//! worker then needs no bounds of its own, and always reads.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use rrto_core::api::CuResult;
use rrto_core::operator::{Operator, Outcome, Value};

use super::child::Worker;
use super::inbox::Filled;
use super::message::{ToServer, ToWorker};
use crate::device::{Context, DeviceError, Limits, Progress};

/// Operators that may be pending: some inferences of a large model, each of a few thousand.
const MAX_PENDING_OPERATORS: usize = 16 << 10;

/// Bytes of calls that are worth a system call of their own: a payload then is on its way before the next operator is
/// looked at.
const FLUSH_BYTES: usize = 16 << 10;

/// What all operators of a session answer once its worker is gone.
const LOST: CuResult = CuResult::LAUNCH_FAILED;

/// A session in a worker. Dropping it ends the worker.
pub(super) struct ProcessContext {
    worker: Worker,
    /// Operators whose outcome the worker has still to tell, and the bytes that each counts for.
    pending: BTreeMap<u64, u64>,
    pending_bytes: u64,
    max_pending_bytes: u64,
    /// Outcomes for the next poll.
    ready: Vec<(u64, Outcome)>,
    lost: bool,
}

impl ProcessContext {
    /// Opens the session's context in a worker.
    ///
    /// # Errors
    /// The device has no room for it, or is lost.
    pub(super) fn open(mut worker: Worker, limits: Limits) -> Result<Self, DeviceError> {
        worker.open(limits)?;
        tracing::debug!(worker = worker.id(), "a session has its worker");
        Ok(ProcessContext {
            worker,
            pending: BTreeMap::new(),
            pending_bytes: 0,
            max_pending_bytes: limits.staging_bytes,
            ready: Vec::new(),
            lost: false,
        })
    }

    fn send(&mut self, number: u64, operator: Operator, payload: Option<Bytes>) -> Result<(), CuResult> {
        let asked_bytes = match operator {
            Operator::CopyOut { bytes, .. } => bytes,
            _ => 0,
        };
        let call = ToWorker::Call { number, has_payload: payload.is_some(), operator };
        let sent = self.worker.channel.send(&call, payload.unwrap_or_default());
        let bytes = asked_bytes.saturating_add(sent.map_err(|_| CuResult::INVALID_VALUE)? as u64);
        self.pending.insert(number, bytes);
        self.pending_bytes = self.pending_bytes.saturating_add(bytes);
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.pending.len() >= MAX_PENDING_OPERATORS
            || (!self.pending.is_empty() && self.pending_bytes >= self.max_pending_bytes)
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
        match message {
            ToServer::Succeeded { first, count } if count <= self.pending.len() as u64 => {
                (first..first.saturating_add(count)).try_for_each(|n| self.finish(n, Ok(Value::None)))
            }
            ToServer::Failed { number, error } => self.finish(number, Err(error)),
            ToServer::Answered { number, value } => self.finish(number, Ok(value)),
            ToServer::Payload { number } => self.finish(number, Ok(Value::Payload(body))),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "a message that is not for now")),
        }
    }

    fn finish(&mut self, number: u64, outcome: Outcome) -> io::Result<()> {
        let bytes = self.pending.remove(&number).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "an outcome of an operator that is not pending")
        })?;
        self.pending_bytes = self.pending_bytes.saturating_sub(bytes);
        self.ready.push((number, outcome));
        Ok(())
    }

    /// The worker is gone, or as good as: so is the session's context.
    fn lose(&mut self, error: &io::Error) {
        self.lost = true;
        let status = self.worker.end();
        tracing::error!(worker = self.worker.id(), %error, status, "a session has lost its worker");
        let pending = std::mem::take(&mut self.pending);
        self.ready.extend(pending.into_keys().map(|number| (number, Err(LOST))));
        self.pending_bytes = 0;
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
    fn execute(&mut self, number: u64, operator: Operator, payload: Option<Bytes>) -> Progress {
        while !self.lost && self.is_full() {
            self.unless_lost(|context| {
                context.exchange()?;
                if context.is_full() { context.worker.channel.wait(None) } else { Ok(()) }
            });
        }
        if self.lost {
            return Progress::Done(Err(LOST));
        }
        if let Err(error) = self.send(number, operator, payload) {
            return Progress::Done(Err(error));
        }
        if self.worker.channel.unsent_bytes() >= FLUSH_BYTES {
            self.unless_lost(Self::exchange);
        }
        Progress::Pending
    }

    fn poll(&mut self, finished: &mut Vec<(u64, Outcome)>) {
        self.unless_lost(Self::exchange);
        finished.append(&mut self.ready);
    }

    fn pending(&self) -> usize {
        self.pending.len() + self.ready.len()
    }
}
