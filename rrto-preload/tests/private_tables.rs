//! What a library finds that calls a function nobody knows: through the C interface, in a process of its own.

use std::ffi::{c_uint, c_void};
use std::{env, fs, process, ptr};

use rrto_core::api::Function;
use rrto_preload::entry::address;

#[test]
fn who_calls_an_unknown_function_is_named_once() {
    let log = env::temp_dir().join(format!("rrto-private-tables-{}", process::id()));
    // SAFETY: the only test of this process, and nothing has read the environment yet.
    unsafe { env::set_var("RRTO_LOG_FILE", &log) };
    type GetExportTable = extern "C" fn(*mut *const c_void, *const [u8; 16]) -> c_uint;
    // SAFETY: cuda.h's prototype.
    let get =
        unsafe { std::mem::transmute::<*const c_void, GetExportTable>(address(Function::cuGetExportTable)) };
    let mut table = ptr::null();
    assert_eq!(get(&mut table, &0x1734dc26_800d_4745_8726_c0f1e7dd8bca_u128.to_be_bytes()), 0);
    for slot in [5, 5, 12] {
        // SAFETY: the table has 17 slots; a function that nobody knows takes any arguments.
        let result = unsafe {
            let function = *table.cast::<*const c_void>().add(slot);
            std::mem::transmute::<*const c_void, extern "C" fn(usize, f64) -> c_uint>(function)(7, 0.5)
        };
        assert_eq!(result, 801, "not supported");
    }
    assert_eq!(get(&mut table, &[0xee; 16]), 1, "invalid value");
    assert!(table.is_null());

    let said = fs::read_to_string(&log).unwrap();
    fs::remove_file(&log).unwrap();
    let this = env::current_exe().unwrap();
    let this = this.file_name().unwrap().to_str().unwrap();
    for slot in [5, 12] {
        let line = format!("{this} called slot {slot} of the private driver table TPC_PLACES: not offered");
        assert_eq!(said.matches(&line).count(), 1, "{said}");
    }
    assert!(said.contains("eeeeeeee-eeee-eeee-eeee-eeeeeeeeeeee"), "{said}");
}
