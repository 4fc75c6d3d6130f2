//! Keeps the session connected: watches the connection that carries it, and makes others when it does not.
//!
//! A connection that is lost, or silent although the server has to answer, is raced: others are begun beside it, with early
//! data (0-RTT) if there are tickets, and the one on which the server answers first is kept. If that is the old one, the others
//! are given up; an acknowledgement there is no answer, as what is sent may still be lost. A connection alone would find a link that has come back much later: QUIC asks ever more seldom, up to as long
//! again as the link was away.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use quinn::Connection;
use rrto_core::engine::Lost;
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::dialler::Dialler;
use super::pulse::Pulse;
use super::{ConnectError, LinkConfig, Path, Shared, path};
use crate::close;
use crate::streams::StreamError;
use crate::system::System;
use crate::tls::RobotTls;

/// How often the connection is looked at while something is awaited: short beside the patience with a silent server.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Time between two attempts: as good as at once for a person, and a few packets of traffic.
const ATTEMPT_EVERY: Duration = Duration::from_millis(60);

/// Attempts that are made so often, while something is awaited: 12 s, longer than a program waits unless told otherwise. After
/// them the time between two of them doubles.
const QUICK_ATTEMPTS: u32 = 200;

/// Even if nothing is awaited the server has to be reached before it gives the session up.
const ATTEMPT_AT_LEAST_EVERY: Duration = Duration::from_secs(5);

/// Attempts that may be under way: with round trips of less than 100 ms each has 300 ms for its answer, otherwise three
/// round trips.
const MOST_ATTEMPTS: usize = 6;

/// Attempts that may be under way at other addresses of the server: each has a second for its answer.
const MOST_ELSEWHERE: usize = 4;

/// After so many attempts without an answer the socket is given up as well: something between may remember it in a way that
/// does no good.
const ATTEMPTS_A_SOCKET: u32 = 8;

/// A server that has no room for a connection is asked again after this, and then after twice as long each time: a handshake that
/// takes the place may be over within a round trip..
const FIRST_RETRY: Duration = Duration::from_millis(50);

/// ..or last as long as a server waits for one.
const LAST_RETRY: Duration = Duration::from_secs(1);

/// Why the session is over.
pub(super) enum Failure {
    Connect(ConnectError),
    Stream(StreamError),
}

/// Connects, and carries the session to its end. As long as whoever connects is patient, it is tried again where there was no room at
/// the server, no network or no name service: each may come in a moment.
pub(super) async fn run(
    shared: &Arc<Shared>,
    config: LinkConfig,
    tls: RobotTls,
    system: &Arc<dyn System>,
) -> Result<(), Failure> {
    let awake = shared.clone();
    // Ends with the runtime.
    tokio::spawn(async move { awake.hot.keep_awake().await });
    let deadline = Instant::now() + config.connect_timeout;
    let mut pause = FIRST_RETRY;
    loop {
        let outcome = run_once(shared, config.clone(), &tls, system, deadline).await;
        let may_try_again = Instant::now() + pause < deadline && shared.lock().engine.lost().is_none();
        match outcome {
            Err(Failure::Connect(error)) if error.may_pass() && may_try_again => shared.suspect(error),
            outcome => return outcome,
        }
        sleep(pause).await;
        pause = LAST_RETRY.min(pause * 2);
    }
}

async fn run_once(
    shared: &Arc<Shared>,
    config: LinkConfig,
    tls: &RobotTls,
    system: &Arc<dyn System>,
    deadline: Instant,
) -> Result<(), Failure> {
    let server = config.server.clone();
    let connected = timeout_at(deadline, Dialler::connect(shared, &config, tls, system)).await;
    let connected = connected.unwrap_or(Err(ConnectError::Timeout { server: server.clone() }));
    let (dialler, connection) = connected.map_err(Failure::Connect)?;
    // Whatever seemed to be wrong before is not: the server is there.
    shared.lock().suspicion = Some(ConnectError::NoWelcome { server });
    let mut supervisor = Supervisor {
        shared: shared.clone(),
        config,
        tls: tls.clone(),
        tasks: JoinSet::new(),
        doubts: JoinSet::new(),
        lines: Vec::new(),
        next_number: 0,
        pulse: Pulse::new(Instant::now()),
        watched: None,
        answers: 0,
        answers_before: 0,
        heard: Instant::now(),
        awaited_since: None,
        attempts: Attempts::new(Instant::now()),
        rtt: Duration::ZERO,
        dialler,
        says_goodbye: false,
    };
    let home = supervisor.dialler.home();
    supervisor.begin(home, |shared, number| path::carry(shared, connection, number));
    supervisor.run().await
}

/// A connection that is under way, or carries the session.
struct Line {
    number: u64,
    /// To which of the server's addresses, or its relay's.
    address: SocketAddr,
    task: AbortHandle,
}

/// When to try again.
struct Attempts {
    made: u32,
    next: Instant,
    pause: Duration,
}

impl Attempts {
    fn new(now: Instant) -> Self {
        Attempts { made: 0, next: now, pause: ATTEMPT_EVERY }
    }

    fn handle_made(&mut self, now: Instant, rtt: Duration, is_awaited: bool) {
        self.made = self.made.saturating_add(1);
        if !is_awaited || self.made > QUICK_ATTEMPTS {
            self.pause = ATTEMPT_AT_LEAST_EVERY.min(self.pause * 2);
        }
        self.next = now + self.pause.max(rtt / 2);
    }
}

struct Supervisor {
    shared: Arc<Shared>,
    config: LinkConfig,
    tls: RobotTls,
    dialler: Dialler,
    tasks: JoinSet<(u64, Result<(), StreamError>)>,
    /// Ask the network why the server is silent.
    doubts: JoinSet<()>,
    /// Oldest first.
    lines: Vec<Line>,
    next_number: u64,
    /// Of the connection that carries the session.
    pulse: Pulse,
    /// Its number.
    watched: Option<u64>,
    /// What had come of its control stream when it was looked at.
    answers: u64,
    /// What had come of it when a connection was raced against it.
    answers_before: u64,
    /// When anything was heard of the server.
    heard: Instant,
    awaited_since: Option<Instant>,
    attempts: Attempts,
    /// Of the connection that carries the session, or did.
    rtt: Duration,
    /// The engine knows that the program has nothing more to say.
    says_goodbye: bool,
}

/// What a look at the state says.
struct Seen {
    is_lost: bool,
    is_awaited: bool,
    /// What has come of the control stream.
    answers: u64,
    /// The connection that carries the session.
    current: Option<(u64, Connection)>,
}

impl Supervisor {
    /// Takes a connection's task under supervision.
    fn begin<F>(&mut self, address: SocketAddr, task: impl FnOnce(Arc<Shared>, u64) -> F)
    where
        F: Future<Output = Result<(), StreamError>> + Send + 'static,
    {
        self.next_number += 1;
        let number = self.next_number;
        {
            let mut state = self.shared.lock();
            let channel = state.engine.open();
            state.paths.push(Path::new(number, channel));
        }
        let carried = task(self.shared.clone(), number);
        let task = self.tasks.spawn(async move { (number, carried.await) });
        self.lines.push(Line { number, address, task });
    }

    async fn run(&mut self) -> Result<(), Failure> {
        loop {
            let now = Instant::now();
            self.shared.looks.fetch_add(1, Ordering::Relaxed);
            let is_closing = self.shared.is_closing.load(Ordering::Acquire);
            // Once: it wakes this task too.
            if is_closing && !std::mem::replace(&mut self.says_goodbye, true) {
                self.say_goodbye();
            }
            let seen = self.see(now);
            if is_closing && self.lines.is_empty() {
                return Ok(());
            }
            if seen.is_lost && (seen.current.is_none() || self.lines.is_empty()) {
                return Ok(());
            }
            let next = self.attend(now, &seen)?;
            let shared = self.shared.clone();
            let mut may_have_moved = false;
            tokio::select! {
                biased;
                Some(ended) = self.tasks.join_next() => {
                    if let Some(outcome) = self.handle_ended(ended) {
                        return outcome;
                    }
                }
                () = shared.news.notified() => {}
                () = self.dialler.routes_changed() => may_have_moved = true,
                () = sleep_until(next.unwrap_or(now)), if next.is_some() => {}
            }
            // A robot in another network is there at once: the old connection goes on from the new address, and if it was
            // silent another one is tried.
            if may_have_moved && self.dialler.follow_source() {
                self.shared.counters.migrations.fetch_add(1, Ordering::Relaxed);
                self.attempts = Attempts::new(Instant::now());
            }
        }
    }

    fn say_goodbye(&self) {
        let mut state = self.shared.lock();
        state.engine.handle_goodbye();
        self.shared.wake_writer(&mut state);
    }

    fn see(&mut self, now: Instant) -> Seen {
        let seen = {
            let state = self.shared.lock();
            let number = state.current.filter(|number| state.paths.iter().any(|path| path.number == *number));
            Seen {
                is_lost: state.engine.lost().is_some(),
                is_awaited: state.engine.is_outstanding(),
                answers: state.answers,
                current: number.zip(state.connection.clone()),
            }
        };
        if let Some((number, connection)) = &seen.current {
            if self.watched.replace(*number) != Some(*number) {
                self.pulse = Pulse::new(now);
                self.attempts = Attempts::new(now);
                if let Some(line) = self.lines.iter().find(|line| line.number == *number) {
                    self.dialler.settle(line.address);
                }
                self.forget_doubts();
            }
            self.pulse.update(now, &connection.stats());
            self.heard = self.heard.max(self.pulse.heard());
            self.rtt = connection.rtt();
        }
        match (seen.is_awaited, self.awaited_since) {
            (true, None) => {
                self.awaited_since = Some(now);
                self.pulse.handle_answer();
                self.attempts = Attempts::new(now);
            }
            (false, _) => self.awaited_since = None,
            (true, Some(_)) => {}
        }
        self.note_pause(now, &seen);
        seen
    }

    fn note_pause(&self, now: Instant, seen: &Seen) {
        let silent_since = match &seen.current {
            Some(_) => self.pulse.unanswered_since(),
            None => Some(self.heard),
        };
        if let (Some(awaited), Some(silent)) = (self.awaited_since, silent_since) {
            let pause = now.duration_since(awaited.max(silent)).as_micros();
            let pause = u64::try_from(pause).unwrap_or(u64::MAX);
            self.shared.counters.longest_pause_us.fetch_max(pause, Ordering::Relaxed);
        }
    }

    /// Does what there is to do; gives when to look again, if not only when there are news.
    fn attend(&mut self, now: Instant, seen: &Seen) -> Result<Option<Instant>, Failure> {
        if let Some(since) = self.awaited_since
            && now.duration_since(since.max(self.heard)) >= self.config.silence_timeout
        {
            return Err(Failure::Stream(self.silent()));
        }
        let is_silent = match &seen.current {
            Some(_) => self.pulse.is_silent(now, self.rtt),
            // The first connection is given up by whoever waits for it.
            None => self.shared.lock().engine.welcome().is_some(),
        };
        if is_silent {
            // After a goodbye a new connection would ask for a session that is no more.
            if self.shared.is_closing.load(Ordering::Acquire) {
                return Ok(Some(now + LOOK_EVERY));
            }
            if now >= self.attempts.next {
                self.attempt(now, seen);
            }
            let soon = if seen.is_awaited { Some(now + LOOK_EVERY) } else { self.rest(now) };
            return Ok(Some(soon.map_or(self.attempts.next, |soon| soon.min(self.attempts.next))));
        }
        if let Some((number, _)) = &seen.current {
            if self.attempts.made > 0 {
                self.attempts = Attempts::new(now);
                self.forget_doubts();
            }
            // That something was heard does not say that anything arrives there.
            if seen.answers != self.answers_before {
                self.give_up_others(*number);
            }
            if !seen.is_awaited {
                return Ok(self.rest(now));
            }
            self.probe(now, *number, seen.answers);
        }
        Ok(Some(now + LOOK_EVERY))
    }

    /// The server has been silent for too long; why, if the network has told.
    fn silent(&self) -> StreamError {
        let silence = self.config.silence_timeout;
        match self.shared.lock().suspicion.take() {
            Some(why) => StreamError::Unreachable(silence, why.to_string()),
            None => StreamError::Silent(silence),
        }
    }

    /// Nothing is awaited: the writer says when that changes.
    fn rest(&self, now: Instant) -> Option<Instant> {
        self.shared.resting.store(true, Ordering::Release);
        // It may have changed just before.
        let is_awaited = self.shared.lock().engine.is_outstanding();
        is_awaited.then_some(now + LOOK_EVERY)
    }

    fn probe(&mut self, now: Instant, number: u64, answers: u64) {
        if std::mem::replace(&mut self.answers, answers) != answers {
            self.pulse.handle_answer();
        }
        if self.pulse.poll_probe(now) {
            let mut state = self.shared.lock();
            let super::State { engine, paths, .. } = &mut *state;
            if let Some(path) = paths.iter_mut().find(|path| path.number == number) {
                engine.handle_silence(&mut path.channel);
            }
            self.shared.wake_writer_for_output(&mut state);
        }
    }

    /// Tries another connection.
    fn attempt(&mut self, now: Instant, seen: &Seen) {
        self.attempts.handle_made(now, self.rtt, seen.is_awaited);
        self.answers_before = seen.answers;
        if self.attempts.made == ATTEMPTS_A_SOCKET {
            let (objection, shared) = (self.dialler.objection(), self.shared.clone());
            self.doubts
                .spawn(async move { objection.await.into_iter().for_each(|error| shared.suspect(error)) });
        }
        if self.attempts.made.is_multiple_of(ATTEMPTS_A_SOCKET) {
            // Without a new socket the old one goes on.
            let _ = self.dialler.rebind();
        }
        let current = seen.current.as_ref().map(|(number, _)| *number);
        let home = self.dialler.home();
        self.make_room(current, |address| address == home, MOST_ATTEMPTS);
        // A system that has no way to the server may have one the next time.
        if let Ok(connecting) = self.dialler.dial() {
            self.begin(home, |shared, number| path::resume(shared, connecting, number));
        }
        if let Some((address, connecting)) = self.dialler.dial_other(now) {
            self.make_room(current, |address| address != home, MOST_ELSEWHERE);
            self.begin(address, |shared, number| path::resume(shared, connecting, number));
        }
    }

    /// The server was heard: whatever seemed to be wrong is not.
    fn forget_doubts(&mut self) {
        self.doubts = JoinSet::new();
        self.shared.lock().suspicion = None;
    }

    /// Gives the oldest attempt up at the addresses that `is_there` means, if as many as there may be are under way.
    fn make_room(&mut self, current: Option<u64>, is_there: impl Fn(SocketAddr) -> bool, most: usize) {
        let is_attempt = |line: &&Line| Some(line.number) != current && is_there(line.address);
        let mut attempts = self.lines.iter().filter(is_attempt).map(|line| line.number);
        let oldest = attempts.next();
        if let Some(oldest) = oldest
            && attempts.count() + 1 >= most
        {
            self.give_up(oldest);
        }
    }

    /// The connection that carries the session is alive: none other is needed, unless the server has taken it already.
    fn give_up_others(&mut self, current: u64) {
        let others = self.lines.iter().map(|line| line.number).filter(|number| *number != current);
        let others: Vec<u64> = others.collect();
        for number in others {
            let is_answered = self.shared.lock().path(number).is_some_and(|path| path.is_connected);
            if !is_answered {
                self.give_up(number);
            }
        }
    }

    fn give_up(&mut self, number: u64) {
        {
            let mut state = self.shared.lock();
            for path in state.paths.extract_if(.., |path| path.number == number) {
                path.close(close::SUPERSEDED);
            }
        }
        for line in self.lines.extract_if(.., |line| line.number == number) {
            line.task.abort();
        }
    }

    /// A connection is over; gives how the session ended, if it has.
    fn handle_ended(
        &mut self,
        ended: Result<(u64, Result<(), StreamError>), JoinError>,
    ) -> Option<Result<(), Failure>> {
        let (number, outcome) = match ended {
            Ok(ended) => ended,
            // One that was given up.
            Err(error) if error.is_cancelled() => return None,
            Err(error) => {
                self.shared.lock().engine.handle_lost(Lost(error.to_string()));
                return Some(Ok(()));
            }
        };
        self.lines.retain(|line| line.number != number);
        let mut state = self.shared.lock();
        let has_said_goodbye = state.path(number).is_some_and(|path| path.channel.said_goodbye());
        state.paths.retain(|path| path.number != number);
        let is_welcomed = state.engine.welcome().is_some();
        match outcome {
            Ok(()) => Some(Ok(())),
            // The server ends a connection at the goodbye, and which of the two is seen first is chance.
            Err(_) if has_said_goodbye => Some(Ok(())),
            Err(StreamError::Superseded) => None,
            Err(error @ StreamError::Wire(_)) => Some(Err(Failure::Stream(error))),
            Err(error) if !is_welcomed => Some(Err(self.not_connected(error))),
            Err(_) => None,
        }
    }

    fn not_connected(&self, error: StreamError) -> Failure {
        match error.of_connection() {
            Some(error) => Failure::Connect(ConnectError::of(&self.config.server, error, &self.tls)),
            None => Failure::Stream(error),
        }
    }
}
