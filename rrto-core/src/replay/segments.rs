//! Where the runs of a sequence are cut into segments.
//!
//! A segment's Advance leaves when its last operator has been checked, so the device's work starts one segment after
//! the program's, and after the program's last call one segment is still to be sent and executed: the first is short, and the
//! last is the last kernel and the copy of its output. A device that is about as fast as the program would wait for every
//! long one between them, so these are alike.
//!
//! On a link with a delay every message takes its time on the air, and most of what the device does is done while messages are
//! on their way: short sequences then have few segments, or one.

use std::time::Duration;

/// Segments of one run, at most. An Advance is 9 to 12 bytes, so that ten of them leave room for some patches in the 256
/// bytes that an inference may cost beside its input.
const MOST_SEGMENTS: u32 = 10;

/// Operators for each segment, on average, at least: few, because a program with short sequences waits for each of them,
/// and the device should be at work before the last operator is called.
const OPERATORS_PER_SEGMENT: u32 = 4;

/// The same where a message takes its time.
const OPERATORS_PER_SEGMENT_FAR: u32 = 16;

/// A server behind a shorter round trip is near, as in a wired local network or on the same machine: what a message takes is
/// less than what holding operators back for it does. A program issues some 50 operators in that time.
pub const NEAR: Duration = Duration::from_millis(1);

/// How many times as long as the first and the last segment one in the middle is.
const LONGEST: u32 = 3;

/// Operators of a segment more at the very end: the last kernel and the copy of its output. The program waits for all of the last
/// segment, however long messages take; this one leaves together with the one before it, or soon after.
const OPERATORS_AT_THE_END: u32 = 2;

/// Whether the server is near, as far as that is known.
pub(super) fn is_near(round_trip: Option<Duration>) -> bool {
    round_trip.is_some_and(|round_trip| round_trip < NEAR)
}

/// The places after the last operator of each segment, ascending; the last one is `operators`.
pub(super) fn ends(operators: u32, round_trip: Option<Duration>) -> Box<[u32]> {
    let is_near = is_near(round_trip);
    let each = if is_near { OPERATORS_PER_SEGMENT } else { OPERATORS_PER_SEGMENT_FAR };
    let count = (operators / each).clamp(1, MOST_SEGMENTS - 1);
    let weights = (0..count).map(|index| (index + 1).min(count - index).min(LONGEST));
    let all: u32 = weights.clone().sum();
    let sums = weights.scan(0, |sum, weight| {
        *sum += weight;
        Some(*sum)
    });
    let mut ends: Vec<u32> =
        sums.map(|sum| (u64::from(operators) * u64::from(sum) / u64::from(all)) as u32).collect();
    let last_but_one = ends.iter().rev().nth(1).copied().unwrap_or(0);
    if (is_near || count > 1) && operators - last_but_one >= 2 * OPERATORS_AT_THE_END {
        ends.insert(ends.len() - 1, operators - OPERATORS_AT_THE_END);
    }
    ends.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_cover_a_run_and_begin_and_end_short() {
        let delays = [None, Some(Duration::ZERO), Some(Duration::from_millis(10))];
        for (operators, round_trip) in (1..5000).flat_map(|operators| delays.map(|delay| (operators, delay)))
        {
            let ends = ends(operators, round_trip);
            assert!(ends.len() as u32 <= MOST_SEGMENTS);
            assert_eq!(ends.last(), Some(&operators));
            let starts = std::iter::once(0).chain(ends.iter().copied());
            let lengths: Vec<u32> = starts.zip(ends.iter()).map(|(start, end)| end - start).collect();
            assert!(lengths.iter().all(|length| *length > 0), "{operators}: {lengths:?}");
            let [first, middle @ .., last] = &lengths[..] else { continue };
            let longest = middle.iter().max().copied().unwrap_or(0);
            // To within the rounding of a place.
            assert!(longest <= LONGEST * (first + 1), "{operators}: {lengths:?}");
            assert!(*last < 2 * OPERATORS_AT_THE_END, "{operators}: {lengths:?}");
        }
    }
}
