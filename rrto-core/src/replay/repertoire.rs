//! The sequences that a client knows.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::divergence::Divergence;
use super::known::Known;
use super::statistics::SequenceStatistics;
use crate::operator::{Handle, MAX_SEQUENCES, MAX_SEQUENCES_BYTES, Operator, Patch, Sequence, SequenceId};
use crate::verify::Found;

/// A sequence is given up if so many of its last 16 runs diverged: each of them has cost more than it has spared.
const DIVERGENCES_OF_16: u32 = 8;

/// A run that ends before so many operators was a wrong guess at what the program is about to do, and says nothing of
/// the sequence.
const RECOGNISED_OPERATORS: u32 = 4;

/// Bytes that patches repeat from run to run and that are worth a new definition of the sequence, which takes about as
/// many kilobytes.
const STALE_BYTES: u64 = 256;

/// One run in so many is compared with the one before it, because the program waits meanwhile.
const COMPARED_RUN_OF: u64 = 8;

/// So many in turn must have repeated them.
const STALE_RUNS: u32 = 2;

#[derive(Debug)]
struct Entry {
    known: Arc<Known>,
    /// A bit for each of the last 16 runs, the latest lowest; set if it diverged.
    diverged: u16,
    /// Of the latest run that is to be compared with the next.
    patches: Vec<Patch>,
    /// Compared runs in turn whose patches repeated [`STALE_BYTES`] of the run before.
    stale_runs: u32,
    last_divergence: Option<Divergence>,
    statistics: SequenceStatistics,
}

/// Sequences by their success: those of a recent run to the end come first.
#[derive(Debug, Default)]
pub(super) struct Repertoire {
    entries: Vec<Entry>,
    next_id: u32,
    /// Bytes of those that the server has still to be told, or to acknowledge, that they are retired.
    leaving: HashMap<SequenceId, u64>,
    /// Of these and of all entries.
    bytes: u64,
}

impl Repertoire {
    /// The sequence that `lane` may be about to run when it calls `operator`.
    pub(super) fn beginning(&self, lane: u32, operator: &Operator) -> Option<Arc<Known>> {
        let begins = |known: &Known| known.sequence.lane() == lane && known.operator(0) == Some(operator);
        self.find(begins)
    }

    /// Another sequence than `known` that is like it up to `at` and goes on with `operator`.
    pub(super) fn continuation(&self, known: &Known, at: u32, operator: &Operator) -> Option<Arc<Known>> {
        let continues = |other: &Known| other.operator(at) == Some(operator);
        self.find(|other| other.id != known.id && continues(other) && other.agrees(known, at))
    }

    /// Another sequence than `known` that is like it up to `at`, where it ends.
    pub(super) fn ending(&self, known: &Known, at: u32) -> Option<Arc<Known>> {
        self.find(|other| other.id != known.id && other.sequence.len() == at && other.agrees(known, at))
    }

    fn find(&self, matches: impl Fn(&Known) -> bool) -> Option<Arc<Known>> {
        self.entries.iter().map(|entry| &entry.known).find(|known| matches(known)).cloned()
    }

    /// Whether a sequence would add nothing but places that differ from run to run, which are then foreseen.
    pub(super) fn absorb(&mut self, found: &Found) -> bool {
        let alike = self.entries.iter_mut().find(|entry| entry.known.covers(found));
        alike.map(|entry| Arc::make_mut(&mut entry.known).foresee(&found.patched)).is_some()
    }

    /// A sequence was seen to differ at these places. The server need not know: what differs is in each run's patches.
    pub(super) fn foresee(&mut self, id: SequenceId, places: &[u32]) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.known.id == id) {
            Arc::make_mut(&mut entry.known).foresee(places);
        }
    }

    /// The program did not call the copy to the host that comes next in this sequence.
    pub(super) fn handle_astray(&mut self, id: SequenceId) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.known.id == id) {
            Arc::make_mut(&mut entry.known).copies_are_foreseen = false;
        }
    }

    /// Whether there is room for one more of so many bytes, here and on the server.
    pub(super) fn has_room(&self, bytes: u64) -> bool {
        self.entries.len() + self.leaving.len() < MAX_SEQUENCES && self.bytes + bytes <= MAX_SEQUENCES_BYTES
    }

    /// The one whose last success is the longest ago, if it has to go to make so much room.
    pub(super) fn least_recent(&self, bytes: u64) -> Option<SequenceId> {
        let leaving: u64 = self.leaving.values().sum();
        let is_enough =
            self.entries.len() < MAX_SEQUENCES && self.bytes - leaving + bytes <= MAX_SEQUENCES_BYTES;
        self.entries.last().filter(|_| !is_enough).map(|entry| entry.known.id)
    }

    /// Those that name one of `ended`.
    pub(super) fn naming(&self, ended: &[Handle]) -> Vec<SequenceId> {
        let naming = self.entries.iter().filter(|entry| entry.known.names(ended));
        naming.map(|entry| entry.known.id).collect()
    }

    /// Takes a new sequence, and tries it first.
    pub(super) fn adopt(&mut self, found: Found, round_trip: Option<Duration>) -> Arc<Known> {
        let id = SequenceId(self.next_id);
        // A session that finds ten sequences a second has enough names for thirteen years.
        self.next_id = self.next_id.wrapping_add(1);
        let known = Arc::new(Known::new(id, found.sequence, found.patched, round_trip));
        self.bytes += known.sequence.bytes();
        let statistics = SequenceStatistics {
            id: id.0,
            lane: known.sequence.lane(),
            operators: known.sequence.len(),
            segments: known.segments.len() as u32,
            varying: known.patched.len() as u32,
            live: true,
            ..SequenceStatistics::default()
        };
        let entry = Entry {
            known: known.clone(),
            diverged: 0,
            patches: Vec::new(),
            stale_runs: 0,
            last_divergence: None,
            statistics,
        };
        self.entries.insert(0, entry);
        known
    }

    /// Takes a sequence out; its bytes are held until [`Repertoire::handle_retired`].
    pub(super) fn retire(&mut self, id: SequenceId) -> Option<SequenceStatistics> {
        let at = self.entries.iter().position(|entry| entry.known.id == id)?;
        let entry = self.entries.remove(at);
        self.leaving.insert(id, entry.known.sequence.bytes());
        Some(SequenceStatistics { live: false, ..entry.statistics() })
    }

    /// The server has executed the retirement.
    pub(super) fn handle_retired(&mut self, id: SequenceId) {
        self.bytes -= self.leaving.remove(&id).unwrap_or(0);
    }

    /// A run of this sequence came to its end, with these patches.
    pub(super) fn note_run(&mut self, id: SequenceId, patches: &[Patch]) {
        let Some(at) = self.entries.iter().position(|entry| entry.known.id == id) else { return };
        if let Some(before) = self.entries.get_mut(..=at) {
            before.rotate_right(1);
        }
        if let Some(entry) = self.entries.first_mut() {
            entry.diverged <<= 1;
            entry.statistics.runs += 1;
            entry.statistics.patched_operators += patches.len() as u64;
            match entry.statistics.runs % COMPARED_RUN_OF {
                0 => entry.patches = patches.to_vec(),
                1 => {
                    let is_stale = repeated_bytes(&entry.patches, patches) >= STALE_BYTES;
                    entry.stale_runs = if is_stale { entry.stale_runs + 1 } else { 0 };
                }
                _ => {}
            }
        }
    }

    /// A sequence whose runs are not what it was when it was found, and what it has become: patches say the same in each
    /// run.
    pub(super) fn stale(&self) -> Option<(SequenceId, Found)> {
        let entry = self.entries.iter().find(|entry| entry.stale_runs >= STALE_RUNS)?;
        let known = &entry.known;
        let mut operators = known.sequence.operators().to_vec();
        for patch in &entry.patches {
            let operator = operators.get_mut(patch.at as usize)?;
            *operator = patch.apply(operator)?;
        }
        let sequence = Sequence::new(known.sequence.lane(), operators).ok()?;
        Some((known.id, Found { sequence, patched: known.patched.to_vec(), occurrences: entry.stale_runs }))
    }

    /// A run of this sequence was given up. Whether the sequence has to be given up too.
    pub(super) fn note_divergence(&mut self, divergence: Divergence, patches: u64) -> bool {
        let matching = self.entries.iter_mut().find(|entry| entry.known.id == divergence.sequence);
        let Some(entry) = matching else { return false };
        entry.statistics.patched_operators += patches;
        *entry.statistics.divergences.entry(divergence.reason).or_default() += 1;
        if divergence.at >= RECOGNISED_OPERATORS {
            entry.diverged = entry.diverged << 1 | 1;
        }
        entry.last_divergence = Some(divergence);
        entry.diverged.count_ones() >= DIVERGENCES_OF_16
    }

    /// Of each sequence.
    pub(super) fn statistics(&self) -> impl Iterator<Item = SequenceStatistics> {
        self.entries.iter().map(Entry::statistics)
    }
}

/// Bytes that two runs have changed to the same.
fn repeated_bytes(before: &[Patch], now: &[Patch]) -> u64 {
    let pairs = now.iter().filter_map(|now| {
        let found = before.binary_search_by_key(&now.at, |before| before.at).ok()?;
        Some((before.get(found)?, now))
    });
    let edits = pairs.flat_map(|(before, now)| now.edits.iter().filter(|edit| before.edits.contains(edit)));
    edits.map(|edit| edit.bytes.len() as u64).sum()
}

impl Entry {
    fn statistics(&self) -> SequenceStatistics {
        let last_divergence = self.last_divergence.as_ref().map(ToString::to_string);
        SequenceStatistics { last_divergence, ..self.statistics.clone() }
    }
}
