//! Streams.

use super::exports;
use crate::client::visible;
use crate::marshal::Out;
use crate::runtime;
use rrto_core::api::CuResult;

/// CU_STREAM_CAPTURE_STATUS_NONE: graphs are not offered, so nothing captures.
const NOT_CAPTURING: u32 = 0;

/// Says that a stream does not capture.
fn capture_status(stream: usize, status: &Out<u32>) -> Result<(), CuResult> {
    let call = runtime::call()?;
    status.require()?;
    call.client().check_stream(stream)?;
    status.set(NOT_CAPTURING)
}

exports! {
    fn cuStreamCreate(stream: Out<usize>, flags: u32) {
        let call = runtime::call()?;
        stream.require()?;
        stream.set(visible(call.create_stream(flags, 0)?))
    }

    fn cuStreamCreateWithPriority(stream: Out<usize>, flags: u32, priority: i32) {
        let call = runtime::call()?;
        stream.require()?;
        stream.set(visible(call.create_stream(flags, priority)?))
    }

    fn cuStreamDestroy(stream: usize) { runtime::object_call()?.destroy_stream(stream) }
    fn cuStreamDestroy_v2(stream: usize) { runtime::object_call()?.destroy_stream(stream) }

    fn cuStreamQuery / cuStreamQuery_ptsz(stream: usize) |default| {
        let call = runtime::call()?;
        call.stream_query(call.stream(stream, default)?)
    }

    fn cuStreamSynchronize / cuStreamSynchronize_ptsz(stream: usize) |default| {
        let call = runtime::call()?;
        call.stream_synchronize(call.stream(stream, default)?)
    }

    fn cuStreamWaitEvent / cuStreamWaitEvent_ptsz(stream: usize, event: usize, flags: u32) |default| {
        let call = runtime::call()?;
        call.wait_event(call.stream(stream, default)?, event, flags)
    }

    fn cuStreamGetFlags / cuStreamGetFlags_ptsz(stream: usize, flags: Out<u32>) |default| {
        let call = runtime::call()?;
        flags.require()?;
        flags.set(call.stream_flags(call.stream(stream, default)?)?)
    }

    fn cuStreamGetPriority / cuStreamGetPriority_ptsz(stream: usize, priority: Out<i32>) |default| {
        let call = runtime::call()?;
        priority.require()?;
        priority.set(call.stream_priority(call.stream(stream, default)?)?)
    }

    fn cuStreamGetId / cuStreamGetId_ptsz(stream: usize, id: Out<u64>) |default| {
        let call = runtime::call()?;
        id.require()?;
        id.set(call.stream_id(call.stream(stream, default)?))
    }

    fn cuStreamGetDevice / cuStreamGetDevice_ptsz(stream: usize, device: Out<i32>) |default| {
        let call = runtime::call()?;
        device.require()?;
        call.stream(stream, default)?;
        device.set(0)
    }

    fn cuStreamGetCtx / cuStreamGetCtx_ptsz(stream: usize, context: Out<usize>) |default| {
        let call = runtime::call()?;
        context.require()?;
        context.set(call.stream_context(call.stream(stream, default)?)?.as_raw())
    }

    fn cuStreamGetCtx_v2 / cuStreamGetCtx_v2_ptsz(stream: usize, context: Out<usize>, green: Out<usize>) |default| {
        let call = runtime::call()?;
        context.set_if_wanted(call.stream_context(call.stream(stream, default)?)?.as_raw());
        green.set_if_wanted(0);
        Ok(())
    }

    fn cuStreamIsCapturing / cuStreamIsCapturing_ptsz(stream: usize, status: Out<u32>) |_default| {
        capture_status(stream, &status)
    }

    // What a stream that does not capture answers is its status alone; the other places are left as they are.

    fn cuStreamGetCaptureInfo / cuStreamGetCaptureInfo_ptsz(
        stream: usize,
        status: Out<u32>,
        _id: Out<u64>,
    ) |_default| {
        capture_status(stream, &status)
    }

    fn cuStreamGetCaptureInfo_v2 / cuStreamGetCaptureInfo_v2_ptsz(
        stream: usize,
        status: Out<u32>,
        _id: Out<u64>,
        _graph: Out<usize>,
        _dependencies: Out<usize>,
        _dependency_count: Out<usize>,
    ) |_default| {
        capture_status(stream, &status)
    }

    fn cuStreamGetCaptureInfo_v3 / cuStreamGetCaptureInfo_v3_ptsz(
        stream: usize,
        status: Out<u32>,
        _id: Out<u64>,
        _graph: Out<usize>,
        _dependencies: Out<usize>,
        _edges: Out<usize>,
        _dependency_count: Out<usize>,
    ) |_default| {
        capture_status(stream, &status)
    }
}
