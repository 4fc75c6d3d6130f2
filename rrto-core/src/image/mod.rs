//! Readers of CUDA module images: fat binaries, cubins and PTX.
//!
//! A module-load call points at one of four things. The wrapper that the CUDA
//! runtime passes (`0x466243b1`) holds an address, so whoever may follow
//! pointers unwraps it first; the other three are read here:
//!
//! | first bytes | kind | its length comes from |
//! |---|---|---|
//! | `50 ed 55 ba` | [`Kind::Container`]: entries for several architectures | its header |
//! | `7f 45 4c 46` | [`Kind::Cubin`]: an ELF with machine code | its section and program headers |
//! | anything else | [`Kind::Ptx`]: text | its terminating zero |
//!
//! Everything works on bytes that a program or a peer chose: every length is
//! checked before it is used, nothing is allocated that the input does not
//! justify, and nothing panics. The module never reads memory by address, and
//! never changes an entry: what [`select`] keeps, it keeps byte for byte.
//!
//! - [`image_bytes`] finds the length of an image of which only the start is known.
//! - [`Container`] walks a fat binary, [`Entry::image`] decompresses.
//! - [`select`] leaves out what a device cannot use, before an image travels.
//! - [`best_ptx`] finds the PTX that the software GPU executes.
//! - [`cubin::kernels`] reads the kernels' parameter layouts.
//! - [`unread::kernels`] finds the parameter bytes that kernels never read.

pub mod cubin;
pub mod unread;

mod bytes;
mod compression;
mod container;
mod elf;
mod length;
mod sass;
mod selection;

#[cfg(any(test, feature = "testing"))]
pub mod building;
#[cfg(any(test, feature = "testing"))]
pub mod fuzzing;
#[cfg(test)]
mod tests;

pub use compression::{Compression, MAX_UNCOMPRESSED_BYTES};
pub use container::{Container, ContainerEntries, Entry, EntryKind};
pub use length::{MAX_IMAGE_BYTES, MAX_PTX_BYTES, image_bytes};
pub use selection::{Target, best_ptx, has_binary_for, select};

/// The first four bytes of a container (`__fatBinC` entry list), little-endian `0xba55ed50`.
pub const CONTAINER_MAGIC: [u8; 4] = [0x50, 0xed, 0x55, 0xba];

/// The first four bytes of an ELF file, which a bare cubin is.
pub const ELF_MAGIC: [u8; 4] = [0x7f, b'E', b'L', b'F'];

/// What an image is, told by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A fat binary's list of entries.
    Container,
    /// Machine code for one architecture.
    Cubin,
    /// PTX text, or whatever else is neither of the above.
    Ptx,
}

impl Kind {
    /// The kind of the image that starts with `image`.
    #[must_use]
    pub fn of(image: &[u8]) -> Self {
        if image.starts_with(&CONTAINER_MAGIC) {
            Self::Container
        } else if image.starts_with(&ELF_MAGIC) {
            Self::Cubin
        } else {
            Self::Ptx
        }
    }
}

/// Why an image could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// Something reaches beyond the end of what holds it.
    #[error("the {what} at byte {at} does not fit: the image is cut off or its lengths are wrong")]
    Truncated {
        /// What was being read.
        what: &'static str,
        /// Where it starts, in bytes from the start of what is being read.
        at: u64,
    },
    /// A field has a value that no image has.
    #[error("{what} is {found:#x}, expected {expected}")]
    Malformed {
        /// The field.
        what: &'static str,
        /// Its value.
        found: u64,
        /// What it may be.
        expected: &'static str,
    },
    /// Something is longer than this library is willing to handle.
    #[error("{what} is {bytes} bytes, the limit is {limit}")]
    TooLarge {
        /// What is too long.
        what: &'static str,
        /// Its length in bytes.
        bytes: u64,
        /// The longest that is accepted, in bytes.
        limit: u64,
    },
    /// The payload is compressed in a way that the format facts do not name.
    #[error("entry flags {flags:#x} name no known compression (0x2000 is LZ4, 0x8000 is zstd)")]
    UnknownCompression {
        /// The entry's flags.
        flags: u64,
    },
    /// The compressed payload does not give what the entry declares.
    #[error("the {algorithm} payload does not decompress to the declared {declared} bytes: {reason}")]
    Corrupt {
        /// `LZ4` or `zstd`.
        algorithm: &'static str,
        /// The uncompressed length the entry declares.
        declared: u64,
        /// What the decompressor said.
        reason: String,
    },
}
