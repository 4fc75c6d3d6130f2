//! Numbers for elements of which there are few different ones: an image, normalised from bytes or not.
//!
//! ```text
//! body      u16 LE entries, entry*, u8 distance, tail, and the elements' numbers as planes: of 1 byte, or of 2 if there
//!           are more than 256 entries
//! entry     an element
//! number    which entry, from 0; or, where the distance is not 0, how much more (modulo the number of entries) than the
//!           number of the element so many before, which is 0 before the first
//! tail      what is left of the block's bytes when they are not a multiple of the element's
//! ```
//!
//! Entries are sorted as numbers are, so that neighbours in a smooth image have near numbers and differ by little: by the
//! pixel before, or by the same channel of the pixel before.

use rrto_core::wire::WireError;

use super::BLOCK_BYTES;
use super::block::{MALFORMED, PlanesEncoder};
use super::plan::{Counts, PIECE_BYTES, Planes, bits};

/// The most different elements of a block, three channels of 256 and some more. Their own bytes must not outweigh what
/// numbers save.
const MAX_ENTRIES: usize = 1024;

/// Elements of a sample's piece that are looked at, and the fewest that say anything.
const PIECE_ELEMENTS: usize = 128;
const LEAST_ELEMENTS: usize = 128;

/// Of how many elements one is looked at first, and the part of these that may differ: random numbers all do, and need no
/// closer look.
const GLIMPSE: usize = 4;
const GLIMPSE_DIFFERENT: f32 = 0.94;

/// The part of a sample's elements that may differ.
const DIFFERENT: f32 = 0.6;

/// Distances that are tried: none, one channel, three channels, four channels.
const DISTANCES: [usize; 4] = [0, 1, 3, 4];

/// Bits that the higher byte of a number costs, about.
const HIGHER_BITS: f32 = 1.5;

/// How elements are numbered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Numbering {
    /// Bytes of an element: 1, 2, 4 or 8.
    pub(super) stride: usize,
    /// Elements back to the one that a number is the difference to; 0 if it is none.
    distance: usize,
}

impl Numbering {
    /// The best one for elements of `stride` bytes by a sample of the payload, and the part of the payload that it saves.
    pub(super) fn of(sample: &[u8], stride: usize) -> Option<(Numbering, f32)> {
        let mut elements = Vec::with_capacity(sample.len().min(LEAST_ELEMENTS * 8));
        for piece in sample.chunks(PIECE_BYTES) {
            let piece = piece.get(..PIECE_ELEMENTS * stride).unwrap_or(piece);
            all_elements(piece, stride, |element| {
                elements.push(element);
                true
            });
        }
        let glimpse = entries(elements.iter().step_by(GLIMPSE), stride);
        let is_few = |entries: &[u64], of: usize, part: f32| entries.len() as f32 <= of as f32 * part;
        if elements.len() < LEAST_ELEMENTS || !is_few(&glimpse, elements.len() / GLIMPSE, GLIMPSE_DIFFERENT) {
            return None;
        }
        let entries = entries(elements.iter(), stride);
        if !is_few(&entries, elements.len(), DIFFERENT) {
            return None;
        }
        let number =
            |element| entries.binary_search_by_key(&order(element, stride), |entry| order(*entry, stride));
        let numbers: Vec<u16> =
            elements.iter().map(|element| number(*element).unwrap_or_default() as u16).collect();
        let table = (entries.len() * stride) as f32 / BLOCK_BYTES as f32;
        let higher = if entries.len() > 256 { HIGHER_BITS } else { 0.0 };
        let savings = DISTANCES.into_iter().map(|distance| {
            let mut counts: Counts = [0; 256];
            for number in differences(&numbers, distance, entries.len()) {
                counts[usize::from(number as u8)] += 1;
            }
            let saving = 1.0 - (bits(&counts) + higher) / (8.0 * stride as f32) - table;
            (Numbering { stride, distance }, saving)
        });
        savings.reduce(|best, next| if next.1 > best.1 { next } else { best })
    }
}

/// The different ones among `elements`, sorted.
fn entries<'a>(elements: impl Iterator<Item = &'a u64>, stride: usize) -> Vec<u64> {
    let mut entries: Vec<u64> = elements.copied().collect();
    entries.sort_unstable_by_key(|entry| order(*entry, stride));
    entries.dedup();
    entries
}

/// Where an element is among others: bytes as they are, wider ones as floating-point numbers.
fn order(element: u64, stride: usize) -> u64 {
    let sign = 1 << (8 * stride - 1);
    if stride == 1 {
        element
    } else if element & sign == 0 {
        element | sign
    } else {
        !element & (sign - 1)
    }
}

/// Numbers as they travel.
fn differences(numbers: &[u16], distance: usize, entries: usize) -> impl Iterator<Item = u16> {
    let (plain, rest) =
        numbers.split_at(if distance == 0 { numbers.len() } else { distance.min(numbers.len()) });
    let modulus = entries as u16;
    let differ = move |(number, before): (&u16, &u16)| {
        if number >= before { number - before } else { number + modulus - before }
    };
    plain.iter().copied().chain(rest.iter().zip(numbers).map(differ))
}

/// Calls `take` with each whole element, while it says so, and returns whether it always did.
fn all_elements(raw: &[u8], stride: usize, mut take: impl FnMut(u64) -> bool) -> bool {
    match stride {
        1 => raw.iter().all(|byte| take(u64::from(*byte))),
        2 => raw.as_chunks().0.iter().all(|bytes| take(u64::from(u16::from_le_bytes(*bytes)))),
        4 => raw.as_chunks().0.iter().all(|bytes| take(u64::from(u32::from_le_bytes(*bytes)))),
        _ => raw.as_chunks().0.iter().all(|bytes| take(u64::from_le_bytes(*bytes))),
    }
}

/// Numbers the elements of blocks.
#[derive(Default)]
pub(super) struct Encoder {
    /// A hash table: 0, or the place of an entry and 1.
    slots: Vec<u16>,
    /// In the order in which they were found.
    entries: Vec<u64>,
    /// By the order in which entries were found; then by the entries' order.
    numbers: Vec<u16>,
    /// As they travel.
    bytes: Vec<u8>,
}

/// So many that a look-up seldom meets another entry.
const SLOTS: usize = 4 * MAX_ENTRIES;

impl Encoder {
    /// Appends the body for `raw`; `false` if it has too many different elements.
    pub(super) fn encode(
        &mut self,
        raw: &[u8],
        numbering: Numbering,
        planes: &mut PlanesEncoder,
        body: &mut Vec<u8>,
    ) -> bool {
        let Numbering { stride, distance } = numbering;
        if !self.number(raw, stride) {
            return false;
        }
        self.sort(stride);
        body.extend_from_slice(&(self.entries.len() as u16).to_le_bytes());
        self.entries.iter().for_each(|entry| body.extend_from_slice(&entry.to_le_bytes()[..stride]));
        body.push(distance as u8);
        body.extend_from_slice(&raw[raw.len() - raw.len() % stride..]);
        let numbers = differences(&self.numbers, distance, self.entries.len());
        self.bytes.clear();
        let number_bytes = number_bytes(self.entries.len());
        if number_bytes == 1 {
            self.bytes.extend(numbers.map(|number| number as u8));
        } else {
            numbers.for_each(|number| self.bytes.extend_from_slice(&number.to_le_bytes()));
        }
        planes.encode(&self.bytes, Planes { stride: number_bytes, mask: u8::MAX }, body);
        true
    }

    /// Finds the entries.
    fn number(&mut self, raw: &[u8], stride: usize) -> bool {
        self.entries.clear();
        self.numbers.clear();
        self.slots.clear();
        self.slots.resize(SLOTS, 0);
        let Encoder { slots, entries, numbers, .. } = self;
        all_elements(raw, stride, |element| {
            // Fibonacci hashing: the product's highest bits depend on all of the element.
            let mut slot = (element.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - SLOTS.ilog2())) as usize;
            loop {
                let number = usize::from(slots[slot]);
                if number == 0 {
                    if entries.len() == MAX_ENTRIES {
                        return false;
                    }
                    entries.push(element);
                    slots[slot] = entries.len() as u16;
                    numbers.push(entries.len() as u16 - 1);
                    return true;
                }
                if entries[number - 1] == element {
                    numbers.push(number as u16 - 1);
                    return true;
                }
                slot = (slot + 1) % SLOTS;
            }
        })
    }

    /// Sorts the entries, and numbers the elements accordingly.
    fn sort(&mut self, stride: usize) {
        let mut sorted: Vec<(u64, u16)> = self.entries.iter().copied().zip(0..).collect();
        sorted.sort_unstable_by_key(|(entry, _)| order(*entry, stride));
        let mut rank = [0; MAX_ENTRIES];
        for ((entry, (sorted, found)), at) in self.entries.iter_mut().zip(sorted).zip(0..) {
            *entry = sorted;
            rank[usize::from(found)] = at;
        }
        self.numbers.iter_mut().for_each(|number| *number = rank[usize::from(*number)]);
    }
}

/// Bytes of a number.
fn number_bytes(entries: usize) -> usize {
    if entries <= 256 { 1 } else { 2 }
}

/// What a body says before its numbers.
pub(super) struct Palette<'a> {
    stride: usize,
    entries: &'a [u8],
    distance: usize,
    tail: &'a [u8],
    elements: usize,
}

impl<'a> Palette<'a> {
    /// Of the body of a block of `raw_bytes`; and what follows.
    pub(super) fn read(
        body: &'a [u8],
        stride: usize,
        raw_bytes: usize,
    ) -> Result<(Self, &'a [u8]), WireError> {
        let (count, rest) = body.split_first_chunk().ok_or(MALFORMED)?;
        let count = usize::from(u16::from_le_bytes(*count));
        // A number is never longer than what it stands for.
        if count == 0 || count > MAX_ENTRIES || number_bytes(count) > stride {
            return Err(MALFORMED);
        }
        let (entries, rest) = rest.split_at_checked(count * stride).ok_or(MALFORMED)?;
        let (&distance, rest) = rest.split_first().ok_or(MALFORMED)?;
        let (tail, rest) = rest.split_at_checked(raw_bytes % stride).ok_or(MALFORMED)?;
        let palette =
            Palette { stride, entries, distance: usize::from(distance), tail, elements: raw_bytes / stride };
        Ok((palette, rest))
    }

    /// Bytes of a number, and of all.
    pub(super) fn number_bytes(&self) -> usize {
        number_bytes(self.entries.len() / self.stride)
    }

    pub(super) fn numbers_bytes(&self) -> usize {
        self.elements * self.number_bytes()
    }

    /// The block's bytes.
    pub(super) fn decode(&self, numbers: &[u8]) -> Result<Vec<u8>, WireError> {
        let mut numbers: Vec<u16> = if self.number_bytes() == 1 {
            numbers.iter().map(|number| u16::from(*number)).collect()
        } else {
            numbers.as_chunks().0.iter().map(|number| u16::from_le_bytes(*number)).collect()
        };
        let count = (self.entries.len() / self.stride) as u16;
        if numbers.iter().any(|number| *number >= count) {
            return Err(MALFORMED);
        }
        if self.distance > 0 {
            for at in self.distance..numbers.len() {
                // Both are under MAX_ENTRIES.
                let number = numbers[at] + numbers[at - self.distance];
                numbers[at] = if number >= count { number - count } else { number };
            }
        }
        let mut raw = Vec::with_capacity(self.elements * self.stride + self.tail.len());
        match self.stride {
            1 => self.look_up::<1>(&numbers, &mut raw),
            2 => self.look_up::<2>(&numbers, &mut raw),
            4 => self.look_up::<4>(&numbers, &mut raw),
            _ => self.look_up::<8>(&numbers, &mut raw),
        }
        raw.extend_from_slice(self.tail);
        Ok(raw)
    }

    fn look_up<const STRIDE: usize>(&self, numbers: &[u16], raw: &mut Vec<u8>) {
        let entries = self.entries.as_chunks::<STRIDE>().0;
        // All numbers are under the count of entries.
        numbers
            .iter()
            .filter_map(|number| entries.get(usize::from(*number)))
            .for_each(|entry| raw.extend_from_slice(entry));
    }
}
