//! What the driver checks of launch attributes (`CUlaunchAttribute`) at once.

use rrto_core::api::CuResult;
use rrto_core::operator::{Geometry, LaunchAttribute};

/// CU_LAUNCH_ATTRIBUTE_COOPERATIVE.
const COOPERATIVE: u32 = 2;
/// CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION: three numbers.
const CLUSTER_DIMENSION: u32 = 4;
/// CU_LAUNCH_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE: a `CUclusterSchedulingPolicy`.
const CLUSTER_SCHEDULING: u32 = 5;
/// CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN: a `CUlaunchMemSyncDomain`.
const MEMORY_DOMAIN: u32 = 10;
/// CU_LAUNCH_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT: -1 or percent.
const CARVEOUT: u32 = 14;
/// CU_LAUNCH_ATTRIBUTE_NVLINK_UTIL_CENTRIC_SCHEDULING, the last that CUDA 13 has.
const LAST: u32 = 16;

/// Blocks of the largest cluster that every device has ("portable"). A kernel may ask for larger ones, and what its device
/// has then only the server knows.
const PORTABLE_CLUSTER_BLOCKS: u64 = 8;
/// Blocks of the largest cluster that any device has.
const CLUSTER_BLOCKS_MAX: u64 = 16;

/// The attribute's value as numbers; what is not there is zero.
fn number(attribute: &LaunchAttribute, at: usize) -> u32 {
    let mut bytes = [0; 4];
    for (to, from) in bytes.iter_mut().zip(attribute.value.iter().skip(4 * at)) {
        *to = *from;
    }
    u32::from_le_bytes(bytes)
}

/// Whether they make the launch cooperative.
pub(super) fn is_cooperative(attributes: &[LaunchAttribute]) -> bool {
    attributes.iter().any(|attribute| attribute.id == COOPERATIVE && number(attribute, 0) != 0)
}

/// Checks attributes as the driver does.
///
/// # Errors
/// INVALID_VALUE for what is no attribute or no value of it, INVALID_CLUSTER_SIZE for clusters that the grid is not made of.
pub(super) fn check(
    geometry: &Geometry,
    attributes: &[LaunchAttribute],
    allows_large_clusters: bool,
) -> Result<(), CuResult> {
    for attribute in attributes {
        let value = number(attribute, 0);
        let is_valid = match attribute.id {
            CLUSTER_DIMENSION => {
                check_cluster(geometry, attribute, allows_large_clusters)?;
                true
            }
            CLUSTER_SCHEDULING => value <= 2,
            MEMORY_DOMAIN => value <= 1,
            CARVEOUT => (-1..=100).contains(&value.cast_signed()),
            id => id <= LAST,
        };
        if !is_valid {
            return Err(CuResult::INVALID_VALUE);
        }
    }
    Ok(())
}

fn check_cluster(
    geometry: &Geometry,
    attribute: &LaunchAttribute,
    allows_large: bool,
) -> Result<(), CuResult> {
    let sides = [0, 1, 2].map(|at| number(attribute, at));
    // No cluster at all.
    if sides == [0; 3] {
        return Ok(());
    }
    let blocks = sides.iter().fold(1_u64, |all, &side| all.saturating_mul(side.into()));
    let most = if allows_large { CLUSTER_BLOCKS_MAX } else { PORTABLE_CLUSTER_BLOCKS };
    let divides =
        sides.iter().zip(&geometry.grid).all(|(&side, &grid)| side != 0 && grid.is_multiple_of(side));
    if divides && blocks <= most { Ok(()) } else { Err(CuResult::INVALID_CLUSTER_SIZE) }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    /// The outcome of a launch with one attribute.
    fn outcome(grid: u32, id: u32, values: &[u32]) -> Result<(), CuResult> {
        let geometry = Geometry { grid: [grid, 1, 1], block: [32, 1, 1], shared_bytes: 0 };
        let value: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        check(&geometry, &[LaunchAttribute { id, value: Bytes::from(value) }], false)
    }

    #[test]
    fn attributes_are_refused_as_by_the_driver() {
        for (grid, id, values, expected) in [
            (8, 4, &[2, 1, 1][..], Ok(())),
            (8, 4, &[8, 1, 1], Ok(())),
            (8, 4, &[], Ok(())),
            (8, 4, &[3, 1, 1], Err(CuResult::INVALID_CLUSTER_SIZE)),
            (16, 4, &[16, 1, 1], Err(CuResult::INVALID_CLUSTER_SIZE)),
            (8, 4, &[0, 1, 1], Err(CuResult::INVALID_CLUSTER_SIZE)),
            (8, 4, &[1], Err(CuResult::INVALID_CLUSTER_SIZE)),
            (8, 4, &[2, 2, 1], Err(CuResult::INVALID_CLUSTER_SIZE)),
            (8, 5, &[2], Ok(())),
            (8, 5, &[3], Err(CuResult::INVALID_VALUE)),
            (8, 10, &[5], Err(CuResult::INVALID_VALUE)),
            (8, 14, &[50], Ok(())),
            (8, 14, &[101], Err(CuResult::INVALID_VALUE)),
            (8, 99, &[], Err(CuResult::INVALID_VALUE)),
        ] {
            assert_eq!(outcome(grid, id, values), expected, "attribute {id} of {values:?}");
        }
    }
}
