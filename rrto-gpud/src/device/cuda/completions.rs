//! Events, and the operators that wait for them.
//!
//! An operator that completes later waits for events: one that is recorded for it and comes from a pool, or, for
//! `EventSynchronize`, the program's own. A program may record its event again while an earlier record is being
//! waited for; that then gets a new driver event (see `streams`), so that the old one keeps its meaning for those who
//! wait. Hence events are shared, and the last one who holds an event gives it back or destroys it.

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;

use rrto_core::api::CuResult;
use rrto_core::operator::{Handle, Outcome, Value};

use super::driver::{self, Answer, Driver, Stream};
use super::staging::Lent;

/// `CU_EVENT_DISABLE_TIMING`: the cheapest event.
const DISABLE_TIMING: u32 = 2;

/// Unused events of the pool.
struct Spare {
    driver: &'static Driver,
    events: RefCell<Vec<driver::Event>>,
}

impl Drop for Spare {
    fn drop(&mut self) {
        for event in self.events.get_mut().drain(..) {
            destroy(self.driver, event);
        }
    }
}

/// An event that is gone when nobody needs it.
pub(super) struct Event {
    /// Always there until it is dropped.
    raw: Option<driver::Event>,
    driver: &'static Driver,
    /// Where it goes back to; the program's events have no such place.
    spare: Option<Rc<Spare>>,
}

impl Event {
    /// A program's event.
    pub(super) fn new(driver: &'static Driver, flags: u32) -> Answer<Event> {
        Ok(Event { raw: Some(driver.event_create(flags)?), driver, spare: None })
    }

    /// The driver's event.
    pub(super) fn raw(&self) -> Answer<&driver::Event> {
        self.raw.as_ref().ok_or(CuResult::INVALID_HANDLE)
    }

    /// Whether the latest record has completed: `Ok`, `NOT_READY`, or the error that the context has.
    pub(super) fn query(&self) -> Answer<()> {
        self.driver.event_query(self.raw()?)
    }

    /// Blocks until it has.
    pub(super) fn wait(&self) -> Answer<()> {
        self.driver.event_synchronize(self.raw()?)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        let Some(raw) = self.raw.take() else { return };
        match &self.spare {
            Some(spare) => spare.events.borrow_mut().push(raw),
            None => destroy(self.driver, raw),
        }
    }
}

fn destroy(driver: &Driver, event: driver::Event) {
    if let Err(error) = driver.event_destroy(event) {
        // Only in a context that has failed; destroying that frees the event.
        tracing::debug!(%error, "destroying an event");
    }
}

/// An event that an operator waits for.
pub(super) struct Wait {
    pub(super) event: Rc<Event>,
    /// The stream that the event was recorded on, if that is known: what is later there is not done before it.
    pub(super) stream: Option<Handle>,
}

/// An operator that completes later.
struct Pending {
    number: u64,
    waits: Vec<Wait>,
    payload: Option<(Lent, usize)>,
    /// Set once it is over.
    result: Answer<()>,
}

impl Pending {
    /// Whether it is over by now.
    fn is_over(&mut self, busy: &mut HashSet<Handle>) -> bool {
        while let Some(wait) = self.waits.last() {
            if wait.stream.is_some_and(|stream| busy.contains(&stream)) {
                return false;
            }
            match wait.event.query() {
                Ok(()) => drop(self.waits.pop()),
                Err(CuResult::NOT_READY) => {
                    busy.extend(wait.stream);
                    return false;
                }
                Err(error) => {
                    self.result = Err(error);
                    return true;
                }
            }
        }
        true
    }
}

/// All operators of a session that complete later.
pub(super) struct Completions {
    driver: &'static Driver,
    spare: Rc<Spare>,
    pending: Vec<Pending>,
}

/// An operator that is over, and the block with its bytes: whole if it succeeded.
pub(super) struct Finished {
    pub(super) number: u64,
    pub(super) result: Answer<()>,
    pub(super) payload: Option<(Lent, usize)>,
}

impl Finished {
    /// The outcome, once `bytes` has made a payload of the block.
    pub(super) fn outcome(self, bytes: impl FnOnce(Lent, usize) -> bytes::Bytes) -> (u64, Outcome) {
        let outcome = self.result.map(|()| match self.payload {
            Some((lent, len)) => Value::Payload(bytes(lent, len)),
            None => Value::None,
        });
        (self.number, outcome)
    }
}

impl Completions {
    pub(super) fn new(driver: &'static Driver) -> Self {
        let spare = Rc::new(Spare { driver, events: RefCell::default() });
        Completions { driver, spare, pending: Vec::new() }
    }

    /// Records an event of the pool on a stream.
    pub(super) fn record(&self, stream: &Stream) -> Answer<Rc<Event>> {
        let raw = self.spare.events.borrow_mut().pop();
        let raw = match raw {
            Some(raw) => raw,
            None => self.driver.event_create(DISABLE_TIMING)?,
        };
        let event = Event { raw: Some(raw), driver: self.driver, spare: Some(self.spare.clone()) };
        self.driver.event_record(event.raw()?, stream, 0)?;
        Ok(Rc::new(event))
    }

    /// An operator that is over when all of `waits` are.
    pub(super) fn push(&mut self, number: u64, waits: Vec<Wait>, payload: Option<(Lent, usize)>) {
        self.pending.push(Pending { number, waits, payload, result: Ok(()) });
    }

    /// Takes those that are over. Streams complete in order, so a stream with one that is not is not asked again.
    pub(super) fn collect(&mut self) -> Vec<Finished> {
        if self.pending.is_empty() {
            return Vec::new();
        }
        let mut busy = HashSet::new();
        self.pending
            .extract_if(.., |pending| pending.is_over(&mut busy))
            .map(|over| Finished { number: over.number, result: over.result, payload: over.payload })
            .collect()
    }

    /// An event whose completion ends the oldest copy that has a block like those for `len` bytes.
    pub(super) fn oldest_copy(&self, len: usize) -> Option<Rc<Event>> {
        let copy =
            self.pending.iter().find(|p| p.payload.as_ref().is_some_and(|(lent, _)| lent.fits(len)))?;
        copy.waits.first().map(|wait| wait.event.clone())
    }

    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    /// Gives up on all, because the session ends.
    pub(super) fn clear(&mut self) {
        self.pending.clear();
        let events = std::mem::take(&mut *self.spare.events.borrow_mut());
        events.into_iter().for_each(|event| destroy(self.driver, event));
    }
}
