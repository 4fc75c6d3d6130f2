//! Operators as the log keeps them, and their fingerprints.
//!
//! ```text
//! launch:  HEAD (u32 LE each): bytes of attributes, 1 if cooperative or 0
//!          function, stream (u64 LE)
//!          attributes (postcard; nothing if there are none)
//!          geometry (7 x u32 LE)
//!          parameter block, to the end
//! others:  HEAD: OTHER, 0
//!          operator (postcard)
//! ```
//!
//! Equal operators have equal bytes and different ones different bytes. The form exists to be made fast: nearly
//! everything that a program does is a launch, and this is on the program's path. It never leaves the process.

use std::hash::{BuildHasher, Hasher};

use bytes::{Buf, Bytes};
use foldhash::fast::FixedState;

use crate::operator::{Geometry, Handle, Launch, Operator};

/// Hashes of an operator. Equal operators have equal fingerprints; different ones almost always have different ones,
/// and where not, a search loses time and nothing else, because sequences are proven by comparing operators. They
/// are the same in every process, so that a search can be repeated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fingerprint {
    /// Of everything.
    pub exact: u64,
    /// Of everything that a [`Patch`](crate::operator::Patch) cannot change: of a launch all but its geometry and the
    /// content of its parameter block.
    pub shape: u64,
}

/// Any number will do, as long as it stays.
const SEED: u64 = 0x5252_544f;

/// 2^64 divided by the golden ratio: odd, and without a pattern in its bits.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// In place of the attributes' length, for what is no launch.
const OTHER: u32 = u32::MAX;

/// Bytes of a launch before its attributes.
const FIXED_BYTES: usize = 24;

/// Bytes of a geometry.
const GEOMETRY_BYTES: usize = 28;

/// Writes `operator` over what is in `coded`. `None` if it has no coded form.
pub(super) fn encode(operator: &Operator, coded: &mut Vec<u8>) -> Option<Fingerprint> {
    coded.clear();
    let Operator::Launch(launch) = operator else {
        put_head(coded, OTHER, 0);
        append(coded, operator)?;
        let exact = hash(coded);
        return Some(Fingerprint { exact, shape: exact });
    };
    put_head(coded, 0, u32::from(launch.cooperative));
    coded.extend_from_slice(&launch.function.0.to_le_bytes());
    coded.extend_from_slice(&launch.stream.0.to_le_bytes());
    if !launch.attributes.is_empty() {
        append(coded, &launch.attributes)?;
        let length = u32::try_from(coded.len() - FIXED_BYTES).ok()?;
        coded.get_mut(..size_of::<u32>())?.copy_from_slice(&length.to_le_bytes());
    }
    let shape = fold(hash(coded), launch.params.len() as u64);
    let Geometry { grid: [x, y, z], block: [block_x, block_y, block_z], shared_bytes } = launch.geometry;
    for number in [x, y, z, block_x, block_y, block_z, shared_bytes] {
        coded.extend_from_slice(&number.to_le_bytes());
    }
    let at = coded.len() - GEOMETRY_BYTES;
    coded.extend_from_slice(&launch.params);
    let exact = fold(shape, hash(coded.get(at..)?));
    Some(Fingerprint { exact, shape })
}

/// The operator that `coded` is of. `None` if [`encode`] does not make such bytes.
pub(super) fn decode(mut coded: &[u8]) -> Option<Operator> {
    let attributes_bytes = coded.try_get_u32_le().ok()?;
    let cooperative = coded.try_get_u32_le().ok()? != 0;
    if attributes_bytes == OTHER {
        return postcard::from_bytes(coded).ok();
    }
    let function = Handle(coded.try_get_u64_le().ok()?);
    let stream = Handle(coded.try_get_u64_le().ok()?);
    let (attributes, mut coded) = coded.split_at_checked(attributes_bytes as usize)?;
    let attributes =
        if attributes.is_empty() { Vec::new() } else { postcard::from_bytes(attributes).ok()? };
    let mut numbers = [0; GEOMETRY_BYTES / size_of::<u32>()];
    for number in &mut numbers {
        *number = coded.try_get_u32_le().ok()?;
    }
    let [x, y, z, block_x, block_y, block_z, shared_bytes] = numbers;
    let geometry = Geometry { grid: [x, y, z], block: [block_x, block_y, block_z], shared_bytes };
    let params = Bytes::copy_from_slice(coded);
    Some(Operator::Launch(Launch { function, geometry, stream, cooperative, attributes, params }))
}

/// Adds `next` to the hash of a run of numbers: depends on all of them and on their order.
pub fn fold(hash: u64, next: u64) -> u64 {
    let product = u128::from(hash.rotate_left(23) ^ next) * u128::from(MULTIPLIER);
    product as u64 ^ (product >> 64) as u64
}

fn put_head(coded: &mut Vec<u8>, first: u32, second: u32) {
    coded.extend_from_slice(&(u64::from(first) | u64::from(second) << 32).to_le_bytes());
}

fn append(coded: &mut Vec<u8>, value: &impl serde::Serialize) -> Option<()> {
    *coded = postcard::to_extend(value, std::mem::take(coded)).ok()?;
    Some(())
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = FixedState::with_seed(SEED).build_hasher();
    hasher.write(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::operator::LaunchAttribute;

    fn launch() -> Launch {
        Launch {
            function: Handle(7),
            geometry: Geometry { grid: [1, 2, 3], block: [32, 1, 1], shared_bytes: 0 },
            stream: Handle(1),
            cooperative: false,
            attributes: Vec::new(),
            params: Bytes::from(vec![1; 40]),
        }
    }

    fn fingerprint(launch: Launch) -> Fingerprint {
        encode(&Operator::Launch(launch), &mut Vec::new()).unwrap()
    }

    #[test]
    fn a_patch_changes_what_is_exact_and_not_the_shape() {
        let first = fingerprint(launch());
        let geometry = launch().geometry;
        let changed = [
            Launch { params: Bytes::from(vec![2; 40]), ..launch() },
            Launch { geometry: Geometry { grid: [1, 2, 4], ..geometry }, ..launch() },
            Launch { geometry: Geometry { shared_bytes: 1, ..geometry }, ..launch() },
            Launch { geometry: Geometry { block: [32, 2, 1], ..geometry }, ..launch() },
        ];
        for changed in changed {
            let second = fingerprint(changed);
            assert_eq!(second.shape, first.shape);
            assert_ne!(second.exact, first.exact);
        }
    }

    #[test]
    fn what_no_patch_can_change_changes_the_shape() {
        let first = fingerprint(launch());
        let attribute = LaunchAttribute { id: 1, value: Bytes::from_static(&[1]) };
        let changed = [
            Launch { params: Bytes::from(vec![1; 41]), ..launch() },
            Launch { function: Handle(8), ..launch() },
            Launch { stream: Handle(2), ..launch() },
            Launch { cooperative: true, ..launch() },
            Launch { attributes: vec![attribute], ..launch() },
        ];
        for changed in changed {
            assert_ne!(fingerprint(changed).shape, first.shape);
        }
    }

    #[test]
    fn the_order_counts() {
        assert_ne!(fold(fold(1, 2), 3), fold(fold(1, 3), 2));
    }

    fn any_launch() -> impl Strategy<Value = Operator> {
        let bytes = |most| proptest::collection::vec(any::<u8>(), 0..most).prop_map(Bytes::from);
        let attribute = (any::<u32>(), bytes(64)).prop_map(|(id, value)| LaunchAttribute { id, value });
        let numbers = (any::<(u64, u64, bool)>(), any::<([u32; 3], [u32; 3], u32)>());
        (numbers, proptest::collection::vec(attribute, 0..4), bytes(300)).prop_map(
            |(((function, stream, cooperative), (grid, block, shared_bytes)), attributes, params)| {
                let geometry = Geometry { grid, block, shared_bytes };
                let (function, stream) = (Handle(function), Handle(stream));
                Operator::Launch(Launch { function, geometry, stream, cooperative, attributes, params })
            },
        )
    }

    proptest! {
        #[test]
        fn decoding_gives_what_was_encoded(operator in any_launch(), dst in any::<u64>()) {
            let copy = Operator::CopyIn { dst, bytes: 4, stream: Handle(dst) };
            for operator in [operator, copy] {
                let mut coded = vec![1; 10];
                encode(&operator, &mut coded).unwrap();
                prop_assert_eq!(decode(&coded), Some(operator));
            }
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(coded in proptest::collection::vec(any::<u8>(), 0..100)) {
            decode(&coded);
        }
    }
}
