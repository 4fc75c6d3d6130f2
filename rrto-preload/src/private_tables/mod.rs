//! cuGetExportTable: tables of functions that have no exported names.
//!
//! A table is an array of pointers, known by a UUID; its slot 0 holds its size in bytes, with one exception. Every copy of
//! cudart asks for some while it starts, and libraries ask for others when they first need them. What is known of
//! them is known from observation and from public projects that stand in for libcuda; names in capitals are those
//! projects', or where those have none, ours.
//!
//! These are all tables that the libraries of CUDA 13.0 asked for on one machine (2026-11-28, x86-64, NVIDIA H200,
//! driver 580.159.04; `netem/gpu/tables.py` traces it again): cuBLASLt with every type and epilogue, cuBLAS, cuDNN
//! (convolutions, attention, normalisation, recurrent layers), cuSPARSE, cuSPARSELt, cuSOLVER, cuFFT with and without
//! callbacks, cuRAND, NPP, nvJPEG, NCCL, NVRTC, nvJitLink, NVML, CUPTI, NVCUVID, and PyTorch, Triton, CuPy and JAX on them.
//!
//! | table | slots | asked for by | called | what is answered |
//! |---|---|---|---|---|
//! | 6bd5fb6c CUDART_INTERFACE | 13 | each cudart, also those inside of libraries | 2 | the primary context's handle |
//! | a094798c TOOLS_RUNTIME_CALLBACK_HOOKS | 7 | each cudart | 2, 6; under CUPTI also 1, 3, 4 | two buffers, for tools that are not there |
//! | 42d85a81 TOOLS_TLS | 3 | each cudart, cuBLAS, cuBLASLt | 2 | the current context |
//! | c693336e CONTEXT_LOCAL_STORAGE | 3, no size | each cudart | 0, 1, 2 | values that cudart keeps in a context |
//! | 263e8860 CONTEXT_CHECKS | 15 | each cudart | 2, 3 | two checks that pass |
//! | d4082055 INTEGRITY_CHECK | 3 | each cudart | 1 | a hash by which cudart makes sure of its driver, see `integrity` |
//! | 21318c60 TOOLS_CONTEXT | 93 | cuBLAS, cuBLASLt, cuFFT; CUPTI | 4; cuBLAS also 39, 51; CUPTI 8, 35 | the context's number, and two questions of cuBLAS |
//! | 1734dc26 TPC_PLACES | 17 | cuBLASLt, for products of half precision | 4, 13 | where each pair of multiprocessors is, see `libraries` |
//! | 6e163fbe MODULE_FUNCTIONS | 99 | cuFFT, for each plan | 7 | the functions of a module, see `libraries` |
//! | f8cff951 | 3 | each cudart, first of all | none | refused |
//! | 69a28e9f | 34 | NVML | 19, 21, 24, 25 | refused |
//! | da9151d3 | 7 | NVRTC, nvJitLink | 1, 2, 3, 6: a cache of what was compiled | refused |
//! | cd3ea2c6 | 2 | cuSPARSELt | 1 | refused |
//! | b10541e1 | 31 | CUPTI, NVCUVID | 2, 5, 8, 16, 21 | refused |
//! | 2c8e0ad8, d7bd8af8, f6d3f4d9 | 12, 10, 3 | CUPTI | 1; 3, 4; 2 | refused |
//! | 9af0707b | 28 | NVCUVID | 1, 2, 5, 6, 17 | refused |
//!
//! A table that is refused is null, and the answer CUDA_ERROR_INVALID_VALUE, as with a driver that has no such table. The
//! libraries go by the answer (nvJitLink: by the null), and do without. But cuBLASLt calls functions of a table that it was
//! refused, because every driver that it runs on has it, and the program ends there. So a table that is not listed
//! here, but that the server's driver has, is given: all its slots are stubs, which name the library and answer an
//! error (see `stubs`). With that, every library that was tried went on as if refused, cuBLASLt too.
//!
//! This room must never call the server itself, except through the [`Source`].

mod integrity;
mod libraries;
mod served;
mod stubs;

use std::{
    ffi::{CStr, c_void},
    fmt,
    sync::{Arc, OnceLock},
};

pub use integrity::DeviceFacts;
use rrto_core::{api::CuResult, operator::TpcPlace};

use crate::log;

/// What INTEGRITY_CHECK has to know of the driver that the program sees.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Facts {
    /// What cuDriverGetVersion answers: 1000 * major + 10 * minor.
    pub driver_version: u32,
    /// Every device, in the order of their ordinals.
    pub devices: Vec<DeviceFacts>,
}

/// A function of a module: its handle, as cuModuleGetFunction gives it, and its name.
pub type NamedFunction = (usize, Arc<CStr>);

/// Where answers come from that the tables cannot give themselves.
pub struct Source {
    /// What INTEGRITY_CHECK has to know; asked for while the program initialises CUDA, and three times for each copy of
    /// cudart, so it should be at hand.
    pub facts: fn() -> Result<Facts, CuResult>,
    /// Whether the server's driver has the table of this UUID.
    pub is_known: fn([u8; 16]) -> Result<(), CuResult>,
    /// The place of each TPC, a pair of multiprocessors.
    pub tpc_places: fn() -> Result<Vec<TpcPlace>, CuResult>,
    /// The functions of a module, with their names.
    pub module_functions: fn(usize) -> Result<Vec<NamedFunction>, CuResult>,
}

static SOURCE: OnceLock<&'static Source> = OnceLock::new();

/// Says where answers come from. Only the first source counts.
pub fn set_source(source: &'static Source) {
    let _ = SOURCE.set(source);
}

fn source() -> Result<&'static Source, CuResult> {
    SOURCE.get().copied().ok_or(CuResult::NOT_INITIALIZED)
}

/// What cuGetExportTable answers: the address of the table that a UUID (its bytes in order) names.
///
/// # Errors
/// INVALID_VALUE, as the driver's for a UUID that it does not know, for a table that is refused.
pub fn find(uuid: &[u8; 16]) -> Result<*const c_void, CuResult> {
    if let Some(table) = served::TABLES.iter().find(|table| table.uuid == *uuid) {
        return Ok(table.slots.as_ptr().cast());
    }
    if let Some((_, asked_by)) = REFUSED.iter().find(|(refused, _)| refused.to_be_bytes() == *uuid) {
        log::info!("private driver table {} of {asked_by}: not offered", Uuid(uuid));
        return Err(CuResult::INVALID_VALUE);
    }
    log::error!("the program asked for an unknown private driver table, {}: not offered", Uuid(uuid));
    let is_known = source().and_then(|source| (source.is_known)(*uuid));
    is_known.ok().and_then(|()| stubs::table(uuid)).ok_or(CuResult::INVALID_VALUE)
}

/// Tables that programs ask for and do without, and who asks.
const REFUSED: [(u128, &str); 9] = [
    (0xf8cff951_2146_8b4e_b9e2_fb469e7c0dd9, "cudart"),
    (0x69a28e9f_2449_8b47_b030_c5da330ea4e9, "NVML"),
    (0xda9151d3_3ae6_cc41_a5c0_4f26d533e328, "NVRTC and nvJitLink"),
    (0xcd3ea2c6_7076_db4b_882e_52ae6c2d86f7, "cuSPARSELt"),
    (0xb10541e1_f7c7_c74a_9f64_f223be99f1e2, "CUPTI and NVCUVID"),
    (0x2c8e0ad8_0710_ab4e_90dd_54719fe5f74b, "CUPTI"),
    (0xd7bd8af8_e7ac_ca4a_bdbc_fb1f1b3fcf33, "CUPTI"),
    (0xf6d3f4d9_2de3_8040_9f0c_058cf1b2906b, "CUPTI"),
    (0x9af0707b_8e2d_d84c_8e4e_b994c82ddc35, "NVCUVID"),
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

/// What slot 0 of a table of `N` slots holds: its size in bytes.
const fn size_slot<const N: usize>() -> Slot {
    Slot(std::ptr::without_provenance(N * size_of::<Slot>()))
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
