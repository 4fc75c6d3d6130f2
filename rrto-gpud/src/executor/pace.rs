//! How often to poll while completions are pending.

use std::time::Duration;

/// Polls without a wait: most kernels of an inference end within them, and they last some tens of microseconds.
const SPINS: u32 = 64;

/// The first wait after the spin.
const FIRST_WAIT: Duration = Duration::from_micros(20);

/// The longest wait: 2,000 polls a second are a few percent of a core.
const LONGEST_WAIT: Duration = Duration::from_micros(500);

/// Each wait is longer than the one before by this part of it. So a wait is about this part of all the time waited,
/// and noticing a completion late adds at most 3 % to it.
const GROWTH_DIVISOR: u32 = 32;

/// The waits between polls since something last happened.
#[derive(Debug)]
pub(crate) struct Pace {
    spins: u32,
    wait: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Pace { spins: SPINS, wait: FIRST_WAIT }
    }
}

impl Pace {
    /// How long to wait before the next poll; zero is to be followed by a yield.
    pub(crate) fn next_wait(&mut self) -> Duration {
        if let Some(left) = self.spins.checked_sub(1) {
            self.spins = left;
            return Duration::ZERO;
        }
        let wait = self.wait;
        self.wait = (wait + wait / GROWTH_DIVISOR).min(LONGEST_WAIT);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_completion_is_noticed_soon_however_long_it_took() {
        let mut pace = Pace::default();
        for _ in 0..SPINS {
            assert_eq!(pace.next_wait(), Duration::ZERO);
        }
        let mut waited = Duration::ZERO;
        let mut last = Duration::ZERO;
        for _ in 0..10_000 {
            let wait = pace.next_wait();
            assert!(wait >= last, "waits only grow");
            assert!((FIRST_WAIT..=LONGEST_WAIT).contains(&wait));
            assert!(wait <= FIRST_WAIT + waited / GROWTH_DIVISOR, "{wait:?} after {waited:?}");
            waited += wait;
            last = wait;
        }
        assert_eq!(last, LONGEST_WAIT);
    }
}
