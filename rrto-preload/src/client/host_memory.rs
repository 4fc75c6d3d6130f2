//! Pinned host memory: what the program allocates through CUDA, or registers.
//!
//! It is ordinary memory of the program. That it is pinned means here that copies out into it need not be waited for.
//! A kernel cannot reach it. CU_MEMHOSTALLOC_DEVICEMAP is accepted nevertheless, because with unified addressing it is
//! what every allocation has (cuMemHostAlloc: "all host pointers .. are directly accessible"), and most programs that
//! have it never use the memory from a kernel. What is refused is the device address itself: cuMemHostGetDevicePointer
//! answers NOT_SUPPORTED, cuPointerGetAttributes says that there is none, and the device's attributes say that host memory
//! cannot be mapped. A kernel that is given the host address all the same fails with ILLEGAL_ADDRESS, because no memory
//! of the device is where the program has its own (`marshal`'s reservations see to that): nothing reads zeros silently.
//!
//! The one exception is cuBLAS, told by who calls. At its start it maps 4 bytes and asks for their device address, before it
//! has done anything for the program. These few bytes get a stand-in: device memory of the same size, zero at first like
//! the host's, never copied. That is right as long as no kernel's word has to reach cuBLAS through them, or the other way,
//! and so it has been in all that was compared with the same program on the same GPU to the bit. Nobody else gets one,
//! however small: a program's flag that never changes would be a lie. (cuBLAS linked into a program statically is the
//! program, and is refused.)

use rrto_core::api::CuResult;
use rrto_core::operator::Handle;

use super::Call;
use super::copy::Fill;
use crate::context::ContextHandle;
use crate::log;
use crate::marshal::{Block, HostAddress};

/// CU_MEMHOSTALLOC_PORTABLE, DEVICEMAP and WRITECOMBINED.
const ALLOCATE_FLAGS: u32 = 0x07;
/// CU_MEMHOSTALLOC_DEVICEMAP and CU_MEMHOSTREGISTER_DEVICEMAP.
const DEVICE_MAP: u32 = 0x02;
/// CU_MEMHOSTREGISTER_PORTABLE, DEVICEMAP, IOMEMORY and READ_ONLY.
const REGISTER_FLAGS: u32 = 0x0f;
/// CU_MEMHOSTREGISTER_IOMEMORY: not this machine's memory to lend.
const REGISTER_IO_MEMORY: u32 = 0x04;

/// The longest block that gets a stand-in, if it is cuBLAS's.
const STAND_IN_MAX_BYTES: u64 = 16;

/// A range of pinned host memory.
#[derive(Debug)]
pub(super) struct Pinned {
    /// Whose it is.
    pub(super) context: ContextHandle,
    /// CU_POINTER_ATTRIBUTE_BUFFER_ID.
    pub(super) id: u64,
    /// As the program gave them.
    pub(super) flags: u32,
    /// The memory, if it is ours to free.
    pub(super) block: Option<Block>,
    /// The address of its stand-in on the device, if it has one.
    pub(super) device: Option<u64>,
}

impl Call<'_> {
    /// cuMemHostAlloc: the address.
    pub(crate) fn allocate_host(&self, bytes: usize, flags: u32) -> Result<usize, CuResult> {
        if flags & !ALLOCATE_FLAGS != 0 {
            return Err(CuResult::INVALID_VALUE);
        }
        // Nothing is at null, which is what the driver gives too.
        if bytes == 0 {
            return Ok(0);
        }
        let block = Block::new(bytes).ok_or(CuResult::OUT_OF_MEMORY)?;
        let address = block.address();
        let pinned = self.pinned(flags, Some(block));
        self.client.pinned.insert(address as u64, bytes as u64, pinned);
        Ok(address)
    }

    /// cuMemHostRegister.
    pub(crate) fn register_host(
        &self,
        memory: HostAddress,
        bytes: usize,
        flags: u32,
    ) -> Result<(), CuResult> {
        if bytes == 0 || flags & !REGISTER_FLAGS != 0 {
            return Err(CuResult::INVALID_VALUE);
        }
        // This machine's memory is no device's.
        if flags & REGISTER_IO_MEMORY != 0 {
            return Err(CuResult::INVALID_VALUE);
        }
        let range = memory.destination(bytes as u64)?.range();
        let is_ours = |_, _, pinned: &Pinned| pinned.block.is_some();
        if self.client.pinned.look(range.start as u64, is_ours) == Some(true) {
            return Err(CuResult::INVALID_VALUE);
        }
        let pinned = self.pinned(flags, None);
        let added = self.client.pinned.insert_new(range.start as u64, bytes as u64, pinned);
        added.map_err(|_| CuResult::HOST_MEMORY_ALREADY_REGISTERED)
    }

    fn pinned(&self, flags: u32, block: Option<Block>) -> Pinned {
        Pinned { context: self.context, id: self.client.new_handle().0, flags, block, device: None }
    }

    /// cuMemFreeHost. Null is nothing to free.
    pub(crate) fn free_host(&self, memory: HostAddress) -> Result<(), CuResult> {
        let address = memory.address() as u64;
        if address == 0 {
            return Ok(());
        }
        self.await_copies_into(address);
        let freed = self.client.pinned.remove(address, |pinned| pinned.block.is_some());
        let (_, pinned) = freed.ok_or(CuResult::INVALID_VALUE)?;
        self.release(pinned)
    }

    /// cuMemHostUnregister.
    pub(crate) fn unregister_host(&self, memory: HostAddress) -> Result<(), CuResult> {
        let address = memory.address() as u64;
        if address == 0 {
            return Err(CuResult::INVALID_VALUE);
        }
        self.await_copies_into(address);
        let ended = self.client.pinned.remove(address, |pinned| pinned.block.is_none());
        // What lies within pinned memory is known, and is not what was registered.
        let is_known = || self.client.pinned.holds(address, 0);
        let (_, pinned) = ended.ok_or_else(|| {
            if is_known() { CuResult::INVALID_VALUE } else { CuResult::HOST_MEMORY_NOT_REGISTERED }
        })?;
        self.release(pinned)
    }

    /// Nothing is written to the memory after this.
    fn await_copies_into(&self, address: u64) {
        let range =
            self.client.pinned.look(address, |start, bytes, _| start as usize..(start + bytes) as usize);
        if let Some(range) = range {
            self.settle(self.client.deliveries.overlapping(&range));
        }
    }

    /// What has been taken out of the table goes, with its stand-in.
    pub(super) fn release(&self, pinned: Pinned) -> Result<(), CuResult> {
        pinned.device.map_or(Ok(()), |address| self.free(address))
    }

    /// cuMemHostGetFlags.
    pub(crate) fn host_flags(&self, memory: HostAddress) -> Result<u32, CuResult> {
        // With unified addressing all pinned memory is mapped as far as the driver's flags go.
        let flags =
            self.client.pinned.look(memory.address() as u64, |_, _, pinned| pinned.flags | DEVICE_MAP);
        flags.ok_or(CuResult::INVALID_VALUE)
    }

    /// cuMemHostGetDevicePointer. Who `is_cublas` is asked only where it matters.
    pub(crate) fn host_device_pointer(
        &self,
        memory: HostAddress,
        is_cublas: impl FnOnce() -> bool,
    ) -> Result<u64, CuResult> {
        let address = memory.address() as u64;
        let known = self.client.pinned.look(address, |start, bytes, pinned| (start, bytes, pinned.device));
        let (start, bytes, device) = known.ok_or(CuResult::INVALID_VALUE)?;
        if bytes > STAND_IN_MAX_BYTES || !is_cublas() {
            log::error!(
                "the program wants a device address for {bytes} bytes of its host memory (mapped memory): not offered, \
                 because a kernel cannot reach them; it has to copy"
            );
            return Err(CuResult::NOT_SUPPORTED);
        }
        let device = match device {
            Some(device) => device,
            None => self.stand_in(address, bytes)?,
        };
        Ok(device + (address - start))
    }

    /// Makes the stand-in of a block.
    fn stand_in(&self, address: u64, bytes: u64) -> Result<u64, CuResult> {
        let device = self.allocate(bytes)?;
        let zeroes =
            Fill { address: device, pitch_bytes: 0, value: 0, element_bytes: 1, width: bytes, height: 1 };
        self.fill(zeroes, Handle::LEGACY_STREAM)?;
        // If another thread was faster, its address stands.
        let kept = self.client.pinned.alter(address, |pinned| *pinned.device.get_or_insert(device));
        let kept = kept.ok_or(CuResult::INVALID_VALUE)?;
        if kept != device {
            self.free(device)?;
        }
        Ok(kept)
    }
}
