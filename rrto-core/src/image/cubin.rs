//! Kernel parameter layouts, read from a cubin.
//!
//! Every function has a section `.nv.info.<function>` (type `0x7000_0000`), a
//! run of attributes: u8 format, u8 attribute, then for format 4 a u16 length
//! and that many bytes, for formats 1 to 3 a u16 value. Four of them describe
//! the parameters:
//!
//! | attribute | value |
//! |---|---|
//! | `0x17` KPARAM_INFO | u32 index, u16 ordinal, u16 offset, u32 with the size in bits 18.. |
//! | `0x45` KPARAM_INFO_V2 | u32 index, u16 ordinal, u16 offset, u32 size; for kernels with a parameter too long for the first form |
//! | `0x19` CBANK_PARAM_SIZE | u16 bytes of the whole block (format 3) |
//! | `0x0a` PARAM_CBANK | u32 symbol, u16 where the block is in constant bank 0, u16 bytes of it |

use super::bytes::{array, slice, u16_at, u32_at};
use super::elf::Sections;
use super::{Container, EntryKind, ImageError, Kind};

/// Section type of `.nv.info` sections.
const TYPE_INFO: u32 = 0x7000_0000;

/// What precedes the function's name in its section's name.
const INFO_PREFIX: &[u8] = b".nv.info.";

/// One kernel's parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelParams<'a> {
    /// The name as in `cuModuleGetFunction`: mangled, unless `extern "C"`.
    pub name: &'a str,
    /// The parameters in order.
    pub params: Vec<Param>,
    /// Bytes of the whole parameter block.
    pub block_bytes: u32,
    /// Where the block starts in constant bank 0; 0 if the cubin does not say.
    pub block_at: u32,
}

/// Where a parameter is in the block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Param {
    /// Its first byte.
    pub offset: u32,
    /// Its length in bytes.
    pub bytes: u32,
}

/// Calls `look` with each cubin of an image, in its order, as far as it can be read.
pub fn each(image: &[u8], mut look: impl FnMut(&[u8])) {
    match Kind::of(image) {
        Kind::Cubin => look(image),
        Kind::Container => {
            let entries = Container::parse(image).map(|container| container.entries());
            let cubins =
                entries.into_iter().flatten().flatten().filter(|entry| entry.kind == EntryKind::Cubin);
            cubins.filter_map(|entry| entry.image().ok()).for_each(|cubin| look(&cubin));
        }
        Kind::Ptx => {}
    }
}

/// The parameter layouts of every function in `cubin`, in the file's order.
///
/// Device functions that were compiled separately have a section like a
/// kernel's and appear here too, without parameters.
///
/// # Errors
/// If it is not a cubin, or its sections are not what the format says. A
/// layout that is not certain is an error, never a guess.
pub fn kernels(cubin: &[u8]) -> Result<Vec<KernelParams<'_>>, ImageError> {
    let sections = Sections::read(cubin)?;
    let mut budget = Budget::of(cubin);
    let mut kernels = Vec::new();
    for section in sections.iter() {
        let section = section?;
        if section.kind != TYPE_INFO {
            continue;
        }
        let Some(name) = sections.name_from(&section)?.strip_prefix(INFO_PREFIX) else {
            continue;
        };
        let name = budget.name(name)?;
        budget.take(section.bytes, section.at)?;
        let attributes = slice(cubin, section.at, section.bytes, ".nv.info section")?;
        kernels.push(layout(name, attributes)?);
    }
    Ok(kernels)
}

/// Bounds the work for a file whose sections overlap. Those of an honest file
/// do not, so what is read of them adds up to no more than the file.
pub(super) struct Budget {
    left: u64,
}

impl Budget {
    /// As much as `cubin` has.
    pub(super) fn of(cubin: &[u8]) -> Self {
        Self { left: cubin.len() as u64 }
    }

    /// Counts `bytes` more, which start at `at`.
    pub(super) fn take(&mut self, bytes: u64, at: u64) -> Result<(), ImageError> {
        let what = "section (overlapping others)";
        self.left = self.left.checked_sub(bytes).ok_or(ImageError::Truncated { what, at })?;
        Ok(())
    }

    /// The text up to the zero in `bytes`.
    pub(super) fn name<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a str, ImageError> {
        let what = "section name";
        let text = usize::try_from(self.left).map_or(bytes, |left| bytes.get(..left).unwrap_or(bytes));
        let end = text.iter().position(|byte| *byte == 0);
        let text = end.and_then(|end| bytes.get(..end)).ok_or(ImageError::Truncated { what, at: 0 })?;
        self.take(text.len() as u64, 0)?;
        std::str::from_utf8(text).map_err(|error| ImageError::Malformed {
            what: "section name's byte",
            found: text.get(error.valid_up_to()).copied().unwrap_or_default().into(),
            expected: "UTF-8",
        })
    }
}

/// The layout that one function's attributes describe.
fn layout<'a>(name: &'a str, attributes: &[u8]) -> Result<KernelParams<'a>, ImageError> {
    let mut params = Vec::new();
    let (mut block_at, mut block_bytes) = (0, 0);
    let mut at = 0;
    while at < attributes.len() as u64 {
        let attribute = Attribute::parse(attributes, at)?;
        at += attribute.bytes;
        match attribute.meaning {
            Meaning::Param(ordinal, param) => params.push((ordinal, param)),
            Meaning::BlockBytes(bytes) => block_bytes = bytes,
            Meaning::BlockAt(at) => block_at = at,
            Meaning::Other => {}
        }
    }
    params.sort_by_key(|(ordinal, _)| *ordinal);
    for (expected, (ordinal, param)) in (0..).zip(&params) {
        if *ordinal != expected {
            let expected = "every number from 0 on once";
            let what = "kernel parameter ordinal";
            return Err(ImageError::Malformed { what, found: u64::from(*ordinal), expected });
        }
        if param.offset.saturating_add(param.bytes) > block_bytes {
            let at = u64::from(param.offset);
            return Err(ImageError::Truncated { what: "kernel parameter in its block", at });
        }
    }
    let params = params.into_iter().map(|(_, param)| param).collect();
    Ok(KernelParams { name, params, block_bytes, block_at })
}

/// One attribute of a `.nv.info` section.
struct Attribute {
    /// Its length, to get to the next.
    bytes: u64,
    meaning: Meaning,
}

/// What an attribute says about parameters.
enum Meaning {
    /// The parameter with this ordinal.
    Param(u32, Param),
    /// Bytes of the parameter block.
    BlockBytes(u32),
    /// Where the parameter block is in constant bank 0.
    BlockAt(u32),
    /// Nothing.
    Other,
}

impl Attribute {
    /// The attribute at `at`.
    fn parse(attributes: &[u8], at: u64) -> Result<Self, ImageError> {
        const WHAT: &str = ".nv.info attribute";
        /// Format, attribute, and a u16.
        const HEADER_BYTES: u64 = 4;
        let [format, attribute] = array(attributes, at, WHAT)?;
        let value = u16_at(attributes, at + 2, WHAT)?;
        match format {
            1..=3 => {
                let meaning = match (format, attribute) {
                    (3, 0x19) => Meaning::BlockBytes(value.into()),
                    _ => Meaning::Other,
                };
                Ok(Self { bytes: HEADER_BYTES, meaning })
            }
            4 => {
                let body = slice(attributes, at + HEADER_BYTES, value.into(), WHAT)?;
                let meaning = match attribute {
                    0x0a => Meaning::BlockAt(u16_at(body, 4, WHAT)?.into()),
                    0x17 => param(body, |word| word >> 18)?,
                    0x45 => param(body, |word| word)?,
                    _ => Meaning::Other,
                };
                Ok(Self { bytes: HEADER_BYTES + u64::from(value), meaning })
            }
            other => Err(ImageError::Malformed {
                what: ".nv.info attribute format",
                found: other.into(),
                expected: "1 to 4",
            }),
        }
    }
}

/// A KPARAM_INFO attribute whose last word holds the size as `size` says.
fn param(body: &[u8], size: impl Fn(u32) -> u32) -> Result<Meaning, ImageError> {
    const WHAT: &str = "kernel parameter attribute";
    let offset = u16_at(body, 6, WHAT)?.into();
    let bytes = size(u32_at(body, 8, WHAT)?);
    Ok(Meaning::Param(u16_at(body, 4, WHAT)?.into(), Param { offset, bytes }))
}
