//! A limit on a rate.

use std::time::Duration;

/// Lets through a number of units a second, and what was saved up in the last quarter of a second at once. Keeps the time at which it
/// has paid for all that it let through (the generic cell rate algorithm: one number for each bucket).
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    units_per_s: u64,
    paid_at: Duration,
}

/// How long units are saved up. A window of a connection with the longest round trip that is any use comes at once.
const SAVED: Duration = Duration::from_millis(250);

impl Bucket {
    pub(super) fn new(units_per_s: u64) -> Self {
        Bucket { units_per_s: units_per_s.max(1), paid_at: Duration::ZERO }
    }

    /// Whether there is room for `units` now; if so, it is taken.
    pub(super) fn take(&mut self, now: Duration, units: u64) -> bool {
        let paid_at = self.paid_at.max(now) + self.price(units);
        let fits = paid_at <= now + SAVED;
        if fits {
            self.paid_at = paid_at;
        }
        fits
    }

    fn price(&self, units: u64) -> Duration {
        Duration::from_nanos(units.saturating_mul(1_000_000_000) / self.units_per_s)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However it is asked, no more comes through than the rate, and what was saved up.
        #[test]
        fn the_rate_holds(
            units_per_s in 100..1_000_000_u64,
            asked in prop::collection::vec((0..5_000_000_u64, 1..2_000_u64), 1..300),
        ) {
            let mut bucket = Bucket::new(units_per_s);
            let (mut now, mut through) = (Duration::ZERO, 0);
            for (pause_ns, units) in asked {
                now += Duration::from_nanos(pause_ns);
                through += if bucket.take(now, units) { units } else { 0 };
                let most = (now + SAVED).as_secs_f64() * units_per_s as f64;
                prop_assert!(through as f64 <= most * 1.001 + 1.0, "{} of {}", through, most);
            }
            // After a rest all that can be saved up is there again.
            prop_assert!(bucket.take(now + 2 * SAVED, units_per_s / 4));
        }
    }
}
