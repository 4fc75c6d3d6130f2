use proptest::prelude::*;

use super::*;

fn allocations(memory_bytes: u64, allocations: usize) -> Allocations {
    Allocations::new(&Limits { memory_bytes, allocations, ..Limits::default() })
}

#[test]
fn limits_of_bytes_and_number() {
    let mut held = allocations(100, 2);
    assert_eq!(held.check(101), Err(CuResult::OUT_OF_MEMORY));
    assert_eq!(held.check(100), Ok(()));
    held.add(0x1000, 60);
    assert_eq!(held.left_bytes(), 40);
    assert_eq!(held.check(41), Err(CuResult::OUT_OF_MEMORY));
    held.add(0x2000, 10);
    assert_eq!(held.check(1), Err(CuResult::OUT_OF_MEMORY), "two are all that there may be");
    held.remove(0x1000);
    held.remove(0x1000);
    assert_eq!(held.left_bytes(), 90);
    assert!(!held.starts_at(0x1000));
    assert!(held.starts_at(0x2000));
}

#[test]
fn the_memory_that_is_seen_is_what_the_session_may_have() {
    // Limit, allocated, the driver's free and total; free and total as seen.
    for (limit, used, driver, seen) in [
        (1000, 0, (3900, 4096), (1000, 1000)),
        (1000, 400, (3500, 4096), (600, 1000)),
        (1000, 400, (100, 4096), (100, 1000)),
        (u64::MAX, 400, (3500, 4096), (3500, 4096)),
        (5000, 0, (4096, 4096), (4096, 4096)),
    ] {
        let mut held = allocations(limit, 2);
        held.add(0x1000, used);
        assert_eq!(held.seen(driver), seen, "{limit} {used} {driver:?}");
    }
}

#[test]
fn ranges_of_allocations_and_variables() {
    let mut held = allocations(u64::MAX, 100);
    held.add(0x1000, 0x100);
    held.add_global(0x5000, 16, Handle(9));
    let table = [
        (0x1000, 0x100, true),
        (0x10ff, 1, true),
        (0x1000, 0x101, false),
        (0xfff, 2, false),
        (0x1100, 1, false),
        (0x5000, 16, true),
        (0x5008, 9, false),
        (u64::MAX, 2, false),
        (0, 1, false),
    ];
    for (address, bytes, expected) in table {
        assert_eq!(held.contains(address, bytes), expected, "{address:#x} {bytes:#x}");
    }
    held.forget_globals(Handle(8));
    assert!(held.contains(0x5000, 16));
    held.forget_globals(Handle(9));
    assert!(!held.contains(0x5000, 16));
}

#[test]
fn spans_of_fills() {
    assert_eq!(span(0, 4, 10, 1), Some(40));
    assert_eq!(span(512, 2, 10, 3), Some(1044));
    assert_eq!(span(512, 2, 0, 3), Some(0));
    assert_eq!(span(512, 2, 3, 0), Some(0));
    assert_eq!(span(u64::MAX, 1, 1, 3), None);
    assert_eq!(span(1, 4, u64::MAX, 1), None);
}

proptest! {
    /// The bytes in use are those of the live allocations, and a byte is known exactly while its allocation lives.
    #[test]
    fn accounting(steps in prop::collection::vec((0_u64..32, 1_u64..256, any::<bool>()), 0..100)) {
        let mut held = allocations(1 << 20, 1000);
        let mut model = std::collections::HashMap::new();
        for (slot, bytes, free) in steps {
            let address = slot * 256;
            if free {
                held.remove(address);
                model.remove(&address);
            } else if !held.starts_at(address) {
                held.add(address, bytes);
                model.insert(address, bytes);
            }
            prop_assert_eq!(held.left_bytes(), (1 << 20) - model.values().sum::<u64>());
        }
        for address in 0..32 * 256 {
            let known = model.get(&(address / 256 * 256)).is_some_and(|bytes| address % 256 < *bytes);
            prop_assert_eq!(held.contains(address, 1), known);
        }
    }
}
