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
//! Where it sleeps, word is left and the thread woken: by its task's own waker, or, if it has a table of descriptors of its own
//! ([`Host`](crate::Host)), by a bell. A task's waker writes to a descriptor of the runtime, and in another thread's table that
//! number may be a file of the program's.
//!
//! It costs a core while it lasts, so a machine with few of them never does it.

use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::Notify;

use crate::system::Ring;

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

/// Time between two looks at a lock.
const LOOK_AT_LOCK: Duration = Duration::from_micros(100);

/// Words that find a place without an allocation: one for each connection that is tried, and the supervisor's.
const WORDS: usize = 16;

/// More than what a bell's descriptor gives each time that it was rung, bytes (`signalfd_siginfo` has 128).
const RUNG_BYTES: usize = 256;

thread_local! {
    /// This thread is one that a bell wakes, so its tasks' wakers may be used here.
    static HAS_BELL: Cell<bool> = const { Cell::new(false) };
}

/// How a thread is woken that sleeps.
enum Waking {
    /// By its tasks' own wakers.
    Tasks,
    /// By a bell; `None` before it listens and after it has ended.
    Bell(Option<Ring>),
}

/// What is left for the thread.
struct Words {
    /// Whom to notify.
    tasks: Vec<Arc<Notify>>,
    waking: Waking,
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Words").field("tasks", &self.tasks.len()).finish_non_exhaustive()
    }
}

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
    words: Mutex<Words>,
    /// There are some.
    has_words: AtomicBool,
}

impl Hot {
    /// A thread of this machine, for other sides that are not `reach` away.
    pub(crate) fn new(reach: Duration) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::on(cores, reach, HOLD)
    }

    /// The same, for a thread that is woken by a bell once it has one.
    pub(crate) fn with_bell(self) -> Self {
        self.words().waking = Waking::Bell(None);
        self
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
            words: Mutex::new(Words { tasks: Vec::with_capacity(WORDS), waking: Waking::Tasks }),
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
        self.leave(self.words(), task);
    }

    /// The same for a thread that must not wait for a lock longer than to `deadline`; whether it could. Allocates nothing.
    pub(crate) fn notify_until(&self, task: &Arc<Notify>, deadline: Instant) -> bool {
        let Some(words) = lock_until(&self.words, deadline) else { return false };
        if words.tasks.len() < words.tasks.capacity() {
            self.leave(words, task);
        }
        true
    }

    fn leave(&self, mut words: MutexGuard<'_, Words>, task: &Arc<Notify>) {
        let is_asleep = self.is_asleep.load(Ordering::Relaxed);
        if is_asleep && (matches!(words.waking, Waking::Tasks) || HAS_BELL.get()) {
            drop(words);
            return task.notify_one();
        }
        words.tasks.push(task.clone());
        self.has_words.store(true, Ordering::Release);
        if let (true, Waking::Bell(Some(ring))) = (is_asleep, &words.waking) {
            // Under the lock, so that nobody rings for a thread that has ended.
            ring();
        }
    }

    /// Passes on what there is, and says whether it is asleep from now on.
    fn pass_on(&self, is_asleep: bool) {
        let mut words = self.words();
        self.is_asleep.store(is_asleep, Ordering::Release);
        self.hand_over(&mut words);
    }

    fn hand_over(&self, words: &mut Words) {
        self.has_words.store(false, Ordering::Relaxed);
        words.tasks.drain(..).for_each(|task| task.notify_one());
    }

    /// Passes on what is left while the thread sleeps, whenever `ring` has made `rung` readable. Called on the thread itself.
    /// Ends with `rung`, which lasts as long as the thread if it has a table of its own.
    pub(crate) async fn listen(&self, ring: Ring, mut rung: pipe::Receiver) {
        HAS_BELL.set(true);
        self.words().waking = Waking::Bell(Some(ring));
        loop {
            self.hand_over(&mut self.words());
            // What it says is only that there is something.
            match rung.read(&mut [0; RUNG_BYTES]).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }

    /// The thread is about to end: whatever a bell would wake is not there any more.
    pub(crate) fn end(&self) {
        let mut words = self.words();
        if let Waking::Bell(ring) = &mut words.waking {
            *ring = None;
        }
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

    fn words(&self) -> MutexGuard<'_, Words> {
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

/// Takes a lock if it can be had by `deadline`, for a thread that may itself be the one that has it: it can be inside a signal
/// handler. Looks at it at least once.
pub(crate) fn lock_until<T>(mutex: &Mutex<T>, deadline: Instant) -> Option<MutexGuard<'_, T>> {
    loop {
        match mutex.try_lock() {
            Ok(guard) => return Some(guard),
            Err(TryLockError::Poisoned(guard)) => return Some(guard.into_inner()),
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => return None,
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOOK_AT_LOCK),
        }
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

    #[test]
    fn a_bell_is_rung_while_it_listens_and_the_word_is_passed_on() {
        let hot = Arc::new(Hot::on(MIN_CORES, REACH, Duration::from_micros(20)).with_bell());
        let (task, passed) = (Arc::new(Notify::new()), Arc::new(AtomicU64::new(0)));
        // Before it listens: kept.
        hot.notify(&task);
        let (reader, writer) = std::io::pipe().unwrap();
        let rings = Arc::new(AtomicU64::new(0));
        let (transport, notified, count, rung) = (hot.clone(), task.clone(), passed.clone(), rings.clone());
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let ring = Box::new(move || {
                rung.fetch_add(1, Ordering::Relaxed);
                rustix::io::write(&writer, &[1]).unwrap();
            });
            runtime.block_on(async {
                let counting = async {
                    loop {
                        notified.notified().await;
                        count.fetch_add(1, Ordering::Release);
                        // To itself.
                        if count.load(Ordering::Relaxed).is_multiple_of(2) {
                            transport.notify(&notified);
                        }
                    }
                };
                tokio::select! {
                    () = transport.keep_awake() => {}
                    () = transport.listen(ring, pipe::Receiver::from_owned_fd(reader.into()).unwrap()) => {}
                    () = counting => {}
                    _ = ended => {}
                }
                transport.end();
            });
        });
        let mut seen = 0;
        for word in 0..2000 {
            while passed.load(Ordering::Acquire) <= seen {
                std::thread::yield_now();
            }
            seen = passed.load(Ordering::Acquire);
            if word % 3 == 0 {
                hot.touch(Duration::ZERO);
            }
            hot.notify(&task);
        }
        end.send(()).unwrap();
        thread.join().unwrap();
        let before = rings.load(Ordering::Relaxed);
        assert!(before > 0);
        // After the end: nobody is woken.
        assert!(hot.notify_until(&task, Instant::now()));
        assert_eq!(rings.load(Ordering::Relaxed), before);
    }

    #[test]
    fn a_lock_that_is_not_given_back_is_not_waited_for() {
        let lock = Mutex::new(());
        let held = lock.lock().unwrap();
        assert!(lock_until(&lock, Instant::now() + Duration::from_millis(1)).is_none());
        drop(held);
        assert!(lock_until(&lock, Instant::now()).is_some());
    }
}
