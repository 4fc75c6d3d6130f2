//! How long inferences take.
//!
//! The library does not know what an inference is. It measures *runs*: from the first operator that a thread sends after
//! it has waited, to the end of the wait by which it gets an output (a copy to the host). What a thread then sends at once
//! to get more outputs, or to wait again, belongs to the same run. For a program that copies its input, launches, and
//! copies its output, a run is an inference without the program's own work before its first call.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError, TryLockError};
use std::time::Duration;

use rrto_core::operator::Operator;

/// Threads whose runs are measured at a time; those of further ones are not.
const LANES_MAX: usize = 1024;

/// Each power of two has so many buckets: a quantile is less than 1 % off.
const BUCKETS_PER_OCTAVE: usize = 64;
const OCTAVE_BITS: u32 = BUCKETS_PER_OCTAVE.trailing_zeros();
/// Enough for any number of nanoseconds in 64 bits.
const BUCKETS: usize = (64 - OCTAVE_BITS as usize + 1) * BUCKETS_PER_OCTAVE;

/// Measures runs.
#[derive(Debug, Default)]
pub(super) struct Inferences {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    runs: HashMap<u32, Run>,
    durations: Histogram,
}

/// A run of a thread that may still go on.
#[derive(Clone, Copy, Debug)]
struct Run {
    start: Duration,
    /// The end of its latest wait; `None` while it has not waited.
    end: Option<Duration>,
    has_output: bool,
}

/// How long all runs took.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Summary {
    /// Runs measured. The rest is 0 if there were none.
    pub(super) count: u64,
    pub(super) median: Duration,
    pub(super) p90: Duration,
    pub(super) longest: Duration,
}

impl Inferences {
    /// A thread sends an operator. Times are since the session's beginning.
    pub(super) fn submitted(&self, lane: u32, operator: &Operator, now: Duration) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { runs, durations } = &mut *state;
        let is_output = matches!(operator, Operator::CopyOut { .. });
        let open = runs.get_mut(&lane).filter(|run| run.end.is_none() || is_output || waits(operator));
        match open {
            Some(run) => run.has_output |= is_output,
            None => {
                let run = Run { start: now, end: None, has_output: is_output };
                if runs.len() < LANES_MAX || runs.contains_key(&lane) {
                    durations.add_finished(runs.insert(lane, run));
                }
            }
        }
    }

    /// A thread's wait has ended.
    pub(super) fn waited(&self, lane: u32, now: Duration) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(run) = state.runs.get_mut(&lane) {
            run.end = Some(now);
        }
    }

    /// All runs so far. Never waits: empty if a thread is just adding one.
    pub(super) fn summary(&self) -> Summary {
        let mut state = match self.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(state)) => state.into_inner(),
            Err(TryLockError::WouldBlock) => return Summary::default(),
        };
        let State { runs, durations } = &mut *state;
        runs.drain().for_each(|(_, run)| durations.add_finished(Some(run)));
        durations.summary()
    }
}

/// Whether a program calls this to wait for what it has sent before.
fn waits(operator: &Operator) -> bool {
    use Operator::*;
    matches!(
        operator,
        StreamSynchronize { .. }
            | StreamQuery { .. }
            | EventSynchronize { .. }
            | EventQuery { .. }
            | ContextSynchronize
    )
}

/// Durations in buckets whose width grows with them.
#[derive(Debug)]
struct Histogram {
    buckets: Box<[u64]>,
    count: u64,
    longest: Duration,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { buckets: vec![0; BUCKETS].into(), count: 0, longest: Duration::ZERO }
    }
}

impl Histogram {
    fn add_finished(&mut self, run: Option<Run>) {
        if let Some(Run { start, end: Some(end), has_output: true }) = run {
            self.add(end.saturating_sub(start));
        }
    }

    fn add(&mut self, duration: Duration) {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        if let Some(bucket) = self.buckets.get_mut(bucket_of(nanoseconds)) {
            *bucket += 1;
        }
        self.count += 1;
        self.longest = self.longest.max(duration);
    }

    /// The duration that `percent` of all do not exceed.
    fn quantile(&self, percent: u64) -> Duration {
        let rank = (self.count * percent).div_ceil(100);
        let mut seen = 0;
        let bucket = self.buckets.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        Duration::from_nanos(bucket.map_or(0, middle_of)).min(self.longest)
    }

    fn summary(&self) -> Summary {
        Summary {
            count: self.count,
            median: self.quantile(50),
            p90: self.quantile(90),
            longest: self.longest,
        }
    }
}

/// Values below [`BUCKETS_PER_OCTAVE`] have a bucket each; above, each octave is cut evenly.
fn bucket_of(value: u64) -> usize {
    let shift = (u64::BITS - value.leading_zeros()).saturating_sub(OCTAVE_BITS + 1);
    shift as usize * BUCKETS_PER_OCTAVE + (value >> shift) as usize
}

/// A value in the middle of a bucket.
fn middle_of(bucket: usize) -> u64 {
    let shift = (bucket / BUCKETS_PER_OCTAVE).saturating_sub(1);
    let first = (bucket - shift * BUCKETS_PER_OCTAVE) as u64;
    (first << shift) + (1 << shift) / 2
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rrto_core::operator::Handle;

    use super::*;

    const STREAM: Handle = Handle::LEGACY_STREAM;
    const IN: Operator = Operator::CopyIn { dst: 0, bytes: 1, stream: STREAM };
    const OUT: Operator = Operator::CopyOut { src: 0, bytes: 1, stream: STREAM };
    const ALLOC: Operator = Operator::MemAlloc { bytes: 1 };
    const SYNC: Operator = Operator::StreamSynchronize { stream: STREAM };

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_run_goes_from_its_first_operator_to_its_last_output() {
        let inferences = Inferences::default();
        // Loading a model: it waits for addresses, and has no output.
        inferences.submitted(0, &ALLOC, ms(0));
        inferences.waited(0, ms(90));
        for start in [100, 200] {
            inferences.submitted(0, &IN, ms(start));
            inferences.submitted(0, &OUT, ms(start + 5));
            inferences.waited(0, ms(start + 10));
            // A second output, and a wait for everything.
            inferences.submitted(0, &OUT, ms(start + 11));
            inferences.waited(0, ms(start + 15));
            inferences.submitted(0, &SYNC, ms(start + 16));
        }
        // Another thread does not disturb it, and has not waited yet.
        inferences.submitted(1, &OUT, ms(203));
        let summary = inferences.summary();
        assert_eq!((summary.count, summary.longest), (2, ms(15)));
        assert!(summary.median > ms(14) && summary.median <= ms(15), "{summary:?}");
    }

    #[test]
    fn nothing_measured_is_zero() {
        assert_eq!(Inferences::default().summary(), Summary::default());
    }

    #[test]
    fn threads_are_bounded() {
        let inferences = Inferences::default();
        for lane in 0..2 * LANES_MAX as u32 {
            inferences.submitted(lane, &OUT, ms(0));
            inferences.waited(lane, ms(1));
        }
        assert_eq!(inferences.summary().count, LANES_MAX as u64);
    }

    proptest! {
        #[test]
        fn a_bucket_is_narrow(value: u64) {
            let middle = middle_of(bucket_of(value));
            prop_assert!(middle.abs_diff(value) <= value / BUCKETS_PER_OCTAVE as u64, "{value} {middle}");
        }

        #[test]
        fn quantiles_are_those_of_the_sorted_durations(mut durations in proptest::collection::vec(1..1_000_000_u64, 1..300)) {
            let mut histogram = Histogram::default();
            durations.iter().for_each(|us| histogram.add(Duration::from_micros(*us)));
            durations.sort_unstable();
            for (percent, found) in [(50, histogram.summary().median), (90, histogram.summary().p90)] {
                let exact = durations[(durations.len() * percent).div_ceil(100) - 1] as f64;
                let found = found.as_secs_f64() * 1e6;
                prop_assert!((found - exact).abs() <= exact * 0.02, "{percent} %: {found} {exact}");
            }
        }
    }
}
