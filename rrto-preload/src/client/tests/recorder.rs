//! A remote that records, and answers as told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use rrto_core::api::CuResult;
use rrto_core::operator::{Operator, Outcome, Value};
use rrto_core::replay::ReplayStatistics;
use rrto_quic::{LinkStatistics, Submission};

use super::Remote;

#[derive(Debug, Default)]
pub(super) struct Recorder {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    sent: Vec<Sent>,
    answers: VecDeque<Outcome>,
    sticky: Option<CuResult>,
}

/// An operator as it came.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Sent {
    pub(super) lane: u32,
    pub(super) operator: Operator,
    pub(super) payload: Option<Bytes>,
}

impl Recorder {
    /// The outcome of the next operator that needs an answer; success where nothing was told.
    pub(super) fn answer(&self, outcome: Outcome) {
        self.state().answers.push_back(outcome);
    }

    /// From now on every call fails.
    pub(super) fn stick(&self, error: CuResult) {
        self.state().sticky = Some(error);
    }

    /// Takes what was sent since the last time.
    pub(super) fn sent(&self) -> Vec<Sent> {
        std::mem::take(&mut self.state().sent)
    }

    /// Takes the operators that were sent.
    pub(super) fn operators(&self) -> Vec<Operator> {
        self.sent().into_iter().map(|sent| sent.operator).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Remote for Arc<Recorder> {
    fn sticky(&self) -> Option<CuResult> {
        self.state().sticky
    }

    fn submit(
        &self,
        lane: u32,
        operator: Operator,
        payload: Option<Bytes>,
        register: &mut dyn FnMut(u64),
    ) -> Submission {
        operator.check_limits().unwrap();
        assert_eq!(operator.payload_bytes(), payload.as_ref().map(|payload| payload.len() as u64));
        let mut state = self.state();
        let needs_answer = operator.needs_answer();
        state.sent.push(Sent { lane, operator, payload });
        register(state.sent.len() as u64);
        if needs_answer { Submission::Awaits(state.sent.len() as u64) } else { Submission::Queued }
    }

    fn wait(&self, _: u64) -> Outcome {
        self.state().answers.pop_front().unwrap_or(Ok(Value::None))
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

    fn close(&self, _: Duration) {}
}
