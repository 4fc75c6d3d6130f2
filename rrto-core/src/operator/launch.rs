//! A kernel launch.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Handle;

/// The largest parameter block of a kernel, bytes (CUDA C++ Programming Guide: 32,764 from CUDA 12.1 on sm_70).
pub const MAX_PARAM_BYTES: usize = 32_764;

/// How many launch attributes one launch can have. CUDA 13 defines 17.
pub const MAX_LAUNCH_ATTRIBUTES: usize = 32;

/// Size of `CUlaunchAttributeValue`.
pub const LAUNCH_ATTRIBUTE_VALUE_BYTES: usize = 64;

/// Grid, block and dynamic shared memory of a launch.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Geometry {
    /// Blocks in x, y, z.
    pub grid: [u32; 3],
    /// Threads in x, y, z.
    pub block: [u32; 3],
    /// Dynamic shared memory of a block, bytes.
    pub shared_bytes: u32,
}

/// One `CUlaunchAttribute`. Only attributes that hold no handle and no host pointer become one of these.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct LaunchAttribute {
    /// `CUlaunchAttributeID`.
    pub id: u32,
    /// The value, without its trailing zero bytes; at most [`LAUNCH_ATTRIBUTE_VALUE_BYTES`].
    pub value: Bytes,
}

/// A kernel launch: everything that `cuLaunchKernelEx` takes.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Launch {
    /// The kernel.
    pub function: Handle,
    /// Grid, block and shared memory.
    pub geometry: Geometry,
    /// Where it is ordered.
    pub stream: Handle,
    /// All blocks must be resident together (`cuLaunchCooperativeKernel`).
    pub cooperative: bool,
    /// Launch attributes.
    pub attributes: Vec<LaunchAttribute>,
    /// The packed parameter block.
    pub params: Bytes,
}

/// A launch that is no operator yet: what a program passes, with its parameter block in memory that is not the launch's own. In
/// the midst of a replayed run it never becomes one.
#[derive(Clone, Copy, Debug)]
pub struct LaunchCall<'a> {
    /// The kernel.
    pub function: Handle,
    /// Grid, block and shared memory.
    pub geometry: Geometry,
    /// Where it is ordered.
    pub stream: Handle,
    /// All blocks must be resident together.
    pub cooperative: bool,
    /// Launch attributes.
    pub attributes: &'a [LaunchAttribute],
    /// The packed parameter block.
    pub params: &'a [u8],
}

impl LaunchCall<'_> {
    /// Whether this is a call of `launch`.
    #[inline]
    pub fn is(&self, launch: &Launch) -> bool {
        self.function == launch.function
            && self.geometry == launch.geometry
            && self.stream == launch.stream
            && self.cooperative == launch.cooperative
            && self.params == launch.params
            && self.attributes == launch.attributes
    }

    /// The launch, with memory of its own.
    pub fn to_launch(&self) -> Launch {
        Launch {
            function: self.function,
            geometry: self.geometry,
            stream: self.stream,
            cooperative: self.cooperative,
            attributes: self.attributes.to_vec(),
            params: Bytes::copy_from_slice(self.params),
        }
    }
}

impl Launch {
    /// The call of it.
    pub fn as_call(&self) -> LaunchCall<'_> {
        LaunchCall {
            function: self.function,
            geometry: self.geometry,
            stream: self.stream,
            cooperative: self.cooperative,
            attributes: &self.attributes,
            params: &self.params,
        }
    }

    pub(super) fn check_limits(&self) -> Result<(), &'static str> {
        if self.params.len() > MAX_PARAM_BYTES {
            return Err("a parameter block is longer than MAX_PARAM_BYTES");
        }
        if self.attributes.len() > MAX_LAUNCH_ATTRIBUTES {
            return Err("more than MAX_LAUNCH_ATTRIBUTES launch attributes");
        }
        if self.attributes.iter().any(|a| a.value.len() > LAUNCH_ATTRIBUTE_VALUE_BYTES) {
            return Err("a launch attribute's value is longer than its union");
        }
        Ok(())
    }
}
