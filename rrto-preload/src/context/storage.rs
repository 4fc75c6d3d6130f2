//! What cudart keeps in a context: a value and a destructor under a key, all pointers of cudart's own.

use std::{cell::Cell, collections::BTreeMap};

use rrto_core::api::CuResult;

use super::ContextHandle;
use crate::boundary;

/// What to call when the context of an item ends, with the item's context, key and value.
pub type Destructor = Box<dyn FnOnce(ContextHandle, usize, usize) + Send + Sync>;

/// Each copy of cudart in a process keeps an item or two in a context. This bounds a program that does so
/// without end.
const ITEMS_MAX: usize = 4096;

struct Item {
    value: usize,
    destructor: Option<Destructor>,
}

/// The items of one context.
#[derive(Default)]
pub(super) struct Storage {
    items: BTreeMap<usize, Item>,
}

impl Storage {
    /// Puts a value under a key. One that was there goes without its destructor: cudart has replaced it.
    pub(super) fn put(
        &mut self,
        key: usize,
        value: usize,
        destructor: Option<Destructor>,
    ) -> Result<(), CuResult> {
        if self.items.len() >= ITEMS_MAX && !self.items.contains_key(&key) {
            return Err(CuResult::OUT_OF_MEMORY);
        }
        self.items.insert(key, Item { value, destructor });
        Ok(())
    }

    /// Removes a value without calling its destructor.
    pub(super) fn delete(&mut self, key: usize) -> Result<(), CuResult> {
        self.items.remove(&key).map(drop).ok_or(CuResult::INVALID_HANDLE)
    }

    pub(super) fn get(&self, key: usize) -> Result<usize, CuResult> {
        self.items.get(&key).map(|item| item.value).ok_or(CuResult::INVALID_HANDLE)
    }

    /// Calls every destructor. They are the program's, may call CUDA, and so must find no lock of ours held.
    pub(super) fn end(self, context: ContextHandle) {
        for (key, item) in self.items {
            if let Some(destructor) = item.destructor {
                boundary::outside(|| destructor(context, key, item.value));
            }
        }
    }
}

/// Slots of a thread's [`Cache`]; a power of two. A process has about a dozen copies of cudart.
const CACHE_SLOTS: usize = 16;

#[derive(Clone, Copy)]
struct Cached {
    epoch: u64,
    context: Option<ContextHandle>,
    key: usize,
    value: usize,
}

const NOTHING: Cached = Cached { epoch: 0, context: None, key: 0, value: 0 };

thread_local! {
    static CACHE: [Cell<Cached>; CACHE_SLOTS] = const { [const { Cell::new(NOTHING) }; CACHE_SLOTS] };
}

/// What this thread has read before under `key`, if nothing has changed since: every change anywhere makes a
/// new epoch, and changes are rare after a program has started.
#[inline]
pub(super) fn recall(epoch: u64, context: ContextHandle, key: usize) -> Option<usize> {
    let cached = CACHE.with(|slots| slots.get(slot(key)).map(Cell::get))?;
    let is_same = cached.epoch == epoch && cached.context == Some(context) && cached.key == key;
    is_same.then_some(cached.value)
}

/// Remembers what was read. `epoch` must have been read before the value was.
pub(super) fn remember(epoch: u64, context: ContextHandle, key: usize, value: usize) {
    CACHE.with(|slots| {
        if let Some(slot) = slots.get(slot(key)) {
            slot.set(Cached { epoch, context: Some(context), key, value });
        }
    });
}

fn slot(key: usize) -> usize {
    // Keys are addresses: their low bits are alignment, and copies of one library differ in page bits.
    (key >> 4 ^ key >> 12) % CACHE_SLOTS
}
