//! Copies.

use super::exports;
use crate::client::{DefaultStream, Until};
use crate::marshal::HostAddress;
use crate::runtime;
use rrto_core::api::CuResult;

fn copy_in(
    dst: u64,
    from: HostAddress,
    bytes: usize,
    (stream, default): (usize, DefaultStream),
    until: Until,
) -> Result<(), CuResult> {
    let call = runtime::call()?;
    call.copy_in(dst, from, bytes as u64, call.stream(stream, default)?, until)
}

fn copy_out(
    to: HostAddress,
    src: u64,
    bytes: usize,
    (stream, default): (usize, DefaultStream),
    until: Until,
) -> Result<(), CuResult> {
    let call = runtime::call()?;
    call.copy_out(to, src, bytes as u64, call.stream(stream, default)?, until)
}

fn copy_device(
    dst: u64,
    src: u64,
    bytes: usize,
    stream: usize,
    default: DefaultStream,
) -> Result<(), CuResult> {
    let call = runtime::call()?;
    call.copy_device(dst, src, bytes as u64, call.stream(stream, default)?)
}

fn copy(
    dst: u64,
    src: u64,
    bytes: usize,
    (stream, default): (usize, DefaultStream),
    until: Until,
) -> Result<(), CuResult> {
    let call = runtime::call()?;
    call.copy_unified(dst, src, bytes as u64, call.stream(stream, default)?, until)
}

exports! {
    fn cuMemcpyHtoD_v2 / cuMemcpyHtoD_v2_ptds(dst: u64, from: HostAddress, bytes: usize) |default| {
        copy_in(dst, from, bytes, (0, default), Until::Done)
    }

    fn cuMemcpyHtoDAsync_v2 / cuMemcpyHtoDAsync_v2_ptsz(
        dst: u64,
        from: HostAddress,
        bytes: usize,
        stream: usize,
    ) |default| {
        copy_in(dst, from, bytes, (stream, default), Until::Queued)
    }

    fn cuMemcpyDtoH_v2 / cuMemcpyDtoH_v2_ptds(to: HostAddress, src: u64, bytes: usize) |default| {
        copy_out(to, src, bytes, (0, default), Until::Done)
    }

    fn cuMemcpyDtoHAsync_v2 / cuMemcpyDtoHAsync_v2_ptsz(
        to: HostAddress,
        src: u64,
        bytes: usize,
        stream: usize,
    ) |default| {
        copy_out(to, src, bytes, (stream, default), Until::Queued)
    }

    fn cuMemcpyDtoD_v2 / cuMemcpyDtoD_v2_ptds(dst: u64, src: u64, bytes: usize) |default| {
        copy_device(dst, src, bytes, 0, default)
    }

    fn cuMemcpyDtoDAsync_v2 / cuMemcpyDtoDAsync_v2_ptsz(dst: u64, src: u64, bytes: usize, stream: usize) |default| {
        copy_device(dst, src, bytes, stream, default)
    }

    fn cuMemcpy / cuMemcpy_ptds(dst: u64, src: u64, bytes: usize) |default| {
        copy(dst, src, bytes, (0, default), Until::Done)
    }

    fn cuMemcpyAsync / cuMemcpyAsync_ptsz(dst: u64, src: u64, bytes: usize, stream: usize) |default| {
        copy(dst, src, bytes, (stream, default), Until::Queued)
    }
}
