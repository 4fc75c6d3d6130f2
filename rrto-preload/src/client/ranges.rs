//! Address ranges and what is known of each.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Ranges that do not overlap, by address.
#[derive(Debug)]
pub(super) struct Ranges<T> {
    /// By start: length in bytes, and what is known.
    entries: RwLock<BTreeMap<u64, (u64, T)>>,
}

impl<T> Default for Ranges<T> {
    fn default() -> Self {
        Ranges { entries: RwLock::default() }
    }
}

impl<T> Ranges<T> {
    pub(super) fn insert(&self, start: u64, bytes: u64, known: T) {
        self.write().insert(start, (bytes, known));
    }

    /// Adds a range unless it overlaps one that is there.
    pub(super) fn insert_new(&self, start: u64, bytes: u64, known: T) -> Result<(), T> {
        let mut entries = self.write();
        let before = entries.range(..start.saturating_add(bytes)).next_back();
        if before.is_some_and(|(at, (length, _))| at.saturating_add(*length) > start) {
            return Err(known);
        }
        entries.insert(start, (bytes, known));
        Ok(())
    }

    /// Takes out the range that starts exactly there, if `chosen`.
    pub(super) fn remove(&self, start: u64, chosen: impl FnOnce(&T) -> bool) -> Option<(u64, T)> {
        let mut entries = self.write();
        if entries.get(&start).is_some_and(|(_, known)| chosen(known)) {
            entries.remove(&start)
        } else {
            None
        }
    }

    /// Takes out all ranges that are chosen: their starts, and what was known.
    pub(super) fn remove_all(&self, mut chosen: impl FnMut(&T) -> bool) -> Vec<(u64, T)> {
        let mut entries = self.write();
        let starts: Vec<u64> =
            entries.iter().filter(|(_, (_, known))| chosen(known)).map(|(start, _)| *start).collect();
        starts
            .into_iter()
            .filter_map(|start| entries.remove(&start).map(|(_, known)| (start, known)))
            .collect()
    }

    /// Looks at the range with `address` in it: its start, its length and what is known.
    pub(super) fn look<R>(&self, address: u64, look: impl FnOnce(u64, u64, &T) -> R) -> Option<R> {
        let entries = self.read();
        let (start, (bytes, known)) = entries.range(..=address).next_back()?;
        (address - start < *bytes).then(|| look(*start, *bytes, known))
    }

    /// Changes what is known of the range with `address` in it.
    pub(super) fn alter<R>(&self, address: u64, alter: impl FnOnce(&mut T) -> R) -> Option<R> {
        let mut entries = self.write();
        let (start, (bytes, known)) = entries.range_mut(..=address).next_back()?;
        (address - start < *bytes).then(|| alter(known))
    }

    /// Whether all of `address .. address + bytes` lies in one range.
    pub(super) fn holds(&self, address: u64, bytes: u64) -> bool {
        self.look(address, |start, length, _| bytes <= length - (address - start)).unwrap_or(false)
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<u64, (u64, T)>> {
        // A panic cannot leave a map half changed: each change is a single operation on it.
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<u64, (u64, T)>> {
        self.entries.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_found_by_any_address_in_it() {
        let ranges = Ranges::default();
        ranges.insert(100, 50, 'a');
        ranges.insert(150, 10, 'b');
        for (address, found) in
            [(99, None), (100, Some('a')), (149, Some('a')), (150, Some('b')), (160, None)]
        {
            assert_eq!(ranges.look(address, |_, _, &known| known), found, "{address}");
        }
        assert!(ranges.holds(100, 50) && ranges.holds(120, 30) && ranges.holds(150, 0));
        assert!(!ranges.holds(100, 51) && !ranges.holds(120, 31) && !ranges.holds(120, u64::MAX));
    }

    #[test]
    fn overlaps_are_refused() {
        let ranges = Ranges::default();
        ranges.insert(100, 50, ());
        for (start, bytes, fits) in
            [(50, 50, true), (50, 51, false), (149, 1, false), (150, 1, true), (0, u64::MAX, false)]
        {
            assert_eq!(ranges.insert_new(start, bytes, ()).is_ok(), fits, "{start} {bytes}");
            if fits {
                ranges.remove(start, |()| true);
            }
        }
    }
}
