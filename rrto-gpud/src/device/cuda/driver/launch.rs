//! Launches and occupancy, in the current context.

use std::ffi::{c_int, c_uint, c_void};
use std::mem::{offset_of, size_of};
use std::ptr;

use cudarc::driver::sys::{self, CUstream};
use rrto_core::operator::{Geometry, LAUNCH_ATTRIBUTE_VALUE_BYTES};

use super::{Answer, Driver, Function, Stream, check, out};

/// A `CUlaunchAttribute`, with a number instead of an enumeration.
#[repr(C)]
pub(in crate::device::cuda) struct RawAttribute {
    id: c_uint,
    padding: [u8; 4],
    value: RawValue,
}

/// A `CUlaunchAttributeValue`: 64 bytes, aligned as its members with pointers are.
#[repr(C, align(8))]
struct RawValue([u8; LAUNCH_ATTRIBUTE_VALUE_BYTES]);

/// A `CUlaunchConfig`.
#[repr(C)]
pub(in crate::device::cuda) struct LaunchConfig {
    grid: [c_uint; 3],
    block: [c_uint; 3],
    shared_bytes: c_uint,
    stream: CUstream,
    attributes: *mut RawAttribute,
    attribute_count: c_uint,
}

// The layouts are those of cuda.h, as cudarc has generated them.
const _: () = {
    assert!(size_of::<LaunchConfig>() == size_of::<sys::CUlaunchConfig>());
    assert!(offset_of!(LaunchConfig, block) == offset_of!(sys::CUlaunchConfig, blockDimX));
    assert!(offset_of!(LaunchConfig, shared_bytes) == offset_of!(sys::CUlaunchConfig, sharedMemBytes));
    assert!(offset_of!(LaunchConfig, stream) == offset_of!(sys::CUlaunchConfig, hStream));
    assert!(offset_of!(LaunchConfig, attributes) == offset_of!(sys::CUlaunchConfig, attrs));
    assert!(offset_of!(LaunchConfig, attribute_count) == offset_of!(sys::CUlaunchConfig, numAttrs));
    assert!(size_of::<RawAttribute>() == size_of::<sys::CUlaunchAttribute>());
    assert!(offset_of!(RawAttribute, value) == offset_of!(sys::CUlaunchAttribute, value));
    assert!(align_of::<RawAttribute>() == align_of::<sys::CUlaunchAttribute>());
};

/// `CU_LAUNCH_PARAM_BUFFER_POINTER`, `CU_LAUNCH_PARAM_BUFFER_SIZE` and `CU_LAUNCH_PARAM_END`.
const PARAM_BUFFER_POINTER: *mut c_void = ptr::without_provenance_mut(1);
const PARAM_BUFFER_SIZE: *mut c_void = ptr::without_provenance_mut(2);
const PARAM_END: *mut c_void = ptr::null_mut();

impl RawAttribute {
    /// An attribute whose value has these bytes and zeros after them. `None` if there are too many.
    pub(in crate::device::cuda) fn new(id: u32, value: &[u8]) -> Option<RawAttribute> {
        let mut bytes = [0; LAUNCH_ATTRIBUTE_VALUE_BYTES];
        bytes.get_mut(..value.len())?.copy_from_slice(value);
        Some(RawAttribute { id, padding: [0; 4], value: RawValue(bytes) })
    }
}

/// The driver's form of a launch. It reads the attributes while it is called and does not write to them.
fn config(geometry: &Geometry, stream: CUstream, attributes: &mut [RawAttribute]) -> LaunchConfig {
    LaunchConfig {
        grid: geometry.grid,
        block: geometry.block,
        shared_bytes: geometry.shared_bytes,
        stream,
        attributes: attributes.as_mut_ptr(),
        // At most MAX_LAUNCH_ATTRIBUTES and one more.
        attribute_count: attributes.len() as c_uint,
    }
}

/// A packed parameter block as the driver takes it: the `extra` of a launch. Holds no reference to itself, so it may be
/// moved until [`ParamBlock::extra`] is asked.
pub(super) struct ParamBlock<'a> {
    params: &'a [u8],
    bytes: usize,
    extra: [*mut c_void; 5],
}

impl<'a> ParamBlock<'a> {
    pub(super) fn new(params: &'a [u8]) -> Self {
        ParamBlock { params, bytes: params.len(), extra: [PARAM_END; 5] }
    }

    /// What is good as long as `self` is neither moved nor dropped; null where there are no parameters.
    pub(super) fn extra(&mut self) -> *mut *mut c_void {
        if self.params.is_empty() {
            return ptr::null_mut();
        }
        self.extra = [
            PARAM_BUFFER_POINTER,
            self.params.as_ptr().cast_mut().cast(),
            PARAM_BUFFER_SIZE,
            (&raw mut self.bytes).cast(),
            PARAM_END,
        ];
        self.extra.as_mut_ptr()
    }
}

impl Driver {
    /// `cuLaunchKernelEx` with a packed parameter block, which is at least as long as the function's parameters.
    pub(in crate::device::cuda) fn launch(
        &self,
        function: &Function,
        geometry: &Geometry,
        stream: &Stream,
        attributes: &mut [RawAttribute],
        params: &[u8],
    ) -> Answer<()> {
        let config = config(geometry, stream.raw(), attributes);
        let mut block = ParamBlock::new(params);
        let extra = block.extra();
        // SAFETY: function and stream exist. `config` and `extra` are laid out as cuda.h says and point to live
        // memory; the driver reads the block, whose length it is told, before it returns and never writes to it. What
        // a kernel does with its arguments happens on the device, in the session's own address space.
        check(unsafe {
            (self.functions.cuLaunchKernelEx)(&raw const config, function.raw(), ptr::null_mut(), extra)
        })
    }

    /// `cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags`.
    pub(in crate::device::cuda) fn max_active_blocks(
        &self,
        function: &Function,
        block_threads: c_int,
        shared_bytes: usize,
        flags: u32,
    ) -> Answer<i32> {
        let ask = self.functions.cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags;
        // SAFETY: writes one int; the function exists, and the driver checks the numbers.
        out(0, |blocks| unsafe { ask(blocks, function.raw(), block_threads, shared_bytes, flags) })
    }

    /// `cuOccupancyAvailableDynamicSMemPerBlock`.
    pub(in crate::device::cuda) fn available_shared_bytes(
        &self,
        function: &Function,
        blocks: c_int,
        block_threads: c_int,
    ) -> Answer<usize> {
        let ask = self.functions.cuOccupancyAvailableDynamicSMemPerBlock;
        // SAFETY: writes one size_t; the function exists, and the driver checks the numbers.
        out(0, |bytes| unsafe { ask(bytes, function.raw(), blocks, block_threads) })
    }

    /// `cuOccupancyMaxPotentialClusterSize` or `cuOccupancyMaxActiveClusters`.
    pub(in crate::device::cuda) fn clusters(
        &self,
        potential: bool,
        function: &Function,
        geometry: &Geometry,
        attributes: &mut [RawAttribute],
    ) -> Answer<i32> {
        let config = config(geometry, Stream::legacy().raw(), attributes);
        let ask = if potential {
            self.functions.cuOccupancyMaxPotentialClusterSize
        } else {
            self.functions.cuOccupancyMaxActiveClusters
        };
        // SAFETY: writes one int; the function exists, and `config` is laid out as cuda.h says.
        out(0, |number| unsafe { ask(number, function.raw(), &raw const config) })
    }
}
