//! A session's worker: opens the device, then one context, and executes what comes through a socket until that ends.
//!
//! One thread does everything, and blocks neither in reading nor in writing: it waits for calls, for room to write, and
//! while something is pending on the device for no longer than the executor's pace says. What it queues is bounded by
//! the server, which lets only so much be pending. A second thread sees to it that the process ends when the server is
//! gone, even if the device never lets go of the first one.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rrto_core::api::CuResult;
use rrto_core::engine::Payload;
use rrto_core::operator::{Operator, Outcome, Sequence, SequenceId, Span, Value};
use rrto_core::wire::DeviceInfo;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::retry_on_intr;
use rustix::process::{Signal, getpid, kill_process};

use super::channel::Channel;
use super::inbox::Filled;
use super::message::{Carried, ToServer, ToWorker};
use super::staging::{self, View};
use crate::confine::{self, Confinement};
use crate::device::{Context, Device, DeviceError, Limits, Progress, SpanUse};
use crate::executor::POLL_OPERATORS;
use crate::executor::pace::{self, Pace, is_near_end};

/// How long the process may take to free what its session held once the server has closed the socket. The server, if it
/// is alive, kills it before.
const END_LIMIT: Duration = Duration::from_secs(10);

/// The name of a worker's process in the system's lists.
const PROCESS_NAME: &std::ffi::CStr = c"rrto-worker";

/// Serves one session through `stream` on the device that `open_device` opens, confined as `confinement` says for that device;
/// returns when the server has closed the stream and everything of the session is freed, or ends the process if that takes
/// too long.
///
/// # Errors
/// The stream cannot be used, or does not bring what it should.
pub fn serve<D: Device>(
    stream: UnixStream,
    open_device: impl FnOnce() -> Result<D, DeviceError>,
    confinement: impl FnOnce(&DeviceInfo) -> Confinement,
) -> io::Result<()> {
    // Only a name.
    let _ = rustix::thread::set_name(PROCESS_NAME);
    confine::begin();
    match serve_on(stream, open_device, confinement) {
        // How the server ends a session, whatever was under way.
        Err(error) if is_end(error.kind()) => Ok(()),
        result => result,
    }
}

fn is_end(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::*;
    matches!(kind, UnexpectedEof | BrokenPipe | ConnectionReset)
}

/// Kills this process some time after the server has closed the stream.
fn end_with(stream: &UnixStream) {
    confine::thread();
    let closed = retry_on_intr(|| poll(&mut [PollFd::new(stream, PollFlags::RDHUP)], None));
    if let Err(error) = closed {
        tracing::warn!(%error, "a worker cannot watch for the server's end");
        return;
    }
    std::thread::sleep(END_LIMIT);
    // Not an ordinary exit, which would wait for the driver.
    let _ = kill_process(getpid(), Signal::KILL);
    // Some kernels take a signal between threads that are confined differently for one to another process.
    std::process::abort();
}

fn serve_on<D: Device>(
    stream: UnixStream,
    open_device: impl FnOnce() -> Result<D, DeviceError>,
    confinement: impl FnOnce(&DeviceInfo) -> Confinement,
) -> io::Result<()> {
    let staging = staging::receive(&stream)?;
    let mut channel = Channel::new(stream)?;
    let channel = &mut channel;
    let watched = channel.stream()?;
    std::thread::Builder::new().name("rrto-watch".to_owned()).spawn(move || end_with(&watched))?;
    let device = match open_device() {
        Ok(device) => device,
        Err(error) => return refuse(channel, error),
    };
    let confinement = confinement(device.info());
    let mut lacking = confinement.close_files();
    tell(channel, &ToServer::Ready(device.info().clone()))?;
    let limits = match channel.converse(None)? {
        (ToWorker::Open(limits), _) => limits,
        _ => return Err(not_for_now()),
    };
    let mut context = match open(&device, limits) {
        Ok(context) => context,
        Err(error) => return refuse(channel, error),
    };
    context.share(staging.as_fd());
    lacking.extend(confinement.close_calls());
    tell(channel, &ToServer::Opened { lacking })?;
    Executor {
        channel,
        context,
        staging,
        sequences: HashMap::new(),
        defining: Vec::new(),
        finished: Vec::new(),
        run: None,
        is_near_end: false,
    }
    .run()
}

fn open(device: &impl Device, limits: Limits) -> Result<Box<dyn Context>, DeviceError> {
    device.open(limits)
}

fn refuse(channel: &mut Channel, error: DeviceError) -> io::Result<()> {
    tell(channel, &ToServer::Refused(error.0))?;
    // The server closes the stream once it has read that.
    match channel.converse::<ToWorker>(None) {
        Ok(_) => Err(not_for_now()),
        Err(error) => Err(error),
    }
}

fn tell(channel: &mut Channel, message: &ToServer) -> io::Result<()> {
    send(channel, message, Bytes::new())?;
    channel.flush()
}

fn send(channel: &mut Channel, message: &ToServer, body: Bytes) -> io::Result<()> {
    match channel.send(message, body) {
        Ok(_) => Ok(()),
        Err(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "a message is too long")),
    }
}

fn not_for_now() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a message that is not for now")
}

fn no_sequence(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

struct Executor<'a> {
    channel: &'a mut Channel,
    context: Box<dyn Context>,
    /// Where payloads are that are in no message.
    staging: Arc<OwnedFd>,
    sequences: HashMap<SequenceId, Arc<Sequence>>,
    /// The operators so far of the sequence that is being told.
    defining: Vec<Operator>,
    /// Kept between polls so that they do not allocate.
    finished: Vec<(u64, Outcome)>,
    /// Plain successes of consecutive operators that have not been told: the first one's number, and how many.
    run: Option<(u64, u64)>,
    /// The latest span says that an inference is about to end.
    is_near_end: bool,
}

impl Executor<'_> {
    fn run(&mut self) -> io::Result<()> {
        let mut pace = Pace::new(false);
        loop {
            let filled = self.channel.fill()?;
            let executed = self.execute_all()?;
            let finished = self.poll()?;
            self.flush()?;
            if filled == Filled::End {
                return Ok(());
            }
            if executed || finished {
                pace = Pace::new(self.is_near_end);
            }
            match pace.next_wait(self.context.pending() > 0) {
                Some(Duration::ZERO) => pace::pause(),
                wait => self.channel.wait(wait)?,
            }
        }
    }

    /// Executes everything that has been read; gives whether there was anything.
    fn execute_all(&mut self) -> io::Result<bool> {
        let (mut any, mut unpolled) = (false, 0);
        while let Some((message, body)) = self.channel.next()? {
            unpolled += match message {
                ToWorker::Call { number, payload, operator } => {
                    let payload = self.payload(payload, body);
                    self.execute(number, operator, payload)?;
                    1
                }
                ToWorker::Span { first, span } => {
                    self.execute_span(first, &span)?;
                    span.count
                }
                ToWorker::Define { sequence, lane, is_last } => {
                    self.define(sequence, lane, &body, is_last)?;
                    0
                }
                ToWorker::Retire(sequence) => {
                    self.sequences.remove(&sequence);
                    self.context.retire(sequence);
                    0
                }
                ToWorker::Open(_) => return Err(not_for_now()),
            };
            any = true;
            if unpolled >= POLL_OPERATORS {
                unpolled = 0;
                if self.poll()? {
                    self.flush()?;
                }
            }
        }
        Ok(any)
    }

    fn payload(&self, carried: Carried, body: Bytes) -> Option<Payload> {
        match carried {
            Carried::Nowhere => None,
            Carried::Body => Some(body.into()),
            Carried::Staged { place, bytes } => {
                Some(Payload::Staged(Arc::new(View { file: self.staging.clone(), place, bytes })))
            }
        }
    }

    fn define(&mut self, id: SequenceId, lane: u32, mut coded: &[u8], is_last: bool) -> io::Result<()> {
        while !coded.is_empty() {
            let (operator, rest) =
                postcard::take_from_bytes(coded).map_err(|_| no_sequence("no operator"))?;
            self.defining.push(operator);
            coded = rest;
        }
        if is_last {
            let sequence = Sequence::new(lane, std::mem::take(&mut self.defining)).map_err(no_sequence)?;
            self.sequences.insert(id, Arc::new(sequence));
        }
        Ok(())
    }

    fn execute_span(&mut self, first: u64, span: &Span) -> io::Result<()> {
        let sequence = self.sequences.get(&span.sequence).ok_or_else(not_for_now)?;
        sequence.check(span).map_err(no_sequence)?;
        self.is_near_end = is_near_end(sequence, span);
        let mut next = first;
        for (number, error) in self.context.execute_span(first, sequence, span) {
            self.succeed(next, number.saturating_sub(next))?;
            self.finish(number, Err(error))?;
            next = number + 1;
        }
        self.succeed(next, (first + u64::from(span.count)).saturating_sub(next))
    }

    fn execute(&mut self, number: u64, operator: Operator, payload: Option<Payload>) -> io::Result<()> {
        let is_awaited = operator.needs_answer();
        self.is_near_end &= !is_awaited;
        let Progress::Done(outcome) = self.context.execute(number, operator, payload) else { return Ok(()) };
        self.finish(number, outcome)?;
        // The next operator may take long, such as loading a library, and somebody waits for this answer. Nobody does
        // for the others; they are told when all that has been read is executed.
        if is_awaited { self.flush() } else { Ok(()) }
    }

    /// Takes note of what has completed, to be told at the next flush; gives whether anything had.
    fn poll(&mut self) -> io::Result<bool> {
        if self.context.pending() > 0 {
            self.context.poll(&mut self.finished);
        }
        let mut finished = std::mem::take(&mut self.finished);
        let any = !finished.is_empty();
        finished.drain(..).try_for_each(|(number, outcome)| self.finish(number, outcome))?;
        self.finished = finished;
        Ok(any)
    }

    fn finish(&mut self, number: u64, outcome: Outcome) -> io::Result<()> {
        let (message, body) = match outcome {
            Ok(Value::None) => return self.succeed(number, 1),
            Ok(Value::Payload(body)) => (ToServer::Payload { number }, body),
            Ok(value) => (ToServer::Answered { number, value }, Bytes::new()),
            Err(error) => (ToServer::Failed { number, error }, Bytes::new()),
        };
        self.end_run()?;
        match self.channel.send(&message, body) {
            Ok(_) => Ok(()),
            // As the engine does with an answer that is too long for its wire.
            Err(_) => {
                send(self.channel, &ToServer::Failed { number, error: CuResult::NOT_SUPPORTED }, Bytes::new())
            }
        }
    }

    fn succeed(&mut self, number: u64, more: u64) -> io::Result<()> {
        match &mut self.run {
            _ if more == 0 => {}
            Some((first, count)) if first.checked_add(*count) == Some(number) => *count += more,
            _ => {
                self.end_run()?;
                self.run = Some((number, more));
            }
        }
        Ok(())
    }

    fn end_run(&mut self) -> io::Result<()> {
        match self.run.take() {
            Some((first, count)) => send(self.channel, &ToServer::Succeeded { first, count }, Bytes::new()),
            None => Ok(()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.end_run()?;
        let used = self.context.take_span_use();
        if used != SpanUse::default() {
            send(self.channel, &ToServer::Used(used), Bytes::new())?;
        }
        self.channel.flush()
    }
}
