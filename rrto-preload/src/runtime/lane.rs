//! Lanes: the program's host threads, numbered.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};

/// A thread that has not called yet.
const NONE: u32 = u32::MAX;

static NEXT: AtomicU32 = AtomicU32::new(0);

thread_local! {
    static LANE: Cell<u32> = const { Cell::new(NONE) };
}

/// The calling thread's number: 0 for the first that calls CUDA, and so on.
#[inline]
pub(crate) fn lane() -> u32 {
    match LANE.get() {
        NONE => {
            let lane = NEXT.fetch_add(1, Ordering::Relaxed);
            LANE.set(lane);
            lane
        }
        lane => lane,
    }
}
