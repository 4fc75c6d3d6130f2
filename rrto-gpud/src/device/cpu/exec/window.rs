//! Where the address spaces other than device memory appear among generic addresses.

/// The generic address of shared memory's first byte.
pub(crate) const SHARED: u64 = 0x7e00_0000_0000;
/// The generic address of local memory's first byte; every thread sees its own there.
pub(crate) const LOCAL: u64 = 0x7e10_0000_0000;
/// The generic address of the kernel's parameters.
pub(crate) const PARAM: u64 = 0x7e20_0000_0000;
/// How far each window reaches.
pub(crate) const BYTES: u64 = 1 << 32;

const _: () = assert!(PARAM + BYTES <= crate::device::cpu::memory::BASE_ADDRESS);

/// Whether a generic address lies in the window that begins at `base`.
#[inline]
pub(crate) fn holds(base: u64, address: u64) -> bool {
    address.wrapping_sub(base) < BYTES
}
