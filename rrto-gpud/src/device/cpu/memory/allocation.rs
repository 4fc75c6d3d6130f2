//! One allocation: pages of atomic words that appear when first written.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Bytes in a page. Not the operating system's page: only how much memory one first write commits.
pub(super) const PAGE_BYTES: u64 = 64 << 10;
/// Words in a page.
pub(super) const PAGE_WORDS: usize = (PAGE_BYTES / 8) as usize;

type Page = OnceLock<Box<[AtomicU64]>>;

/// A live allocation.
#[derive(Debug)]
pub(crate) struct Allocation {
    base: u64,
    len: u64,
    pages: Box<[Page]>,
}

impl Allocation {
    pub(super) fn new(base: u64, len: u64) -> Self {
        let pages = (0..len.div_ceil(PAGE_BYTES)).map(|_| OnceLock::new()).collect();
        Self { base, len, pages }
    }

    /// The first address.
    pub(crate) fn base(&self) -> u64 {
        self.base
    }

    /// The length in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The words of a page, if any of them has been written.
    pub(super) fn page(&self, index: usize) -> Option<&[AtomicU64]> {
        self.pages.get(index)?.get().map(|words| &**words)
    }

    /// The words of a page, committed if need be. The last page is as long as the allocation needs.
    #[inline]
    pub(super) fn commit(&self, index: usize) -> &[AtomicU64] {
        let Some(page) = self.pages.get(index) else { return &[] };
        page.get_or_init(|| self.new_page(index))
    }

    #[cold]
    fn new_page(&self, index: usize) -> Box<[AtomicU64]> {
        let rest = self.len - index as u64 * PAGE_BYTES;
        (0..rest.min(PAGE_BYTES).div_ceil(8)).map(|_| AtomicU64::new(0)).collect()
    }

    fn place(offset: u64) -> (usize, usize) {
        ((offset / PAGE_BYTES) as usize, (offset % PAGE_BYTES / 8) as usize)
    }

    /// The aligned 64-bit word at the byte offset; zero beyond the end.
    #[inline]
    pub(crate) fn word(&self, offset: u64) -> u64 {
        let (page, word) = Self::place(offset);
        self.page(page).and_then(|words| words.get(word)).map_or(0, |w| w.load(Relaxed))
    }

    /// Sets an aligned 64-bit word.
    #[inline]
    pub(crate) fn set_word(&self, offset: u64, value: u64) {
        let (page, word) = Self::place(offset);
        if let Some(w) = self.commit(page).get(word) {
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
        let (page, index) = Self::place(offset);
        let Some(word) = self.commit(page).get(index) else { return 0 };
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
