//! From a guess to a sequence.

use std::sync::Arc;

use super::Found;
use crate::graph::{Graph, Memory, TooEntangled};
use crate::log::{Logged, OperatorLog};
use crate::operator::{Geometry, Operator, Patch, Sequence};
use crate::search::{COMPARED, Candidate};

/// Places of any sequence that may have to be patched.
pub const MIN_PATCHED: usize = 4;

/// Of more, one in so many operators of the sequence: where more than that changes, the changes are the message.
pub const OPERATORS_A_PATCH: usize = 2;

/// What may have to be patched in one occurrence, bytes: a few inferences a second may send that much besides their
/// input.
pub const MAX_PATCH_BYTES: usize = 8 << 10;

/// Why a candidate is no sequence.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Rejection {
    /// An occurrence is older than the log's oldest operator: the log is too small, or the phrase too rare.
    #[error("the log does not reach back to an earlier occurrence")]
    LeftLog,
    /// The occurrences differ in what a patch cannot express.
    #[error("the operators at place {at} differ in more than geometry and parameters")]
    Differs {
        /// The place.
        at: u32,
    },
    /// They differ at too many places.
    #[error("more than {most} places would have to be patched")]
    TooManyPatches {
        /// How many may be.
        most: usize,
    },
    /// They differ in too many bytes.
    #[error("more than {MAX_PATCH_BYTES} bytes would have to be patched in a run")]
    TooManyPatchBytes,
    /// Something else depends on something else.
    #[error("the data dependencies are not the same in every occurrence")]
    DependenciesDiffer,
    /// The dependencies cannot be compared in bounded time.
    #[error(transparent)]
    TooEntangled(#[from] TooEntangled),
    /// It is none in itself.
    #[error("{0}")]
    NoSequence(&'static str),
}

/// Compares the latest occurrences of `candidate` operator by operator. The sequence is the latest one. Inputs and
/// outputs are no difference: payloads are not in the log, and where they come from and go to must be the same.
///
/// # Errors
/// Why it is no sequence.
pub fn verify(candidate: &Candidate, log: &OperatorLog, memory: &Memory) -> Result<Found, Rejection> {
    let [latest, before @ ..] = occurrences(candidate, log)?;
    let patched = patched_places(&latest, &before)?;
    if !patched.is_empty() {
        // Equal operators depend on each other alike. Changed addresses may not.
        let dependencies = Graph::of(latest.iter().map(|logged| &logged.operator), memory)?;
        for occurrence in &before {
            if Graph::of(occurrence.iter().map(|logged| &logged.operator), memory)? != dependencies {
                return Err(Rejection::DependenciesDiffer);
            }
        }
    }
    let operators = latest.iter().map(|logged| logged.operator.clone()).collect();
    let sequence = Sequence::new(candidate.lane, operators).map_err(Rejection::NoSequence)?;
    Ok(Found { sequence, patched, occurrences: candidate.occurrences })
}

type Occurrence<'a> = Vec<&'a Arc<Logged>>;

fn occurrences<'a>(
    candidate: &Candidate,
    log: &'a OperatorLog,
) -> Result<[Occurrence<'a>; COMPARED], Rejection> {
    let length = candidate.length as usize;
    let occurrences = candidate.starts.map(|start| log.run_from(start).take(length).collect::<Occurrence>());
    if occurrences.iter().any(|occurrence| occurrence.len() < length) {
        return Err(Rejection::LeftLog);
    }
    Ok(occurrences)
}

/// The places where an occurrence differs from the latest one, in order.
fn patched_places(latest: &Occurrence, before: &[Occurrence]) -> Result<Vec<u32>, Rejection> {
    let most = MIN_PATCHED.max(latest.len() / OPERATORS_A_PATCH);
    let mut patched = Vec::new();
    for occurrence in before {
        let mut patch_bytes = 0;
        for (at, (to, from)) in (0..).zip(latest.iter().zip(occurrence)) {
            if Arc::ptr_eq(to, from) || to.operator == from.operator {
                continue;
            }
            patch_bytes +=
                bytes_between(at, &from.operator, &to.operator).ok_or(Rejection::Differs { at })?;
            if patch_bytes > MAX_PATCH_BYTES {
                return Err(Rejection::TooManyPatchBytes);
            }
            if let Err(place) = patched.binary_search(&at) {
                patched.insert(place, at);
            }
            if patched.len() > most {
                return Err(Rejection::TooManyPatches { most });
            }
        }
    }
    Ok(patched)
}

/// What a patch from one operator to the other holds, bytes. `None` if there is no such patch.
fn bytes_between(at: u32, from: &Operator, to: &Operator) -> Option<usize> {
    let patch = Patch::between(at, from, to)?;
    let edited: usize = patch.edits.iter().map(|edit| edit.bytes.len()).sum();
    Some(edited + if patch.geometry.is_some() { size_of::<Geometry>() } else { 0 })
}
