//! Handles as the program sees them, and what is known under each.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use foldhash::fast::FixedState;
use rrto_core::api::CuResult;
use rrto_core::operator::Handle;

/// Where the handles that a program sees begin. Between the two halves of the address space on x86-64 and aarch64:
/// never null, never the address of anything, and a program that follows one stops right there.
const BASE: u64 = 0x5252_0000_0000_0000;

/// Programs and libraries keep bits of their own in the low bits of pointers.
const ALIGNMENT_BITS: u32 = 4;

/// Handles beyond would leave the range. No program makes 2^40 objects.
const RANGE: u64 = 1 << 44;

/// What the program sees.
pub(crate) fn visible(handle: Handle) -> usize {
    // Handles are 64-bit pointers wherever CUDA runs.
    (BASE + (handle.0 << ALIGNMENT_BITS)) as usize
}

/// The handle that a program passed.
///
/// # Errors
/// INVALID_HANDLE for what was never given out.
pub(crate) fn handle(visible: usize) -> Result<Handle, CuResult> {
    let offset =
        (visible as u64).checked_sub(BASE).filter(|offset| (1 << ALIGNMENT_BITS..RANGE).contains(offset));
    match offset {
        Some(offset) if offset.trailing_zeros() >= ALIGNMENT_BITS => Ok(Handle(offset >> ALIGNMENT_BITS)),
        _ => Err(CuResult::INVALID_HANDLE),
    }
}

/// Handles are numbers that this library gave out, and every launch looks one up: a hash that resists attacks would only
/// protect a program from itself.
type Entries<T> = HashMap<Handle, T, FixedState>;

/// Everything of one kind that exists.
#[derive(Debug)]
pub(super) struct Table<T> {
    entries: RwLock<Entries<T>>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Table { entries: RwLock::default() }
    }
}

impl<T> Table<T> {
    pub(super) fn insert(&self, handle: Handle, entry: T) {
        self.write().insert(handle, entry);
    }

    /// Whether there is such a handle.
    pub(super) fn check(&self, handle: Handle) -> Result<(), CuResult> {
        self.look(handle, |_| ())
    }

    /// Looks at an entry.
    #[inline]
    pub(super) fn look<R>(&self, handle: Handle, look: impl FnOnce(&T) -> R) -> Result<R, CuResult> {
        self.read().get(&handle).map(look).ok_or(CuResult::INVALID_HANDLE)
    }

    /// Changes an entry.
    pub(super) fn alter<R>(&self, handle: Handle, alter: impl FnOnce(&mut T) -> R) -> Result<R, CuResult> {
        self.write().get_mut(&handle).map(alter).ok_or(CuResult::INVALID_HANDLE)
    }

    /// Takes an entry out.
    pub(super) fn remove(&self, handle: Handle) -> Result<T, CuResult> {
        self.write().remove(&handle).ok_or(CuResult::INVALID_HANDLE)
    }

    /// Takes out all that are chosen.
    pub(super) fn remove_all(&self, mut chosen: impl FnMut(&T) -> bool) -> Vec<(Handle, T)> {
        self.write().extract_if(|_, entry| chosen(entry)).collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, Entries<T>> {
        // A panic cannot leave a map half changed: each change is a single operation on it.
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Entries<T>> {
        self.entries.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_sees_leads_back() {
        for number in [1, 2, 1 << 20, (1 << 40) - 1] {
            let seen = visible(Handle(number));
            assert_eq!(handle(seen), Ok(Handle(number)));
            assert_eq!(handle(seen + 8), Err(CuResult::INVALID_HANDLE));
        }
        for wrong in [0, 1, 2, 0x1000, BASE as usize, usize::MAX] {
            assert_eq!(handle(wrong), Err(CuResult::INVALID_HANDLE), "{wrong:#x}");
        }
    }
}
