//! How long an image is, when all that is known is where it starts.

use super::bytes::slice;
use super::container::{HEADER_BYTES as CONTAINER_HEADER_BYTES, container_bytes};
use super::elf::{self, Header, Section};
use super::{CONTAINER_MAGIC, ELF_MAGIC, ImageError};

/// The longest image that is accepted. The largest in use, the containers of
/// the math libraries, have some tens of MB; a wrong length must not make a
/// program send its whole memory.
pub const MAX_IMAGE_BYTES: u64 = 1 << 30;

/// How far the zero that ends PTX text is searched for. Generated PTX has at
/// most a few MB.
pub const MAX_PTX_BYTES: u64 = 256 << 20;

/// The length in bytes of the image whose bytes `read(offset, len)` gives;
/// for PTX the terminating zero is counted.
///
/// `cuModuleLoadData` and its relatives take a pointer without a length, as
/// the driver works it out itself. So does this function, from the container's
/// header, the ELF's header tables or the text's terminating zero. `read`
/// returns exactly `len` bytes, or `None` if it cannot.
///
/// **What is asked for**: nothing that a complete image does not have. The
/// first bytes are asked for one at a time until they tell the kind, headers
/// only after that, and PTX byte by byte up to its zero. A reader that follows
/// a program's pointer may therefore rely on the same promise that the driver
/// relies on: that the pointer points to an image.
///
/// # Errors
/// [`ImageError::Truncated`] if `read` gave nothing, [`ImageError::TooLarge`]
/// beyond [`MAX_IMAGE_BYTES`] or [`MAX_PTX_BYTES`], [`ImageError::Malformed`]
/// for headers that no image has.
pub fn image_bytes<'a>(read: impl FnMut(u64, u64) -> Option<&'a [u8]>) -> Result<usize, ImageError> {
    let mut source = Source { read };
    let bytes = if source.starts_with(&CONTAINER_MAGIC)? {
        container_bytes(source.get(0, CONTAINER_HEADER_BYTES, "container header")?)?
    } else if source.starts_with(&ELF_MAGIC)? {
        source.elf_bytes()?
    } else {
        source.ptx_bytes()?
    };
    match usize::try_from(bytes) {
        Ok(len) if bytes <= MAX_IMAGE_BYTES => Ok(len),
        _ => Err(ImageError::TooLarge { what: "module image", bytes, limit: MAX_IMAGE_BYTES }),
    }
}

/// An image behind a callback.
struct Source<F> {
    read: F,
}

impl<'a, F: FnMut(u64, u64) -> Option<&'a [u8]>> Source<F> {
    /// The `len` bytes at `at`.
    fn get(&mut self, at: u64, len: u64, what: &'static str) -> Result<&'a [u8], ImageError> {
        let bytes = (self.read)(at, len).ok_or(ImageError::Truncated { what, at })?;
        slice(bytes, 0, len, what).map_err(|_| ImageError::Truncated { what, at })
    }

    /// Whether the image starts with `magic`. Reads no byte after the first
    /// that differs, because a text that differs may end there.
    fn starts_with(&mut self, magic: &[u8; 4]) -> Result<bool, ImageError> {
        for (at, expected) in (0..).zip(magic) {
            if self.get(at, 1, "module image")?.first() != Some(expected) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The end of whatever lies last in a cubin.
    fn elf_bytes(&mut self) -> Result<u64, ImageError> {
        let header = Header::parse(self.get(0, elf::HEADER_BYTES, "ELF header")?)?;
        let section_0 = header.needs_section_0().map(|at| self.section(at)).transpose()?;
        let (sections, _) = header.sections(section_0)?;
        let programs = header.programs;

        let mut end = elf::HEADER_BYTES.max(sections.end()).max(programs.end());
        // Tables beyond the limit are not walked: they need not be there.
        if end > MAX_IMAGE_BYTES {
            return Ok(end);
        }
        for at in sections.offsets() {
            end = end.max(self.section(at)?.end());
        }
        for at in programs.offsets() {
            let program = self.get(at, elf::PROGRAM_BYTES, "ELF program header")?;
            end = end.max(elf::program_end(program)?);
        }
        Ok(end)
    }

    /// The section header at `at`.
    fn section(&mut self, at: u64) -> Result<Section, ImageError> {
        Section::parse(self.get(at, elf::SECTION_BYTES, "ELF section header")?)
    }

    /// The bytes up to and with the first zero.
    fn ptx_bytes(&mut self) -> Result<u64, ImageError> {
        for at in 0..MAX_PTX_BYTES {
            if self.get(at, 1, "PTX text")?.first() == Some(&0) {
                return Ok(at + 1);
            }
        }
        Err(ImageError::TooLarge {
            what: "PTX text without a terminating zero",
            bytes: MAX_PTX_BYTES,
            limit: MAX_PTX_BYTES,
        })
    }
}
