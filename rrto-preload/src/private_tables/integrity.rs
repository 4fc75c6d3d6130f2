//! The hash by which cudart makes sure that it talks to the driver it thinks it talks to.
//!
//! cudart asks slot 1 of INTEGRITY_CHECK three times, with its own version + 0, + 1 and + 2, computes the
//! answers itself, and fails every later call with error 103 where they differ. For a version whose last
//! digit is 0 or 1 the answer is a constant. For any other it is HMAC-MD2 over what both sides see: versions,
//! process, thread, the addresses of two tables and of the function itself, the time, and the devices.

use hmac::{Mac, SimpleHmac};
use md2::Md2;
use rrto_core::api::CuResult;

/// A device as the check describes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeviceFacts {
    /// What cuDeviceGetUuid answers.
    pub uuid: [u8; 16],
    /// CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID.
    pub pci_domain: i32,
    /// CU_DEVICE_ATTRIBUTE_PCI_BUS_ID.
    pub pci_bus: i32,
    /// CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID.
    pub pci_device: i32,
}

/// What the hash is over, in this order, integers in little-endian bytes.
pub(super) struct Seen<'a> {
    pub driver_version: u32,
    /// As asked: the version of cudart, plus 2.
    pub version: u32,
    pub process: u32,
    /// The low half of what pthread_self returns to the caller.
    pub thread: u32,
    pub cudart_interface: u64,
    pub integrity_check: u64,
    /// Slot 1 of INTEGRITY_CHECK.
    pub function: u64,
    pub unix_seconds: u64,
    pub devices: &'a [DeviceFacts],
}

const KEY: [u8; 16] =
    [0x14, 0x6a, 0xdd, 0xae, 0x53, 0xa9, 0xa7, 0x52, 0xaa, 0x08, 0x41, 0x36, 0x0b, 0xf5, 0x5a, 0x9f];

/// The answer for a version whose last digit is 0 or 1; `None` for any other.
pub(super) fn constant(version: u32) -> Option<[u8; 16]> {
    let first: u64 = match version % 10 {
        0 => 0x3341_181c_03cb_675c,
        1 => 0x1841_181c_03cb_675c,
        _ => return None,
    };
    let second: u64 = 0x8ed3_83aa_1f4c_d1e8;
    Some((u128::from(second) << 64 | u128::from(first)).to_le_bytes())
}

/// The answer for every other version.
pub(super) fn hash(seen: &Seen<'_>) -> Result<[u8; 16], CuResult> {
    // SimpleHmac, because MD2 buffers in a way that Hmac does not support. Any key is long enough for it.
    let mut mac = SimpleHmac::<Md2>::new_from_slice(&KEY).map_err(|_| CuResult::UNKNOWN)?;
    for word in [seen.driver_version, seen.version, seen.process, seen.thread] {
        mac.update(&word.to_le_bytes());
    }
    for word in [seen.cudart_interface, seen.integrity_check, seen.function, seen.unix_seconds] {
        mac.update(&word.to_le_bytes());
    }
    for device in seen.devices {
        mac.update(&device.uuid);
        for word in [device.pci_domain, device.pci_bus, device.pci_device] {
            mac.update(&word.to_le_bytes());
        }
    }
    Ok(mac.finalize().into_bytes().into())
}
