//! A sequence as the client knows it.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::FixedState;

use super::segments;
use crate::log::fold;
use crate::operator::{Handle, Operator, Patch, Sequence, SequenceId};
use crate::verify::Found;

/// Launches of one run that may differ without having differed before; and one more for every so many operators. A run
/// that differs in more places is better recorded: it may be a sequence of its own.
///
/// Bytes that nobody set differ at a few places only now and then, so a sequence is found before all of them have been
/// seen: of ResNet50's 229 operators up to 7 differ at new places in one run, of two models in turn up to 11.
const UNFORESEEN_PATCHES: u32 = 8;
const OPERATORS_PER_UNFORESEEN_PATCH: u32 = 16;

/// Where the server is near, operators of a shorter sequence than that are sent as the program calls them: each would be
/// held back until its segment is at its end, and as bytes cost nothing there, nothing is won by it. Faster R-CNN, which waits 19
/// times an inference, mostly after a dozen operators, takes 12 % less time so.
const MIN_OPERATORS_NEAR: u32 = 64;

/// A sequence, and what is derived from it once.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) id: SequenceId,
    pub(super) sequence: Arc<Sequence>,
    /// The places after the last operator of each segment.
    pub(super) segments: Box<[u32]>,
    /// Places that differ from run to run, ascending; they become more as runs differ.
    pub(super) patched: Box<[u32]>,
    /// Patches of one run at other places, at most.
    pub(super) unforeseen_patches: usize,
    /// Where a copy to the host comes next, the program has always called it next.
    pub(super) copies_are_foreseen: bool,
    /// A hash of the first k operators at k, from 0 to the length.
    prefixes: Box<[u64]>,
    /// Everything with a lifetime that it names, sorted.
    handles: Box<[Handle]>,
}

impl Known {
    pub(super) fn new(
        id: SequenceId,
        sequence: Sequence,
        mut patched: Vec<u32>,
        round_trip: Option<Duration>,
    ) -> Self {
        let operators = sequence.operators();
        let count = sequence.len();
        let hasher = FixedState::default();
        let prefixes = operators.iter().scan(0, |prefix, operator| {
            *prefix = fold(*prefix, hasher.hash_one(operator));
            Some(*prefix)
        });
        let prefixes = std::iter::once(0).chain(prefixes).collect();
        let mut handles: Vec<Handle> = operators.iter().flat_map(handles).collect();
        handles.sort_unstable();
        handles.dedup();
        patched.sort_unstable();
        Known {
            id,
            segments: segments::ends(count, round_trip),
            patched: patched.into(),
            unforeseen_patches: (UNFORESEEN_PATCHES + count / OPERATORS_PER_UNFORESEEN_PATCH) as usize,
            copies_are_foreseen: true,
            prefixes,
            handles: handles.into(),
            sequence: Arc::new(sequence),
        }
    }

    /// Whether a run costs the program less than its operators do one by one.
    pub(super) fn pays(&self, round_trip: Option<Duration>) -> bool {
        !segments::is_near(round_trip) || self.sequence.len() >= MIN_OPERATORS_NEAR
    }

    pub(super) fn operator(&self, at: u32) -> Option<&Operator> {
        self.sequence.operators().get(at as usize)
    }

    /// Whether this one differs from run to run at a place.
    pub(super) fn foresees(&self, at: u32) -> bool {
        self.patched.binary_search(&at).is_ok()
    }

    /// From now on these places may differ too.
    pub(super) fn foresee(&mut self, places: &[u32]) {
        let mut all = [&self.patched, places].concat();
        all.sort_unstable();
        all.dedup();
        self.patched = all.into();
    }

    /// Whether it is of no use to know `other` as well: where that differs from this one, one of the two was seen to
    /// differ from run to run.
    pub(super) fn covers(&self, other: &Found) -> bool {
        let (own, sequence) = (self.sequence.operators(), &other.sequence);
        let varies = |at| self.foresees(at) || other.patched.binary_search(&at).is_ok();
        let is_alike = |(at, (own, other)): (u32, (&Operator, &Operator))| {
            own == other || varies(at) && Patch::between(at, own, other).is_some()
        };
        self.sequence.lane() == sequence.lane()
            && own.len() == sequence.operators().len()
            && (0..).zip(own.iter().zip(sequence.operators())).all(is_alike)
    }

    /// Whether the first `at` operators are those of `other`, as far as a hash can tell.
    pub(super) fn agrees(&self, other: &Known, at: u32) -> bool {
        let prefix = |known: &Known| known.prefixes.get(at as usize).copied();
        prefix(self).is_some_and(|own| Some(own) == prefix(other))
    }

    /// Whether it names one of these.
    pub(super) fn names(&self, ended: &[Handle]) -> bool {
        ended.iter().any(|handle| self.handles.binary_search(handle).is_ok())
    }
}

/// What an operator that repeats names and what has a lifetime.
fn handles(operator: &Operator) -> impl Iterator<Item = Handle> {
    use Operator::*;
    let (first, second) = match operator {
        StreamSynchronize { stream } => (Some(*stream), None),
        StreamWaitEvent { stream, event, .. } | EventRecord { stream, event, .. } => {
            (Some(*stream), Some(*event))
        }
        EventSynchronize { event } => (Some(*event), None),
        Launch(launch) => (Some(launch.stream), Some(launch.function)),
        other => (other.work_stream(), None),
    };
    first.into_iter().chain(second)
}
