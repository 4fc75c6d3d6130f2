//! Sequences: runs of operators that a program repeats and that both sides know, so that a repetition of one travels
//! as a [`Span`].

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Geometry, Launch, MAX_PARAM_BYTES, Operator, bounded};

/// The longest sequence, operators. An inference of a large detection model is some thousands.
pub const MAX_SEQUENCE_OPERATORS: usize = 16 << 10;

/// The longest sequence, bytes as [`Sequence::bytes`] counts them: its definition fits a frame, even if nothing of it
/// has been sent before.
pub const MAX_SEQUENCE_BYTES: u64 = 3 << 20;

/// Sequences that a session can have at a time.
pub const MAX_SEQUENCES: usize = 64;

/// Bytes of all sequences that a session can have at a time: a hundred inferences of a large model.
pub const MAX_SEQUENCES_BYTES: u64 = 32 << 20;

/// Patches of one span: what differs in more places is cheaper sent as it is.
pub const MAX_SPAN_PATCHES: usize = 64;

/// Edits of one patch; with their cost of two bytes each, a block that differs in more places is cheaper sent whole.
pub const MAX_PATCH_EDITS: usize = 64;

/// What an operator of a sequence counts beside its parameter block and attributes: no less than its coded form has.
const OPERATOR_BYTES: u64 = 96;

/// Names a sequence in its session. The client chooses it, and never the same twice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct SequenceId(pub u32);

/// A proven run of operators of one lane; immutable. All of it [`repeats`](Operator::repeats).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sequence {
    lane: u32,
    operators: Box<[Operator]>,
    /// Places of the slots, ascending.
    slots: Box<[u32]>,
    bytes: u64,
}

impl Sequence {
    /// A sequence of what `lane` does.
    ///
    /// # Errors
    /// Why that is no sequence, in words.
    pub fn new(lane: u32, operators: Vec<Operator>) -> Result<Self, &'static str> {
        if operators.is_empty() || operators.len() > MAX_SEQUENCE_OPERATORS {
            return Err("a sequence has from 1 to MAX_SEQUENCE_OPERATORS operators");
        }
        if !operators.iter().all(Operator::repeats) {
            return Err("a sequence with an operator that makes, ends or asks for something");
        }
        let bytes = operators.iter().map(counted_bytes).sum();
        if bytes > MAX_SEQUENCE_BYTES {
            return Err("a sequence is longer than MAX_SEQUENCE_BYTES");
        }
        let places = (0..).zip(&operators);
        let slots = places.filter(|(_, operator)| operator.is_slot()).map(|(at, _)| at).collect();
        Ok(Sequence { lane, operators: operators.into(), slots, bytes })
    }

    /// The host thread whose calls these are.
    pub fn lane(&self) -> u32 {
        self.lane
    }

    /// All operators, in order.
    pub fn operators(&self) -> &[Operator] {
        &self.operators
    }

    /// How many operators; at least one.
    #[expect(clippy::len_without_is_empty, reason = "it never is")]
    pub fn len(&self) -> u32 {
        const { assert!(MAX_SEQUENCE_OPERATORS <= u32::MAX as usize) };
        self.operators.len() as u32
    }

    /// What it counts against [`MAX_SEQUENCE_BYTES`] and [`MAX_SEQUENCES_BYTES`]: at least the length of its coded form,
    /// and the same on every machine.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The places of the slots from `at` on and before `end`, ascending.
    pub fn slots_within(&self, at: u32, end: u32) -> &[u32] {
        let index = |place: u32| self.slots.partition_point(|slot| *slot < place);
        self.slots.get(index(at)..index(end)).unwrap_or_default()
    }

    /// The operator at `at` in the run that `span` is of.
    pub fn operator(&self, at: u32, span: &Span) -> Option<Cow<'_, Operator>> {
        let operator = self.operators.get(at as usize)?;
        match span.patches.binary_search_by_key(&at, |patch| patch.at) {
            Ok(found) => span.patches.get(found)?.apply(operator).map(Cow::Owned),
            Err(_) => Some(Cow::Borrowed(operator)),
        }
    }

    /// Checks that `span` is within this sequence: its range, and that every patch fits its operator. Whoever has
    /// checked a span may rely on [`Sequence::operator`] for each of its places.
    ///
    /// # Errors
    /// What does not fit, in words.
    pub fn check(&self, span: &Span) -> Result<(), &'static str> {
        let end = span.from.checked_add(span.count).filter(|end| *end as usize <= self.operators.len());
        let Some(end) = end.filter(|_| span.count > 0) else {
            return Err("a span is not within its sequence");
        };
        if span.patches.len() > MAX_SPAN_PATCHES {
            return Err("more than MAX_SPAN_PATCHES patches");
        }
        let mut next = span.from;
        for patch in &span.patches {
            if patch.edits.len() > MAX_PATCH_EDITS {
                return Err("more than MAX_PATCH_EDITS edits");
            }
            if patch.at < next || patch.at >= end {
                return Err("patches are not in order, or not within their span");
            }
            next = patch.at + 1;
            if !self.operators.get(patch.at as usize).is_some_and(|operator| patch.fits(operator)) {
                return Err("a patch does not fit its operator");
            }
        }
        Ok(())
    }
}

fn counted_bytes(operator: &Operator) -> u64 {
    let Operator::Launch(launch) = operator else { return OPERATOR_BYTES };
    let attribute_bytes = launch.attributes.iter().map(|attribute| 8 + attribute.value.len()).sum::<usize>();
    OPERATOR_BYTES + (launch.params.len() + attribute_bytes) as u64
}

/// A piece of one run of a sequence.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Span {
    /// Of which sequence.
    pub sequence: SequenceId,
    /// The place of its first operator in the sequence.
    pub from: u32,
    /// How many operators; at least one.
    pub count: u32,
    /// What is different in this run, in the order of the sequence; at most one an operator.
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_SPAN_PATCHES>")]
    pub patches: Vec<Patch>,
}

impl Span {
    /// The place after its last operator.
    pub fn end(&self) -> u32 {
        self.from.saturating_add(self.count)
    }

    /// The part of it at the places `range`, which must lie within.
    pub fn part(&self, range: std::ops::Range<u32>) -> Span {
        let patches = self.patches.iter().filter(|patch| range.contains(&patch.at)).cloned().collect();
        Span { sequence: self.sequence, from: range.start, count: range.end - range.start, patches }
    }
}

/// What is different about a launch in one run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Patch {
    /// Its place in the sequence.
    pub at: u32,
    /// Its geometry, if that is different.
    pub geometry: Option<Geometry>,
    /// Bytes of its parameter block that are different.
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_PATCH_EDITS>")]
    pub edits: Vec<Edit>,
}

/// Bytes of a parameter block that are different.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Edit {
    /// Where in the block.
    pub offset: u16,
    /// What is there.
    pub bytes: Bytes,
}

/// Equal bytes between two edits that cost less in one edit than a second edit does.
const EDIT_GAP_BYTES: usize = 3;

impl Patch {
    /// The patch that makes `to` of `from`, at the place `at`: both are launches of one kernel on one stream and in one
    /// manner. `None` if a patch cannot express the difference.
    pub fn between(at: u32, from: &Operator, to: &Operator) -> Option<Patch> {
        let (Operator::Launch(from), Operator::Launch(to)) = (from, to) else { return None };
        let is_same_kind = from.function == to.function
            && from.stream == to.stream
            && from.cooperative == to.cooperative
            && from.attributes == to.attributes
            && from.params.len() == to.params.len();
        if !is_same_kind {
            return None;
        }
        let geometry = (from.geometry != to.geometry).then_some(to.geometry);
        let edits = edits(&from.params, &to.params);
        (edits.len() <= MAX_PATCH_EDITS).then_some(Patch { at, geometry, edits })
    }

    /// What it takes to keep it, bytes: an edit of nothing takes some, too.
    pub fn memory_bytes(&self) -> u64 {
        let edited: usize = self.edits.iter().map(|edit| size_of::<Edit>() + edit.bytes.len()).sum();
        (size_of::<Patch>() + edited) as u64
    }

    /// Whether it changes nothing but what the operator has.
    pub fn fits(&self, operator: &Operator) -> bool {
        let Operator::Launch(launch) = operator else { return false };
        let fits = |edit: &Edit| usize::from(edit.offset) + edit.bytes.len() <= launch.params.len();
        self.edits.iter().all(fits)
    }

    /// The operator as it is in this run. `None` if the patch does not fit it.
    pub fn apply(&self, operator: &Operator) -> Option<Operator> {
        let Operator::Launch(launch) = operator else { return None };
        let mut params = Vec::from(&launch.params[..]);
        for edit in &self.edits {
            let start = usize::from(edit.offset);
            params.get_mut(start..start.checked_add(edit.bytes.len())?)?.copy_from_slice(&edit.bytes);
        }
        Some(Operator::Launch(Launch {
            geometry: self.geometry.unwrap_or(launch.geometry),
            params: params.into(),
            ..launch.clone()
        }))
    }
}

/// Bytes that are compared at once: most of a block is equal.
const COMPARED_BYTES: usize = 16;

fn edits(from: &[u8], to: &Bytes) -> Vec<Edit> {
    const { assert!(MAX_PARAM_BYTES <= u16::MAX as usize) };
    let mut ranges: Vec<std::ops::Range<usize>> = Vec::new();
    let pieces = from.chunks(COMPARED_BYTES).zip(to.chunks(COMPARED_BYTES));
    for (start, (old, new)) in (0..).step_by(COMPARED_BYTES).zip(pieces).filter(|(_, (old, new))| old != new)
    {
        for (at, _) in (start..).zip(old.iter().zip(new)).filter(|(_, (old, new))| old != new) {
            match ranges.last_mut().filter(|last| at - last.end <= EDIT_GAP_BYTES) {
                Some(last) => last.end = at + 1,
                None => ranges.push(at..at + 1),
            }
        }
    }
    ranges.into_iter().map(|range| Edit { offset: range.start as u16, bytes: to.slice(range) }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::operator::Handle;

    fn launch(geometry: Geometry, params: Vec<u8>) -> Operator {
        Operator::Launch(Launch {
            function: Handle(7),
            geometry,
            stream: Handle::LEGACY_STREAM,
            cooperative: false,
            attributes: Vec::new(),
            params: params.into(),
        })
    }

    fn grid(x: u32) -> Geometry {
        Geometry { grid: [x, 1, 1], block: [32, 1, 1], shared_bytes: 0 }
    }

    proptest! {
        #[test]
        fn a_patch_makes_one_launch_of_the_other(
            (old, new) in (0..300_usize).prop_flat_map(|bytes| {
                let block = || proptest::collection::vec(0..3_u8, bytes);
                (block(), block())
            }),
            (from, to) in (0..2_u32, 0..2_u32),
        ) {
            let (from, to) = (launch(grid(from), old), launch(grid(to), new));
            // Up to 300 bytes differ in up to 75 places.
            let Some(patch) = Patch::between(0, &from, &to) else { return Ok(()) };
            prop_assert_eq!(patch.apply(&from), Some(to));
        }
    }

    #[test]
    fn a_span_is_checked() {
        let copy = Operator::CopyIn { dst: 0, bytes: 8, stream: Handle(0) };
        let sequence = Sequence::new(0, vec![copy, launch(grid(1), vec![0; 8])]).unwrap();
        let edit = |offset| Edit { offset, bytes: Bytes::from_static(&[1; 4]) };
        let patch = |at, offset| Patch { at, geometry: None, edits: vec![edit(offset)] };
        let span = |from, count, patches| Span { sequence: SequenceId(1), from, count, patches };
        for good in [span(0, 2, vec![]), span(1, 1, vec![patch(1, 4)])] {
            assert_eq!(sequence.check(&good), Ok(()), "{good:?}");
        }
        for bad in [
            span(0, 0, vec![]),
            span(1, 2, vec![]),
            span(u32::MAX, 2, vec![]),
            span(0, 2, vec![patch(0, 0)]),
            span(0, 2, vec![patch(1, 5)]),
            span(0, 1, vec![patch(1, 0)]),
            span(0, 2, vec![patch(1, 0), patch(1, 0)]),
        ] {
            assert!(sequence.check(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn longer_lists_than_there_may_be_are_not_decoded() {
        let patch = |edits| Patch {
            at: 0,
            geometry: None,
            edits: vec![Edit { offset: 0, bytes: Bytes::new() }; edits],
        };
        let decodes = |patches: usize, edits: usize| {
            let span =
                Span { sequence: SequenceId(0), from: 0, count: 1, patches: vec![patch(edits); patches] };
            let decoded: Result<Span, _> = postcard::from_bytes(&postcard::to_stdvec(&span).unwrap());
            decoded.is_ok_and(|decoded| decoded == span)
        };
        assert!(decodes(MAX_SPAN_PATCHES, MAX_PATCH_EDITS) && decodes(0, 0));
        assert!(!decodes(MAX_SPAN_PATCHES + 1, 1) && !decodes(1, MAX_PATCH_EDITS + 1));
    }

    #[test]
    fn what_makes_or_asks_is_in_no_sequence() {
        assert!(Sequence::new(0, vec![Operator::MemAlloc { bytes: 1 }]).is_err());
        assert!(Sequence::new(0, vec![Operator::StreamQuery { stream: Handle(0) }]).is_err());
        assert!(Sequence::new(0, vec![]).is_err());
    }
}
