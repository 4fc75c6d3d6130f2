//! Who gets a session: any robot that the authority has signed, as long as one is free.

use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::{counter, gauge};
use rrto_core::wire::{Hello, Refusal, Welcome};
use rrto_quic::Admission;

use crate::device::{Device, Limits};
use crate::metrics::{SESSIONS, SESSIONS_ADMITTED, SESSIONS_REFUSED};
use crate::session;

/// Admits sessions onto one device, up to a number.
pub struct Gate {
    device: Arc<dyn Device>,
    limits: Limits,
    max_sessions: u32,
    sessions: Arc<Sessions>,
}

impl Gate {
    /// A gate to `device` for `max_sessions` sessions at a time, each within `limits`.
    pub fn new(device: Arc<dyn Device>, limits: Limits, max_sessions: u32) -> Self {
        Gate { device, limits, max_sessions, sessions: Arc::default() }
    }

    /// How many sessions there are now.
    pub fn sessions(&self) -> u32 {
        *self.sessions.lock()
    }

    /// Waits until all sessions have ended and freed what they held, at most `limit`; gives how many are left.
    pub fn wait_until_empty(&self, limit: Duration) -> u32 {
        let waited = self.sessions.fewer.wait_timeout_while(self.sessions.lock(), limit, |count| *count > 0);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// A place for a session, if one is free.
    fn enter(&self) -> Option<Place> {
        let mut count = self.sessions.lock();
        if *count >= self.max_sessions {
            return None;
        }
        *count += 1;
        gauge!(SESSIONS).set(*count);
        Some(Place(Arc::clone(&self.sessions)))
    }

    fn welcome(&self) -> Welcome {
        let mut device = self.device.info().clone();
        // A program that sizes itself by the device's memory should see what it can have.
        device.total_bytes = self.limits.seen_bytes(device.total_bytes);
        Welcome { session: 0, server_version: env!("CARGO_PKG_VERSION").to_owned(), device }
    }
}

impl rrto_quic::Gate for Gate {
    fn admit(&self, _robot: &str, _peer: SocketAddr, hello: &Hello) -> Result<Admission, Refusal> {
        let Some(place) = self.enter() else {
            counter!(SESSIONS_REFUSED).increment(1);
            return Err(Refusal::Full { limit: self.max_sessions });
        };
        counter!(SESSIONS_ADMITTED).increment(1);
        let (device, limits, program) = (Arc::clone(&self.device), self.limits, hello.program.clone());
        let run = Box::new(move |session: rrto_quic::Session| {
            session::serve(&session, &program, device.as_ref(), limits);
            // Only now, when everything of the session is freed, is there room for another one.
            drop(place);
        });
        Ok(Admission { welcome: self.welcome(), run })
    }
}

/// How many sessions there are.
#[derive(Default)]
struct Sessions {
    count: Mutex<u32>,
    fewer: Condvar,
}

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, u32> {
        // A number cannot be left half changed.
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session's place among those allowed; free again once it is dropped.
struct Place(Arc<Sessions>);

impl Drop for Place {
    fn drop(&mut self) {
        let mut count = self.0.lock();
        *count = count.saturating_sub(1);
        gauge!(SESSIONS).set(*count);
        self.0.fewer.notify_all();
    }
}

#[cfg(test)]
mod tests;
