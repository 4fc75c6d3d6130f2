//! The program's buffers, as copies see them.

use std::ffi::c_void;
use std::marker::PhantomData;
use std::ops::Range;
use std::ptr;

use bytes::Bytes;
use rrto_core::api::CuResult;

/// `void *` of a copy, or the `CUdeviceptr` of one that tells directions apart by address.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(crate) struct HostAddress(*mut c_void);

impl HostAddress {
    /// The address as a number.
    pub(crate) fn address(self) -> usize {
        self.0.expose_provenance()
    }

    /// A host buffer that the program passed as a `CUdeviceptr`.
    pub(crate) fn of(unified: u64) -> Result<Self, CuResult> {
        let address = usize::try_from(unified).map_err(|_| CuResult::INVALID_VALUE)?;
        Ok(HostAddress(ptr::with_exposed_provenance_mut(address)))
    }

    /// As what the call reads.
    pub(crate) fn source(&self, bytes: u64) -> Result<Source<'_>, CuResult> {
        let range = self.range(bytes)?;
        Ok(Source { range, call: PhantomData })
    }

    /// As what the call writes.
    pub(crate) fn destination(&self, bytes: u64) -> Result<Destination, CuResult> {
        Ok(Destination { range: self.range(bytes)? })
    }

    fn range(self, bytes: u64) -> Result<Range<usize>, CuResult> {
        let start = self.address();
        let end = usize::try_from(bytes).ok().and_then(|bytes| start.checked_add(bytes));
        match end {
            Some(end) if start != 0 => Ok(start..end),
            _ => Err(CuResult::INVALID_VALUE),
        }
    }
}

/// Bytes of the program that a call reads before it returns.
#[derive(Debug)]
pub(crate) struct Source<'call> {
    range: Range<usize>,
    call: PhantomData<&'call [u8]>,
}

impl Source<'_> {
    /// The addresses.
    pub(crate) fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// A copy of `bytes` bytes at `offset`; what lies outside is not there.
    pub(crate) fn piece(&self, offset: usize, bytes: usize) -> Bytes {
        let piece = within(&self.range, offset, bytes);
        let mut copy = Vec::<u8>::with_capacity(piece.len());
        // SAFETY: the piece lies within the buffer that the caller promised to be readable for the call, whose
        // lifetime this value has; the copy has the capacity. Raw copies do not assume that no other thread of the
        // program writes there meanwhile.
        unsafe {
            ptr::copy_nonoverlapping(
                ptr::with_exposed_provenance(piece.start),
                copy.as_mut_ptr(),
                piece.len(),
            );
            copy.set_len(piece.len());
        }
        Bytes::from(copy)
    }
}

/// Bytes of the program that a copy from the device writes: before the call returns, or, into pinned memory, before
/// the call returns by which the program waits for it.
#[derive(Clone, Debug)]
pub(crate) struct Destination {
    range: Range<usize>,
}

impl Destination {
    /// The addresses.
    pub(crate) fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// `bytes` bytes of it at `offset`.
    pub(crate) fn piece(&self, offset: usize, bytes: usize) -> Destination {
        Destination { range: within(&self.range, offset, bytes) }
    }

    /// Writes at `offset`; what does not fit is dropped, because a server's length is not to be trusted.
    pub(crate) fn write(&self, offset: usize, bytes: &[u8]) {
        let piece = within(&self.range, offset, bytes.len());
        // SAFETY: the piece lies within the buffer that the caller promised to be writable until the copy is over,
        // and the deliveries forget a destination before that. It is no longer than `bytes`, which is ours.
        unsafe {
            ptr::copy_nonoverlapping(
                bytes.as_ptr(),
                ptr::with_exposed_provenance_mut(piece.start),
                piece.len(),
            );
        }
    }

    /// Copies from another buffer of the program, which may overlap.
    pub(crate) fn copy_from(&self, source: &Source<'_>) {
        let bytes = self.range.len().min(source.range.len());
        // SAFETY: both buffers have at least so many bytes by the caller's promise, and memmove allows overlap.
        unsafe {
            ptr::copy(
                ptr::with_exposed_provenance::<u8>(source.range.start),
                ptr::with_exposed_provenance_mut(self.range.start),
                bytes,
            );
        }
    }
}

/// The part of `range` that `bytes` bytes at `offset` are.
fn within(range: &Range<usize>, offset: usize, bytes: usize) -> Range<usize> {
    let start = range.start.saturating_add(offset).min(range.end);
    start..start.saturating_add(bytes).min(range.end)
}

#[cfg(test)]
impl HostAddress {
    /// As if C code had passed the buffer, which the test keeps alive.
    pub(crate) fn from(buffer: &[u8]) -> Self {
        HostAddress(buffer.as_ptr().cast_mut().cast())
    }

    /// As if C code had passed the buffer for writing.
    pub(crate) fn to(buffer: &mut [u8]) -> Self {
        HostAddress(buffer.as_mut_ptr().cast())
    }
}
