//! The arguments of a launch.

use std::ffi::c_void;

use bytes::Bytes;
use rrto_core::api::CuResult;
use rrto_core::image::unread::Leftovers;
use rrto_core::operator::{
    Geometry, LAUNCH_ATTRIBUTE_VALUE_BYTES, LaunchAttribute, MAX_LAUNCH_ATTRIBUTES, MAX_PARAM_BYTES,
};
use smallvec::SmallVec;

use super::In;
use crate::log;

/// A parameter block in the making, on the stack: a launch of a replayed run needs no memory of its own. The longest in the
/// recordings of PyTorch's models is 3,522 bytes.
pub(crate) type ParamBlock = SmallVec<[u8; 4096]>;

/// `void **kernelParams`: null, or an address for each parameter of the kernel.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(crate) struct Params(pub(super) *const *const c_void);

impl Params {
    /// Whether the program passes its parameters in another way.
    pub(crate) fn is_null(&self) -> bool {
        self.0.is_null()
    }

    /// Appends the parameter block to the empty `block`: each parameter at its offset, as `layout` (offset and size in bytes, in
    /// the order of their places) says, and zeros where the kernel does not read it.
    pub(crate) fn pack(
        &self,
        layout: &[(u32, u32)],
        unread: &Leftovers,
        block: &mut ParamBlock,
    ) -> Result<(), CuResult> {
        if self.0.is_null() && !layout.is_empty() {
            return Err(CuResult::INVALID_VALUE);
        }
        for (at, &(offset, bytes)) in layout.iter().enumerate() {
            let (offset, bytes) = (offset as usize, bytes as usize);
            // SAFETY: the caller's array has an address for each parameter of the kernel.
            let value = unsafe { self.0.add(at).read_unaligned() }.cast::<u8>();
            let fits = block.len() <= offset && offset + bytes <= MAX_PARAM_BYTES;
            if value.is_null() || !fits {
                return Err(CuResult::INVALID_VALUE);
            }
            block.resize(offset, 0);
            // SAFETY: the caller's address points to a value of this parameter, which has `bytes` bytes; the slice is copied at
            // once.
            block.extend_from_slice(unsafe { std::slice::from_raw_parts(value, bytes) });
        }
        unread.clear(block);
        Ok(())
    }
}

/// `void **extra`: null, or pairs of a key and a value, ended by a zero key.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(crate) struct Extra(pub(super) *const *const c_void);

/// CU_LAUNCH_PARAM_BUFFER_POINTER.
const BUFFER_POINTER: usize = 1;
/// CU_LAUNCH_PARAM_BUFFER_SIZE.
const BUFFER_SIZE: usize = 2;
/// Two kinds of pairs exist. A list with more has no end.
const PAIRS_MAX: usize = 8;

impl Extra {
    /// For functions that have no such argument.
    pub(crate) fn none() -> Self {
        Extra(std::ptr::null())
    }

    /// Whether the program passes its parameters in another way.
    pub(crate) fn is_null(&self) -> bool {
        self.0.is_null()
    }

    /// Appends the parameter block, which the program has packed itself, to the empty `block`, with zeros where the kernel does
    /// not read it.
    pub(crate) fn copy(&self, unread: &Leftovers, block: &mut ParamBlock) -> Result<(), CuResult> {
        let (mut buffer, mut bytes) = (std::ptr::null::<u8>(), 0);
        for pair in 0..=PAIRS_MAX {
            // SAFETY: the caller's list goes on to its zero key, which has not been seen yet.
            let key = unsafe { self.0.add(2 * pair).read_unaligned() }.addr();
            if key == 0 {
                break;
            }
            // SAFETY: a key that is not zero has a value.
            let value = unsafe { self.0.add(2 * pair + 1).read_unaligned() };
            match key {
                BUFFER_POINTER => buffer = value.cast(),
                BUFFER_SIZE => bytes = In(value.cast::<usize>()).get()?,
                _ => return Err(CuResult::INVALID_VALUE),
            }
            if pair == PAIRS_MAX {
                return Err(CuResult::INVALID_VALUE);
            }
        }
        if bytes > MAX_PARAM_BYTES || (bytes > 0 && buffer.is_null()) {
            return Err(CuResult::INVALID_VALUE);
        }
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: the caller's buffer has as many bytes as the caller's size says; the slice is copied at once.
        block.extend_from_slice(unsafe { std::slice::from_raw_parts(buffer, bytes) });
        unread.clear(block);
        Ok(())
    }
}

/// `CUlaunchAttribute`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct RawAttribute {
    pub(super) id: u32,
    pub(super) padding: [u8; 4],
    pub(super) value: [u8; LAUNCH_ATTRIBUTE_VALUE_BYTES],
}

/// `CUlaunchConfig`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct LaunchConfig {
    pub(super) grid: [u32; 3],
    pub(super) block: [u32; 3],
    pub(super) shared_bytes: u32,
    /// Where the launch is ordered, as the program names it.
    pub(crate) stream: usize,
    pub(super) attributes: In<RawAttribute>,
    pub(super) attribute_count: u32,
}

/// CU_LAUNCH_ATTRIBUTE_IGNORE.
const IGNORE: u32 = 0;

/// Attributes that hold an event or a graph node, and so mean nothing to the server.
const WITH_HANDLES: [(u32, &str); 3] =
    [(7, "PROGRAMMATIC_EVENT"), (12, "LAUNCH_COMPLETION_EVENT"), (13, "DEVICE_UPDATABLE_KERNEL_NODE")];

/// How many bytes of the union an attribute uses. Programs leave the others uninitialised, and what is there must
/// neither travel nor make equal launches look different.
fn used_bytes(id: u32) -> usize {
    match id {
        // CUaccessPolicyWindow: an address, a size, a float and two enumerations.
        1 => 32,
        // Numbers and enumerations.
        2 | 3 | 5 | 6 | 8 | 10 | 14 => size_of::<u32>(),
        // Three dimensions.
        4 | 11 => 3 * size_of::<u32>(),
        // CUlaunchMemSyncDomainMap: two bytes.
        9 => 2,
        _ => LAUNCH_ATTRIBUTE_VALUE_BYTES,
    }
}

impl LaunchConfig {
    /// Grid, block and shared memory.
    pub(crate) fn geometry(&self) -> Geometry {
        Geometry { grid: self.grid, block: self.block, shared_bytes: self.shared_bytes }
    }

    /// The attributes, without those to be ignored.
    pub(crate) fn attributes(&self) -> Result<Vec<LaunchAttribute>, CuResult> {
        let count = usize::try_from(self.attribute_count).unwrap_or(usize::MAX);
        if count > MAX_LAUNCH_ATTRIBUTES {
            return Err(CuResult::INVALID_VALUE);
        }
        let raw = self.attributes.array(count)?;
        raw.iter().filter(|raw| raw.id != IGNORE).map(RawAttribute::travelling).collect()
    }
}

impl RawAttribute {
    fn travelling(&self) -> Result<LaunchAttribute, CuResult> {
        if let Some((_, name)) = WITH_HANDLES.iter().find(|(id, _)| *id == self.id) {
            log::error!("the program launches a kernel with CU_LAUNCH_ATTRIBUTE_{name}: not offered");
            return Err(CuResult::NOT_SUPPORTED);
        }
        let used = self.value.get(..used_bytes(self.id)).unwrap_or(&self.value);
        let length = used.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        let value = Bytes::copy_from_slice(used.get(..length).unwrap_or_default());
        Ok(LaunchAttribute { id: self.id, value })
    }
}

#[cfg(test)]
impl Params {
    /// As if C code had passed the array, which the test keeps alive.
    pub(crate) fn from(params: &[*const c_void]) -> Self {
        Params(params.as_ptr())
    }

    /// As if C code had passed null.
    pub(crate) fn none() -> Self {
        Params(std::ptr::null())
    }
}

#[cfg(test)]
impl Extra {
    /// As if C code had passed the array, which the test keeps alive.
    pub(crate) fn from(list: &[*const c_void]) -> Self {
        Extra(list.as_ptr())
    }
}
