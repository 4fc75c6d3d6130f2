//! The device, as the server described it when the session began. Nothing here takes a lock or travels.

use rrto_core::api::{CuResult, DeviceAttribute};
use rrto_core::image::Target;
use rrto_core::wire::{ATTRIBUTE_SLOTS, DeviceInfo, PciAddress};

/// The UUID by which rrto-gpud's software GPU says what it is. Its compute capability is that of a real GPU, and a real
/// one would take machine code.
const SOFTWARE_GPU: [u8; 16] = *b"RRTO software GP";

/// The one device of a session; its ordinal is 0.
#[derive(Debug)]
pub(crate) struct Device {
    info: DeviceInfo,
    /// As the program is told them: what is not offered is not there.
    attributes: Vec<Option<i32>>,
    launch_limits: LaunchLimits,
}

/// What every launch is held against, side by side.
#[derive(Debug)]
pub(crate) struct LaunchLimits {
    /// Of the grid, and of a block.
    pub(crate) sides: [u64; 6],
    /// Threads of a block.
    pub(crate) block_threads: u64,
}

impl Device {
    pub(crate) fn new(info: DeviceInfo) -> Self {
        let attributes: Vec<_> =
            (0..ATTRIBUTE_SLOTS as i32).map(|number| told(&info, DeviceAttribute(number))).collect();
        let limit = |attribute: DeviceAttribute| {
            let value =
                usize::try_from(attribute.0).ok().and_then(|at| attributes.get(at).copied().flatten());
            limit(value)
        };
        let sides = [
            DeviceAttribute::MAX_GRID_DIM_X,
            DeviceAttribute::MAX_GRID_DIM_Y,
            DeviceAttribute::MAX_GRID_DIM_Z,
            DeviceAttribute::MAX_BLOCK_DIM_X,
            DeviceAttribute::MAX_BLOCK_DIM_Y,
            DeviceAttribute::MAX_BLOCK_DIM_Z,
        ];
        let block_threads = limit(DeviceAttribute::MAX_THREADS_PER_BLOCK);
        let launch_limits = LaunchLimits { sides: sides.map(limit), block_threads };
        Device { info, attributes, launch_limits }
    }

    /// cuDeviceGetAttribute.
    ///
    /// # Errors
    /// INVALID_VALUE for an attribute that the server's driver does not know.
    #[inline]
    pub(crate) fn attribute(&self, attribute: DeviceAttribute) -> Result<i32, CuResult> {
        let at = usize::try_from(attribute.0).map_err(|_| CuResult::INVALID_VALUE)?;
        self.attributes.get(at).copied().flatten().ok_or(CuResult::INVALID_VALUE)
    }

    /// What every launch is held against.
    #[inline]
    pub(crate) fn launch_limits(&self) -> &LaunchLimits {
        &self.launch_limits
    }

    /// cuDeviceGetName.
    pub(crate) fn name(&self) -> &str {
        &self.info.name
    }

    /// cuDeviceGetUuid.
    pub(crate) fn uuid(&self) -> [u8; 16] {
        self.info.uuid
    }

    /// cuDeviceTotalMem, bytes.
    pub(crate) fn total_bytes(&self) -> u64 {
        self.info.total_bytes
    }

    /// Its place on the server's PCI bus.
    pub(crate) fn pci(&self) -> PciAddress {
        self.info.pci
    }

    /// cuCtxGetStreamPriorityRange: least and greatest, which is the smaller number.
    pub(crate) fn stream_priorities(&self) -> (i32, i32) {
        self.info.stream_priorities
    }

    /// cuCtxGetLimit in a new context.
    ///
    /// # Errors
    /// UNSUPPORTED_LIMIT for one that the server's driver does not know.
    pub(crate) fn context_limit(&self, limit: u32) -> Result<u64, CuResult> {
        let known =
            usize::try_from(limit).ok().and_then(|limit| self.info.limits.get(limit).copied().flatten());
        known.ok_or(CuResult::UNSUPPORTED_LIMIT)
    }

    /// Whose images it executes.
    pub(crate) fn target(&self) -> Target {
        if self.info.uuid == SOFTWARE_GPU {
            return Target::software();
        }
        let (major, minor) = self.info.compute_capability();
        Target::gpu(major, minor)
    }
}

/// The value of an attribute that is a limit; no limit where the driver does not tell it.
pub(super) fn limit(value: Option<i32>) -> u64 {
    value.and_then(|value| u64::try_from(value).ok()).unwrap_or(u64::MAX)
}

fn told(info: &DeviceInfo, attribute: DeviceAttribute) -> Option<i32> {
    // cudart hashes both forms of the address and expects them to agree.
    let answer = match attribute {
        DeviceAttribute::PCI_DOMAIN_ID => Some(info.pci.domain),
        DeviceAttribute::PCI_BUS_ID => Some(info.pci.bus),
        DeviceAttribute::PCI_DEVICE_ID => Some(info.pci.device),
        other => info.attribute(other.0),
    };
    // An older driver's silence stays: what a program asks of it, it does not expect.
    answer.map(|answer| attribute.override_value().unwrap_or(answer))
}
