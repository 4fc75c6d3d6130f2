//! Counters of a running link.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::link::DropReason;

/// What a link has done.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// Seconds since the link's beginning.
    pub elapsed_s: f64,
    /// Clients that ever sent something (a client that comes back after it was forgotten counts again).
    pub clients: u64,
    /// Clients that were forgotten because there were too many.
    pub clients_evicted: u64,
    /// Changes of all clients' addresses that the script wanted.
    pub roams: u64,
    /// Not the link's doing: clients that kept their address because the system gave no other.
    pub roams_failed: u64,
    /// From the clients to the server.
    pub up: WayStats,
    /// From the server to the clients.
    pub down: WayStats,
}

/// What one direction of a link has done.
///
/// `sent` = `delivered` + the sum of `dropped` + what is still queued or propagating.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct WayStats {
    /// Datagrams that arrived at the link.
    pub sent: u64,
    /// Their payload bytes.
    pub sent_bytes: u64,
    /// Datagrams that were handed on.
    pub delivered: u64,
    /// Their payload bytes.
    pub delivered_bytes: u64,
    /// Datagrams that were not.
    pub dropped: Dropped,
    /// Datagrams that the kernel dropped before the link saw them, because a socket buffer was full: not in `sent`, and not
    /// the link's doing. At least this many; looked up every second and at the end.
    pub lost_before: u64,
    /// Payload and header bytes of others' traffic that shared the link; computed, never sent.
    pub others_bytes: u64,
    /// How late datagrams were handed on, after the time the model says: what the emulation adds.
    pub lateness: Lateness,
}

/// Datagrams that were not handed on, by reason.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Dropped {
    /// Larger than the MTU.
    pub too_big: u64,
    /// No room in the queue.
    pub queue_full: u64,
    /// Random loss.
    pub loss: u64,
    /// Lost in a fade.
    pub fade: u64,
    /// Lost in an outage.
    pub outage: u64,
    /// Not the link's doing: this process would have held too many bytes.
    pub held_too_much: u64,
    /// Not the link's doing: the system did not send it, or its client was forgotten.
    pub not_sent: u64,
}

/// How late datagrams were handed on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Lateness {
    /// The mean, in microseconds.
    pub mean_us: f64,
    /// The worst, in microseconds.
    pub max_us: f64,
    /// How many were more than a millisecond late.
    pub over_1ms: u64,
}

impl Dropped {
    /// All of them.
    pub fn total(&self) -> u64 {
        let Self { too_big, queue_full, loss, fade, outage, held_too_much, not_sent } = self;
        too_big + queue_full + loss + fade + outage + held_too_much + not_sent
    }

    pub(super) fn count(&mut self, reason: DropReason) {
        *match reason {
            DropReason::TooBig => &mut self.too_big,
            DropReason::QueueFull => &mut self.queue_full,
            DropReason::Loss => &mut self.loss,
            DropReason::Fade => &mut self.fade,
            DropReason::Outage => &mut self.outage,
        } += 1;
    }
}

impl WayStats {
    pub(super) fn count_sent(&mut self, bytes: usize) {
        self.sent += 1;
        self.sent_bytes += bytes as u64;
    }

    /// Counts `count` datagrams that were handed on together, the latest of them `late`.
    pub(super) fn count_delivered(&mut self, count: usize, bytes: usize, late: Duration) {
        let count = count as u64;
        let late_us = late.as_secs_f64() * 1e6;
        self.delivered += count;
        self.delivered_bytes += bytes as u64;
        self.lateness.mean_us += (late_us - self.lateness.mean_us) * count as f64 / self.delivered as f64;
        self.lateness.max_us = self.lateness.max_us.max(late_us);
        if late > Duration::from_millis(1) {
            self.lateness.over_1ms += count;
        }
    }
}
