//! The session's face for tasks: in virtual time a thread that waits would stop the clock.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{IDLE_BEFORE_ACKNOWLEDGING, Next, Session};

impl Session {
    /// As [`Session::next`], for a task.
    pub async fn next_async(&self, wait: Duration) -> Next {
        let deadline = Instant::now() + wait;
        let mut acknowledged = false;
        loop {
            match self.next(Duration::ZERO) {
                Next::Idle => {}
                found => return found,
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Next::Idle;
            }
            let nap = if acknowledged { left } else { left.min(IDLE_BEFORE_ACKNOWLEDGING) };
            let arrived = timeout(nap, self.shared.arrived.notified()).await;
            if arrived.is_err() && !std::mem::replace(&mut acknowledged, true) {
                let mut state = self.shared.lock();
                state.engine.handle_idle();
                self.shared.wake_writer(&mut state);
            }
        }
    }
}
