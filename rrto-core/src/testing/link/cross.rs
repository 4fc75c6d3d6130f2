//! Traffic of others that shares a direction's queue. It is computed, never sent: nobody is there to receive it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use super::timeline::{NEVER, nanos};
use super::{HEADER_BYTES, Way};

/// Payload of each datagram, bytes: what a TCP segment on Ethernet carries.
pub const CROSS_PAYLOAD_BYTES: usize = 1448;

/// The shortest time in which a cubic flow learns what became of a datagram, so that even a link without delay costs it time.
const SHORTEST_ECHO_NS: u64 = 1_000_000;

/// The most datagrams that a cubic flow has in flight: 450 Mbit/s for 100 ms. It bounds the flow's memory.
const MAX_WINDOW: f64 = 4096.0;

/// The window that a cubic flow begins with (RFC 6928) and the least that it falls to, in datagrams.
const FIRST_WINDOW: f64 = 10.0;
const LEAST_WINDOW: f64 = 2.0;

/// Cubic's constants (RFC 9438, section 4.6 and 5).
const BETA: f64 = 0.7;
const C: f64 = 0.4;

/// A flow of somebody else.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cross {
    /// Which direction it takes.
    pub way: Way,
    /// From when on it sends, since the link's beginning.
    pub from: Duration,
    /// Until when.
    pub until: Duration,
    /// How it sends.
    pub flow: Flow,
}

/// How a flow of somebody else sends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Flow {
    /// At a constant rate, in bits a second, headers included; whatever becomes of it.
    Constant {
        /// More than 0.
        rate_bps: u64,
    },
    /// As much as it can: a bulk transfer with Cubic's congestion control (RFC 9438), without its refinements: no HyStart, no
    /// fast convergence, and a loss is known a round trip later.
    Cubic,
}

/// A flow at work.
#[derive(Debug)]
pub(super) struct Source {
    cross: Cross,
    /// When it sends next without being answered first. [`NEVER`] for a cubic flow that has begun.
    next_at: u64,
    /// What it hears, and when: of the datagram sent then, whether it arrived.
    echoes: BinaryHeap<Reverse<(u64, u64, bool)>>,
    window: f64,
    /// Below it the window doubles every round trip.
    threshold: f64,
    /// Before the latest loss.
    largest: f64,
    /// When the latest loss was heard of.
    lost_at: u64,
    round_trip_ns: u64,
}

/// What became of a datagram of a flow.
pub(super) enum Fate {
    /// It arrives at this time.
    Arrives(u64),
    /// It is lost.
    Lost,
}

impl Source {
    pub(super) fn new(cross: Cross) -> Self {
        Self {
            cross,
            next_at: nanos(cross.from),
            echoes: BinaryHeap::new(),
            window: FIRST_WINDOW,
            threshold: f64::INFINITY,
            largest: FIRST_WINDOW,
            lost_at: 0,
            round_trip_ns: SHORTEST_ECHO_NS,
        }
    }

    /// When it does something next; [`NEVER`] if it does nothing any more.
    pub(super) fn due(&self) -> u64 {
        let heard_at = self.echoes.peek().map_or(NEVER, |Reverse((at, ..))| *at);
        let due = self.next_at.min(heard_at);
        if due < nanos(self.cross.until) { due } else { NEVER }
    }

    /// How many datagrams it sends at `now`, which is when it was due.
    pub(super) fn act(&mut self, now: u64) -> usize {
        match self.cross.flow {
            Flow::Constant { rate_bps } => {
                let bits = (CROSS_PAYLOAD_BYTES + HEADER_BYTES) as u64 * 8;
                self.next_at = now.saturating_add((bits * 1_000_000_000 / rate_bps.max(1)).max(1));
                1
            }
            Flow::Cubic => {
                self.next_at = NEVER;
                while let Some(Reverse((at, sent_at, arrived))) = self.echoes.peek().copied()
                    && at <= now
                {
                    self.echoes.pop();
                    if arrived { self.acknowledged(now, sent_at) } else { self.lost(now, sent_at) }
                }
                (self.window as usize).saturating_sub(self.echoes.len())
            }
        }
    }

    /// Takes note of what became of a datagram sent at `now`, over a link with this delay.
    pub(super) fn sent(&mut self, now: u64, fate: Fate, delay_ns: u64) {
        if self.cross.flow != Flow::Cubic {
            return;
        }
        let (heard_at, arrived) = match fate {
            Fate::Arrives(at) => (at.saturating_add(delay_ns), true),
            Fate::Lost => (now.saturating_add(self.round_trip_ns), false),
        };
        let heard_at = heard_at.max(now.saturating_add(SHORTEST_ECHO_NS));
        self.echoes.push(Reverse((heard_at, now, arrived)));
    }

    fn acknowledged(&mut self, now: u64, sent_at: u64) {
        self.round_trip_ns = now.saturating_sub(sent_at).max(SHORTEST_ECHO_NS);
        if self.window < self.threshold {
            self.window += 1.0;
        } else {
            let since_s = now.saturating_sub(self.lost_at) as f64 / 1e9;
            let back_s = (self.largest * (1.0 - BETA) / C).cbrt();
            let cubic = C * (since_s - back_s).powi(3) + self.largest;
            let rounds = since_s * 1e9 / self.round_trip_ns as f64;
            let reno = self.largest * BETA + 3.0 * (1.0 - BETA) / (1.0 + BETA) * rounds;
            self.window += (cubic.max(reno) - self.window).clamp(0.0, self.window / 2.0) / self.window;
        }
        self.window = self.window.min(MAX_WINDOW);
    }

    /// One reduction for all that was sent before the flow knew of it.
    fn lost(&mut self, now: u64, sent_at: u64) {
        if sent_at < self.lost_at {
            return;
        }
        self.largest = self.window;
        self.window = (self.window * BETA).max(LEAST_WINDOW);
        self.threshold = self.window;
        self.lost_at = now;
    }
}
