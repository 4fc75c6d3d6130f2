//! What replay has done, for people.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Reason;

/// One sequence. Counts are since it was found.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SequenceStatistics {
    /// Its number, from 0 in the order in which sequences were found.
    pub id: u32,
    /// The host thread whose calls it is made of.
    pub lane: u32,
    /// How many operators it has.
    pub operators: u32,
    /// How many segments a run of it has.
    pub segments: u32,
    /// How many of its operators differ from run to run, as it was found.
    pub varying: u32,
    /// Whether it can still be run; it cannot if something it names was destroyed, if it made room for another, or if
    /// its runs kept diverging.
    pub live: bool,
    /// Runs to its end.
    pub runs: u64,
    /// Operators that were patched, in all runs.
    pub patched_operators: u64,
    /// Runs that were given up, by reason. Runs that were given up at their first operators are no more than wrong
    /// guesses, and among them.
    pub divergences: BTreeMap<Reason, u64>,
    /// The last of them, in words.
    pub last_divergence: Option<String>,
}

/// All of replay.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ReplayStatistics {
    /// Sequences, those that are live and the latest that were, in the order in which they were found.
    pub sequences: Vec<SequenceStatistics>,
    /// Sequences found.
    pub found: u64,
    /// Sequences that are live no more.
    pub retired: u64,
    /// Runs to the end, of all sequences.
    pub runs: u64,
    /// Operators that were replayed.
    pub replayed_operators: u64,
    /// Operators that were sent as they are, and recorded.
    pub recorded_operators: u64,
    /// Replayed operators that were patched.
    pub patched_operators: u64,
    /// Runs that were given up, of all sequences, by reason.
    pub divergences: BTreeMap<Reason, u64>,
}
