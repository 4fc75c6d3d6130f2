//! What acknowledgements and losses say about the path: its shortest round trip, whether its queue has grown, how much it
//! loses anyway, and how fast it delivers.

use std::time::{Duration, Instant};

/// The shortest round trip is that of the last one to two of these. Long enough that some moment without a queue is among
/// them, short enough that a robot that got a longer way does not take it for a queue for long.
const MIN_RTT_EPOCH: Duration = Duration::from_secs(5);

/// Losses are looked at over at least so many packets: over fewer, chance decides.
const ROUND_PACKETS: u64 = 40;

/// One round counts for no more than this: a fade that loses everything is no congestion.
const ROUND_LOSS_MOST: f64 = 0.3;

/// What a round changes of the smoothed loss.
const LOSS_GAIN: f64 = 0.125;

/// No path loses more than this anyway. Whatever is learned, beyond it losses are congestion.
const BASE_LOSS_MOST: f64 = 0.15;

/// A span of fewer round trips says nothing of how far apart they are.
const SPAN_SAMPLES: u32 = 8;

/// Spans that are remembered for their range.
const RANGES: usize = 8;

/// The highest rate is that of the last one to two of these.
const PEAK_EPOCH: Duration = Duration::from_secs(1);

/// A rate below this part of the highest one is another path's; a neighbour that begins takes half.
const FALLEN: f64 = 0.45;

/// The round trips of an empty queue are spread over so many times the usual range of a span: above a span's own, because of
/// many spans some are shorter throughout, and some longer.
const SPREAD: f64 = 2.0;

/// A loss counts from this much of a queue. One that holds 2.6 ms in all (32 kB at 100 Mbit/s) shows that much when it is full; one of half
/// the length seldom does, between the packets that quinn sends at a time, and there only excess loss counts.
const RAISED: Duration = Duration::from_micros(500);

/// A queue of fewer milliseconds is what the system's scheduling does.
const LEAST_PATIENCE: Duration = Duration::from_millis(4);

/// The minimum over a sliding window, in two halves.
#[derive(Clone, Copy, Debug)]
struct WindowedMin {
    began: Instant,
    previous: Option<Duration>,
    current: Option<Duration>,
}

impl WindowedMin {
    fn new(now: Instant) -> Self {
        WindowedMin { began: now, previous: None, current: None }
    }

    fn add(&mut self, now: Instant, sample: Duration) {
        if now.saturating_duration_since(self.began) >= MIN_RTT_EPOCH {
            (self.previous, self.current, self.began) = (self.current, None, now);
        }
        self.current = Some(self.current.map_or(sample, |least| least.min(sample)));
    }

    fn get(&self) -> Option<Duration> {
        self.previous.into_iter().chain(self.current).min()
    }
}

/// The latest round trips, in spans about as long as one.
#[derive(Clone, Copy, Debug)]
struct Recent {
    began: Instant,
    count: u32,
    /// The shortest and the longest in the span of now.
    current: Option<(Duration, Duration)>,
    /// In the one before.
    previous: Option<(Duration, Duration)>,
    /// How far apart they were in the last spans; the oldest is overwritten.
    ranges: [Duration; RANGES],
    /// Spans so far.
    spans: usize,
}

impl Recent {
    fn new(now: Instant) -> Self {
        let ranges = [Duration::ZERO; RANGES];
        Recent { began: now, count: 0, current: None, previous: None, ranges, spans: 0 }
    }

    fn add(&mut self, now: Instant, rtt: Duration, span: Duration) {
        if self.count >= SPAN_SAMPLES && now.saturating_duration_since(self.began) >= span {
            if let Some((least, most)) = self.current {
                self.ranges[self.spans % RANGES] = most - least;
                self.spans += 1;
            }
            (self.previous, self.current, self.began, self.count) = (self.current, None, now, 0);
        }
        self.count += 1;
        let (least, most) = self.current.unwrap_or((rtt, rtt));
        self.current = Some((least.min(rtt), most.max(rtt)));
    }

    /// The queue is about to become another. How far apart round trips are has nothing to do with it.
    fn forget(&mut self, now: Instant) {
        *self = Recent { ranges: self.ranges, spans: self.spans, ..Recent::new(now) };
    }

    /// The shortest of the last one to two spans.
    fn least(&self) -> Option<Duration> {
        self.previous.into_iter().chain(self.current).map(|(least, _)| least).min()
    }

    /// How far apart round trips are within a span: the lower quartile, because a stall, or a queue that grows, widens some.
    fn jitter(&self) -> Duration {
        let mut ranges = self.ranges;
        let (known, _) = ranges.split_at_mut(self.spans.min(RANGES));
        known.sort_unstable();
        known.get(known.len() / 4).copied().unwrap_or_default()
    }
}

/// The maximum over a sliding window, in two halves.
#[derive(Clone, Copy, Debug)]
struct Peak {
    began: Instant,
    previous: f64,
    current: f64,
}

impl Peak {
    fn add(&mut self, now: Instant, sample: f64) {
        if now.saturating_duration_since(self.began) >= PEAK_EPOCH {
            (self.previous, self.current, self.began) = (self.current, 0.0, now);
        }
        self.current = self.current.max(sample);
    }

    fn get(&self) -> f64 {
        self.previous.max(self.current)
    }
}

/// Round trips that have been longer than a limit for a while, and what has been delivered meanwhile.
#[derive(Clone, Copy, Debug)]
pub(super) struct Longer {
    since: Instant,
    delivered: u64,
    /// The shortest among them.
    pub(super) least: Duration,
}

impl Longer {
    /// What becomes of `longer` with another round trip, of which it is known whether it is above the limit.
    fn update(
        longer: Option<Longer>,
        now: Instant,
        above: bool,
        rtt: Duration,
        bytes: u64,
    ) -> Option<Longer> {
        above.then(|| match longer {
            None => Longer { since: now, delivered: 0, least: rtt },
            Some(Longer { since, delivered, least }) => {
                Longer { since, delivered: delivered + bytes, least: least.min(rtt) }
            }
        })
    }

    pub(super) fn lasts(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    /// Bytes a second.
    pub(super) fn rate(&self, now: Instant) -> f64 {
        // Half a millisecond: no acknowledgements are so close together that their rate means something.
        self.delivered as f64 / self.lasts(now).as_secs_f64().max(5e-4)
    }
}

/// How full the bottleneck's queue is, by the round trips of the moment.
#[derive(Clone, Copy, Debug)]
pub(super) enum Queue {
    /// The window was changed so recently that nobody can say.
    Unknown,
    /// As good as empty.
    Clear,
    /// It has grown.
    Grown(Longer),
    /// It delays everything considerably.
    Long(Longer),
}

/// What is known of the path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signals {
    min_rtt: WindowedMin,
    recent: Recent,
    /// The shortest round trip among the packets that one acknowledgement brought, and when that one was sent.
    batch: Option<(Duration, Instant)>,
    batch_bytes: u64,
    grown: Option<Longer>,
    long: Option<Longer>,
    /// Since when there are round trips with the window of now.
    known_since: Option<Instant>,
    round: Round,
    /// Bytes a second in the last whole round.
    rate: f64,
    peak: Peak,
    loss: f64,
    base_loss: f64,
    /// What was sent before tells nothing about what the path loses now.
    reduced_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Round {
    began: Instant,
    acked: u64,
    lost: u64,
    packets: u64,
}

impl Signals {
    pub(super) fn new(now: Instant) -> Self {
        Signals {
            min_rtt: WindowedMin::new(now),
            recent: Recent::new(now),
            batch: None,
            batch_bytes: 0,
            grown: None,
            long: None,
            known_since: None,
            round: Round { began: now, acked: 0, lost: 0, packets: 0 },
            rate: 0.0,
            peak: Peak { began: now, previous: 0.0, current: 0.0 },
            loss: 0.0,
            base_loss: 0.0,
            reduced_at: None,
        }
    }

    /// A packet was acknowledged that had been sent at `sent`.
    pub(super) fn handle_ack(&mut self, now: Instant, sent: Instant, bytes: u64) {
        let rtt = now.saturating_duration_since(sent);
        if self.batch.is_none_or(|(least, _)| rtt < least) {
            self.batch = Some((rtt, sent));
        }
        self.batch_bytes += bytes;
        self.round.acked += bytes;
        self.round.packets += 1;
    }

    /// All packets of an acknowledgement have been told; says whether a round has ended with it. `is_low`: the window is
    /// so small that what is lost is not this side's doing. `app_limited`: it is not the window that limits what is sent,
    /// so a queue is another's.
    pub(super) fn handle_end_acks(&mut self, now: Instant, is_low: bool, app_limited: bool) -> bool {
        let Some((rtt, sent)) = self.batch.take() else { return false };
        let bytes = std::mem::take(&mut self.batch_bytes);
        self.min_rtt.add(now, rtt);
        if self.is_current(sent) {
            self.recent.add(now, rtt, self.min_rtt());
            self.known_since.get_or_insert(now);
            let (grown, long) = self.limits();
            self.grown = Longer::update(self.grown, now, rtt > grown && !app_limited, rtt, bytes);
            self.long = Longer::update(self.long, now, rtt > long && !app_limited, rtt, bytes);
        }
        self.end_round(now, is_low)
    }

    /// Whether a packet was sent with the window of now.
    fn is_current(&self, sent: Instant) -> bool {
        self.reduced_at.is_none_or(|at| sent > at)
    }

    /// Packets were lost, of which the last was sent at `sent`.
    pub(super) fn handle_loss(&mut self, sent: Instant, bytes: u64) {
        if self.is_current(sent) {
            self.round.lost += bytes;
        }
    }

    /// The window was reduced: what is seen from now on is seen with that.
    pub(super) fn handle_reduced(&mut self, now: Instant) {
        (self.grown, self.long, self.known_since) = (None, None, None);
        self.recent.forget(now);
        self.loss = self.base_loss;
        self.round = Round { began: now, acked: 0, lost: 0, packets: 0 };
        self.reduced_at = Some(now);
    }

    fn end_round(&mut self, now: Instant, is_low: bool) -> bool {
        let lasted = now.saturating_duration_since(self.round.began);
        if lasted < self.min_rtt() || self.round.packets < ROUND_PACKETS {
            return false;
        }
        let Round { acked, lost, .. } = self.round;
        let loss = lost as f64 / (acked + lost).max(1) as f64;
        self.loss += LOSS_GAIN * (loss.min(ROUND_LOSS_MOST) - self.loss);
        self.base_loss = if is_low { self.loss.min(BASE_LOSS_MOST) } else { self.base_loss.min(self.loss) };
        self.rate = acked as f64 / lasted.as_secs_f64();
        self.peak.add(now, self.rate);
        self.round = Round { began: now, acked: 0, lost: 0, packets: 0 };
        true
    }

    /// The shortest round trip of late.
    pub(super) fn min_rtt(&self) -> Duration {
        self.min_rtt.get().unwrap_or(Duration::from_millis(100))
    }

    /// The longest round trip with an empty queue.
    fn empty_rtt(&self) -> Duration {
        self.min_rtt() + self.recent.jitter().mul_f64(SPREAD)
    }

    /// Whether all round trips of late were longer than with an empty queue, be it by little. Too little to tell without a loss.
    pub(super) fn is_raised(&self) -> bool {
        self.recent.least().is_some_and(|least| least > self.empty_rtt() + RAISED)
    }

    /// Whether a round trip is longer than the shortest one, be it by little of that: jitter counts, unlike in [`Signals::is_raised`].
    pub(super) fn is_late(&self, rtt: Duration) -> bool {
        rtt > self.min_rtt() + RAISED.max(self.min_rtt() / 16)
    }

    /// The round trips from which on the queue has grown, and is long.
    fn limits(&self) -> (Duration, Duration) {
        let least = self.empty_rtt();
        (least + least / 4 + Duration::from_millis(2), least + least / 2 + Duration::from_millis(8))
    }

    /// For how long a round trip must be longer to count. After a stall of the radio what was in flight comes late, which lasts
    /// for one round trip.
    pub(super) fn patience(&self) -> Duration {
        (2 * self.empty_rtt()).max(LEAST_PATIENCE)
    }

    pub(super) fn queue(&self, now: Instant) -> Queue {
        let patience = self.patience();
        if self.known_since.is_none_or(|since| now.saturating_duration_since(since) < patience) {
            return Queue::Unknown;
        }
        let lasting = |longer: &Longer| longer.lasts(now) >= patience;
        match (self.grown.filter(lasting), self.long.filter(lasting)) {
            (_, Some(long)) => Queue::Long(long),
            (Some(grown), None) => Queue::Grown(grown),
            (None, None) => Queue::Clear,
        }
    }

    /// Round trips that are longer than with an empty queue, for however short a while.
    pub(super) fn growing(&self) -> Option<Longer> {
        self.grown
    }

    /// How much more is lost than anyway, as a fraction of what is sent.
    pub(super) fn excess_loss(&self) -> f64 {
        self.loss - self.base_loss
    }

    /// The bytes in flight at which the path carries all that it can, at `rate` bytes a second delivered, without a queue.
    pub(super) fn bandwidth_delay_product(&self, rate: f64) -> u64 {
        (rate / (1.0 - self.base_loss).max(0.5) * self.empty_rtt().as_secs_f64()) as u64
    }

    /// Whether `rate` is so much less than it was a moment ago that the path must have changed.
    pub(super) fn has_fallen(&self, rate: f64) -> bool {
        rate < self.peak.get() * FALLEN
    }

    /// Bytes a second delivered in the last whole round.
    pub(super) fn rate(&self) -> f64 {
        self.rate
    }
}
