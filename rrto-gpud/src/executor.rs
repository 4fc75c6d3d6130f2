//! The executor: one thread a session that issues its operators in order and brings completions back.
//!
//! It never waits for the device. For a short time after something has happened it looks for operators and completions
//! without a pause, then in waits that grow with the time already waited, so that both are noticed soon and a long kernel
//! does not burn a core; while operators keep coming it polls every [`POLL_OPERATORS`] of them, so that answers are not
//! delayed by a burst.
//! An operator that arrives ends any wait at once.

#[cfg(test)]
pub(crate) mod fake;
mod footprint;
pub(crate) mod pace;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rrto_core::api::CuResult;
use rrto_core::engine::{Payload, Ready, Work};
use rrto_core::operator::{Operator, Outcome, Value};
use rrto_quic::{Next, Session, Staging};

use crate::device::{Context, Progress};
use crate::metrics::SessionMeter;
use footprint::Footprint;
use pace::{Pace, is_near_end};

/// Operators issued between two polls for completions. A poll asks the driver about an event, which takes about as
/// long as issuing a launch: at one in 16 it costs a few percent, and delays an answer by some tens of microseconds.
pub const POLL_OPERATORS: u32 = 16;

/// How long to wait for an operator while nothing is pending. Only bounds how stale the thread may be: an operator
/// or the session's end wakes it.
const IDLE_WAIT: Duration = Duration::from_millis(100);

/// What a client is told whose session ends because the server does.
const SHUTDOWN: &str = "the server is shutting down";

/// How long to wait for room before looking whether the session is over.
const ROOM_WAIT: Duration = Duration::from_millis(10);

/// Where a session's operators come from and its outcomes go: a [`Session`], or a test's script.
pub trait Calls {
    /// The next operator in order, if there is one within `wait`.
    fn next(&self, wait: Duration) -> Next;
    /// Payloads are to be put there as they arrive.
    fn stage_in(&self, _staging: Arc<dyn Staging>) {}
    /// Frees what a dead program of the same robot holds, if there is one, and waits for that; whether anything was freed.
    fn make_room(&self) -> bool {
        false
    }
    /// Why the session is over, if it is.
    fn over(&self) -> Option<String>;
    /// Whether it is to end now that it has had nothing to do for so long.
    fn may_end(&self, _idle: Duration) -> bool {
        false
    }
    /// Tells how an operator ended.
    fn finish(&self, number: u64, outcome: Outcome);
    /// Ends the session for a reason that is the client's to know.
    fn end(&self, reason: &str);
}

impl Calls for Session {
    fn next(&self, wait: Duration) -> Next {
        Session::next(self, wait)
    }

    fn stage_in(&self, staging: Arc<dyn Staging>) {
        Session::stage_in(self, staging);
    }

    fn make_room(&self) -> bool {
        Session::make_room(self)
    }

    fn over(&self) -> Option<String> {
        Session::over(self)
    }

    fn may_end(&self, idle: Duration) -> bool {
        Session::may_end(self, idle)
    }

    fn finish(&self, number: u64, outcome: Outcome) {
        Session::finish(self, number, outcome);
    }

    fn end(&self, reason: &str) {
        Session::end(self, reason);
    }
}

/// Executes everything that `calls` gives on `context` until the session is over; gives the reason.
pub fn run(calls: &impl Calls, context: &mut dyn Context, meter: &mut SessionMeter) -> String {
    let mut executor = Executor {
        calls,
        context,
        meter,
        footprint: Footprint::default(),
        allocations: HashMap::new(),
        finished: Vec::new(),
        is_near_end: false,
    };
    let mut pace = Pace::new(false);
    let mut unpolled = 0;
    loop {
        // Behind a kernel that never ends there is never room.
        if !executor.context.has_room(ROOM_WAIT) {
            if let Some(reason) = calls.over() {
                return reason;
            }
            executor.poll();
            continue;
        }
        let wait = pace.next_wait(executor.context.pending() > 0).unwrap_or(IDLE_WAIT);
        match calls.next(wait) {
            Next::Ready(ready) => {
                unpolled += executor.start(ready);
                pace = Pace::new(executor.is_near_end);
                if unpolled < POLL_OPERATORS {
                    continue;
                }
            }
            Next::Idle if wait.is_zero() => pace::pause(),
            // What waits so long has nothing pending.
            Next::Idle if wait >= IDLE_WAIT && calls.may_end(pace.waited()) => {
                calls.end(SHUTDOWN);
                return SHUTDOWN.to_owned();
            }
            Next::Idle => {}
            Next::Over(reason) => return reason,
        }
        unpolled = 0;
        if executor.poll() {
            pace = Pace::new(executor.is_near_end);
        }
    }
}

struct Executor<'a, C> {
    calls: &'a C,
    context: &'a mut dyn Context,
    meter: &'a mut SessionMeter,
    footprint: Footprint,
    /// Allocations whose outcome is still to come.
    allocations: HashMap<u64, Operator>,
    /// Kept between polls so that they do not allocate.
    finished: Vec<(u64, Outcome)>,
    /// The latest span says that an inference is about to end.
    is_near_end: bool,
}

impl<C: Calls> Executor<'_, C> {
    /// Gives how many operators that were.
    fn start(&mut self, work: Work) -> u32 {
        match work {
            Work::Operator(ready) => {
                self.execute(ready);
                1
            }
            Work::Span { first, sequence, span } => {
                self.is_near_end = is_near_end(&sequence, &span);
                self.meter.count_span(&sequence, &span);
                for (number, error) in self.context.execute_span(first, &sequence, &span) {
                    self.finish(number, Err(error));
                }
                span.count
            }
            Work::Retire(sequence) => {
                self.context.retire(sequence);
                0
            }
        }
    }

    fn execute(&mut self, ready: Ready) {
        let Ready { number, operator, payload, .. } = ready;
        let bytes = payload.as_ref().map_or(0, Payload::bytes);
        self.meter.count_operator(&operator, bytes);
        self.is_near_end &= !operator.needs_answer();
        self.footprint.handle_issued(number, &operator);
        if matches!(operator, Operator::MemAlloc { .. } | Operator::MemAllocPitch { .. }) {
            self.allocations.insert(number, operator.clone());
        }
        let started = Instant::now();
        let progress = self.context.execute(number, operator, payload);
        self.meter.record_execution(started.elapsed());
        if let Progress::Done(outcome) = progress {
            self.finish(number, outcome);
        }
    }

    /// Brings back what has completed; gives whether anything had.
    fn poll(&mut self) -> bool {
        if self.context.pending() > 0 {
            self.context.poll(&mut self.finished);
        }
        let mut finished = std::mem::take(&mut self.finished);
        let any = !finished.is_empty();
        for (number, outcome) in finished.drain(..) {
            self.finish(number, outcome);
        }
        self.finished = finished;
        self.meter.count_span_use(&self.context.take_span_use());
        self.meter.show(self.footprint.bytes(), self.context.pending());
        any
    }

    /// An allocation for which there is no memory is tried again when there is more, as a program's local successor would find
    /// it: a program that is started anew must not fail because of what its dead predecessor still holds.
    fn finish(&mut self, number: u64, mut outcome: Outcome) {
        if !self.allocations.is_empty()
            && let Some(operator) = self.allocations.remove(&number)
        {
            while outcome == Err(CuResult::OUT_OF_MEMORY) && self.calls.make_room() {
                match self.context.execute(number, operator.clone(), None) {
                    Progress::Done(again) => outcome = again,
                    Progress::Pending => {
                        self.allocations.insert(number, operator);
                        return;
                    }
                }
            }
        }
        match &outcome {
            Ok(Value::Payload(bytes)) => self.meter.count_payload_down(bytes.len() as u64),
            Ok(_) => {}
            Err(result) => self.meter.count_error(*result),
        }
        self.footprint.handle_outcome(number, &outcome);
        self.calls.finish(number, outcome);
    }
}

#[cfg(test)]
mod tests;
