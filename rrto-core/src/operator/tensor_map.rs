//! Tensor maps.

use serde::{Deserialize, Serialize};

/// How many ranks a tensor map can have (CUDA driver API, `cuTensorMapEncodeTiled`).
pub const MAX_TENSOR_RANK: usize = 5;

/// The arguments that the tensor-map encoders share (CUDA driver API, section "Tensor Map Object Management").
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct TensorMap {
    /// `CUtensorMapDataType`.
    pub data_type: u32,
    /// Device address of the tensor.
    pub address: u64,
    /// Elements per dimension; its length is the rank, at most [`MAX_TENSOR_RANK`].
    pub dims: Vec<u64>,
    /// Bytes per stride; one fewer than the rank.
    pub strides: Vec<u64>,
    /// Elements of the box per dimension.
    pub box_dims: Vec<u32>,
    /// Stride of elements per dimension.
    pub element_strides: Vec<u32>,
    /// `CUtensorMapInterleave`.
    pub interleave: u32,
    /// `CUtensorMapSwizzle`.
    pub swizzle: u32,
    /// `CUtensorMapL2promotion`.
    pub l2_promotion: u32,
    /// `CUtensorMapFloatOOBfill`.
    pub oob_fill: u32,
}

impl TensorMap {
    pub(super) fn check_rank(&self, box_rank: usize) -> Result<(), &'static str> {
        let rank = self.dims.len();
        let fits = (1..=MAX_TENSOR_RANK).contains(&rank)
            && self.strides.len() + 1 == rank
            && self.box_dims.len() == box_rank
            && self.element_strides.len() == rank;
        if fits { Ok(()) } else { Err("a tensor map's arrays do not fit its rank") }
    }
}
