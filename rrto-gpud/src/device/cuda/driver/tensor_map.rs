//! Tensor maps. They are computed on the CPU.

use std::ptr;

use rrto_core::api::CuResult;
use rrto_core::operator::{MAX_TENSOR_RANK, TensorMap};

use super::{Answer, Driver, out};

/// Bytes of a tensor map.
const MAP_BYTES: usize = 128;

/// A `CUtensorMap`.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub(in crate::device::cuda) struct RawTensorMap([u8; MAP_BYTES]);

/// The corners of an im2col box and what is in it.
pub(in crate::device::cuda) struct Im2col<'a> {
    pub(in crate::device::cuda) lower_corner: &'a [i32],
    pub(in crate::device::cuda) upper_corner: &'a [i32],
    pub(in crate::device::cuda) channels_per_pixel: u32,
    pub(in crate::device::cuda) pixels_per_column: u32,
}

/// An array with room for every rank, so that the driver reads within it whatever rank it is told.
fn ranked<T: Copy + Default>(values: &[T]) -> Answer<[T; MAX_TENSOR_RANK]> {
    let mut array = [T::default(); MAX_TENSOR_RANK];
    array.get_mut(..values.len()).ok_or(CuResult::INVALID_VALUE)?.copy_from_slice(values);
    Ok(array)
}

impl Driver {
    /// `cuTensorMapEncodeTiled`.
    pub(in crate::device::cuda) fn tensor_map_tiled(&self, map: &TensorMap) -> Answer<[u8; MAP_BYTES]> {
        let (dims, strides) = (ranked(&map.dims)?, ranked(&map.strides)?);
        let (box_dims, element_strides) = (ranked(&map.box_dims)?, ranked(&map.element_strides)?);
        out(RawTensorMap([0; MAP_BYTES]), |raw| {
            // SAFETY: writes the 128 bytes of an aligned CUtensorMap. The rank is at most MAX_TENSOR_RANK, and every
            // array has that many elements. The tensor's address goes into the map; nothing is read there.
            unsafe {
                (self.functions.cuTensorMapEncodeTiled)(
                    raw,
                    map.data_type,
                    map.dims.len() as u32,
                    ptr::with_exposed_provenance_mut(map.address as usize),
                    dims.as_ptr(),
                    strides.as_ptr(),
                    box_dims.as_ptr(),
                    element_strides.as_ptr(),
                    map.interleave,
                    map.swizzle,
                    map.l2_promotion,
                    map.oob_fill,
                )
            }
        })
        .map(|raw| raw.0)
    }

    /// `cuTensorMapEncodeIm2col`.
    pub(in crate::device::cuda) fn tensor_map_im2col(
        &self,
        map: &TensorMap,
        im2col: &Im2col<'_>,
    ) -> Answer<[u8; MAP_BYTES]> {
        let (dims, strides) = (ranked(&map.dims)?, ranked(&map.strides)?);
        let (lower, upper) = (ranked(im2col.lower_corner)?, ranked(im2col.upper_corner)?);
        let element_strides = ranked(&map.element_strides)?;
        out(RawTensorMap([0; MAP_BYTES]), |raw| {
            // SAFETY: as for the tiled form.
            unsafe {
                (self.functions.cuTensorMapEncodeIm2col)(
                    raw,
                    map.data_type,
                    map.dims.len() as u32,
                    ptr::with_exposed_provenance_mut(map.address as usize),
                    dims.as_ptr(),
                    strides.as_ptr(),
                    lower.as_ptr(),
                    upper.as_ptr(),
                    im2col.channels_per_pixel,
                    im2col.pixels_per_column,
                    element_strides.as_ptr(),
                    map.interleave,
                    map.swizzle,
                    map.l2_promotion,
                    map.oob_fill,
                )
            }
        })
        .map(|raw| raw.0)
    }
}
