//! What stands between the client and the link, and notes what passes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rrto_core::api::CuResult;
use rrto_core::operator::{Operator, Outcome};
use rrto_core::replay::{Divergence, ReplayStatistics};
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

    /// Says which runs of sequences were given up, and why.
    fn say_divergences(&self) {
        if let Some(say) = &self.insight.say_divergence {
            std::iter::from_fn(|| self.remote.poll_divergence()).for_each(|divergence| say(&divergence));
        }
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
            inferences.submitted(lane, &operator, start, || self.remote.statistics());
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
        if inferences.is_some() || trace.is_some() {
            let link = self.remote.statistics();
            if let Some(inferences) = inferences {
                inferences.waited(lane::lane(), end, &link);
            }
            if let Some(trace) = trace {
                trace.wait(lane::lane(), start..end, number);
                trace.link(&link, end);
            }
        }
        // The program has waited anyway.
        self.say_divergences();
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

    fn poll_divergence(&self) -> Option<Divergence> {
        self.remote.poll_divergence()
    }

    fn close(&self, limit: Duration) {
        self.say_divergences();
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
            trace.payload_in(self.insight.elapsed(), number, bytes.len() as u64);
        }
        self.memory.deliver(number, offset, bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Instant;

    use rrto_core::operator::{Handle, SequenceId, Value};
    use rrto_core::replay::Reason;

    use super::*;

    /// Has diverged, in a run of each of these sequences.
    struct Diverged(Mutex<Vec<u32>>);

    fn copy(bytes: u64) -> Operator {
        Operator::CopyDevice { dst: 0, src: 64, bytes, stream: Handle(7) }
    }

    impl Remote for Diverged {
        fn sticky(&self) -> Option<CuResult> {
            None
        }

        fn submit(&self, _: u32, _: Operator, _: Option<Bytes>, _: &mut dyn FnMut(u64)) -> Submission {
            Submission::Queued
        }

        fn wait(&self, _: u64) -> Outcome {
            Ok(Value::None)
        }

        fn is_awaited(&self, _: u64) -> bool {
            false
        }

        fn lost(&self) -> Option<String> {
            None
        }

        fn statistics(&self) -> LinkStatistics {
            LinkStatistics::default()
        }

        fn replay_statistics(&self) -> ReplayStatistics {
            ReplayStatistics::default()
        }

        fn poll_divergence(&self) -> Option<Divergence> {
            let id = self.0.lock().unwrap().pop()?;
            Some(Divergence {
                sequence: SequenceId(id),
                lane: 3,
                operators: 20,
                at: 12,
                reason: Reason::Arguments,
                expected: copy(1001),
                actual: Some(copy(1002)),
                before: vec![copy(1003)],
            })
        }

        fn close(&self, _: Duration) {}
    }

    #[test]
    fn a_divergence_is_said_when_the_program_waits_or_ends() {
        let said = Arc::new(Mutex::new(Vec::new()));
        let sink = said.clone();
        let say = move |divergence: &Divergence| sink.lock().unwrap().push(divergence.to_string());
        let insight = Insight {
            began: Instant::now(),
            inferences: None,
            trace: None,
            say_divergence: Some(Box::new(say)),
        };
        let remote = Arc::new(insight).watch(Box::new(Diverged(Mutex::new(vec![6, 5]))));
        remote.submit(3, copy(1), None, &mut |_| {});
        assert!(said.lock().unwrap().is_empty());
        remote.wait(1).unwrap();
        let lines = std::mem::take(&mut *said.lock().unwrap());
        assert_eq!(lines.len(), 2);
        for part in [
            "sequence 5 of lane 3",
            "12 of 20",
            "other arguments",
            "bytes: 1001",
            "bytes: 1002",
            "bytes: 1003",
        ] {
            assert!(lines[0].contains(part), "{part}: {}", lines[0]);
        }
        remote.close(Duration::ZERO);
        assert!(said.lock().unwrap().is_empty());
    }
}
