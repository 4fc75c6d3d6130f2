//! Pointer attributes.

use std::ffi::c_void;

use rrto_core::api::CuResult;

use super::exports;
use crate::client::{Client, Place, PointerFacts};
use crate::context::ContextHandle;
use crate::marshal::{In, Out};
use crate::runtime;

/// So many attributes may be asked for at once. CUDA 13 has 21.
const ATTRIBUTES_MAX: usize = 64;

/// CU_DEVICE_INVALID, cuPointerGetAttributes' answer for memory of no device.
const NO_DEVICE: i32 = -2;

/// CU_MEMORYTYPE_HOST and CU_MEMORYTYPE_DEVICE.
const HOST: u32 = 1;
const DEVICE: u32 = 2;

/// An answer of the width that its attribute has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Answer {
    Int(i32),
    Unsigned(u32),
    Long(u64),
}

impl Answer {
    fn write(self, data: Out<c_void>) -> Result<(), CuResult> {
        match self {
            Answer::Int(value) => data.cast().set(value),
            Answer::Unsigned(value) => data.cast().set(value),
            Answer::Long(value) => data.cast().set(value),
        }
    }
}

/// What an attribute (`CUpointer_attribute`) says of an address, if CUDA knows the address. The outer error is for
/// attributes that do not exist or are not offered; `None` for those that only known addresses have.
fn attribute(attribute: u32, address: u64, facts: Option<&PointerFacts>) -> Result<Option<Answer>, CuResult> {
    use Answer::{Int, Long, Unsigned};
    let of =
        |answer: fn(&PointerFacts, u64) -> Option<Answer>| facts.and_then(|facts| answer(facts, address));
    Ok(match attribute {
        // CONTEXT
        1 => of(|facts, _| Some(Long(ContextHandle::as_raw(facts.context) as u64))),
        // MEMORY_TYPE
        2 => of(|facts, _| Some(Unsigned(if facts.place == Place::Device { DEVICE } else { HOST }))),
        // DEVICE_POINTER
        // Host memory has none: a kernel cannot reach it.
        3 => of(|facts, _| facts.device_address.map(Long)),
        // HOST_POINTER
        4 => of(|facts, address| (facts.place == Place::Host).then_some(Long(address))),
        // BUFFER_ID, MEMORY_BLOCK_ID
        7 | 20 => of(|facts, _| Some(Long(facts.id))),
        // DEVICE_ORDINAL
        9 => of(|_, _| Some(Int(0))),
        // RANGE_START_ADDR, MAPPING_BASE_ADDR
        11 | 19 => of(|facts, _| Some(Long(facts.start))),
        // RANGE_SIZE, MAPPING_SIZE
        12 | 18 => of(|facts, _| Some(Long(facts.bytes))),
        // MAPPED
        13 => of(|facts, _| Some(Unsigned(facts.device_address.is_some().into()))),
        // SYNC_MEMOPS: who waits for a copy has it done.
        6 => of(|facts, _| Some(Unsigned((facts.place == Place::Device).into()))),
        // IS_MANAGED, IS_LEGACY_CUDA_IPC_CAPABLE, IS_GPU_DIRECT_RDMA_CAPABLE, IS_HW_DECOMPRESS_CAPABLE:
        // not offered, so never so.
        8 | 10 | 15 | 21 => of(|_, _| Some(Unsigned(0))),
        // ALLOWED_HANDLE_TYPES, MEMPOOL_HANDLE: none.
        14 | 17 => of(|_, _| Some(Long(0))),
        // ACCESS_FLAGS: CU_POINTER_ATTRIBUTE_ACCESS_FLAG_READWRITE.
        16 => of(|_, _| Some(Unsigned(3))),
        // P2P_TOKENS
        5 if facts.is_some_and(|facts| facts.place == Place::Device) => return Err(CuResult::NOT_SUPPORTED),
        5 => None,
        _ => return Err(CuResult::INVALID_VALUE),
    })
}

/// cuPointerGetAttributes' answer where an address or its kind of memory has none.
fn default_answer(attribute: u32) -> Answer {
    match attribute {
        9 => Answer::Int(NO_DEVICE),
        2 | 6 | 8 | 10 | 13 | 15 | 16 | 21 => Answer::Unsigned(0),
        _ => Answer::Long(0),
    }
}

fn facts(address: u64) -> Result<Option<PointerFacts>, CuResult> {
    let client: &Client = runtime::client()?;
    Ok(client.pointer(address))
}

exports! {
    fn cuPointerGetAttribute(data: Out<c_void>, number: u32, address: u64) {
        let facts = facts(address)?;
        data.require()?;
        attribute(number, address, facts.as_ref())?.ok_or(CuResult::INVALID_VALUE)?.write(data)
    }

    fn cuPointerGetAttributes(count: u32, numbers: In<u32>, data: In<Out<c_void>>, address: u64) {
        let facts = facts(address)?;
        let count = usize::try_from(count).ok().filter(|count| (1..=ATTRIBUTES_MAX).contains(count));
        let count = count.ok_or(CuResult::INVALID_VALUE)?;
        for (number, data) in numbers.array(count)?.into_iter().zip(data.array(count)?) {
            attribute(number, address, facts.as_ref())?.unwrap_or(default_answer(number)).write(data)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attribute_has_one_width() {
        let facts = PointerFacts {
            place: Place::Host,
            context: ContextHandle::from_raw(16).unwrap(),
            start: 0x1000,
            bytes: 64,
            id: 7,
            device_address: Some(0x2008),
        };
        for number in (1..=21).filter(|&number| number != 5) {
            let answer = attribute(number, 0x1008, Some(&facts)).unwrap().unwrap();
            assert_eq!(
                std::mem::discriminant(&answer),
                std::mem::discriminant(&default_answer(number)),
                "{number}"
            );
            assert_eq!(attribute(number, 0x1008, None), Ok(None), "{number}");
        }
        assert_eq!(attribute(0, 0, Some(&facts)), Err(CuResult::INVALID_VALUE));
        assert_eq!(attribute(22, 0, Some(&facts)), Err(CuResult::INVALID_VALUE));
    }
}
