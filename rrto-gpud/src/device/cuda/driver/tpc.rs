//! The driver's private tables: which there are, and what one of them tells of where the multiprocessors are.
//!
//! Libraries ask for tables by cuGetExportTable and go by what is in them, so a client has to be told the same. NVIDIA
//! documents none of it. What is here was seen with driver 580.159.04 (CUDA 13.0): the table has 17 slots, the first of
//! which holds its size in bytes; slot 4 makes two arrays with malloc, of a byte for each TPC of the current context's
//! device, and slot 13 frees them. A driver whose table has another size may mean something else by its slots, and is
//! not asked.

use std::ffi::{c_uint, c_void};
use std::ptr;

use rrto_core::api::CuResult;
use rrto_core::operator::{MAX_TPCS, TpcPlace};

use super::{Answer, Driver, check, out};

/// 1734dc26-800d-4745-8726-c0f1e7dd8bca, its bytes in order.
const TABLE: [u8; 16] = 0x1734dc26_800d_4745_8726_c0f1e7dd8bca_u128.to_be_bytes();

/// Slots of the table.
const SLOTS: usize = 17;
/// Makes the arrays.
const MAKE: usize = 4;
/// Frees them.
const FREE: usize = 13;

/// Both functions take two pointers: to where the arrays' addresses go, or the arrays.
type Make = unsafe extern "C" fn(*mut *mut u8, *mut *mut u8) -> c_uint;
type Free = unsafe extern "C" fn(*mut u8, *mut u8) -> c_uint;

/// The driver's two arrays.
struct Arrays {
    gpcs: *mut u8,
    indices: *mut u8,
    free: Free,
}

impl Drop for Arrays {
    fn drop(&mut self) {
        // SAFETY: the driver's own function for what its other one has made, which nothing else frees.
        let _ = unsafe { (self.free)(self.gpcs, self.indices) };
    }
}

impl Driver {
    /// The place of each TPC of the current context's device, which has so many multiprocessors.
    ///
    /// # Errors
    /// `NOT_SUPPORTED`: this driver does not tell, or not in the way that is known.
    pub(in crate::device::cuda) fn tpc_places(&self, multiprocessors: usize) -> Answer<Vec<TpcPlace>> {
        let arrays = self.tpc_arrays()?;
        // SAFETY: both come from the malloc that the process has, which driver and server share.
        let usable = unsafe {
            libc::malloc_usable_size(arrays.gpcs.cast()).min(libc::malloc_usable_size(arrays.indices.cast()))
        };
        let tpcs = multiprocessors.div_ceil(2).min(usable).min(MAX_TPCS);
        // SAFETY: both arrays are at least so long, and freed only when `arrays` is dropped.
        let place = |at| unsafe { TpcPlace { gpc: *arrays.gpcs.add(at), index: *arrays.indices.add(at) } };
        Ok((0..tpcs).map(place).collect())
    }

    /// `cuGetExportTable`: whether there is a table of this UUID.
    ///
    /// # Errors
    /// The driver's: it has none.
    pub(in crate::device::cuda) fn export_table(&self, uuid: &[u8; 16]) -> Answer<()> {
        self.table(uuid).map(|_| ())
    }

    fn table(&self, uuid: &[u8; 16]) -> Answer<*const *const c_void> {
        let table = out(ptr::null(), |table| {
            // SAFETY: writes one address; a UUID is 16 bytes.
            unsafe { (self.functions.cuGetExportTable)(table, uuid) }
        })?;
        Ok(table.cast())
    }

    fn tpc_arrays(&self) -> Answer<Arrays> {
        let table = self.table(&TABLE).map_err(|_| CuResult::NOT_SUPPORTED)?;
        // SAFETY: a table begins with its size, and this one is known to.
        if table.is_null() || unsafe { *table }.addr() != SLOTS * size_of::<usize>() {
            return Err(CuResult::NOT_SUPPORTED);
        }
        // SAFETY: the table has these slots.
        let (make, free) = unsafe { (*table.add(MAKE), *table.add(FREE)) };
        if make.is_null() || free.is_null() {
            return Err(CuResult::NOT_SUPPORTED);
        }
        // SAFETY: a table of this UUID and size has functions of these types in these slots.
        let (make, free) = unsafe {
            (
                std::mem::transmute::<*const c_void, Make>(make),
                std::mem::transmute::<*const c_void, Free>(free),
            )
        };
        let (mut gpcs, mut indices) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: writes two addresses.
        check(unsafe { make(&raw mut gpcs, &raw mut indices) })?;
        if gpcs.is_null() || indices.is_null() {
            return Err(CuResult::NOT_SUPPORTED);
        }
        Ok(Arrays { gpcs, indices, free })
    }
}
