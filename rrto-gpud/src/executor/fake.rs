//! For tests: a device that does what its operators' arguments say, and a session that follows a script.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rrto_core::api::CuResult;
use rrto_core::engine::{Payload, Ready, Work};
use rrto_core::operator::{Handle, Operator, Outcome, Value};
use rrto_core::wire::DeviceInfo;
use rrto_quic::Next;

use crate::device::{Context, Device, DeviceError, Limits, Progress};
use crate::executor::Calls;

/// Is pending for this many polls.
pub(crate) fn completes_after(polls: u64) -> Operator {
    Operator::StreamSynchronize { stream: Handle(polls) }
}

/// Is done at once, and answers this payload.
pub(crate) fn answers(bytes: u64) -> Operator {
    Operator::CopyOut { src: 0, bytes, stream: Handle::LEGACY_STREAM }
}

/// Fails with `CUDA_ERROR_INVALID_VALUE`.
pub(crate) const FAILS: Operator = Operator::MemFree { address: 0xbad };

/// There is no memory for it so many times.
pub(crate) fn allocates_after(failures: u64) -> Operator {
    Operator::MemAlloc { bytes: failures }
}

/// Panics.
pub(crate) const PANICS: Operator = Operator::MemGetInfo;

/// A device whose contexts behave as their operators say.
#[derive(Default)]
pub(crate) struct FakeDevice {
    pub(crate) info: DeviceInfo,
    pub(crate) has_no_room: bool,
    pub(crate) panics_on_open: bool,
    pub(crate) panics_on_drop: bool,
    /// Contexts that are open.
    pub(crate) open: Arc<AtomicU32>,
}

impl Device for FakeDevice {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn open(&self, _: Limits) -> Result<Box<dyn Context>, DeviceError> {
        assert!(!self.panics_on_open, "cannot even open");
        if self.has_no_room {
            return Err(DeviceError("no room".to_owned()));
        }
        self.open.fetch_add(1, Ordering::SeqCst);
        let mut context = Box::new(FakeContext::default());
        context.panics_on_drop = self.panics_on_drop;
        context.open = Arc::clone(&self.open);
        Ok(context)
    }
}

#[derive(Default)]
pub(crate) struct FakeContext {
    /// Numbers executed, in order.
    pub(crate) executed: Vec<u64>,
    pub(crate) polls: u64,
    /// Numbers pending, and the poll at which they complete.
    pending: Vec<(u64, u64)>,
    allocations: u64,
    panics_on_drop: bool,
    open: Arc<AtomicU32>,
}

impl Context for FakeContext {
    fn execute(&mut self, number: u64, operator: Operator, _: Option<Payload>) -> Progress {
        self.executed.push(number);
        match operator {
            PANICS => panic!("told to"),
            Operator::StreamSynchronize { stream: Handle(polls) } => {
                self.pending.push((number, self.polls + polls));
                Progress::Pending
            }
            Operator::CopyOut { bytes, .. } => {
                Progress::Done(Ok(Value::Payload(Bytes::from(vec![0; bytes as usize]))))
            }
            FAILS => Progress::Done(Err(CuResult::INVALID_VALUE)),
            Operator::MemAlloc { bytes: too_early } => {
                self.allocations += 1;
                let has_memory = self.allocations > too_early;
                Progress::Done(if has_memory { Ok(Value::None) } else { Err(CuResult::OUT_OF_MEMORY) })
            }
            _ => Progress::Done(Ok(Value::None)),
        }
    }

    fn poll(&mut self, finished: &mut Vec<(u64, Outcome)>) {
        self.polls += 1;
        let now = self.polls;
        finished.extend(
            self.pending.extract_if(.., |(_, at)| *at <= now).map(|(number, _)| (number, Ok(Value::None))),
        );
    }

    fn pending(&self) -> usize {
        self.pending.len()
    }
}

impl Drop for FakeContext {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
        assert!(!self.panics_on_drop, "cannot even be dropped");
    }
}

/// A session that gives its operators as fast as they are taken, and is over once all outcomes are there.
#[derive(Default)]
pub(crate) struct Script {
    left: RefCell<VecDeque<Operator>>,
    /// Dead programs of the same robot that hold something.
    pub(crate) dead: RefCell<u32>,
    given: RefCell<u64>,
    /// Outcomes, in the order in which they came.
    pub(crate) finished: RefCell<Vec<(u64, Outcome)>>,
    /// How long the executor was ready to wait, each time.
    pub(crate) waits: RefCell<Vec<Duration>>,
    /// Reasons for which the session was ended from this side.
    pub(crate) ended: RefCell<Vec<String>>,
}

impl Script {
    pub(crate) fn new(operators: impl IntoIterator<Item = Operator>) -> Self {
        Script { left: RefCell::new(operators.into_iter().collect()), ..Script::default() }
    }

    pub(crate) fn finished_numbers(&self) -> Vec<u64> {
        self.finished.borrow().iter().map(|(number, _)| *number).collect()
    }
}

impl Calls for Script {
    fn make_room(&self) -> bool {
        let mut dead = self.dead.borrow_mut();
        let had_some = *dead > 0;
        *dead = dead.saturating_sub(1);
        had_some
    }

    fn next(&self, wait: Duration) -> Next {
        self.waits.borrow_mut().push(wait);
        let mut given = self.given.borrow_mut();
        if let Some(operator) = self.left.borrow_mut().pop_front() {
            *given += 1;
            return Next::Ready(Work::Operator(Ready {
                number: *given,
                lane: 0,
                wants_answer: true,
                operator,
                payload: None,
            }));
        }
        match self.finished.borrow().len() as u64 == *given {
            true => Next::Over("the script is over".to_owned()),
            false => Next::Idle,
        }
    }

    fn over(&self) -> Option<String> {
        None
    }

    fn finish(&self, number: u64, outcome: Outcome) {
        self.finished.borrow_mut().push((number, outcome));
    }

    fn end(&self, reason: &str) {
        self.ended.borrow_mut().push(reason.to_owned());
    }
}
