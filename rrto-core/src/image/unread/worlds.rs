//! What a kernel can read of its parameters if one of them has a certain value.
//!
//! A *world* is an assumption: this word of the block has a value from here to there. All worlds are followed at once
//! through the code, from its first instruction on: for each instruction, in which worlds a thread may get there, which
//! words of the block the registers hold, and in which worlds each predicate may be true and may be false. What is
//! joined from several sides is what may be on any; so what is not read in a world is not read by any thread of a
//! launch whose block fits that world. An instruction that is not understood loses its worlds: they read everything.
//!
//! A thread's own path counts for its uniform registers too, which it shares with other threads: a compiler that let
//! one thread's path change what another's reads would have made wrong code.

use std::collections::{BTreeMap, BTreeSet};

use super::super::sass::{self, INSTRUCTION_BYTES, Reads};
use super::effect::{ALWAYS, Comparison, Effect, Flow, Logic, Place, Predicate, Source, Writes};
use super::{Architecture, Word};

/// The most worlds that are followed at once: the bits of [`Worlds`].
pub(super) const MAX_WORLDS: usize = u128::BITS as usize;

/// The most instructions of a kernel that is looked at, because each holds up whoever loads the module. The longest
/// of PyTorch's with unread bytes have a third of it.
const MAX_INSTRUCTIONS: usize = 1 << 16;

/// How often a kernel's instructions are followed on average until it is given up. Loops take two or three times.
const MAX_VISITS: usize = 16;

/// A set of worlds by their numbers.
pub(super) type Worlds = u128;

const ALL: Worlds = Worlds::MAX;

/// An assumption: the word has one of these values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct World {
    pub(super) word: Word,
    pub(super) from: u32,
    pub(super) to: u32,
}

/// What was found out about a kernel.
pub(super) struct Found {
    /// In which worlds each byte of the block may be read.
    pub(super) read: Vec<Worlds>,
    /// The numbers that words of the block are compared with, as the least values that decide otherwise.
    pub(super) cuts: BTreeMap<Word, BTreeSet<u32>>,
}

/// What a place holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value {
    Unknown,
    Number(u32),
    Word(Word),
}

/// The worlds in which a predicate may be true, and those in which it may be false.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Truth {
    yes: Worlds,
    no: Worlds,
}

impl Truth {
    const UNKNOWN: Truth = Truth { yes: ALL, no: ALL };

    fn of(known: bool) -> Self {
        if known { Truth { yes: ALL, no: 0 } } else { Truth { yes: 0, no: ALL } }
    }

    fn not(self) -> Self {
        Truth { yes: self.no, no: self.yes }
    }

    fn and(self, other: Self) -> Self {
        Truth { yes: self.yes & other.yes, no: self.no | other.no }
    }

    fn or(self, other: Self) -> Self {
        self.not().and(other.not()).not()
    }
}

/// Predicates, uniform ones included, those that are always true too.
const PREDICATES: usize = 16;

/// What is known where a thread is.
#[derive(Clone)]
struct State {
    /// In which worlds it may be there.
    worlds: Worlds,
    places: Box<[Value; Place::COUNT]>,
    predicates: [Truth; PREDICATES],
}

impl State {
    /// Where nothing is known, in these worlds.
    fn unknown(worlds: Worlds) -> Self {
        let places = Box::new([Value::Unknown; Place::COUNT]);
        State { worlds, places, predicates: [Truth::UNKNOWN; PREDICATES] }
    }

    /// Everything may have been written, barriers only if so said.
    fn forget(&mut self, barriers: bool) {
        let places = if barriers { Place::COUNT } else { Place::BARRIERS };
        self.places.iter_mut().take(places).for_each(|value| *value = Value::Unknown);
        self.predicates.fill(Truth::UNKNOWN);
    }

    fn value(&self, place: Place) -> Value {
        if place.is_zero() {
            return Value::Number(0);
        }
        self.places.get(place.index()).copied().unwrap_or(Value::Unknown)
    }

    fn truth(&self, predicate: Predicate) -> Truth {
        let truth = match predicate.number as usize % (PREDICATES / 2) {
            always if always == ALWAYS as usize => Truth::of(true),
            _ => self.predicates.get(predicate.number as usize).copied().unwrap_or(Truth::UNKNOWN),
        };
        if predicate.negated { truth.not() } else { truth }
    }

    /// Writes a place in the worlds `then`, and leaves it in `otherwise`.
    fn set(&mut self, place: Place, value: Value, otherwise: Worlds) {
        if let Some(old) = self.places.get_mut(place.index())
            && (otherwise == 0 || *old != value)
        {
            *old = if otherwise == 0 { value } else { Value::Unknown };
        }
    }

    /// Writes a predicate in the worlds `then`, and leaves it in `otherwise`.
    fn decide(&mut self, predicate: u32, truth: Truth, then: Worlds, otherwise: Worlds) {
        if let Some(old) = self.predicates.get_mut(predicate as usize) {
            *old = Truth {
                yes: truth.yes & then | old.yes & otherwise,
                no: truth.no & then | old.no & otherwise,
            };
        }
    }

    /// Adds what may be here if a thread comes from `other` in `worlds`; whether that is anything new.
    fn join(&mut self, other: &State, worlds: Worlds) -> bool {
        if self.worlds == 0 {
            self.places.clone_from(&other.places);
        }
        let mut is_new = worlds & !self.worlds != 0;
        for (mine, theirs) in self.places.iter_mut().zip(other.places.iter()) {
            if *mine != *theirs && *mine != Value::Unknown {
                *mine = Value::Unknown;
                is_new = true;
            }
        }
        for (mine, theirs) in self.predicates.iter_mut().zip(&other.predicates) {
            let old = if self.worlds == 0 { Truth { yes: 0, no: 0 } } else { *mine };
            *mine = Truth { yes: old.yes | theirs.yes & worlds, no: old.no | theirs.no & worlds };
            is_new |= *mine != old;
        }
        self.worlds |= worlds;
        is_new
    }
}

/// A kernel's code, being followed.
struct Walk<'a> {
    code: &'a [[u8; INSTRUCTION_BYTES]],
    architecture: Architecture,
    worlds: &'a [World],
    /// What is known before instructions that something else than the one before them leads to.
    states: BTreeMap<usize, State>,
    /// Those of them to follow on from.
    waiting: BTreeSet<usize>,
    /// Worlds in which everything may be read.
    lost: Worlds,
    found: Found,
}

/// What a kernel reads of its block of `block_bytes` in each of `worlds`, which are at most [`MAX_WORLDS`]. Those that
/// there are no assumptions for count as one without any.
pub(super) fn follow(
    code: &[[u8; INSTRUCTION_BYTES]],
    architecture: Architecture,
    block_bytes: u32,
    worlds: &[World],
) -> Option<Found> {
    if code.len() > MAX_INSTRUCTIONS {
        return None;
    }
    let found = Found { read: vec![0; block_bytes as usize], cuts: BTreeMap::new() };
    let (states, waiting) = Default::default();
    let mut walk = Walk { code, architecture, worlds, states, waiting, lost: 0, found };
    walk.arrive(0, &State::unknown(ALL), ALL);
    let mut visits = 0;
    while let Some(at) = walk.waiting.pop_first() {
        visits += walk.run(at);
        if visits > MAX_VISITS * code.len() {
            return None;
        }
    }
    let Walk { lost, mut found, .. } = walk;
    found.read.iter_mut().for_each(|worlds| *worlds |= lost);
    Some(found)
}

impl Walk<'_> {
    /// A thread may come to an instruction.
    fn arrive(&mut self, at: usize, state: &State, worlds: Worlds) {
        if worlds == 0 {
            return;
        }
        if at >= self.code.len() {
            self.lost |= worlds;
            return;
        }
        let there = self.states.entry(at).or_insert_with(|| State::unknown(0));
        if there.join(state, worlds) {
            self.waiting.insert(at);
        }
    }

    /// The instruction so many bytes from the end of another.
    fn target(&self, from: usize, by: i64) -> usize {
        let bytes = i64::try_from((from + 1) * INSTRUCTION_BYTES).ok().and_then(|end| end.checked_add(by));
        let is_whole = |bytes: &i64| *bytes % INSTRUCTION_BYTES as i64 == 0;
        let target = bytes.filter(is_whole).and_then(|bytes| usize::try_from(bytes).ok());
        // Nowhere is where the code has ended.
        target.map_or(self.code.len(), |bytes| bytes / INSTRUCTION_BYTES)
    }

    /// Follows the code from an instruction on until it goes elsewhere only, or to where something is known already.
    /// How many instructions that was.
    fn run(&mut self, from: usize) -> usize {
        let Some(mut state) = self.states.get(&from).cloned() else { return 0 };
        let mut at = from;
        while let Some(instruction) = self.code.get(at) {
            if at != from && self.states.contains_key(&at) {
                break;
            }
            let goes_on = self.step(at, u128::from_le_bytes(*instruction), &mut state);
            state.worlds = goes_on;
            at += 1;
            if goes_on == 0 {
                return at - from;
            }
        }
        let worlds = state.worlds;
        self.arrive(at, &state, worlds);
        at - from + 1
    }

    /// One instruction: what it reads, where else it leads, what it changes. The worlds in which the next follows.
    fn step(&mut self, at: usize, instruction: u128, state: &mut State) -> Worlds {
        let Effect { when, flow, writes } = Effect::of(instruction, self.architecture.distance);
        let when = when.map_or(Truth::UNKNOWN, |predicate| state.truth(predicate));
        let (then, otherwise) = (state.worlds & when.yes, state.worlds & when.no);
        if then == 0 {
            return otherwise;
        }
        if !self.read(instruction, then) {
            self.lost |= then;
            return otherwise;
        }
        let goes_on = self.go(at, flow, state, then);
        self.write(writes, state, then, otherwise);
        if let Flow::Meet { barrier, by } = flow {
            // There are fewer instructions than numbers.
            state.set(barrier, Value::Number(self.target(at, by) as u32), otherwise);
        }
        otherwise | goes_on
    }

    /// Whether it is known what the instruction reads in these worlds.
    fn read(&mut self, instruction: u128, worlds: Worlds) -> bool {
        let (at, bytes) = match sass::reads(instruction) {
            Reads::Nothing => return true,
            Reads::Bytes { at, bytes } => (at, bytes),
            Reads::Anything(_) => return false,
        };
        let Architecture { block_at, .. } = self.architecture;
        if (at..(at + bytes).min(block_at)).any(|byte| !self.architecture.is_harmless(byte)) {
            return false;
        }
        let (from, to) = (at.saturating_sub(block_at), (at + bytes).saturating_sub(block_at));
        let to = self.found.read.len().min(to as usize);
        let read = self.found.read.get_mut(from as usize..to).unwrap_or_default();
        read.iter_mut().for_each(|byte| *byte |= worlds);
        true
    }

    /// Where threads go on elsewhere from the instruction, if they execute it in the worlds `then`. The worlds in which
    /// they go on with the next.
    fn go(&mut self, at: usize, flow: Flow, state: &State, then: Worlds) -> Worlds {
        match flow {
            Flow::Next => then,
            Flow::Exit { and } => then & state.truth(and).no,
            Flow::Branch { by, and } => {
                let and = state.truth(and);
                self.arrive(self.target(at, by), state, then & and.yes);
                then & and.no
            }
            Flow::Fork { by } => {
                self.arrive(self.target(at, by), state, then);
                then
            }
            Flow::Meet { .. } => then,
            Flow::Sync { barrier } => {
                match state.value(barrier) {
                    Value::Number(target) => self.arrive(target as usize, state, then),
                    _ => self.lost |= then,
                }
                then
            }
            Flow::Call { by } => {
                self.arrive(self.target(at, by), &State::unknown(then), then);
                then
            }
            Flow::Lost => {
                self.lost |= then;
                0
            }
        }
    }

    /// What changes where a thread is that executes the instruction in the worlds `then`, and not in `otherwise`.
    fn write(&mut self, writes: Writes, state: &mut State, then: Worlds, otherwise: Worlds) {
        match writes {
            Writes::Nothing => {}
            Writes::Everything => state.forget(false),
            Writes::Barriers => state.forget(true),
            Writes::Value { to, from } => {
                let value = self.value(from, state);
                state.set(to, value, otherwise);
            }
            Writes::Constants { to, words, at } => {
                for (word, at) in (0..words).zip((at..).step_by(4)) {
                    let value = self.value(Source::Constant { at, bytes: 4 }, state);
                    state.set(to.after(word), value, otherwise);
                }
            }
            Writes::Something { to, words, predicates } => {
                (0..words).for_each(|word| state.set(to.after(word), Value::Unknown, otherwise));
                for number in predicates {
                    state.decide(number, Truth::UNKNOWN, then, otherwise);
                }
            }
            Writes::Table { table, of, to: [result, other] } => {
                let truth = looked_up(table, of.map(|predicate| state.truth(predicate)));
                state.decide(other, Truth::UNKNOWN, then, otherwise);
                state.decide(result, truth, then, otherwise);
            }
            Writes::Compared(comparison) => {
                let (truth, with) = (self.compare(&comparison, state), state.truth(comparison.with));
                let combine = if comparison.logic == Logic::And { Truth::and } else { Truth::or };
                let [result, opposite] = comparison.to;
                state.decide(opposite, combine(truth.not(), with), then, otherwise);
                state.decide(result, combine(truth, with), then, otherwise);
            }
        }
    }

    fn value(&self, source: Source, state: &State) -> Value {
        match source {
            Source::Place(place) => state.value(place),
            Source::Number(number) => Value::Number(number),
            Source::Constant { at, bytes } => {
                let in_block = at.checked_sub(self.architecture.block_at);
                let is_inside = |at: &u32| (at + bytes) as usize <= self.found.read.len();
                in_block.filter(is_inside).map_or(Value::Unknown, |at| Value::Word(Word { at, bytes }))
            }
            Source::Unknown => Value::Unknown,
        }
    }

    /// In which worlds a comparison may hold, and in which it may not.
    fn compare(&mut self, comparison: &Comparison, state: &State) -> Truth {
        let Comparison { holds, signed, .. } = *comparison;
        let (left, right) = (self.value(comparison.left, state), self.value(comparison.right, state));
        let (word, number, holds) = match (left, right) {
            (Value::Number(left), Value::Number(right)) => {
                return Truth::of(holds >> order(left, right, signed) & 1 == 1);
            }
            (Value::Word(word), Value::Number(number)) => (word, number, holds),
            // Less and greater change places.
            (Value::Number(number), Value::Word(word)) => {
                (word, number, holds & 0b010 | holds >> 2 | holds << 2 & 0b100)
            }
            _ => return Truth::UNKNOWN,
        };
        self.found.cuts.entry(word).or_default().extend([number, number.wrapping_add(1)]);
        let mut truth = Truth::UNKNOWN;
        for (number_of, world) in self.worlds.iter().enumerate().filter(|(_, world)| world.word == word) {
            let bit = 1 << number_of;
            match world.decides(number, holds, signed) {
                Some(true) => truth.no &= !bit,
                Some(false) => truth.yes &= !bit,
                None => {}
            }
        }
        truth
    }
}

/// Bit of [`Comparison::holds`] for two numbers.
fn order(left: u32, right: u32, signed: bool) -> u32 {
    let ordering = if signed { left.cast_signed().cmp(&right.cast_signed()) } else { left.cmp(&right) };
    match ordering {
        std::cmp::Ordering::Less => 0,
        std::cmp::Ordering::Equal => 1,
        std::cmp::Ordering::Greater => 2,
    }
}

impl World {
    /// Whether comparing the word with `number` has the same result for all of its values, and which.
    fn decides(&self, number: u32, holds: u32, signed: bool) -> Option<bool> {
        /// The least number that is negative if it has a sign.
        const NEGATIVE: u32 = 1 << 31;
        // In between, numbers with a sign would not be in order.
        if self.from < NEGATIVE && self.to >= NEGATIVE {
            return None;
        }
        let [first, last] = [self.from, self.to].map(|value| order(value, number, signed));
        // From the first to the last, all orders in between come too.
        let [first, last] = [first.min(last), first.max(last)];
        let orders = (first..=last).filter(|order| *order != 1 || (self.from..=self.to).contains(&number));
        let mut results = orders.map(|order| holds >> order & 1 == 1);
        let result = results.next()?;
        results.all(|other| other == result).then_some(result)
    }
}

/// A truth table's result for what may be true and false.
fn looked_up(table: u32, [a, b, c]: [Truth; 3]) -> Truth {
    let mut result = Truth { yes: 0, no: 0 };
    for (row, [x, y, z]) in (0..8_u32).map(|row| (row, [row >> 2 & 1, row >> 1 & 1, row & 1])) {
        let of = |truth: Truth, bit| if bit == 1 { truth.yes } else { truth.no };
        let worlds = of(a, x) & of(b, y) & of(c, z);
        *(if table >> row & 1 == 1 { &mut result.yes } else { &mut result.no }) |= worlds;
    }
    result
}
