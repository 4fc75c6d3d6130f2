//! Tensor maps: descriptors that only the server's driver knows how to encode.

use rrto_core::api::CuResult;
use rrto_core::operator::{MAX_TENSOR_RANK, Operator, TensorMap};

use super::exports;
use crate::marshal::{In, Out};
use crate::runtime;

/// `CUtensorMap`.
type Descriptor = [u8; 128];

/// The rank as a length, if a tensor can have it.
fn rank(rank: u32) -> Result<usize, CuResult> {
    usize::try_from(rank)
        .ok()
        .filter(|rank| (1..=MAX_TENSOR_RANK).contains(rank))
        .ok_or(CuResult::INVALID_VALUE)
}

exports! {
    fn cuTensorMapEncodeTiled(
        descriptor: Out<Descriptor>,
        data_type: u32,
        tensor_rank: u32,
        address: u64,
        dims: In<u64>,
        strides: In<u64>,
        box_dims: In<u32>,
        element_strides: In<u32>,
        interleave: u32,
        swizzle: u32,
        l2_promotion: u32,
        oob_fill: u32,
    ) {
        let call = runtime::call()?;
        descriptor.require()?;
        let rank = rank(tensor_rank)?;
        descriptor.set(call.tensor_map(Operator::TensorMapTiled(TensorMap {
            data_type,
            address,
            dims: dims.array(rank)?,
            strides: strides.array(rank - 1)?,
            box_dims: box_dims.array(rank)?,
            element_strides: element_strides.array(rank)?,
            interleave,
            swizzle,
            l2_promotion,
            oob_fill,
        }))?)
    }

    fn cuTensorMapEncodeIm2col(
        descriptor: Out<Descriptor>,
        data_type: u32,
        tensor_rank: u32,
        address: u64,
        dims: In<u64>,
        strides: In<u64>,
        lower_corner: In<i32>,
        upper_corner: In<i32>,
        channels_per_pixel: u32,
        pixels_per_column: u32,
        element_strides: In<u32>,
        interleave: u32,
        swizzle: u32,
        l2_promotion: u32,
        oob_fill: u32,
    ) {
        let call = runtime::call()?;
        descriptor.require()?;
        let rank = rank(tensor_rank)?;
        // A box has a corner in each spatial dimension: all but the channels and the batch.
        let spatial = rank.checked_sub(2).ok_or(CuResult::INVALID_VALUE)?;
        let map = TensorMap {
            data_type,
            address,
            dims: dims.array(rank)?,
            strides: strides.array(rank - 1)?,
            box_dims: Vec::new(),
            element_strides: element_strides.array(rank)?,
            interleave,
            swizzle,
            l2_promotion,
            oob_fill,
        };
        descriptor.set(call.tensor_map(Operator::TensorMapIm2col {
            map,
            lower_corner: lower_corner.array(spatial)?,
            upper_corner: upper_corner.array(spatial)?,
            channels_per_pixel,
            pixels_per_column,
        })?)
    }
}
