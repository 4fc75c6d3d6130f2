//! The model of one direction of a link, without I/O.
//!
//! A datagram passes, in this order:
//!
//! 1. **Queue**: drop-tail, bounded in bytes and in datagrams. It holds what has not yet left the transmitter, the
//!    datagram being sent included.
//! 2. **Transmitter**: sends at `rate`, counting [`HEADER_BYTES`] for each datagram. It stands still during a stall
//!    and during an outage of the kind [`Outage::Hold`]. A change of rate applies to what is already queued.
//! 3. **Air**: a datagram is lost with probability `loss`, or with `fade.loss` while a fade lasts, or always during
//!    an outage of the kind [`Outage::Lose`]. What is lost here has used the link's capacity, as on a radio.
//! 4. **Propagation**: `delay` plus jitter. Jitter is exponentially distributed with mean `jitter`, cut off at
//!    [`JITTER_CAP`] times its mean. Without `reorder`, a datagram never overtakes another: one that is late holds
//!    up those behind it, as a receiver's reorder buffer does on Wi-Fi. A script that lowers the delay cannot make
//!    datagrams overtake either.
//!
//! All is decided when a datagram is enqueued, because the script is known in advance. Time is a [`Duration`]
//! since the link's beginning and never goes backwards. Fades and stalls are drawn in time, never per datagram, so that
//! they do not depend on the traffic.

mod bursts;
mod timeline;

use std::collections::VecDeque;
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use bursts::Bursts;
pub use timeline::{Burst, Fade, MAX_PIECES, Outage, Params, Piece, Timeline, TimelineError};
use timeline::{NEVER, nanos};

/// What a datagram costs beside its payload, in bytes: an IPv4 header (20) and a UDP header (8).
pub const HEADER_BYTES: usize = 28;

/// The most datagrams that wait in one direction's queue, whatever the byte limit: empty datagrams cost memory too.
pub const MAX_QUEUED_DATAGRAMS: usize = 1 << 16;

/// Jitter is cut off at this many times its mean (one datagram in 3,000), so that a delay has an upper bound.
pub const JITTER_CAP: f64 = 8.0;

/// Which way datagrams go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// From the client (the robot) to the server.
    Up,
    /// From the server to the client.
    Down,
}

/// Why a datagram was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DropReason {
    /// It is larger than the link's MTU.
    TooBig,
    /// The queue had no room for it.
    QueueFull,
    /// It was lost at random, independently of all others.
    Loss,
    /// It left during a fade.
    Fade,
    /// It left during an outage, or will never leave because the script ends in one.
    Outage,
}

/// What becomes of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// It arrives.
    Deliver {
        /// When it arrives, since the link's beginning; never before the time it was enqueued.
        at: Duration,
    },
    /// It does not arrive.
    Dropped(DropReason),
}

/// One direction of a link.
///
/// The result depends only on the timeline, the seed and the arrivals (times and lengths). Every datagram that the
/// queue accepts uses up the same amount of randomness, so that a change of, say, the loss rate leaves the jitter as it was.
#[derive(Debug)]
pub struct Direction {
    timeline: Timeline,
    luck: ChaCha8Rng,
    fades: Bursts,
    stalls: Bursts,
    /// Departure time and wire bytes of what has not left the transmitter, in order.
    queue: VecDeque<(u64, u64)>,
    queued_bytes: u64,
    now: u64,
    last_departure: u64,
    last_delivery: u64,
}

/// Independent random streams of one seed. Fades and stalls have one stream for each way, and one for both.
const STREAM_LUCK: u64 = 0;
const STREAM_FADES: u64 = 2;
const STREAM_STALLS: u64 = 4;
const STREAM_SHARED: u64 = 8;

impl Direction {
    /// A direction that follows `timeline`, with randomness from `seed`.
    ///
    /// If the timeline says so ([`Timeline::shared_air`]), the two ways of one seed fade and stall at the same times, as long as their
    /// fade and stall parameters are the same: a radio's two ends lose each other together.
    pub fn new(timeline: Timeline, seed: u64, way: Way) -> Self {
        let stream = |number: u64| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(number);
            rng
        };
        let own = match way {
            Way::Up => 0,
            Way::Down => 1,
        };
        let air = if timeline.shared_air() { STREAM_SHARED } else { own };
        Self {
            luck: stream(STREAM_LUCK + own),
            fades: Bursts::new(stream(STREAM_FADES + air), |params| params.fade.map(|fade| fade.burst)),
            stalls: Bursts::new(stream(STREAM_STALLS + air), |params| params.stall),
            timeline,
            queue: VecDeque::new(),
            queued_bytes: 0,
            now: 0,
            last_departure: 0,
            last_delivery: 0,
        }
    }

    /// Takes a datagram of `payload_bytes` at time `now` and says what becomes of it.
    ///
    /// A `now` before that of an earlier call counts as the earlier call's.
    pub fn enqueue(&mut self, now: Duration, payload_bytes: usize) -> Verdict {
        self.advance(nanos(now));
        let now = self.now;
        let wire_bytes = (payload_bytes as u64).saturating_add(HEADER_BYTES as u64);

        let params = self.timeline.at(now).params;
        if wire_bytes > params.mtu_bytes {
            return Verdict::Dropped(DropReason::TooBig);
        }
        if self.queued_bytes + wire_bytes > params.queue_bytes || self.queue.len() >= MAX_QUEUED_DATAGRAMS {
            return Verdict::Dropped(DropReason::QueueFull);
        }

        let (loss_luck, jitter_luck) = (self.luck.random::<f64>(), self.luck.random::<f64>());
        let departure = self.departure(now.max(self.last_departure), wire_bytes);
        if departure == NEVER {
            return Verdict::Dropped(DropReason::Outage);
        }
        self.last_departure = departure;
        if departure > now {
            self.queue.push_back((departure, wire_bytes));
            self.queued_bytes += wire_bytes;
        }

        let params = self.timeline.at(departure).params;
        if params.outage == Outage::Lose {
            return Verdict::Dropped(DropReason::Outage);
        }
        let fading = self.fades.active_at(departure, &self.timeline);
        if let Some(fade) = params.fade.filter(|_| fading)
            && loss_luck < fade.loss
        {
            return Verdict::Dropped(DropReason::Fade);
        }
        if loss_luck < params.loss {
            return Verdict::Dropped(DropReason::Loss);
        }
        Verdict::Deliver { at: Duration::from_nanos(self.delivery(departure, &params, jitter_luck)) }
    }

    /// The payload and header bytes that wait for the transmitter at time `now`.
    pub fn queued_bytes(&mut self, now: Duration) -> u64 {
        self.advance(nanos(now));
        self.queued_bytes
    }

    /// The parameters in force at time `at`, by the script alone.
    pub fn params(&self, at: Duration) -> Params {
        self.timeline.at(nanos(at)).params
    }

    /// Moves to `now` and lets go of what has left by then.
    fn advance(&mut self, now: u64) {
        self.now = self.now.max(now);
        while let Some(&(departure, wire_bytes)) = self.queue.front() {
            if departure > self.now {
                break;
            }
            self.queued_bytes -= wire_bytes;
            self.queue.pop_front();
        }
    }

    /// When a datagram has left whose transmission may begin at `start`: its bits spent over the script's pieces and
    /// the stalls between. [`NEVER`] if the script ends with a link that stands still.
    fn departure(&mut self, start: u64, wire_bytes: u64) -> u64 {
        let mut at = start;
        // In bits times nanoseconds a second, so that no piece, however short, is lost to rounding.
        let mut work = u128::from(wire_bytes) * 8 * NANOS_PER_SECOND;
        loop {
            let span = self.timeline.at(at);
            if span.params.outage == Outage::Hold {
                if span.end == NEVER {
                    return NEVER;
                }
                at = span.end;
                continue;
            }
            let (stalled, stall_changes_at) = self.stalls.state_at(at, &self.timeline);
            if stalled {
                at = stall_changes_at;
                continue;
            }
            if span.params.rate_bps == 0 {
                return at;
            }
            let rate = u128::from(span.params.rate_bps);
            let end = span.end.min(stall_changes_at);
            // Rounded against the sender: the rate is never exceeded, not even by a bit.
            let done = u128::from(at) + work.div_ceil(rate);
            if end == NEVER || done <= u128::from(end) {
                return u64::try_from(done).unwrap_or(NEVER);
            }
            work -= u128::from(end - at) * rate;
            at = end;
        }
    }

    /// When a datagram arrives that left at `departure`.
    fn delivery(&mut self, departure: u64, params: &Params, luck: f64) -> u64 {
        let factor = (-(1.0 - luck).ln()).min(JITTER_CAP);
        let jitter = (params.jitter.as_nanos() as f64 * factor) as u64;
        let at = departure.saturating_add(nanos(params.delay)).saturating_add(jitter);
        if params.reorder {
            return at;
        }
        self.last_delivery = self.last_delivery.max(at);
        self.last_delivery
    }
}

const NANOS_PER_SECOND: u128 = 1_000_000_000;
