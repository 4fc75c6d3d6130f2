//! Who gets a session: any robot that the authority has signed, as long as one is free, and as long as it leaves some to others.
//!
//! What there is a limited number of, who can take it, for how long, and what gives it back:
//!
//! | what | who can take it | bounded by | given back |
//! |---|---|---|---|
//! | sessions, with a thread, a process and device memory each | a robot with a certificate | `--max-sessions`; of one robot, [`Quota`] | at the goodbye, whatever is still on its way; when the program's host says that it is gone, within seconds; else after `--session-idle` and `--grace`, or before that to a newer program of the same robot |
//! | device memory | a session | `--session-memory` | with its session; what a robot's program finds taken by its own predecessors is waited for ([`executor`](crate::executor)) |
//! | sessions without a connection | a robot with a certificate | half of `--max-sessions`; who has most of them gives way | after `--grace` |
//! | connections | a robot with a certificate | twice `--max-sessions`, and some; half of them of one robot, whose oldest gives way | at their end |
//! | handshakes | anybody | half of the connections, less of one address, fewer for addresses from which no robot came | after 4 s, or to a newer one (`rrto_quic`, `server::places`) |
//! | memory for what has arrived and is not executed, and for answers | a session | `ServerLimits` | as it executes, and with its session |
//! | tickets for 0-RTT | a robot with a certificate | a number for all; the oldest gives way | when used |
//! | addresses that robots came from | a robot with a certificate | 8 of one robot, 1,024 of all | to newer ones |
//! | descriptors, threads, processes | a session | some of each for one | with its session; where the system has none, the client is told so |
//! | lines of log | anybody | 20 of a kind in 10 s, then sums ([`log`](crate::log)) | |
//! | datagrams that a relay answers without proof, clients of a room, of an address | anybody; who has the room's key | [`relay`](crate::relay) | after some silence |

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::{counter, gauge};
use rrto_core::wire::{Hello, Refusal, Welcome};
use rrto_quic::{Admission, Counted};

use crate::device::{Device, Limits};
use crate::metrics::{ADMISSIONS, SESSIONS, SESSIONS_ADMITTED, SESSIONS_REFUSED};
use crate::session;

/// How many sessions there may be at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quota {
    /// Of all robots.
    pub sessions: u32,
    /// Of one robot. Without it a robot may have what there is, but for the last quarter of the sessions: that is for robots that
    /// have none.
    pub of_a_robot: Option<u32>,
}

impl Quota {
    /// Whether a robot that has `own` of `all` sessions may have another one.
    ///
    /// # Errors
    /// Why not.
    fn check(&self, all: u32, own: u32) -> Result<(), Refusal> {
        if all >= self.sessions {
            return Err(Refusal::Full { limit: self.sessions });
        }
        let kept = self.sessions.div_ceil(4);
        let has_enough = match self.of_a_robot {
            Some(most) => own >= most,
            None => own > 0 && all + kept >= self.sessions,
        };
        if has_enough { Err(Refusal::Share { sessions: own }) } else { Ok(()) }
    }
}

/// Admits sessions onto one device, up to a number.
pub struct Gate {
    device: Arc<dyn Device>,
    limits: Limits,
    quota: Quota,
    sessions: Arc<Sessions>,
}

impl Gate {
    /// A gate to `device` for as many sessions as `quota` says, each within `limits`.
    pub fn new(device: Arc<dyn Device>, limits: Limits, quota: Quota) -> Self {
        Gate { device, limits, quota, sessions: Arc::default() }
    }

    /// How many sessions there are now.
    pub fn sessions(&self) -> u32 {
        self.sessions.lock().all
    }

    /// Waits until all sessions have ended and freed what they held, at most `limit`; gives how many are left.
    pub fn wait_until_empty(&self, limit: Duration) -> u32 {
        let waited =
            self.sessions.fewer.wait_timeout_while(self.sessions.lock(), limit, |counts| counts.all > 0);
        waited.unwrap_or_else(PoisonError::into_inner).0.all
    }

    /// A place for a session of `robot`.
    ///
    /// # Errors
    /// None is free, or none for this robot.
    fn enter(&self, robot: &str) -> Result<Place, Refusal> {
        let mut counts = self.sessions.lock();
        let own = counts.of_robots.get(robot).copied().unwrap_or(0);
        self.quota.check(counts.all, own)?;
        counts.all += 1;
        counts.of_robots.insert(robot.to_owned(), own + 1);
        gauge!(SESSIONS).set(counts.all);
        Ok(Place { sessions: Arc::clone(&self.sessions), robot: robot.to_owned() })
    }

    fn welcome(&self) -> Welcome {
        let mut device = self.device.info().clone();
        // A program that sizes itself by the device's memory should see what it can have.
        device.total_bytes = self.limits.seen_bytes(device.total_bytes);
        Welcome { session: 0, server_version: env!("CARGO_PKG_VERSION").to_owned(), device }
    }
}

impl rrto_quic::Gate for Gate {
    fn admit(&self, robot: &str, _peer: SocketAddr, hello: &Hello) -> Result<Admission, Refusal> {
        let place = self.enter(robot).inspect_err(|_| counter!(SESSIONS_REFUSED).increment(1))?;
        counter!(SESSIONS_ADMITTED).increment(1);
        let (device, limits, program) = (Arc::clone(&self.device), self.limits, hello.program.clone());
        let run = Box::new(move |session: rrto_quic::Session| {
            session::serve(&session, &program, device.as_ref(), limits);
            // Only now, when everything of the session is freed, is there room for another one.
            drop(place);
        });
        Ok(Admission { welcome: self.welcome(), run })
    }

    fn count(&self, what: Counted) {
        let event = match what {
            Counted::AddressAsked => "address_asked",
            Counted::Full => "full",
            Counted::HandshakeGaveWay => "handshake_gave_way",
            Counted::ConnectionGaveWay => "connection_gave_way",
            Counted::SessionGaveWay => "session_gave_way",
            Counted::ProgramGone => "program_gone",
        };
        counter!(ADMISSIONS, "event" => event).increment(1);
    }
}

/// How many sessions there are.
#[derive(Default)]
struct Sessions {
    counts: Mutex<Counts>,
    fewer: Condvar,
}

#[derive(Default)]
struct Counts {
    all: u32,
    of_robots: HashMap<String, u32>,
}

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        // Nothing panics while numbers are changed.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session's place among those allowed; free again once it is dropped.
struct Place {
    sessions: Arc<Sessions>,
    robot: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.sessions.lock();
        counts.all = counts.all.saturating_sub(1);
        let own = counts.of_robots.remove(&self.robot).unwrap_or(0);
        if own > 1 {
            counts.of_robots.insert(self.robot.clone(), own - 1);
        }
        gauge!(SESSIONS).set(counts.all);
        self.sessions.fewer.notify_all();
    }
}

#[cfg(test)]
mod tests;
