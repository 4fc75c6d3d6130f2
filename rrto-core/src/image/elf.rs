//! As much of ELF64 as a cubin needs: the file header and the two header tables.
//!
//! Layouts are those of the System V ABI, chapter 4 (`Elf64_Ehdr`,
//! `Elf64_Shdr`, `Elf64_Phdr`).

use super::bytes::{slice, u16_at, u32_at, u64_at};
use super::{ELF_MAGIC, ImageError};

/// Bytes of the file header.
pub(super) const HEADER_BYTES: u64 = 64;

/// Bytes of a section header. The file says so too and must agree.
pub(super) const SECTION_BYTES: u64 = 64;

/// Bytes of a program header.
pub(super) const PROGRAM_BYTES: u64 = 56;

/// The most sections that are read. A cubin has a handful for each kernel; the
/// largest library cubins have some ten thousand kernels, and files with more
/// sections than a u16 counts use the extended numbering.
pub(super) const MAX_SECTIONS: u64 = 1 << 20;

/// `e_machine` of NVIDIA GPUs.
const MACHINE_CUDA: u16 = 190;

/// `e_ident[EI_CLASS]` for 64 bits, and `e_ident[EI_DATA]` for little-endian.
const IDENT_64_LITTLE: u16 = 0x0102;

/// `e_ident[EI_OSABI]` and `e_ident[EI_ABIVERSION]` of cubins made by CUDA up to 12.
const ABI_CUDA_12: u16 = 0x0733;

/// The same since CUDA 13.
const ABI_CUDA_13: u16 = 0x0841;

/// `e_shstrndx` when the real index is in section 0's `sh_link`.
const INDEX_IN_SECTION_0: u16 = 0xffff;

/// Section type of sections that take no room in the file.
const TYPE_NOBITS: u32 = 8;

/// A table of equally long headers in the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table {
    /// Where it starts, in bytes from the start of the file.
    pub(super) at: u64,
    /// How many headers it has.
    pub(super) count: u64,
    /// Bytes of one.
    stride: u64,
}

impl Table {
    /// The offset of every header, in order; one that would lie beyond 2^64 is [`u64::MAX`].
    pub(super) fn offsets(self) -> impl Iterator<Item = u64> {
        (0..self.count).map(move |index| self.offset(index))
    }

    /// The offset of header `index`.
    pub(super) fn offset(self, index: u64) -> u64 {
        self.at.saturating_add(index.saturating_mul(self.stride))
    }

    /// Where the table ends.
    pub(super) fn end(self) -> u64 {
        self.offset(self.count)
    }
}

/// What the file header says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    /// The program headers.
    pub(super) programs: Table,
    /// The section headers; the count is 0 when section 0 holds it.
    sections: Table,
    /// Index of the section with the names; `0xffff` when section 0 holds it.
    names_index: u16,
    /// `e_ident[EI_OSABI]`, `e_ident[EI_ABIVERSION]`.
    abi: u16,
    /// `e_flags`.
    flags: u32,
}

impl Header {
    /// Reads the file header from the first [`HEADER_BYTES`] bytes of a cubin.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ImageError> {
        const WHAT: &str = "ELF header";
        expect("ELF magic", u32_at(bytes, 0, WHAT)?, u32::from_le_bytes(ELF_MAGIC), "7f 45 4c 46")?;
        expect(
            "ELF class and byte order",
            u16_at(bytes, 4, WHAT)?,
            IDENT_64_LITTLE,
            "64 bits, little-endian",
        )?;
        expect("ELF machine", u16_at(bytes, 18, WHAT)?, MACHINE_CUDA, "190 (NVIDIA CUDA)")?;

        let mut sections = Table {
            at: u64_at(bytes, 40, WHAT)?,
            count: u64::from(u16_at(bytes, 60, WHAT)?),
            stride: SECTION_BYTES,
        };
        let mut programs = Table {
            at: u64_at(bytes, 32, WHAT)?,
            count: u64::from(u16_at(bytes, 56, WHAT)?),
            stride: PROGRAM_BYTES,
        };
        if sections.at == 0 {
            // Without a table the other fields mean nothing.
            sections.count = 0;
        } else {
            expect("section header size", u64::from(u16_at(bytes, 58, WHAT)?), SECTION_BYTES, "64")?;
        }
        if programs.count == 0 {
            programs.at = 0;
        } else {
            expect("program header size", u64::from(u16_at(bytes, 54, WHAT)?), PROGRAM_BYTES, "56")?;
        }
        let names_index = u16_at(bytes, 62, WHAT)?;
        let (abi, flags) = (u16_at(bytes, 7, WHAT)?, u32_at(bytes, 48, WHAT)?);
        Ok(Self { programs, sections, names_index, abi, flags })
    }

    /// The compute capability that the code is for, ten times the major number plus the minor; nothing if the file
    /// is of a form that says it in an unknown way.
    pub(super) fn architecture(&self) -> Option<u32> {
        match self.abi {
            ABI_CUDA_12 => Some(self.flags & 0xff),
            ABI_CUDA_13 if self.flags & 0xff == 4 => Some(self.flags >> 8 & 0xff),
            _ => None,
        }
    }

    /// Where section header 0 is, if its contents are needed to know the
    /// number of sections or which of them holds the names.
    pub(super) fn needs_section_0(&self) -> Option<u64> {
        let extended = self.sections.count == 0 || self.names_index == INDEX_IN_SECTION_0;
        (self.sections.at != 0 && extended).then_some(self.sections.at)
    }

    /// The section headers and the index of the section that has their names.
    /// `section_0` is what [`Self::needs_section_0`] asked for.
    pub(super) fn sections(&self, section_0: Option<Section>) -> Result<(Table, u64), ImageError> {
        let mut table = self.sections;
        let mut names = u64::from(self.names_index);
        if let Some(section) = section_0 {
            if table.count == 0 {
                table.count = section.bytes;
            }
            if self.names_index == INDEX_IN_SECTION_0 {
                names = u64::from(section.link);
            }
        }
        if table.count > MAX_SECTIONS {
            return Err(ImageError::TooLarge {
                what: "ELF section header table",
                bytes: table.count.saturating_mul(SECTION_BYTES),
                limit: MAX_SECTIONS * SECTION_BYTES,
            });
        }
        Ok((table, names))
    }
}

/// The sections of a cubin that is wholly there, and their names.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sections<'a> {
    file: &'a [u8],
    table: Table,
    names: &'a [u8],
}

impl<'a> Sections<'a> {
    /// Those of `file`.
    pub(super) fn read(file: &'a [u8]) -> Result<Self, ImageError> {
        let header = Header::parse(file)?;
        let section = |at| Section::parse(slice(file, at, SECTION_BYTES, "ELF section header")?);
        let (table, names) = header.sections(header.needs_section_0().map(section).transpose()?)?;
        let table_bytes = table.count.saturating_mul(SECTION_BYTES);
        slice(file, table.at, table_bytes, "ELF section header table")?;
        let names = match table.count {
            0 => &[],
            _ => {
                let names = section(table.offset(names))?;
                slice(file, names.at, names.bytes, "ELF section names")?
            }
        };
        Ok(Self { file, table, names })
    }

    /// What each header says, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Result<Section, ImageError>> {
        let file = self.file;
        self.table
            .offsets()
            .map(move |at| Section::parse(slice(file, at, SECTION_BYTES, "ELF section header")?))
    }

    /// The section's name, and all that follows it in the section of names: a zero first.
    pub(super) fn name_from(&self, section: &Section) -> Result<&'a [u8], ImageError> {
        let rest = (self.names.len() as u64).saturating_sub(section.name);
        slice(self.names, section.name, rest, "section name")
    }
}

/// What a section header says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Section {
    /// Where its name is in the section of names.
    pub(super) name: u64,
    /// `sh_type`.
    pub(super) kind: u32,
    /// Where its contents start in the file.
    pub(super) at: u64,
    /// How long they are.
    pub(super) bytes: u64,
    /// `sh_link`.
    link: u32,
}

impl Section {
    /// Reads a section header at the start of `bytes`.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ImageError> {
        const WHAT: &str = "ELF section header";
        Ok(Self {
            name: u64::from(u32_at(bytes, 0, WHAT)?),
            kind: u32_at(bytes, 4, WHAT)?,
            at: u64_at(bytes, 24, WHAT)?,
            bytes: u64_at(bytes, 32, WHAT)?,
            link: u32_at(bytes, 40, WHAT)?,
        })
    }

    /// Where its contents end in the file; 0 if it has none.
    pub(super) fn end(&self) -> u64 {
        match self.kind {
            // Type 0 marks an unused header, whose other fields may mean something else.
            0 | TYPE_NOBITS => 0,
            _ => self.at.saturating_add(self.bytes),
        }
    }
}

/// Where the contents of the program header at the start of `bytes` end in the file.
pub(super) fn program_end(bytes: &[u8]) -> Result<u64, ImageError> {
    const WHAT: &str = "ELF program header";
    Ok(u64_at(bytes, 8, WHAT)?.saturating_add(u64_at(bytes, 32, WHAT)?))
}

/// Refuses a field whose value is not the only one that it can have.
fn expect<T: Into<u64> + PartialEq>(
    what: &'static str,
    found: T,
    wanted: T,
    expected: &'static str,
) -> Result<(), ImageError> {
    if found == wanted {
        return Ok(());
    }
    Err(ImageError::Malformed { what, found: found.into(), expected })
}
