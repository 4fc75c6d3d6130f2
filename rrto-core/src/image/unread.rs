//! Bytes of a parameter block that its kernel never reads.
//!
//! Programs launch kernels with blocks that have leftovers in them: padding between the members of a structure, a
//! member that this instance of a template does not use, the address of a `std::vector` in the host's memory. They
//! differ from one inference to the next, and nothing depends on them. Sent as zeros, the inferences are alike.
//!
//! A byte that is wrongly called unread makes a result wrong, and nobody would notice. So this goes by the machine code
//! (`sass`) and calls a byte unread only if no instruction in the kernel's section or in that of a device
//! function of the same cubin can read it, executed or not. Any doubt makes the whole block read; [`Doubt`] lists them.
//!
//! Parameters are in constant bank 0, after words that the driver sets. One of these is the address at which the bank
//! can be read like memory. The compiler adds a parameter's offset to it when its address is taken
//! (`__grid_constant__`, `cvta.param`, descriptors for the tensor memory accelerator), so a kernel that reads this
//! word, or any that is not known to be something else, may read all of them.
//!
//! Some bytes are read only if a word of the same block says so: a count of dimensions, a flag. Such a word is a
//! [`Guard`], and `cases` finds them by following the code (`worlds`) with what its instructions do (`effect`).
//!
//! # What it was compared on
//!
//! With every constant operand that `nvdisasm` 13.5 prints, by `netem/gpu/unread.py` in November 2026: 22,815 kernels
//! for sm_90 of PyTorch 2.11, cuDNN 9.19 and cuBLAS 13.1, with 624,182 operands, and 5,439 for sm_80, sm_86 and sm_89,
//! with 194,394. None is called unread. Of the first, 17,535 have unread bytes, and most others read parameters by
//! index. `netem/results/unread.md` has the tables. No library has code for sm_87, which `nvdisasm` prints as that for
//! sm_86. The disassembler does not show everything: it calls a texture instruction's parameter a plain number, and
//! the driver's words have no names. These were found with small kernels in PTX, compiled by ptxas 12.9.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use super::ImageError;
use super::bytes::slice;
use super::cubin::{self, Budget, KernelParams};
use super::elf::{Header, Section, Sections};
use super::sass::{self, INSTRUCTION_BYTES, Reads};

mod cases;
mod effect;
mod kernels;
mod leftovers;
mod worlds;

use effect::Distance;
pub use kernels::Kernels;
pub use leftovers::{Case, Guard, Leftovers, MAX_LEFTOVER_PAIRS, MAX_UNREAD_RANGES, Word};

/// Bytes of a constant bank: an offset in it has 16 bits.
const BANK_BYTES: usize = 1 << 16;

/// Offset and length in bytes of a piece of a parameter block.
pub type Range = (u32, u32);

/// What is known about a kernel's parameter block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread<'a> {
    /// The name as in `cuModuleGetFunction`.
    pub name: &'a str,
    /// Bytes of the block.
    pub block_bytes: u32,
    /// What of it is not read, in order; none touches the next. Or why that is not known.
    pub ranges: Result<Vec<Range>, Doubt>,
    /// What is not read besides if words of the block have certain values.
    pub guards: Vec<Guard>,
}

/// Why a whole parameter block counts as read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// The machine code of this architecture was never compared.
    #[error("the architecture is not known")]
    Architecture,
    /// There is no code, or not where and as it always is.
    #[error("the code or the block is not where it always is")]
    Layout,
    /// The loader changes the code.
    #[error("the code is relocated")]
    Relocated,
    /// An instruction that nobody has looked at, or one that names a parameter otherwise than as a constant.
    #[error("what opcode {0:#05x} reads is not known")]
    Opcode(u16),
    /// A constant whose offset is computed.
    #[error("parameters are read by index")]
    Indexed,
    /// A constant of a bank that is computed.
    #[error("a bank is read by descriptor")]
    Bindless,
    /// A word of the driver's is read which may be the parameters' address.
    #[error("the driver's word at {0:#x} is read")]
    Address(u32),
}

/// What a verified architecture looks like.
#[derive(Clone, Copy)]
struct Architecture {
    /// Where a parameter block starts in constant bank 0.
    block_at: u32,
    /// Words of the driver's that are read for something else than the bank's address: offset and length.
    harmless: &'static [Range],
    /// How BRA says how far.
    distance: Distance,
}

/// The dimensions of grid and block, the windows of shared and local memory, and the stack.
const LAUNCH: Range = (0, 0x30);

/// Compute capability 8.x: also the descriptor of global memory. The address is at 0x40.
const AMPERE: Architecture =
    Architecture { block_at: 0x160, harmless: &[LAUNCH, (0x118, 8)], distance: Distance::Short };

/// Compute capability 9.0: also whether there are clusters, and their dimensions, how many blocks are in one, and the
/// descriptor. The address is at 0x198.
const HOPPER: Architecture = Architecture {
    block_at: 0x210,
    harmless: &[LAUNCH, (0x140, 0x28), (0x188, 4), (0x208, 8)],
    distance: Distance::Long,
};

/// The compute capabilities whose code is followed for guards: those for which that was compared with a disassembler on
/// more than a thousand kernels.
const FOLLOWED: [u32; 2] = [80, 90];

impl Architecture {
    /// That of a compute capability's code.
    fn of(number: u32) -> Option<Self> {
        match number {
            80 | 86 | 87 | 89 => Some(AMPERE),
            90 => Some(HOPPER),
            _ => None,
        }
    }

    /// Whether reading this byte before the block says nothing about the block's address.
    fn is_harmless(&self, at: u32) -> bool {
        self.harmless.iter().any(|&(from, bytes)| (from..from + bytes).contains(&at))
    }
}

/// What a kernel may read of constant bank 0.
#[derive(Clone)]
struct Bank {
    /// By byte, as far as it matters.
    read: Vec<bool>,
    doubt: Option<Doubt>,
}

impl Bank {
    /// Nothing of a bank of so many bytes.
    fn new(bytes: usize) -> Self {
        Self { read: vec![false; bytes], doubt: None }
    }

    /// The same, of the first `bytes` bytes only.
    fn first(&self, bytes: usize) -> Self {
        Self { read: self.read.iter().copied().take(bytes).collect(), doubt: self.doubt }
    }

    fn doubt(&mut self, doubt: Doubt) {
        self.doubt.get_or_insert(doubt);
    }

    /// Adds what the instructions of `code` read.
    fn scan(&mut self, code: &[u8]) {
        let (instructions, rest) = code.as_chunks::<INSTRUCTION_BYTES>();
        if !rest.is_empty() {
            return self.doubt(Doubt::Layout);
        }
        for instruction in instructions {
            match sass::reads(u128::from_le_bytes(*instruction)) {
                Reads::Nothing => {}
                Reads::Bytes { at, bytes } => {
                    let end = (at as usize + bytes as usize).min(self.read.len());
                    self.read.get_mut(at as usize..end).unwrap_or_default().fill(true);
                }
                Reads::Anything(doubt) => return self.doubt(doubt),
            }
        }
    }

    /// What is not read of the block with which it ends.
    fn unread(&self, architecture: Architecture) -> Result<Vec<Range>, Doubt> {
        if let Some(doubt) = self.doubt {
            return Err(doubt);
        }
        let (drivers, block) =
            self.read.split_at_checked(architecture.block_at as usize).ok_or(Doubt::Layout)?;
        let mut words = (0..).zip(drivers).filter(|(at, read)| **read && !architecture.is_harmless(*at));
        if let Some((at, _)) = words.next() {
            return Err(Doubt::Address(at));
        }
        Ok(ranges(block.iter().map(|read| !read)))
    }
}

/// The bytes that are unread, in ranges.
fn ranges(unread: impl Iterator<Item = bool>) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::new();
    for (at, _) in (0..).zip(unread).filter(|(_, unread)| *unread) {
        match ranges.last_mut() {
            Some((from, bytes)) if *from + *bytes == at => *bytes += 1,
            _ => ranges.push((at, 1)),
        }
    }
    ranges.truncate(MAX_UNREAD_RANGES);
    ranges
}

/// What every kernel of `cubin` leaves unread, in the file's order. Kernels without parameters are not among them.
///
/// # Errors
/// If it is not a cubin, its sections are not what the format says, or it is of a kind that is made into code by the
/// driver.
pub fn kernels(cubin: &[u8]) -> Result<Vec<Unread<'_>>, ImageError> {
    Ok(scan(cubin)?.into_iter().map(Scanned::follow).collect())
}

/// What is known about a kernel before its code is followed.
struct Scanned<'a> {
    name: &'a str,
    block_bytes: u32,
    ranges: Result<Vec<Range>, Doubt>,
    /// What to follow; nothing if that would lead to no guards.
    code: Option<Code<'a>>,
}

impl<'a> Scanned<'a> {
    fn follow(self) -> Unread<'a> {
        let Scanned { name, block_bytes, ranges, code } = self;
        let guards = code.map(|code| code.guards(&ranges)).unwrap_or_default();
        Unread { name, block_bytes, ranges, guards }
    }
}

/// A kernel's code, to be followed.
struct Code<'a> {
    instructions: Cow<'a, [u8]>,
    architecture: Architecture,
    block_bytes: u32,
    /// What no other function reads that the kernel may call.
    elsewhere: Vec<Range>,
}

impl Code<'_> {
    fn guards(&self, always: &Result<Vec<Range>, Doubt>) -> Vec<Guard> {
        let Code { instructions, architecture, block_bytes, elsewhere } = self;
        cases::guards(instructions, *architecture, *block_bytes, elsewhere, always.as_deref())
    }

    /// The same, beyond the cubin.
    fn keep(self) -> Code<'static> {
        Code { instructions: Cow::Owned(self.instructions.into_owned()), ..self }
    }
}

/// The same as [`kernels`], without following their code.
fn scan(cubin: &[u8]) -> Result<Vec<Scanned<'_>>, ImageError> {
    let layouts = cubin::kernels(cubin)?;
    let functions = functions(cubin)?;
    let number = Header::parse(cubin)?.architecture();
    let architecture = number.and_then(Architecture::of);
    let is_followed = number.is_some_and(|number| FOLLOWED.contains(&number));

    // What is not certainly a kernel may be called by any of them.
    let mut shared = Bank::new(BANK_BYTES);
    let own: HashSet<&str> =
        layouts.iter().filter(|kernel| kernel.block_bytes > 0).map(|kernel| kernel.name).collect();
    for (_, function) in functions.iter().filter(|(name, _)| !own.contains(*name)) {
        function.scan(&mut shared);
    }
    let look = |kernel: &KernelParams<'_>| {
        let architecture = architecture.ok_or(Doubt::Architecture)?;
        if kernel.block_at != architecture.block_at {
            return Err(Doubt::Layout);
        }
        let function = functions.get(kernel.name).ok_or(Doubt::Layout)?;
        let code = function.code.ok_or(Doubt::Layout)?;
        let elsewhere = shared.first(kernel.block_at as usize + kernel.block_bytes as usize);
        let mut bank = elsewhere.clone();
        function.scan(&mut bank);
        let elsewhere = elsewhere.unread(architecture).unwrap_or_default();
        let code = (is_followed && function.doubt.is_none() && !elsewhere.is_empty()).then_some(Code {
            instructions: Cow::Borrowed(code),
            architecture,
            block_bytes: kernel.block_bytes,
            elsewhere,
        });
        Ok((bank.unread(architecture), code))
    };
    let with_block = layouts.iter().filter(|kernel| kernel.block_bytes > 0);
    let all = with_block.map(|kernel| {
        let (ranges, code) = look(kernel).unwrap_or_else(|doubt| (Err(doubt), None));
        Scanned { name: kernel.name, block_bytes: kernel.block_bytes, ranges, code }
    });
    Ok(all.collect())
}

/// What the analysis takes an instruction of compute capability `architecture` to do, for comparing it with a
/// disassembler; nothing if there is no analysis of its code.
#[must_use]
pub fn effect(instruction: u128, architecture: u32) -> Option<impl std::fmt::Debug> {
    let Architecture { distance, .. } = Architecture::of(architecture)?;
    Some(effect::Effect::of(instruction, distance))
}

/// Prefix of the section with a function's code, before its name.
const CODE_PREFIX: &[u8] = b".text.";

/// Prefixes of sections that say what the loader changes in a function's code or constants.
const RELOCATION_PREFIXES: [&[u8]; 4] =
    [b".rel.text.", b".rela.text.", b".rel.nv.constant0.", b".rela.nv.constant0."];

/// Prefix of sections that are there if the code is only made from something else when it is loaded.
const MERCURY_PREFIX: &[u8] = b".nv.merc";

/// What sections say about a function.
#[derive(Default, Clone, Copy)]
struct Function<'a> {
    code: Option<&'a [u8]>,
    doubt: Option<Doubt>,
}

impl Function<'_> {
    fn scan(&self, bank: &mut Bank) {
        match self.doubt {
            Some(doubt) => bank.doubt(doubt),
            None => bank.scan(self.code.unwrap_or_default()),
        }
    }
}

/// The functions of a cubin by name, those without code as well.
fn functions<'a>(cubin: &'a [u8]) -> Result<HashMap<&'a str, Function<'a>>, ImageError> {
    let sections = Sections::read(cubin)?;
    let mut budget = Budget::of(cubin);
    let mut functions: HashMap<&str, Function<'_>> = HashMap::new();
    for section in sections.iter() {
        let section: Section = section?;
        let name = sections.name_from(&section)?;
        if name.starts_with(MERCURY_PREFIX) {
            return Err(ImageError::Malformed { what: "section .nv.merc", found: 0, expected: "none" });
        }
        if let Some(of) = RELOCATION_PREFIXES.iter().find_map(|prefix| name.strip_prefix(*prefix)) {
            if section.bytes > 0 {
                functions.entry(budget.name(of)?).or_default().doubt = Some(Doubt::Relocated);
            }
        } else if let Some(of) = name.strip_prefix(CODE_PREFIX) {
            budget.take(section.bytes, section.at)?;
            let code = slice(cubin, section.at, section.bytes, ".text section")?;
            let function = functions.entry(budget.name(of)?).or_default();
            if function.code.replace(code).is_some() {
                function.doubt = Some(Doubt::Layout);
            }
        }
    }
    Ok(functions)
}

#[cfg(test)]
mod cases_tests;
#[cfg(test)]
mod tests;
