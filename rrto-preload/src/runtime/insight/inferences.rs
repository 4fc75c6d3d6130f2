//! How long inferences take.
//!
//! The library does not know what an inference is. It measures *runs*: from the first operator that a thread sends after
//! it has waited, to the end of the wait by which it gets an output (a copy to the host). What a thread then sends at once
//! to get more outputs, or to wait again, belongs to the same run. For a program that copies its input, launches, and
//! copies its output, a run is an inference without the program's own work before its first call.
//!
//! In mode `percall` the library waits for every call. Only what the program itself would wait for ends a run there too.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError, TryLockError};
use std::time::Duration;

use rrto_core::operator::Operator;
use rrto_core::wire::INLINE_PAYLOAD_BYTES;
use rrto_quic::LinkStatistics;

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
    durations_ns: Histogram,
    round_trips: Histogram,
    control_up: Histogram,
    control_down: Histogram,
}

/// A run of a thread that may still go on.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    start: Duration,
    /// The end of its latest wait; `None` while it has not waited.
    end: Option<Duration>,
    has_output: bool,
    /// The program waits for what the thread sent last.
    waits: bool,
    /// What the link had carried before it.
    before: LinkStatistics,
    /// What the link had carried at `end`.
    after: LinkStatistics,
    /// Bytes of its inputs and outputs that travel on the control stream.
    inline_up: u64,
    inline_down: u64,
}

/// How long all runs took.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Summary {
    /// Runs measured. The rest is 0 if there were none.
    pub(super) count: u64,
    pub(super) median: Duration,
    pub(super) p90: Duration,
    pub(super) longest: Duration,
    /// Medians of what the link carried meanwhile: also for other threads, if several work at a time.
    pub(super) round_trips: u64,
    /// Without inputs, bytes.
    pub(super) control_up: u64,
    /// Without outputs, bytes.
    pub(super) control_down: u64,
}

impl Inferences {
    /// A thread sends an operator. Times are since the session's beginning; `link` tells what the link has carried.
    pub(super) fn submitted(
        &self,
        lane: u32,
        operator: &Operator,
        now: Duration,
        link: impl FnOnce() -> LinkStatistics,
    ) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_output = matches!(operator, Operator::CopyOut { .. });
        let is_open = |run: &&mut Run| run.end.is_none() || is_output || waits(operator);
        if state.runs.get_mut(&lane).filter(is_open).is_none() {
            if state.runs.len() >= LANES_MAX && !state.runs.contains_key(&lane) {
                return;
            }
            let before = link();
            let run = Run { start: now, before, after: before, ..Run::default() };
            let finished = state.runs.insert(lane, run);
            state.add_finished(finished);
        }
        if let Some(run) = state.runs.get_mut(&lane) {
            run.has_output |= is_output;
            run.waits = operator.needs_answer();
            let is_inline = |bytes: &u64| *bytes <= INLINE_PAYLOAD_BYTES;
            run.inline_up += operator.payload_bytes().filter(is_inline).unwrap_or(0);
            if let Operator::CopyOut { bytes, .. } = operator {
                run.inline_down += Some(*bytes).filter(is_inline).unwrap_or(0);
            }
        }
    }

    /// A thread's wait has ended; `link` is what the link has carried.
    pub(super) fn waited(&self, lane: u32, now: Duration, link: &LinkStatistics) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(run) = state.runs.get_mut(&lane).filter(|run| run.waits) {
            run.end = Some(now);
            run.after = *link;
        }
    }

    /// All runs so far. Never waits: empty if a thread is just adding one.
    pub(super) fn summary(&self) -> Summary {
        let mut state = match self.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(state)) => state.into_inner(),
            Err(TryLockError::WouldBlock) => return Summary::default(),
        };
        let open: Vec<Run> = state.runs.drain().map(|(_, run)| run).collect();
        open.into_iter().for_each(|run| state.add_finished(Some(run)));
        state.summary()
    }
}

impl State {
    /// A run is over; it counts if it had an output.
    fn add_finished(&mut self, run: Option<Run>) {
        let Some(Run { start, end: Some(end), has_output: true, before, after, .. }) = run else { return };
        let (inline_up, inline_down) = run.map_or((0, 0), |run| (run.inline_up, run.inline_down));
        let more = |counter: fn(&LinkStatistics) -> u64| counter(&after).saturating_sub(counter(&before));
        self.durations_ns.add(u64::try_from(end.saturating_sub(start).as_nanos()).unwrap_or(u64::MAX));
        self.round_trips.add(more(|link| link.round_trips));
        self.control_up.add(more(|link| link.control_bytes_up).saturating_sub(inline_up));
        self.control_down.add(more(|link| link.control_bytes_down).saturating_sub(inline_down));
    }

    fn summary(&self) -> Summary {
        Summary {
            count: self.durations_ns.count,
            median: Duration::from_nanos(self.durations_ns.quantile(50)),
            p90: Duration::from_nanos(self.durations_ns.quantile(90)),
            longest: Duration::from_nanos(self.durations_ns.largest),
            round_trips: self.round_trips.quantile(50),
            control_up: self.control_up.quantile(50),
            control_down: self.control_down.quantile(50),
        }
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

/// Numbers in buckets whose width grows with them.
#[derive(Debug)]
struct Histogram {
    buckets: Box<[u64]>,
    count: u64,
    largest: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { buckets: vec![0; BUCKETS].into(), count: 0, largest: 0 }
    }
}

impl Histogram {
    fn add(&mut self, value: u64) {
        if let Some(bucket) = self.buckets.get_mut(bucket_of(value)) {
            *bucket += 1;
        }
        self.count += 1;
        self.largest = self.largest.max(value);
    }

    /// The value that `percent` of all do not exceed.
    fn quantile(&self, percent: u64) -> u64 {
        let rank = (self.count * percent).div_ceil(100);
        let mut seen = 0;
        let bucket = self.buckets.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        bucket.map_or(0, middle_of).min(self.largest)
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

    /// A link that has carried nothing.
    fn idle() -> LinkStatistics {
        LinkStatistics::default()
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_run_goes_from_its_first_operator_to_its_last_output() {
        let inferences = Inferences::default();
        // Loading a model: it waits for addresses, and has no output.
        inferences.submitted(0, &ALLOC, ms(0), idle);
        inferences.waited(0, ms(90), &idle());
        for start in [100, 200] {
            inferences.submitted(0, &IN, ms(start), idle);
            inferences.submitted(0, &OUT, ms(start + 5), idle);
            inferences.waited(0, ms(start + 10), &idle());
            // A second output, and a wait for everything.
            inferences.submitted(0, &OUT, ms(start + 11), idle);
            inferences.waited(0, ms(start + 15), &idle());
            inferences.submitted(0, &SYNC, ms(start + 16), idle);
        }
        // Another thread does not disturb it, and has not waited yet.
        inferences.submitted(1, &OUT, ms(203), idle);
        let summary = inferences.summary();
        assert_eq!((summary.count, summary.longest), (2, ms(15)));
        assert!(summary.median > ms(14) && summary.median <= ms(15), "{summary:?}");
    }

    #[test]
    fn what_the_link_carries_beside_inputs_and_outputs_is_counted() {
        let inferences = Inferences::default();
        let link = |inference: u64| LinkStatistics {
            round_trips: 2 * inference,
            control_bytes_up: 121 * inference,
            control_bytes_down: 57 * inference,
            ..idle()
        };
        for at in 0..5 {
            let input = Operator::CopyIn { dst: 0, bytes: 100, stream: STREAM };
            let output = Operator::CopyOut { src: 0, bytes: 40, stream: STREAM };
            let bulk = Operator::CopyIn { dst: 0, bytes: 5000, stream: STREAM };
            inferences.submitted(0, &input, ms(10 * at), || link(at));
            // As in percall.
            inferences.waited(0, ms(10 * at + 1), &link(at));
            inferences.submitted(0, &bulk, ms(10 * at + 2), idle);
            inferences.submitted(0, &output, ms(10 * at + 3), idle);
            inferences.waited(0, ms(10 * at + 5), &link(at + 1));
        }
        let summary = inferences.summary();
        assert_eq!((summary.count, summary.longest), (5, ms(5)));
        assert_eq!((summary.round_trips, summary.control_up, summary.control_down), (2, 21, 17));
    }

    #[test]
    fn nothing_measured_is_zero() {
        assert_eq!(Inferences::default().summary(), Summary::default());
    }

    #[test]
    fn threads_are_bounded() {
        let inferences = Inferences::default();
        for lane in 0..2 * LANES_MAX as u32 {
            inferences.submitted(lane, &OUT, ms(0), idle);
            inferences.waited(lane, ms(1), &idle());
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
            durations.iter().for_each(|duration| histogram.add(*duration));
            durations.sort_unstable();
            for percent in [50, 90] {
                let exact = durations[(durations.len() * percent).div_ceil(100) - 1] as f64;
                let found = histogram.quantile(percent as u64) as f64;
                prop_assert!((found - exact).abs() <= exact * 0.02, "{percent} %: {found} {exact}");
            }
        }
    }
}
