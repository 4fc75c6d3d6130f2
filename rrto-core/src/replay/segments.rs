//! Where the runs of a sequence are cut into segments.
//!
//! A segment's Advance leaves when its last operator has been checked, so the server's work starts one segment after
//! the program's, and after the program's last call one segment is still to be sent and executed. Both of these are
//! short; between them segments shrink towards the end, because what the server still has to do when the last call
//! comes is what the program waits for.

/// Segments of one run, at most. An Advance is about 12 bytes, so that twelve of them leave room in the 256 bytes that
/// an inference may cost beside its input.
const MOST_SEGMENTS: u32 = 12;

/// Operators for each segment, at least: fewer, and the Advance costs more than it hastens.
const OPERATORS_PER_SEGMENT: u32 = 16;

/// The first segment of several: a program takes about 50 us to issue so many, which is as much as one message costs the
/// two hosts.
const FIRST_OPERATORS: u32 = 16;

/// The last segment of several: the final slot and so many operators before it.
const LAST_OPERATORS: u32 = 9;

/// The places after the last operator of each segment, ascending; the last one is `operators`.
pub(super) fn ends(operators: u32) -> Box<[u32]> {
    let count = (operators / OPERATORS_PER_SEGMENT).clamp(1, MOST_SEGMENTS);
    if count < 3 {
        let first = operators.saturating_sub(LAST_OPERATORS);
        return [first, operators].into_iter().skip(if count == 1 { 1 } else { 0 }).collect();
    }
    let middle_count = u64::from(count) - 2;
    let middle = u64::from(operators - FIRST_OPERATORS - LAST_OPERATORS);
    // The segments of the middle are as long as middle_count, .., 2, 1 are to one another.
    let all_parts = middle_count * (middle_count + 1) / 2;
    let middle_ends = (1..=middle_count).map(|index| {
        let parts = index * (2 * middle_count + 1 - index) / 2;
        FIRST_OPERATORS + (middle * parts / all_parts) as u32
    });
    std::iter::once(FIRST_OPERATORS).chain(middle_ends).chain(std::iter::once(operators)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_cover_a_run_and_end_short() {
        for operators in 1..5000 {
            let ends = ends(operators);
            assert!(ends.len() as u32 <= MOST_SEGMENTS);
            assert_eq!(ends.last(), Some(&operators));
            let starts = std::iter::once(0).chain(ends.iter().copied());
            let lengths: Vec<u32> = starts.zip(ends.iter()).map(|(start, end)| end - start).collect();
            assert!(lengths.iter().all(|length| *length > 0), "{operators}: {lengths:?}");
            if let [first, middle @ .., last] = &lengths[..] {
                assert_eq!(*last, LAST_OPERATORS, "{operators}");
                assert!(middle.is_empty() || *first == FIRST_OPERATORS);
                // To within the rounding of a place.
                assert!(middle.windows(2).all(|pair| pair[0] + 1 >= pair[1]), "{operators}: {lengths:?}");
            }
        }
    }
}
