//! Fingerprints of operators.

use std::hash::{BuildHasher, Hash, Hasher};

use foldhash::fast::FixedState;

use crate::operator::{Launch, Operator};

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

impl Fingerprint {
    /// The fingerprint of `operator`.
    pub fn of(operator: &Operator) -> Self {
        let mut hasher = FixedState::with_seed(SEED).build_hasher();
        let Operator::Launch(Launch { function, geometry, stream, cooperative, attributes, params }) =
            operator
        else {
            operator.hash(&mut hasher);
            let exact = hasher.finish();
            return Fingerprint { exact, shape: exact };
        };
        hasher.write_u64(function.0);
        hasher.write_u64(stream.0);
        hasher.write_u64(params.len() as u64 ^ u64::from(*cooperative) << 63);
        if !attributes.is_empty() {
            attributes.hash(&mut hasher);
        }
        let shape = hasher.finish();
        // As few words as there are: this is on the program's path.
        let [x, y, z] = geometry.grid;
        let [block_x, block_y, block_z] = geometry.block;
        hasher.write_u64(u64::from(x) << 32 | u64::from(y));
        hasher.write_u64(u64::from(z) << 32 | u64::from(geometry.shared_bytes));
        hasher.write_u64(u64::from(block_x) << 32 | u64::from(block_y) << 16 ^ u64::from(block_z));
        hasher.write(params);
        Fingerprint { exact: hasher.finish(), shape }
    }
}

/// Adds `next` to the hash of a run of numbers: depends on all of them and on their order.
pub fn fold(hash: u64, next: u64) -> u64 {
    let product = u128::from(hash.rotate_left(23) ^ next) * u128::from(MULTIPLIER);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::operator::{Geometry, Handle};

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

    #[test]
    fn a_patch_changes_what_is_exact_and_not_the_shape() {
        let first = Fingerprint::of(&Operator::Launch(launch()));
        let geometry = Geometry { grid: [1, 2, 4], ..launch().geometry };
        let changed = [
            Launch { params: Bytes::from(vec![2; 40]), ..launch() },
            Launch { geometry, ..launch() },
            Launch { geometry: Geometry { shared_bytes: 1, ..launch().geometry }, ..launch() },
            Launch { geometry: Geometry { block: [32, 2, 1], ..launch().geometry }, ..launch() },
        ];
        for changed in changed {
            let second = Fingerprint::of(&Operator::Launch(changed));
            assert_eq!(second.shape, first.shape);
            assert_ne!(second.exact, first.exact);
        }
    }

    #[test]
    fn what_no_patch_can_change_changes_the_shape() {
        let first = Fingerprint::of(&Operator::Launch(launch()));
        let changed = [
            Launch { params: Bytes::from(vec![1; 41]), ..launch() },
            Launch { function: Handle(8), ..launch() },
            Launch { stream: Handle(2), ..launch() },
            Launch { cooperative: true, ..launch() },
        ];
        for changed in changed {
            assert_ne!(Fingerprint::of(&Operator::Launch(changed)).shape, first.shape);
        }
        let copy = |dst| Fingerprint::of(&Operator::CopyIn { dst, bytes: 4, stream: Handle(0) });
        assert_eq!(copy(1), copy(1));
        assert_ne!(copy(1).shape, copy(2).shape);
    }

    #[test]
    fn the_order_counts() {
        assert_ne!(fold(fold(1, 2), 3), fold(fold(1, 3), 2));
    }
}
