//! What comes after a wait comes after what was waited for, also on other streams.
//!
//! A wait behind nothing but copies to the device is answered without the server, and so is the end of a copy that CUDA waits for
//! (`cuMemcpyHtoD`): the program's buffer has been read. But a program that has waited may use the bytes on any stream, and the server
//! gives each operator to its stream when it comes. So the order travels instead of the wait: before a stream's first
//! work after it stands a wait for an event of the stream that was waited for. A program whose work is all on one
//! stream sends nothing of the kind.
//!
//! The legacy default stream and the blocking ones wait for each other by themselves (CUDA C++ Programming Guide, "Default
//! Stream").

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rrto_core::api::CuResult;
use rrto_core::operator::{Handle, Operator};

use super::Call;
use super::event::DISABLE_TIMING;

/// The streams that work, and what each has to come after.
#[derive(Debug, Default)]
pub(super) struct Fences {
    /// The handle, and one, of the stream whose next work needs no look: nothing has changed since its last. A program with one stream
    /// never takes the lock for a launch.
    clear: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By handle, so that equal programs send equal orders.
    streams: BTreeMap<Handle, Stream>,
    /// How many copies to the device there have been.
    copies: u64,
}

/// A stream that has had work.
#[derive(Debug, Default)]
struct Stream {
    is_blocking: bool,
    /// The latest copy to the device that nobody has waited for.
    copied: Option<u64>,
    fence: Option<Fence>,
    /// Records its fences; made for the first one.
    event: Option<Handle>,
}

/// The program takes all that the stream had to do for done, and the server may still be at it.
#[derive(Debug)]
struct Fence {
    /// The copy that it was made for.
    copy: u64,
    /// The stream's event has been recorded behind it.
    is_recorded: bool,
    /// Streams that come after it already.
    passed: Vec<Handle>,
}

/// What a program waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Waited {
    /// All work of a stream.
    Stream(Handle),
    /// All work.
    All,
}

impl Waited {
    /// Whether all work of a stream is over with it. The legacy stream's comes after that of the blocking ones.
    fn covers(self, handle: Handle, stream: &Stream) -> bool {
        match self {
            Waited::All => true,
            Waited::Stream(Handle::LEGACY_STREAM) => stream.is_blocking,
            Waited::Stream(waited) => handle == waited,
        }
    }
}

/// How far copies have got. A wait is for none that come later: from another thread, or after the event that it is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Position(u64);

impl Fences {
    /// Where copies are now.
    pub(super) fn position(&self) -> Position {
        Position(self.lock().copies)
    }

    /// A wait for what there was at `from` was answered by the server: it is done, and nothing need come after it.
    pub(super) fn handle_done(&self, waited: Waited, from: Position) {
        for (_, stream) in
            self.lock().streams.iter_mut().filter(|(handle, stream)| waited.covers(**handle, stream))
        {
            stream.copied = stream.copied.filter(|copy| *copy > from.0);
            stream.fence.take_if(|fence| fence.copy <= from.0);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic cannot leave it half changed in a way that matters: an order too many does no harm.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What has to be sent before work on `stream`.
    fn orders(&mut self, stream: Handle, new_handle: impl Fn() -> Handle) -> Vec<Operator> {
        let mut orders = Vec::new();
        if self.streams.len() < 2 {
            return orders;
        }
        let is_blocking = self.streams.get(&stream).is_some_and(|stream| stream.is_blocking);
        for (&other, state) in &mut self.streams {
            let Stream { is_blocking: other_blocks, fence: Some(fence), event, .. } = state else { continue };
            let has_legacy = [stream, other].contains(&Handle::LEGACY_STREAM);
            let waits_itself = stream != other && has_legacy && is_blocking && *other_blocks;
            if waits_itself || fence.passed.contains(&stream) {
                continue;
            }
            let event = *event.get_or_insert_with(|| {
                let event = new_handle();
                orders.push(Operator::EventCreate { event, flags: DISABLE_TIMING });
                event
            });
            // Before the stream's own next work, so that nobody has to wait for that too.
            if !std::mem::replace(&mut fence.is_recorded, true) {
                orders.push(Operator::EventRecord { event, stream: other, flags: 0 });
            }
            if stream != other {
                orders.push(Operator::StreamWaitEvent { stream, event, flags: 0 });
                fence.passed.push(stream);
            }
        }
        orders
    }
}

impl Call<'_> {
    /// Sends what has to come before an operator that is about to be sent, by the stream that it works on.
    #[inline]
    pub(super) fn order(&self, work_stream: Option<Handle>) -> Result<(), CuResult> {
        match work_stream {
            Some(stream) if self.client.fences.clear.load(Ordering::Acquire) != stream.0 + 1 => {
                self.order_stream(stream)
            }
            Some(_) | None => Ok(()),
        }
    }

    fn order_stream(&self, stream: Handle) -> Result<(), CuResult> {
        let client = self.client;
        let is_blocking = client.is_blocking(stream);
        // The one lock that is held while operators are sent: work of another thread on the same stream must not come before
        // its orders. The transport thread never takes it.
        let mut state = client.fences.lock();
        state.streams.entry(stream).or_insert_with(|| Stream { is_blocking, ..Stream::default() });
        for order in state.orders(stream, || client.new_handle()) {
            self.send(order)?;
        }
        client.fences.clear.store(stream.0 + 1, Ordering::Release);
        Ok(())
    }

    /// A wait was answered here.
    pub(super) fn pass_over(&self, waited: Waited) {
        // A blocking stream may be behind the legacy stream, even with no work of its own.
        let may_cover_legacy = match waited {
            Waited::Stream(stream) => self.client.is_blocking(stream),
            Waited::All => true,
        };
        let mut state = self.client.fences.lock();
        let mut is_fenced = false;
        for (handle, stream) in &mut state.streams {
            let is_covered =
                waited.covers(*handle, stream) || (may_cover_legacy && *handle == Handle::LEGACY_STREAM);
            if is_covered && let Some(copy) = stream.copied.take() {
                stream.fence = Some(Fence { copy, is_recorded: false, passed: Vec::new() });
                is_fenced = true;
            }
        }
        if is_fenced && state.streams.len() > 1 {
            self.client.fences.clear.store(0, Ordering::Release);
        }
    }

    /// A copy to the device was sent on `stream`.
    pub(super) fn note_copied(&self, stream: Handle) {
        let mut state = self.client.fences.lock();
        state.copies += 1;
        let copy = state.copies;
        if let Some(stream) = state.streams.get_mut(&stream) {
            stream.copied = Some(copy);
        }
    }

    /// A stream is about to be destroyed. What it has still to do the legacy stream has to come after, and stands for.
    pub(super) fn pass_fence_on(&self, stream: Handle) -> Result<(), CuResult> {
        let mut state = self.client.fences.lock();
        self.client.fences.clear.store(0, Ordering::Release);
        let Some(mut gone) = state.streams.remove(&stream) else { return Ok(()) };
        for fence in state.streams.values_mut().filter_map(|stream| stream.fence.as_mut()) {
            fence.passed.retain(|passed| *passed != stream);
        }
        let copy = gone.fence.as_ref().map(|fence| fence.copy).max(gone.copied);
        let event = match (gone.event.take(), copy) {
            (None, None) => return Ok(()),
            (Some(event), _) => event,
            (None, Some(_)) => {
                let event = self.client.new_handle();
                self.send(Operator::EventCreate { event, flags: DISABLE_TIMING })?;
                event
            }
        };
        if let Some(copy) = copy {
            let legacy = Handle::LEGACY_STREAM;
            self.send(Operator::EventRecord { event, stream, flags: 0 })?;
            self.send(Operator::StreamWaitEvent { stream: legacy, event, flags: 0 })?;
            let heir = state
                .streams
                .entry(legacy)
                .or_insert_with(|| Stream { is_blocking: true, ..Stream::default() });
            heir.copied = heir.copied.max(gone.copied);
            if gone.fence.is_some() {
                let copy = heir.fence.as_ref().map_or(copy, |fence| fence.copy.max(copy));
                heir.fence = Some(Fence { copy, is_recorded: false, passed: Vec::new() });
            }
        }
        self.send(Operator::EventDestroy { event }).map(|_| ())
    }
}
