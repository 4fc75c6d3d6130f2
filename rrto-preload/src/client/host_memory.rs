//! Pinned host memory: what the program allocates through CUDA, or registers.
//!
//! It is ordinary memory of the program. That it is pinned means here that copies out into it need not be waited for.
//! A kernel cannot reach it; the one exception is a small block with a device address (cuBLAS has one of 4 bytes),
//! which stands for device memory of the same size that starts as zeroes and is never copied.

use rrto_core::api::CuResult;
use rrto_core::operator::Handle;

use super::Call;
use super::copy::Fill;
use crate::context::ContextHandle;
use crate::log;
use crate::marshal::{Block, HostAddress};

/// CU_MEMHOSTALLOC_PORTABLE, DEVICEMAP and WRITECOMBINED.
const ALLOCATE_FLAGS: u32 = 0x07;
/// CU_MEMHOSTREGISTER_PORTABLE, DEVICEMAP, IOMEMORY and READ_ONLY.
const REGISTER_FLAGS: u32 = 0x0f;
/// CU_MEMHOSTREGISTER_IOMEMORY: not this machine's memory to lend.
const REGISTER_IO_MEMORY: u32 = 0x04;

/// The longest pinned block that gets a device address. Enough for the flags and counters that libraries keep there;
/// a program that wants its data there has to be told that it does not work.
const MAPPED_MAX_BYTES: u64 = 64 << 10;

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
    /// Its stand-in on the device, if it was asked for: address.
    pub(super) device: Option<u64>,
}

impl Call<'_> {
    /// cuMemHostAlloc: the address.
    pub(crate) fn allocate_host(&self, bytes: usize, flags: u32) -> Result<usize, CuResult> {
        if bytes == 0 || flags & !ALLOCATE_FLAGS != 0 {
            return Err(CuResult::INVALID_VALUE);
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
        if flags & REGISTER_IO_MEMORY != 0 {
            return Err(CuResult::NOT_SUPPORTED);
        }
        let range = memory.destination(bytes as u64)?.range();
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
        self.await_copies_into(address);
        let ended = self.client.pinned.remove(address, |pinned| pinned.block.is_none());
        let (_, pinned) = ended.ok_or(CuResult::HOST_MEMORY_NOT_REGISTERED)?;
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
        let flags = self.client.pinned.look(memory.address() as u64, |_, _, pinned| pinned.flags);
        flags.ok_or(CuResult::INVALID_VALUE)
    }

    /// cuMemHostGetDevicePointer.
    pub(crate) fn host_device_pointer(&self, memory: HostAddress) -> Result<u64, CuResult> {
        let address = memory.address() as u64;
        let known = self.client.pinned.look(address, |start, bytes, pinned| (start, bytes, pinned.device));
        let (start, bytes, device) = known.ok_or(CuResult::INVALID_VALUE)?;
        if let Some(device) = device {
            return Ok(device + (address - start));
        }
        if bytes > MAPPED_MAX_BYTES {
            log::error!(
                "the program wants a device address for {bytes} bytes of host memory: not offered, \
                 because a kernel cannot reach it (at most {MAPPED_MAX_BYTES} bytes, which are never copied)"
            );
            return Err(CuResult::NOT_SUPPORTED);
        }
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
        Ok(kept + (address - start))
    }
}
