//! Moves tokio's paused clock to the next arrival, exactly.
//!
//! tokio moves a paused clock by itself when nobody has anything to do, but in whole milliseconds, which is eight packets at
//! 100 Mbit/s. So whenever an arrival comes before the next whole millisecond, or the clock is between two, it is moved here: to
//! the arrival or the millisecond, whichever is first, and only when tokio is about to sleep. Over longer times tokio moves it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, advance, sleep_until};

use super::network::Network;

/// tokio's timers have no finer steps, counted from the runtime's beginning.
const TICK: Duration = Duration::from_millis(1);

/// What the clock's task waits for.
#[derive(Debug, Default)]
pub(super) struct Clock {
    wants_idle: AtomicBool,
    idle: Notify,
    /// There is an arrival that was not there before.
    scheduled: Notify,
}

impl Clock {
    /// tokio has nothing to do.
    pub(super) fn handle_idle(&self) {
        if self.wants_idle.swap(false, Ordering::Relaxed) {
            self.idle.notify_one();
        }
    }

    /// An arrival was added that is the next one.
    pub(super) fn handle_scheduled(&self) {
        self.scheduled.notify_one();
    }

    async fn idle(&self) {
        self.wants_idle.store(true, Ordering::Relaxed);
        self.idle.notified().await;
    }
}

/// The clock's task. Ends with the runtime.
pub(super) async fn run(network: Network) {
    let clock: Arc<Clock> = network.clock.clone();
    loop {
        network.deliver_due();
        let now = network.now();
        let into_tick = Duration::from_nanos((now.as_nanos() % TICK.as_nanos()) as u64);
        let next_tick = now - into_tick + TICK;
        let next = network.next_arrival();
        if !into_tick.is_zero() || next.is_some_and(|at| at < next_tick) {
            clock.idle().await;
            // What ran meanwhile may have sent something that arrives earlier, in no time even.
            let next = network.next_arrival().unwrap_or(next_tick).min(next_tick);
            advance(next.saturating_sub(network.now())).await;
            continue;
        }
        let scheduled = clock.scheduled.notified();
        match next {
            None => scheduled.await,
            Some(at) => {
                let whole_millis = Duration::from_millis(at.as_millis() as u64);
                tokio::select! {
                    () = sleep_until(network.beginning() + whole_millis) => {}
                    () = scheduled => {}
                }
            }
        }
    }
}

/// The beginning of a runtime's time, from which tokio counts its ticks, when nothing has moved it yet.
pub(super) fn beginning() -> Instant {
    Instant::now()
}
