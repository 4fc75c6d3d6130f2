//! Events.

use rrto_core::api::CuResult;
use rrto_core::operator::{Handle, Operator, Value};

use super::fences::{Position, Waited};
use super::{Call, answer, done, handles};
use crate::context::ContextHandle;

/// CU_EVENT_BLOCKING_SYNC, DISABLE_TIMING and INTERPROCESS.
const FLAGS: u32 = 0x07;
/// CU_EVENT_DISABLE_TIMING.
pub(super) const DISABLE_TIMING: u32 = 0x02;
/// CU_EVENT_INTERPROCESS.
const INTERPROCESS: u32 = 0x04;

#[derive(Clone, Copy, Debug)]
pub(super) struct Event {
    pub(super) context: ContextHandle,
    flags: u32,
    record: Option<EventRecord>,
}

/// The latest record of an event.
#[derive(Clone, Copy, Debug)]
struct EventRecord {
    stream: Handle,
    /// The latest copy to the host that was outstanding then: it may be among what the event waits for.
    last_copy: Option<u64>,
    /// Which copies to the device it comes after.
    position: Position,
}

/// Refuses flags. CU_EVENT_RECORD_EXTERNAL and CU_EVENT_WAIT_EXTERNAL are for streams that capture, and none does.
fn check_external(flags: u32) -> Result<(), CuResult> {
    match flags {
        0 => Ok(()),
        1 => Err(CuResult::ILLEGAL_STATE),
        _ => Err(CuResult::INVALID_VALUE),
    }
}

impl Call<'_> {
    /// cuEventCreate.
    pub(crate) fn create_event(&self, flags: u32) -> Result<Handle, CuResult> {
        let is_interprocess = flags & INTERPROCESS != 0;
        if flags & !FLAGS != 0 || (is_interprocess && flags & DISABLE_TIMING == 0) {
            return Err(CuResult::INVALID_VALUE);
        }
        if is_interprocess {
            return Err(CuResult::NOT_SUPPORTED);
        }
        let event = self.client.new_handle();
        self.client.events.insert(event, Event { context: self.context, flags, record: None });
        self.send(Operator::EventCreate { event, flags }).inspect_err(|_| {
            let _ = self.client.events.remove(event);
        })?;
        Ok(event)
    }

    /// cuEventDestroy.
    pub(crate) fn destroy_event(&self, event: usize) -> Result<(), CuResult> {
        let event = handles::handle(event)?;
        self.client.events.remove(event)?;
        self.send(Operator::EventDestroy { event }).map(done)
    }

    /// cuEventRecord.
    pub(crate) fn record_event(&self, event: usize, stream: Handle, flags: u32) -> Result<(), CuResult> {
        let event = handles::handle(event)?;
        self.client.events.check(event)?;
        check_external(flags)?;
        let (last_copy, position) = (self.client.deliveries.latest(), self.client.fences.position());
        let record = EventRecord { stream, last_copy, position };
        self.send(Operator::EventRecord { event, stream, flags })?;
        self.client.events.alter(event, |event| event.record = Some(record))
    }

    /// cuStreamWaitEvent.
    pub(crate) fn wait_event(&self, stream: Handle, event: usize, flags: u32) -> Result<(), CuResult> {
        let event = handles::handle(event)?;
        self.client.events.check(event)?;
        check_external(flags)?;
        self.send(Operator::StreamWaitEvent { stream, event, flags }).map(done)
    }

    /// cuEventSynchronize.
    pub(crate) fn event_synchronize(&self, event: usize) -> Result<(), CuResult> {
        self.await_event(event, |event| Operator::EventSynchronize { event })
    }

    /// cuEventQuery: NOT_READY is an error here, as in CUDA.
    pub(crate) fn event_query(&self, event: usize) -> Result<(), CuResult> {
        self.await_event(event, |event| Operator::EventQuery { event })
    }

    fn await_event(&self, event: usize, operator: impl FnOnce(Handle) -> Operator) -> Result<(), CuResult> {
        let event = handles::handle(event)?;
        match self.client.events.look(event, |event| event.record)? {
            // Never recorded: it counts as completed.
            None => Ok(()),
            Some(record) => {
                self.await_work(operator(event), Waited::Stream(record.stream), record.position)?;
                self.arrived(record.stream, record.last_copy)
            }
        }
    }

    /// cuEventElapsedTime, ms.
    pub(crate) fn elapsed_ms(&self, start: usize, end: usize) -> Result<f32, CuResult> {
        let (start, end) = (handles::handle(start)?, handles::handle(end)?);
        for event in [start, end] {
            let is_timed = |event: &Event| event.record.is_some() && event.flags & DISABLE_TIMING == 0;
            if !self.client.events.look(event, is_timed)? {
                return Err(CuResult::INVALID_HANDLE);
            }
        }
        loop {
            let operator = Operator::EventElapsedTime { start, end };
            match answer!(self, operator, "EventElapsedTime", Value::Milliseconds(ms) => ms) {
                // What the program has been told to be complete the server may still be finishing: synchronisations
                // behind nothing but copies from the program's memory do not travel. It will not be long.
                Err(CuResult::NOT_READY) => {
                    self.send(Operator::EventQuery { event: start })?;
                    self.send(Operator::EventQuery { event: end })?;
                }
                answered => return answered,
            }
        }
    }
}
