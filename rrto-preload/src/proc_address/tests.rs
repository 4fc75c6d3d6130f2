//! cuGetProcAddress as its callers see it.

use std::ffi::{CStr, CString};

use super::*;

/// An address for every function but one.
fn address(function: Function) -> *const c_void {
    match function {
        Function::cudbgMain | Function::cuVDPAUGetDevice => ptr::null(),
        other => ptr::without_provenance(0x1000 + usize::from(other.index())),
    }
}

fn ask(name: &CStr, version: c_int, flags: u64) -> (CuResult, c_int, Option<Function>) {
    let (mut function, mut status) = (ptr::dangling_mut(), -1);
    // SAFETY: a string, a pointer and an int of this function's own.
    let result =
        unsafe { get_proc_address(name.as_ptr(), &mut function, version, flags, &mut status, address) };
    let index = function.addr().checked_sub(0x1000).and_then(|index| u16::try_from(index).ok());
    (result, status, index.and_then(Function::from_index))
}

#[test]
fn results_and_status() {
    let found = |function| (CuResult::SUCCESS, 0, Some(function));
    // The status alone says so.
    let absent = (CuResult::SUCCESS, 1, None);
    let cases = [
        (c"cuMemAlloc", 12000, 0, found(Function::cuMemAlloc_v2)),
        (c"cuMemAlloc", 2000, 1, found(Function::cuMemAlloc)),
        (c"cuLaunchKernel", 13000, 2, found(Function::cuLaunchKernel_ptsz)),
        (c"cuGetProcAddress", 12000, 0, found(Function::cuGetProcAddress_v2)),
        (c"cuGetProcAddress", 11030, 0, found(Function::cuGetProcAddress)),
        // Not offered, but there.
        (c"cuGraphLaunch", 13000, 0, found(Function::cuGraphLaunch)),
        (c"cuGraphLaunch", 9000, 0, (CuResult::SUCCESS, 2, None)),
        (c"cuMemAlloc_v2", 12000, 0, absent),
        (c"cuNothing", 12000, 0, absent),
        (c"", 12000, 0, absent),
        (c"\xff\xfe", 12000, 0, absent),
        (c"cudbgMain", 12000, 0, absent),
        // In the table, but the entry room has no address for it.
        (c"cuVDPAUGetDevice", 12000, 0, absent),
    ];
    for (name, version, flags, expected) in cases {
        assert_eq!(ask(name, version, flags), expected, "{name:?} {version} {flags}");
    }
}

#[test]
fn what_is_not_a_question_is_refused() {
    assert_eq!(ask(c"cuInit", -1, 0).0, CuResult::INVALID_VALUE);
    assert_eq!(ask(c"cuInit", 12000, 3).0, CuResult::INVALID_VALUE);
    assert_eq!(ask(c"cuInit", 12000, 4).0, CuResult::INVALID_VALUE);

    let mut function = ptr::null_mut();
    // SAFETY: every pointer is null, or a pointer of this function's own.
    unsafe {
        let null = ptr::null_mut();
        let refused = get_proc_address(ptr::null(), &mut function, 12000, 0, null, address);
        assert_eq!(refused, CuResult::INVALID_VALUE);
        let refused = get_proc_address(c"cuInit".as_ptr(), ptr::null_mut(), 12000, 0, null, address);
        assert_eq!(refused, CuResult::INVALID_VALUE);
        // The first form has no status.
        let found = get_proc_address(c"cuInit".as_ptr(), &mut function, 12000, 0, null, address);
        assert_eq!(found, CuResult::SUCCESS);
        let mut nothing = ptr::null_mut();
        let absent = get_proc_address(c"cuNothing".as_ptr(), &mut nothing, 12000, 0, null, address);
        assert_eq!((absent, nothing.is_null()), (CuResult::NOT_FOUND, true));
    }
    assert_eq!(function.cast_const(), address(Function::cuInit));
}

#[test]
fn a_long_name_is_not_read_to_its_end() {
    let name = CString::new("c".repeat(10 * NAME_MAX_BYTES)).unwrap();
    assert_eq!(ask(&name, 12000, 0), (CuResult::SUCCESS, 1, None));
}

#[test]
fn every_name_fits() {
    assert!(Function::ALL.iter().all(|function| function.base().len() < NAME_MAX_BYTES));
}
