//! The sessions that there are, by what their clients call them, and how long they are kept without a connection.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rrto_core::wire::{Refusal, SessionToken, TOKEN_BYTES};
use tokio::sync::Notify;
use tracing::info;

use super::Shared;

/// All sessions of a listener.
#[derive(Debug)]
pub(super) struct Registry {
    /// How long a session is kept without a connection.
    grace: Duration,
    /// Sessions that may be without one at a time; the one that has been so for longest gives way.
    most_waiting: usize,
    state: Mutex<State>,
    draining: AtomicBool,
    /// A session is gone.
    fewer: Notify,
}

#[derive(Debug, Default)]
struct State {
    sessions: HashMap<SessionToken, Arc<Shared>>,
    /// Those without a connection, with which time that is for them, longest first. Some of them may have got one since.
    waiting: VecDeque<(SessionToken, u64)>,
}

impl Registry {
    pub(super) fn new(grace: Duration, most_waiting: usize) -> Self {
        Registry {
            grace,
            most_waiting,
            state: Mutex::default(),
            draining: AtomicBool::new(false),
            fewer: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn insert(&self, session: Arc<Shared>) {
        self.lock().sessions.insert(session.token, session);
    }

    pub(super) fn remove(&self, token: &SessionToken) {
        self.lock().sessions.remove(token);
        self.fewer.notify_waiters();
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
        loop {
            let fewer = self.fewer.notified();
            tokio::pin!(fewer);
            fewer.as_mut().enable();
            if self.lock().sessions.is_empty() {
                return;
            }
            fewer.await;
        }
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

    /// A session has no connection any more: it waits for one, and is over if none comes in time. `time` says which of its
    /// times without one this is.
    pub(super) fn wait_for_connection(self: &Arc<Self>, session: &Arc<Shared>, time: u64) {
        let displaced = {
            let mut state = self.lock();
            let State { sessions, waiting } = &mut *state;
            waiting
                .retain(|(token, time)| sessions.get(token).is_some_and(|session| session.is_waiting(*time)));
            waiting.push_back((session.token, time));
            let excess = waiting.len().saturating_sub(self.most_waiting);
            let displaced = waiting.drain(..excess).filter_map(|(token, _)| sessions.get(&token).cloned());
            displaced.collect::<Vec<_>>()
        };
        for session in displaced {
            session.set_over("too many sessions wait for their robots".into());
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
        let are_over = || sessions.clone().map(|session| session.lock().over.is_some());
        assert_eq!(are_over(), [true, false, false], "the first has given way");
        // One comes back.
        sessions[1].lock().connections += 1;
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(are_over(), [true, false, true]);
    }
}
