//! Devices and their primary contexts.

use std::ffi::c_char;

use rrto_core::api::{CuResult, DeviceAttribute};

use super::{check, check_device, exports};
use crate::client::{Client, Device};
use crate::context::{Ended, contexts};
use crate::marshal::{Out, Text};
use crate::runtime;

/// `CUdevprop`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Properties {
    max_threads_per_block: i32,
    max_threads_dim: [i32; 3],
    max_grid_size: [i32; 3],
    shared_mem_per_block: i32,
    total_constant_memory: i32,
    simd_width: i32,
    mem_pitch: i32,
    regs_per_block: i32,
    clock_rate: i32,
    texture_align: i32,
}

/// The driver keeps a device's name in so many bytes and copies all of them, as far as there is room: zeros follow the name,
/// and programs compare the whole buffer.
const NAME_BYTES: i32 = 64;

/// A device of the session, by its number.
#[inline]
fn device(number: i32) -> Result<&'static Device, CuResult> {
    let client = runtime::client()?;
    check_device(number)?;
    Ok(client.device())
}

exports! {
    fn cuDeviceGetCount(count: Out<i32>) {
        runtime::client()?;
        count.set(1)
    }

    fn cuDeviceGet(number: Out<i32>, ordinal: i32) {
        runtime::client()?;
        number.require()?;
        check_device(ordinal)?;
        number.set(ordinal)
    }

    fn cuDeviceGetAttribute(value: Out<i32>, attribute: i32, number: i32) {
        value.require()?;
        value.set(device(number)?.attribute(DeviceAttribute(attribute))?)
    }

    fn cuDeviceGetName(name: Out<c_char>, length: i32, number: i32) {
        name.require()?;
        name.set_padded_text(device(number)?.name(), length.min(NAME_BYTES))
    }

    fn cuDeviceGetUuid(uuid: Out<[u8; 16]>, number: i32) {
        uuid.require()?;
        uuid.set(device(number)?.uuid())
    }

    fn cuDeviceGetUuid_v2(uuid: Out<[u8; 16]>, number: i32) {
        uuid.require()?;
        uuid.set(device(number)?.uuid())
    }

    // A locally unique identifier is a thing of Windows.
    fn cuDeviceGetLuid(luid: Out<[u8; 8]>, node_mask: Out<u32>, number: i32) {
        luid.require()?;
        node_mask.require()?;
        device(number)?;
        Err(CuResult::NOT_SUPPORTED)
    }

    fn cuDeviceTotalMem(bytes: Out<u32>, number: i32) {
        bytes.require()?;
        bytes.set(u32::try_from(device(number)?.total_bytes()).unwrap_or(u32::MAX))
    }

    fn cuDeviceTotalMem_v2(bytes: Out<usize>, number: i32) {
        bytes.require()?;
        bytes.set(usize::try_from(device(number)?.total_bytes()).unwrap_or(usize::MAX))
    }

    fn cuDeviceComputeCapability(major: Out<i32>, minor: Out<i32>, number: i32) {
        let device = device(number)?;
        minor.require()?;
        major.set(device.attribute(DeviceAttribute::COMPUTE_CAPABILITY_MAJOR)?)?;
        minor.set(device.attribute(DeviceAttribute::COMPUTE_CAPABILITY_MINOR)?)
    }

    fn cuDeviceGetProperties(properties: Out<Properties>, number: i32) {
        properties.require()?;
        properties.set(properties_of(device(number)?))
    }

    fn cuDeviceGetPCIBusId(text: Out<c_char>, length: i32, number: i32) {
        text.require()?;
        let pci = device(number)?.pci();
        let address = format!("{:04x}:{:02x}:{:02x}.0", pci.domain, pci.bus, pci.device);
        check(usize::try_from(length).is_ok_and(|length| length > address.len()))?;
        text.set_padded_text(&address, address.len() as i32 + 1)
    }

    fn cuDeviceGetByPCIBusId(number: Out<i32>, text: Text) {
        let pci = runtime::client()?.device().pci();
        number.require()?;
        let named = pci_address(&text.get()?).ok_or(CuResult::INVALID_VALUE)?;
        if named != [pci.domain, pci.bus, pci.device] {
            return Err(CuResult::INVALID_DEVICE);
        }
        number.set(0)
    }

    fn cuDeviceCanAccessPeer(can: Out<i32>, number: i32, peer: i32) {
        can.require()?;
        device(number)?;
        device(peer)?;
        can.set(0)
    }

    fn cuDeviceGetP2PAttribute(value: Out<i32>, _attribute: u32, from: i32, to: i32) {
        value.require()?;
        device(from)?;
        device(to)?;
        // A pair of different devices is asked for, and there is none, whatever the attribute.
        Err(CuResult::INVALID_DEVICE)
    }

    fn cuDevicePrimaryCtxGetState(number: i32, flags: Out<u32>, active: Out<i32>) {
        device(number)?;
        check(!flags.is_null() && !active.is_null())?;
        let state = contexts().primary_state();
        flags.set(state.flags)?;
        active.set(state.is_active.into())
    }

    fn cuDevicePrimaryCtxRetain(context: Out<usize>, number: i32) {
        device(number)?;
        context.require()?;
        runtime::client()?.check_alive()?;
        context.set(contexts().retain_primary()?.as_raw())
    }

    fn cuDevicePrimaryCtxRelease(number: i32) { release_primary(number) }
    fn cuDevicePrimaryCtxRelease_v2(number: i32) { release_primary(number) }
    fn cuDevicePrimaryCtxReset(number: i32) { reset_primary(number) }
    fn cuDevicePrimaryCtxReset_v2(number: i32) { reset_primary(number) }

    fn cuDevicePrimaryCtxSetFlags(number: i32, flags: u32) {
        device(number)?;
        contexts().set_primary_flags(flags, true)
    }

    fn cuDevicePrimaryCtxSetFlags_v2(number: i32, flags: u32) {
        device(number)?;
        contexts().set_primary_flags(flags, false)
    }
}

fn release_primary(number: i32) -> Result<(), CuResult> {
    device(number)?;
    end_primary(runtime::client()?, contexts().release_primary()?)
}

fn reset_primary(number: i32) -> Result<(), CuResult> {
    device(number)?;
    end_primary(runtime::client()?, contexts().reset_primary())
}

fn end_primary(client: &'static Client, ended: Ended) -> Result<(), CuResult> {
    match ended {
        // A session that has failed has nothing left to end.
        Ended::Yes if client.check_alive().is_ok() => {
            let primary = contexts().primary();
            runtime::call_in(client, primary)?.end_context(primary)
        }
        Ended::Yes | Ended::No => Ok(()),
    }
}

fn properties_of(device: &Device) -> Properties {
    use DeviceAttribute as A;
    // What the driver does not tell is zero, as in a structure that it leaves alone.
    let get = |attribute| device.attribute(attribute).unwrap_or(0);
    Properties {
        max_threads_per_block: get(A::MAX_THREADS_PER_BLOCK),
        max_threads_dim: [A::MAX_BLOCK_DIM_X, A::MAX_BLOCK_DIM_Y, A::MAX_BLOCK_DIM_Z].map(get),
        max_grid_size: [A::MAX_GRID_DIM_X, A::MAX_GRID_DIM_Y, A::MAX_GRID_DIM_Z].map(get),
        shared_mem_per_block: get(A::MAX_SHARED_MEMORY_PER_BLOCK),
        total_constant_memory: get(A::TOTAL_CONSTANT_MEMORY),
        simd_width: get(A::WARP_SIZE),
        mem_pitch: get(A::MAX_PITCH),
        regs_per_block: get(A::MAX_REGISTERS_PER_BLOCK),
        clock_rate: get(A::CLOCK_RATE),
        texture_align: get(A::TEXTURE_ALIGNMENT),
    }
}

/// Domain, bus and device of `[domain]:[bus]:[device].[function]`, `[domain]:[bus]:[device]` or
/// `[bus]:[device].[function]`, all in hexadecimal.
fn pci_address(text: &str) -> Option<[i32; 3]> {
    let (place, function) = match text.split_once('.') {
        Some((place, function)) => (place, Some(function)),
        None => (text, None),
    };
    if let Some(function) = function {
        u8::from_str_radix(function, 16).ok()?;
    }
    let parts =
        place.split(':').map(|part| i32::from_str_radix(part, 16).ok()).collect::<Option<Vec<_>>>()?;
    match (parts.as_slice(), function) {
        (&[domain, bus, device], _) => Some([domain, bus, device]),
        (&[bus, device], Some(_)) => Some([0, bus, device]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pci_addresses() {
        for (text, address) in [
            ("0000:65:00.0", Some([0, 0x65, 0])),
            ("0001:1a:1f", Some([1, 0x1a, 0x1f])),
            ("65:00.0", Some([0, 0x65, 0])),
            ("65:00", None),
            ("0000:65:00.x", None),
            ("GPU-1", None),
            ("", None),
        ] {
            assert_eq!(pci_address(text), address, "{text}");
        }
    }
}
