//! The other side, as the client sees it.

use std::time::Duration;

use bytes::Bytes;
use rrto_core::api::CuResult;
use rrto_core::operator::{LaunchCall, Operator, Outcome};
use rrto_core::replay::{Divergence, ReplayStatistics};
use rrto_quic::{Link, LinkStatistics, Submission};

/// What executes operators in order: a [`Link`], or a test's stand-in. See there for what each method promises.
pub(crate) trait Remote: Send + Sync {
    /// The error that every call gets from now on; cheap.
    fn sticky(&self) -> Option<CuResult>;

    /// Takes an operator; `register` learns its number before it can be executed.
    fn submit(
        &self,
        lane: u32,
        operator: Operator,
        payload: Option<Bytes>,
        register: &mut dyn FnMut(u64),
    ) -> Submission;

    /// Takes a launch, as `submit` takes its operator.
    fn launch(&self, lane: u32, launch: &LaunchCall<'_>) -> Submission {
        self.submit(lane, Operator::Launch(launch.to_launch()), None, &mut |_| {})
    }

    /// Waits for an outcome; gives each once.
    fn wait(&self, number: u64) -> Outcome;

    /// Whether an outcome is still to come.
    fn is_awaited(&self, number: u64) -> bool;

    /// Why there is no connection any more.
    fn lost(&self) -> Option<String>;

    /// What has been carried so far.
    fn statistics(&self) -> LinkStatistics;

    /// What replay has done so far.
    fn replay_statistics(&self) -> ReplayStatistics;

    /// The next run of a sequence that was given up; each is given once. Who replays nothing has none.
    fn poll_divergence(&self) -> Option<Divergence> {
        None
    }

    /// Says goodbye, within `limit`.
    fn close(&self, limit: Duration);
}

impl Remote for Link {
    fn sticky(&self) -> Option<CuResult> {
        Link::sticky(self)
    }

    fn submit(
        &self,
        lane: u32,
        operator: Operator,
        payload: Option<Bytes>,
        register: &mut dyn FnMut(u64),
    ) -> Submission {
        Link::submit(self, lane, operator, payload, register)
    }

    fn launch(&self, lane: u32, launch: &LaunchCall<'_>) -> Submission {
        Link::launch(self, lane, launch)
    }

    fn wait(&self, number: u64) -> Outcome {
        Link::wait(self, number)
    }

    fn is_awaited(&self, number: u64) -> bool {
        Link::is_awaited(self, number)
    }

    fn lost(&self) -> Option<String> {
        Link::lost(self)
    }

    fn statistics(&self) -> LinkStatistics {
        Link::statistics(self)
    }

    fn replay_statistics(&self) -> ReplayStatistics {
        Link::replay_statistics(self)
    }

    fn poll_divergence(&self) -> Option<Divergence> {
        Link::poll_divergence(self)
    }

    fn close(&self, limit: Duration) {
        Link::close(self, limit);
    }
}
