//! Device memory: one virtual address space, shared by every thread that runs a kernel.
//!
//! Memory is made of 64-bit atomic words, so kernels on several threads and copies from the host may touch it
//! at once and the worst that a racing program gets is the old or the new value, as on a GPU. A plain access
//! is `Relaxed`; an access of less than a word is a compare-exchange of its word. All of it is little-endian,
//! whatever the host is.
//!
//! What has never been written reads as zero, and takes none of the machine's memory.

mod allocation;
mod bulk;
mod machine;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};

use rrto_core::api::CuResult;

pub(crate) use allocation::Allocation;
pub use bulk::Fill;
use machine::Machine;

/// The lowest device address. Far from zero, so that no small integer is mistaken for a pointer, and shaped
/// like the addresses of a real device, so that a scan for pointers in kernel arguments behaves alike.
pub const BASE_ADDRESS: u64 = 0x7f00_0000_0000;
/// No device address is at or above this.
pub const END_ADDRESS: u64 = 0x7fff_0000_0000;
/// Every allocation begins at a multiple of this many bytes; CUDA promises at least 256.
pub const ALLOCATION_ALIGN: u64 = 512;
/// Unused addresses after each allocation, so that an access just past its end is a fault, not another
/// allocation's data.
pub const GUARD_BYTES: u64 = 4096;
/// Most live allocations. The table is copied when it changes under a running kernel, so it must not grow
/// without end.
pub const MAX_ALLOCATIONS: usize = 1 << 20;

type Result<T> = std::result::Result<T, CuResult>;

/// The live allocations, by address.
pub(crate) type Table = Vec<Arc<Allocation>>;

/// Bytes that several memories share: what a device has in all, whoever has how much of it, and never more than the
/// machine has.
#[derive(Debug)]
pub struct Budget {
    total: u64,
    used: AtomicU64,
    machine: Machine,
}

impl Budget {
    /// A budget of so many bytes.
    pub fn new(total: u64) -> Self {
        Self { total, used: AtomicU64::new(0), machine: Machine::new() }
    }

    /// All of it, in bytes.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// What is left of it, in bytes.
    pub fn left(&self) -> u64 {
        self.total.saturating_sub(self.used.load(Relaxed))
    }

    fn take(&self, bytes: u64) -> bool {
        let fits = |used: u64| used.checked_add(bytes).filter(|&sum| sum <= self.total);
        let Ok(used) = self.used.fetch_update(Relaxed, Relaxed, fits) else { return false };
        let has_room = self.machine.has_room(used + bytes, bytes);
        if !has_room {
            self.give(bytes);
        }
        has_room
    }

    fn give(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Relaxed);
    }
}

/// Device memory: one address space. A device has one for each of its sessions, all within its [`Budget`].
#[derive(Debug)]
pub struct Memory {
    limit: u64,
    budget: Arc<Budget>,
    state: RwLock<State>,
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.budget.give(self.used());
    }
}

#[derive(Debug, Default)]
struct State {
    table: Arc<Table>,
    used: u64,
}

/// The allocations as they were at one moment; what a kernel sees while it runs.
#[derive(Clone, Debug)]
pub(crate) struct View(Arc<Table>);

impl View {
    /// The allocation that holds the address.
    pub(crate) fn find(&self, address: u64) -> Option<&Allocation> {
        find(&self.0, address).map(Arc::as_ref)
    }
}

fn find(table: &Table, address: u64) -> Option<&Arc<Allocation>> {
    let after = table.partition_point(|a| a.base() <= address);
    table.get(after.checked_sub(1)?).filter(|a| address - a.base() < a.len())
}

impl Memory {
    /// Memory of at most `limit_bytes` bytes, none of which is committed yet.
    pub fn new(limit_bytes: u64) -> Self {
        Self::within(Arc::new(Budget::new(limit_bytes)), limit_bytes)
    }

    /// Memory of at most `limit_bytes` bytes, and no more than the budget has left.
    pub fn within(budget: Arc<Budget>, limit_bytes: u64) -> Self {
        let limit = limit_bytes.min(budget.total()).min(END_ADDRESS - BASE_ADDRESS);
        Self { limit, budget, state: RwLock::default() }
    }

    /// What could still be allocated, in bytes.
    pub fn left(&self) -> u64 {
        self.limit.saturating_sub(self.used()).min(self.budget.left())
    }

    /// The total size in bytes.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// The bytes in live allocations, each rounded up to [`ALLOCATION_ALIGN`].
    pub fn used(&self) -> u64 {
        self.read_state(|state| state.used)
    }

    fn read_state<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Allocates `len` bytes, at the lowest address where they fit.
    ///
    /// # Errors
    /// `INVALID_VALUE` for no bytes, `OUT_OF_MEMORY` when they do not fit, or the machine has not so much.
    pub fn alloc(&self, len: u64) -> Result<u64> {
        if len == 0 {
            return Err(CuResult::INVALID_VALUE);
        }
        let rounded = len.checked_next_multiple_of(ALLOCATION_ALIGN).ok_or(CuResult::OUT_OF_MEMORY)?;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if rounded > self.limit.saturating_sub(state.used) || state.table.len() >= MAX_ALLOCATIONS {
            return Err(CuResult::OUT_OF_MEMORY);
        }
        let (index, base) = gap(&state.table, rounded).ok_or(CuResult::OUT_OF_MEMORY)?;
        if !self.budget.take(rounded) {
            return Err(CuResult::OUT_OF_MEMORY);
        }
        let Some(allocation) = Allocation::new(base, len) else {
            self.budget.give(rounded);
            return Err(CuResult::OUT_OF_MEMORY);
        };
        Arc::make_mut(&mut state.table).insert(index, Arc::new(allocation));
        state.used += rounded;
        Ok(base)
    }

    /// Frees an allocation. A kernel that runs at this moment keeps what it can see until it ends.
    ///
    /// # Errors
    /// `INVALID_VALUE` where `address` is not the start of a live allocation.
    pub fn free(&self, address: u64) -> Result<()> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let index =
            state.table.binary_search_by_key(&address, |a| a.base()).map_err(|_| CuResult::INVALID_VALUE)?;
        let gone = Arc::make_mut(&mut state.table).remove(index);
        let rounded = gone.len().next_multiple_of(ALLOCATION_ALIGN);
        state.used -= rounded;
        self.budget.give(rounded);
        Ok(())
    }

    /// The start and the length of the allocation that holds the address.
    pub fn range(&self, address: u64) -> Option<(u64, u64)> {
        self.read_state(|state| find(&state.table, address).map(|a| (a.base(), a.len())))
    }

    /// The number of live allocations.
    pub fn allocations(&self) -> usize {
        self.read_state(|state| state.table.len())
    }

    /// Whether an allocation begins at the address.
    pub fn starts_at(&self, address: u64) -> bool {
        self.range(address).is_some_and(|(start, _)| start == address)
    }

    /// What a kernel that starts now sees.
    pub(crate) fn view(&self) -> View {
        self.read_state(|state| View(Arc::clone(&state.table)))
    }

    /// A range of device memory, whoever frees it meanwhile.
    ///
    /// # Errors
    /// `INVALID_VALUE` unless the whole range lies in one live allocation.
    pub(crate) fn span(&self, address: u64, len: u64) -> Result<Span> {
        let found = self.read_state(|state| find(&state.table, address).map(Arc::clone));
        let allocation = found.ok_or(CuResult::INVALID_VALUE)?;
        let offset = address - allocation.base();
        if len > allocation.len() - offset {
            return Err(CuResult::INVALID_VALUE);
        }
        Ok(Span { allocation, offset, len })
    }
}

/// A range of an allocation, which stays readable and writable after the allocation is freed: for copies that
/// were issued before.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    allocation: Arc<Allocation>,
    offset: u64,
    len: u64,
}

/// The first gap that takes `len` bytes and a guard: its place in the table and its address.
fn gap(table: &Table, len: u64) -> Option<(usize, u64)> {
    let mut start = BASE_ADDRESS;
    for (index, next) in table.iter().enumerate() {
        if next.base() >= start.checked_add(len)?.checked_add(GUARD_BYTES)? {
            return Some((index, start));
        }
        start = (next.base() + next.len() + GUARD_BYTES).next_multiple_of(ALLOCATION_ALIGN);
    }
    (start.checked_add(len)?.checked_add(GUARD_BYTES)? <= END_ADDRESS).then_some((table.len(), start))
}

#[cfg(test)]
mod tests;
