//! Why a run of a sequence was given up.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::operator::{Launch, Operator, SequenceId};

/// Calls before the one that diverged which are kept for the log.
pub(super) const CALLS_BEFORE: usize = 3;

/// A run of a sequence that was not finished.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Divergence {
    /// The sequence.
    pub sequence: SequenceId,
    /// Its host thread.
    pub lane: u32,
    /// Its length.
    pub operators: u32,
    /// The place of the first operator that was not executed as part of it.
    pub at: u32,
    /// Why.
    pub reason: Reason,
    /// What the sequence has there.
    pub expected: Operator,
    /// What the program called; `None` if it was no call that ended the run.
    pub actual: Option<Operator>,
    /// What the sequence has before that place, oldest first; a few.
    pub before: Vec<Operator>,
}

/// The kinds of reasons.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The program called something else.
    Operator,
    /// The program called the same with arguments that a patch cannot express.
    Arguments,
    /// It would take more patches than a run may have.
    TooManyPatches,
    /// The program made, ended or asked for something.
    Unrepeatable,
    /// The call was answered with the error of an earlier one.
    Error,
    /// Something that the sequence names was destroyed.
    Destroyed,
    /// The sequence made room for a newer one.
    Displaced,
    /// Its runs had become alike in another way, and it was defined anew.
    Redefined,
    /// The session is over.
    Lost,
}

impl Reason {
    /// Every reason, in the order of the declaration.
    pub const ALL: [Reason; 9] = [
        Reason::Operator,
        Reason::Arguments,
        Reason::TooManyPatches,
        Reason::Unrepeatable,
        Reason::Error,
        Reason::Destroyed,
        Reason::Displaced,
        Reason::Redefined,
        Reason::Lost,
    ];

    /// Why `actual` is not `expected`, if it is not for its patches.
    pub(super) fn between(expected: &Operator, actual: &Operator) -> Reason {
        let is_same = match (expected, actual) {
            (Operator::Launch(expected), Operator::Launch(actual)) => expected.function == actual.function,
            _ => std::mem::discriminant(expected) == std::mem::discriminant(actual),
        };
        match (is_same, actual.repeats()) {
            (true, _) => Reason::Arguments,
            (false, true) => Reason::Operator,
            (false, false) => Reason::Unrepeatable,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Operator => "another call",
            Reason::Arguments => "other arguments",
            Reason::TooManyPatches => "too many differences",
            Reason::Unrepeatable => "a call that is not repeated",
            Reason::Error => "an earlier call's error",
            Reason::Destroyed => "something that it names was destroyed",
            Reason::Displaced => "it made room for another",
            Reason::Redefined => "it was defined anew",
            Reason::Lost => "the session is over",
        })
    }
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Divergence { sequence, lane, operators, at, reason, expected, actual, before } = self;
        let SequenceId(id) = sequence;
        write!(f, "sequence {id} of lane {lane} diverged at {at} of {operators} ({reason}): expected ")?;
        write!(f, "{}", Brief(expected))?;
        if let Some(actual) = actual {
            write!(f, ", got {}", Brief(actual))?;
        }
        for (index, operator) in before.iter().enumerate() {
            write!(f, "{} {}", if index == 0 { "; before it" } else { "," }, Brief(operator))?;
        }
        Ok(())
    }
}

/// An operator in a few words: not all of a parameter block.
struct Brief<'a>(&'a Operator);

impl fmt::Display for Brief<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Bytes of a parameter block that are shown.
        const SHOWN_BYTES: usize = 48;
        let Operator::Launch(Launch { function, geometry, stream, params, .. }) = self.0 else {
            return write!(f, "{:?}", self.0);
        };
        let [x, y, z] = geometry.grid;
        let [block_x, block_y, block_z] = geometry.block;
        write!(
            f,
            "Launch {{ function: {}, grid: {x}x{y}x{z}, block: {block_x}x{block_y}x{block_z}, ",
            function.0
        )?;
        write!(f, "shared: {} B, stream: {}, params: {} B ", geometry.shared_bytes, stream.0, params.len())?;
        params.iter().take(SHOWN_BYTES).try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(if params.len() > SHOWN_BYTES { ".. }" } else { " }" })
    }
}
