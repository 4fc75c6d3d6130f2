//! One allocation: atomic words, all there from the start.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytemuck::allocation::try_zeroed_slice_box;

/// A live allocation.
#[derive(Debug)]
pub(crate) struct Allocation {
    base: u64,
    len: u64,
    words: Box<[AtomicU64]>,
}

impl Allocation {
    /// Takes the memory from the system, which gives each of its pages when that is first written. `None` if it has not so
    /// much address space.
    pub(super) fn new(base: u64, len: u64) -> Option<Self> {
        let words = try_zeroed_slice_box(usize::try_from(len.div_ceil(8)).ok()?).ok()?;
        Some(Self { base, len, words })
    }

    /// The first address.
    pub(crate) fn base(&self) -> u64 {
        self.base
    }

    /// The length in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Its words.
    pub(super) fn words(&self) -> &[AtomicU64] {
        &self.words
    }

    /// The aligned 64-bit word at the byte offset; zero beyond the end.
    #[inline]
    pub(crate) fn word(&self, offset: u64) -> u64 {
        self.words.get((offset / 8) as usize).map_or(0, |w| w.load(Relaxed))
    }

    /// Sets an aligned 64-bit word.
    #[inline]
    pub(crate) fn set_word(&self, offset: u64, value: u64) {
        if let Some(w) = self.words.get((offset / 8) as usize) {
            w.store(value, Relaxed);
        }
    }

    /// Reads `size` (1, 2, 4 or 8) bytes at an offset that is a multiple of it.
    #[inline]
    pub(crate) fn load(&self, offset: u64, size: u32) -> u64 {
        let word = self.word(offset);
        if size == 8 { word } else { (word >> shift(offset)) & mask(size) }
    }

    /// Writes `size` (1, 2, 4 or 8) bytes at an offset that is a multiple of it.
    #[inline]
    pub(crate) fn store(&self, offset: u64, size: u32, value: u64) {
        if size == 8 {
            return self.set_word(offset, value);
        }
        self.update(offset, size, |_| value);
    }

    /// Replaces `size` bytes by a function of them in one atomic step, and gives what was there.
    #[inline]
    pub(crate) fn update(&self, offset: u64, size: u32, change: impl Fn(u64) -> u64) -> u64 {
        let Some(word) = self.words.get((offset / 8) as usize) else { return 0 };
        let (shift, mask) = (if size == 8 { 0 } else { shift(offset) }, mask(size));
        let mut old = word.load(Relaxed);
        loop {
            let before = (old >> shift) & mask;
            let new = (old & !(mask << shift)) | ((change(before) & mask) << shift);
            match word.compare_exchange_weak(old, new, Relaxed, Relaxed) {
                Ok(_) => return before,
                Err(now) => old = now,
            }
        }
    }
}

fn shift(offset: u64) -> u32 {
    (offset % 8 * 8) as u32
}

fn mask(size: u32) -> u64 {
    match size {
        1 => 0xff,
        2 => 0xffff,
        4 => 0xffff_ffff,
        _ => u64::MAX,
    }
}
