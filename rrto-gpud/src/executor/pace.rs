//! How often to look for what comes next.
//!
//! For some time after something has happened a thread looks without a pause, and yields in between: waking it up takes
//! some 40 us on a virtual machine. While the device is at work, somebody waits for the output, and that delay would be
//! theirs, in two threads one after the other; so that time is long. A local program does the same:
//! `cudaStreamSynchronize` spins until the device has finished (CUDA driver API, `CU_CTX_SCHED_AUTO`). Between the segments
//! of an inference nobody waits, and threads that spin slow down others on the same core. But what comes at its end
//! must not find them on their way out of a sleep.

use std::time::{Duration, Instant};

use rrto_core::operator::{Sequence, Span};

/// How long to look without a pause for completions: as long as the kernels of most inferences last.
const SPIN_PENDING: Duration = Duration::from_millis(2);

/// How long to look without a pause for operators: those of a burst come in shorter intervals than that.
const SPIN_IDLE: Duration = Duration::from_micros(50);

/// The same when an inference is about to end: as long as a program takes for a segment or two.
const SPIN_NEAR_END: Duration = Duration::from_micros(300);

/// The end of a sequence is its last part of so many: about what comes in the last two messages.
const END_PART: u64 = 16;

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
    spin_idle: Duration,
}

/// Whether a run of `sequence` is about to end after this span.
pub(crate) fn is_near_end(sequence: &Sequence, span: &Span) -> bool {
    let left = u64::from(sequence.len().saturating_sub(span.end()));
    left > 0 && left * END_PART <= sequence.len().into()
}

impl Pace {
    /// Something has just happened; `is_near_end` if an inference is about to end.
    pub(crate) fn new(is_near_end: bool) -> Self {
        let spin_idle = if is_near_end { SPIN_NEAR_END } else { SPIN_IDLE };
        Pace { since: Instant::now(), spin_idle }
    }

    /// Since something has happened.
    pub(crate) fn waited(&self) -> Duration {
        self.since.elapsed()
    }

    /// How long to wait before looking again. Zero is to be followed by a yield; `None` is until something arrives.
    pub(crate) fn next_wait(&self, is_pending: bool) -> Option<Duration> {
        wait_after(self.since.elapsed(), is_pending, self.spin_idle)
    }
}

fn wait_after(waited: Duration, is_pending: bool, spin_idle: Duration) -> Option<Duration> {
    match is_pending {
        true if waited < SPIN_PENDING => Some(Duration::ZERO),
        true => Some((waited / WAITED_DIVISOR).clamp(FIRST_WAIT, LONGEST_WAIT)),
        false if waited < spin_idle => Some(Duration::ZERO),
        false => None,
    }
}

#[cfg(test)]
mod tests {
    use rrto_core::operator::{Handle, Operator, SequenceId};

    use super::*;

    #[test]
    fn a_completion_is_noticed_soon_however_long_it_took() {
        let mut waited = Duration::ZERO;
        let mut last = Duration::ZERO;
        for _ in 0..10_000 {
            let wait = wait_after(waited, true, SPIN_IDLE).unwrap();
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
        for spin_idle in [SPIN_IDLE, SPIN_NEAR_END] {
            assert_eq!(wait_after(Duration::ZERO, false, spin_idle), Some(Duration::ZERO));
            assert_eq!(wait_after(spin_idle, false, spin_idle), None);
        }
    }

    #[test]
    fn the_end_is_near_before_it_and_not_after() {
        let operator = Operator::StreamSynchronize { stream: Handle(1) };
        let sequence = Sequence::new(0, vec![operator; 100]).unwrap();
        let near: Vec<bool> = [(0, 93), (0, 94), (74, 25), (99, 1)]
            .map(|(from, count)| {
                let span = Span { sequence: SequenceId(0), from, count, patches: Vec::new() };
                is_near_end(&sequence, &span)
            })
            .into();
        assert_eq!(near, [false, true, true, false]);
    }
}
