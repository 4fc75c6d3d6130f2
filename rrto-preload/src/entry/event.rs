//! Events.

use super::exports;
use crate::client::visible;
use crate::marshal::Out;
use crate::runtime;
use rrto_core::api::CuResult;

fn elapsed(ms: &Out<f32>, start: usize, end: usize) -> Result<(), CuResult> {
    let call = runtime::object_call()?;
    let elapsed_ms = call.elapsed_ms(start, end)?;
    // So the driver calls it.
    ms.set(elapsed_ms).map_err(|_| CuResult::INVALID_HANDLE)
}

exports! {
    fn cuEventCreate(event: Out<usize>, flags: u32) {
        let call = runtime::call()?;
        event.require()?;
        event.set(visible(call.create_event(flags)?))
    }

    fn cuEventDestroy(event: usize) { runtime::object_call()?.destroy_event(event) }
    fn cuEventDestroy_v2(event: usize) { runtime::object_call()?.destroy_event(event) }
    fn cuEventQuery(event: usize) { runtime::object_call()?.event_query(event) }
    fn cuEventSynchronize(event: usize) { runtime::object_call()?.event_synchronize(event) }
    fn cuEventElapsedTime(ms: Out<f32>, start: usize, end: usize) { elapsed(&ms, start, end) }
    fn cuEventElapsedTime_v2(ms: Out<f32>, start: usize, end: usize) { elapsed(&ms, start, end) }

    fn cuEventRecord / cuEventRecord_ptsz(event: usize, stream: usize) |default| {
        let call = runtime::call()?;
        call.record_event(event, call.stream(stream, default)?, 0)
    }

    fn cuEventRecordWithFlags / cuEventRecordWithFlags_ptsz(event: usize, stream: usize, flags: u32) |default| {
        let call = runtime::call()?;
        call.record_event(event, call.stream(stream, default)?, flags)
    }
}
