//! cuGetExportTable: tables of functions that have no exported names.
//!
//! Every copy of cudart asks for some while it starts, and cuBLASLt does not work without one. A table is an
//! array of pointers, known by a UUID; its slot 0 holds its size in bytes, with one exception. What is known
//! of them is known from observation and from public projects that stand in for libcuda; their names are
//! those projects'. A slot that no program was seen to need answers CUDA_ERROR_NOT_SUPPORTED and says so in
//! the log, so that the first program that does need it can be helped.
//!
//! | table | what is served |
//! |---|---|
//! | CUDART_INTERFACE | the primary context's handle |
//! | TOOLS_RUNTIME_CALLBACK_HOOKS | two buffers, for tools that are not there |
//! | TOOLS_TLS | the current context |
//! | CONTEXT_LOCAL_STORAGE | values that cudart keeps in a context |
//! | CONTEXT_CHECKS | two checks that pass |
//! | INTEGRITY_CHECK | a hash by which cudart makes sure of its driver, see `integrity` |
//! | TOOLS_CONTEXT | the context's number, and two questions of cuBLAS |
//!
//! This room must never call the server itself, except to ask for the [`Facts`] of a device.

mod integrity;
mod served;

use std::{ffi::c_void, fmt, sync::OnceLock};

pub use integrity::DeviceFacts;
use rrto_core::api::CuResult;

use crate::{boundary, log};

/// What INTEGRITY_CHECK has to know of the driver that the program sees.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Facts {
    /// What cuDriverGetVersion answers: 1000 * major + 10 * minor.
    pub driver_version: u32,
    /// Every device, in the order of their ordinals.
    pub devices: Vec<DeviceFacts>,
}

static FACTS: OnceLock<fn() -> Result<Facts, CuResult>> = OnceLock::new();

/// Says where the facts come from. They are asked for when cudart first asks for its check, which is while
/// the program initialises CUDA, and three times for each copy of cudart: the source should remember them.
/// Only the first source counts.
pub fn set_facts_source(source: fn() -> Result<Facts, CuResult>) {
    let _ = FACTS.set(source);
}

fn facts() -> Result<Facts, CuResult> {
    FACTS.get().ok_or(CuResult::NOT_INITIALIZED)?()
}

/// What cuGetExportTable answers: the address of the table that a UUID (its bytes in order) names.
///
/// # Errors
/// NOT_FOUND for any other UUID, which is logged once unless refusing it is known to do no harm.
pub fn find(uuid: &[u8; 16]) -> Result<*const c_void, CuResult> {
    if let Some(table) = served::TABLES.iter().find(|table| table.uuid == *uuid) {
        return Ok(table.slots.as_ptr().cast());
    }
    match REFUSED.iter().find(|(refused, _)| refused.to_be_bytes() == *uuid) {
        Some((_, asked_by)) => log::info!("private driver table {} of {asked_by}: not offered", Uuid(uuid)),
        None => {
            log::error!("the program asked for an unknown private driver table, {}: not offered", Uuid(uuid))
        }
    }
    Err(CuResult::NOT_FOUND)
}

/// Tables that programs ask for and do without, and who asks.
const REFUSED: [(u128, &str); 4] = [
    (0xf8cff951_2146_8b4e_b9e2_fb469e7c0dd9, "cudart"),
    // Only plans with load and store callbacks need it.
    (0x6e163fbe_b958_444d_835c_e182aff1991e, "cuFFT"),
    (0x69a28e9f_2449_8b47_b030_c5da330ea4e9, "NVML"),
    (0xda9151d3_3ae6_cc41_a5c0_4f26d533e328, "NVRTC"),
];

/// A pointer in a table.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Slot(*const c_void);

// SAFETY: slots are never written; what they point to is code, or in slot 0 no address at all.
unsafe impl Sync for Slot {}

/// A table as it is served.
struct Table {
    uuid: [u8; 16],
    name: &'static str,
    slots: &'static [Slot],
}

/// No table served has more slots.
const SLOTS_MAX: usize = 93;

/// A table of `N` slots, each of which says that it is not offered; `TABLE` is its place in
/// [`served::TABLES`].
const fn unknown_slots<const TABLE: usize, const N: usize>() -> [Slot; N] {
    macro_rules! slots {
        ($($slot:literal)*) => { [$(Slot(unknown_slot::<TABLE, $slot> as *const c_void)),*] };
    }
    let all: [Slot; SLOTS_MAX] = slots!(
        0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36
        37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63 64 65 66 67 68 69 70
        71 72 73 74 75 76 77 78 79 80 81 82 83 84 85 86 87 88 89 90 91 92
    );
    let (slots, _) = all.split_at(N);
    match slots.first_chunk() {
        Some(slots) => *slots,
        // Unreachable: the slice has N elements, and this runs at compile time only.
        None => [Slot(std::ptr::null()); N],
    }
}

/// What slot 0 of a table of `N` slots holds: its size in bytes.
const fn size_slot<const N: usize>() -> Slot {
    Slot(std::ptr::without_provenance(N * size_of::<Slot>()))
}

/// Stands in for a function that nobody knows. It takes any arguments: in the calling conventions of the
/// platforms that CUDA runs on the caller cleans up, and a callee that reads none of them cannot tell.
extern "C" fn unknown_slot<const TABLE: usize, const SLOT: usize>() -> u32 {
    boundary::guard_constant(|| {
        let name = served::TABLES.get(TABLE).map_or("?", |table| table.name);
        log::error!("the program called slot {SLOT} of the private driver table {name}: not offered");
        CuResult::NOT_SUPPORTED
    })
}

/// Shows a UUID as `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`, its bytes in order.
struct Uuid<'a>(&'a [u8; 16]);

impl fmt::Display for Uuid<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if [4, 6, 8, 10].contains(&at) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
