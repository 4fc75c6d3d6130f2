//! How often to look for what comes next.
//!
//! For some time after something has happened a thread looks without a pause, and yields in between: waking it up takes
//! some 40 us on a virtual machine. While the device is at work, somebody waits for the output, and that delay would be
//! theirs, in two threads one after the other; so that time is long. A local program does the same:
//! `cudaStreamSynchronize` spins until the device has finished (CUDA driver API, `CU_CTX_SCHED_AUTO`). Between the segments
//! of an inference nobody waits, and threads that spin slow down others on the same core.

use std::time::{Duration, Instant};

/// How long to look without a pause for completions: as long as the kernels of most inferences last.
const SPIN_PENDING: Duration = Duration::from_millis(2);

/// How long to look without a pause for operators: those of a burst come in shorter intervals than that.
const SPIN_IDLE: Duration = Duration::from_micros(50);

/// The first wait after the spin.
const FIRST_WAIT: Duration = Duration::from_micros(20);

/// The longest wait: 2,000 polls a second are a few percent of a core.
const LONGEST_WAIT: Duration = Duration::from_micros(500);

/// A wait is this part of all the time waited: so noticing a completion late adds at most 3 % to it.
const WAITED_DIVISOR: u32 = 32;

/// Hints to the processor in one pause, together a microsecond or two.
const PAUSES: u32 = 32;

/// Between two looks of a thread that does not wait. Leaves the core to whatever else wants it, also to what runs beside
/// this thread on a core that runs two.
pub(crate) fn pause() {
    (0..PAUSES).for_each(|_| std::hint::spin_loop());
    std::thread::yield_now();
}

/// The waits since something last happened.
#[derive(Debug)]
pub(crate) struct Pace {
    since: Instant,
}

impl Default for Pace {
    /// Something has just happened.
    fn default() -> Self {
        Pace { since: Instant::now() }
    }
}

impl Pace {
    /// How long to wait before looking again. Zero is to be followed by a yield; `None` is until something arrives.
    pub(crate) fn next_wait(&self, is_pending: bool) -> Option<Duration> {
        wait_after(self.since.elapsed(), is_pending)
    }
}

fn wait_after(waited: Duration, is_pending: bool) -> Option<Duration> {
    match is_pending {
        true if waited < SPIN_PENDING => Some(Duration::ZERO),
        true => Some((waited / WAITED_DIVISOR).clamp(FIRST_WAIT, LONGEST_WAIT)),
        false if waited < SPIN_IDLE => Some(Duration::ZERO),
        false => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_completion_is_noticed_soon_however_long_it_took() {
        let mut waited = Duration::ZERO;
        let mut last = Duration::ZERO;
        for _ in 0..10_000 {
            let wait = wait_after(waited, true).unwrap();
            assert!(wait >= last, "waits only grow");
            assert_eq!(wait.is_zero(), waited < SPIN_PENDING);
            assert!(wait <= FIRST_WAIT.max(waited / WAITED_DIVISOR), "{wait:?} after {waited:?}");
            waited += wait.max(Duration::from_micros(1));
            last = wait;
        }
        assert_eq!(last, LONGEST_WAIT);
    }

    #[test]
    fn nothing_is_looked_for_where_nothing_has_happened_for_long() {
        assert_eq!(wait_after(Duration::ZERO, false), Some(Duration::ZERO));
        assert_eq!(wait_after(SPIN_IDLE, false), None);
    }
}
