//! Events.

use super::exports;
use crate::client::visible;
use crate::marshal::Out;
use crate::runtime;
use rrto_core::api::CuResult;

fn elapsed(ms: &Out<f32>, start: usize, end: usize) -> Result<(), CuResult> {
    let call = runtime::call()?;
    ms.require()?;
    ms.set(call.elapsed_ms(start, end)?)
}

exports! {
    fn cuEventCreate(event: Out<usize>, flags: u32) {
        let call = runtime::call()?;
        event.require()?;
        event.set(visible(call.create_event(flags)?))
    }

    fn cuEventDestroy(event: usize) { runtime::call()?.destroy_event(event) }
    fn cuEventDestroy_v2(event: usize) { runtime::call()?.destroy_event(event) }
    fn cuEventQuery(event: usize) { runtime::call()?.event_query(event) }
    fn cuEventSynchronize(event: usize) { runtime::call()?.event_synchronize(event) }
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
