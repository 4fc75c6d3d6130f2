//! The tables as cudart and CUDA's libraries find them.

use std::{
    ffi::{CStr, CString, c_char, c_int, c_void},
    ptr,
    sync::atomic::{AtomicUsize, Ordering},
};

use super::{
    integrity::{Seen, constant, hash},
    *,
};
use crate::context::{Ended, contexts};

type AnyFunction = unsafe extern "C" fn(usize, usize, usize) -> u32;

/// The function in a slot of a table, as a caller that knows its arguments would cast it.
fn slot(uuid: u128, slot: usize) -> AnyFunction {
    let table = find(&uuid.to_be_bytes()).unwrap().cast::<*const c_void>();
    // SAFETY: the table has this slot, which holds a function; every argument in these tests is an integer or
    // a pointer, which are passed alike, and no function reads more than three.
    unsafe { std::mem::transmute::<*const c_void, AnyFunction>(*table.add(slot)) }
}

const CUDART_INTERFACE: u128 = 0x6bd5fb6c_5bf4_e74a_8987_d93912fd9df9;
const HOOKS: u128 = 0xa094798c_2e74_2e74_93f2_0800200c0a66;
const TOOLS_TLS: u128 = 0x42d85a81_23f6_cb47_8298_f6e78a3aecdc;
const STORAGE: u128 = 0xc693336e_1121_df11_a8c3_68f355d89593;
const CHECKS: u128 = 0x263e8860_7cd2_6143_92f6_bbd5006dfa7e;
const INTEGRITY: u128 = 0xd4082055_bde6_704b_8d34_ba123c66e1f2;
const TOOLS_CONTEXT: u128 = 0x21318c60_9714_3248_8ca6_41ff7324c8f2;
const TPC_PLACES: u128 = 0x1734dc26_800d_4745_8726_c0f1e7dd8bca;
const MODULE_FUNCTIONS: u128 = 0x6e163fbe_b958_444d_835c_e182aff1991e;

#[test]
fn tables_have_their_sizes_and_no_empty_slot() {
    let sizes = [
        (CUDART_INTERFACE, 13),
        (HOOKS, 7),
        (TOOLS_TLS, 3),
        (CHECKS, 15),
        (INTEGRITY, 3),
        (TOOLS_CONTEXT, 93),
        (TPC_PLACES, 17),
        (MODULE_FUNCTIONS, 99),
    ];
    for (uuid, size) in sizes {
        let table = find(&uuid.to_be_bytes()).unwrap().cast::<usize>();
        // SAFETY: slot 0 says how many there are, and every one is a word.
        unsafe {
            assert_eq!(*table, size * size_of::<usize>());
            assert!((1..size).all(|at| *table.add(at) != 0));
        }
    }
    let table = find(&STORAGE.to_be_bytes()).unwrap().cast::<usize>();
    // SAFETY: this table has three slots and no size.
    assert!((0..3).all(|at| unsafe { *table.add(at) } > 3 * size_of::<usize>()));
}

#[test]
fn tables_are_told_apart() {
    for (at, table) in served::TABLES.iter().enumerate() {
        assert!(table.slots.len() <= stubs::SLOTS_MAX);
        let same = served::TABLES.iter().filter(|other| other.uuid == table.uuid).count();
        assert_eq!(same, 1, "table {at}");
        assert!(REFUSED.iter().all(|(refused, _)| refused.to_be_bytes() != table.uuid));
    }
}

#[test]
fn refused_tables_are_invalid() {
    set_source(&SOURCE);
    for (uuid, _) in REFUSED {
        assert_eq!(find(&uuid.to_be_bytes()), Err(CuResult::INVALID_VALUE));
    }
    let shown = Uuid(&CUDART_INTERFACE.to_be_bytes()).to_string();
    assert_eq!(shown, "6bd5fb6c-5bf4-e74a-8987-d93912fd9df9");
}

/// What libraries that do not look find: errors, and never null.
#[test]
fn a_table_that_only_the_server_knows_is_all_stubs() {
    set_source(&SOURCE);
    assert_eq!(find(&[0xfe; 16]), Err(CuResult::INVALID_VALUE), "the server does not know it either");
    for number in 0..40_u128 {
        let uuid = (u128::from(KNOWN) << 120) + number;
        let Ok(table) = find(&uuid.to_be_bytes()) else {
            assert!(number >= 16, "only a program that asks for ever new tables is refused");
            continue;
        };
        assert_eq!(find(&uuid.to_be_bytes()), Ok(table));
        assert_ne!(find(&(uuid + 1).to_be_bytes()), Ok(table));
        // SAFETY: slot 0 says how many there are, and every one is a word.
        let slots = unsafe { *table.cast::<usize>() } / size_of::<usize>();
        for at in 1..slots {
            // SAFETY: these functions read no argument.
            assert_eq!(unsafe { slot(uuid, at)(usize::MAX, 1, 0) }, CuResult::NOT_SUPPORTED.0);
        }
    }
}

#[test]
fn places_are_in_memory_of_malloc() {
    set_source(&SOURCE);
    let (mut gpcs, mut indices) = (ptr::null_mut::<u8>(), ptr::null_mut::<u8>());
    let (gpcs_at, indices_at) = ((&raw mut gpcs).expose_provenance(), (&raw mut indices).expose_provenance());
    // SAFETY: two places of this function's own, or null; the arrays are freed once each, and hold three TPCs.
    unsafe {
        assert_eq!(slot(TPC_PLACES, 4)(0, indices_at, 0), CuResult::INVALID_VALUE.0);
        assert_eq!(slot(TPC_PLACES, 4)(gpcs_at, 0, 0), CuResult::INVALID_VALUE.0);
        for _ in 0..2 {
            assert_eq!(slot(TPC_PLACES, 4)(gpcs_at, indices_at, 0), 0);
            let array = |at: usize| {
                std::slice::from_raw_parts(ptr::with_exposed_provenance::<*const u8>(at).read(), 6)
            };
            assert_eq!(array(gpcs_at), [0, 7, 0x13, 0, 0, 0]);
            assert_eq!(array(indices_at), [1, 2, 3, 0, 0, 0]);
            let word = |at: usize| ptr::with_exposed_provenance::<usize>(at).read();
            assert_eq!(slot(TPC_PLACES, 13)(word(gpcs_at), word(indices_at), 0), 0);
        }
        assert_eq!(slot(TPC_PLACES, 13)(0, 0, 0), 0);
    }
}

type Told = Vec<(usize, String)>;

unsafe extern "C" fn see(seen: *mut c_void, function: *mut c_void, name: *const c_char) -> c_int {
    // SAFETY: `each_function` is given a `Told`, and gives a text.
    let (seen, name) = unsafe { (&mut *seen.cast::<Told>(), CStr::from_ptr(name)) };
    seen.push((function.addr(), name.to_str().unwrap().to_owned()));
    1
}

#[test]
fn each_function_of_a_module_is_told() {
    set_source(&SOURCE);
    type Each = unsafe extern "C" fn(
        usize,
        usize,
        Option<unsafe extern "C" fn(*mut c_void, *mut c_void, *const c_char) -> c_int>,
        *mut c_void,
    ) -> u32;
    // SAFETY: the type of slot 7 of MODULE_FUNCTIONS, with integers for handles.
    let each = unsafe { std::mem::transmute::<AnyFunction, Each>(slot(MODULE_FUNCTIONS, 7)) };
    let mut seen = Told::new();
    let told = (&raw mut seen).cast();
    // SAFETY: the callback takes what it is given here.
    let counts =
        unsafe { [each(0, 2, Some(see), told), each(0, 0, Some(see), told), each(0, 2, None, told)] };
    assert_eq!(counts, [2, 0, 0], "no such module, and nobody to tell");
    assert_eq!(seen, [(0x20, "k0".to_owned()), (0x21, "k1".to_owned())]);
}

/// The first byte of UUIDs that the stand-in for the server knows.
const KNOWN: u8 = 0x55;

/// A server with three TPCs, whose module of number n has n functions.
static SOURCE: Source = Source {
    facts: || Ok(Facts { driver_version: 13000, devices: vec![] }),
    is_known: |uuid| if uuid[0] == KNOWN { Ok(()) } else { Err(CuResult::INVALID_VALUE) },
    tpc_places: || Ok([(0, 1), (7, 2), (0x13, 3)].map(|(gpc, index)| TpcPlace { gpc, index }).to_vec()),
    module_functions: |module| {
        let function = |at| (16 * module + at, Arc::from(CString::new(format!("k{at}")).unwrap()));
        if module > 0 { Ok((0..module).map(function).collect()) } else { Err(CuResult::INVALID_HANDLE) }
    },
};

#[test]
fn an_unknown_slot_is_not_supported_whatever_it_is_given() {
    for (uuid, at) in [(CUDART_INTERFACE, 1), (TOOLS_CONTEXT, 92), (CHECKS, 14)] {
        // SAFETY: these functions read no argument.
        let result = unsafe { slot(uuid, at)(usize::MAX, 1, 0) };
        assert_eq!(result, CuResult::NOT_SUPPORTED.0);
    }
}

#[test]
fn buffers_are_zeroed_and_as_long_as_they_say() {
    for (at, width) in [(2, size_of::<usize>()), (6, 1)] {
        let (mut buffer, mut length) = (ptr::null_mut::<u8>(), 0_usize);
        let call = slot(HOOKS, at);
        // SAFETY: two places of this function's own; the buffer has as many elements as the answer says.
        unsafe {
            assert_eq!(call((&raw mut buffer).addr(), (&raw mut length).addr(), 0), 0);
            assert!(length > 0);
            assert!((0..length * width).all(|byte| *buffer.add(byte) == 0));
            assert_eq!(call(0, (&raw mut length).addr(), 0), CuResult::INVALID_VALUE.0);
        }
    }
}

static DESTROYED: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" fn destroyed(_context: *mut c_void, key: *mut c_void, value: *mut c_void) {
    DESTROYED.store(key.addr() + value.addr(), Ordering::Relaxed);
}

/// One test, because the process has one set of contexts.
#[test]
fn contexts_through_the_tables() {
    let (mut word, mut number) = (1_usize, 7_u64);
    let (word_at, number_at) = ((&raw mut word).expose_provenance(), (&raw mut number).expose_provenance());
    let read_word = || {
        // SAFETY: `word` lives, and was written through the same exposed address.
        unsafe { ptr::with_exposed_provenance::<usize>(word_at).read() }
    };
    let read_number = || {
        // SAFETY: `number` lives, and was written through the same exposed address.
        unsafe { ptr::with_exposed_provenance::<u64>(number_at).read() }
    };
    let call = |uuid: u128, at: usize, a: usize, b: usize, c: usize| {
        // SAFETY: every call below passes what the slot takes: places above, numbers, or null.
        CuResult(unsafe { slot(uuid, at)(a, b, c) })
    };
    let handle = contexts().primary().as_raw();

    assert_eq!(call(CUDART_INTERFACE, 2, word_at, 1, 0), CuResult::INVALID_DEVICE);
    assert_eq!(call(CUDART_INTERFACE, 2, 0, 0, 0), CuResult::INVALID_VALUE);
    assert_eq!(call(CUDART_INTERFACE, 2, word_at, 0, 0), CuResult::SUCCESS);
    assert_eq!(read_word(), handle);
    assert!(!contexts().primary_state().is_active, "asking does not retain");

    assert_eq!(call(TOOLS_TLS, 2, word_at, 0, 0), CuResult::SUCCESS);
    assert_eq!(read_word(), 0);
    assert_eq!(call(TOOLS_CONTEXT, 4, 0, number_at, 0), CuResult::SUCCESS);
    assert_eq!(read_number(), 0);
    assert_eq!(call(STORAGE, 2, word_at, 0, 0x100), CuResult::INVALID_CONTEXT);

    let primary = contexts().retain_primary().unwrap();
    contexts().set_current(Some(primary)).unwrap();
    assert_eq!(call(TOOLS_TLS, 2, word_at, 0, 0), CuResult::SUCCESS);
    assert_eq!(read_word(), handle);
    assert_eq!(call(TOOLS_CONTEXT, 4, handle, number_at, 0), CuResult::SUCCESS);
    assert_eq!(Ok(read_number()), contexts().id(None));
    assert_eq!(call(CHECKS, 2, handle, number_at, 0), CuResult::SUCCESS);
    assert_eq!(read_number() as u32, 0);
    assert_eq!(call(CHECKS, 3, 0, 0, 0), CuResult::SUCCESS);

    assert_eq!(call(STORAGE, 2, word_at, 0, 0x100), CuResult::INVALID_HANDLE);
    type Put = unsafe extern "C" fn(
        usize,
        usize,
        usize,
        Option<unsafe extern "C" fn(*mut c_void, *mut c_void, *mut c_void)>,
    ) -> u32;
    // SAFETY: the type of slot 0 of CONTEXT_LOCAL_STORAGE, with integers for pointers that are only kept.
    let put = unsafe { std::mem::transmute::<AnyFunction, Put>(slot(STORAGE, 0)) };
    // SAFETY: as above; the destructor is a function of this file.
    assert_eq!(unsafe { put(0, 0x100, 0x23, Some(destroyed)) }, 0);
    assert_eq!(call(STORAGE, 2, word_at, handle, 0x100), CuResult::SUCCESS);
    assert_eq!(read_word(), 0x23);
    assert_eq!(call(STORAGE, 2, 0, handle, 0x100), CuResult::INVALID_VALUE);
    // SAFETY: as above.
    assert_eq!(unsafe { put(handle, 0x200, 0x24, None) }, 0);
    assert_eq!(call(STORAGE, 1, 0, 0x200, 0), CuResult::SUCCESS);
    assert_eq!(call(STORAGE, 1, 0, 0x200, 0), CuResult::INVALID_HANDLE);

    assert_eq!(contexts().release_primary(), Ok(Ended::Yes));
    assert_eq!(DESTROYED.load(Ordering::Relaxed), 0x123);
    contexts().set_current(None).unwrap();
}

#[test]
fn what_cublas_asks() {
    let (mut number, mut object) = (7_u64, ptr::null_mut::<u64>());
    // SAFETY: two places of this function's own; the object has 64 words.
    unsafe {
        assert_eq!(slot(TOOLS_CONTEXT, 39)(1, 2, (&raw mut number).expose_provenance()), 0);
        let call = slot(TOOLS_CONTEXT, 51);
        assert_eq!(call(1, usize::MAX, (&raw mut object).expose_provenance()), CuResult::INVALID_HANDLE.0);
        assert_eq!(call(1, 2, (&raw mut object).expose_provenance()), 0);
        assert!((0..64).all(|at| *object.add(at) == 0));
    }
    assert_eq!(number, 0);
}

#[test]
fn two_of_three_answers_are_constants() {
    let bytes = |text: &str| -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    };
    assert_eq!(constant(13000).unwrap().to_vec(), bytes("5c67cb031c184133e8d14c1faa83d38e"));
    assert_eq!(constant(12081).unwrap().to_vec(), bytes("5c67cb031c184118e8d14c1faa83d38e"));
    assert_eq!(constant(13002), None);
    assert_eq!(constant(13009), None);
}

/// Expected values from an independent MD2 (RFC 1319) and HMAC (RFC 2104).
#[test]
fn the_third_is_a_hash() {
    let devices = [
        DeviceFacts {
            uuid: std::array::from_fn(|at| 0x10 + at as u8),
            pci_domain: 0,
            pci_bus: 0x1b,
            pci_device: 0,
        },
        DeviceFacts {
            uuid: std::array::from_fn(|at| 0xf0 + at as u8),
            pci_domain: 1,
            pci_bus: 0xc2,
            pci_device: 3,
        },
    ];
    let two_devices = Seen {
        driver_version: 13000,
        version: 13002,
        process: 4242,
        thread: 0xf7d8_c740,
        cudart_interface: 0x7fff_e000_1000,
        integrity_check: 0x7fff_e000_2000,
        function: 0x7fff_e000_3450,
        unix_seconds: 1_700_000_000,
        devices: &devices,
    };
    let none = Seen {
        driver_version: 12080,
        version: 12082,
        process: 1,
        thread: 2,
        cudart_interface: 3,
        integrity_check: 4,
        function: 5,
        unix_seconds: 6,
        devices: &[],
    };
    let hex = |bytes: [u8; 16]| bytes.map(|byte| format!("{byte:02x}")).concat();
    assert_eq!(hash(&two_devices).map(hex), Ok("137691abb9bb89f07f243475551a793b".to_owned()));
    assert_eq!(hash(&none).map(hex), Ok("65237df455798be152610ae80a5c5740".to_owned()));
}

#[test]
fn the_check_uses_the_facts_it_is_given() {
    set_source(&SOURCE);
    type Check = unsafe extern "C" fn(u32, u64, *mut [u8; 16]) -> c_int;
    // SAFETY: the type of slot 1 of INTEGRITY_CHECK.
    let check = unsafe { std::mem::transmute::<AnyFunction, Check>(slot(INTEGRITY, 1)) };
    let ask = |version, seconds| {
        let mut bytes = [0; 16];
        // SAFETY: a place of 16 bytes.
        assert_eq!(unsafe { check(version, seconds, &mut bytes) }, 0);
        bytes
    };
    assert_eq!(Some(ask(13000, 5)), constant(13000));
    assert_eq!(ask(13002, 5), ask(13002, 5));
    assert_ne!(ask(13002, 5), ask(13002, 6));
    assert_ne!(ask(13002, 5), ask(13003, 5));
    // SAFETY: null, which it checks for.
    assert_eq!(unsafe { check(13000, 5, ptr::null_mut()) }, CuResult::INVALID_VALUE.0 as c_int);
}
