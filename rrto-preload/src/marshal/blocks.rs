//! Host memory that the library gives to the program (cuMemHostAlloc).

use std::ptr;

/// Page-aligned, zeroed memory of the program's. Freed when dropped.
#[derive(Debug)]
pub(crate) struct Block {
    address: usize,
    bytes: usize,
}

impl Block {
    /// So many bytes; `None` where the machine does not have them.
    pub(crate) fn new(bytes: usize) -> Option<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new anonymous mapping at an address of the system's choice touches nothing that exists.
        let start = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return None;
        }
        Some(Block { address: start.expose_provenance(), bytes })
    }

    /// Where it starts.
    pub(crate) fn address(&self) -> usize {
        self.address
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: the mapping was made in `new` with this length and is unmapped once. Nothing of ours points into
        // it: copies that are still to write there are waited for before a block is dropped. The program asked.
        unsafe { libc::munmap(ptr::with_exposed_provenance_mut(self.address), self.bytes) };
    }
}
