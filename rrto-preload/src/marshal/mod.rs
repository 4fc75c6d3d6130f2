//! From raw pointers to typed values, once, at the edge.
//!
//! Exported functions take the types of this room where C has pointers. Each is one pointer wide, so a C caller
//! passes a pointer and the function gets a value that checks for null, never reads further than the driver would,
//! and copies: nothing behind this room holds a reference into the program's memory, which other threads of the
//! program may change at any time.
//!
//! A value of one of these types can only come from a C caller, who is bound by the driver API's contract: the
//! pointer is null, or points to what the function's documentation says. Every SAFETY comment here rests on that.
//! Programs pass misaligned pointers too; reads and writes do not assume alignment.

mod blocks;
mod host;
mod image;
mod jit;
mod launch;
mod reservation;
#[cfg(test)]
mod tests;

use std::ffi::{CStr, c_char};
use std::iter;

use rrto_core::api::CuResult;
use rrto_core::operator::MAX_NAME_BYTES;

pub(crate) use blocks::Block;
pub(crate) use host::{Destination, HostAddress};
pub(crate) use image::{Image, file_image};
pub(crate) use jit::JitOptions;
pub(crate) use launch::{Extra, LaunchConfig, ParamBlock, Params};
pub(crate) use reservation::Reservations;

/// `T *` for an answer: null, or writable.
#[repr(transparent)]
pub(crate) struct Out<T>(*mut T);

impl<T> Clone for Out<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Out<T> {}

impl<T> Out<T> {
    /// No place at all.
    pub(crate) fn unwanted() -> Self {
        Out(std::ptr::null_mut())
    }

    /// The raw pointer, for rooms that follow it by rules of their own.
    pub(crate) fn as_ptr(&self) -> *mut T {
        self.0
    }

    /// The same place for another type, where an argument decides which.
    pub(crate) fn cast<U>(self) -> Out<U> {
        Out(self.0.cast())
    }

    /// Whether the program wants no answer here.
    #[inline]
    pub(crate) fn is_null(&self) -> bool {
        self.0.is_null()
    }

    /// Fails for null, before the call does any work.
    #[inline]
    pub(crate) fn require(&self) -> Result<(), CuResult> {
        if self.0.is_null() { Err(CuResult::INVALID_VALUE) } else { Ok(()) }
    }

    /// Writes an answer that must be wanted.
    #[inline]
    pub(crate) fn set(&self, value: T) -> Result<(), CuResult> {
        self.require()?;
        self.set_if_wanted(value);
        Ok(())
    }

    /// Writes an answer that the program may leave out.
    #[inline]
    pub(crate) fn set_if_wanted(&self, value: T) {
        if !self.0.is_null() {
            // SAFETY: not null, so the caller's writable place for a T.
            unsafe { self.0.write_unaligned(value) }
        }
    }

    /// Writes the elements of an array of at least as many.
    pub(crate) fn set_all(&self, values: impl IntoIterator<Item = T>) -> Result<(), CuResult> {
        self.require()?;
        for (at, value) in values.into_iter().enumerate() {
            // SAFETY: not null, so the caller's array, which its own count argument made at least this long.
            unsafe { self.0.add(at).write_unaligned(value) }
        }
        Ok(())
    }
}

impl<T: Copy> Out<T> {
    /// What is there before the answer, for arguments that go both ways.
    pub(crate) fn get(&self) -> Result<T, CuResult> {
        self.require()?;
        // SAFETY: not null, so the caller's initialised T.
        Ok(unsafe { self.0.read_unaligned() })
    }
}

/// `const T *`: null, or the start of one or more values.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(crate) struct In<T>(*const T);

impl<T: Copy> In<T> {
    /// Whether nothing was passed.
    #[inline]
    pub(crate) fn is_null(&self) -> bool {
        self.0.is_null()
    }

    /// The value.
    #[inline]
    pub(crate) fn get(&self) -> Result<T, CuResult> {
        if self.0.is_null() {
            return Err(CuResult::INVALID_VALUE);
        }
        // SAFETY: not null, so the caller's T.
        Ok(unsafe { self.0.read_unaligned() })
    }

    /// The first `count` of an array. `count` has been checked against a limit.
    pub(crate) fn array(&self, count: usize) -> Result<Vec<T>, CuResult> {
        if count == 0 {
            return Ok(Vec::new());
        }
        if self.0.is_null() {
            return Err(CuResult::INVALID_VALUE);
        }
        // SAFETY: not null, so the caller's array of `count` values.
        Ok((0..count).map(|at| unsafe { self.0.add(at).read_unaligned() }).collect())
    }
}

/// `const char *`: null, or zero-terminated text.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(crate) struct Text(*const c_char);

impl Text {
    /// The text; an error where it is no name that could travel.
    pub(crate) fn get(&self) -> Result<String, CuResult> {
        if self.0.is_null() {
            return Err(CuResult::INVALID_VALUE);
        }
        // SAFETY: not null, so zero-terminated; strnlen and the slice stay within it.
        let bytes = unsafe {
            let length = libc::strnlen(self.0, MAX_NAME_BYTES + 1);
            std::slice::from_raw_parts(self.0.cast::<u8>(), length)
        };
        if bytes.len() > MAX_NAME_BYTES {
            return Err(CuResult::INVALID_VALUE);
        }
        String::from_utf8(bytes.to_vec()).map_err(|_| CuResult::INVALID_VALUE)
    }

    /// The raw pointer, for the room that resolves symbols by its own rules.
    pub(crate) fn as_ptr(&self) -> *const c_char {
        self.0
    }
}

impl Out<c_char> {
    /// Writes as much of `text` as fits into a buffer of `length` bytes, with a terminating zero.
    pub(crate) fn set_padded_text(&self, text: &str, length: i32) -> Result<(), CuResult> {
        let room = usize::try_from(length).ok().and_then(|length| length.checked_sub(1));
        let room = room.ok_or(CuResult::INVALID_VALUE)?;
        let bytes =
            text.bytes().take_while(|&byte| byte != 0).take(room).chain(iter::repeat(0)).take(room + 1);
        self.set_all(bytes.map(|byte| byte as c_char))
    }
}

impl Out<*const c_char> {
    /// Points the program to text that lives as long as what it names.
    pub(crate) fn set_static(&self, text: &CStr) -> Result<(), CuResult> {
        self.set(text.as_ptr())
    }
}

#[cfg(test)]
impl<T> Out<T> {
    /// As if C code had passed `&mut to`.
    pub(crate) fn to(to: &mut T) -> Self {
        Out(to)
    }
}

#[cfg(test)]
impl<T> In<T> {
    /// As if C code had passed the array `from`, which the test keeps alive.
    pub(crate) fn from(from: &[T]) -> Self {
        In(from.as_ptr())
    }
}
