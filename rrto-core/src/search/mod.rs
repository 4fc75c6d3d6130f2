//! The search for operator sequences in what a program does, without any hint from it.
//!
//! The RRTO paper (section IV-B, Algorithm 3) looks for the longest run of operators between one that depends on none
//! and one on which none depends, with which the whole log can be covered by repetition. That takes time with every
//! operator that grows with the log. This search finds the same runs in constant time an operator: every lane's
//! operators are cut into *phrases* where what has happened says so, and a phrase that occurs again has the same
//! hash. A run between two points where the program waits is one phrase or several; the log is covered by them in
//! turn.
//!
//! Nothing here needs to be proven: a [`Candidate`] is a guess.

mod phrase;
mod table;

use std::collections::VecDeque;

pub use phrase::MIN_CUT;
pub use table::COMPARED;

use phrase::Phrase;
use table::Table;

use crate::log::OperatorLog;
use crate::operator::{MAX_SEQUENCE_OPERATORS, Operator};

/// A shorter phrase is not worth a message of its own: its operators travel in the repeat coding, a byte each.
pub const MIN_PHRASE_OPERATORS: u32 = 8;

/// Exact occurrences that make a candidate.
pub const EXACT_OCCURRENCES: u32 = COMPARED as u32;

/// Occurrences of a shape, each of them like no other one, that make a candidate with patches. One more than of exact
/// ones: buffers that take turns by two or three are exact repetitions, with a longer period.
pub const SHAPE_OCCURRENCES: u32 = 4;

/// Occurrences of a shape that make a candidate with patches if none of them was an exact one, new or not: garbage
/// that takes a few values only is neither new each time nor the same often enough.
pub const SHAPE_PATIENCE: u32 = 12;

/// The log holds at least this many of the longest phrases, so that what has occurred can still be compared.
const PHRASES_IN_LOG: usize = 4;

/// Lanes that have a phrase in the making at a time; of more, those that did something last.
pub const MAX_LANES: usize = 64;

/// Candidates that wait to be verified; of more, the latest.
pub const MAX_CANDIDATES: usize = 32;

/// A guess at a sequence: a phrase that occurred often enough.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// Whose.
    pub lane: u32,
    /// Operators.
    pub length: u32,
    /// How often it occurred, as far as is remembered.
    pub occurrences: u32,
    /// Positions of its latest occurrences, latest first.
    pub starts: [u64; COMPARED],
}

/// The search over one program.
#[derive(Debug)]
pub struct Search {
    log: OperatorLog,
    /// Lanes and their phrases; the one that did something last is first.
    lanes: Vec<(u32, Option<Phrase>)>,
    exact: Table,
    shapes: Table,
    candidates: VecDeque<Candidate>,
    most_operators: u32,
}

impl Search {
    /// A search that keeps its operators in `log` and remembers at most `phrases` phrases.
    pub fn new(log: OperatorLog, phrases: usize) -> Self {
        let most_operators = MAX_SEQUENCE_OPERATORS.min(log.most_entries() / PHRASES_IN_LOG).max(1) as u32;
        Search {
            log,
            lanes: Vec::new(),
            exact: Table::new(phrases, EXACT_OCCURRENCES),
            shapes: Table::new(phrases, SHAPE_OCCURRENCES),
            candidates: VecDeque::new(),
            most_operators,
        }
    }

    /// `lane` has submitted `operator`; the program waits for its answer if it `waits`.
    pub fn handle_operator(&mut self, lane: u32, operator: &Operator, waits: bool) {
        let mut phrase = self.take_phrase(lane);
        let fingerprint = if operator.repeats() { self.log.prepare(operator) } else { None };
        if let Some(fingerprint) = fingerprint {
            let ended =
                phrase.take_if(|phrase| phrase.ends_before(operator, fingerprint, self.most_operators));
            self.end(lane, ended);
            if let Some(position) = self.log.push(phrase.map(|phrase| phrase.last)) {
                match &mut phrase {
                    Some(phrase) => phrase.push(position, fingerprint),
                    None => phrase = Some(Phrase::new(lane, position, fingerprint)),
                }
            }
            if !waits {
                self.put_phrase(phrase);
                return;
            }
        }
        self.end(lane, phrase);
    }

    /// What `lane` does next does not follow on what it has done: its phrase is none.
    pub fn handle_break(&mut self, lane: u32) {
        self.take_phrase(lane);
    }

    /// The next guess.
    pub fn poll_candidate(&mut self) -> Option<Candidate> {
        self.candidates.pop_front()
    }

    /// The operators.
    pub fn log(&self) -> &OperatorLog {
        &self.log
    }

    /// Memory in use, bytes.
    pub fn bytes(&self) -> usize {
        self.log.bytes()
            + self.exact.bytes()
            + self.shapes.bytes()
            + self.lanes.capacity() * size_of::<(u32, Option<Phrase>)>()
            + self.candidates.capacity() * size_of::<Candidate>()
    }

    /// The most memory that a search uses besides its log, bytes.
    pub fn most_bytes(phrases: usize) -> usize {
        2 * Table::most_bytes(phrases)
            + MAX_LANES * size_of::<(u32, Option<Phrase>)>()
            + MAX_CANDIDATES * size_of::<Candidate>()
    }

    /// The phrase that `lane` is in the middle of. The lane is then the first one, with none.
    fn take_phrase(&mut self, lane: u32) -> Option<Phrase> {
        match self.lanes.iter().position(|(known, _)| *known == lane) {
            // Whoever did something last is near the front.
            Some(at) => {
                if let Some(before) = self.lanes.get_mut(..=at) {
                    before.rotate_right(1);
                }
            }
            None => {
                self.lanes.truncate(MAX_LANES - 1);
                self.lanes.insert(0, (lane, None));
            }
        }
        self.lanes.first_mut().and_then(|(_, phrase)| phrase.take())
    }

    /// Puts back what [`Search::take_phrase`] took.
    fn put_phrase(&mut self, phrase: Option<Phrase>) {
        if let Some((_, first)) = self.lanes.first_mut() {
            *first = phrase;
        }
    }

    fn end(&mut self, lane: u32, phrase: Option<Phrase>) {
        let Some(phrase) = phrase.filter(|phrase| phrase.length >= MIN_PHRASE_OPERATORS) else { return };
        let exact = self.exact.note(phrase.exact, phrase.start);
        let (is_first, is_proven) = (exact.occurrences == 1, exact.occurrences >= EXACT_OCCURRENCES);
        let exact = exact.is_due().then_some(*exact);
        let shape = self.shapes.note(phrase.shape, phrase.start);
        shape.fresh = if is_first { shape.fresh.saturating_add(1) } else { 0 };
        shape.unproven = if is_proven { 0 } else { shape.unproven.saturating_add(1) };
        let changes = shape.fresh >= SHAPE_OCCURRENCES || shape.unproven >= SHAPE_PATIENCE;
        let shape = (changes && shape.is_due()).then_some(*shape);
        let Some(known) = exact.or(shape) else { return };
        if self.candidates.len() >= MAX_CANDIDATES {
            self.candidates.pop_front();
        }
        self.candidates.push_back(Candidate {
            lane,
            length: phrase.length,
            occurrences: known.occurrences,
            starts: known.starts,
        });
    }
}
