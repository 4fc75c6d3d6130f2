//! What a machine instruction reads of constant bank 0, where a kernel's parameters are.
//!
//! An instruction of compute capability 7.0 to 9.0 has 128 bits. Its parts that matter here, by bit:
//!
//! | bits | meaning |
//! |---|---|
//! | 0..12 | opcode; its upper three bits say what kinds its operands are of, 3 and 5 that one is a constant |
//! | 24..32 | LDC: the register to add to the offset, 255 for none. ULDC: 0 |
//! | 38..54 | the constant's offset in its bank, bytes |
//! | 54..59 | the bank |
//! | 73..76 | LDC and ULDC: 0 and 1 a byte, 2 and 3 a halfword, 4 a word, 5 two, 6 four |
//! | 78..80 | LDC and ULDC: how the register counts |
//! | 91 | the bank is a descriptor in a register ("bindless") |
//!
//! None of this is documented. It was read off the disassembler of CUDA 13.5 (`nvdisasm`), and [`super::unread`] says
//! what it was compared on. Hence the tables: they name the opcodes that were seen there, and whatever is not in them
//! is a [`Doubt`]. So are instructions that read a parameter without naming it as a constant, which the disassembler
//! does not show: a texture instruction has the number of a word of bank 0 where the texture's handle is.

use super::unread::Doubt;

/// Opcodes that read no constant: registers and immediates only, or memory by address.
#[rustfmt::skip]
const NOTHING: [u16; 291] = [
    0x202, 0x207, 0x208, 0x209, 0x20a, 0x20b, 0x20c, 0x20f, 0x210, 0x211, 0x212, 0x213, 0x216, 0x217, 0x219, 0x21a,
    0x21b, 0x220, 0x221, 0x223, 0x224, 0x225, 0x226, 0x227, 0x228, 0x229, 0x22a, 0x22b, 0x230, 0x231, 0x232, 0x233,
    0x234, 0x235, 0x237, 0x239, 0x23a, 0x23c, 0x23e, 0x23f, 0x240, 0x243, 0x245, 0x246, 0x248, 0x27a, 0x287, 0x28c,
    0x290, 0x291, 0x292, 0x297, 0x299, 0x29b, 0x2a4, 0x2a5, 0x2bd, 0x2bf, 0x2ca, 0x300, 0x301, 0x302, 0x304, 0x305,
    0x306, 0x307, 0x308, 0x309, 0x310, 0x311, 0x312, 0x313, 0x31c, 0x343, 0x348, 0x34e, 0x355, 0x356, 0x381, 0x385,
    0x386, 0x387, 0x388, 0x389, 0x38b, 0x38c, 0x38d, 0x3a1, 0x3a3, 0x3a8, 0x3a9, 0x3aa, 0x3b4, 0x3b5, 0x3c2, 0x3c4,
    0x3c6, 0x419, 0x421, 0x423, 0x424, 0x429, 0x42a, 0x42b, 0x430, 0x431, 0x433, 0x434, 0x435, 0x446, 0x4a4, 0x51d,
    0x589, 0x5a7, 0x5ab, 0x5b2, 0x5b4, 0x802, 0x803, 0x804, 0x805, 0x806, 0x807, 0x808, 0x809, 0x80a, 0x80b, 0x80c,
    0x810, 0x811, 0x812, 0x816, 0x817, 0x819, 0x81a, 0x81b, 0x81c, 0x820, 0x823, 0x824, 0x825, 0x827, 0x828, 0x82b,
    0x82d, 0x82e, 0x82f, 0x831, 0x832, 0x835, 0x836, 0x83b, 0x844, 0x846, 0x848, 0x882, 0x883, 0x886, 0x887, 0x88c,
    0x890, 0x891, 0x892, 0x896, 0x899, 0x89b, 0x89c, 0x8a4, 0x8a5, 0x902, 0x906, 0x908, 0x918, 0x919, 0x91a, 0x91b,
    0x941, 0x942, 0x944, 0x945, 0x946, 0x947, 0x948, 0x949, 0x94d, 0x94e, 0x950, 0x956, 0x958, 0x95c, 0x95d, 0x980,
    0x981, 0x983, 0x984, 0x985, 0x986, 0x987, 0x988, 0x989, 0x98a, 0x98c, 0x98e, 0x98f, 0x992, 0x9a2, 0x9a3, 0x9a5,
    0x9a6, 0x9a7, 0x9a8, 0x9ab, 0x9af, 0x9b0, 0x9b7, 0x9b9, 0x9c3, 0x9c5, 0x9c7, 0x9c8, 0x9c9, 0x9f0, 0x9f1, 0x9f3,
    0xb1d, 0xc02, 0xc07, 0xc08, 0xc09, 0xc0a, 0xc0b, 0xc0c, 0xc0f, 0xc10, 0xc11, 0xc12, 0xc13, 0xc17, 0xc19, 0xc1a,
    0xc1b, 0xc20, 0xc23, 0xc24, 0xc25, 0xc26, 0xc27, 0xc28, 0xc2b, 0xc31, 0xc32, 0xc36, 0xc3e, 0xc40, 0xc45, 0xc46,
    0xc48, 0xc82, 0xd00, 0xd02, 0xd04, 0xd05, 0xd06, 0xd07, 0xd08, 0xd09, 0xd10, 0xd11, 0xd12, 0xd13, 0xdae, 0xdbd,
    0xdc7, 0xdf0, 0xdf3, 0xe16, 0xe19, 0xe21, 0xe23, 0xe24, 0xe25, 0xe27, 0xe29, 0xe2a, 0xe2b, 0xe34, 0xe46, 0xf55,
    0xf89, 0xf8c, 0xfae,
];

/// Opcodes with a constant of one word: 32-bit arithmetic, and pairs of halves.
#[rustfmt::skip]
const WORD: [u16; 38] = [
    0x619, 0x621, 0x623, 0x624, 0x630, 0x631, 0x634, 0xa02, 0xa07, 0xa08, 0xa09, 0xa0a, 0xa0b, 0xa0c, 0xa10, 0xa11,
    0xa12, 0xa13, 0xa17, 0xa19, 0xa1b, 0xa20, 0xa23, 0xa24, 0xa25, 0xa26, 0xa27, 0xa31, 0xa32, 0xa3e, 0xa40, 0xa45,
    0xb02, 0xb05, 0xb06, 0xb07, 0xb08, 0xb09,
];

/// Opcodes with a constant of two words, or of one where the instruction says so in a way that is not looked at: wide
/// addends, doubles, and conversions of and to them.
#[rustfmt::skip]
const DOUBLE: [u16; 10] = [
    0x625, 0x629, 0x62a, 0x62b, 0xa28, 0xa2b, 0xb10, 0xb11, 0xb12, 0xb13,
];

/// Loads from a constant bank: by register, uniform, and uniform by register.
const LDC: u16 = 0xb82;
const ULDC: u16 = 0xab9;
const ULDC_INDEXED: u16 = 0xabb;

/// Bytes of an instruction.
pub(super) const INSTRUCTION_BYTES: usize = 16;

/// What an instruction reads of constant bank 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reads {
    /// Nothing.
    Nothing,
    /// Some bytes, here or before here.
    Bytes {
        /// The first.
        at: u32,
        /// How many.
        bytes: u32,
    },
    /// Nobody knows.
    Anything(Doubt),
}

/// What an opcode means here.
#[derive(Clone, Copy)]
enum Meaning {
    Unknown,
    Nothing,
    /// One of the operands is a constant of so many bytes.
    Constant(u8),
    Ldc,
    Uldc,
    UldcIndexed,
}

/// By opcode.
static MEANINGS: [Meaning; 1 << 12] = {
    let mut meanings = [Meaning::Unknown; 1 << 12];
    set(&mut meanings, &NOTHING, Meaning::Nothing);
    set(&mut meanings, &WORD, Meaning::Constant(4));
    set(&mut meanings, &DOUBLE, Meaning::Constant(8));
    set(&mut meanings, &[LDC], Meaning::Ldc);
    set(&mut meanings, &[ULDC], Meaning::Uldc);
    set(&mut meanings, &[ULDC_INDEXED], Meaning::UldcIndexed);
    meanings
};

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler, which refuses what is out of bounds")]
const fn set(meanings: &mut [Meaning; 1 << 12], opcodes: &[u16], meaning: Meaning) {
    let mut at = 0;
    while at < opcodes.len() {
        meanings[opcodes[at] as usize] = meaning;
        at += 1;
    }
}

/// What `instruction` reads of constant bank 0. Its position and its predicate do not matter: what is never executed
/// counts too.
#[inline]
pub(super) fn reads(instruction: u128) -> Reads {
    let opcode = field(instruction, 0, 12);
    let meaning = MEANINGS.get(opcode as usize).copied().unwrap_or(Meaning::Unknown);
    let bytes = match meaning {
        Meaning::Nothing => return Reads::Nothing,
        Meaning::Unknown => return Reads::Anything(Doubt::Opcode(opcode as u16)),
        Meaning::Constant(bytes) => Some(u32::from(bytes)),
        // How a register counts can be that it chooses the bank.
        _ if field(instruction, 78, 2) != 0 => return Reads::Anything(Doubt::Indexed),
        Meaning::Ldc => (field(instruction, 24, 8) == 255).then(|| loaded(instruction)),
        Meaning::Uldc => (field(instruction, 24, 8) == 0).then(|| loaded(instruction)),
        Meaning::UldcIndexed => None,
    };
    // In the indexed form of ULDC this bit says that the register is a uniform one.
    if field(instruction, 91, 1) == 1 && !matches!(meaning, Meaning::UldcIndexed) {
        return Reads::Anything(Doubt::Bindless);
    }
    match (field(instruction, 54, 5), bytes) {
        // Parameters are in no other.
        (1.., _) => Reads::Nothing,
        (0, Some(bytes)) => Reads::Bytes { at: field(instruction, 38, 16), bytes },
        (0, None) => Reads::Anything(Doubt::Indexed),
    }
}

/// How many bytes LDC or ULDC loads.
fn loaded(instruction: u128) -> u32 {
    match field(instruction, 73, 3) {
        0 | 1 => 1,
        2 | 3 => 2,
        4 => 4,
        5 => 8,
        // 7 is none; no load is longer than 6 says.
        _ => 16,
    }
}

/// The number in `bits` bits from bit `at` on, at most 32.
#[inline]
pub(super) fn field(instruction: u128, at: u32, bits: u32) -> u32 {
    ((instruction >> at) as u64 & ((1 << bits) - 1)) as u32
}
