//! What can be read from a program's or library's ELF headers without running it.
//!
//! Every offset and count in a file is checked against a limit before anything is read or allocated: `rrto run` looks
//! at whatever file it is given.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Sizes and values from the ELF specification (System V ABI, chapters 4 and 5), 64-bit.
const HEADER_BYTES: usize = 64;
const SEGMENT_BYTES: usize = 56;
const DYNAMIC_BYTES: usize = 16;
const CLASS_64: u8 = 2;
const LITTLE_ENDIAN: u8 = 1;
const SEGMENT_LOAD: u64 = 1;
const SEGMENT_DYNAMIC: u64 = 2;
const SEGMENT_INTERPRETER: u64 = 3;
const SECTION_BYTES: usize = 64;
const SYMBOL_BYTES: usize = 24;
const SECTION_SYMBOLS: u64 = 11;
const DYNAMIC_STRINGS: u64 = 5;
const DYNAMIC_SONAME: u64 = 14;

/// Linkers make about a dozen segments and a few dozen dynamic entries.
const MAX_SEGMENTS: usize = 512;
const MAX_DYNAMIC_ENTRIES: usize = 4096;
/// The longest SONAME that is read.
const MAX_SONAME_BYTES: usize = 256;

/// A linker makes some forty sections. The largest libraries export some ten thousand symbols, with names of a few dozen bytes.
const MAX_SECTIONS: usize = 1024;
const MAX_SYMBOLS: usize = 1 << 16;
const MAX_NAMES_BYTES: usize = 8 << 20;

/// What the headers say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Elf {
    /// For which processor.
    pub(crate) architecture: Architecture,
    /// Whether it asks for a dynamic linker, which is what preloads libraries.
    pub(crate) has_interpreter: bool,
    /// `DT_SONAME`.
    pub(crate) soname: Option<String>,
}

/// `e_machine` and the word size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Architecture {
    machine: u16,
    is_64_bit: bool,
}

impl std::fmt::Display for Architecture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match self.machine {
            3 => "x86",
            40 => "arm",
            62 => "x86-64",
            183 => "aarch64",
            243 => "risc-v",
            other => return write!(f, "ELF machine {other}"),
        };
        f.write_str(name)
    }
}

impl Elf {
    /// Reads `path`; `None` if it is no ELF file (a script, for example) or a damaged one.
    pub(crate) fn read(path: &Path) -> io::Result<Option<Self>> {
        let file = File::open(path)?;
        Ok(Self::of(&|offset, bytes| {
            let mut buffer = vec![0; bytes];
            file.read_exact_at(&mut buffer, offset).ok()?;
            Some(buffer)
        }))
    }

    /// The bytes of the data symbol `name` that `path` exports, as they are in the file; `None` if it exports none of that name and
    /// size.
    pub(crate) fn read_symbol(path: &Path, name: &str, bytes: usize) -> io::Result<Option<Vec<u8>>> {
        let file = File::open(path)?;
        Ok(symbol(name.as_bytes(), bytes, &|offset, bytes| {
            let mut buffer = vec![0; bytes];
            file.read_exact_at(&mut buffer, offset).ok()?;
            Some(buffer)
        }))
    }

    /// `read(offset, bytes)` gives that part of the file, or nothing where the file has no such part.
    fn of(read: Read<'_>) -> Option<Self> {
        let header = read(0, HEADER_BYTES)?;
        if !header.starts_with(b"\x7fELF") {
            return None;
        }
        let (class, order) = (*header.get(4)?, *header.get(5)?);
        let machine: [u8; 2] = header.get(18..20)?.try_into().ok()?;
        let machine =
            if order == LITTLE_ENDIAN { u16::from_le_bytes(machine) } else { u16::from_be_bytes(machine) };
        let architecture = Architecture { machine, is_64_bit: class == CLASS_64 };
        if class != CLASS_64 || order != LITTLE_ENDIAN {
            // Of another architecture than every library of ours: more need not be known.
            return Some(Self { architecture, has_interpreter: true, soname: None });
        }
        let segments = segments(&header, read)?;
        Some(Self {
            architecture,
            has_interpreter: segments.iter().any(|segment| segment.kind == SEGMENT_INTERPRETER),
            soname: soname(&segments, read),
        })
    }
}

struct Segment {
    kind: u64,
    offset: u64,
    address: u64,
    bytes: u64,
}

impl Segment {
    fn of(entry: &[u8]) -> Option<Self> {
        Some(Self {
            kind: field(entry, 0, 4)?,
            offset: field(entry, 8, 8)?,
            address: field(entry, 16, 8)?,
            bytes: field(entry, 32, 8)?,
        })
    }
}

/// Gives a part of a file, by offset and length.
type Read<'a> = &'a dyn Fn(u64, usize) -> Option<Vec<u8>>;

fn segments(header: &[u8], read: Read<'_>) -> Option<Vec<Segment>> {
    let count = usize::try_from(field(header, 56, 2)?).ok()?;
    if count > MAX_SEGMENTS {
        return None;
    }
    let table = read(field(header, 32, 8)?, count * SEGMENT_BYTES)?;
    Some(table.chunks_exact(SEGMENT_BYTES).filter_map(Segment::of).collect())
}

/// What lies at the exported symbol `name`, if that has so many bytes.
fn symbol(name: &[u8], bytes: usize, read: Read<'_>) -> Option<Vec<u8>> {
    let header = read(0, HEADER_BYTES)?;
    let is_known = header.starts_with(b"\x7fELF") && header.get(4..6)? == [CLASS_64, LITTLE_ENDIAN];
    let count = usize::try_from(field(&header, 60, 2)?).ok()?;
    if !is_known || count > MAX_SECTIONS {
        return None;
    }
    let table = read(field(&header, 40, 8)?, count * SECTION_BYTES)?;
    let mut sections = table.chunks_exact(SECTION_BYTES);
    // Where a section lies, at most so many bytes of it.
    let part = |section: &[u8], most: usize| {
        let bytes = usize::try_from(field(section, 32, 8)?).ok().filter(|bytes| *bytes <= most)?;
        read(field(section, 24, 8)?, bytes)
    };
    let symbols = sections.find(|section| field(section, 4, 4) == Some(SECTION_SYMBOLS))?;
    let names = usize::try_from(field(symbols, 40, 4)?).ok()?;
    let names = part(table.chunks_exact(SECTION_BYTES).nth(names)?, MAX_NAMES_BYTES)?;
    let is_called = |symbol: &[u8]| {
        let called = names.get(usize::try_from(field(symbol, 0, 4)?).ok()?..)?;
        Some(called.starts_with(name) && called.get(name.len()) == Some(&0))
    };
    let symbols = part(symbols, MAX_SYMBOLS * SYMBOL_BYTES)?;
    // One without a section is wanted from another library.
    let mut symbols =
        symbols.chunks_exact(SYMBOL_BYTES).filter(|symbol| field(symbol, 6, 2).is_some_and(|at| at != 0));
    let found = symbols.find(|symbol| is_called(symbol) == Some(true))?;
    let (address, length) = (field(found, 8, 8)?, field(found, 16, 8)?);
    let segments = segments(&header, read)?;
    let offset = file_offset(&segments, address, u64::try_from(bytes).ok()?)?;
    if length == bytes as u64 { read(offset, bytes) } else { None }
}

/// Where in the file that lies which is at `address` when loaded, with `bytes` bytes in the same segment.
fn file_offset(segments: &[Segment], address: u64, bytes: u64) -> Option<u64> {
    let within = |segment: &&Segment| {
        let at = address.checked_sub(segment.address).and_then(|at| at.checked_add(bytes));
        segment.kind == SEGMENT_LOAD && at.is_some_and(|end| end <= segment.bytes)
    };
    let loaded = segments.iter().find(within)?;
    (address - loaded.address).checked_add(loaded.offset)
}

fn soname(segments: &[Segment], read: Read<'_>) -> Option<String> {
    let dynamic = segments.iter().find(|segment| segment.kind == SEGMENT_DYNAMIC)?;
    let bytes = usize::try_from(dynamic.bytes).ok()?.min(MAX_DYNAMIC_ENTRIES * DYNAMIC_BYTES);
    let entries = read(dynamic.offset, bytes)?;
    let entry = |tag| {
        let mut entries = entries.chunks_exact(DYNAMIC_BYTES);
        entries.find(|entry| field(entry, 0, 8) == Some(tag)).and_then(|entry| field(entry, 8, 8))
    };
    let (name, strings) = (entry(DYNAMIC_SONAME)?, entry(DYNAMIC_STRINGS)?);
    // The string table is given by its address when loaded.
    let loaded = segments.iter().find(|segment| {
        segment.kind == SEGMENT_LOAD
            && strings.checked_sub(segment.address).is_some_and(|at| at < segment.bytes)
    })?;
    let start = strings.checked_sub(loaded.address)?.checked_add(loaded.offset)?.checked_add(name)?;
    let end = loaded.offset.checked_add(loaded.bytes)?;
    let bytes = usize::try_from(end.checked_sub(start)?).ok()?.min(MAX_SONAME_BYTES);
    let text = read(start, bytes)?;
    let text = text.split(|byte| *byte == 0).next()?;
    String::from_utf8(text.to_vec()).ok()
}

/// The little-endian number of `bytes` bytes at `at`.
fn field(of: &[u8], at: usize, bytes: usize) -> Option<u64> {
    let mut number = [0; 8];
    number.get_mut(..bytes)?.copy_from_slice(of.get(at..at.checked_add(bytes)?)?);
    Some(u64::from_le_bytes(number))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(bytes: &[u8]) -> Option<Elf> {
        Elf::of(&|offset, length| {
            let start = usize::try_from(offset).ok()?;
            Some(bytes.get(start..start.checked_add(length)?)?.to_vec())
        })
    }

    #[test]
    fn this_test_asks_for_a_dynamic_linker() {
        let elf = Elf::read(&std::env::current_exe().unwrap()).unwrap().unwrap();
        assert!(elf.has_interpreter && elf.soname.is_none());
        assert_eq!(elf.architecture.to_string().replace('-', "_"), std::env::consts::ARCH);
    }

    #[test]
    fn scripts_are_no_elf_files() {
        assert_eq!(
            parse(b"#!/bin/sh\necho hello; # long enough to hold a whole ELF header if it were one"),
            None
        );
        assert_eq!(parse(b""), None);
    }

    proptest! {
        #[test]
        fn damaged_headers_do_no_harm(changes in proptest::collection::vec((0usize..1024, any::<u8>()), 0..24)) {
            let mut bytes = vec![0; 64 << 10];
            File::open(std::env::current_exe().unwrap()).unwrap().read_exact_at(&mut bytes, 0).unwrap();
            for (at, value) in changes {
                bytes[at] = value;
            }
            parse(&bytes);
            symbol(b"main", 8, &|offset, length| {
                let start = usize::try_from(offset).ok()?;
                Some(bytes.get(start..start.checked_add(length)?)?.to_vec())
            });
        }
    }
}
