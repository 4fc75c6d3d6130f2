//! Streams.

use rrto_core::api::CuResult;
use rrto_core::operator::{Handle, Operator};

use super::fences::Waited;
use super::{Call, Client, done, handles};
use crate::context::ContextHandle;
use crate::lane;

/// CU_STREAM_NON_BLOCKING.
const NON_BLOCKING: u32 = 1;
/// CU_STREAM_LEGACY.
const LEGACY: usize = 1;
/// CU_STREAM_PER_THREAD.
const PER_THREAD: usize = 2;
/// What a null stream means: the difference between a function and its `_ptsz` or `_ptds` variant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DefaultStream {
    /// The legacy default stream.
    Legacy,
    /// The calling thread's own default stream.
    PerThread,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Stream {
    pub(super) context: ContextHandle,
    flags: u32,
    priority: i32,
}

impl Client {
    /// The stream that a program means, if it names one of its own or the legacy one. `None`: the lane's own.
    fn named_stream(&self, stream: usize, default: DefaultStream) -> Result<Option<Handle>, CuResult> {
        match (stream, default) {
            (0, DefaultStream::Legacy) | (LEGACY, _) => Ok(Some(Handle::LEGACY_STREAM)),
            (0, DefaultStream::PerThread) | (PER_THREAD, _) => Ok(None),
            (own, _) => {
                let own = handles::handle(own)?;
                self.streams.check(own)?;
                Ok(Some(own))
            }
        }
    }

    /// Fails for what is no stream; cuStreamIsCapturing asks only that.
    pub(crate) fn check_stream(&self, stream: usize) -> Result<(), CuResult> {
        self.named_stream(stream, DefaultStream::Legacy).map(|_| ())
    }
}

impl Client {
    /// Whether the legacy stream and this one wait for each other. One that is gone does no work.
    pub(super) fn is_blocking(&self, stream: Handle) -> bool {
        stream == Handle::LEGACY_STREAM
            || self.streams.look(stream, |stream| stream.flags & NON_BLOCKING == 0).unwrap_or(false)
    }

    /// A host thread has ended: its own default streams go.
    pub(crate) fn end_lane(&self, lane: u32) {
        let mut ended = Vec::new();
        self.lane_streams().retain(|(context, owner), stream| {
            if *owner == lane {
                ended.push((*context, *stream));
            }
            *owner != lane
        });
        for (context, stream) in ended {
            // There is nobody to tell an error.
            let _ = self.call(lane, context).and_then(|call| call.destroy_stream(handles::visible(stream)));
        }
    }
}

impl Call<'_> {
    /// The stream that a program means. A lane's own default stream is made when it is first meant.
    pub(crate) fn stream(&self, stream: usize, default: DefaultStream) -> Result<Handle, CuResult> {
        if let Some(named) = self.client.named_stream(stream, default)? {
            return Ok(named);
        }
        let key = (self.context, self.lane);
        // Only this lane makes it, so there is no race to lose between the two locks.
        let known = self.client.lane_streams().get(&key).copied();
        if let Some(known) = known {
            return Ok(known);
        }
        let made = self.create_stream(0, 0)?;
        lane::watch();
        self.client.lane_streams().insert(key, made);
        Ok(made)
    }

    /// cuStreamCreateWithPriority.
    pub(crate) fn create_stream(&self, flags: u32, priority: i32) -> Result<Handle, CuResult> {
        if flags & !NON_BLOCKING != 0 {
            return Err(CuResult::INVALID_VALUE);
        }
        let (least, greatest) = self.client.device.stream_priorities();
        // The greatest priority is the least number.
        let priority = priority.min(least).max(greatest);
        let stream = self.client.new_handle();
        self.client.streams.insert(stream, Stream { context: self.context, flags, priority });
        self.send(Operator::StreamCreate { stream, flags, priority }).inspect_err(|_| {
            let _ = self.client.streams.remove(stream);
        })?;
        Ok(stream)
    }

    /// cuStreamDestroy. The default streams cannot be destroyed.
    pub(crate) fn destroy_stream(&self, stream: usize) -> Result<(), CuResult> {
        let stream = handles::handle(stream)?;
        self.client.streams.remove(stream)?;
        self.pass_fence_on(stream)?;
        self.send(Operator::StreamDestroy { stream }).map(done)
    }

    /// cuStreamSynchronize.
    pub(crate) fn stream_synchronize(&self, stream: Handle) -> Result<(), CuResult> {
        self.synchronise(Operator::StreamSynchronize { stream }, stream)
    }

    /// cuStreamQuery: NOT_READY is an error here, as in CUDA.
    pub(crate) fn stream_query(&self, stream: Handle) -> Result<(), CuResult> {
        self.synchronise(Operator::StreamQuery { stream }, stream)
    }

    /// cuCtxSynchronize.
    pub(crate) fn context_synchronize(&self) -> Result<(), CuResult> {
        let last = self.client.deliveries.latest();
        self.await_work(Operator::ContextSynchronize, Waited::All, self.client.fences.position())?;
        self.arrived(Handle::LEGACY_STREAM, last)
    }

    /// cuStreamGetFlags.
    pub(crate) fn stream_flags(&self, stream: Handle) -> Result<u32, CuResult> {
        self.of_stream(stream, 0, |stream| stream.flags)
    }

    /// cuStreamGetPriority.
    pub(crate) fn stream_priority(&self, stream: Handle) -> Result<i32, CuResult> {
        self.of_stream(stream, 0, |stream| stream.priority)
    }

    /// cuStreamGetCtx.
    pub(crate) fn stream_context(&self, stream: Handle) -> Result<ContextHandle, CuResult> {
        self.of_stream(stream, self.context, |stream| stream.context)
    }

    /// cuStreamGetId.
    pub(crate) fn stream_id(&self, stream: Handle) -> u64 {
        // The legacy stream's is 0, which no other handle has.
        stream.0
    }

    fn of_stream<R>(&self, stream: Handle, legacy: R, own: impl FnOnce(&Stream) -> R) -> Result<R, CuResult> {
        if stream == Handle::LEGACY_STREAM { Ok(legacy) } else { self.client.streams.look(stream, own) }
    }
}
