//! On instructions that ptxas 12.9 made, and on such with other numbers in them.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::super::building::{EntrySpec, container, cubin_with_code};
use super::super::cubin::Param;
use super::super::fuzzing;
use super::*;

const BLOCK_AT: u32 = 0x210;

/// LDC.64 R2, c[0x0][0x210], and other widths and offsets.
fn ldc(at: u32, width: u32) -> u128 {
    0x000e_2200_0000_0000_0000_0000_ff02_7b82 | u128::from(at) << 38 | u128::from(width) << 73
}

/// LDC's number for a load of so many bytes.
const BYTE: u32 = 0;
const WORD: u32 = 4;
const PAIR: u32 = 5;

/// `LDC R1, c[0x0][0x28]`, with which every kernel starts.
const STACK: u128 = 0x000f_f000_0000_0800_0000_0a00_ff01_7b82;
/// `ULDC.64 UR4, c[0x0][0x208]`, which is nearly as frequent.
const DESCRIPTOR: u128 = 0x000f_e200_0000_0a00_0000_8200_0004_7ab9;
/// `ULDC.64 UR4, c[0x0][0x198]`, for a parameter's address.
const ADDRESS: u128 = 0x000f_e400_0000_0a00_0000_6600_0004_7ab9;
/// `LDC R5, c[0x0][R0+0x210]`.
const INDEXED: u128 = 0x000e_2400_0000_0800_0000_8400_0005_7b82;
/// `ULDC.64 UR38, c[0x0][UR38+0x210]`.
const UNIFORM_INDEXED: u128 = 0x000f_e400_0800_0a00_0000_8400_2626_7abb;
/// `TLD.SCR.LZ RZ, R23, R23, 0x0, 0x8a, 1D, 0x1`: the handle is at c[0x0][0x228].
const TEXTURE: u128 = 0x040f_4200_009e_01ff_1000_8aff_1717_7b66;
/// `EXIT`.
const EXIT: u128 = 0x000f_ea00_0380_0000_0000_0000_0000_794d;

fn kernel(name: &str, block_bytes: u32) -> KernelParams<'_> {
    let params = vec![Param { offset: 0, bytes: block_bytes }];
    KernelParams { name, params, block_bytes, block_at: BLOCK_AT }
}

fn code(function: &str, instructions: &[u128]) -> (String, Vec<u8>) {
    let bytes = instructions.iter().flat_map(|instruction| instruction.to_le_bytes()).collect();
    (format!(".text.{function}"), bytes)
}

/// What the kernel `k` with a block of 32 bytes leaves unread.
fn ranges(architecture: u32, others: &[(String, Vec<u8>)]) -> Result<Vec<Range>, Doubt> {
    let cubin = cubin_with_code(architecture, &[kernel("k", 32)], others);
    let mut kernels = kernels(&cubin).unwrap();
    assert_eq!(kernels.len(), 1);
    kernels.remove(0).ranges
}

#[test]
fn instructions_read_what_they_name() {
    let bytes = |at, bytes| Reads::Bytes { at, bytes };
    let cases = [
        (STACK, bytes(0x28, 4)),
        (DESCRIPTOR, bytes(0x208, 8)),
        (EXIT, Reads::Nothing),
        // IMAD.MOV.U32 R2, RZ, RZ, c[0x0][0x160]
        (0x000f_e200_078e_00ff_0000_5800_ff02_7624, bytes(0x160, 4)),
        // IADD3.X R11, R11, c[0x0][0x194], RZ, P0, !PT
        (0x000f_c600_007f_e4ff_0000_6500_0b0b_7a10, bytes(0x194, 4)),
        // IMAD.WIDE R10, R14, c[0x0][0x184], RZ
        (0x002f_ca00_078e_02ff_0000_6100_0e0a_7a25, bytes(0x184, 4)),
        // IMAD.WIDE R8, R14, R15, c[0x0][0x1b8]
        (0x001f_e400_078e_020f_0000_6e00_0e08_7625, bytes(0x1b8, 8)),
        // DFMA R8, R4, c[0x0][0x1b0], R6
        (0x0010_6400_0000_0006_0000_6c00_0408_7a2b, bytes(0x1b0, 8)),
        // HFMA2 R2, R10, c[0x0] [0x1f0].H0_H0, R0.reuse
        (0x104f_e400_0000_0000_2000_7c00_0a02_7a31, bytes(0x1f0, 4)),
        // LDC.U16 R16, c[0x0][0x1a2]
        (0x000e_e200_0000_0400_0000_6880_ff10_7b82, bytes(0x1a2, 2)),
        // LDC.S8 R0, c[0x0][0x1a5]
        (0x000e_2200_0000_0200_0000_6940_ff00_7b82, bytes(0x1a5, 1)),
        // ULDC.U8 UR4, c[0x0][0x231]
        (0x000f_ce00_0000_0000_0000_8c40_0004_7ab9, bytes(0x231, 1)),
        // IMAD R0, R0, R3, c[0x2][0x0]
        (0x001f_e200_078e_0203_0080_0000_0000_7624, Reads::Nothing),
        // STG.E.64 desc[UR4][R2.64+0x20], R12
        (0x000f_e800_0c10_1b04_0000_200c_0200_7986, Reads::Nothing),
        // BAR.SYNC.DEFER_BLOCKING 0x0
        (0x000f_e200_0001_0000_0000_0000_0000_7b1d, Reads::Nothing),
        (INDEXED, Reads::Anything(Doubt::Indexed)),
        (UNIFORM_INDEXED, Reads::Anything(Doubt::Indexed)),
        (TEXTURE, Reads::Anything(Doubt::Opcode(0xb66))),
        (0, Reads::Anything(Doubt::Opcode(0))),
        // MOV R3, cx[..][..]: a constant's bank is not a number.
        (0x000f_e200_0800_0f00_0000_5900_0003_7a02, Reads::Anything(Doubt::Bindless)),
        // LDC with an index that chooses the bank as well, whatever bank it names.
        (INDEXED | 1 << 78 | 3 << 54, Reads::Anything(Doubt::Indexed)),
    ];
    for (instruction, wanted) in cases {
        assert_eq!(sass::reads(instruction), wanted, "{instruction:#034x}");
    }
}

#[test]
fn what_no_instruction_reads_is_unread() {
    let instructions = [STACK, DESCRIPTOR, ldc(0x210, PAIR), ldc(0x21c, WORD), ldc(0x222, BYTE), EXIT];
    let unread = ranges(90, &[code("k", &instructions)]);
    assert_eq!(unread, Ok(vec![(8, 4), (16, 2), (19, 13)]));
    assert_eq!(ranges(90, &[code("k", &[ldc(0x210, 6), ldc(0x220, 6)])]), Ok(vec![]));
    // What lies before and behind the block does not matter.
    assert_eq!(ranges(90, &[code("k", &[ldc(0x20c, PAIR), ldc(0x22c, PAIR)])]), Ok(vec![(4, 24)]));
    assert_eq!(ranges(90, &[code("k", &[EXIT])]), Ok(vec![(0, 32)]));
}

#[test]
fn every_doubt_makes_all_of_it_read() {
    let fine = || code("k", &[STACK, EXIT]);
    let with = |instruction| code("k", &[STACK, instruction, EXIT]);
    let relocation = |of: &str, bytes| (format!(".rela.text.{of}"), vec![0; bytes]);
    let cut = (String::from(".text.k"), vec![0x4d, 0x79, 0, 0]);
    for (architecture, sections, doubt) in [
        (90, vec![with(INDEXED)], Doubt::Indexed),
        (90, vec![with(ADDRESS)], Doubt::Address(0x198)),
        (90, vec![with(ldc(0x19c, WORD))], Doubt::Address(0x19c)),
        (90, vec![with(ldc(0x184, PAIR))], Doubt::Address(0x184)),
        (90, vec![with(TEXTURE)], Doubt::Opcode(0xb66)),
        (90, vec![fine(), relocation("k", 24)], Doubt::Relocated),
        (90, vec![], Doubt::Layout),
        (90, vec![cut], Doubt::Layout),
        (90, vec![fine(), fine()], Doubt::Layout),
        (75, vec![fine()], Doubt::Architecture),
        (100, vec![fine()], Doubt::Architecture),
        // The block is elsewhere on it.
        (80, vec![fine()], Doubt::Layout),
        // A device function is as doubtful as what calls it.
        (90, vec![fine(), code("f", &[INDEXED])], Doubt::Indexed),
        (90, vec![fine(), code("f", &[ADDRESS])], Doubt::Address(0x198)),
        (90, vec![fine(), code("f", &[EXIT]), relocation("f", 24)], Doubt::Relocated),
    ] {
        assert_eq!(ranges(architecture, &sections), Err(doubt));
    }
    assert!(ranges(90, &[fine(), relocation("k", 0)]).is_ok());
    let mercury = cubin_with_code(90, &[kernel("k", 32)], &[fine(), (".nv.merc.text.k".into(), vec![])]);
    assert!(kernels(&mercury).is_err());
}

#[test]
fn device_functions_read_for_every_kernel_but_kernels_for_themselves() {
    let layouts = [kernel("a", 16), kernel("b", 16)];
    let sections =
        [code("a", &[ldc(0x210, PAIR)]), code("b", &[ldc(0x218, PAIR)]), code("f", &[ldc(0x21c, WORD)])];
    let cubin = cubin_with_code(90, &layouts, &sections);
    let found: Vec<_> =
        kernels(&cubin).unwrap().into_iter().map(|kernel| (kernel.name, kernel.ranges.unwrap())).collect();
    assert_eq!(found, [("a", vec![(8, 4)]), ("b", vec![(0, 8)])]);
}

#[test]
fn what_the_driver_may_choose_counts() {
    let built = |at: u32| cubin_with_code(90, &[kernel("k", 32)], &[code("k", &[ldc(0x210 + at, PAIR)])]);
    let (one, other) = (EntrySpec::cubin(90, &built(0)), EntrySpec::cubin(90, &built(8)));
    let ptx = EntrySpec::ptx(80, "//");
    let link_time = EntrySpec { kind: 8, ..EntrySpec::ptx(90, "") };
    let elsewhere = cubin_with_code(100, &[kernel("k", 32)], &[code("k", &[EXIT])]);
    let broken = EntrySpec::cubin(90, b"not a cubin");
    let found = |image: &[u8]| Kernels::of(image, 0).leftovers("k").always().to_vec();
    assert_eq!(found(&built(0)), [(8, 24)]);
    assert_eq!(found(b"//"), []);
    for (entries, wanted) in [
        (vec![one.clone()], vec![(8, 24)]),
        (vec![one.clone(), other.clone()], vec![(16, 16)]),
        (vec![one.clone(), EntrySpec::cubin(100, &elsewhere)], vec![]),
        (vec![one.clone(), ptx], vec![]),
        (vec![one.clone(), link_time], vec![]),
        (vec![one, broken], vec![]),
    ] {
        assert_eq!(found(&container(&entries)), wanted);
    }
}

proptest! {
    #[test]
    fn bytes_are_read_or_unread(reads in vec((0_u32..300, 0_u32..7), 0..40), bytes in 1_u32..300) {
        let instructions: Vec<u128> = reads.iter().map(|&(at, width)| ldc(BLOCK_AT + at, width)).collect();
        let cubin = cubin_with_code(90, &[kernel("k", bytes)], &[code("k", &instructions)]);
        let unread = kernels(&cubin).unwrap().remove(0).ranges.unwrap();
        let is_unread = |byte: u32| unread.iter().any(|&(at, bytes)| (at..at + bytes).contains(&byte));
        let is_read = |byte: u32| {
            let lengths = [1, 1, 2, 2, 4, 8, 16];
            reads.iter().any(|&(at, width)| (at..at + lengths[width as usize]).contains(&byte))
        };
        for byte in 0..bytes {
            prop_assert_ne!(is_unread(byte), is_read(byte), "byte {}", byte);
        }
        fuzzing::cubin(&cubin);
    }

    #[test]
    fn damaged_code_never_panics(
        damage in vec((any::<Index>(), any::<u8>()), 1..6),
        cut in any::<Index>(),
    ) {
        let sections = [code("k", &[STACK, ldc(0x210, PAIR), EXIT]), code("f", &[EXIT]), (".rela.text.f".into(), vec![])];
        let mut cubin = cubin_with_code(90, &[kernel("k", 32)], &sections);
        for (at, byte) in damage {
            let at = at.index(cubin.len());
            cubin[at] = byte;
        }
        fuzzing::cubin(&cubin);
        fuzzing::cubin(&cubin[..cut.index(cubin.len())]);
    }
}
