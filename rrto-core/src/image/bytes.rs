//! Checked little-endian reads. Every access to an image's bytes goes through here.

use super::ImageError;

/// The `len` bytes at `at`.
pub(super) fn slice<'a>(
    bytes: &'a [u8],
    at: u64,
    len: u64,
    what: &'static str,
) -> Result<&'a [u8], ImageError> {
    let truncated = ImageError::Truncated { what, at };
    let Some(end) = at.checked_add(len) else {
        return Err(truncated);
    };
    match (usize::try_from(at), usize::try_from(end)) {
        (Ok(start), Ok(end)) => bytes.get(start..end).ok_or(truncated),
        _ => Err(truncated),
    }
}

/// The `N` bytes at `at`, as an array.
pub(super) fn array<const N: usize>(
    bytes: &[u8],
    at: u64,
    what: &'static str,
) -> Result<[u8; N], ImageError> {
    slice(bytes, at, N as u64, what)?.try_into().map_err(|_| ImageError::Truncated { what, at })
}

/// The `u16` at `at`.
pub(super) fn u16_at(bytes: &[u8], at: u64, what: &'static str) -> Result<u16, ImageError> {
    array(bytes, at, what).map(u16::from_le_bytes)
}

/// The `u32` at `at`.
pub(super) fn u32_at(bytes: &[u8], at: u64, what: &'static str) -> Result<u32, ImageError> {
    array(bytes, at, what).map(u32::from_le_bytes)
}

/// The `u64` at `at`.
pub(super) fn u64_at(bytes: &[u8], at: u64, what: &'static str) -> Result<u64, ImageError> {
    array(bytes, at, what).map(u64::from_le_bytes)
}
