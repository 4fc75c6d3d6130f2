//! Streams and events, as dependencies between tasks.
//!
//! A task on a stream depends on the one before it there. The legacy default stream and the streams that are
//! not non-blocking wait for each other (CUDA C++ Programming Guide, "Legacy Default Stream"): a task on the
//! legacy stream depends on the last of each blocking stream, and what comes on one of them afterwards
//! depends on it.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use rrto_core::api::CuResult;
use rrto_core::operator::{Handle, Value};

use super::context::{CpuContext, Step};
use super::queue::{Shared, Task};

/// `CU_STREAM_NON_BLOCKING`.
const NON_BLOCKING: u32 = 1;
/// `CU_EVENT_DISABLE_TIMING`.
const DISABLE_TIMING: u32 = 2;
/// `CU_EVENT_BLOCKING_SYNC`, `DISABLE_TIMING` and `INTERPROCESS`: the flags there are.
const EVENT_FLAGS: u32 = 7;
/// `CU_EVENT_INTERPROCESS`.
const INTERPROCESS: u32 = 4;

#[derive(Debug, Default)]
struct Stream {
    last: Option<Arc<Task>>,
    non_blocking: bool,
}

/// A session's streams.
#[derive(Debug, Default)]
pub(super) struct Streams {
    made: HashMap<Handle, Stream>,
    legacy: Stream,
    /// The last tasks of streams that were destroyed, with whether they were blocking.
    left_behind: Vec<(Arc<Task>, bool)>,
}

impl Streams {
    pub(super) fn len(&self) -> usize {
        self.made.len()
    }

    fn get(&self, handle: Handle) -> Result<&Stream, CuResult> {
        match handle {
            Handle::LEGACY_STREAM => Ok(&self.legacy),
            other => self.made.get(&other).ok_or(CuResult::INVALID_HANDLE),
        }
    }

    /// What a task on the stream has to wait for.
    fn before(&self, handle: Handle) -> Result<Vec<Arc<Task>>, CuResult> {
        let stream = self.get(handle)?;
        let mut before: Vec<&Arc<Task>> = stream.last.iter().collect();
        if handle == Handle::LEGACY_STREAM {
            before.extend(self.made.values().filter(|s| !s.non_blocking).filter_map(|s| s.last.as_ref()));
            before.extend(self.left_behind.iter().filter(|(_, blocking)| *blocking).map(|(task, _)| task));
        } else if !stream.non_blocking {
            before.extend(&self.legacy.last);
        }
        Ok(before.into_iter().filter(|task| !task.is_done()).cloned().collect())
    }

    /// The last tasks of everything.
    fn all(&self) -> Vec<Arc<Task>> {
        let made = self.made.values().filter_map(|s| s.last.as_ref());
        let others = self.legacy.last.iter().chain(self.left_behind.iter().map(|(task, _)| task));
        made.chain(others).filter(|task| !task.is_done()).cloned().collect()
    }

    fn set_last(&mut self, handle: Handle, task: Arc<Task>) {
        let stream = match handle {
            Handle::LEGACY_STREAM => Some(&mut self.legacy),
            other => self.made.get_mut(&other),
        };
        if let Some(stream) = stream {
            stream.last = Some(task);
        }
    }
}

/// A program's event.
#[derive(Debug, Default)]
pub(super) struct Event {
    flags: u32,
    latest: Option<Record>,
}

/// A point in a stream.
#[derive(Clone, Debug)]
struct Record {
    task: Arc<Task>,
    passed: Arc<OnceLock<Instant>>,
}

impl CpuContext {
    /// Puts work on a stream.
    pub(super) fn enqueue(
        &mut self,
        stream: Handle,
        work: impl FnOnce(&Shared) + Send + 'static,
    ) -> Result<Arc<Task>, CuResult> {
        let before = self.streams.before(stream)?;
        let task = self.queue.submit(&before, work)?;
        self.streams.set_last(stream, Arc::clone(&task));
        Ok(task)
    }

    /// Ends a pending operator when tasks are done: with success, or the context's fault.
    fn finish_after(&mut self, number: u64, after: &[Arc<Task>]) -> Step {
        self.queue.submit(after, move |shared| {
            let outcome = shared.fault().map_or(Ok(Value::None), Err);
            shared.finish(number, outcome);
        })?;
        self.pending += 1;
        Ok(None)
    }

    pub(super) fn check_stream(&self, stream: Handle) -> Result<(), CuResult> {
        self.streams.get(stream).map(drop)
    }

    pub(super) fn stream_create(&mut self, handle: Handle, flags: u32) -> Step {
        if handle == Handle::LEGACY_STREAM || flags & !NON_BLOCKING != 0 {
            return Err(CuResult::INVALID_VALUE);
        }
        self.check_new(self.streams.made.contains_key(&handle))?;
        self.streams.made.insert(handle, Stream { last: None, non_blocking: flags & NON_BLOCKING != 0 });
        Ok(Some(Value::None))
    }

    /// What is on the stream still runs.
    pub(super) fn stream_destroy(&mut self, handle: Handle) -> Step {
        let stream = self.streams.made.remove(&handle).ok_or(CuResult::INVALID_HANDLE)?;
        self.streams.left_behind.retain(|(task, _)| !task.is_done());
        self.streams.left_behind.extend(stream.last.map(|task| (task, !stream.non_blocking)));
        Ok(Some(Value::None))
    }

    pub(super) fn stream_query(&self, handle: Handle) -> Step {
        match self.streams.before(handle)?.is_empty() {
            true => Ok(Some(Value::None)),
            false => Err(CuResult::NOT_READY),
        }
    }

    pub(super) fn stream_synchronize(&mut self, number: u64, handle: Handle) -> Step {
        let before = self.streams.before(handle)?;
        self.finish_after(number, &before)
    }

    pub(super) fn context_synchronize(&mut self, number: u64) -> Step {
        let all = self.streams.all();
        self.finish_after(number, &all)
    }

    /// An event that was never recorded is no hindrance.
    pub(super) fn stream_wait(&mut self, stream: Handle, event: Handle) -> Step {
        let record = self.event(event)?.latest.clone();
        let mut before = self.streams.before(stream)?;
        if let Some(record) = record {
            before.push(record.task);
            let task = self.queue.submit(&before, |_| {})?;
            self.streams.set_last(stream, task);
        }
        Ok(Some(Value::None))
    }

    fn event(&self, handle: Handle) -> Result<&Event, CuResult> {
        self.events.get(&handle).ok_or(CuResult::INVALID_HANDLE)
    }

    pub(super) fn event_create(&mut self, handle: Handle, flags: u32) -> Step {
        self.check_new(self.events.contains_key(&handle))?;
        if flags & !EVENT_FLAGS != 0 || (flags & INTERPROCESS != 0 && flags & DISABLE_TIMING == 0) {
            return Err(CuResult::INVALID_VALUE);
        }
        self.events.insert(handle, Event { flags, latest: None });
        Ok(Some(Value::None))
    }

    pub(super) fn event_destroy(&mut self, handle: Handle) -> Step {
        self.events.remove(&handle).map(|_| Some(Value::None)).ok_or(CuResult::INVALID_HANDLE)
    }

    pub(super) fn event_record(&mut self, handle: Handle, stream: Handle) -> Step {
        self.event(handle)?;
        let passed = Arc::new(OnceLock::new());
        let when = Arc::clone(&passed);
        let task = self.enqueue(stream, move |_| {
            when.get_or_init(Instant::now);
        })?;
        if let Some(event) = self.events.get_mut(&handle) {
            event.latest = Some(Record { task, passed });
        }
        Ok(Some(Value::None))
    }

    pub(super) fn event_query(&self, handle: Handle) -> Step {
        match &self.event(handle)?.latest {
            Some(record) if !record.task.is_done() => Err(CuResult::NOT_READY),
            _ => Ok(Some(Value::None)),
        }
    }

    pub(super) fn event_synchronize(&mut self, number: u64, handle: Handle) -> Step {
        let latest: Vec<_> =
            self.event(handle)?.latest.iter().map(|record| Arc::clone(&record.task)).collect();
        self.finish_after(number, &latest)
    }

    pub(super) fn event_elapsed(&self, start: Handle, end: Handle) -> Step {
        let passed = |handle| {
            let event = self.event(handle)?;
            let record = event.latest.as_ref().filter(|_| event.flags & DISABLE_TIMING == 0);
            let record = record.ok_or(CuResult::INVALID_HANDLE)?;
            record.passed.get().copied().ok_or(CuResult::NOT_READY)
        };
        let (start, end): (Instant, Instant) = (passed(start)?, passed(end)?);
        let forward = end.saturating_duration_since(start).as_secs_f64();
        let backward = start.saturating_duration_since(end).as_secs_f64();
        Ok(Some(Value::Milliseconds(((forward - backward) * 1e3) as f32)))
    }
}
