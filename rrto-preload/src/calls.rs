//! How often the program calls each function, and which one it is in.
//!
//! Every exported function begins here, also those that take a few nanoseconds in all, so this is a load and a store to
//! memory that no other thread writes.

use std::sync::atomic::{AtomicU64, Ordering};

use rrto_core::api::Function;

use crate::lane::lane;
use crate::thread;

/// Threads that count for themselves. All others share one more block.
const OWN_BLOCKS: usize = 64;

/// A count for each function, in the order of the table. Blocks are long enough not to share cache lines much.
type Block = [AtomicU64; Function::ALL.len()];

/// Zero bytes: a block takes no memory before its thread calls.
static BLOCKS: [Block; OWN_BLOCKS + 1] = [const { [const { AtomicU64::new(0) }; _] }; _];

/// The calling thread has called `function`.
#[inline]
pub(crate) fn begin(function: Function) {
    thread::this(|this| this.function.set(Some(function)));
    let block = lane() as usize;
    // In bounds: a block has a place for every function, and only shared ones are at the end.
    if block < OWN_BLOCKS {
        let count = &BLOCKS[block][usize::from(function.index())];
        // This lane alone writes here, so nothing is lost between the two.
        count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    } else {
        BLOCKS[OWN_BLOCKS][usize::from(function.index())].fetch_add(1, Ordering::Relaxed);
    }
}

/// The function that the calling thread called last.
pub(crate) fn current() -> Option<Function> {
    thread::this(|this| this.function.get())
}

/// How often each function was called that was called at all. Calls of other threads just now may be missing.
pub(crate) fn counts() -> Vec<(Function, u64)> {
    let sum = |function: &Function| {
        let each = BLOCKS.iter().filter_map(|block| block.get(usize::from(function.index())));
        each.map(|count| count.load(Ordering::Relaxed)).sum()
    };
    Function::ALL.iter().map(|function| (*function, sum(function))).filter(|(_, count)| *count > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_all_threads_are_counted() {
        // Functions that no other test calls.
        let [one, other] = [Function::cuGLInit, Function::cuVDPAUGetDevice];
        let count =
            |of| counts().into_iter().find(|(function, _)| *function == of).map_or(0, |(_, count)| count);
        let threads = 2 * OWN_BLOCKS as u64;
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    for _ in 0..100 {
                        begin(one);
                    }
                    begin(other);
                    assert_eq!(current(), Some(other));
                });
            }
        });
        assert_eq!((count(one), count(other)), (100 * threads, threads));
    }
}
