//! Streams and events, and what waits for them without blocking.

use std::collections::HashMap;
use std::rc::Rc;

use rrto_core::api::CuResult;
use rrto_core::operator::{Handle, Value};

use super::completions::{Event, Wait};
use super::context::{CudaContext, Step};
use super::driver::{Answer, Driver, Stream};

/// `CU_STREAM_NON_BLOCKING`: does not wait for the legacy default stream, nor that for it.
const NON_BLOCKING: u32 = 1;

/// A session's streams.
pub(super) struct Streams {
    /// With whether it is non-blocking.
    made: HashMap<Handle, (Stream, bool)>,
    legacy: Stream,
}

/// A program's event. While somebody waits for its latest record, that record's driver event is shared.
pub(super) struct ProgramEvent {
    latest: Rc<Event>,
    flags: u32,
}

impl Streams {
    pub(super) fn new() -> Self {
        Streams { made: HashMap::new(), legacy: Stream::legacy() }
    }

    /// The stream of this handle.
    ///
    /// # Errors
    /// `INVALID_HANDLE`: there is none.
    pub(super) fn get(&self, handle: Handle) -> Answer<&Stream> {
        if handle == Handle::LEGACY_STREAM {
            return Ok(&self.legacy);
        }
        self.made.get(&handle).map(|(stream, _)| stream).ok_or(CuResult::INVALID_HANDLE)
    }

    /// Streams that together wait for everything: the legacy one, which waits for all blocking ones, and every
    /// non-blocking one.
    fn covering(&self) -> impl Iterator<Item = Handle> + '_ {
        let non_blocking = self.made.iter().filter(|(_, (_, non_blocking))| *non_blocking);
        std::iter::once(Handle::LEGACY_STREAM).chain(non_blocking.map(|(handle, _)| *handle))
    }

    pub(super) fn len(&self) -> usize {
        self.made.len()
    }

    /// Destroys all, because the session ends.
    pub(super) fn clear(&mut self, driver: &Driver) {
        for (_, (stream, _)) in self.made.drain() {
            if let Err(error) = driver.stream_destroy(stream) {
                tracing::debug!(%error, "destroying a stream");
            }
        }
    }
}

impl CudaContext {
    /// An event on the stream that completes when everything before it there has.
    pub(super) fn mark(&self, stream: Handle) -> Answer<Wait> {
        let event = self.completions.record(self.streams.get(stream)?)?;
        Ok(Wait { event, stream: Some(stream) })
    }

    pub(super) fn stream_create(&mut self, handle: Handle, flags: u32, priority: i32) -> Step {
        if handle == Handle::LEGACY_STREAM {
            return Err(CuResult::INVALID_VALUE);
        }
        self.check_new(self.streams.made.contains_key(&handle))?;
        let stream = self.driver.stream_create(flags, priority)?;
        self.streams.made.insert(handle, (stream, flags & NON_BLOCKING != 0));
        Ok(Some(Value::None))
    }

    pub(super) fn stream_destroy(&mut self, handle: Handle) -> Step {
        // The blocks of its copies must have their event while there is a stream to record it on.
        self.fence(handle)?;
        let (stream, _) = self.streams.made.remove(&handle).ok_or(CuResult::INVALID_HANDLE)?;
        self.driver.stream_destroy(stream)?;
        Ok(Some(Value::None))
    }

    pub(super) fn stream_query(&self, handle: Handle) -> Step {
        self.driver.stream_query(self.streams.get(handle)?)?;
        Ok(Some(Value::None))
    }

    pub(super) fn stream_synchronize(&mut self, number: u64, handle: Handle) -> Step {
        let done = self.mark(handle)?;
        self.completions.push(number, vec![done], None);
        Ok(None)
    }

    pub(super) fn context_synchronize(&mut self, number: u64) -> Step {
        let all = self.streams.covering().map(|stream| self.mark(stream)).collect::<Answer<Vec<_>>>()?;
        self.completions.push(number, all, None);
        Ok(None)
    }

    pub(super) fn stream_wait(&self, stream: Handle, event: Handle, flags: u32) -> Answer<()> {
        let event = self.event(event)?;
        self.driver.stream_wait(self.streams.get(stream)?, event.latest.raw()?, flags)
    }

    fn event(&self, handle: Handle) -> Answer<&ProgramEvent> {
        self.events.get(&handle).ok_or(CuResult::INVALID_HANDLE)
    }

    pub(super) fn event_create(&mut self, handle: Handle, flags: u32) -> Step {
        self.check_new(self.events.contains_key(&handle))?;
        let latest = Rc::new(Event::new(self.driver, flags)?);
        self.events.insert(handle, ProgramEvent { latest, flags });
        Ok(Some(Value::None))
    }

    /// Whoever waits for it keeps the driver's event until they are done.
    pub(super) fn event_destroy(&mut self, handle: Handle) -> Step {
        self.events.remove(&handle).ok_or(CuResult::INVALID_HANDLE)?;
        Ok(Some(Value::None))
    }

    pub(super) fn event_record(&mut self, handle: Handle, stream: Handle, flags: u32) -> Answer<()> {
        let driver = self.driver;
        let event = self.events.get_mut(&handle).ok_or(CuResult::INVALID_HANDLE)?;
        let stream = self.streams.get(stream)?;
        if Rc::strong_count(&event.latest) > 1 {
            // Somebody waits for the record before this one.
            let next = Rc::new(Event::new(driver, event.flags)?);
            driver.event_record(next.raw()?, stream, flags)?;
            event.latest = next;
            Ok(())
        } else {
            driver.event_record(event.latest.raw()?, stream, flags)
        }
    }

    pub(super) fn event_query(&self, handle: Handle) -> Step {
        self.event(handle)?.latest.query()?;
        Ok(Some(Value::None))
    }

    /// An event that was never recorded counts as completed.
    pub(super) fn event_synchronize(&mut self, number: u64, handle: Handle) -> Step {
        let wait = Wait { event: self.event(handle)?.latest.clone(), stream: None };
        self.completions.push(number, vec![wait], None);
        Ok(None)
    }

    pub(super) fn event_elapsed(&self, start: Handle, end: Handle) -> Step {
        let (start, end) = (self.event(start)?, self.event(end)?);
        let ms = self.driver.event_elapsed_ms(start.latest.raw()?, end.latest.raw()?)?;
        Ok(Some(Value::Milliseconds(ms)))
    }
}
