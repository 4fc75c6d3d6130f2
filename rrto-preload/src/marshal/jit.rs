//! The options of a module load (`CUjit_option`).

use std::ffi::{c_char, c_void};
use std::ptr;

use rrto_core::api::CuResult;

use super::{In, Out};

/// CUDA 13 defines 36 options; a longer list is no list.
const OPTIONS_MAX: usize = 64;

const INFO_LOG_BUFFER: i32 = 3;
const INFO_LOG_BUFFER_SIZE_BYTES: i32 = 4;
const ERROR_LOG_BUFFER: i32 = 5;
const ERROR_LOG_BUFFER_SIZE_BYTES: i32 = 6;
const TARGET: i32 = 9;
const FALLBACK_STRATEGY: i32 = 10;

/// What matters of a list of options. They are advice to the compiler, except these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct JitOptions {
    /// The program chooses what is loaded, so the whole image has to travel.
    pub(crate) chooses_target: bool,
}

impl JitOptions {
    /// Reads `count` options, and tells the program that its log buffers are empty: the server's compiler speaks in
    /// the server's log.
    pub(crate) fn read(count: u32, options: In<i32>, values: Out<*mut c_void>) -> Result<Self, CuResult> {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count > OPTIONS_MAX {
            return Err(CuResult::INVALID_VALUE);
        }
        let options = options.array(count)?;
        if count > 0 {
            values.require()?;
        }
        for (size, buffer) in
            [(INFO_LOG_BUFFER_SIZE_BYTES, INFO_LOG_BUFFER), (ERROR_LOG_BUFFER_SIZE_BYTES, ERROR_LOG_BUFFER)]
        {
            let find = |wanted| options.iter().position(|&option| option == wanted);
            let (Some(size), Some(buffer)) = (find(size), find(buffer)) else { continue };
            // SAFETY: both places are below `count`, and the caller's array of values is as long as its options.
            unsafe { clear_log(values.0.add(size), values.0.add(buffer)) };
        }
        let chooses_target = options.iter().any(|option| [TARGET, FALLBACK_STRATEGY].contains(option));
        Ok(JitOptions { chooses_target })
    }
}

/// Empties a log: `size` holds the buffer's length in bytes and gets the log's.
///
/// # Safety
/// Both must be readable and writable; the buffer must be null or as long as the size says.
unsafe fn clear_log(size: *mut *mut c_void, buffer: *mut *mut c_void) {
    // SAFETY: as this function demands. The size is a number in a pointer's place; its low half is what C reads.
    unsafe {
        let room = size.read_unaligned().addr() as u32;
        let buffer = buffer.read_unaligned().cast::<c_char>();
        if room > 0 && !buffer.is_null() {
            buffer.write(0);
        }
        size.write_unaligned(ptr::null_mut());
    }
}
