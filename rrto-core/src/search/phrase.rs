//! Where a phrase begins and ends.

use crate::log::{Fingerprint, fold};
use crate::operator::Operator;

/// Operators of a phrase before it may be cut where the program does not wait: a cut costs a segment's message, and
/// copies of scalars in the middle of an inference must not cut it into crumbs.
pub const MIN_CUT: u32 = 64;

/// A lane's phrase in the making: a stretch of operators that repeat.
///
/// Where it is cut depends on what is in it and on nothing else, so that its repetitions are cut alike:
/// - after an operator that the program waits for: what follows may depend on what the program got,
/// - before and after an operator that does not repeat,
/// - from [`MIN_CUT`] operators on, also before a copy from the host, which depends on nothing before it (the paper's
///   start operator), and before an operator that equals the phrase's first one, which cuts loops that never wait,
/// - at the greatest length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Phrase {
    /// Position of its first operator in the log.
    pub(super) start: u64,
    /// Position of its latest operator.
    pub(super) last: u64,
    /// Operators.
    pub(super) length: u32,
    first_exact: u64,
    /// Of all exact fingerprints, and of the lane.
    pub(super) exact: u64,
    /// Of all shapes, and of the lane.
    pub(super) shape: u64,
}

impl Phrase {
    /// The phrase of `lane` that begins with the operator at `position`.
    pub(super) fn new(lane: u32, position: u64, fingerprint: Fingerprint) -> Self {
        Phrase {
            start: position,
            last: position,
            length: 1,
            first_exact: fingerprint.exact,
            exact: fold(u64::from(lane), fingerprint.exact),
            shape: fold(u64::from(lane), fingerprint.shape),
        }
    }

    /// Whether it ends before `operator`.
    pub(super) fn ends_before(
        &self,
        operator: &Operator,
        fingerprint: Fingerprint,
        most_operators: u32,
    ) -> bool {
        let is_start = matches!(operator, Operator::CopyIn { .. }) || fingerprint.exact == self.first_exact;
        self.length >= most_operators || self.length >= MIN_CUT && is_start
    }

    /// The operator at `position` belongs to it.
    pub(super) fn push(&mut self, position: u64, fingerprint: Fingerprint) {
        self.last = position;
        self.length += 1;
        self.exact = fold(self.exact, fingerprint.exact);
        self.shape = fold(self.shape, fingerprint.shape);
    }
}
