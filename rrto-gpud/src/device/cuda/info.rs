//! What a client is told about the device.

use rrto_core::api::{CuResult, DeviceAttribute};
use rrto_core::wire::{ATTRIBUTE_SLOTS, DeviceInfo, MAX_LIMIT_SLOTS, PciAddress};

use super::driver::{Answer, DeviceId, Driver};
use crate::device::DeviceError;

/// The device of this number, and everything about it.
pub(super) fn query(driver: &'static Driver, ordinal: usize) -> Result<(DeviceId, DeviceInfo), DeviceError> {
    let failed = |what: &'static str| {
        move |error: CuResult| DeviceError(format!("the CUDA driver does not tell {what}: {error}"))
    };
    let count = driver.device_count().map_err(failed("how many GPUs there are"))?;
    let number = i32::try_from(ordinal).ok().filter(|number| *number < count).ok_or_else(|| {
        DeviceError(format!("there is no GPU {ordinal}: the CUDA driver shows {count}, numbered from 0"))
    })?;
    let device = driver.device(number).map_err(failed("the GPU's handle"))?;
    let attributes: Vec<_> =
        (0..ATTRIBUTE_SLOTS as i32).map(|attribute| offered(driver, device, attribute)).collect();
    let exact = |attribute: DeviceAttribute| driver.device_attribute(device, attribute.0);
    let pci = || -> Answer<PciAddress> {
        Ok(PciAddress {
            domain: exact(DeviceAttribute::PCI_DOMAIN_ID)?,
            bus: exact(DeviceAttribute::PCI_BUS_ID)?,
            device: exact(DeviceAttribute::PCI_DEVICE_ID)?,
        })
    };
    let (stream_priorities, limits) =
        context_facts(driver, device).map_err(failed("a new context's limits"))?;
    let info = DeviceInfo {
        name: driver.device_name(device).map_err(failed("the GPU's name"))?,
        uuid: driver.device_uuid(device).map_err(failed("the GPU's UUID"))?,
        total_bytes: driver.device_total_bytes(device).map_err(failed("the GPU's memory"))?,
        driver_version: driver.version(),
        attributes,
        pci: pci().map_err(failed("the GPU's PCI address"))?,
        stream_priorities,
        limits,
    };
    Ok((device, info))
}

/// An attribute as the client is told it. 0 is no attribute.
fn offered(driver: &Driver, device: DeviceId, attribute: i32) -> Option<i32> {
    if attribute == 0 {
        return None;
    }
    let own = driver.device_attribute(device, attribute).ok()?;
    Some(DeviceAttribute(attribute).override_value().unwrap_or(own))
}

/// Stream priorities and limits, which a context must be asked for.
type ContextFacts = ((i32, i32), Vec<Option<u64>>);

fn context_facts(driver: &'static Driver, device: DeviceId) -> Answer<ContextFacts> {
    let context = driver.context(device)?;
    context.make_current()?;
    let limits = (0..MAX_LIMIT_SLOTS as u32).map(|limit| driver.limit(limit).ok()).collect();
    Ok((driver.stream_priorities()?, limits))
}
