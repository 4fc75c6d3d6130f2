//! What the client is told about the device when it connects, so that no query about it travels again.

use serde::{Deserialize, Serialize};

/// `CUdevice_attribute` values that are carried: 0 (unused) to CUDA 13's last, with room to grow.
pub const ATTRIBUTE_SLOTS: usize = 192;

/// `CUlimit` values that are carried.
pub const MAX_LIMIT_SLOTS: usize = 16;

/// The device that a session runs on.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct DeviceInfo {
    /// `cuDeviceGetName`.
    pub name: String,
    /// `cuDeviceGetUuid`.
    pub uuid: [u8; 16],
    /// `cuDeviceTotalMem`.
    pub total_bytes: u64,
    /// `cuDriverGetVersion`, such as 13000.
    pub driver_version: i32,
    /// `cuDeviceGetAttribute` by number; `None` where the driver answers `CUDA_ERROR_INVALID_VALUE`. At most
    /// [`ATTRIBUTE_SLOTS`].
    pub attributes: Vec<Option<i32>>,
    /// `cuDeviceGetPCIBusId`.
    pub pci: PciAddress,
    /// `cuCtxGetStreamPriorityRange`: least and greatest.
    pub stream_priorities: (i32, i32),
    /// `cuCtxGetLimit` by `CUlimit` number, at a new context. At most [`MAX_LIMIT_SLOTS`].
    pub limits: Vec<Option<u64>>,
}

/// Where the device sits on the server's PCI bus.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PciAddress {
    /// Domain.
    pub domain: i32,
    /// Bus.
    pub bus: i32,
    /// Device.
    pub device: i32,
}

impl DeviceInfo {
    /// One attribute, by its `CUdevice_attribute` number.
    pub fn attribute(&self, number: i32) -> Option<i32> {
        self.attributes.get(usize::try_from(number).ok()?).copied().flatten()
    }

    /// Compute capability, major and minor (attributes 75 and 76).
    pub fn compute_capability(&self) -> (u32, u32) {
        let part = |number| self.attribute(number).and_then(|v| u32::try_from(v).ok()).unwrap_or(0);
        (part(75), part(76))
    }
}
