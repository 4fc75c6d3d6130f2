//! A sequence as the client knows it.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::segments;
use crate::log::fold;
use crate::operator::{Handle, Operator, Patch, Sequence, SequenceId};

/// Launches of one run that may differ without having differed when the sequence was found; and one more for every
/// so many operators. A run that differs in more places is better recorded: it may be a sequence of its own.
const UNFORESEEN_PATCHES: u32 = 4;
const OPERATORS_PER_UNFORESEEN_PATCH: u32 = 64;

/// A sequence, and what is derived from it once.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) id: SequenceId,
    pub(super) sequence: Arc<Sequence>,
    /// The places after the last operator of each segment.
    pub(super) segments: Box<[u32]>,
    /// Places that differ from run to run, ascending.
    pub(super) patched: Box<[u32]>,
    /// Patches of one run at other places, at most.
    pub(super) unforeseen_patches: u32,
    /// A hash of the first k operators at k, from 0 to the length.
    prefixes: Box<[u64]>,
    /// Everything with a lifetime that it names, sorted.
    handles: Box<[Handle]>,
}

impl Known {
    pub(super) fn new(id: SequenceId, sequence: Sequence, mut patched: Vec<u32>) -> Self {
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
            segments: segments::ends(count),
            patched: patched.into(),
            unforeseen_patches: UNFORESEEN_PATCHES + count / OPERATORS_PER_UNFORESEEN_PATCH,
            prefixes,
            handles: handles.into(),
            sequence: Arc::new(sequence),
        }
    }

    pub(super) fn operator(&self, at: u32) -> Option<&Operator> {
        self.sequence.operators().get(at as usize)
    }

    /// Whether it is of no use to know `other` as well: where that differs, this one foresees a patch.
    pub(super) fn covers(&self, other: &Sequence) -> bool {
        let own = self.sequence.operators();
        let is_alike = |(at, (own, other)): (u32, (&Operator, &Operator))| {
            own == other
                || self.patched.binary_search(&at).is_ok() && Patch::between(at, own, other).is_some()
        };
        self.sequence.lane() == other.lane()
            && own.len() == other.operators().len()
            && (0..).zip(own.iter().zip(other.operators())).all(is_alike)
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
        Memset { stream, .. }
        | CopyIn { stream, .. }
        | CopyOut { stream, .. }
        | CopyDevice { stream, .. }
        | StreamSynchronize { stream } => (Some(*stream), None),
        StreamWaitEvent { stream, event, .. } | EventRecord { stream, event, .. } => {
            (Some(*stream), Some(*event))
        }
        EventSynchronize { event } => (Some(*event), None),
        Launch(launch) => (Some(launch.stream), Some(launch.function)),
        _ => (None, None),
    };
    first.into_iter().chain(second)
}
