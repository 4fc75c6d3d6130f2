//! Threads that stay awake while an answer is close.
//!
//! A thread that sleeps until a packet comes is back at work some 50 us later, on virtual machines 100, and an answer
//! passes four of them: both sides' transport threads, and on the client the program's. Where the server is near that is a
//! tenth of an inference. So there, for a short time after something was
//! sent or has come, they look for what comes next without a pause. A local program does the same: `cudaStreamSynchronize` spins
//! until the device has finished (CUDA driver API, `CU_CTX_SCHED_AUTO`).
//!
//! A robot behind a wireless link keeps its cores and its battery for itself: beside the delay its own part is nothing. Of the
//! server's threads an inference meets as many, and some milliseconds of a server's core are cheap: [`SERVER_REACH`].
//!
//! Such a thread also need not be woken: whoever has something for one of its tasks leaves word, which costs no system call.
//!
//! It costs a core while it lasts, so a machine with few of them never does it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// How long to stay awake: as long as the device works at most inferences.
const HOLD: Duration = Duration::from_millis(2);

/// A robot that is so far away or further the server's thread does not stay awake for: the two wake-ups that an inference's end meets
/// there, of 50 to 100 us each, are then less than a hundredth of it.
pub(crate) const SERVER_REACH: Duration = Duration::from_millis(20);

/// With fewer cores the threads that stay awake take them from those that have something to do.
const MIN_CORES: usize = 6;

/// Hints to the processor between two looks, together a microsecond or two: what shares the core with this thread, on processors
/// that run two on each, may well be the program.
const PAUSES: u32 = 32;

/// A transport thread that can be kept awake. It is polled for packets by its runtime, which must have no other thread.
#[derive(Debug)]
pub(crate) struct Hot {
    has_spare_cores: bool,
    /// A touch counts if the other side is not so far away.
    reach: Duration,
    /// How long it stays awake after a touch.
    hold: Duration,
    since: Instant,
    /// Nanoseconds after `since`.
    until: AtomicU64,
    /// It sleeps, has yet to begin or has ended. Changed under the lock of `words` only.
    is_asleep: AtomicBool,
    touched: Notify,
    /// Whom to notify, while it is awake.
    words: Mutex<Vec<Arc<Notify>>>,
    /// There are some.
    has_words: AtomicBool,
}

impl Hot {
    /// A thread of this machine, for other sides that are not `reach` away.
    pub(crate) fn new(reach: Duration) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::on(cores, reach, HOLD)
    }

    fn on(cores: usize, reach: Duration, hold: Duration) -> Self {
        Hot {
            has_spare_cores: cores >= MIN_CORES,
            reach,
            hold,
            since: Instant::now(),
            until: AtomicU64::new(0),
            is_asleep: AtomicBool::new(true),
            touched: Notify::new(),
            words: Mutex::default(),
            has_words: AtomicBool::new(false),
        }
    }

    /// Something passes between this and another side that is so far away: if that is near, more is about to come.
    pub(crate) fn touch(&self, round_trip: Duration) {
        if !self.has_spare_cores || round_trip >= self.reach {
            return;
        }
        self.until.store(self.now().saturating_add(nanos(self.hold)), Ordering::Release);
        if self.is_asleep.load(Ordering::Acquire) {
            self.touched.notify_one();
        }
    }

    /// Notifies a task of the thread, from any thread.
    pub(crate) fn notify(&self, task: &Arc<Notify>) {
        let mut words = self.words();
        if self.is_asleep.load(Ordering::Relaxed) {
            drop(words);
            task.notify_one();
        } else {
            words.push(task.clone());
            self.has_words.store(true, Ordering::Release);
        }
    }

    /// Passes on what there is, and says whether it is asleep from now on.
    fn pass_on(&self, is_asleep: bool) {
        let mut words = self.words();
        self.is_asleep.store(is_asleep, Ordering::Release);
        self.has_words.store(false, Ordering::Relaxed);
        words.drain(..).for_each(|task| task.notify_one());
    }

    /// Keeps the runtime from sleeping when it shall not. Between two turns of this the runtime looks for packets and runs all
    /// other tasks. Never ends.
    pub(crate) async fn keep_awake(&self) {
        let _ended = Ended(self);
        let has_words = || self.has_words.load(Ordering::Acquire);
        loop {
            if self.now() < self.until.load(Ordering::Acquire) {
                (0..PAUSES).take_while(|_| !has_words()).for_each(|_| std::hint::spin_loop());
                if has_words() || self.is_asleep.load(Ordering::Relaxed) {
                    self.pass_on(false);
                }
                tokio::task::yield_now().await;
            } else {
                // A touch between the look and this is made up for by the next one.
                self.pass_on(true);
                self.touched.notified().await;
            }
        }
    }

    /// Whether it is awake, so that somebody who waits for what it brings better stays awake too.
    pub(crate) fn is_awake(&self) -> bool {
        self.now() < self.until.load(Ordering::Acquire)
    }

    fn words(&self) -> MutexGuard<'_, Vec<Arc<Notify>>> {
        // A panic cannot leave a list half changed: each change is a single operation on it.
        self.words.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        nanos(self.since.elapsed())
    }
}

/// However it ends that a thread is kept awake, nobody leaves word any more.
struct Ended<'a>(&'a Hot);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.pass_on(true);
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const REACH: Duration = Duration::from_millis(1);

    #[test]
    fn only_a_machine_with_spare_cores_stays_awake_and_only_for_somebody_near() {
        for (cores, round_trip, is_awake) in
            [(MIN_CORES, REACH / 2, true), (MIN_CORES, REACH, false), (MIN_CORES - 1, Duration::ZERO, false)]
        {
            let hot = Hot::on(cores, REACH, HOLD);
            assert!(!hot.is_awake());
            hot.touch(round_trip);
            // Not whether it is: the test may be slow.
            assert_eq!(hot.until.load(Ordering::Acquire) > 0, is_awake, "{cores} cores, {round_trip:?}");
        }
    }

    #[tokio::test]
    async fn it_wakes_up_at_a_touch_runs_the_others_and_falls_asleep_again() {
        let hot = Arc::new(Hot::on(MIN_CORES, REACH, HOLD));
        let awake = hot.clone();
        let task = tokio::spawn(async move { awake.keep_awake().await });
        for _ in 0..3 {
            while !hot.is_asleep.load(Ordering::Acquire) {
                tokio::task::yield_now().await;
            }
            assert!(!hot.is_awake());
            hot.touch(Duration::ZERO);
            while hot.is_asleep.load(Ordering::Acquire) && hot.is_awake() {
                tokio::task::yield_now().await;
            }
        }
        task.abort();
    }

    #[test]
    fn a_word_is_passed_on_whether_it_sleeps_or_not() {
        let hot = Arc::new(Hot::on(MIN_CORES, REACH, Duration::from_micros(20)));
        let (task, passed) = (Arc::new(Notify::new()), Arc::new(AtomicU64::new(0)));
        let (awake, notified, count) = (hot.clone(), task.clone(), passed.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let transport = std::thread::spawn(move || {
            runtime.block_on(async {
                let counting = async {
                    loop {
                        notified.notified().await;
                        count.fetch_add(1, Ordering::Release);
                    }
                };
                tokio::select! {
                    () = awake.keep_awake() => {}
                    () = counting => {}
                    _ = ended => {}
                }
            });
        });
        for word in 1..5000 {
            if word % 3 == 0 {
                hot.touch(Duration::ZERO);
            }
            hot.notify(&task);
            while passed.load(Ordering::Acquire) < word {
                std::thread::yield_now();
            }
        }
        end.send(()).unwrap();
        transport.join().unwrap();
    }
}
