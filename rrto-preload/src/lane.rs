//! Lanes: the program's host threads, numbered.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::thread;

/// A thread that has not called yet.
pub(crate) const NONE: u32 = u32::MAX;

static NEXT: AtomicU32 = AtomicU32::new(0);
static AT_END: OnceLock<fn(u32)> = OnceLock::new();

thread_local! {
    static WATCH: Watch = const { Watch(Cell::new(NONE)) };
}

/// The calling thread's number: 0 for the first that calls CUDA, and so on.
#[inline]
pub(crate) fn lane() -> u32 {
    thread::this(|this| match this.lane.get() {
        NONE => {
            let lane = NEXT.fetch_add(1, Ordering::Relaxed);
            this.lane.set(lane);
            lane
        }
        lane => lane,
    })
}

/// Sets what to do when a thread ends that [`watch`] was called on. Only the first function set counts.
pub(crate) fn at_end(farewell: fn(u32)) {
    let _ = AT_END.set(farewell);
}

/// The calling thread has something of its own that goes with it.
pub(crate) fn watch() {
    // Fails on a thread that is ending already; what it has then stays until the session ends.
    let _ = WATCH.try_with(|watch| watch.0.set(lane()));
}

/// The number of a thread that is watched.
struct Watch(Cell<u32>);

impl Drop for Watch {
    fn drop(&mut self) {
        if let (Some(farewell), true) = (AT_END.get(), self.0.get() != NONE) {
            farewell(self.0.get());
        }
    }
}
