//! Descriptors that this process was started with.

use std::io;

/// The first one that is not standard input, output or error.
const FIRST: libc::c_uint = 3;

/// Keeps whatever was left open for this process from those that it starts. What it opens itself is closed there anyway.
///
/// # Errors
/// The kernel is older than Linux 5.11.
pub(super) fn close_at_exec() -> io::Result<()> {
    let flags = libc::CLOSE_RANGE_CLOEXEC as libc::c_int;
    // SAFETY: with this flag the call closes nothing and touches no memory: it sets a flag of descriptors, which
    // matters only when this process executes another program.
    match unsafe { libc::close_range(FIRST, libc::c_uint::MAX, flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
