//! The program's device memory, as far as dependencies need it.

use std::collections::BTreeMap;
use std::ops::Range;

/// How many allocations are known at a time; a program with more gets fewer dependencies found, and nothing else.
/// Programs with a caching allocator have some hundred.
pub const MAX_ALLOCATIONS: usize = 16 << 10;

/// Memory of a known allocation, bytes: two words, and what a tree adds in its half-full nodes.
pub const ALLOCATION_BYTES: usize = 48;

/// The live allocations of a program.
#[derive(Debug, Default)]
pub struct Memory {
    /// Length by address.
    allocations: BTreeMap<u64, u64>,
}

impl Memory {
    /// The program has memory from `address` on.
    pub fn handle_allocated(&mut self, address: u64, bytes: u64) {
        if self.allocations.len() < MAX_ALLOCATIONS || self.allocations.contains_key(&address) {
            self.allocations.insert(address, bytes);
        }
    }

    /// The program has no more memory from `address` on.
    pub fn handle_freed(&mut self, address: u64) {
        self.allocations.remove(&address);
    }

    /// The allocation that `address` is in.
    pub fn allocation(&self, address: u64) -> Option<Range<u64>> {
        let (&start, &bytes) = self.allocations.range(..=address).next_back()?;
        let range = start..start.saturating_add(bytes);
        range.contains(&address).then_some(range)
    }

    /// The lowest and the highest address that can be in an allocation, so that most numbers need no search.
    pub fn hull(&self) -> Range<u64> {
        let first = self.allocations.first_key_value();
        let last = self.allocations.last_key_value();
        match (first, last) {
            (Some((&start, _)), Some((&last, &bytes))) => start..last.saturating_add(bytes),
            _ => 0..0,
        }
    }

    /// Memory in use, bytes.
    pub fn bytes(&self) -> usize {
        self.allocations.len() * ALLOCATION_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_the_allocation_that_is_there_now() {
        let mut memory = Memory::default();
        memory.handle_allocated(1000, 100);
        memory.handle_allocated(2000, 8);
        assert_eq!(memory.allocation(999), None);
        assert_eq!(memory.allocation(1099), Some(1000..1100));
        assert_eq!(memory.allocation(1100), None);
        assert_eq!(memory.hull(), 1000..2008);
        memory.handle_freed(1000);
        memory.handle_freed(1);
        assert_eq!(memory.allocation(1000), None);
        memory.handle_allocated(u64::MAX, 5);
        assert_eq!(memory.allocation(u64::MAX - 1), None);
    }

    #[test]
    fn it_is_bounded() {
        let mut memory = Memory::default();
        (0..20_000).for_each(|at| memory.handle_allocated(at * 8, 8));
        assert_eq!(memory.bytes(), MAX_ALLOCATIONS * ALLOCATION_BYTES);
    }
}
