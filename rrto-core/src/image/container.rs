//! The fat binary's container: a header and entries, one after the other.
//!
//! All numbers are little-endian. The header:
//!
//! | at | size | meaning |
//! |---|---|---|
//! | 0 | u32 | magic `0xba55ed50` |
//! | 4 | u16 | version, 1 |
//! | 6 | u16 | bytes of this header, 16 |
//! | 8 | u64 | bytes of all entries |
//!
//! An entry:
//!
//! | at | size | meaning |
//! |---|---|---|
//! | 0 | u16 | kind: 1 PTX, 2 cubin, others such as 8 for link-time IR |
//! | 4 | u32 | bytes of this header: 64, and more with options or a name |
//! | 8 | u64 | bytes of the payload, padded to a multiple of 8 |
//! | 16 | u32 | exact bytes of the compressed payload, 0 if it is not compressed |
//! | 24 | u16, u16 | minor and major: PTX ISA, or the cubin's ABI |
//! | 28 | u32 | architecture: 75, 90, ... |
//! | 32 | u32, u32 | offset in this header and length of a name, or 0 |
//! | 40 | u64 | flags, see [`Entry::flags`] |
//! | 56 | u64 | uncompressed bytes, if compressed |

use std::borrow::Cow;

use super::bytes::{slice, u16_at, u32_at, u64_at};
use super::compression::{Compression, decompress};
use super::{CONTAINER_MAGIC, ImageError};

/// Bytes of the container's header that are understood; it says its own length.
pub(super) const HEADER_BYTES: u64 = 16;

/// Where the container's header says how many bytes the entries have.
pub(super) const ENTRIES_BYTES_AT: usize = 8;

/// The fixed part of an entry's header.
const ENTRY_HEADER_BYTES: u64 = 64;

/// Entry flag: for exactly this architecture (`sm_90a`).
pub(super) const FLAG_ARCHITECTURE_SPECIFIC: u64 = 0x10_0000;

/// Entry flag: for this architecture's family (`sm_100f`).
pub(super) const FLAG_FAMILY_SPECIFIC: u64 = 0x20_0000;

/// The length in bytes of the container that starts with `header`.
pub(super) fn container_bytes(header: &[u8]) -> Result<u64, ImageError> {
    const WHAT: &str = "container header";
    let magic = u32_at(header, 0, WHAT)?;
    if magic != u32::from_le_bytes(CONTAINER_MAGIC) {
        let expected = "0xba55ed50";
        return Err(ImageError::Malformed { what: "container magic", found: magic.into(), expected });
    }
    let header_bytes = u64::from(u16_at(header, 6, WHAT)?);
    if header_bytes < HEADER_BYTES {
        let expected = "at least 16";
        return Err(ImageError::Malformed { what: "container header size", found: header_bytes, expected });
    }
    Ok(header_bytes.saturating_add(u64_at(header, ENTRIES_BYTES_AT as u64, WHAT)?))
}

/// A fat binary's container.
#[derive(Debug, Clone, Copy)]
pub struct Container<'a> {
    /// The header, as long as it says it is.
    pub(super) header: &'a [u8],
    entries: &'a [u8],
}

impl<'a> Container<'a> {
    /// The container at the start of `image`; bytes after it are ignored.
    ///
    /// # Errors
    /// If the header is not a container's or declares more bytes than there are.
    pub fn parse(image: &'a [u8]) -> Result<Self, ImageError> {
        let bytes = container_bytes(image)?;
        let header_bytes = u64::from(u16_at(image, 6, "container header")?);
        Ok(Self {
            header: slice(image, 0, header_bytes, "container header")?,
            entries: slice(image, header_bytes, bytes - header_bytes, "container")?,
        })
    }

    /// The entries in order. After an error the iterator ends, since where
    /// the next entry starts is then not known.
    #[must_use]
    pub fn entries(&self) -> ContainerEntries<'a> {
        ContainerEntries { rest: self.entries }
    }
}

/// Iterator over a container's entries; see [`Container::entries`].
#[derive(Debug, Clone)]
pub struct ContainerEntries<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for ContainerEntries<'a> {
    type Item = Result<Entry<'a>, ImageError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let entry = Entry::parse(self.rest);
        self.rest = match &entry {
            Ok(entry) => self.rest.get(entry.raw.len()..).unwrap_or_default(),
            Err(_) => &[],
        };
        Some(entry)
    }
}

/// What an entry holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// PTX text, which the driver compiles for the device.
    Ptx,
    /// Machine code for one architecture.
    Cubin,
    /// Something that this library does not interpret (8: link-time IR).
    Other(u16),
}

/// One entry of a container: an image for one architecture.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// What the payload is.
    pub kind: EntryKind,
    /// Ten times the compute capability's major number plus the minor: 75, 90, 121.
    pub architecture: u32,
    /// PTX: the ISA version as (major, minor). Cubin: the ABI's.
    pub version: (u16, u16),
    /// Bits seen: `0x11` always, `0x2` debug, `0x2000` LZ4, `0x8000` zstd,
    /// `0x10_0000` architecture-specific (`sm_90a`), `0x20_0000`
    /// family-specific (`sm_100f`).
    pub flags: u64,
    /// How the payload is compressed.
    pub compression: Compression,
    /// The source file's name, which nvcc records in debug builds, without padding.
    pub name: Option<&'a [u8]>,
    /// The payload: the exact compressed bytes, or, if it is not compressed,
    /// the image with up to seven bytes of zero padding.
    pub payload: &'a [u8],
    /// Uncompressed length in bytes, if compressed.
    uncompressed_bytes: u64,
    /// Header, payload and padding: what travels if this entry is kept.
    pub(super) raw: &'a [u8],
}

impl<'a> Entry<'a> {
    /// The entry at the start of `bytes`.
    fn parse(bytes: &'a [u8]) -> Result<Self, ImageError> {
        const WHAT: &str = "entry header";
        let header_bytes = u64::from(u32_at(bytes, 4, WHAT)?);
        if header_bytes < ENTRY_HEADER_BYTES {
            let expected = "at least 64";
            return Err(ImageError::Malformed { what: "entry header size", found: header_bytes, expected });
        }
        let header = slice(bytes, 0, header_bytes, WHAT)?;
        let padded_bytes = u64_at(header, 8, WHAT)?;
        let padded = slice(bytes, header_bytes, padded_bytes, "entry payload")?;
        let flags = u64_at(header, 40, WHAT)?;
        let compressed_bytes = u32_at(header, 16, WHAT)?;
        let (compression, payload) = match compressed_bytes {
            0 => (Compression::None, padded),
            exact => {
                let exact = slice(padded, 0, exact.into(), "compressed payload")?;
                (Compression::from_flags(flags), exact)
            }
        };
        let name_at = u64::from(u32_at(header, 32, WHAT)?);
        let name = match u64::from(u32_at(header, 36, WHAT)?) {
            0 => None,
            len => Some(slice(header, name_at, len, "entry name")?),
        };
        Ok(Self {
            kind: match u16_at(header, 0, WHAT)? {
                1 => EntryKind::Ptx,
                2 => EntryKind::Cubin,
                other => EntryKind::Other(other),
            },
            architecture: u32_at(header, 28, WHAT)?,
            version: (u16_at(header, 26, WHAT)?, u16_at(header, 24, WHAT)?),
            flags,
            compression,
            name: name.map(until_zero),
            payload,
            uncompressed_bytes: u64_at(header, 56, WHAT)?,
            raw: slice(bytes, 0, header_bytes.saturating_add(padded_bytes), "entry")?,
        })
    }

    /// The image itself: decompressed if need be, PTX without its terminating
    /// zero and padding, a cubin with its padding.
    ///
    /// # Errors
    /// If the compression is unknown, the payload is corrupt or does not have
    /// the declared length, or that is over [`super::MAX_UNCOMPRESSED_BYTES`].
    pub fn image(&self) -> Result<Cow<'a, [u8]>, ImageError> {
        let image = match self.compression {
            Compression::None => Cow::Borrowed(self.payload),
            compression => {
                let bytes = self.uncompressed_bytes;
                Cow::Owned(decompress(compression, self.flags, self.payload, bytes)?)
            }
        };
        if self.kind != EntryKind::Ptx {
            return Ok(image);
        }
        Ok(match image {
            Cow::Borrowed(text) => Cow::Borrowed(until_zero(text)),
            Cow::Owned(mut text) => {
                text.truncate(until_zero(&text).len());
                Cow::Owned(text)
            }
        })
    }

    /// Whether it was made for one architecture or family with features that
    /// later ones lack (`sm_90a`, `sm_100f`).
    #[must_use]
    pub fn is_specific(&self) -> bool {
        self.flags & (FLAG_ARCHITECTURE_SPECIFIC | FLAG_FAMILY_SPECIFIC) != 0
    }
}

/// The bytes before the first zero.
pub(super) fn until_zero(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}
