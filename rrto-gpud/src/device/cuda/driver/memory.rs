//! Device memory, pinned memory and copies. All of it works in the current context.

use std::ffi::c_void;
use std::ptr;

use cudarc::driver::sys::CUcontext;

use super::{Answer, Context, Driver, Stream, check, out};
use crate::device::cuda::staging::{Lent, Shared, Slab};

/// `CU_POINTER_ATTRIBUTE_CONTEXT`.
const POINTER_CONTEXT: u32 = 1;
/// `CU_POINTER_ATTRIBUTE_MEMORY_TYPE`, and its value for device memory.
const POINTER_MEMORY_TYPE: u32 = 2;
const MEMORY_TYPE_DEVICE: u32 = 2;

/// One fill: which element, and over what.
pub(in crate::device::cuda) struct Fill {
    /// First byte.
    pub(in crate::device::cuda) address: u64,
    /// From one row to the next; meaningless for one row.
    pub(in crate::device::cuda) pitch_bytes: usize,
    /// Elements of a row.
    pub(in crate::device::cuda) width: usize,
    /// Rows.
    pub(in crate::device::cuda) height: usize,
    /// The element.
    pub(in crate::device::cuda) element: Element,
}

/// The element that a fill repeats.
pub(in crate::device::cuda) enum Element {
    /// One byte.
    Byte(u8),
    /// Two.
    Short(u16),
    /// Four.
    Word(u32),
}

impl Driver {
    /// `cuMemAlloc`.
    pub(in crate::device::cuda) fn allocate(&self, bytes: usize) -> Answer<u64> {
        // SAFETY: writes one address.
        out(0, |address| unsafe { (self.functions.cuMemAlloc_v2)(address, bytes) })
    }

    /// `cuMemAllocPitch`: address and pitch.
    pub(in crate::device::cuda) fn allocate_pitch(
        &self,
        width_bytes: usize,
        height: usize,
        element_bytes: u32,
    ) -> Answer<(u64, usize)> {
        let mut pitch = 0;
        let address = out(0, |address| {
            // SAFETY: writes one address and one size_t.
            unsafe {
                (self.functions.cuMemAllocPitch_v2)(
                    address,
                    &raw mut pitch,
                    width_bytes,
                    height,
                    element_bytes,
                )
            }
        })?;
        Ok((address, pitch))
    }

    /// `cuMemFree`. Waits, as the driver does, until the context's work is done.
    pub(in crate::device::cuda) fn free(&self, address: u64) -> Answer<()> {
        // SAFETY: an address of no allocation is answered with INVALID_VALUE. Device memory is not the process's: no
        // Rust reference points into it.
        check(unsafe { (self.functions.cuMemFree_v2)(address) })
    }

    /// `cuMemGetInfo`: free and total, bytes.
    pub(in crate::device::cuda) fn memory_info(&self) -> Answer<(u64, u64)> {
        let (mut free, mut total) = (0, 0);
        // SAFETY: writes two size_t.
        check(unsafe { (self.functions.cuMemGetInfo_v2)(&raw mut free, &raw mut total) })?;
        Ok((free as u64, total as u64))
    }

    /// Whether the range lies in one piece of device memory of this context.
    pub(in crate::device::cuda) fn is_device_memory_of(
        &self,
        context: &Context,
        address: u64,
        bytes: u64,
    ) -> bool {
        let mut owner: CUcontext = ptr::null_mut();
        let mut kind = 0_u32;
        // SAFETY: these attributes are a CUcontext and an unsigned int, and so is what they are written to. Any
        // address may be asked about.
        let (owned, typed) = unsafe {
            let ask = self.functions.cuPointerGetAttribute;
            (
                ask((&raw mut owner).cast(), POINTER_CONTEXT, address),
                ask((&raw mut kind).cast(), POINTER_MEMORY_TYPE, address),
            )
        };
        let (mut start, mut length) = (0, 0);
        // SAFETY: writes an address and a size_t. Any address may be asked about.
        let ranged =
            unsafe { (self.functions.cuMemGetAddressRange_v2)(&raw mut start, &raw mut length, address) };
        [owned, typed, ranged].into_iter().all(|result| check(result).is_ok())
            && context.is(owner)
            && kind == MEMORY_TYPE_DEVICE
            && address.checked_add(bytes).is_some_and(|end| end <= start.saturating_add(length as u64))
    }

    /// Page-locks a slab for the current context.
    pub(in crate::device::cuda) fn pin(&self, slab: &Slab) -> Answer<()> {
        // SAFETY: the slab is that long, and lives until after it is unpinned or the context is gone (`staging`).
        check(unsafe { (self.functions.cuMemHostRegister_v2)(slab.address().cast(), slab.bytes(), 0) })
    }

    /// Undoes [`Driver::pin`]. The device must have finished with the slab.
    pub(in crate::device::cuda) fn unpin(&self, slab: &Slab) -> Answer<()> {
        // SAFETY: an address that is not registered is answered with an error.
        check(unsafe { (self.functions.cuMemHostUnregister)(slab.address().cast()) })
    }

    /// `cuMemcpyHtoDAsync` of the first `bytes` bytes of a block, which is at least that long.
    pub(in crate::device::cuda) fn copy_in(
        &self,
        dst: u64,
        src: &Lent,
        bytes: usize,
        stream: &Stream,
    ) -> Answer<()> {
        debug_assert!(bytes <= src.bytes());
        let bytes = bytes.min(src.bytes());
        // SAFETY: the block has that many initialised bytes. It is lent: nobody writes to it or frees it until the
        // copy is known to be over (`Lent::take_back`), and its slab outlives the context.
        check(unsafe {
            (self.functions.cuMemcpyHtoDAsync_v2)(dst, src.address().cast::<c_void>(), bytes, stream.raw())
        })
    }

    /// `cuMemcpyHtoDAsync` of bytes that another process has put there, and leaves there until the copy is over.
    pub(in crate::device::cuda) fn copy_in_shared(
        &self,
        dst: u64,
        src: &Shared<'_>,
        bytes: usize,
        stream: &Stream,
    ) -> Answer<()> {
        // SAFETY: so many bytes are mapped there and page-locked until the context is gone (`staging`). That another
        // process may write to them changes what is copied, and nothing else.
        check(unsafe {
            (self.functions.cuMemcpyHtoDAsync_v2)(dst, src.address().cast::<c_void>(), bytes, stream.raw())
        })
    }

    /// `cuMemcpyDtoHAsync` to the start of a block, which is at least `bytes` long.
    pub(in crate::device::cuda) fn copy_out(
        &self,
        dst: &Lent,
        src: u64,
        bytes: usize,
        stream: &Stream,
    ) -> Answer<()> {
        debug_assert!(bytes <= dst.bytes());
        let bytes = bytes.min(dst.bytes());
        // SAFETY: the block has room for that many bytes. It is lent: nobody reads or frees it until the copy is
        // known to be over (`Lent::take_back`), and its slab outlives the context.
        check(unsafe {
            (self.functions.cuMemcpyDtoHAsync_v2)(dst.address().cast(), src, bytes, stream.raw())
        })
    }

    /// `cuMemcpyDtoDAsync`.
    pub(in crate::device::cuda) fn copy_device(
        &self,
        dst: u64,
        src: u64,
        bytes: usize,
        stream: &Stream,
    ) -> Answer<()> {
        // SAFETY: both ranges are device memory of the session (`memory`), which no Rust reference points into.
        check(unsafe { (self.functions.cuMemcpyDtoDAsync_v2)(dst, src, bytes, stream.raw()) })
    }

    /// The `cuMemsetD*Async` that fits.
    pub(in crate::device::cuda) fn fill(&self, fill: &Fill, stream: &Stream) -> Answer<()> {
        let Fill { address, pitch_bytes: pitch, width, height, ref element } = *fill;
        let f = &self.functions;
        let stream = stream.raw();
        // SAFETY: the range is device memory of the session (`memory`), which no Rust reference points into; the
        // stream exists.
        check(unsafe {
            match (element, height) {
                (Element::Byte(value), 1) => (f.cuMemsetD8Async)(address, *value, width, stream),
                (Element::Short(value), 1) => (f.cuMemsetD16Async)(address, *value, width, stream),
                (Element::Word(value), 1) => (f.cuMemsetD32Async)(address, *value, width, stream),
                (Element::Byte(value), _) => {
                    (f.cuMemsetD2D8Async)(address, pitch, *value, width, height, stream)
                }
                (Element::Short(value), _) => {
                    (f.cuMemsetD2D16Async)(address, pitch, *value, width, height, stream)
                }
                (Element::Word(value), _) => {
                    (f.cuMemsetD2D32Async)(address, pitch, *value, width, height, stream)
                }
            }
        })
    }
}
