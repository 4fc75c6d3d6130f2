//! What stands between the client and the link, and notes what passes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rrto_core::api::CuResult;
use rrto_core::operator::{Operator, Outcome};
use rrto_core::replay::ReplayStatistics;
use rrto_quic::{LinkStatistics, ProgramMemory, Submission};

use super::Insight;
use crate::client::Remote;
use crate::{calls, lane};

/// A remote whose calls are noted.
pub(super) struct Watch {
    remote: Box<dyn Remote>,
    insight: Arc<Insight>,
}

impl Watch {
    pub(super) fn new(remote: Box<dyn Remote>, insight: Arc<Insight>) -> Self {
        Watch { remote, insight }
    }
}

/// What the program sees is what the inner remote does.
impl Remote for Watch {
    fn sticky(&self) -> Option<CuResult> {
        self.remote.sticky()
    }

    fn submit(
        &self,
        lane: u32,
        operator: Operator,
        payload: Option<Bytes>,
        register: &mut dyn FnMut(u64),
    ) -> Submission {
        let Insight { inferences, trace, .. } = &*self.insight;
        let start = self.insight.elapsed();
        if let Some(inferences) = inferences {
            inferences.submitted(lane, &operator, start);
        }
        let Some(trace) = trace else { return self.remote.submit(lane, operator, payload, register) };
        let bytes = payload.as_ref().map_or(0, |payload| payload.len() as u64);
        let mut number = 0;
        let submission = self.remote.submit(lane, operator, payload, &mut |registered| {
            number = registered;
            register(registered);
        });
        trace.call(lane, calls::current(), start..self.insight.elapsed(), number, bytes);
        submission
    }

    fn wait(&self, number: u64) -> Outcome {
        let Insight { inferences, trace, .. } = &*self.insight;
        let start = self.insight.elapsed();
        let outcome = self.remote.wait(number);
        let end = self.insight.elapsed();
        if let Some(inferences) = inferences {
            inferences.waited(lane::lane(), end);
        }
        if let Some(trace) = trace {
            trace.wait(lane::lane(), start..end, number);
            trace.link(&self.remote.statistics(), end);
        }
        outcome
    }

    fn is_awaited(&self, number: u64) -> bool {
        self.remote.is_awaited(number)
    }

    fn lost(&self) -> Option<String> {
        self.remote.lost()
    }

    fn statistics(&self) -> LinkStatistics {
        self.remote.statistics()
    }

    fn replay_statistics(&self) -> ReplayStatistics {
        self.remote.replay_statistics()
    }

    fn close(&self, limit: Duration) {
        self.remote.close(limit);
    }
}

/// The program's memory, with a note of what arrives there.
pub(super) struct Arrivals {
    memory: Arc<dyn ProgramMemory>,
    insight: Arc<Insight>,
}

impl Arrivals {
    pub(super) fn new(memory: Arc<dyn ProgramMemory>, insight: Arc<Insight>) -> Self {
        Arrivals { memory, insight }
    }
}

impl ProgramMemory for Arrivals {
    fn deliver(&self, number: u64, offset: u64, bytes: &[u8]) {
        if let Some(trace) = &self.insight.trace {
            trace.arrival(self.insight.elapsed(), number, bytes.len() as u64);
        }
        self.memory.deliver(number, offset, bytes);
    }
}
