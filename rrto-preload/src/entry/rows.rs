//! Copies of rows (cuMemcpy2D), which is also how the CUDA runtime copies from host to host.

use rrto_core::api::CuResult;

use super::exports;
use crate::client::{DefaultStream, Rows, Until};
use crate::log;
use crate::marshal::In;
use crate::runtime;

/// Half of a `CUDA_MEMCPY2D`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Side {
    x_bytes: usize,
    y: usize,
    memory_type: u32,
    host: usize,
    device: u64,
    array: usize,
    pitch_bytes: usize,
}

/// `CUDA_MEMCPY2D`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Copy2D {
    from: Side,
    to: Side,
    width_bytes: usize,
    height: usize,
}

impl Side {
    /// Where the first row begins.
    fn start(&self, width_bytes: usize, height: usize) -> Result<u64, CuResult> {
        let base = match self.memory_type {
            // CU_MEMORYTYPE_HOST
            1 => self.host as u64,
            // CU_MEMORYTYPE_DEVICE, CU_MEMORYTYPE_UNIFIED
            2 | 4 => self.device,
            // CU_MEMORYTYPE_ARRAY
            3 => {
                log::error!("the program copies rows from or to an array: not offered");
                return Err(CuResult::NOT_SUPPORTED);
            }
            _ => return Err(CuResult::INVALID_VALUE),
        };
        let row = self.x_bytes.checked_add(width_bytes).ok_or(CuResult::INVALID_VALUE)?;
        if (height > 1 || self.y > 0) && self.pitch_bytes < row {
            return Err(CuResult::INVALID_VALUE);
        }
        let skipped = self.pitch_bytes.checked_mul(self.y).and_then(|rows| rows.checked_add(self.x_bytes));
        let start = skipped.and_then(|skipped| base.checked_add(skipped as u64));
        start.ok_or(CuResult::INVALID_VALUE)
    }
}

fn copy_rows(
    copy: In<Copy2D>,
    (stream, default): (usize, DefaultStream),
    until: Until,
) -> Result<(), CuResult> {
    let call = runtime::call()?;
    let Copy2D { from, to, width_bytes, height } = copy.get()?;
    let rows = Rows {
        dst: to.start(width_bytes, height)?,
        dst_pitch_bytes: to.pitch_bytes as u64,
        src: from.start(width_bytes, height)?,
        src_pitch_bytes: from.pitch_bytes as u64,
        width_bytes: width_bytes as u64,
        height: height as u64,
    };
    call.copy_rows(rows, call.stream(stream, default)?, until)
}

exports! {
    fn cuMemcpy2D_v2 / cuMemcpy2D_v2_ptds(copy: In<Copy2D>) |default| {
        copy_rows(copy, (0, default), Until::Done)
    }

    fn cuMemcpy2DUnaligned_v2 / cuMemcpy2DUnaligned_v2_ptds(copy: In<Copy2D>) |default| {
        copy_rows(copy, (0, default), Until::Done)
    }

    fn cuMemcpy2DAsync_v2 / cuMemcpy2DAsync_v2_ptsz(copy: In<Copy2D>, stream: usize) |default| {
        copy_rows(copy, (stream, default), Until::Queued)
    }
}
