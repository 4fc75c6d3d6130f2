//! The link's face for tasks: in virtual time a thread that waits would stop the clock.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use rrto_core::api::CuResult;
use rrto_core::engine::{Lost, Submitted};
use rrto_core::operator::{Operator, Outcome, Value};
use tokio::time::{Instant, timeout, timeout_at};

use super::{ConnectError, Link, LinkConfig, ProgramMemory, Shared, State, Submission, transport_thread};
use crate::system::System;

/// A [`Link`] whose transport is a task of the runtime that made it, and whose waits are awaited. The methods of [`Link`] that
/// wait (`submit`, `wait`, `call`, `close`) are replaced by those of the same name here; all others are as they are.
pub struct AsyncLink(Link);

impl Deref for AsyncLink {
    type Target = Link;

    fn deref(&self) -> &Link {
        &self.0
    }
}

impl AsyncLink {
    /// As [`Link::connect`], through `system`.
    ///
    /// # Errors
    /// As [`Link::connect`].
    pub async fn connect(
        system: Arc<dyn System>,
        config: LinkConfig,
        memory: Arc<dyn ProgramMemory>,
    ) -> Result<AsyncLink, ConnectError> {
        let tls = config.credentials.robot()?;
        let deadline = Instant::now() + config.connect_timeout;
        let shared = Arc::new(Shared::new(&config, memory, false));
        // Whoever may wait counts as waiting always: a task cannot count itself while it is looked at.
        shared.lock().waiting += 1;
        let server = config.server.clone();
        tokio::spawn(transport_thread::carry(shared.clone(), config, tls, system));
        let connected = until(&shared, |state| {
            if let Some(welcome) = state.engine.welcome().cloned() {
                return Some(Ok(welcome));
            }
            if let Some(error) = state.connect_error.take() {
                return Some(Err(error));
            }
            let reason = state.engine.lost()?.to_string();
            Some(Err(ConnectError::Refused { server: server.clone(), reason }))
        });
        match timeout_at(deadline, connected).await {
            Ok(connected) => Ok(AsyncLink(Link { welcome: connected?, shared: shared.clone() })),
            Err(_) => {
                let mut state = shared.lock();
                state.engine.handle_lost(Lost("the connection attempt timed out".into()));
                shared.wake_writer(&mut state);
                let suspicion = state.suspicion.take();
                Err(ConnectError::Timeout { server }.or(suspicion))
            }
        }
    }

    /// As [`Link::submit`].
    pub async fn submit(
        &self,
        lane: u32,
        operator: Operator,
        payload: Option<Bytes>,
        register: impl FnOnce(u64),
    ) -> Submission {
        let shared = &self.shared;
        let (mut call, mut register) = (Some((operator, payload)), Some(register));
        until(shared, |state| {
            let (operator, payload) = call.take()?;
            let mut note = |number| register.take().into_iter().for_each(|register| register(number));
            let submission = match state.engine.handle_submit(lane, operator, payload) {
                Submitted::Answered(outcome) => Submission::Answered(outcome),
                Submitted::Queued(number) => {
                    note(number);
                    Submission::Queued
                }
                Submitted::Awaits(number) => {
                    note(number);
                    shared.deliver(state);
                    Submission::Awaits(number)
                }
                Submitted::Full(operator, payload) => {
                    call = Some((operator, payload));
                    shared.wake_writer(state);
                    return None;
                }
            };
            shared.wake_writer_for_output(state);
            Some(submission)
        })
        .await
    }

    /// As [`Link::wait`].
    pub async fn wait(&self, number: u64) -> Outcome {
        let mut blocked = false;
        until(&self.shared, |state| {
            if let Some(outcome) = state.engine.poll_outcome(number) {
                return Some(outcome);
            }
            if !state.engine.is_awaited(number) {
                return Some(Err(state.engine.sticky().unwrap_or(CuResult::INVALID_HANDLE)));
            }
            if !std::mem::replace(&mut blocked, true) {
                self.shared.counters.round_trips.fetch_add(1, Ordering::Relaxed);
                if state.engine.poll_search() {
                    self.shared.wake_writer(state);
                }
            }
            None
        })
        .await
    }

    /// As [`Link::call`].
    ///
    /// # Errors
    /// As [`Link::call`].
    pub async fn call(&self, lane: u32, operator: Operator, payload: Option<Bytes>) -> Outcome {
        match self.submit(lane, operator, payload, |_| {}).await {
            Submission::Queued => Ok(Value::None),
            Submission::Awaits(number) => self.wait(number).await,
            Submission::Answered(outcome) => outcome,
        }
    }

    /// As [`Link::close`].
    pub async fn close(&self, limit: Duration) {
        {
            self.shared.is_closing.store(true, Ordering::Release);
            let mut state = self.shared.lock();
            state.engine.handle_goodbye();
            self.shared.wake_writer(&mut state);
        }
        let closed = until(&self.shared, |state| state.closed.then_some(()));
        // What has not been sent by then is dropped.
        let _ = timeout(limit, closed).await;
        self.0.close(Duration::ZERO);
    }
}

/// What `look` finds in the state, as soon as it finds something.
async fn until<T>(shared: &Shared, mut look: impl FnMut(&mut State) -> Option<T>) -> T {
    loop {
        // Before the look, so that no change after it is missed.
        let changed = shared.changed.notified();
        if let Some(found) = look(&mut shared.lock()) {
            return found;
        }
        changed.await;
    }
}
