//! The sessions that there are, by what their clients call them, and how long they are kept without a connection.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rrto_core::wire::{Refusal, SessionToken, TOKEN_BYTES};
use tokio::sync::Notify;
use tracing::info;

use super::places::Count;
use super::{Counted, Shared};

/// How long a new program waits for the memory of a dead one before it is welcomed, and sees how much there is.
const WELCOME_LIMIT: Duration = Duration::from_millis(500);

/// How long somebody waits for a session that is over to be freed: what its worker may take to end, and a little.
const FREE_LIMIT: Duration = Duration::from_secs(3);

/// All sessions of a listener.
pub(super) struct Registry {
    /// How long a session is kept without a connection.
    grace: Duration,
    /// Sessions that may be without one at a time; of the robot that has most of them, the one that has been so for longest
    /// gives way.
    most_waiting: usize,
    count: Mutex<Option<Count>>,
    state: Mutex<State>,
    draining: AtomicBool,
    /// There is one session less.
    fewer: Notify,
    fewer_for_threads: Condvar,
}

#[derive(Default)]
struct State {
    sessions: HashMap<SessionToken, Arc<Shared>>,
    /// Those without a connection, with which time that is for them, longest first. Some of them may have got one since.
    waiting: VecDeque<(SessionToken, u64)>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

impl State {
    /// The session that has waited for longest of those that are `wanted`.
    fn longest_waiting(&self, wanted: impl Fn(&Shared) -> bool) -> Option<&Arc<Shared>> {
        let mut waiting = self.waiting.iter().filter_map(|(token, time)| {
            let session = self.sessions.get(token)?;
            (session.is_waiting(*time) && wanted(session)).then_some(session)
        });
        waiting.next()
    }

    /// Who gives way where too many wait.
    fn displaced(&self) -> Option<&Arc<Shared>> {
        let robots =
            self.waiting.iter().filter_map(|(token, _)| Some(self.sessions.get(token)?.robot.as_str()));
        let mut counts: HashMap<&str, usize> = HashMap::new();
        robots.for_each(|robot| *counts.entry(robot).or_default() += 1);
        let most = counts.values().copied().max()?;
        self.longest_waiting(|session| counts.get(session.robot.as_str()) == Some(&most))
    }
}

impl Registry {
    pub(super) fn new(grace: Duration, most_waiting: usize) -> Self {
        Registry {
            grace,
            most_waiting,
            draining: AtomicBool::new(false),
            count: Mutex::default(),
            state: Mutex::default(),
            fewer: Notify::new(),
            fewer_for_threads: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on `count` is told what happens.
    pub(super) fn set_count(&self, count: Count) {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner) = Some(count);
    }

    pub(super) fn count(&self, what: Counted) {
        let count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        count.iter().for_each(|count| count(what));
    }

    pub(super) fn insert(&self, session: Arc<Shared>) {
        self.lock().sessions.insert(session.token, session);
    }

    pub(super) fn remove(&self, token: &SessionToken) {
        self.lock().sessions.remove(token);
        self.fewer.notify_waiters();
        self.fewer_for_threads.notify_all();
    }

    /// From now on there are no new sessions, and those that there are end when they can.
    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Waits until there is no session.
    pub(super) async fn empty(&self) {
        self.until(|| self.lock().sessions.is_empty()).await;
    }

    pub(super) fn all(&self) -> Vec<Arc<Shared>> {
        self.lock().sessions.values().cloned().collect()
    }

    /// The session that `robot` calls so.
    ///
    /// # Errors
    /// There is none, or it is another robot's: whoever asks is told the same.
    pub(super) fn find(&self, token: &SessionToken, robot: &str) -> Result<Arc<Shared>, Refusal> {
        let found = self.lock().sessions.get(token).cloned();
        found.filter(|session| session.robot == robot).ok_or(Refusal::Unknown)
    }

    /// The connections of `robot`'s sessions, with their numbers there and their peers.
    pub(super) fn connections_of(&self, robot: &str) -> Vec<(Arc<Shared>, u64, SocketAddr)> {
        let mut connections = Vec::new();
        for session in self.all().into_iter().filter(|session| session.robot == robot) {
            let state = session.lock();
            let confirmed = state.paths.iter().filter(|path| path.is_confirmed);
            connections.extend(
                confirmed.map(|path| (session.clone(), path.number, path.connection.remote_address())),
            );
        }
        connections
    }

    /// A host says that nobody is at `address`; gives the connections that are to be looked at because of it.
    pub(super) fn note_closed(&self, address: SocketAddr) -> Vec<(Arc<Shared>, u64)> {
        let plain = |address: SocketAddr| (address.ip().to_canonical(), address.port());
        let mut concerned = Vec::new();
        for session in self.all() {
            for path in &mut session.lock().paths {
                if path.is_confirmed && plain(path.connection.remote_address()) == plain(address) {
                    path.reports += 1;
                    if !std::mem::replace(&mut path.is_looked_at, true) {
                        concerned.push((session.clone(), path.number));
                    }
                }
            }
        }
        concerned
    }

    /// A session of `robot` that is being freed or, if none is, the one that has waited for longest, which is over then. Not that
    /// of `asking`.
    fn give_way(&self, robot: &str, asking: Option<&SessionToken>) -> Option<SessionToken> {
        let state = self.lock();
        let is_another = |session: &Shared| session.robot == robot && Some(&session.token) != asking;
        let mut sessions = state.sessions.values();
        if let Some(over) = sessions.find(|session| is_another(session) && session.is_over()) {
            return Some(over.token);
        }
        let session = state.longest_waiting(is_another)?;
        session.set_over("a newer program of its robot has taken its place".into());
        self.count(Counted::SessionGaveWay);
        Some(session.token)
    }

    /// Waits until the sessions of `robot` that are over are freed, for a moment at most.
    pub(super) async fn wait_for_freed(&self, robot: &str) {
        let are_over =
            || self.lock().sessions.values().any(|session| session.robot == robot && session.is_over());
        let _ = tokio::time::timeout(WELCOME_LIMIT, self.until(|| !are_over())).await;
    }

    async fn until(&self, is_so: impl Fn() -> bool) {
        loop {
            let fewer = self.fewer.notified();
            tokio::pin!(fewer);
            // Before the look, so that no change after it is missed.
            fewer.as_mut().enable();
            if is_so() {
                return;
            }
            fewer.await;
        }
    }

    /// Frees one session of `robot` that has no connection, if there is one; whether that is so.
    pub(super) async fn make_room(&self, robot: &str) -> bool {
        let Some(token) = self.give_way(robot, None) else { return false };
        let freed = self.until(|| !self.lock().sessions.contains_key(&token));
        tokio::time::timeout(FREE_LIMIT, freed).await.is_ok()
    }

    /// As [`Registry::make_room`], for the thread of the session `asking`.
    pub(super) fn make_room_blocking(&self, robot: &str, asking: &SessionToken) -> bool {
        let Some(token) = self.give_way(robot, Some(asking)) else { return false };
        let is_there = |state: &mut State| state.sessions.contains_key(&token);
        let waited = self.fewer_for_threads.wait_timeout_while(self.lock(), FREE_LIMIT, is_there);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// A session has no connection any more: it waits for one, and is over if none comes in time. `time` says which of its
    /// times without one this is.
    pub(super) fn wait_for_connection(self: &Arc<Self>, session: &Arc<Shared>, time: u64) {
        let displaced = {
            let mut state = self.lock();
            let State { sessions, waiting } = &mut *state;
            waiting
                .retain(|(token, time)| sessions.get(token).is_some_and(|session| session.is_waiting(*time)));
            waiting.push_back((session.token, time));
            let is_full = waiting.len() > self.most_waiting;
            let displaced = is_full.then(|| state.displaced().cloned()).flatten();
            if let Some(displaced) = &displaced {
                state.waiting.retain(|(token, _)| *token != displaced.token);
            }
            displaced
        };
        if let Some(displaced) = displaced {
            displaced.set_over("too many sessions wait for their robots".into());
        }
        let (session, grace) = (Arc::downgrade(session), self.grace);
        tokio::spawn(async move {
            tokio::time::sleep(grace).await;
            let Some(session) = session.upgrade().filter(|session| session.is_waiting(time)) else { return };
            info!(session = session.id, robot = %session.robot, "no connection for {grace:?}");
            session.set_over(format!("the robot did not come back within {grace:?}"));
        });
    }
}

/// A name that nobody can guess.
///
/// # Errors
/// The system has no randomness.
pub(super) fn new_token() -> Result<SessionToken, Refusal> {
    let mut token = [0; TOKEN_BYTES];
    let no_randomness = |_| Refusal::Device { reason: "the system gives no randomness".into() };
    crate::tls::provider().secure_random.fill(&mut token).map_err(no_randomness)?;
    Ok(SessionToken(token))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hot::{Hot, SERVER_REACH};

    fn session(robot: &str) -> Arc<Shared> {
        let peer = ([127, 0, 0, 1], 1).into();
        let token = new_token().unwrap();
        Arc::new(Shared::new(
            1,
            (robot.into(), peer, Vec::new()),
            token,
            Default::default(),
            Arc::new(Hot::new(SERVER_REACH)),
        ))
    }

    #[test]
    fn a_session_is_its_robots_alone() {
        let registry = Registry::new(Duration::from_secs(1), 1);
        let session = session("robot");
        registry.insert(session.clone());
        assert!(registry.find(&session.token, "robot").is_ok());
        assert!(matches!(registry.find(&session.token, "other"), Err(Refusal::Unknown)));
        assert!(matches!(registry.find(&new_token().unwrap(), "robot"), Err(Refusal::Unknown)));
        registry.remove(&session.token);
        assert!(matches!(registry.find(&session.token, "robot"), Err(Refusal::Unknown)));
    }

    #[tokio::test(start_paused = true)]
    async fn sessions_wait_for_their_time_and_only_so_many() {
        let registry = Arc::new(Registry::new(Duration::from_secs(3), 2));
        let sessions = [(); 3].map(|()| session("robot"));
        for session in &sessions {
            registry.insert(session.clone());
            registry.wait_for_connection(session, 0);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let are_over = || sessions.clone().map(|session| session.is_over());
        assert_eq!(are_over(), [true, false, false], "the first has given way");
        // One comes back.
        sessions[1].lock().connections += 1;
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(are_over(), [true, false, true]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_robot_that_has_more_sessions_waiting_gives_way_first() {
        let registry = Arc::new(Registry::new(Duration::from_secs(30), 3));
        let sessions = ["modest", "greedy", "greedy", "greedy", "greedy"].map(session);
        for session in &sessions {
            registry.insert(session.clone());
            registry.wait_for_connection(session, 0);
        }
        let are_over = sessions.each_ref().map(|session| session.lock().over.is_some());
        assert_eq!(are_over, [false, true, true, false, false]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_robots_own_waiting_sessions_give_way_the_longest_waiting_first_and_are_waited_for() {
        let registry = Arc::new(Registry::new(Duration::from_secs(30), 9));
        let sessions = ["robot", "other", "robot", "robot"].map(session);
        for session in &sessions {
            registry.insert(session.clone());
        }
        for session in &sessions[..3] {
            registry.wait_for_connection(session, 0);
        }
        let freeing = registry.clone();
        let executors = sessions.clone();
        let executing = tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(10)).await;
                for session in executors.iter().filter(|session| session.is_over()) {
                    freeing.remove(&session.token);
                }
            }
        });
        for left in [3, 2] {
            assert!(registry.make_room("robot").await);
            assert_eq!(registry.all().len(), left);
        }
        assert!(sessions[0].is_over() && sessions[2].is_over());
        // The one that is left has a connection, as far as anybody knows.
        assert!(!registry.make_room("robot").await);
        assert!(!sessions[1].is_over() && !sessions[3].is_over());
        executing.abort();
    }
}
