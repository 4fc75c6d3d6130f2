//! How threads that wait are woken, and in tests in virtual time, where no thread may wait, tasks.

use std::sync::{Condvar, MutexGuard, PoisonError};
use std::time::Duration;

#[cfg(feature = "testing")]
use tokio::sync::Notify;

/// A condition variable for which a task can wait too.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    threads: Condvar,
    #[cfg(feature = "testing")]
    tasks: Notify,
}

impl Signal {
    /// Wakes everybody who waits.
    pub(crate) fn notify_all(&self) {
        self.threads.notify_all();
        #[cfg(feature = "testing")]
        self.tasks.notify_waiters();
    }

    /// Wakes the one who waits, or who waits next if it is a task.
    pub(crate) fn notify_one(&self) {
        self.threads.notify_one();
        #[cfg(feature = "testing")]
        self.tasks.notify_one();
    }

    /// Waits at most `limit`, and says whether it was that long.
    pub(crate) fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        limit: Duration,
    ) -> (MutexGuard<'a, T>, bool) {
        let (guard, timeout) =
            self.threads.wait_timeout(guard, limit).unwrap_or_else(PoisonError::into_inner);
        (guard, timeout.timed_out())
    }

    /// As a condition variable's wait, for tasks: a notification from the moment of the call on is not missed.
    #[cfg(feature = "testing")]
    pub(crate) fn notified(&self) -> tokio::sync::futures::Notified<'_> {
        self.tasks.notified()
    }
}
