//! By which words of its parameter block a kernel chooses what it reads.

use std::collections::BTreeSet;

use super::super::sass::INSTRUCTION_BYTES;
use super::worlds::{self, MAX_WORLDS, World};
use super::{Architecture, Case, Doubt, Guard, Range, Word, ranges};

/// The most values and stretches of values of a word that are looked at: PyTorch's kernels tell 26 numbers of dimensions
/// apart. A word that is compared with more numbers is hardly one of those that say what else counts.
const MAX_CLASSES: usize = 48;

/// How often a kernel is followed at most: as many words are looked at as fit.
const MAX_WALKS: usize = 4;

/// The first number that is negative if it has a sign: before it, a comparison may change its mind.
const NEGATIVE: u32 = 1 << 31;

/// The words of a block by whose values more of it is not read than always, and what. `elsewhere` is what no other
/// function reads that the kernel may call, `always` what is not read anyway.
pub(super) fn guards(
    code: &[u8],
    architecture: Architecture,
    block_bytes: u32,
    elsewhere: &[Range],
    always: Result<&[Range], &Doubt>,
) -> Vec<Guard> {
    let (code, rest) = code.as_chunks::<INSTRUCTION_BYTES>();
    let mut may_be_unread = vec![false; block_bytes as usize];
    mark(&mut may_be_unread, elsewhere, true);
    mark(&mut may_be_unread, always.unwrap_or_default(), false);
    if !rest.is_empty() || !may_be_unread.contains(&true) {
        return Vec::new();
    }
    let follow = |worlds: &[World]| worlds::follow(code, architecture, block_bytes, worlds);
    let Some(found) = follow(&[]) else { return Vec::new() };
    let words: Vec<Vec<World>> = found
        .cuts
        .iter()
        .map(|(word, cuts)| classes(*word, cuts))
        .filter(|classes| classes.len() <= MAX_CLASSES)
        .collect();
    let mut guards = Vec::new();
    for batch in batches(&words).into_iter().take(MAX_WALKS) {
        let worlds = batch.concat();
        let Some(found) = follow(&worlds) else { return Vec::new() };
        let unread = |number: usize| {
            let bytes = may_be_unread.iter().zip(&found.read);
            ranges(bytes.map(|(may_be, read)| *may_be && read >> number & 1 == 0))
        };
        let cases = worlds.iter().enumerate().map(|(number, world)| (*world, unread(number)));
        collect(&mut guards, cases);
    }
    guards
}

/// Sets the bytes of these ranges to `to`.
fn mark(bytes: &mut [bool], ranges: &[Range], to: bool) {
    for &(at, length) in ranges {
        bytes.get_mut(at as usize..(at + length) as usize).unwrap_or_default().fill(to);
    }
}

/// All values of a word, cut where comparisons begin to decide otherwise.
fn classes(word: Word, cuts: &BTreeSet<u32>) -> Vec<World> {
    let greatest = if word.bytes < 4 { (1 << (8 * word.bytes)) - 1 } else { u32::MAX };
    let inside = |cut: &u32| *cut > 0 && *cut <= greatest;
    let starts: BTreeSet<u32> = cuts.iter().copied().chain([NEGATIVE]).filter(inside).chain([0]).collect();
    let ends = starts.iter().skip(1).map(|next| next - 1).chain([greatest]);
    starts.iter().zip(ends).map(|(&from, to)| World { word, from, to }).collect()
}

/// Words together that are followed at once.
fn batches(words: &[Vec<World>]) -> Vec<Vec<Vec<World>>> {
    let mut batches: Vec<Vec<Vec<World>>> = Vec::new();
    let mut room = 0;
    for classes in words {
        if classes.len() > room || batches.is_empty() {
            batches.push(Vec::new());
            room = MAX_WORLDS;
        }
        room -= classes.len();
        if let Some(batch) = batches.last_mut() {
            batch.push(classes.clone());
        }
    }
    batches
}

/// Adds to `guards` what is unread in each world, those of a word together and in the order of its values.
fn collect(guards: &mut Vec<Guard>, cases: impl Iterator<Item = (World, Vec<Range>)>) {
    for (World { word, from, to }, ranges) in cases.filter(|(_, ranges)| !ranges.is_empty()) {
        let cases = match guards.last_mut() {
            Some(guard) if guard.word == word => &mut guard.cases,
            _ => {
                guards.push(Guard { word, cases: Vec::new() });
                let Some(guard) = guards.last_mut() else { return };
                &mut guard.cases
            }
        };
        match cases.last_mut() {
            Some(last) if last.ranges == ranges && last.to.checked_add(1) == Some(from) => last.to = to,
            _ => cases.push(Case { from, to, ranges }),
        }
    }
}
