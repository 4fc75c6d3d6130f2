//! Device memory.

use super::exports;
use crate::marshal::Out;
use crate::runtime;
use rrto_core::api::CuResult;

exports! {
    fn cuMemAlloc_v2(address: Out<u64>, bytes: usize) {
        let call = runtime::call()?;
        address.require()?;
        address.set(call.allocate(bytes as u64)?)
    }

    fn cuMemAllocPitch_v2(
        address: Out<u64>,
        pitch: Out<usize>,
        width_bytes: usize,
        height: usize,
        element_bytes: u32,
    ) {
        let call = runtime::call()?;
        address.require()?;
        pitch.require()?;
        let (start, pitch_bytes) = call.allocate_pitched(width_bytes as u64, height as u64, element_bytes)?;
        address.set(start)?;
        pitch.set(pitch_bytes as usize)
    }

    fn cuMemFree_v2(address: u64) {
        runtime::object_call()?.free(address)
    }

    fn cuMemGetInfo_v2(free: Out<usize>, total: Out<usize>) {
        let (free_bytes, total_bytes) = runtime::call()?.memory_info()?;
        free.set_if_wanted(free_bytes as usize);
        total.set_if_wanted(total_bytes as usize);
        Ok(())
    }

    fn cuMemGetAddressRange_v2(base: Out<u64>, bytes: Out<usize>, address: u64) {
        let facts = runtime::call()?.client().pointer(address).ok_or(CuResult::NOT_FOUND)?;
        base.set_if_wanted(facts.start);
        bytes.set_if_wanted(facts.bytes as usize);
        Ok(())
    }
}
