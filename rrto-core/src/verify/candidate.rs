//! From a guess to a sequence.

use super::Found;
use crate::graph::{Graph, Memory, TooEntangled};
use crate::log::{OperatorLog, Stored};
use crate::operator::{Geometry, Operator, Patch, Sequence};
use crate::search::{COMPARED, Candidate};

/// What patches may be of an occurrence, one byte in so many: where it is more, the changes are the message.
///
/// How many places are patched does not count. Programs pass structures with bytes in them that nobody ever set,
/// which are different in each call: in half of PyTorch's launches, some 3 bytes in 100 of an inference.
pub const BYTES_A_PATCH_BYTE: usize = 8;

/// What patches may be of any occurrence, bytes.
pub const MIN_PATCH_BYTES: usize = 64;

/// The most that patches may be of an occurrence, bytes: a frame of its own for a few inferences a second.
pub const MAX_PATCH_BYTES: usize = 8 << 10;

/// What an edit takes besides its bytes: its place, its offset and its length.
const EDIT_BYTES: usize = 4;

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
    /// They differ in too many bytes.
    #[error("patches would take more than {most} bytes in a run")]
    TooManyPatchBytes {
        /// How many they may take.
        most: usize,
    },
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
    let operators = operators(&latest)?;
    if !patched.is_empty() {
        // Equal operators depend on each other alike. Changed addresses may not.
        let dependencies = Graph::of(&operators, memory)?;
        for occurrence in &before {
            if Graph::of(&self::operators(occurrence)?, memory)? != dependencies {
                return Err(Rejection::DependenciesDiffer);
            }
        }
    }
    let sequence = Sequence::new(candidate.lane, operators).map_err(Rejection::NoSequence)?;
    Ok(Found { sequence, patched, occurrences: candidate.occurrences })
}

type Occurrence<'a> = Vec<Stored<'a>>;

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

fn operators(occurrence: &Occurrence) -> Result<Vec<Operator>, Rejection> {
    occurrence.iter().map(Stored::operator).collect::<Option<_>>().ok_or(Rejection::LeftLog)
}

/// The places where an occurrence differs from the latest one, in order.
fn patched_places(latest: &Occurrence, before: &[Occurrence]) -> Result<Vec<u32>, Rejection> {
    let coded_bytes: usize = latest.iter().map(Stored::coded_bytes).sum();
    let most = (coded_bytes / BYTES_A_PATCH_BYTE).clamp(MIN_PATCH_BYTES, MAX_PATCH_BYTES);
    let mut patched = Vec::new();
    for occurrence in before {
        let mut patch_bytes = 0;
        for (at, (to, from)) in (0..).zip(latest.iter().zip(occurrence)).filter(|(_, (to, from))| to != from)
        {
            patch_bytes += bytes_between(at, from, to).ok_or(Rejection::Differs { at })?;
            if patch_bytes > most {
                return Err(Rejection::TooManyPatchBytes { most });
            }
            patched.push(at);
        }
    }
    patched.sort_unstable();
    patched.dedup();
    Ok(patched)
}

/// What a patch from one operator to the other takes, bytes. `None` if there is no such patch.
fn bytes_between(at: u32, from: &Stored, to: &Stored) -> Option<usize> {
    let patch = Patch::between(at, &from.operator()?, &to.operator()?)?;
    let edits: usize = patch.edits.iter().map(|edit| EDIT_BYTES + edit.bytes.len()).sum();
    Some(edits + if patch.geometry.is_some() { size_of::<Geometry>() } else { 0 })
}
