//! Recognising what a program repeats while it repeats it.
//!
//! A [`Replay`] is told every operator that a lane is about to send. While a lane is in a run of a sequence that it has
//! been proven to repeat, each operator is compared with the one that the sequence has next, and the answer is
//! [`Step::Checked`]: it need not travel, only the word that it was called. Otherwise it is [`Step::Recorded`].
//!
//! ```text
//!            first operator of a sequence                equal, or a patch
//! recording ------------------------------> in a run -----------------------> in a run | at its end
//!     ^                                        |  another sequence goes on like this: a run of that one
//!     +----------------------------------------+
//!       anything else: what was checked is recorded as if it had never been a run, and recording goes on
//! ```
//!
//! A run begins where the [search] would let a phrase begin. Nothing here runs ahead of the program, so a
//! divergence undoes nothing, and which sequence a run is taken for can cost time but never be wrong.
//!
//! This room must never decide what an operator's answer is, nor when something is sent.

mod cursor;
mod divergence;
mod known;
mod owners;
mod repertoire;
mod segments;
mod statistics;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::FixedState;

pub use divergence::{Divergence, Reason};
pub use segments::NEAR;
pub use statistics::{ReplayStatistics, SequenceStatistics};

use crate::operator::{LaunchCall, MAX_SEQUENCES, Operator, Patch, Sequence, SequenceId, Value};
use crate::search::{self, MIN_CUT};
use crate::verify::{Found, Recorder};
use cursor::Cursor;
use known::Known;
use owners::Owners;
use repertoire::Repertoire;

/// Lanes that are followed at a time, as many as the search follows. A program may start any number of threads.
const MAX_LANES: usize = search::MAX_LANES;

/// Divergences kept for the log; of more, the latest.
const MAX_DIVERGENCES: usize = 64;

/// What an operator is to be sent as.
#[derive(Debug)]
pub enum Step<'a> {
    /// The next operator of a run.
    Checked(Checked<'a>),
    /// Itself. Sequences from [`Replay::poll_retired`] go before it.
    Recorded,
}

/// An operator that is the next one of a run of a sequence.
#[derive(Debug)]
pub struct Checked<'a> {
    /// The sequence's name.
    pub id: SequenceId,
    /// The sequence.
    pub sequence: &'a Arc<Sequence>,
    /// The operator's place.
    pub at: u32,
    /// What is different about it.
    pub patch: Option<Patch>,
    /// What was checked up to here is to leave now.
    pub ends_segment: bool,
    /// The length of the copy to the host that comes next, if one does. It may be asked for already: [`Replay::upcoming`].
    pub next_copy_bytes: Option<u64>,
}

/// What there is to tell the server of.
#[derive(Debug)]
pub enum Change {
    /// A new sequence.
    Define(SequenceId, Arc<Sequence>),
    /// There will be no run of this one any more.
    Retire(SequenceId),
}

#[derive(Debug, Default)]
struct Lane {
    /// The run that it is in, or has just finished.
    cursor: Option<Cursor>,
    /// Operators recorded since the last point where a phrase surely begins.
    stretch: u32,
}

impl Lane {
    /// Whether it is in the midst of a run.
    fn is_running(&self) -> bool {
        self.cursor.as_ref().is_some_and(|cursor| !cursor.is_at_end())
    }
}

type Lanes = HashMap<u32, Lane, FixedState>;

/// All lanes' runs, the sequences that they may be of, and the recorder that finds more of them.
#[derive(Debug, Default)]
pub struct Replay {
    recorder: Recorder,
    repertoire: Repertoire,
    owners: Owners,
    lanes: Lanes,
    /// Found, and waiting for room.
    found: Option<Found>,
    retired: VecDeque<SequenceId>,
    divergences: VecDeque<Divergence>,
    /// Of sequences that are live no more; the latest.
    past: VecDeque<SequenceStatistics>,
    /// Of the link, once it is known.
    round_trip: Option<Duration>,
    /// Without the sequences.
    totals: ReplayStatistics,
}

impl Replay {
    /// `lane` is about to send `operator`. Takes tens of nanoseconds in a run.
    pub fn handle_operator(&mut self, lane: u32, operator: &Operator) -> Step<'_> {
        let is_next = |lane: &Lane| lane.cursor.as_ref().and_then(Cursor::expected) == Some(operator);
        let patch = match self.lanes.get(&lane).is_some_and(is_next) {
            true => Some(None),
            false => self.recognise(lane, operator),
        };
        let Some(patch) = patch else {
            self.record(lane, operator);
            return Step::Recorded;
        };
        match self.pass(lane, patch, operator.needs_answer()) {
            Some(checked) => Step::Checked(checked),
            None => Step::Recorded,
        }
    }

    /// `lane` is about to launch a kernel: like [`Replay::handle_operator`], if this is the very launch that comes next in its run.
    /// Otherwise `None`, and nothing has happened.
    pub fn handle_next_launch(&mut self, lane: u32, launch: &LaunchCall<'_>) -> Option<Checked<'_>> {
        match self.lanes.get(&lane)?.cursor.as_ref()?.expected()? {
            Operator::Launch(expected) if launch.is(expected) => self.pass(lane, None, false),
            _ => None,
        }
    }

    /// What comes next in the run of `lane` is called, with this patch; `None` if it is in no run.
    fn pass(&mut self, lane: u32, patch: Option<Patch>, needs_answer: bool) -> Option<Checked<'_>> {
        let cursor = self.lanes.get_mut(&lane)?.cursor.as_mut()?;
        self.totals.replayed_operators += 1;
        self.totals.patched_operators += u64::from(patch.is_some());
        let (at, ends_segment) = cursor.pass();
        if cursor.is_at_end() {
            note_run(&mut self.totals, &mut self.repertoire, cursor.known(), cursor);
            if !cursor.unforeseen().is_empty() {
                self.repertoire.foresee(cursor.known().id, cursor.unforeseen());
            }
        }
        // At its end it stays: a longer sequence may go on from there.
        let Known { id, sequence, .. } = &**cursor.known();
        let ends_segment = ends_segment || needs_answer;
        let next_copy_bytes = cursor.upcoming_copy().map(|(_, bytes)| bytes);
        Some(Checked { id: *id, sequence, at, patch, ends_segment, next_copy_bytes })
    }

    /// The copy to the host that comes next in the run of `lane`, to be asked for before it is called.
    pub fn upcoming(&self, lane: u32) -> Option<(Checked<'_>, &Operator)> {
        let cursor = self.lanes.get(&lane)?.cursor.as_ref()?;
        let (operator, _) = cursor.upcoming_copy()?;
        let Known { id, sequence, .. } = &**cursor.known();
        let (at, patch) = (cursor.at(), None);
        let checked = Checked { id: *id, sequence, at, patch, ends_segment: true, next_copy_bytes: None };
        Some((checked, operator))
    }

    /// The program went on in another way than with the copy that [`Replay::upcoming`] gave: none of this sequence is
    /// given any more.
    pub fn handle_astray(&mut self, id: SequenceId) {
        self.repertoire.handle_astray(id);
    }

    /// The run that `operator` may be the next of: the one that `lane` is in, or another. Gives the patch that it takes;
    /// `None` if it belongs to no run.
    fn recognise(&mut self, lane: u32, operator: &Operator) -> Option<Option<Patch>> {
        let Lane { cursor, stretch } = follow(&mut self.lanes, lane);
        if let Some(cursor) = cursor {
            if let Some(other) = self.repertoire.continuation(cursor.known(), cursor.at(), operator) {
                cursor.switch(other);
                return Some(None);
            }
            let has_ended = cursor.is_at_end() || {
                let shorter = self.repertoire.ending(cursor.known(), cursor.at());
                let shorter = shorter
                    .inspect(|shorter| note_run(&mut self.totals, &mut self.repertoire, shorter, cursor));
                shorter.is_some()
            };
            if !has_ended {
                match cursor.patch(operator) {
                    Ok(patch) => return Some(Some(patch)),
                    Err(reason) => self.diverge(lane, reason, Some(operator)),
                }
                return None;
            }
        }
        *cursor = None;
        // Inside a stretch, only where the search would cut it: a run that begins anywhere else ends soon.
        if *stretch > 0 && *stretch < MIN_CUT {
            return None;
        }
        let known = self.repertoire.beginning(lane, operator).filter(|known| known.pays(self.round_trip))?;
        if std::mem::take(stretch) > 0 {
            self.recorder.handle_break(lane);
        }
        *cursor = Some(Cursor::new(known));
        Some(None)
    }

    /// `operator` goes to the recorder, and ends what it ends.
    fn record(&mut self, lane: u32, operator: &Operator) {
        self.totals.recorded_operators += 1;
        let waits = operator.needs_answer();
        self.recorder.handle_operator(lane, operator, waits);
        let repeats = operator.repeats();
        let state = follow(&mut self.lanes, lane);
        state.stretch = if repeats && !waits { state.stretch.saturating_add(1) } else { 0 };
        if repeats {
            return;
        }
        if let Operator::MemFree { address } = operator {
            self.recorder.handle_freed(*address);
        }
        let ended = self.owners.handle_operator(operator);
        if !ended.is_empty() {
            for id in self.repertoire.naming(&ended) {
                self.retire(id, Reason::Destroyed);
            }
        }
    }

    /// The run that `lane` is in is given up, and recorded as if it had been none.
    fn diverge(&mut self, lane: u32, reason: Reason, actual: Option<&Operator>) {
        let Some(state) = self.lanes.get_mut(&lane) else { return };
        let Some(cursor) = state.cursor.take() else { return };
        let Some(divergence) = cursor.diverge(reason, actual) else { return };
        record_checked(&mut self.recorder, lane, &cursor);
        state.stretch = cursor.at();
        *self.totals.divergences.entry(reason).or_default() += 1;
        if self.divergences.len() >= MAX_DIVERGENCES {
            self.divergences.pop_front();
        }
        self.divergences.push_back(divergence.clone());
        let id = divergence.sequence;
        if self.repertoire.note_divergence(divergence, cursor.patches().len() as u64) {
            self.retire(id, reason);
        }
    }

    /// A sequence is given up, and the runs of it for this reason.
    fn retire(&mut self, id: SequenceId, reason: Reason) {
        let is_run = |lane: &Lane| lane.cursor.as_ref().is_some_and(|cursor| cursor.known().id == id);
        let running = self.lanes.iter().find(|(_, lane)| is_run(lane)).map(|(lane, _)| *lane);
        if let Some(lane) = running {
            self.diverge(lane, reason, None);
        }
        // The divergence may have been the one too many.
        let Some(statistics) = self.repertoire.retire(id) else { return };
        self.totals.retired += 1;
        if self.past.len() >= MAX_SEQUENCES {
            self.past.pop_front();
        }
        self.past.push_back(statistics);
        self.retired.push_back(id);
    }

    /// A call of `lane` is answered without being sent, because there is nothing left to wait for. Whether what was
    /// checked is to leave now: the run is at its end but for this call.
    pub fn handle_settled(&mut self, lane: u32, operator: &Operator) -> bool {
        let Some(Lane { cursor: Some(cursor), .. }) = self.lanes.get_mut(&lane) else { return false };
        let is_last = cursor.at() + 1 == cursor.known().sequence.len();
        if !is_last || cursor.expected() != Some(operator) {
            return false;
        }
        cursor.pass();
        note_run(&mut self.totals, &mut self.repertoire, cursor.known(), cursor);
        true
    }

    /// A call of `lane` is answered with the error of an earlier one, in place of being sent.
    pub fn handle_error(&mut self, lane: u32) {
        self.diverge(lane, Reason::Error, None);
        self.recorder.handle_break(lane);
        if let Some(state) = self.lanes.get_mut(&lane) {
            *state = Lane::default();
        }
    }

    /// An operator was answered with success.
    pub fn handle_answer(&mut self, operator: &Operator, value: &Value) {
        let (address, bytes) = match (operator, value) {
            (Operator::MemAlloc { bytes }, Value::Address(address)) => (*address, *bytes),
            (Operator::MemAllocPitch { height, .. }, Value::Pitched { address, pitch_bytes }) => {
                (*address, pitch_bytes.saturating_mul(*height))
            }
            (_, Value::Global { address, bytes }) => (*address, *bytes),
            _ => return,
        };
        self.recorder.handle_allocated(address, bytes);
    }

    /// The server has executed the retirement of this sequence.
    pub fn handle_retired(&mut self, id: SequenceId) {
        self.repertoire.handle_retired(id);
    }

    /// The session is over.
    pub fn handle_lost(&mut self) {
        let lanes: Vec<u32> = self.lanes.keys().copied().collect();
        lanes.into_iter().for_each(|lane| self.diverge(lane, Reason::Lost, None));
        self.retired.clear();
    }

    /// A message and its answer take so long at present. Sequences that are found from now on are cut accordingly.
    pub fn handle_round_trip(&mut self, round_trip: Duration) {
        self.round_trip = Some(round_trip);
    }

    /// A sequence that the server has to forget.
    pub fn poll_retired(&mut self) -> Option<SequenceId> {
        self.retired.pop_front()
    }

    /// Looks for sequences among what was recorded: a bounded piece of work, for when a thread is about to wait. Gives
    /// what the server has to be told, in order.
    pub fn poll_change(&mut self) -> Option<Change> {
        if let Some(id) = self.poll_retired() {
            return Some(Change::Retire(id));
        }
        if let Some((id, found)) = self.stale() {
            self.retire(id, Reason::Redefined);
            self.found = Some(found);
            return self.poll_retired().map(Change::Retire);
        }
        let found = self.found.take().or_else(|| self.recorder.poll_sequence())?;
        if self.repertoire.absorb(&found) {
            return None;
        }
        if !self.repertoire.has_room(found.sequence.bytes()) {
            if let Some(id) = self.repertoire.least_recent(found.sequence.bytes()) {
                self.retire(id, Reason::Displaced);
            }
            // It waits until the server has forgotten another.
            self.found = Some(found);
            return self.poll_retired().map(Change::Retire);
        }
        self.totals.found += 1;
        let known = self.repertoire.adopt(found, self.round_trip);
        Some(Change::Define(known.id, known.sequence.clone()))
    }

    /// A sequence that is to be defined anew, while no lane is in the midst of a run.
    fn stale(&self) -> Option<(SequenceId, Found)> {
        let is_busy = self.found.is_some() || self.lanes.values().any(Lane::is_running);
        if is_busy { None } else { self.repertoire.stale() }
    }

    /// A divergence that has not been told yet, oldest first.
    pub fn poll_divergence(&mut self) -> Option<Divergence> {
        self.divergences.pop_front()
    }

    /// What it has done.
    pub fn statistics(&self) -> ReplayStatistics {
        let mut sequences: Vec<_> = self.past.iter().cloned().chain(self.repertoire.statistics()).collect();
        sequences.sort_unstable_by_key(|sequence| sequence.id);
        ReplayStatistics { sequences, ..self.totals.clone() }
    }
}

/// A lane's state. Where there are too many, those that are in no run are forgotten; then all, which leaves their runs:
/// what was checked of them is sent with what comes next.
fn follow(lanes: &mut Lanes, lane: u32) -> &mut Lane {
    if lanes.len() >= MAX_LANES && !lanes.contains_key(&lane) {
        lanes.retain(|_, lane| lane.is_running());
        if lanes.len() >= MAX_LANES {
            lanes.clear();
        }
    }
    lanes.entry(lane).or_default()
}

/// A run of `known` has come to its end.
fn note_run(totals: &mut ReplayStatistics, repertoire: &mut Repertoire, known: &Known, cursor: &Cursor) {
    totals.runs += 1;
    repertoire.note_run(known.id, cursor.patches());
}

/// What was checked in a run is recorded like what was not.
fn record_checked(recorder: &mut Recorder, lane: u32, cursor: &Cursor) {
    cursor.checked().for_each(|operator| recorder.handle_operator(lane, &operator, operator.needs_answer()));
}
