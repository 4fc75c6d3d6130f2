//! The client's blocking face, and the transport thread behind it.

#[cfg(feature = "testing")]
mod asynchronous;
mod carried;
mod dialler;
mod error;
mod path;
mod pulse;
mod race;
mod shared;
mod supervisor;
mod transport_thread;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rrto_core::api::CuResult;
use rrto_core::engine::{ClientLimits, Lost, Submitted};
use rrto_core::operator::{LaunchCall, Operator, Outcome, Value};
use rrto_core::replay::{Divergence, ReplayStatistics};
use rrto_core::wire::{Mode, Welcome};

#[cfg(feature = "testing")]
pub use asynchronous::AsyncLink;
pub use error::{ConnectError, RobotFault, ServerFault};
use shared::{Path, Shared, State};

use crate::coding::Coding;
use crate::congestion::Congestion;
use crate::system::{Host, OperatingSystem};
use crate::tls::Credentials;

/// How often the end of a link is looked for, by whoever closes it.
const LOOK_EVERY: Duration = Duration::from_micros(200);

/// How long whoever closes a link waits for a lock, even if it has no time for the goodbye.
const LAST_LOOK: Duration = Duration::from_millis(10);

/// Where to connect, as whom, and how long to be patient.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// HOST:PORT, or `relay://HOST:PORT/ROOM` ([`ServerAddress`](crate::relay::ServerAddress)).
    pub server: String,
    /// This robot's.
    pub credentials: Credentials,
    /// How calls travel.
    pub mode: Mode,
    /// The program's name, for the server's log.
    pub program: String,
    /// Bounds of what may be unacknowledged.
    pub limits: ClientLimits,
    /// How long [`Link::connect`] may take.
    pub connect_timeout: Duration,
    /// A server that is silent for so long while something is awaited is lost, however often the connection was made anew.
    pub silence_timeout: Duration,
    /// Whether payloads to the server are coded; what comes is decoded in any case.
    pub coding: Coding,
    /// How fast to send.
    pub congestion: Congestion,
    /// Somebody who is told what passes.
    pub tap: Option<Arc<dyn Tap>>,
}

/// Is told what passes between the engine and QUIC on the connection that carries the session, for timelines. Called on the transport thread, which waits for it;
/// must not call the [`Link`].
pub trait Tap: std::fmt::Debug + Send + Sync + 'static {
    /// Whole frames of the control stream have been handed to QUIC.
    fn control_sent(&self, frames: &[u8]);

    /// Bytes of the control stream have come; the last frame may go on in the next ones.
    fn control_received(&self, bytes: &[u8]);

    /// What is sent and received from now on belongs to a new connection; a frame of the old one may have been cut off.
    fn reconnected(&self) {}

    /// A payload that travels by itself has been handed to QUIC.
    fn payload_sent(&self, number: u64, bytes: u64);
}

/// Where the bytes of copies to the host go.
pub trait ProgramMemory: Send + Sync + 'static {
    /// Writes `bytes` at `offset` of the destination that was registered for the CopyOut of this number. Called before
    /// the operator's outcome is visible, on the transport thread or, if the bytes were there before the call, on that of
    /// [`Link::submit`]; must not call the [`Link`]. If the connection is lost in
    /// the middle, the same bytes are written again from the beginning.
    fn deliver(&self, number: u64, offset: u64, bytes: &[u8]);
}

/// What became of a submitted operator.
#[derive(Debug, PartialEq)]
pub enum Submission {
    /// It will be executed; nothing to wait for.
    Queued,
    /// [`Link::wait`] for this number.
    Awaits(u64),
    /// Answered here and now.
    Answered(Outcome),
}

/// What a link has carried so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkStatistics {
    /// Waits of application threads for an answer that was not there yet.
    pub round_trips: u64,
    /// Connections that carried the session, one after the other.
    pub connections: u64,
    /// Those of them that carried it before their handshake was over (0-RTT).
    pub early_connections: u64,
    /// Connections whose early data the server refused; it was sent again.
    pub refused_early: u64,
    /// How often this robot's address changed and all connections went on from the new one. What only others see, as a new port that a
    /// translator gives, is not counted.
    pub migrations: u64,
    /// The longest that the server was silent though it had to be heard, while something was awaited; seen to 10 ms. On a link that is
    /// there it is about a round trip.
    pub longest_pause: Duration,
    /// Operators sent.
    pub operators: u64,
    /// Bytes of the control stream, robot to server.
    pub control_bytes_up: u64,
    /// Bytes of the control stream, server to robot.
    pub control_bytes_down: u64,
    /// Bytes of payloads on streams of their own, robot to server.
    pub bulk_bytes_up: u64,
    /// Bytes of payloads on streams of their own, server to robot.
    pub bulk_bytes_down: u64,
    /// What those up were on their streams: headers, and payloads that were coded as they travelled.
    pub bulk_wire_bytes_up: u64,
    /// What those down were on their streams.
    pub bulk_wire_bytes_down: u64,
    /// Bytes of UDP payloads sent: everything above, and QUIC's own.
    pub udp_bytes_up: u64,
    /// Bytes of UDP payloads received.
    pub udp_bytes_down: u64,
    /// Packets that QUIC found lost on the way up.
    pub lost_packets: u64,
    /// Smoothed round-trip time.
    pub rtt: Duration,
}

/// A session on a server. Dropping it closes the connection.
pub struct Link {
    shared: Arc<Shared>,
    welcome: Welcome,
}

impl Link {
    /// Connects and is welcomed, or not, within `config.connect_timeout`.
    ///
    /// # Errors
    /// Why not, in words that say what to do.
    pub fn connect(config: LinkConfig, memory: Arc<dyn ProgramMemory>) -> Result<Link, ConnectError> {
        Self::connect_in(None, config, memory)
    }

    /// The same from within a process that is not ours.
    ///
    /// # Errors
    /// As [`Link::connect`].
    pub fn connect_in(
        host: Option<Arc<dyn Host>>,
        config: LinkConfig,
        memory: Arc<dyn ProgramMemory>,
    ) -> Result<Link, ConnectError> {
        let deadline = Instant::now() + config.connect_timeout;
        let shared = Arc::new(Shared::new(&config, memory, host.is_some()));
        let server = config.server.clone();
        transport_thread::spawn(shared.clone(), config, Arc::new(OperatingSystem), host)?;
        let mut state = shared.lock();
        loop {
            if let Some(welcome) = state.engine.welcome().cloned() {
                drop(state);
                return Ok(Link { shared, welcome });
            }
            if let Some(error) = state.connect_error.take() {
                return Err(error);
            }
            if let Some(lost) = state.engine.lost() {
                return Err(ConnectError::Refused { server, reason: lost.to_string() });
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                state.engine.handle_lost(Lost("the connection attempt timed out".into()));
                shared.wake_writer(&mut state);
                shared.hot.notify(&shared.news);
                let suspicion = state.suspicion.take();
                return Err(ConnectError::Timeout { server }.or(suspicion));
            }
            state = shared.wait(state, left);
        }
    }

    /// The server's welcome.
    pub fn welcome(&self) -> &Welcome {
        &self.welcome
    }

    /// The error that every call gets from now on, if there is one.
    pub fn sticky(&self) -> Option<CuResult> {
        match self.shared.sticky.load(Ordering::Acquire) {
            0 => None,
            result => Some(CuResult(result)),
        }
    }

    /// Why the connection is gone, if it is.
    pub fn lost(&self) -> Option<String> {
        self.shared.lock().engine.lost().map(ToString::to_string)
    }

    /// Hands an operator to the engine. `register` learns its number under the engine's lock, before it can be sent:
    /// the place to note where a copy to the host goes. Blocks only while too much is unacknowledged.
    pub fn submit(
        &self,
        lane: u32,
        operator: Operator,
        payload: Option<Bytes>,
        register: impl FnOnce(u64),
    ) -> Submission {
        self.submit_in(self.shared.lock(), lane, operator, payload, register)
    }

    fn submit_in<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        lane: u32,
        mut operator: Operator,
        mut payload: Option<Bytes>,
        register: impl FnOnce(u64),
    ) -> Submission {
        let mut looks = None;
        loop {
            let submission = match state.engine.handle_submit(lane, operator, payload) {
                Submitted::Answered(outcome) => Submission::Answered(outcome),
                Submitted::Queued(number) => {
                    register(number);
                    Submission::Queued
                }
                Submitted::Awaits(number) => {
                    register(number);
                    self.shared.deliver(&mut state);
                    Submission::Awaits(number)
                }
                Submitted::Full(operator_back, payload_back) => {
                    (operator, payload) = (operator_back, payload_back);
                    self.shared.wake_writer(&mut state);
                    state = self.wait_patiently(state, &mut looks, false);
                    continue;
                }
            };
            self.shared.wake_writer_for_output(&mut state);
            return submission;
        }
    }

    /// Hands a launch to the engine, as [`Link::submit`] does with its operator; for less, where it is the next one of a run that is
    /// replayed.
    pub fn launch(&self, lane: u32, launch: &LaunchCall<'_>) -> Submission {
        let mut state = self.shared.lock();
        if state.engine.handle_next_launch(lane, launch).is_none() {
            return self.submit_in(state, lane, Operator::Launch(launch.to_launch()), None, |_| {});
        }
        self.shared.wake_writer_for_output(&mut state);
        Submission::Queued
    }

    /// Waits for an awaited operator's outcome. Ends with [`CuResult::DEVICE_UNAVAILABLE`] when the connection is lost,
    /// which a silent server brings about after `silence_timeout`. Gives each outcome once.
    pub fn wait(&self, number: u64) -> Outcome {
        let mut state = self.shared.lock();
        let mut blocked = false;
        let mut looks = None;
        loop {
            if let Some(outcome) = state.engine.poll_outcome(number) {
                return outcome;
            }
            if !state.engine.is_awaited(number) {
                return Err(state.engine.sticky().unwrap_or(CuResult::INVALID_HANDLE));
            }
            if !std::mem::replace(&mut blocked, true) {
                self.shared.counters.round_trips.fetch_add(1, Ordering::Relaxed);
                // What is awaited is on its way. Until it is back, this thread has nothing better to do.
                if state.engine.poll_search() {
                    self.shared.wake_writer(&mut state);
                }
            }
            state = self.wait_patiently(state, &mut looks, true);
        }
    }

    /// Waits for something new, and makes sure that somebody is there who tells. `looks`: the supervisor's, when nothing was new for
    /// as long as it is patient.
    fn wait_patiently<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
        looks: &mut Option<u64>,
        is_answer_close: bool,
    ) -> MutexGuard<'a, State> {
        let shared = &self.shared;
        let (since, patience) = (Instant::now(), shared.patience);
        let mut state =
            if is_answer_close { shared.wait_awake(state, patience) } else { shared.wait(state, patience) };
        if since.elapsed() >= patience {
            shared.look_after_transport(&mut state, looks);
        } else {
            *looks = None;
        }
        state
    }

    /// Submits, and waits if there is something to wait for.
    ///
    /// # Errors
    /// The operator's own error, or an earlier one that CUDA lets this call report.
    pub fn call(&self, lane: u32, operator: Operator, payload: Option<Bytes>) -> Outcome {
        match self.submit(lane, operator, payload, |_| {}) {
            Submission::Queued => Ok(Value::None),
            Submission::Awaits(number) => self.wait(number),
            Submission::Answered(outcome) => outcome,
        }
    }

    /// Whether the outcome of `number` is still to come.
    pub fn is_awaited(&self, number: u64) -> bool {
        self.shared.lock().engine.is_awaited(number)
    }

    /// What it has carried so far.
    pub fn statistics(&self) -> LinkStatistics {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.shared.counters;
        let state = self.shared.lock();
        let carried = state.before.and(state.connection.as_ref());
        LinkStatistics {
            round_trips: count(&counters.round_trips),
            connections: count(&counters.connections),
            early_connections: count(&counters.early_connections),
            refused_early: count(&counters.refused_early),
            migrations: count(&counters.migrations),
            longest_pause: Duration::from_micros(count(&counters.longest_pause_us)),
            operators: state.engine.next_number() - 1,
            control_bytes_up: count(&counters.control_up),
            control_bytes_down: count(&counters.control_down),
            bulk_bytes_up: count(&counters.bulk_up),
            bulk_bytes_down: count(&counters.bulk_down),
            bulk_wire_bytes_up: count(&counters.bulk_wire_up),
            bulk_wire_bytes_down: count(&counters.bulk_wire_down),
            udp_bytes_up: carried.up,
            udp_bytes_down: carried.down,
            lost_packets: carried.lost,
            rtt: state.connection.as_ref().map(quinn::Connection::rtt).unwrap_or_default(),
        }
    }

    /// What replay has done; nothing in the other modes.
    pub fn replay_statistics(&self) -> ReplayStatistics {
        self.shared.lock().engine.replay_statistics()
    }

    /// The next run of a sequence that was given up, for the log; each is given once. Only the latest are kept.
    pub fn poll_divergence(&self) -> Option<Divergence> {
        self.shared.lock().engine.poll_divergence()
    }

    /// Says goodbye and closes, within `limit`. What has not been sent by then is dropped; every later call fails. Takes no lock that
    /// cannot be had and allocates nothing: the thread may be inside of a call, interrupted by the signal that ends the program.
    pub fn close(&self, limit: Duration) {
        let now = Instant::now();
        let (deadline, last_look) = (now + limit, now + limit.max(LAST_LOOK));
        let shared = &self.shared;
        shared.is_closing.store(true, Ordering::Release);
        if !shared.hot.notify_until(&shared.news, last_look) {
            return;
        }
        let is_closed = || shared.lock_until(Instant::now()).is_some_and(|state| state.closed);
        while !is_closed() && Instant::now() < deadline {
            std::thread::sleep(LOOK_EVERY);
        }
        if let Some(mut state) = shared.lock_until(last_look) {
            state.engine.handle_lost(Lost("the link was closed".into()));
            shared.announce(&state);
            shared.wake_writer(&mut state);
            shared.hot.notify(&shared.news);
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.close(Duration::ZERO);
    }
}
