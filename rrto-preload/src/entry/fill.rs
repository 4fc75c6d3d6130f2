//! Fills (cuMemset). An ordinary fill differs from its asynchronous form in nothing that the program could see.

use super::exports;
use crate::client::{DefaultStream, Fill};
use crate::runtime;
use rrto_core::api::CuResult;

fn fill<T: Into<u32>>(
    address: u64,
    (pitch, width, height): (usize, usize, usize),
    value: T,
    stream: usize,
    default: DefaultStream,
) -> Result<(), CuResult> {
    let call = runtime::call()?;
    let fill = Fill {
        address,
        pitch_bytes: pitch as u64,
        value: value.into(),
        // 1, 2 or 4.
        element_bytes: size_of::<T>() as u8,
        width: width as u64,
        height: height as u64,
    };
    call.fill(fill, call.stream(stream, default)?)
}

/// The eight functions for one type of element.
macro_rules! fills {
    ($type:ty: $($name:ident / $variant:ident, $async:ident / $async_variant:ident, $rows:ident / $rows_variant:ident,
        $rows_async:ident / $rows_async_variant:ident)*) => {
        exports! { $(
            fn $name / $variant(address: u64, value: $type, count: usize) |default| {
                fill(address, (0, count, 1), value, 0, default)
            }
            fn $async / $async_variant(address: u64, value: $type, count: usize, stream: usize) |default| {
                fill(address, (0, count, 1), value, stream, default)
            }
            fn $rows / $rows_variant(
                address: u64, pitch: usize, value: $type, width: usize, height: usize,
            ) |default| {
                fill(address, (pitch, width, height), value, 0, default)
            }
            fn $rows_async / $rows_async_variant(
                address: u64, pitch: usize, value: $type, width: usize, height: usize, stream: usize,
            ) |default| {
                fill(address, (pitch, width, height), value, stream, default)
            }
        )* }
    };
}

fills! { u8:
    cuMemsetD8_v2 / cuMemsetD8_v2_ptds, cuMemsetD8Async / cuMemsetD8Async_ptsz,
    cuMemsetD2D8_v2 / cuMemsetD2D8_v2_ptds, cuMemsetD2D8Async / cuMemsetD2D8Async_ptsz
}
fills! { u16:
    cuMemsetD16_v2 / cuMemsetD16_v2_ptds, cuMemsetD16Async / cuMemsetD16Async_ptsz,
    cuMemsetD2D16_v2 / cuMemsetD2D16_v2_ptds, cuMemsetD2D16Async / cuMemsetD2D16Async_ptsz
}
fills! { u32:
    cuMemsetD32_v2 / cuMemsetD32_v2_ptds, cuMemsetD32Async / cuMemsetD32Async_ptsz,
    cuMemsetD2D32_v2 / cuMemsetD2D32_v2_ptds, cuMemsetD2D32Async / cuMemsetD2D32Async_ptsz
}
