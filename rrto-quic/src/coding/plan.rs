//! What a sample of a payload says about coding it.

use std::sync::LazyLock;

use super::palette::Numbering;

/// Pieces of a sample, spread evenly, and the bytes of each: enough to tell a byte of 7 bits from one of 8 in each of eight
/// planes. It takes some 10 us.
const PIECES: usize = 8;
pub(super) const PIECE_BYTES: usize = 512;
const SAMPLE_BYTES: usize = PIECES * PIECE_BYTES;

/// Bytes that an element may have.
const STRIDES: [usize; 4] = [1, 2, 4, 8];
pub(super) const MAX_STRIDE: usize = 8;

/// A plane is coded if that saves so much of it; less is not worth its time.
const LEAST_SAVING: f32 = 0.08;

/// Planes of a payload, and which of them are coded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Planes {
    /// Bytes of an element: 1, 2, 4 or 8.
    pub(super) stride: usize,
    /// Which planes are coded, the lowest byte's in the lowest bit.
    pub(super) mask: u8,
}

/// How to code a payload.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Plan {
    /// Its planes, if some compress.
    pub(super) planes: Option<Planes>,
    /// Numbers for its elements, if that is better; where a block has too many different ones, its planes serve.
    pub(super) palette: Option<Numbering>,
    /// The part of the payload that is saved, as estimated: 0 to 1.
    pub(super) saving: f32,
}

impl Plan {
    /// The best plan for a payload, by a sample of it; `None` if nothing saves enough.
    pub(super) fn of(payload: &[u8]) -> Option<Plan> {
        let sample = sample(payload);
        let planes = best_of(Planes::all(&sample));
        let palette = best_of(STRIDES.into_iter().filter_map(|stride| Numbering::of(&sample, stride)));
        let planes_saving = planes.map_or(0.0, |(_, saving)| saving);
        let palette = palette.filter(|(_, saving)| *saving > planes_saving + LEAST_SAVING);
        let saving = palette.map_or(planes_saving, |(_, saving)| saving);
        let plan = Plan {
            planes: planes.map(|(planes, _)| planes),
            palette: palette.map(|(palette, _)| palette),
            saving,
        };
        (plan.saving > 0.0).then_some(plan)
    }
}

/// The first of those that save most.
fn best_of<T>(savings: impl IntoIterator<Item = (T, f32)>) -> Option<(T, f32)> {
    savings.into_iter().reduce(|best, next| if next.1 > best.1 { next } else { best })
}

impl Planes {
    /// For each width of elements the planes that are worth coding, and what they save; the narrowest first, whose planes are
    /// fewer.
    fn all(sample: &[u8]) -> Vec<(Planes, f32)> {
        let mut counts = count(sample);
        let mut all = Vec::with_capacity(STRIDES.len());
        for stride in STRIDES.into_iter().rev() {
            // Planes of narrower elements are those of wider ones taken together.
            let (narrow, rest) = counts.split_at_mut(stride);
            for (into, from) in narrow.iter_mut().zip(rest.iter().take(stride)) {
                into.iter_mut().zip(from).for_each(|(into, from)| *into += *from);
            }
            all.extend(Planes::worthwhile(narrow));
        }
        all.reverse();
        all
    }

    fn worthwhile(counts: &[Counts]) -> Option<(Planes, f32)> {
        let stride = counts.len();
        let (mut mask, mut saved) = (0, 0.0);
        for (at, counts) in counts.iter().enumerate() {
            let saving = 1.0 - bits(counts) / 8.0;
            if saving >= LEAST_SAVING {
                mask |= 1 << at;
                saved += saving;
            }
        }
        (mask != 0).then_some((Planes { stride, mask }, saved / stride as f32))
    }
}

/// Pieces of `payload`, at multiples of the widest element.
fn sample(payload: &[u8]) -> Vec<u8> {
    let gap = (payload.len() / PIECES).next_multiple_of(MAX_STRIDE).max(PIECE_BYTES);
    let pieces = payload.chunks(gap).take(PIECES);
    pieces.flat_map(|piece| piece.iter().take(PIECE_BYTES)).copied().collect()
}

/// How often each byte occurs in a plane of the sample.
pub(super) type Counts = [u16; 256];

/// A sample's planes as elements of the widest kind.
fn count(sample: &[u8]) -> Box<[Counts; MAX_STRIDE]> {
    let mut counts = Box::new([[0; 256]; MAX_STRIDE]);
    for element in sample.chunks(MAX_STRIDE) {
        for (counts, byte) in counts.iter_mut().zip(element) {
            counts[usize::from(*byte)] += 1;
        }
    }
    counts
}

/// `n log2 n` of what a count can be.
static N_LOG_N: LazyLock<Vec<f32>> =
    LazyLock::new(|| (0..=SAMPLE_BYTES).map(|n| n as f32 * (n.max(1) as f32).log2()).collect());

/// Bits that a Huffman code spends on a byte so distributed, about: the entropy, with the Miller-Madow correction of what
/// a small sample does not show of it. Not under 1, where there is more than one value.
pub(super) fn bits(counts: &Counts) -> f32 {
    let (mut total, mut values, mut sum) = (0u16, 0u16, 0.0);
    for &count in counts.iter().filter(|count| **count > 0) {
        total += count;
        values += 1;
        sum += N_LOG_N.get(usize::from(count)).copied().unwrap_or_default();
    }
    if values <= 1 {
        return 0.0;
    }
    let total = f32::from(total);
    let unseen = f32::from(values - 1) / (2.0 * total * std::f32::consts::LN_2);
    (total.log2() - sum / total + unseen).clamp(1.0, 8.0)
}
