//! What a link's faces and its transport thread share.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rrto_core::engine::client::Channel;
use rrto_core::engine::{Client, Lost};
use rrto_core::replay::NEAR;
use tokio::sync::Notify;

use super::carried::Carried;
use super::{ConnectError, LinkConfig, ProgramMemory, Tap};
use crate::coding::Coding;
use crate::hot::{Hot, lock_until};
use crate::signal::Signal;

/// Looks for an answer between two at the clock.
const LOOKS_BETWEEN_CLOCKS: u32 = 32;

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) round_trips: AtomicU64,
    pub(super) connections: AtomicU64,
    pub(super) early_connections: AtomicU64,
    pub(super) refused_early: AtomicU64,
    pub(super) migrations: AtomicU64,
    pub(super) longest_pause_us: AtomicU64,
    pub(super) control_up: AtomicU64,
    pub(super) control_down: AtomicU64,
    pub(super) bulk_up: AtomicU64,
    pub(super) bulk_down: AtomicU64,
    pub(super) bulk_wire_up: AtomicU64,
    pub(super) bulk_wire_down: AtomicU64,
}

pub(super) struct State {
    pub(super) engine: Client,
    /// Connections that have been made, some of which may come to nothing.
    pub(super) paths: Vec<Path>,
    /// Application threads that wait for `changed`.
    pub(super) waiting: u32,
    /// The transport thread has nothing left to do.
    pub(super) closed: bool,
    /// Why no connection came about, until [`Link::connect`] takes it.
    pub(super) connect_error: Option<ConnectError>,
    /// What is wrong, as far as it seems, while the connection is still being tried.
    pub(super) suspicion: Option<ConnectError>,
    /// The path that carries the session, or did.
    pub(super) current: Option<u64>,
    /// Pieces of its control stream that have come.
    pub(super) answers: u64,
    /// Its connection.
    pub(super) connection: Option<quinn::Connection>,
    /// What UDP has carried on those before it.
    pub(super) before: Carried,
}

/// A connection's part of the session.
pub(super) struct Path {
    pub(super) number: u64,
    pub(super) channel: Channel,
    /// Once it can be used.
    pub(super) connection: Option<quinn::Connection>,
    /// The server has answered: its handshake is over.
    pub(super) is_connected: bool,
    /// It began with early data, which the server has not refused.
    pub(super) is_early: bool,
    /// The writer waits for `transmit`; whoever gives it work wakes it, once.
    pub(super) writer_idle: bool,
    pub(super) transmit: Arc<Notify>,
}

impl State {
    pub(super) fn path(&mut self, number: u64) -> Option<&mut Path> {
        self.paths.iter_mut().find(|path| path.number == number)
    }
}

pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    pub(super) changed: Signal,
    /// The supervisor of the connections has something to look at.
    pub(super) news: Arc<Notify>,
    /// The program has nothing more to say: what is to be sent yet is sent, and no connection is made anew.
    pub(super) is_closing: AtomicBool,
    /// How often the supervisor has looked at the connection. It does while something is awaited.
    pub(super) looks: AtomicU64,
    /// It looks at nothing until there are news.
    pub(super) resting: AtomicBool,
    /// How often there was something new for whoever waits.
    pub(super) announced: AtomicU64,
    /// The transport thread.
    pub(super) hot: Hot,
    /// The engine's sticky error, 0 if none: read by every call of the program without the lock.
    pub(super) sticky: AtomicU32,
    pub(super) counters: Counters,
    pub(super) memory: Arc<dyn ProgramMemory>,
    pub(super) tap: Option<Arc<dyn Tap>>,
    /// No wait looks away from the state for longer than this.
    pub(super) patience: Duration,
    /// Of payloads to the server.
    pub(super) coding: Coding,
}

impl Shared {
    /// `has_bell`: the transport thread is woken by a bell.
    pub(super) fn new(config: &LinkConfig, memory: Arc<dyn ProgramMemory>, has_bell: bool) -> Self {
        let state = State {
            engine: Client::new(config.mode, &config.program, config.limits),
            paths: Vec::new(),
            waiting: 0,
            closed: false,
            connect_error: None,
            suspicion: None,
            current: None,
            answers: 0,
            connection: None,
            before: Carried::default(),
        };
        Shared {
            state: Mutex::new(state),
            changed: Signal::default(),
            news: Arc::new(Notify::new()),
            is_closing: AtomicBool::new(false),
            looks: AtomicU64::new(0),
            resting: AtomicBool::new(false),
            announced: AtomicU64::new(0),
            hot: if has_bell { Hot::new(NEAR).with_bell() } else { Hot::new(NEAR) },
            sticky: AtomicU32::new(0),
            counters: Counters::default(),
            memory,
            tap: config.tap.clone(),
            patience: config.silence_timeout,
            coding: config.coding,
        }
    }

    /// A panic while the lock was held cannot leave the engine half changed in a way that matters more than going on.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lock, if it can be had by then.
    pub(super) fn lock_until(&self, deadline: Instant) -> Option<MutexGuard<'_, State>> {
        lock_until(&self.state, deadline)
    }

    pub(super) fn wait<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        limit: Duration,
    ) -> MutexGuard<'a, State> {
        state.waiting += 1;
        let (mut state, _) = self.changed.wait_timeout(state, limit);
        state.waiting -= 1;
        state
    }

    /// The same, without sleeping while the answer is close.
    pub(super) fn wait_awake<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
        limit: Duration,
    ) -> MutexGuard<'a, State> {
        let seen = self.announced.load(Ordering::Acquire);
        drop(state);
        let is_new = || self.announced.load(Ordering::Acquire) != seen;
        while self.hot.is_awake() && !is_new() {
            (0..LOOKS_BETWEEN_CLOCKS).take_while(|_| !is_new()).for_each(|_| std::hint::spin_loop());
        }
        let state = self.lock();
        if is_new() { state } else { self.wait(state, limit) }
    }

    pub(super) fn wake_writer(&self, state: &mut State) {
        for path in &mut state.paths {
            if std::mem::take(&mut path.writer_idle) {
                self.hot.notify(&path.transmit);
            }
        }
        self.wake_supervisor();
    }

    /// Wakes the writers that have something to do: in a replayed segment none has, and waking one costs more than the call
    /// itself.
    pub(super) fn wake_writer_for_output(&self, state: &mut State) {
        let State { engine, paths, .. } = state;
        for path in paths {
            if path.writer_idle && engine.has_output(&path.channel) {
                path.writer_idle = false;
                self.hot.notify(&path.transmit);
            }
        }
        self.wake_supervisor();
    }

    /// Writes what has come to the program's memory.
    pub(super) fn deliver(&self, state: &mut State) {
        while let Some(delivery) = state.engine.poll_delivery() {
            self.memory.deliver(delivery.number, 0, &delivery.bytes);
        }
    }

    /// From now on something may be awaited, so somebody has to watch whether the server is there.
    pub(super) fn wake_supervisor(&self) {
        if self.resting.load(Ordering::Relaxed) && self.resting.swap(false, Ordering::AcqRel) {
            self.hot.notify(&self.news);
        }
    }

    /// Whoever waits looks at the engine again.
    pub(super) fn announce(&self, state: &State) {
        if let Some(sticky) = state.engine.sticky() {
            self.sticky.store(sticky.0, Ordering::Release);
        }
        self.announced.fetch_add(1, Ordering::Release);
        if state.waiting > 0 {
            self.changed.notify_all();
        }
    }

    /// Notes what seems to be wrong, to be told if nothing comes of the connection.
    pub(super) fn suspect(&self, error: ConnectError) {
        let mut state = self.lock();
        let before = state.suspicion.take();
        state.suspicion = Some(error.or(before));
    }

    pub(super) fn lose(&self, reason: String) {
        let mut state = self.lock();
        state.engine.handle_lost(Lost(reason));
        self.announce(&state);
        self.hot.notify(&self.news);
    }

    /// Nothing has come for as long as the transport thread is patient. It has said so itself, unless it is not there any more or
    /// does not hear: a system call that starts a process without telling anybody, `fork` of an old kind, leaves it behind.
    pub(super) fn look_after_transport(&self, state: &mut State, looks: &mut Option<u64>) {
        let seen = self.looks.load(Ordering::Relaxed);
        if looks.replace(seen) == Some(seen) {
            state.engine.handle_lost(Lost("the transport thread does not answer".into()));
            self.announce(state);
        }
        self.hot.notify(&self.news);
    }
}
