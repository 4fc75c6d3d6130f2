//! Streams and events, in the current context.

use std::ffi::c_uint;
use std::ptr;

use cudarc::driver::sys::{CUevent, CUstream};

use super::{Answer, Driver, check, out};

/// `CU_STREAM_LEGACY`.
const LEGACY: usize = 1;

/// A `CUstream`.
pub(in crate::device::cuda) struct Stream(CUstream);

/// A `CUevent`.
pub(in crate::device::cuda) struct Event(CUevent);

impl Stream {
    /// The legacy default stream of whatever context is current.
    pub(in crate::device::cuda) fn legacy() -> Stream {
        Stream(ptr::without_provenance_mut(LEGACY))
    }

    pub(super) fn raw(&self) -> CUstream {
        self.0
    }
}

impl Driver {
    /// `cuStreamCreateWithPriority`.
    pub(in crate::device::cuda) fn stream_create(&self, flags: c_uint, priority: i32) -> Answer<Stream> {
        out(ptr::null_mut(), |stream| {
            // SAFETY: writes one handle; the driver checks the flags.
            unsafe { (self.functions.cuStreamCreateWithPriority)(stream, flags, priority) }
        })
        .map(Stream)
    }

    /// `cuStreamDestroy`: work that is on it still completes.
    pub(in crate::device::cuda) fn stream_destroy(&self, stream: Stream) -> Answer<()> {
        // SAFETY: the stream exists, and its handle ends here.
        check(unsafe { (self.functions.cuStreamDestroy_v2)(stream.0) })
    }

    /// `cuStreamQuery`.
    pub(in crate::device::cuda) fn stream_query(&self, stream: &Stream) -> Answer<()> {
        // SAFETY: the stream exists.
        check(unsafe { (self.functions.cuStreamQuery)(stream.0) })
    }

    /// `cuStreamWaitEvent`.
    pub(in crate::device::cuda) fn stream_wait(
        &self,
        stream: &Stream,
        event: &Event,
        flags: u32,
    ) -> Answer<()> {
        // SAFETY: both exist; the driver checks the flags.
        check(unsafe { (self.functions.cuStreamWaitEvent)(stream.0, event.0, flags) })
    }

    /// `cuEventCreate`.
    pub(in crate::device::cuda) fn event_create(&self, flags: u32) -> Answer<Event> {
        // SAFETY: writes one handle; the driver checks the flags.
        out(ptr::null_mut(), |event| unsafe { (self.functions.cuEventCreate)(event, flags) }).map(Event)
    }

    /// `cuEventDestroy`: a wait that is already on a stream still ends.
    pub(in crate::device::cuda) fn event_destroy(&self, event: Event) -> Answer<()> {
        // SAFETY: the event exists, and its handle ends here.
        check(unsafe { (self.functions.cuEventDestroy_v2)(event.0) })
    }

    /// `cuEventRecordWithFlags`.
    pub(in crate::device::cuda) fn event_record(
        &self,
        event: &Event,
        stream: &Stream,
        flags: u32,
    ) -> Answer<()> {
        // SAFETY: both exist; the driver checks the flags.
        check(unsafe { (self.functions.cuEventRecordWithFlags)(event.0, stream.0, flags) })
    }

    /// `cuEventQuery`.
    pub(in crate::device::cuda) fn event_query(&self, event: &Event) -> Answer<()> {
        // SAFETY: the event exists.
        check(unsafe { (self.functions.cuEventQuery)(event.0) })
    }

    /// `cuEventSynchronize`: blocks this thread.
    pub(in crate::device::cuda) fn event_synchronize(&self, event: &Event) -> Answer<()> {
        // SAFETY: the event exists.
        check(unsafe { (self.functions.cuEventSynchronize)(event.0) })
    }

    /// `cuEventElapsedTime`.
    pub(in crate::device::cuda) fn event_elapsed_ms(&self, start: &Event, end: &Event) -> Answer<f32> {
        // SAFETY: writes one float; both exist.
        out(0.0, |ms| unsafe { (self.functions.cuEventElapsedTime)(ms, start.0, end.0) })
    }
}
