//! Fades and stalls: a state that is on and off at random times, whatever the traffic.

use std::time::Duration;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::timeline::{Burst, NEVER, Params, Timeline, nanos};

/// A two-state process in time. What it does depends on its random stream and the timeline only; it is computed as
/// far as it is asked for, and may be asked about times in order only.
#[derive(Debug)]
pub(super) struct Bursts {
    rng: ChaCha8Rng,
    pick: fn(&Params) -> Option<Burst>,
    burst: Option<Burst>,
    on: bool,
    /// When the state changes next, if the parameters stay.
    toggles_at: u64,
    /// Until when the present state is known: the next toggle, or the end of the timeline's piece.
    known_until: u64,
}

impl Bursts {
    /// A process whose parameters are what `pick` finds in the timeline's.
    pub(super) fn new(rng: ChaCha8Rng, pick: fn(&Params) -> Option<Burst>) -> Self {
        Self { rng, pick, burst: None, on: false, toggles_at: NEVER, known_until: 0 }
    }

    /// Whether a burst is on at `time`, which must not be before that of an earlier call.
    pub(super) fn active_at(&mut self, time: u64, timeline: &Timeline) -> bool {
        self.state_at(time, timeline).0
    }

    /// Whether a burst is on at `time`, and until when that is known.
    pub(super) fn state_at(&mut self, time: u64, timeline: &Timeline) -> (bool, u64) {
        while self.known_until <= time && self.known_until != NEVER {
            self.step(self.known_until, timeline);
        }
        (self.on, self.known_until)
    }

    fn step(&mut self, now: u64, timeline: &Timeline) {
        let span = timeline.at(now);
        let burst = (self.pick)(&span.params);
        if burst != self.burst {
            // Gaps have no memory, so a new one may be drawn at any time. A burst that is on does not end later than it
            // was going to: drawn anew at every piece of a script, one that lasts longer than the pieces would never end.
            let ends_at = if self.on { self.toggles_at } else { NEVER };
            self.burst = burst;
            self.on &= burst.is_some();
            let drawn = self.draw(now);
            self.toggles_at = if self.on { drawn.min(ends_at) } else { drawn };
        } else if self.toggles_at <= now {
            self.on = !self.on;
            self.toggles_at = self.draw(now);
        }
        self.known_until = self.toggles_at.min(span.end);
    }

    /// When the state that began at `now` ends.
    fn draw(&mut self, now: u64) -> u64 {
        let Some(burst) = self.burst else { return NEVER };
        let mean = if self.on { burst.lasts } else { burst.every };
        let length = if self.on && burst.exact { nanos(mean) } else { self.exponential(mean) };
        now.saturating_add(length.max(1))
    }

    fn exponential(&mut self, mean: Duration) -> u64 {
        let luck: f64 = self.rng.random();
        (mean.as_nanos() as f64 * -(1.0 - luck).ln()) as u64
    }
}
