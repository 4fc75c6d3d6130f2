use proptest::prelude::*;
use rrto_core::api::CuResult;

use super::{ALLOCATION_ALIGN, BASE_ADDRESS, Fill, Memory};

#[test]
fn allocations_are_aligned_apart_and_reused() {
    let memory = Memory::new(1 << 20);
    let a = memory.alloc(100).unwrap();
    let b = memory.alloc(100).unwrap();
    assert!(a >= BASE_ADDRESS && a.is_multiple_of(ALLOCATION_ALIGN) && b >= a + 1024);
    assert_eq!(memory.range(a + 99), Some((a, 100)));
    assert_eq!(memory.range(a + 100), None);
    assert_eq!(memory.used(), 1024);
    memory.free(a).unwrap();
    assert_eq!(memory.alloc(100).unwrap(), a);
}

#[test]
fn errors_are_the_drivers() {
    let memory = Memory::new(4096);
    assert_eq!(memory.alloc(0), Err(CuResult::INVALID_VALUE));
    assert_eq!(memory.alloc(4097), Err(CuResult::OUT_OF_MEMORY));
    assert_eq!(memory.alloc(u64::MAX), Err(CuResult::OUT_OF_MEMORY));
    let a = memory.alloc(4096).unwrap();
    assert_eq!(memory.alloc(1), Err(CuResult::OUT_OF_MEMORY));
    assert_eq!(memory.free(a + 1), Err(CuResult::INVALID_VALUE));
    assert_eq!(memory.write(a + 4095, &[1, 2]), Err(CuResult::INVALID_VALUE));
    memory.free(a).unwrap();
    assert_eq!(memory.free(a), Err(CuResult::INVALID_VALUE));
    assert_eq!(memory.read(a, &mut [0]), Err(CuResult::INVALID_VALUE));
}

#[test]
fn a_pitched_fill_leaves_the_padding() {
    let memory = Memory::new(4096);
    let a = memory.alloc(64).unwrap();
    memory.fill(a, Fill { value: 0x1234, element_bytes: 2, width: 3, rows: 2, pitch_bytes: 10 }).unwrap();
    let mut out = [0; 20];
    memory.read(a, &mut out).unwrap();
    let row = [0x34, 0x12, 0x34, 0x12, 0x34, 0x12];
    assert_eq!((&out[..6], &out[6..10], &out[10..16]), (&row[..], &[0; 4][..], &row[..]));
    assert_eq!(memory.fill(a + 1, Fill::linear(0, 2, 1)), Err(CuResult::INVALID_VALUE));
}

proptest! {
    /// Any mix of writes, fills and copies, across page edges, gives what a plain byte array gives.
    #[test]
    fn bytes_are_where_they_were_put(ops in prop::collection::vec((0u8..3, 0usize..199_000, 0usize..199_000, 1usize..1000), 1..20)) {
        const LEN: usize = 200_000;
        let memory = Memory::new(1 << 20);
        let base = memory.alloc(LEN as u64).unwrap();
        let mut model = vec![0u8; LEN];
        for (n, (kind, at, from, len)) in ops.into_iter().enumerate() {
            match kind {
                0 => {
                    let data: Vec<u8> = (0..len).map(|i| (i * 7 + n) as u8).collect();
                    memory.write(base + at as u64, &data).unwrap();
                    model[at..at + len].copy_from_slice(&data);
                }
                1 => {
                    memory.fill(base + at as u64, Fill::linear(n as u32 + 1, 1, len as u64)).unwrap();
                    model[at..at + len].fill(n as u8 + 1);
                }
                _ if at.abs_diff(from) >= len => {
                    memory.copy(base + at as u64, base + from as u64, len as u64).unwrap();
                    model.copy_within(from..from + len, at);
                }
                _ => {}
            }
        }
        let mut out = vec![0; LEN];
        memory.read(base, &mut out).unwrap();
        prop_assert_eq!(out, model);
    }
}
