//! Guards: small programs of real instructions, and random ones that are run.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::building::cubin_with_code;
use super::super::cubin::Param;
use super::*;

mod programs;

use programs::program;

const BLOCK_AT: u32 = 0x210;
const BLOCK_BYTES: u32 = 48;

/// A predicate as an operand: number, 7 for always, and whether it is negated.
type P = (u32, bool);

const ALWAYS: P = (7, false);

/// An instruction of the small machine that the random programs are for.
#[derive(Debug, Clone, Copy)]
enum Op {
    /// LDC: so many bytes of the block from an offset on.
    Load { to: u32, at: u32, bytes: u32 },
    /// S2R: what nobody knows.
    Anything { to: u32 },
    /// MOV.
    Move { to: u32, from: u32 },
    /// MOV of a number.
    Number { to: u32, number: u32 },
    /// ISETP with a number, and or or a predicate.
    Compare { to: u32, other: u32, register: u32, number: u32, holds: u32, signed: bool, or: bool, with: P },
    /// ISETP of a number in a register and a word of the block.
    CompareConstant { to: u32, register: u32, at: u32, holds: u32 },
    /// PLOP3.
    Table { to: u32, other: u32, table: u32, of: [P; 3] },
    /// BRA to an instruction.
    Branch { target: usize, and: P },
    /// EXIT.
    Exit,
    /// BSSY: where the threads of a barrier meet.
    Meet { barrier: u32, target: usize },
    /// BSYNC.
    Sync { barrier: u32 },
}

impl Op {
    /// The instruction at `place` for sm_90, executed when `when` holds.
    fn encode(self, place: usize, (number, negated): P) -> u128 {
        let put = |value: u32, at: u32| u128::from(value) << at;
        let predicate = |(number, negated): P, at: u32| put(number, at) | put(negated.into(), at + 3);
        // Both in words, from the next instruction on.
        let distance = |target: usize| (target as i64 - place as i64 - 1) * 4;
        let bits = |value: i64, at: u32, bits: u32| (value as u128 & ((1 << bits) - 1)) << at;
        let form = match self {
            Op::Load { to, at, bytes } => {
                let width = match bytes {
                    1 => 0,
                    2 => 2,
                    4 => 4,
                    8 => 5,
                    _ => 6,
                };
                0xb82 | put(to, 16) | put(255, 24) | put(BLOCK_AT + at, 38) | put(width, 73)
            }
            Op::Anything { to } => 0x919 | put(to, 16),
            Op::Move { to, from } => 0x202 | put(to, 16) | put(from, 32) | put(0xf, 72),
            Op::Number { to, number } => 0x802 | put(to, 16) | put(number, 32) | put(0xf, 72),
            Op::Compare { to, other, register, number, holds, signed, or, with } => {
                0x80c
                    | put(register, 24)
                    | put(number, 32)
                    | put(7, 68)
                    | put(signed.into(), 73)
                    | put(or.into(), 74)
                    | put(holds, 76)
                    | put(to, 81)
                    | put(other, 84)
                    | predicate(with, 87)
            }
            Op::CompareConstant { to, register, at, holds } => {
                0xa0c
                    | put(register, 24)
                    | put(BLOCK_AT + at, 38)
                    | put(7, 68)
                    | put(holds, 76)
                    | put(to, 81)
                    | put(7, 84)
                    | predicate(ALWAYS, 87)
            }
            Op::Table { to, other, table, of: [a, b, c] } => {
                0x81c
                    | put(table & 7, 64)
                    | put(table >> 3, 72)
                    | predicate(c, 68)
                    | predicate(b, 77)
                    | predicate(a, 87)
                    | put(to, 81)
                    | put(other, 84)
            }
            Op::Branch { target, and } => {
                let words = distance(target);
                0x947 | bits(words, 16, 8) | bits(words >> 8, 34, 48) | predicate(and, 87)
            }
            Op::Exit => 0x94d | predicate(ALWAYS, 87),
            Op::Meet { barrier, target } => {
                0x945 | put(barrier, 16) | bits(distance(target), 34, 48) | predicate(ALWAYS, 87)
            }
            Op::Sync { barrier } => 0x941 | put(barrier, 16) | predicate(ALWAYS, 87),
        };
        form | predicate((number, negated), 12)
    }
}

/// A thread that runs a program.
struct Thread<'a> {
    block: &'a [u8],
    registers: [u32; 8],
    predicates: [bool; 8],
    barriers: [usize; 2],
    /// Which bytes it has read.
    read: Vec<bool>,
    /// What S2R gives, one after the other.
    anything: std::iter::Cycle<std::slice::Iter<'a, u32>>,
}

impl<'a> Thread<'a> {
    fn new(block: &'a [u8], anything: &'a [u32]) -> Self {
        let read = vec![false; block.len()];
        let predicates = std::array::from_fn(|number| number == 7);
        Thread {
            block,
            registers: [0; 8],
            predicates,
            barriers: [0; 2],
            read,
            anything: anything.iter().cycle(),
        }
    }

    fn load(&mut self, at: u32, bytes: u32) -> u32 {
        (at..at + bytes).rev().fold(0, |value, at| {
            self.read[at as usize] = true;
            value << 8 | u32::from(self.block[at as usize])
        })
    }

    fn holds(&self, (number, negated): P) -> bool {
        self.predicates[number as usize] != negated
    }

    fn decide(&mut self, number: u32, value: bool) {
        if number != 7 {
            self.predicates[number as usize] = value;
        }
    }

    /// Runs until it exits, leaves the program, or has had enough.
    fn run(&mut self, program: &[(Op, P)]) {
        let mut at = 0;
        for _ in 0..400 {
            let Some(&(op, when)) = program.get(at) else { return };
            at += 1;
            if !self.holds(when) {
                continue;
            }
            match op {
                Op::Load { to, at, bytes } => {
                    for word in 0..bytes.div_ceil(4) {
                        self.registers[(to + word) as usize] = self.load(at + 4 * word, bytes.min(4));
                    }
                }
                Op::Anything { to } => self.registers[to as usize] = *self.anything.next().unwrap(),
                Op::Move { to, from } => self.registers[to as usize] = self.registers[from as usize],
                Op::Number { to, number } => self.registers[to as usize] = number,
                Op::Compare { to, other, register, number, holds, signed, or, with } => {
                    let result = compared(self.registers[register as usize], number, holds, signed);
                    let with = self.holds(with);
                    let combine = |result: bool| if or { result || with } else { result && with };
                    self.decide(other, combine(!result));
                    self.decide(to, combine(result));
                }
                Op::CompareConstant { to, register, at, holds } => {
                    let right = self.load(at, 4);
                    self.decide(to, compared(self.registers[register as usize], right, holds, false));
                }
                Op::Table { to, other, table, of } => {
                    let row =
                        of.iter().fold(0, |row, predicate| row << 1 | u32::from(self.holds(*predicate)));
                    // The other table is empty.
                    self.decide(other, false);
                    self.decide(to, table >> row & 1 == 1);
                }
                Op::Branch { target, and } if self.holds(and) => at = target,
                Op::Branch { .. } => {}
                Op::Exit => return,
                Op::Meet { barrier, target } => self.barriers[barrier as usize] = target,
                Op::Sync { barrier } => at = self.barriers[barrier as usize],
            }
        }
    }
}

fn compared(left: u32, right: u32, holds: u32, signed: bool) -> bool {
    let order = if signed { (left as i32).cmp(&(right as i32)) } else { left.cmp(&right) };
    holds >> (order as i8 + 1) & 1 == 1
}

/// What a kernel with this program leaves unread.
fn leftovers(program: &[(Op, P)]) -> Leftovers {
    kernels(program, usize::MAX).leftovers("k")
}

/// A kernel with this program, of which so many bytes are kept at most.
fn kernels(program: &[(Op, P)], room: usize) -> Kernels {
    let code = program.iter().enumerate().flat_map(|(at, (op, when))| op.encode(at, *when).to_le_bytes());
    let params = vec![Param { offset: 0, bytes: BLOCK_BYTES }];
    let kernel = KernelParams { name: "k", params, block_bytes: BLOCK_BYTES, block_at: BLOCK_AT };
    let cubin = cubin_with_code(90, &[kernel], &[(".text.k".to_owned(), code.collect())]);
    Kernels::of(&cubin, room)
}

fn always(ops: impl IntoIterator<Item = Op>) -> Vec<(Op, P)> {
    ops.into_iter().map(|op| (op, ALWAYS)).collect()
}

fn load(to: u32, at: u32) -> Op {
    Op::Load { to, at, bytes: 4 }
}

/// ISETP P0 of a register and a number.
fn compare(register: u32, holds: u32, number: u32) -> Op {
    Op::Compare { to: 0, other: 7, register, number, holds, signed: true, or: false, with: ALWAYS }
}

const EQUAL: u32 = 2;
const UNEQUAL: u32 = 5;

fn case(from: u32, to: u32, ranges: &[Range]) -> Case {
    Case { from, to, ranges: ranges.to_vec() }
}

#[test]
fn a_word_that_ends_a_loop_guards_what_is_behind_it() {
    // As PyTorch walks dimensions: the first word counts those that the others are of.
    let mut program = always([load(0, 0)]);
    for dimension in 0..2 {
        program.push((compare(0, EQUAL, dimension), ALWAYS));
        program.push((Op::Branch { target: 9, and: ALWAYS }, (0, false)));
        program.push((load(1, 4 + 8 * dimension), ALWAYS));
        program.push((Op::Move { to: 2, from: 0 }, ALWAYS));
    }
    program.extend(always([Op::Exit]));
    let guards = vec![Guard {
        word: Word { at: 0, bytes: 4 },
        cases: vec![case(0, 0, &[(4, 4), (12, 4)]), case(1, 1, &[(12, 4)])],
    }];
    assert_eq!(leftovers(&program), Leftovers::new(vec![(8, 4), (16, 32)], guards));
}

#[test]
fn code_that_is_not_kept_gives_no_guards() {
    let program = [
        (load(0, 0), ALWAYS),
        (compare(0, UNEQUAL, 0), ALWAYS),
        (load(1, 8), (0, false)),
        (Op::Exit, ALWAYS),
    ];
    let whole = kernels(&program, usize::MAX);
    let bytes = whole.code_bytes();
    assert!(bytes > 0 && !whole.leftovers("k").guards().is_empty());
    assert_eq!(kernels(&program, bytes).leftovers("k"), whole.leftovers("k"));
    let none = kernels(&program, bytes - 1);
    assert_eq!(none.code_bytes(), 0);
    assert_eq!(none.leftovers("k"), Leftovers::new(whole.leftovers("k").always().to_vec(), Vec::new()));
}

#[test]
fn a_flag_guards_what_is_loaded_if_it_is_set() {
    let flag = Op::Load { to: 0, at: 5, bytes: 1 };
    let program =
        [(flag, ALWAYS), (compare(0, UNEQUAL, 0), ALWAYS), (load(1, 8), (0, false)), (Op::Exit, ALWAYS)];
    let found = leftovers(&program);
    let word = Word { at: 5, bytes: 1 };
    assert_eq!(found.guards(), [Guard { word, cases: vec![case(0, 0, &[(8, 4)])] }]);

    let mut block = [7; BLOCK_BYTES as usize];
    found.clear(&mut block);
    assert_eq!(block[..12], [0, 0, 0, 0, 0, 7, 0, 0, 7, 7, 7, 7]);
    block[5] = 0;
    found.clear(&mut block);
    assert_eq!(block, [0; BLOCK_BYTES as usize]);
    // A shorter block, and none at all.
    for length in 0..12 {
        let mut short = vec![7; length];
        found.clear(&mut short);
        assert!(short.iter().enumerate().all(|(at, byte)| (*byte == 7) == (at == 5 || at >= 8)));
    }
}

/// What changes an operand or decides when an instruction is executed is not lost sight of. By the disassembler, in
/// libraries of NVIDIA's and PyTorch's.
#[test]
fn instructions_do_what_is_printed_of_them() {
    use super::effect::{Effect, Flow, Predicate, Source, Writes};
    let effect = |instruction, architecture: Architecture| Effect::of(instruction, architecture.distance);
    let is_unknown = |effect: Effect| match effect.writes {
        Writes::Value { from, .. } => from == Source::Unknown,
        writes => matches!(writes, Writes::Something { .. }),
    };
    for (what, architecture, instruction) in [
        ("IMAD.MOV R15, RZ, RZ, -c[0x0][0x3a8]", AMPERE, 0x000f_e200_078e_02ff_8000_ea00_ff0f_4624_u128),
        ("IMAD R49, RZ, RZ, -UR10", HOPPER, 0x000f_e400_0f8e_02ff_8000_000a_ff31_7e24),
        ("LDC.U8 R0, c[0x0][R8+0x810]", HOPPER, 0x001e_2200_0000_0000_0002_0400_0800_7b82),
    ] {
        assert!(is_unknown(effect(instruction, architecture)), "{what}");
    }
    let moved = effect(0x000f_e200_078e_00ff_0000_ea00_ff0f_7624, AMPERE);
    let constant = Source::Constant { at: 0x3a8, bytes: 4 };
    assert!(matches!(moved.writes, Writes::Value { from, .. } if from == constant), "IMAD.MOV.U32");

    // @!UP0 SYNCS.EXCH.64 URZ, [UR6+0xa0], UR4, which looks like @!P0.
    assert_eq!(effect(0x0045_2200_0800_0100_0000_a004_063f_85b2, HOPPER).when, None);
    // @!P0 EXIT
    let when = Some(Predicate { number: 0, negated: true });
    assert_eq!(effect(0x000f_ea00_0380_0000_0000_0000_0000_894d, HOPPER).when, when);

    // LEPC R20, of the instruction after the next, and ENDCOLLECTIVE.
    assert_eq!(effect(0x000f_ce00_0000_0000_0000_0000_1014_794e, HOPPER).flow, Flow::Call { by: 16 });
    assert_eq!(effect(0x000f_ce00_0000_0000_0000_0000_2014_794e, HOPPER).flow, Flow::Lost);
    assert_eq!(effect(0x00ef_e200_0380_0000_0000_0000_0000_791b, HOPPER).flow, Flow::Lost);
}

#[test]
fn what_is_not_understood_guards_nothing() {
    let guarded = [
        (load(0, 0), ALWAYS),
        (compare(0, EQUAL, 0), ALWAYS),
        (Op::Exit, (0, false)),
        (load(1, 8), ALWAYS),
        (Op::Exit, ALWAYS),
    ];
    assert_eq!(leftovers(&guarded).guards().len(), 1);
    let base: Vec<u128> = guarded.iter().enumerate().map(|(at, (op, when))| op.encode(at, *when)).collect();
    let guards = |instructions: &[u128]| {
        let code: Vec<u8> = instructions.iter().flat_map(|instruction| instruction.to_le_bytes()).collect();
        cases::guards(&code, HOPPER, BLOCK_BYTES, &[(0, BLOCK_BYTES)], Ok(&[])).len()
    };
    assert_eq!(guards(&base), 1);
    for (what, instruction) in [
        ("BRX", 0x000f_ea00_0383_ffff_ffff_fff0_0200_7949_u128),
        ("RET", 0x001f_ea00_03c3_ffff_ffff_feb8_04f4_7950),
        ("CALL.REL", 0x001f_ea00_03c0_0000_0000_0001_0034_7944),
        ("an index", 0x000e_2400_0000_0800_0000_8400_0005_7b82),
        ("the block's address", 0x000f_e400_0000_0a00_0000_6600_0004_7ab9),
        ("no instruction", 0),
    ] {
        let mut changed = base.clone();
        changed[0] = instruction;
        changed.insert(1, base[0]);
        assert_eq!(guards(&changed), 0, "{what}");
    }
}

#[test]
fn a_coded_form_that_makes_no_sense_is_refused() {
    let decode = |pairs: &[Range]| postcard::from_bytes::<Leftovers>(&postcard::to_allocvec(pairs).unwrap());
    for pairs in [
        &[(1, 0)][..],
        &[(1, 0), (3, 0)],
        &[(1, 0), (4, 1)],
        &[(1, 0), (4, u32::MAX)],
        &[(1, 0), (4, 1), (2, 1), (0, 0)],
        &[(1, 0), (4, 1), (1, 2), (1, 0)],
        &[(1, 0), (4, 1), (1, 2), (u32::MAX, 0)],
        &[(1, 0), (4, 1), (1, 2), (1, 0), (3, 0)],
        &[(1, 0), (4, 2), (1, 2), (0, 0), (2, 3), (0, 0)],
        &[(1, 0), (4, 0), (2, 3)],
        &[(1, 2); MAX_UNREAD_RANGES + 1],
        &[(1, 2); MAX_LEFTOVER_PAIRS + 1],
    ] {
        assert!(decode(pairs).is_err(), "{pairs:?}");
    }
    // A length that nothing follows.
    assert!(postcard::from_bytes::<Leftovers>(&[0xff, 0xff, 0xff, 0xff, 0x0f]).is_err());
    assert_eq!(decode(&[(1, 2)]).unwrap(), Leftovers::new(vec![(1, 2)], Vec::new()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// No run of any program reads a byte that is called unread for its block, and with zeros there it does the same.
    #[test]
    fn no_thread_reads_what_is_unread(
        program in program(),
        blocks in vec(vec(prop_oneof![6 => 0..4_u32, 1 => any::<u32>()], BLOCK_BYTES as usize / 4), 12),
        anything in vec(prop_oneof![0..3_u32, any::<u32>()], 1..6),
    ) {
        let found = leftovers(&program);
        for words in blocks {
            let block: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            let mut cleared = block.clone();
            found.clear(&mut cleared);
            let mut thread = Thread::new(&block, &anything);
            thread.run(&program);
            for (at, read) in thread.read.iter().enumerate() {
                prop_assert!(!read || block[at] == cleared[at], "byte {} of {:?} is read: {:?}", at, words, found);
            }
            let mut other = Thread::new(&cleared, &anything);
            other.run(&program);
            prop_assert_eq!((other.registers, other.read), (thread.registers, thread.read));
        }
    }

    /// What a client is told is what was said, and bytes of any kind are safe.
    #[test]
    fn leftovers_survive_their_coding(program in program(), damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let found = leftovers(&program);
        let mut bytes = postcard::to_allocvec(&found).unwrap();
        prop_assert_eq!(&postcard::from_bytes::<Leftovers>(&bytes).unwrap(), &found);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(other) = postcard::from_bytes::<Leftovers>(&bytes) {
            other.clear(&mut [1; 64]);
        }
    }
}
