//! Flags of contexts (`CUctx_flags`).

use rrto_core::api::CuResult;

use crate::log;

/// CU_CTX_SCHED_MASK: the bits of the flags that choose how to wait; at most one is set.
const SCHEDULE_MASK: u32 = 0x07;
/// CU_CTX_FLAGS_MASK: every bit that a context's flags may have.
const FLAGS_MASK: u32 = 0xff;
/// CU_CTX_COREDUMP_ENABLE and CU_CTX_USER_COREDUMP_ENABLE.
const COREDUMP_MASK: u32 = 0x60;

/// Whether a context may have these flags.
///
/// # Errors
/// INVALID_VALUE for flags that do not exist, NOT_SUPPORTED for core dumps.
pub(super) fn check_flags(flags: u32) -> Result<(), CuResult> {
    let is_valid = flags & !FLAGS_MASK == 0 && (flags & SCHEDULE_MASK).count_ones() <= 1;
    if !is_valid {
        return Err(CuResult::INVALID_VALUE);
    }
    if flags & COREDUMP_MASK != 0 {
        log::error!("the program wants GPU core dumps of a context: not offered");
        return Err(CuResult::NOT_SUPPORTED);
    }
    Ok(())
}
