//! Pinned host memory.

use rrto_core::api::CuResult;

use super::{caller, check, exports};
use crate::marshal::{HostAddress, Out};
use crate::runtime;

fn allocate(memory: &Out<usize>, bytes: usize, flags: u32) -> Result<(), CuResult> {
    let call = runtime::call()?;
    memory.require()?;
    memory.set(call.allocate_host(bytes, flags)?)
}

fn register(memory: HostAddress, bytes: usize, flags: u32) -> Result<(), CuResult> {
    runtime::call()?.register_host(memory, bytes, flags)
}

exports! {
    fn cuMemAllocHost_v2(memory: Out<usize>, bytes: usize) { allocate(&memory, bytes, 0) }
    fn cuMemHostAlloc(memory: Out<usize>, bytes: usize, flags: u32) { allocate(&memory, bytes, flags) }
    fn cuMemFreeHost(memory: HostAddress) { runtime::object_call()?.free_host(memory) }
    fn cuMemHostRegister(memory: HostAddress, bytes: usize, flags: u32) { register(memory, bytes, flags) }
    fn cuMemHostRegister_v2(memory: HostAddress, bytes: usize, flags: u32) { register(memory, bytes, flags) }
    fn cuMemHostUnregister(memory: HostAddress) { runtime::object_call()?.unregister_host(memory) }

    fn cuMemHostGetFlags(flags: Out<u32>, memory: HostAddress) {
        let call = runtime::call()?;
        flags.require()?;
        flags.set(call.host_flags(memory)?)
    }

    fn cuMemHostGetDevicePointer_v2(address: Out<u64>, memory: HostAddress, flags: u32) {
        let call = runtime::call()?;
        address.require()?;
        check(flags == 0)?;
        address.set(call.host_device_pointer(memory, || caller::is("libcublas"))?)
    }
}
