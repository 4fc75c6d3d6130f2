//! Keeps the program's own memory away from the addresses of its device memory.
//!
//! Device addresses are the server's, and a program that has unified addressing asks of an address whose it is. So no
//! mapping of the program may come to lie where its device memory is. The real driver reserves the range in the
//! process; so does this. Reservations are inaccessible, cost no memory, and are kept when device memory is freed: the
//! server's driver uses its addresses again.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Something of the program's lies where device memory was to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Taken;

/// The address ranges that are reserved: start and end, page-aligned, not overlapping.
#[derive(Debug, Default)]
pub(crate) struct Reservations {
    held: Mutex<BTreeMap<usize, usize>>,
}

impl Reservations {
    /// Reserves the pages of `start .. start + bytes`, as far as they are not reserved already.
    pub(crate) fn reserve(&self, start: u64, bytes: u64) -> Result<(), Taken> {
        // An address that this machine does not have is an address that nothing of the program's can have.
        let Some(pages) = pages(start, bytes) else { return Ok(()) };
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        for gap in gaps(&held, pages) {
            if reserve_pages(&gap)? {
                held.insert(gap.start, gap.end);
            }
        }
        Ok(())
    }
}

/// The parts of `pages` that are not held.
fn gaps(held: &BTreeMap<usize, usize>, pages: Range<usize>) -> Vec<Range<usize>> {
    let mut at = match held.range(..=pages.start).next_back() {
        Some((_, &end)) => pages.start.max(end),
        None => pages.start,
    };
    let mut gaps = Vec::new();
    for (&start, &end) in held.range(pages.start..pages.end) {
        if at < start {
            gaps.push(at..start);
        }
        at = at.max(end);
    }
    if at < pages.end {
        gaps.push(at..pages.end);
    }
    gaps
}

/// The whole pages that a range touches.
fn pages(start: u64, bytes: u64) -> Option<Range<usize>> {
    // SAFETY: it has no preconditions.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok()?;
    let end = usize::try_from(start.checked_add(bytes)?).ok()?.checked_next_multiple_of(page)?;
    let start = usize::try_from(start).ok()? / page * page;
    Some(start..end)
}

/// Whether the pages are reserved now. They are not, and need not be, where nothing can be mapped.
fn reserve_pages(pages: &Range<usize>) -> Result<bool, Taken> {
    let wanted = std::ptr::without_provenance_mut(pages.start);
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED_NOREPLACE;
    // SAFETY: FIXED_NOREPLACE never replaces a mapping; systems that do not know it take the address as a wish.
    let got = unsafe { libc::mmap(wanted, pages.len(), libc::PROT_NONE, flags, -1, 0) };
    if got == libc::MAP_FAILED {
        let is_taken = std::io::Error::last_os_error().raw_os_error() == Some(libc::EEXIST);
        return if is_taken { Err(Taken) } else { Ok(false) };
    }
    if got != wanted {
        // SAFETY: this mapping was made above, and nothing points into it.
        unsafe { libc::munmap(got, pages.len()) };
        return Err(Taken);
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::marshal::Block;

    proptest! {
        #[test]
        fn gaps_and_what_is_held_cover_the_pages_once(
            starts in prop::collection::btree_map(0..100_usize, 1..10_usize, 0..10),
            start in 0..100_usize,
            length in 1..50_usize,
        ) {
            let mut held = BTreeMap::new();
            let mut free_from = 0;
            for (start, length) in starts {
                if start >= free_from {
                    free_from = start + length;
                    held.insert(start, free_from);
                }
            }
            let gaps = gaps(&held, start..start + length);
            for page in start..start + length {
                let in_gaps = gaps.iter().filter(|gap| gap.contains(&page)).count();
                let in_held = held.iter().filter(|(start, end)| (**start..**end).contains(&page)).count();
                prop_assert_eq!(in_gaps + in_held, 1);
            }
        }
    }

    /// A place where no system puts anything on its own, within the smallest address space that Linux has on aarch64.
    const UNUSED: u64 = 64 << 30;

    #[test]
    fn what_the_program_has_is_not_reserved() {
        let block = Block::new(1 << 20).unwrap();
        let reservations = Reservations::default();
        assert_eq!(reservations.reserve(block.address() as u64 + 100, 10), Err(Taken));
        assert_eq!(reservations.reserve(u64::MAX - 1, 1), Ok(()), "no such address");
        for _ in 0..2 {
            assert_eq!(
                reservations.reserve(UNUSED + 100, 10),
                Ok(()),
                "reserving it twice is one reservation"
            );
        }
        assert_eq!(reservations.reserve(UNUSED, 1 << 20), Ok(()));
        assert_eq!(Reservations::default().reserve(UNUSED, 1), Err(Taken), "it is reserved indeed");
    }
}
