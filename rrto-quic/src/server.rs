//! The server's side: accepts connections, and gives each session's executor thread a blocking face.

#[cfg(feature = "testing")]
mod asynchronous;
mod connection;
mod listener;
mod look;
mod places;
mod registry;
mod trust;
mod unheard;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

pub use listener::Listener;
use quinn::Connection;
use rrto_core::engine::server::Channel;
use rrto_core::engine::{Server, ServerLimits, Work};
use rrto_core::operator::Outcome;
use rrto_core::wire::{Hello, Refusal, SessionToken, Welcome};
use tokio::sync::Notify;
pub use trust::Reloader;

use self::registry::Registry;
use crate::coding::Coding;
use crate::congestion::Congestion;
use crate::hot::Hot;
use crate::relay::RoomKeyError;
use crate::signal::Signal;
use crate::staging::Staging;
use crate::tls::{Credentials, CredentialsError};

/// How long an executor has nothing to do before what it executed is acknowledged.
const IDLE_BEFORE_ACKNOWLEDGING: Duration = Duration::from_millis(2);

/// Between the calls of an inference a program is silent for less than this.
const QUIET: Duration = Duration::from_millis(50);

/// How long an output may be on its way to a robot that has not said that it has it.
const DELIVERY_LIMIT: Duration = Duration::from_secs(2);

/// Where to listen, as whom, and within which bounds.
#[derive(Clone, Debug)]
pub struct ServeConfig {
    /// UDP address.
    pub listen: SocketAddr,
    /// The server's.
    pub credentials: Credentials,
    /// Bounds of one session.
    pub limits: ServerLimits,
    /// A connection that is silent for so long is over.
    pub idle_timeout: Duration,
    /// How fast to send.
    pub congestion: Congestion,
    /// How long a session is kept without a connection, for its robot to come back.
    pub grace: Duration,
    /// Sessions that may be without a connection at a time. If another one gets there, the one that has been for longest
    /// is over.
    pub max_waiting: u32,
    /// Connections at a time, those in their handshake counted in. More than sessions, so that a full server can say so, and
    /// robots can have a new one before the old one is known to be gone: one that comes back to its link has for a round trip
    /// or two up to six attempts beside the old one. While half of them are handshakes, whoever wants another one has to show that its
    /// address is its own, which costs a round trip.
    pub max_connections: u32,
    /// Whether payloads to robots are coded; what comes is decoded in any case.
    pub coding: Coding,
}

/// Why a server cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The server's certificate files cannot be used.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The secret of the relay's room cannot be used.
    #[error(transparent)]
    Room(#[from] RoomKeyError),
    /// The address cannot be had.
    #[error("cannot listen on UDP {address}: {cause}")]
    Listen {
        /// As configured.
        address: SocketAddr,
        /// Why.
        cause: io::Error,
    },
}

/// A client that is taken in.
pub struct Admission {
    /// What it is told; the session's number is filled in.
    pub welcome: Welcome,
    /// Executes its session, on a thread of its own. The session is over when this returns.
    pub run: Box<dyn FnOnce(Session) + Send>,
}

/// What a listener has done to have room for those who are there, or come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Counted {
    /// A client had to show that it gets what is sent to its address.
    AddressAsked,
    /// A connection was refused: robots have all places.
    Full,
    /// A handshake gave way to another one.
    HandshakeGaveWay,
    /// A robot's oldest connection gave way to a newer one of that robot.
    ConnectionGaveWay,
    /// A session without a connection gave way to a newer one of its robot.
    SessionGaveWay,
    /// A session is over because its program's host says that it is gone.
    ProgramGone,
}

/// Decides about clients.
pub trait Gate: Send + Sync + 'static {
    /// Takes a client in or turns it away. `robot` is the common name of its certificate, which the authority signed.
    ///
    /// # Errors
    /// What the client is told.
    fn admit(&self, robot: &str, peer: SocketAddr, hello: &Hello) -> Result<Admission, Refusal>;

    /// Is told what happens, for metrics.
    fn count(&self, what: Counted) {
        let _ = what;
    }
}

/// What an executor does next.
#[derive(Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "nearly every one is the large one, and it is moved once")]
pub enum Next {
    /// Execute this.
    Ready(Work),
    /// Nothing came within the wait.
    Idle,
    /// The session is over, for this reason. Nothing more will come.
    Over(String),
}

/// What a session has carried so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionStatistics {
    /// Operators given to the executor.
    pub operators: u64,
    /// Control and payload bytes from the robot.
    pub bytes_up: u64,
    /// Control and payload bytes to the robot.
    pub bytes_down: u64,
}

struct State {
    engine: Server,
    /// Connections, some of which may be gone without it being known, and some not be the client's.
    paths: Vec<Path>,
    paths_opened: u64,
    /// How many have turned out to be the client's.
    connections: u64,
    over: Option<String>,
}

/// A connection of a session.
struct Path {
    number: u64,
    channel: Channel,
    connection: Connection,
    /// The handshake is over: it is the client's.
    is_confirmed: bool,
    /// How often its host has said that nobody is there.
    reports: u64,
    /// Because of that, somebody looks whether the client is there.
    is_looked_at: bool,
    writer_idle: bool,
    /// The writer has something to send.
    transmit: Arc<Notify>,
}

impl State {
    fn path(&mut self, number: u64) -> Option<&mut Path> {
        self.paths.iter_mut().find(|path| path.number == number)
    }
}

struct Shared {
    id: u64,
    robot: String,
    /// Where it was when it said hello.
    peer: SocketAddr,
    /// What it proved then to be.
    certificate: Vec<u8>,
    token: SessionToken,
    state: Mutex<State>,
    /// Something arrived, or the session is over.
    arrived: Signal,
    /// How often that has happened.
    arrivals: AtomicU64,
    /// The executor made room for more of the control stream.
    room: Notify,
    operators: AtomicU64,
    bytes_up: AtomicU64,
    bytes_down: AtomicU64,
    staging: OnceLock<Arc<dyn Staging>>,
    /// The transport thread.
    hot: Arc<Hot>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Shared {
    fn new(
        id: u64,
        (robot, peer, certificate): (String, SocketAddr, Vec<u8>),
        token: SessionToken,
        limits: ServerLimits,
        hot: Arc<Hot>,
    ) -> Self {
        let engine = Server::new(limits);
        Shared {
            id,
            robot,
            peer,
            certificate,
            token,
            state: Mutex::new(State {
                engine,
                paths: Vec::new(),
                paths_opened: 0,
                connections: 0,
                over: None,
            }),
            arrived: Signal::default(),
            arrivals: AtomicU64::new(0),
            room: Notify::new(),
            operators: AtomicU64::new(0),
            bytes_up: AtomicU64::new(0),
            bytes_down: AtomicU64::new(0),
            staging: OnceLock::new(),
            hot,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_writer(&self, state: &mut State) {
        for path in &mut state.paths {
            if state.engine.has_output(&path.channel) && std::mem::take(&mut path.writer_idle) {
                self.hot.notify(&path.transmit);
            }
        }
    }

    /// Ends the session on both sides, for a reason that is the client's to know.
    fn end(&self, reason: &str) {
        let mut state = self.lock();
        state.engine.handle_end(reason);
        state.over.get_or_insert_with(|| reason.to_owned());
        self.wake_writer(&mut state);
        self.announce_arrival();
    }

    fn set_over(&self, reason: String) {
        self.lock().over.get_or_insert(reason);
        self.announce_arrival();
    }

    /// Whether nothing of it is left to be done but to free what it holds.
    fn is_over(&self) -> bool {
        let state = self.lock();
        state.over.is_some() || state.engine.is_finished() || state.engine.is_ended()
    }

    /// Whether it has been without a connection ever since it was for the `time`th time.
    fn is_waiting(&self, time: u64) -> bool {
        let state = self.lock();
        state.connections == time && !state.paths.iter().any(|path| path.is_confirmed) && state.over.is_none()
    }

    /// There is something new for the executor; called after it can be seen.
    fn announce_arrival(&self) {
        self.arrivals.fetch_add(1, Ordering::Release);
        self.arrived.notify_one();
    }
}

/// The executor's end of a session. Dropping it ends the session.
pub struct Session {
    shared: Arc<Shared>,
    registry: Arc<Registry>,
    /// Arrivals after which there was nothing left to do.
    exhausted: AtomicU64,
}

impl Session {
    fn new(shared: Arc<Shared>, registry: Arc<Registry>) -> Self {
        Session { shared, registry, exhausted: AtomicU64::new(u64::MAX) }
    }

    /// Names it in both logs.
    pub fn id(&self) -> u64 {
        self.shared.id
    }

    /// The common name in the robot's certificate.
    pub fn robot(&self) -> &str {
        &self.shared.robot
    }

    /// Where it came from when it began.
    pub fn peer(&self) -> SocketAddr {
        self.shared.peer
    }

    /// From now on bulk payloads are put there, as long as there is a place for them. What was told first stays.
    pub fn stage_in(&self, staging: Arc<dyn Staging>) {
        let _ = self.shared.staging.set(staging);
    }

    /// The next operator, waiting at most `wait` for it. Without a wait this costs a few nanoseconds where nothing has
    /// arrived, and keeps no lock from those who take in what arrives.
    pub fn next(&self, wait: Duration) -> Next {
        let arrivals = self.shared.arrivals.load(Ordering::Acquire);
        if wait.is_zero() && arrivals == self.exhausted.load(Ordering::Relaxed) {
            return Next::Idle;
        }
        let deadline = Instant::now() + wait;
        let mut acknowledged = false;
        let mut state = self.shared.lock();
        loop {
            if let Some(over) = &state.over {
                return Next::Over(over.clone());
            }
            match state.engine.poll_ready() {
                Ok(Some(ready)) => {
                    let operators = match &ready {
                        Work::Operator(_) => 1,
                        Work::Span { span, .. } => span.count.into(),
                        Work::Retire(_) => 0,
                    };
                    self.shared.operators.fetch_add(operators, Ordering::Relaxed);
                    self.shared.room.notify_one();
                    self.shared.wake_writer(&mut state);
                    return Next::Ready(ready);
                }
                Ok(None) if state.engine.is_finished() => return Next::Over("the program has ended".into()),
                Ok(None) => {}
                Err(error) => {
                    let reason = format!("protocol error: {error}");
                    state.engine.handle_end(&reason);
                    self.shared.wake_writer(&mut state);
                    return Next::Over(reason);
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                // What arrived since the count was taken counts anew.
                self.exhausted.store(arrivals, Ordering::Relaxed);
                return Next::Idle;
            }
            let nap = if acknowledged { left } else { left.min(IDLE_BEFORE_ACKNOWLEDGING) };
            let (next, timed_out) = self.shared.arrived.wait_timeout(state, nap);
            state = next;
            if timed_out && !std::mem::replace(&mut acknowledged, true) {
                state.engine.handle_idle();
                self.shared.wake_writer(&mut state);
            }
            // Looks at the engine again even after a timeout: something may have arrived just then.
        }
    }

    /// Frees what another session of the same robot holds that has no connection, if there is one, and waits for that, some
    /// seconds at most; whether anything was freed. For an executor that finds the device full.
    pub fn make_room(&self) -> bool {
        self.registry.make_room_blocking(&self.shared.robot, &self.shared.token)
    }

    /// Why it is over, if it is.
    pub fn over(&self) -> Option<String> {
        self.shared.lock().over.clone()
    }

    /// Whether it is to end because the server does, and nothing is lost by it: everything that came is executed and
    /// answered, `idle` ago.
    pub fn may_end(&self, idle: Duration) -> bool {
        if !self.registry.is_draining() || idle < QUIET {
            return false;
        }
        let state = self.shared.lock();
        state.engine.is_settled() && (idle >= DELIVERY_LIMIT || !state.engine.has_unconfirmed_payloads())
    }

    /// Tells how an operator ended.
    pub fn finish(&self, number: u64, outcome: Outcome) {
        let mut state = self.shared.lock();
        state.engine.handle_outcome(number, outcome);
        self.shared.wake_writer(&mut state);
    }

    /// Ends the session for a reason that is the client's to know.
    pub fn end(&self, reason: &str) {
        let mut state = self.shared.lock();
        state.engine.handle_end(reason);
        self.shared.wake_writer(&mut state);
    }

    /// What it has carried so far.
    pub fn statistics(&self) -> SessionStatistics {
        SessionStatistics {
            operators: self.shared.operators.load(Ordering::Relaxed),
            bytes_up: self.shared.bytes_up.load(Ordering::Relaxed),
            bytes_down: self.shared.bytes_down.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.registry.remove(&self.shared.token);
        let mut state = self.shared.lock();
        // Whether or not a reason was told before, the client must not wait for a session that nobody executes.
        state.engine.handle_end("the session is over");
        state.over.get_or_insert("the executor has ended".into());
        for path in &mut state.paths {
            path.writer_idle = false;
            path.transmit.notify_one();
        }
        drop(state);
        self.shared.room.notify_waiters();
    }
}
