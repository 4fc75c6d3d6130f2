//! Page-locked memory through which copies pass.
//!
//! Every copy between a payload and the device goes through a block of memory that is page-locked, because only then
//! does `cuMemcpy*Async` promise not to wait: from pageable memory "the driver may synchronize with the stream"
//! (CUDA driver API, "API synchronization behavior"), however short the copy.
//!
//! Blocks come in [`CLASSES`] and are cut from slabs, because locking pages is slow (about a millisecond for some
//! MB) and a copy must not be. A slab is ordinary memory of this process that is registered with the session's
//! context (`cuMemHostRegister`), not memory that the driver allocates: so its life is Rust's to decide, and the
//! bytes of a payload may be read and dropped on any thread, even after the context is gone. It also is mapped for no
//! other session's context, as the driver's own host allocations are (CUDA driver API, "Unified Addressing").
//!
//! The memory through which the server hands payloads over ([`super::super::process`]) is mapped and page-locked as well,
//! and the device copies straight out of it ([`Shared`]); nothing here reads or writes it.
//!
//! A block has one owner at a time, which its type tells:
//!
//! - [`Block`]: the owner may read and write its bytes;
//! - [`Lent`]: the device may; nobody else does until it is taken back;
//! - [`Payload`]: the network reads it, and dropping it sends the block home.

use std::alloc::{self, Layout};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use rrto_core::api::CuResult;

/// The bytes of a block and of a slab that is cut into such blocks. The smallest is for the scalars and small
/// tensors that most copies are, the largest is a whole payload.
const CLASSES: [(usize, usize); 3] = [(4 << 10, 1 << 20), (64 << 10, 4 << 20), (1 << 20, 8 << 20)];

/// Payloads up to this many bytes are copied out of their block at once: that is cheaper than a block's way home.
const COPIED_PAYLOAD_BYTES: usize = 64 << 10;

/// What page-locks slabs: the driver, or nothing in a test.
pub(super) trait Pin {
    /// Page-locks it.
    fn pin(&self, slab: &Slab) -> Result<(), CuResult>;
    /// Undoes that.
    fn unpin(&self, slab: &Slab) -> Result<(), CuResult>;
}

/// A run of memory that starts at a page.
pub(super) struct Slab {
    start: NonNull<u8>,
    bytes: usize,
    origin: Origin,
}

enum Origin {
    Allocated(Layout),
    Mapped,
}

// SAFETY: a slab owns its memory and has no methods that touch it; blocks do, each its own piece.
unsafe impl Send for Slab {}
// SAFETY: as above.
unsafe impl Sync for Slab {}

impl Slab {
    fn new(bytes: usize) -> Option<Slab> {
        let layout = Layout::from_size_align(bytes, page_bytes()).ok()?;
        if layout.size() == 0 {
            return None;
        }
        // SAFETY: the layout's size is not zero.
        let start = NonNull::new(unsafe { alloc::alloc_zeroed(layout) })?;
        Some(Slab { start, bytes: layout.size(), origin: Origin::Allocated(layout) })
    }

    /// Maps all of `file`, which other processes may go on to write to.
    fn map(file: BorrowedFd<'_>) -> io::Result<Slab> {
        let bytes = usize::try_from(rustix::fs::fstat(file)?.st_size).map_err(io::Error::other)?;
        let (access, shared) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: a new mapping at an address of the system's choice touches nothing that there is.
        let start = unsafe { libc::mmap(ptr::null_mut(), bytes, access, shared, file.as_raw_fd(), 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at zero"))?;
        Ok(Slab { start, bytes, origin: Origin::Mapped })
    }

    /// Its first byte.
    pub(super) fn address(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// Its length.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        match self.origin {
            // SAFETY: allocated in `new` with this layout. All blocks that are cut from it hold it, so they are gone.
            Origin::Allocated(layout) => unsafe { alloc::dealloc(self.start.as_ptr(), layout) },
            // SAFETY: mapped in `map` with this length. There are no references into it, and the device has been kept from it
            // by `Staging::unpin`, or by the end of its context.
            Origin::Mapped => drop(unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) }),
        }
    }
}

/// Bytes that another process has put where the device can copy them from.
pub(super) struct Shared<'a> {
    slab: &'a Slab,
    offset: usize,
}

impl Shared<'_> {
    /// Where the device finds them.
    pub(super) fn address(&self) -> *mut u8 {
        // SAFETY: `Staging::shared` gives only what is within the slab.
        unsafe { self.slab.address().add(self.offset) }
    }
}

/// The bytes of a page; those of the smallest that there is if the system does not say.
fn page_bytes() -> usize {
    // SAFETY: asks for a number.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(bytes).ok().filter(|bytes| bytes.is_power_of_two()).unwrap_or(4096)
}

/// A piece of a slab. No two blocks overlap, and there is one value a piece: so it is like a `Box<[u8]>`.
pub(super) struct Block {
    slab: Arc<Slab>,
    offset: usize,
    class: usize,
}

impl Block {
    /// Its length.
    pub(super) fn bytes(&self) -> usize {
        CLASSES.get(self.class).map_or(0, |(bytes, _)| *bytes)
    }

    fn address(&self) -> *mut u8 {
        // SAFETY: `Staging::grow` cuts blocks only within the slab.
        unsafe { self.slab.address().add(self.offset) }
    }

    /// Its first `len` bytes, or all if it has fewer.
    fn read(&self, len: usize) -> &[u8] {
        // SAFETY: the piece is within the slab, initialised (the slab starts zeroed), and nobody's but this value's:
        // the device's use of it ended before it was made from a `Lent`.
        unsafe { std::slice::from_raw_parts(self.address(), len.min(self.bytes())) }
    }

    /// Has its first `len` bytes written, or all if it has fewer.
    pub(super) fn fill<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        // SAFETY: as for `read`; nobody else has a reference, because this value is borrowed mutably meanwhile.
        fill(unsafe { std::slice::from_raw_parts_mut(self.address(), len.min(self.bytes())) })
    }

    /// Hands it to the device.
    pub(super) fn lend(self) -> Lent {
        Lent(self)
    }
}

/// A block that the device may be reading or writing. Dropping it is safe: its piece is then never used again, and
/// the slab stays until the context is gone.
pub(super) struct Lent(Block);

impl Lent {
    /// Where the device finds it.
    pub(super) fn address(&self) -> *mut u8 {
        self.0.address()
    }

    /// Its length.
    pub(super) fn bytes(&self) -> usize {
        self.0.bytes()
    }

    /// Whether this is a block that [`Staging::take`] gives for a copy of `len` bytes.
    pub(super) fn fits(&self, len: usize) -> bool {
        class_of(len) == Some(self.0.class)
    }

    /// Makes it a block again.
    ///
    /// # Safety
    /// The device has finished with it: an event that was recorded after its last use has completed, or the use was
    /// refused by the driver.
    pub(super) unsafe fn take_back(self) -> Block {
        self.0
    }
}

/// What outlives the pool as long as payloads do.
#[derive(Default)]
struct Home {
    returned: Mutex<Vec<Block>>,
    /// How many blocks payloads have.
    out: AtomicUsize,
}

/// A block whose bytes are on their way to the program.
struct Payload {
    block: ManuallyDrop<Block>,
    len: usize,
    home: Arc<Home>,
}

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        self.block.read(self.len)
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        // SAFETY: the field is taken once, here, and not used after.
        let block = unsafe { ManuallyDrop::take(&mut self.block) };
        self.home.out.fetch_sub(1, Ordering::Relaxed);
        self.home.returned.lock().unwrap_or_else(PoisonError::into_inner).push(block);
    }
}

/// A session's blocks.
pub(super) struct Staging<P: Pin> {
    pin: P,
    slabs: Vec<Arc<Slab>>,
    free: [Vec<Block>; CLASSES.len()],
    /// How many blocks there are of the largest class, free or not.
    largest: usize,
    /// Bytes of all slabs.
    bytes: u64,
    limit_bytes: u64,
    home: Arc<Home>,
    /// What another process writes to.
    shared: Option<Arc<Slab>>,
}

/// The smallest class that has `len` bytes.
fn class_of(len: usize) -> Option<usize> {
    CLASSES.iter().position(|(bytes, _)| len <= *bytes)
}

impl<P: Pin> Staging<P> {
    /// An empty pool. Each class may have one slab whatever the limit, since a copy must be able to pass.
    pub(super) fn new(pin: P, limit_bytes: u64) -> Self {
        let (free, home) = (Default::default(), Arc::default());
        Staging { pin, slabs: Vec::new(), free, largest: 0, bytes: 0, limit_bytes, home, shared: None }
    }

    /// Has the device copy from `file` itself, to which another process writes.
    ///
    /// # Errors
    /// It cannot be mapped or page-locked.
    pub(super) fn share(&mut self, file: BorrowedFd<'_>) -> io::Result<()> {
        let slab = Arc::new(Slab::map(file)?);
        self.pin.pin(&slab).map_err(io::Error::other)?;
        self.slabs.push(slab.clone());
        self.shared = Some(slab);
        Ok(())
    }

    /// The `bytes` bytes at `offset` of the file that is shared, if they are within it.
    pub(super) fn shared(&self, offset: u64, bytes: u64) -> Option<Shared<'_>> {
        let slab = self.shared.as_deref()?;
        let is_within = offset.checked_add(bytes).is_some_and(|end| end <= slab.bytes() as u64);
        is_within.then_some(Shared { slab, offset: offset as usize })
    }

    /// A block for `len` bytes, if one is free.
    pub(super) fn take(&mut self, len: usize) -> Option<Block> {
        let class = class_of(len)?;
        if let Some(block) = self.free.get_mut(class)?.pop() {
            return Some(block);
        }
        let returned =
            std::mem::take(&mut *self.home.returned.lock().unwrap_or_else(PoisonError::into_inner));
        returned.into_iter().for_each(|block| self.give(block));
        self.free.get_mut(class)?.pop()
    }

    /// Takes a block back.
    pub(super) fn give(&mut self, block: Block) {
        if let Some(free) = self.free.get_mut(block.class) {
            free.push(block);
        }
    }

    /// Adds a slab for blocks of `len` bytes. Answers whether the limit allowed it.
    pub(super) fn grow(&mut self, len: usize) -> Result<bool, CuResult> {
        let class = class_of(len).ok_or(CuResult::INVALID_VALUE)?;
        let (block_bytes, slab_bytes) = CLASSES.get(class).copied().ok_or(CuResult::INVALID_VALUE)?;
        let first = !self.slabs.iter().any(|slab| slab.bytes() == slab_bytes);
        if !first && self.bytes.saturating_add(slab_bytes as u64) > self.limit_bytes {
            return Ok(false);
        }
        let slab = Arc::new(Slab::new(slab_bytes).ok_or(CuResult::OUT_OF_MEMORY)?);
        self.pin.pin(&slab)?;
        self.bytes += slab_bytes as u64;
        self.slabs.push(slab.clone());
        let offsets = (0..slab_bytes / block_bytes).map(|n| n * block_bytes);
        for offset in offsets {
            self.give(Block { slab: slab.clone(), offset, class });
        }
        if class + 1 == CLASSES.len() {
            self.largest += slab_bytes / block_bytes;
        }
        Ok(true)
    }

    /// The first `len` bytes of a block as a payload.
    ///
    /// The network may keep a payload for long, until the program has acknowledged it. At most half of the large
    /// blocks are lent to it so, and then bytes are copied: so the other half always comes back when the device has
    /// finished, and waiting for the device always finds room.
    pub(super) fn payload(&mut self, block: Block, len: usize) -> Bytes {
        let out = self.home.out.load(Ordering::Relaxed);
        if len <= COPIED_PAYLOAD_BYTES || (out + 1) * 2 > self.largest {
            let bytes = Bytes::copy_from_slice(block.read(len));
            self.give(block);
            return bytes;
        }
        self.home.out.fetch_add(1, Ordering::Relaxed);
        Bytes::from_owner(Payload { block: ManuallyDrop::new(block), len, home: self.home.clone() })
    }

    /// Unlocks all slabs, because the context is about to be destroyed. The device must have finished with them.
    pub(super) fn unpin(&mut self) {
        for slab in &self.slabs {
            if let Err(error) = self.pin.unpin(slab) {
                // After a fault the driver answers that fault to everything. Destroying the context unlocks the rest.
                tracing::debug!(%error, "unlocking staging memory");
            }
        }
    }
}

#[cfg(test)]
#[path = "staging_tests.rs"]
mod tests;
