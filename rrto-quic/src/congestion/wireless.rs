//! Cubic (RFC 9438) for radio links.
//!
//! A radio loses packets without being congested, changes its rate by the second, and stalls. So
//!
//! - A loss counts as congestion only while round trips are longer than with an empty queue, be it by half a millisecond (a
//!   short queue shows no more), or if more is lost than the path loses anyway ([`Signals::excess_loss`]).
//! - How long they are with an empty queue is learned: the shortest one, and on top of it the jitter, which is how far apart
//!   those of a single round trip's time are.
//! - A long queue counts without a loss, when it has been there for a while (two round trips), which a stall is not. If it
//!   stays long although this side has made room, it is another's: then this is plain Cubic, with which others share fairly,
//!   until the queue has gone or it is time to try again.
//! - The window falls to what the path is seen to carry (delivery rate times round trip) instead of by a fixed part: further
//!   when the rate has fallen, and not below what keeps the path busy.
//! - While the queue is empty although the window is larger than it was when the path was last full, the path has become
//!   another, and Cubic's time runs faster: its pace is made for round trips of 100 ms and hosts that share.
//! - A payload that is sent within a round trip is on its way before its first acknowledgement is back, so nothing seems to wait
//!   for the window; but the pacer has held it back all the same (RFC 9002, section 7.8). The window grows for it if no queue has
//!   come about meanwhile: see [`Train`].
//!
//! quinn paces what the window allows over the round trip, so a window is all that a controller has to give.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::congestion::{Controller, ControllerFactory};
use quinn_proto::RttEstimator;

use super::signals::{Queue, Signals};

/// The first window, packets. A robot's link carries some Mbit/s, and an input is larger than RFC 9002's ten.
const INITIAL_PACKETS: u64 = 32;

/// Never more: beyond what both sides' windows let through it means nothing.
const MOST_BYTES: u64 = 64 << 20;

/// Never less, in packets: fewer in flight than packet_threshold + 1 make every loss wait for a timeout.
const LEAST_PACKETS: u64 = 4;

/// What remains of the window after a congestion event in competition, as in RFC 9438.
const BETA: f64 = 0.7;

/// Cubic's growth, packets a second cubed, as in RFC 9438.
const C: f64 = 0.4;

/// How much faster Cubic's time runs on a path that carries more than before: 100 Mbit/s at 10 ms are reached from nothing in 1.4 s.
const CLEAR_PACE: f64 = 4.6;

/// More is lost than anyway if it is more by this. Above the noise of [`Signals`]' smoothing at 10% loss.
const EXCESS_LOSS: f64 = 0.05;

/// A window is low up to this part of what a reduction has left.
const LOW: f64 = 1.05;

/// In slow start, which doubles the window every round trip, there is no time for smoothing.
const STARTUP_EXCESS_LOSS: f64 = 0.04;

/// A train makes the window grow by this part of it.
const STEP_PART: u64 = 8;

/// quinn's pacer lets packets go in bursts. What is sent so much later than what was sent before it is of another one.
const BETWEEN_BURSTS: Duration = Duration::from_micros(500);

/// A queue is this side's own if the round trip shrinks to this when the window shrinks to [`BETA`].
const OWN_QUEUE: f64 = 0.85;

/// How long a queue is another's before this side tries again.
const CONTENDED: Duration = Duration::from_secs(10);

/// Makes [`Wireless`] controllers.
#[derive(Clone, Copy, Debug)]
pub(super) struct WirelessConfig;

impl ControllerFactory for WirelessConfig {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(Wireless::new(now, current_mtu.into()))
    }
}

#[derive(Clone, Debug)]
struct Wireless {
    mtu: u64,
    window: u64,
    /// Below it the window doubles every round trip.
    threshold: u64,
    cubic: Cubic,
    signals: Signals,
    /// Packets sent before this time tell nothing about the window of now.
    reduced_at: Option<Instant>,
    sharing: Sharing,
    train: Train,
    /// The window before a train made it grow, if nothing else has changed it since.
    before_step: Option<u64>,
    last_ack: Option<Instant>,
}

/// What was acknowledged since nothing was in flight: a payload, where there is a pause between payloads. If its bursts left at the pace
/// that the window sets, and none of them has met a queue of those before it, the path carries more than that.
#[derive(Clone, Copy, Default, Debug)]
struct Train {
    bytes: u64,
    has_lost: bool,
    /// When its first packet was sent.
    first: Option<Instant>,
    bursts: u32,
    /// When the latest packet was sent, and the shortest round trip of its burst, which is that of the burst's first packets.
    latest: Option<(Instant, Duration)>,
    /// The longest of those of the bursts before.
    longest: Duration,
}

impl Train {
    fn handle_ack(&mut self, sent: Instant, rtt: Duration, bytes: u64) {
        self.bytes += bytes;
        self.first.get_or_insert(sent);
        self.latest = match self.latest {
            Some((latest, least)) if sent <= latest + BETWEEN_BURSTS => {
                Some((latest.max(sent), least.min(rtt)))
            }
            _ => {
                self.longest = self.longest();
                self.bursts += 1;
                Some((sent, rtt))
            }
        };
    }

    /// Whether it left in several bursts at about the window's pace: it would have left sooner if it could. Half of that pace will do,
    /// because the pacer's timer comes late.
    fn is_paced(&self, window: u64, rtt: Duration) -> bool {
        let (Some(first), Some((latest, _))) = (self.first, self.latest) else { return false };
        let took = latest.saturating_duration_since(first);
        self.bursts > 1 && 2.0 * self.bytes as f64 * rtt.as_secs_f64() >= window as f64 * took.as_secs_f64()
    }

    /// The longest round trip that began a burst.
    fn longest(&self) -> Duration {
        self.latest.map_or(self.longest, |(_, least)| least.max(self.longest))
    }
}

/// Who else fills the queue.
#[derive(Clone, Copy, Debug)]
enum Sharing {
    /// Nobody, as far as is known.
    Alone,
    /// To find out, the window was reduced when the shortest round trip was `before`.
    Asked { before: Duration },
    /// Somebody, since this time: whoever reduces the window for the delay alone would soon have none.
    Contended(Instant),
}

/// Where the window is to go, as a function of a time that runs faster or slower.
#[derive(Clone, Copy, Debug)]
struct Cubic {
    /// The window before the last reduction, packets.
    ceiling: f64,
    /// The window after it.
    floor: f64,
    /// Since the last reduction, seconds.
    time: f64,
    /// The same in round trips, which Reno counts.
    round_trips: f64,
}

impl Cubic {
    fn new(ceiling: f64, floor: f64) -> Self {
        Cubic { ceiling, floor, time: 0.0, round_trips: 0.0 }
    }

    /// The window at its time, packets (RFC 9438, sections 4.2 and 4.3).
    fn window(&self) -> f64 {
        let k = ((self.ceiling - self.floor).max(0.0) / C).cbrt();
        let cubic = C * (self.time - k).powi(3) + self.ceiling;
        let reno = self.floor + 3.0 * (1.0 - BETA) / (1.0 + BETA) * self.round_trips;
        cubic.max(reno)
    }
}

impl Wireless {
    fn new(now: Instant, mtu: u64) -> Self {
        Wireless {
            mtu,
            window: INITIAL_PACKETS * mtu,
            threshold: u64::MAX,
            cubic: Cubic::new(0.0, 0.0),
            signals: Signals::new(now),
            reduced_at: None,
            sharing: Sharing::Alone,
            train: Train::default(),
            before_step: None,
            last_ack: None,
        }
    }

    fn least(&self) -> u64 {
        LEAST_PACKETS * self.mtu
    }

    fn packets(&self, bytes: u64) -> f64 {
        bytes as f64 / self.mtu as f64
    }

    /// Reduces the window to `to`.
    fn reduce(&mut self, now: Instant, to: u64) {
        let to = to.clamp(self.least(), self.window.max(self.least()));
        self.cubic = Cubic::new(self.packets(self.window), self.packets(to));
        (self.window, self.threshold, self.before_step) = (to, to, None);
        self.reduced_at = Some(now);
        self.signals.handle_reduced(now);
    }

    /// Ends slow start at the window `to`. If it ended too soon, nothing keeps the window from growing on at once.
    fn start_from(&mut self, now: Instant, to: u64) {
        self.reduce(now, to);
        self.cubic.ceiling = self.cubic.floor;
    }

    /// The window that keeps the path busy and its queue empty, but for the usual part of the present one.
    fn reduced(&self, rate: f64) -> u64 {
        let usual = (self.window as f64 * BETA) as u64;
        self.signals.bandwidth_delay_product(rate).clamp(usual, self.window)
    }

    fn handle_queue(&mut self, now: Instant) {
        let signals = &self.signals;
        // Slow start must not wait to be sure: meanwhile it would double the queue.
        let growing = signals.growing().filter(|growing| growing.lasts(now) >= signals.min_rtt() / 2);
        if let Some(growing) = growing.filter(|_| self.is_starting()) {
            return self.start_from(now, signals.bandwidth_delay_product(growing.rate(now)));
        }
        match (self.sharing, signals.queue(now)) {
            (_, Queue::Unknown) => {}
            (_, Queue::Clear) if signals.growing().is_none() => self.sharing = Sharing::Alone,
            (Sharing::Alone, Queue::Long(long)) => {
                let rate = long.rate(now);
                if signals.has_fallen(rate) {
                    self.reduce(now, signals.bandwidth_delay_product(rate));
                } else {
                    self.sharing = Sharing::Asked { before: long.least };
                    self.reduce(now, self.reduced(rate));
                }
            }
            (Sharing::Asked { before }, Queue::Grown(longer) | Queue::Long(longer)) => {
                if longer.least > before.mul_f64(OWN_QUEUE) {
                    self.sharing = Sharing::Contended(now);
                } else {
                    self.sharing = Sharing::Alone;
                    self.reduce(now, signals.bandwidth_delay_product(longer.rate(now)));
                }
            }
            (Sharing::Contended(since), _) if now.saturating_duration_since(since) > CONTENDED => {
                self.sharing = Sharing::Alone;
            }
            _ => {}
        }
    }

    fn handle_round(&mut self, now: Instant) {
        let starts = self.is_starting();
        let limit = if starts { STARTUP_EXCESS_LOSS } else { EXCESS_LOSS };
        if self.signals.excess_loss() > limit {
            let rate = self.signals.rate();
            if starts {
                self.start_from(now, self.signals.bandwidth_delay_product(rate));
            } else {
                self.reduce(now, self.reduced(rate));
            }
        }
    }

    /// In slow start.
    fn is_starting(&self) -> bool {
        self.window < self.threshold
    }

    /// Whether the window is still about what a reduction has left, which the path carries.
    fn is_low(&self) -> bool {
        self.packets(self.window) <= self.cubic.floor * LOW
    }

    /// Nothing is in flight any more.
    fn end_train(&mut self) {
        let train = std::mem::take(&mut self.train);
        if train.has_lost {
            // Perhaps because of the last step.
            self.window = self.before_step.take().unwrap_or(self.window);
            return;
        }
        let is_clear = !self.signals.is_late(train.longest()) && matches!(self.sharing, Sharing::Alone);
        if is_clear && train.is_paced(self.window, self.signals.min_rtt()) {
            self.before_step = Some(self.window);
            self.window = (self.window + (self.window / STEP_PART).min(train.bytes)).min(MOST_BYTES);
        }
    }

    fn grow(&mut self, now: Instant, bytes: u64, rtt: Duration) {
        if self.is_starting() {
            self.window = (self.window + bytes).min(MOST_BYTES);
            return;
        }
        let is_contended = matches!(self.sharing, Sharing::Contended(_));
        let is_new = self.packets(self.window) >= self.cubic.ceiling;
        let is_clear = matches!(self.signals.queue(now), Queue::Clear);
        let pace = if is_clear && is_new && !is_contended { CLEAR_PACE } else { 1.0 };
        let passed =
            self.last_ack.map_or(Duration::ZERO, |last| now.saturating_duration_since(last)).min(rtt);
        self.cubic.time += pace * passed.as_secs_f64();
        self.cubic.round_trips += passed.as_secs_f64() / rtt.as_secs_f64().max(1e-6);
        let target = (self.cubic.window() * self.mtu as f64) as u64;
        // As in slow start, no faster than doubling.
        self.window = target.clamp(self.window, self.window + bytes).min(MOST_BYTES);
    }
}

impl Controller for Wireless {
    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, rtt: &RttEstimator) {
        self.signals.handle_ack(now, sent, bytes);
        // Others are messages, which wait for nothing.
        if 2 * bytes > self.mtu {
            self.train.handle_ack(sent, now.saturating_duration_since(sent), bytes);
        }
        let is_recovering = self.reduced_at.is_some_and(|at| sent <= at);
        if !app_limited && !is_recovering {
            self.before_step = None;
            self.grow(now, bytes, rtt.get());
        }
        self.last_ack = Some(now);
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, _: Option<u64>) {
        if self.signals.handle_end_acks(now, self.is_low(), app_limited) {
            self.handle_round(now);
        }
        self.handle_queue(now);
        if in_flight == 0 {
            self.end_train();
        }
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, is_persistent: bool, lost_bytes: u64) {
        self.signals.handle_loss(sent, lost_bytes);
        self.train.has_lost = true;
        if self.reduced_at.is_some_and(|at| sent <= at) {
            return;
        }
        if is_persistent {
            // The link was gone. What it carried before it probably carries again: there in a few round trips.
            let before = self.window;
            self.reduce(now, self.least());
            self.threshold = before;
            return;
        }
        let rate = match self.signals.queue(now) {
            Queue::Grown(longer) | Queue::Long(longer) => longer.rate(now),
            _ if matches!(self.sharing, Sharing::Contended(_)) => 0.0,
            // A router said so (RFC 3168).
            _ if lost_bytes == 0 => 0.0,
            // No more than that shows of a short queue that is full.
            _ if self.signals.is_raised() => self.signals.rate(),
            _ => return,
        };
        self.reduce(now, self.reduced(rate));
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.mtu = new_mtu.into();
        self.window = self.window.max(self.least());
    }

    fn window(&self) -> u64 {
        self.window
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        INITIAL_PACKETS * self.mtu
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
