//! Work that waits for other work, and the threads that do it.
//!
//! A [`Task`] runs once every task that it depends on is done. Streams and events are nothing but
//! dependencies (see [`super::streams`]); the queue knows neither.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rrto_core::api::CuResult;
use rrto_core::operator::Outcome;

/// Most tasks of a session that run at once. Each may be a kernel that waits for another stream's, so it must
/// not be small; the hardware runs 128 kernels at once.
const MAX_WORKERS: usize = 16;
/// Most tasks that wait. Past it the executor waits for one to end, so that a client cannot fill the server's
/// memory with launches; a driver's own queue holds about a thousand.
const MAX_OUTSTANDING_TASKS: usize = 1 << 16;

/// What a task does, given the context's fault if there is one already.
type Work = Box<dyn FnOnce(&Shared) + Send>;

/// A piece of work, or a mere point in time.
#[derive(Debug)]
pub(super) struct Task(Mutex<TaskState>);

struct TaskState {
    /// Tasks that are to end first, and one more until the task is submitted.
    waiting_for: usize,
    work: Option<Work>,
    dependents: Vec<Arc<Task>>,
    done: bool,
}

impl std::fmt::Debug for TaskState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Task").field("waiting_for", &self.waiting_for).field("done", &self.done).finish()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these locks is consistent whenever one is released, even by a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Task {
    pub(super) fn is_done(&self) -> bool {
        lock(&self.0).done
    }

    /// Makes another task wait for this one; whether it has to.
    fn precede(&self, dependent: &Arc<Task>) -> bool {
        let mut state = lock(&self.0);
        if !state.done {
            state.dependents.push(Arc::clone(dependent));
        }
        !state.done
    }

    /// One task less to wait for; whether it was the last.
    fn one_less(&self) -> bool {
        let mut state = lock(&self.0);
        state.waiting_for = state.waiting_for.saturating_sub(1);
        state.waiting_for == 0
    }
}

/// What the executor and the workers share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    state: Mutex<QueueState>,
    /// Wakes workers: there is something to do, or nothing will come any more. One worker a task: all would wake for each
    /// launch of a stream, whose next one can only begin when it has ended.
    ready: Condvar,
    /// Wakes the executor: a task has ended, or bytes were given back.
    room: Condvar,
    /// The error that has made the context unusable.
    fault: Mutex<Option<CuResult>>,
    outcomes: Mutex<Vec<(u64, Outcome)>>,
    /// Ends kernels that run.
    pub(super) stop: AtomicBool,
}

#[derive(Debug, Default)]
struct QueueState {
    ready: VecDeque<Arc<Task>>,
    /// Tasks that are not done.
    outstanding: usize,
    /// Bytes that they hold for copies.
    held_bytes: u64,
    idle_workers: usize,
    closed: bool,
}

impl Shared {
    /// The context's fault, if it has one.
    pub(super) fn fault(&self) -> Option<CuResult> {
        *lock(&self.fault)
    }

    /// Makes the context unusable, unless it is so already.
    pub(super) fn set_fault(&self, fault: CuResult) {
        lock(&self.fault).get_or_insert(fault);
    }

    /// Tells how a pending operator ended.
    pub(super) fn finish(&self, number: u64, outcome: Outcome) {
        lock(&self.outcomes).push((number, outcome));
    }

    pub(super) fn take_outcomes(&self, into: &mut Vec<(u64, Outcome)>) -> usize {
        let mut outcomes = lock(&self.outcomes);
        let count = outcomes.len();
        into.append(&mut outcomes);
        count
    }

    /// Gives back bytes that a task held.
    pub(super) fn release_bytes(&self, bytes: u64) {
        let mut state = lock(&self.state);
        state.held_bytes = state.held_bytes.saturating_sub(bytes);
        self.room.notify_all();
    }

    fn work(&self) {
        let mut state = lock(&self.state);
        loop {
            let Some(task) = state.ready.pop_front() else {
                if state.closed && state.outstanding == 0 {
                    return;
                }
                state.idle_workers += 1;
                state = self.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle_workers -= 1;
                continue;
            };
            drop(state);
            let dependents = self.do_task(&task);
            state = lock(&self.state);
            state.outstanding -= 1;
            // This worker goes on with one of them.
            for _ in 1..dependents.len() {
                self.ready.notify_one();
            }
            state.ready.extend(dependents);
            if state.closed && state.outstanding == 0 {
                self.ready.notify_all();
            }
            self.room.notify_all();
        }
    }

    /// Does a task; gives those that can be done now.
    fn do_task(&self, task: &Task) -> Vec<Arc<Task>> {
        let work = lock(&task.0).work.take();
        if let Some(work) = work
            && catch_unwind(AssertUnwindSafe(|| work(self))).is_err()
        {
            tracing::error!("the software GPU has a fault of its own; the session's context ends");
            self.set_fault(CuResult::UNKNOWN);
        }
        let mut state = lock(&task.0);
        state.done = true;
        let dependents = std::mem::take(&mut state.dependents);
        drop(state);
        dependents.into_iter().filter(|dependent| dependent.one_less()).collect()
    }
}

/// The queue of a session. Dropping it ends what runs and waits for that.
#[derive(Debug)]
pub(super) struct Queue {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    max_held_bytes: u64,
}

impl Queue {
    /// A queue whose tasks hold about that many bytes for copies at most.
    pub(super) fn new(max_held_bytes: u64) -> Self {
        Self { shared: Arc::default(), workers: Vec::new(), max_held_bytes }
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Makes room for a task that holds bytes: waits until earlier ones have given enough back. They depend
    /// on nothing that has not been submitted, so this ends.
    pub(super) fn hold_bytes(&self, bytes: u64) {
        let mut state = lock(&self.shared.state);
        while state.held_bytes > 0 && state.held_bytes.saturating_add(bytes) > self.max_held_bytes {
            state = self.shared.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.held_bytes += bytes;
    }

    /// Submits work that begins when all of `after` is done.
    ///
    /// # Errors
    /// `OPERATING_SYSTEM`: the machine gives no thread to do it.
    pub(super) fn submit<'t>(
        &mut self,
        after: impl IntoIterator<Item = &'t Arc<Task>>,
        work: impl FnOnce(&Shared) + Send + 'static,
    ) -> Result<Arc<Task>, CuResult> {
        self.want_worker()?;
        let state =
            TaskState { waiting_for: 1, work: Some(Box::new(work)), dependents: Vec::new(), done: false };
        let task = Arc::new(Task(Mutex::new(state)));
        for earlier in after {
            lock(&task.0).waiting_for += 1;
            if !earlier.precede(&task) {
                task.one_less();
            }
        }
        let mut state = lock(&self.shared.state);
        while state.outstanding >= MAX_OUTSTANDING_TASKS {
            state = self.shared.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.outstanding += 1;
        if task.one_less() {
            state.ready.push_back(Arc::clone(&task));
            drop(state);
            self.shared.ready.notify_one();
        }
        Ok(task)
    }

    /// One more worker if none is idle and there may be one.
    fn want_worker(&mut self) -> Result<(), CuResult> {
        let state = lock(&self.shared.state);
        let busy = state.idle_workers <= state.ready.len();
        drop(state);
        if !busy || self.workers.len() >= MAX_WORKERS {
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        let spawned = std::thread::Builder::new().name("rrto-stream".into()).spawn(move || shared.work());
        match spawned {
            Ok(worker) => self.workers.push(worker),
            Err(error) if self.workers.is_empty() => {
                tracing::error!(%error, "cannot start a thread");
                return Err(CuResult::OPERATING_SYSTEM);
            }
            Err(_) => {}
        }
        Ok(())
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // Tasks that have not begun see the fault and do nothing.
        self.shared.set_fault(CuResult::CONTEXT_IS_DESTROYED);
        self.shared.stop.store(true, Relaxed);
        lock(&self.shared.state).closed = true;
        self.shared.ready.notify_all();
        for worker in self.workers.drain(..) {
            if worker.join().is_err() {
                tracing::error!("a stream's thread has ended by a panic");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn a_task_runs_after_those_it_depends_on() {
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut queue = Queue::new(0);
        let (gate, open) = std::sync::mpsc::channel::<()>();
        let note = |n: u32| {
            let order = Arc::clone(&order);
            move |_: &Shared| lock(&order).push(n)
        };
        let first = queue.submit([], move |_| assert!(open.recv().is_ok())).unwrap();
        let second = queue.submit([&first], note(2)).unwrap();
        let third = queue.submit([&first, &second], note(3)).unwrap();
        let (ended, end) = std::sync::mpsc::channel();
        let free = queue.submit([], note(1)).unwrap();
        queue.submit([&free], move |_| assert!(ended.send(()).is_ok())).unwrap();
        end.recv().unwrap();
        assert!(free.is_done() && !second.is_done() && !third.is_done());
        gate.send(()).unwrap();
        let (ended, end) = std::sync::mpsc::channel();
        queue.submit([&third], move |_| assert!(ended.send(()).is_ok())).unwrap();
        end.recv().unwrap();
        assert_eq!(*lock(&order), [1, 2, 3]);
    }

    #[test]
    fn dropping_the_queue_ends_everything() {
        let done = Arc::new(AtomicUsize::new(0));
        let mut queue = Queue::new(0);
        let mut last: Option<Arc<Task>> = None;
        for _ in 0..100 {
            let done = Arc::clone(&done);
            let work = move |shared: &Shared| {
                while shared.fault().is_none() {
                    std::thread::yield_now();
                }
                done.fetch_add(1, Relaxed);
            };
            last = Some(queue.submit(&last, work).unwrap());
        }
        drop(queue);
        assert_eq!(done.load(Relaxed), 100);
        assert!(last.is_some_and(|task| task.is_done()));
    }

    #[test]
    fn a_panic_is_a_fault_and_no_hang() {
        let mut queue = Queue::new(0);
        let first = queue.submit([], |_| panic!("on purpose")).unwrap();
        let (ended, end) = std::sync::mpsc::channel();
        queue.submit([&first], move |shared| assert!(ended.send(shared.fault()).is_ok())).unwrap();
        assert_eq!(end.recv().unwrap(), Some(CuResult::UNKNOWN));
    }
}
