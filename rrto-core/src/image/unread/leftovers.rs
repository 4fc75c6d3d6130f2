//! What a client is told about a kernel's unread bytes.

use std::fmt;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Range;

/// The most pieces of one kernel, so that what a client is told stays small; what is beyond counts as read. The most
/// that a kernel of PyTorch, cuDNN or cuBLAS leaves unread always is 36 pieces.
pub const MAX_UNREAD_RANGES: usize = 256;

/// The most pairs of numbers that a client is told about one kernel: some kilobytes.
pub const MAX_LEFTOVER_PAIRS: usize = 2048;

/// A part of a parameter block that is read as a number without a sign, low byte first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Word {
    /// Where it is in the block.
    pub at: u32,
    /// How long it is: 1, 2 or 4 bytes.
    pub bytes: u32,
}

impl Word {
    /// Its value in a block; nothing if that is too short.
    #[inline]
    fn value(self, block: &[u8]) -> Option<u32> {
        let bytes = block.get(self.at as usize..)?.get(..self.bytes as usize)?;
        Some(bytes.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte)))
    }
}

/// What is not read if a word of the block has certain values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// The word's least value.
    pub from: u32,
    /// Its greatest value.
    pub to: u32,
    /// What is not read then: offset and length in bytes of each piece, none of them empty.
    pub ranges: Vec<Range>,
}

/// A word of the block by which a kernel chooses what it reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// Which word.
    pub word: Word,
    /// What that means, in the order of its values, which are not in two of them.
    pub cases: Vec<Case>,
}

/// The bytes of a parameter block that its kernel does not read: some never, some not if a [`Guard`] says so.
///
/// Coded as a list of pairs of numbers: offset and length of what is never read; then for each guard the word's offset
/// and 0, its bytes and the number of cases, and for each case its least and its greatest value, the number of pieces
/// and 0, and the pieces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leftovers {
    always: Vec<Range>,
    guards: Vec<Guard>,
}

impl Leftovers {
    /// What is never read, and the guards. What makes it too long is left out.
    #[must_use]
    pub fn new(mut always: Vec<Range>, mut guards: Vec<Guard>) -> Self {
        always.retain(|(_, bytes)| *bytes > 0);
        always.truncate(MAX_UNREAD_RANGES);
        let mut left = MAX_LEFTOVER_PAIRS - always.len();
        guards.retain(|guard| match left.checked_sub(guard.pairs()) {
            Some(after) => {
                left = after;
                true
            }
            None => false,
        });
        Leftovers { always, guards }
    }

    /// What is never read: offset and length in bytes.
    #[must_use]
    pub fn always(&self) -> &[Range] {
        &self.always
    }

    /// By which words of the block more of it is not read.
    #[must_use]
    pub fn guards(&self) -> &[Guard] {
        &self.guards
    }

    /// Sets to zero in a launch's block what its kernel does not read. The block may be shorter than the kernel's, or
    /// longer.
    ///
    /// Each guard is looked at in what the ones before it have left: the kernel does the same with it as with the
    /// program's block, so what is not read of the one is not read of the other.
    #[inline]
    pub fn clear(&self, block: &mut [u8]) {
        clear(block, &self.always);
        for Guard { word, cases } in &self.guards {
            let Some(value) = word.value(block) else { continue };
            let after = cases.partition_point(|case| case.from <= value);
            let case = after.checked_sub(1).and_then(|at| cases.get(at));
            if let Some(case) = case.filter(|case| value <= case.to) {
                clear(block, &case.ranges);
            }
        }
    }

    /// As it is coded.
    fn pairs(&self) -> Vec<Range> {
        let mut pairs = self.always.clone();
        for Guard { word, cases } in &self.guards {
            pairs.extend([(word.at, 0), (word.bytes, cases.len() as u32)]);
            for Case { from, to, ranges } in cases {
                pairs.extend([(*from, *to), (ranges.len() as u32, 0)]);
                pairs.extend(ranges);
            }
        }
        pairs
    }

    /// From how it is coded; nothing if it is coded in no such way.
    fn from_pairs(pairs: &[Range]) -> Option<Self> {
        let of_always = pairs.iter().position(|(_, bytes)| *bytes == 0).unwrap_or(pairs.len());
        let (always, mut rest) = pairs.split_at_checked(of_always)?;
        let mut guards = Vec::new();
        while let [(at, 0), (bytes, cases), after @ ..] = rest {
            rest = after;
            let word = Word { at: *at, bytes: *bytes };
            let cases = (0..*cases).map(|_| Case::take(&mut rest)).collect::<Option<Vec<Case>>>()?;
            let in_order = cases.is_sorted_by(|case, next| case.to < next.from);
            if !(matches!(bytes, 1 | 2 | 4) && in_order) {
                return None;
            }
            guards.push(Guard { word, cases });
        }
        (rest.is_empty() && always.len() <= MAX_UNREAD_RANGES)
            .then(|| Leftovers { always: always.to_vec(), guards })
    }
}

impl Guard {
    /// How many pairs it is coded in.
    fn pairs(&self) -> usize {
        2 + self.cases.iter().map(|case| 2 + case.ranges.len()).sum::<usize>()
    }
}

impl Case {
    /// Takes the first one off `pairs`.
    fn take(pairs: &mut &[Range]) -> Option<Self> {
        let [(from, to), (count, 0), rest @ ..] = *pairs else { return None };
        let (ranges, rest) = rest.split_at_checked(*count as usize)?;
        *pairs = rest;
        let is_sound = from <= to && ranges.iter().all(|(_, bytes)| *bytes > 0);
        is_sound.then(|| Case { from: *from, to: *to, ranges: ranges.to_vec() })
    }
}

/// Sets pieces of a block to zero, as far as they are in it.
#[inline]
fn clear(block: &mut [u8], ranges: &[Range]) {
    for &(at, bytes) in ranges {
        let (from, to) = (at as usize, (at as usize).saturating_add(bytes as usize).min(block.len()));
        block.get_mut(from..to).unwrap_or_default().fill(0);
    }
}

impl Serialize for Leftovers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.pairs().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Leftovers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Pairs)
    }
}

/// Reads the coded form.
struct Pairs;

impl<'de> Visitor<'de> for Pairs {
    type Value = Leftovers;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "at most {MAX_LEFTOVER_PAIRS} pairs of what is never read, and guards")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Leftovers, A::Error> {
        // A length is believed only as far as the limit, and the list grows with what is there.
        let mut pairs = Vec::new();
        while let Some(pair) = sequence.next_element()? {
            if pairs.len() == MAX_LEFTOVER_PAIRS {
                return Err(A::Error::invalid_length(MAX_LEFTOVER_PAIRS + 1, &self));
            }
            pairs.push(pair);
        }
        Leftovers::from_pairs(&pairs).ok_or_else(|| A::Error::custom("leftovers in no known form"))
    }
}
