//! What a machine instruction does beside reading constants: where its thread goes on, what it writes, and what it
//! decides. Only what [`super::worlds`] follows is told apart; everything else is one of the kinds that lose track.
//!
//! Beside the fields that [`sass`](super::super::sass) names, by bit:
//!
//! | bits | meaning |
//! |---|---|
//! | 0..9 | operation; 9..12 say what kind of operands it has |
//! | 12..16 | predicate under which it is executed: number, 7 for always, and negation. Uniform for ULDC |
//! | 16..24 | register written (uniform ones have 6 bits); BSSY, BSYNC: the barrier; BRA for sm_90: the target's lower bits |
//! | 24..32 | first operand: register |
//! | 32..64 | second operand: register, uniform register or number; constants as for reading |
//! | 34..82 | BRA, BSSY: the target from the next instruction on, in words |
//! | 64..72 | third operand: register |
//! | 72 73 74..76 76..79 | ISETP: extended, signed, the logic (and, or, xor), the comparison |
//! | 81..84 84..87 | predicates written |
//! | 87..91 | predicate read: number and negation |
//!
//! A kind that is not in the tables has to be taken for one that writes everything; where threads go on is known for
//! every instruction, or nothing of the kernel is ([`Flow::Lost`]).

use super::super::sass::field;

/// Predicate that is always true, uniform or not.
pub(super) const ALWAYS: u32 = 7;

/// Register that is always zero, and the uniform one.
const ZERO: u32 = 255;
const UNIFORM_ZERO: u32 = 63;

/// A place that holds something for a thread: a register, a uniform register or a barrier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(u16);

impl Place {
    /// How many there are.
    pub(super) const COUNT: usize = Self::BARRIERS + 16;
    /// How many are not barriers, which come last.
    pub(super) const BARRIERS: usize = 256 + 64;

    fn register(number: u32) -> Self {
        Place(number as u16 & 255)
    }

    fn uniform(number: u32) -> Self {
        Place(256 + (number as u16 & 63))
    }

    fn barrier(number: u32) -> Self {
        Place(256 + 64 + (number as u16 & 15))
    }

    /// Its number among all of them.
    pub(super) fn index(self) -> usize {
        self.0.into()
    }

    /// The one after it, for what fills several.
    pub(super) fn after(self, places: u16) -> Self {
        Place(self.0.saturating_add(places))
    }

    /// Whether it is always zero.
    pub(super) fn is_zero(self) -> bool {
        self == Self::register(ZERO) || self == Self::uniform(UNIFORM_ZERO)
    }
}

/// A predicate as an operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Predicate {
    /// Below 8 a thread's, from 8 on uniform.
    pub(super) number: u32,
    /// Whether it is read as its opposite.
    pub(super) negated: bool,
}

impl Predicate {
    /// The one whose number and negation are at these bits.
    fn of(instruction: u128, at: u32, uniform: bool) -> Self {
        let number = field(instruction, at, 3) + if uniform { UNIFORM } else { 0 };
        Predicate { number, negated: field(instruction, at + 3, 1) == 1 }
    }
}

/// What is added to a uniform predicate's number.
const UNIFORM: u32 = 8;

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// What a place holds.
    Place(Place),
    /// A number.
    Number(u32),
    /// Bytes of constant bank 0, a number without a sign: 1, 2 or 4.
    Constant { at: u32, bytes: u32 },
    /// Something else.
    Unknown,
}

/// Where a thread goes on that executes the instruction. One that does not, goes on with the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// With the next instruction.
    Next,
    /// Nowhere, if this predicate holds too; otherwise with the next.
    Exit { and: Predicate },
    /// At so many bytes from the next instruction, if this predicate holds too; otherwise with the next.
    Branch { by: i64, and: Predicate },
    /// There or with the next, nobody knows.
    Fork { by: i64 },
    /// With the next; the threads of a barrier meet at so many bytes from there.
    Meet { barrier: Place, by: i64 },
    /// Where the threads of a barrier meet, or with the next.
    Sync { barrier: Place },
    /// With the next, and after code elsewhere that has written anything at so many bytes from there.
    Call { by: i64 },
    /// Nobody knows.
    Lost,
}

/// How a comparison combines with a predicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Logic {
    /// Both.
    And,
    /// Either.
    Or,
}

/// A comparison of two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Comparison {
    /// For which orders it holds: bit 0 less, bit 1 equal, bit 2 greater.
    pub(super) holds: u32,
    /// Whether the numbers have signs.
    pub(super) signed: bool,
    /// What is compared.
    pub(super) left: Source,
    /// With what.
    pub(super) right: Source,
    /// How the predicate read takes part in the results.
    pub(super) logic: Logic,
    /// The predicate read.
    pub(super) with: Predicate,
    /// The predicates written, uniform or not as for reading: the result, and that of the opposite comparison.
    pub(super) to: [u32; 2],
}

/// What an instruction writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writes {
    /// Nothing that is followed.
    Nothing,
    /// A value, and nothing else.
    Value { to: Place, from: Source },
    /// Words of constant bank 0 from `at` on, and nothing else.
    Constants { to: Place, words: u16, at: u32 },
    /// Nobody knows what, into so many places from here on and into these predicates, uniform or not.
    Something { to: Place, words: u16, predicates: [u32; 2] },
    /// Predicates.
    Compared(Comparison),
    /// A predicate, by a truth table with a bit for each combination of three, the first the most significant; and
    /// another, nobody knows what.
    Table { table: u32, of: [Predicate; 3], to: [u32; 2] },
    /// Anything, but for barriers.
    Everything,
    /// Anything.
    Barriers,
}

/// What an operation writes.
#[derive(Clone, Copy)]
enum Kind {
    /// So many registers, and no predicate.
    Registers(u16),
    /// So many registers, and a predicate.
    First(u16),
    /// So many registers, and two predicates.
    Both(u16),
    /// Predicates.
    Predicates,
    Compare,
    Table,
    Move,
    /// Multiplication and addition. Of zero and something, it is a move.
    MultiplyAdd,
    Load,
    ToUniform,
    Nothing,
    Everything,
    Barriers,
}

/// The most registers that one of the operations here writes.
const MANY: u16 = 4;

/// By operation. What is missing writes everything.
#[rustfmt::skip]
const KINDS: [(Kind, &[u16]); 19] = [
    (Kind::Move, &[0x002, 0x082]),
    (Kind::MultiplyAdd, &[0x024]),
    (Kind::Load, &[0x182, 0x0b9]),
    (Kind::Compare, &[0x00c, 0x08c]),
    (Kind::Table, &[0x01c]),
    // FSETP DSETP HSETP2 FCHK UPLOP3
    (Kind::Predicates, &[0x00b, 0x02a, 0x034, 0x102, 0x09c]),
    // P2R SEL FSEL FMNMX FSET IABS PRMT SHF FMUL FADD FFMA HADD2 HFMA2 HMUL2 HFMA2.MMA VIADD F2FP I2FP POPC S2R
    (Kind::Registers(1), &[0x003, 0x007, 0x008, 0x009, 0x00a, 0x013, 0x016, 0x019, 0x020, 0x021, 0x023, 0x030, 0x031,
        0x032, 0x035, 0x036, 0x03e, 0x045, 0x109, 0x119]),
    // CS2R DMUL DADD DFMA, and conversions and MUFU, which may be of doubles
    (Kind::Registers(2), &[0x005, 0x028, 0x029, 0x02b, 0x104, 0x105, 0x106, 0x107, 0x108, 0x110, 0x111, 0x112, 0x113]),
    // LDSM HMMA LDL LDS
    (Kind::Registers(MANY), &[0x03b, 0x03c, 0x183, 0x184]),
    // USEL UPRMT USHF
    (Kind::Registers(1), &[0x087, 0x096, 0x099]),
    // VOTE LEA LOP3 IMAD.HI FLO SHFL
    (Kind::First(1), &[0x006, 0x011, 0x012, 0x027, 0x100, 0x189]),
    // IMAD.WIDE UIMAD.WIDE
    (Kind::First(2), &[0x025, 0x0a5]),
    // LD LDG ATOM ATOMG ATOMS
    (Kind::First(MANY), &[0x180, 0x181, 0x18a, 0x18c, 0x1a8]),
    // ULEA ULOP3 UIMAD
    (Kind::First(1), &[0x091, 0x092, 0x0a4]),
    // IADD3 VIADDMNMX VIMNMX UIADD3
    (Kind::Both(1), &[0x010, 0x046, 0x048, 0x090]),
    // R2UR S2UR
    (Kind::ToUniform, &[0x0ca, 0x1c3]),
    // PREEXIT ACQBULK NOP DEPBAR BAR ST STG STL STS RED MEMBAR ERRBAR LDGSTS LDGDEPBAR CCTL
    (Kind::Nothing, &[0x02d, 0x02e, 0x118, 0x11a, 0x11d, 0x185, 0x186, 0x187, 0x188, 0x18e, 0x192, 0x1ab, 0x1ae,
        0x1af, 0x18f]),
    // BMOV, CALL
    (Kind::Barriers, &[0x155, 0x156, 0x143]),
    // YIELD WARPSYNC BREAK NANOSLEEP EXIT BRA BSSY BSYNC, which `flow` looks at
    (Kind::Nothing, &[0x146, 0x148, 0x142, 0x15d, 0x14d, 0x147, 0x145, 0x141]),
];

/// Operations that move control, or might.
const CONTROL: std::ops::Range<u16> = 0x140..0x160;

/// Operations on uniform registers.
const UNIFORM_OPERATIONS: std::ops::Range<u16> = 0x080..0x0c0;

/// Those of them whose predicate is known to be a uniform one: UMOV USEL UISETP UIADD3 ULOP3 USHF ULDC.
const UNIFORM_PREDICATE: [u16; 7] = [0x082, 0x087, 0x08c, 0x090, 0x092, 0x099, 0x0b9];

/// By operation.
static KIND_OF: [Kind; 1 << 9] = {
    let mut kinds = [Kind::Everything; 1 << 9];
    let mut row = 0;
    while row < KINDS.len() {
        set(&mut kinds, KINDS[row].1, KINDS[row].0);
        row += 1;
    }
    kinds
};

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler, which refuses what is out of bounds")]
const fn set(kinds: &mut [Kind; 1 << 9], operations: &[u16], kind: Kind) {
    let mut at = 0;
    while at < operations.len() {
        kinds[operations[at] as usize] = kind;
        at += 1;
    }
}

/// How far BRA's target is given: what differs between architectures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Distance {
    /// In bits 34..82.
    Short,
    /// With eight lower bits in 16..24.
    Long,
}

/// What an instruction does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Effect {
    /// When; nothing if that is not known.
    pub(super) when: Option<Predicate>,
    /// Where its thread goes on.
    pub(super) flow: Flow,
    /// What it writes.
    pub(super) writes: Writes,
}

impl Effect {
    /// That of `instruction`.
    pub(super) fn of(instruction: u128, distance: Distance) -> Self {
        let operation = field(instruction, 0, 9) as u16;
        let kind = KIND_OF.get(usize::from(operation)).copied().unwrap_or(Kind::Everything);
        let uniform = UNIFORM_PREDICATE.contains(&operation);
        let when = Predicate::of(instruction, 12, uniform);
        // Of what is in no table it may be a uniform one, as that of SYNCS is. S2UR's was not seen.
        let is_in_table = !matches!(kind, Kind::Everything) || CONTROL.contains(&operation);
        let is_known =
            uniform || (is_in_table && !UNIFORM_OPERATIONS.contains(&operation) && operation != 0x1c3);
        Effect {
            when: (is_known || when.number % UNIFORM == ALWAYS).then_some(when),
            flow: flow(instruction, distance),
            writes: writes(instruction, kind, UNIFORM_OPERATIONS.contains(&operation)),
        }
    }
}

/// Where the thread goes on.
fn flow(instruction: u128, distance: Distance) -> Flow {
    // 48 bits with a sign.
    let words = ((instruction >> 34) as i64) << 16 >> 16;
    let and = Predicate::of(instruction, 87, false);
    let barrier = Place::barrier(field(instruction, 16, 4));
    match field(instruction, 0, 12) {
        0x947 => {
            let by = match distance {
                Distance::Short => words * 4,
                Distance::Long => (words << 8 | i64::from(field(instruction, 16, 8))) * 4,
            };
            // Any other bit chooses another manner of going there.
            let is_plain = [(24, 34), (82, 87), (91, 105)].iter().all(|&bits| is_zero(instruction, bits));
            if is_plain { Flow::Branch { by, and } } else { Flow::Fork { by } }
        }
        0x94d if is_zero(instruction, (16, 87)) && is_zero(instruction, (91, 105)) => Flow::Exit { and },
        0x945 => Flow::Meet { barrier, by: words * 4 },
        0x941 => Flow::Sync { barrier },
        // LEPC: the address is one that a call returns to. It was seen for the call that follows only.
        0x94e if field(instruction, 24, 8) == 16 && is_zero(instruction, (32, 87)) => Flow::Call { by: 16 },
        // CALL.ABS: what the driver has, such as the end of a failed assertion. It returns to here or as LEPC says.
        0x343 => Flow::Call { by: 0 },
        // BREAK, YIELD, NANOSLEEP, BMOV
        0x942 | 0x946 | 0x95d | 0x355 | 0x356 | 0x956 => Flow::Next,
        // WARPSYNC, but for the manner that names an address.
        0x348 | 0x948 if is_zero(instruction, (80, 87)) && is_zero(instruction, (91, 105)) => Flow::Next,
        // ENDCOLLECTIVE
        0x91b => Flow::Lost,
        other if CONTROL.contains(&(other as u16 & 0x1ff)) => Flow::Lost,
        _ => Flow::Next,
    }
}

/// Whether the bits from one to before another are zero.
fn is_zero(instruction: u128, (from, to): (u32, u32)) -> bool {
    instruction << (u128::BITS - to) >> (u128::BITS - to) >> from == 0
}

/// What it writes.
fn writes(instruction: u128, kind: Kind, uniform: bool) -> Writes {
    let to = if uniform { Place::uniform } else { Place::register }(field(instruction, 16, 8));
    let offset = if uniform { UNIFORM } else { 0 };
    let predicates = [81, 84].map(|at| field(instruction, at, 3) + offset);
    let [first, _] = predicates;
    let something = |words, predicates| Writes::Something { to, words, predicates };
    match kind {
        Kind::Nothing => Writes::Nothing,
        Kind::Everything => Writes::Everything,
        Kind::Barriers => Writes::Barriers,
        Kind::Registers(words) => something(words, [ALWAYS; 2]),
        Kind::First(words) => something(words, [first, ALWAYS]),
        Kind::Both(words) => something(words, predicates),
        Kind::Predicates => something(0, predicates),
        Kind::Table => table(instruction, predicates),
        Kind::Compare => compare(instruction, uniform, predicates),
        // Its bytes are written by bits 72..76.
        Kind::Move if uniform || field(instruction, 72, 4) == 0xf => {
            Writes::Value { to, from: second(instruction, uniform) }
        }
        Kind::Move => something(1, [ALWAYS; 2]),
        Kind::MultiplyAdd => match addend(instruction) {
            Some(from) => Writes::Value { to, from },
            None => something(1, [first, ALWAYS]),
        },
        Kind::ToUniform => {
            let to = Place::uniform(field(instruction, 16, 6));
            Writes::Something { to, words: 1, predicates: [first, first + UNIFORM] }
        }
        Kind::Load => load(instruction, to, uniform),
    }
}

/// The second operand. Of uniform operations, registers are uniform.
fn second(instruction: u128, uniform: bool) -> Source {
    match field(instruction, 9, 3) {
        1 if !uniform => register(instruction),
        1 | 6 => uniform_register(instruction),
        4 => Source::Number(field(instruction, 32, 32)),
        5 => constant(instruction, 4),
        _ => Source::Unknown,
    }
}

/// A register as the second operand. The bits after its number change its sign, or take a part of it.
fn register(instruction: u128) -> Source {
    let is_plain = is_zero(instruction, (40, 64));
    if is_plain { Source::Place(Place::register(field(instruction, 32, 8))) } else { Source::Unknown }
}

/// The same of a uniform one.
fn uniform_register(instruction: u128) -> Source {
    let is_plain = is_zero(instruction, (38, 64));
    if is_plain { Source::Place(Place::uniform(field(instruction, 32, 6))) } else { Source::Unknown }
}

/// A constant operand of so many bytes. The bits after its bank change its sign.
fn constant(instruction: u128, bytes: u32) -> Source {
    let is_parameter = is_zero(instruction, (54, 64)) && field(instruction, 91, 1) == 0;
    let at = field(instruction, 38, 16);
    if is_parameter { Source::Constant { at, bytes } } else { Source::Unknown }
}

/// Of IMAD, what is added if the factors' product is zero and nothing else is done to it.
fn addend(instruction: u128) -> Option<Source> {
    let form = field(instruction, 9, 3);
    let first = field(instruction, 24, 8);
    // Bit 73 is the sign, which matters for a longer product only; no predicate is written or read.
    let is_plain = is_zero(instruction, (72, 73)) && is_zero(instruction, (74, 80));
    let (factor, from) = match form {
        1 => (field(instruction, 32, 8), Source::Place(Place::register(field(instruction, 64, 8)))),
        3 => (field(instruction, 64, 8), constant(instruction, 4)),
        7 => (field(instruction, 64, 8), uniform_register(instruction)),
        _ => return None,
    };
    let no_predicates = field(instruction, 80, 11) == 0x78e;
    (is_plain && no_predicates && first == ZERO && factor == ZERO).then_some(from)
}

/// LDC and ULDC.
fn load(instruction: u128, to: Place, uniform: bool) -> Writes {
    let is_indexed = field(instruction, 24, 8) != if uniform { 0 } else { ZERO };
    if is_indexed || field(instruction, 78, 2) != 0 {
        return Writes::Something { to, words: MANY, predicates: [ALWAYS; 2] };
    }
    let at = |bytes| constant(instruction, bytes);
    match (field(instruction, 73, 3), constant(instruction, 4)) {
        (0, _) => Writes::Value { to, from: at(1) },
        (2, _) => Writes::Value { to, from: at(2) },
        (4, _) => Writes::Value { to, from: at(4) },
        (5, Source::Constant { at, .. }) => Writes::Constants { to, words: 2, at },
        (6, Source::Constant { at, .. }) => Writes::Constants { to, words: MANY, at },
        _ => Writes::Something { to, words: MANY, predicates: [ALWAYS; 2] },
    }
}

/// ISETP and UISETP.
fn compare(instruction: u128, uniform: bool, to: [u32; 2]) -> Writes {
    let left = if uniform { Place::uniform } else { Place::register }(field(instruction, 24, 8));
    let logic = match field(instruction, 74, 2) {
        0 => Logic::And,
        1 => Logic::Or,
        _ => return Writes::Something { to: left, words: 0, predicates: to },
    };
    // Bit 72: a part of a longer comparison.
    if field(instruction, 72, 1) == 1 {
        return Writes::Something { to: left, words: 0, predicates: to };
    }
    Writes::Compared(Comparison {
        holds: field(instruction, 76, 3),
        signed: field(instruction, 73, 1) == 1,
        left: Source::Place(left),
        right: second(instruction, uniform),
        logic,
        with: Predicate::of(instruction, 87, uniform),
        to,
    })
}

/// PLOP3.
fn table(instruction: u128, to: [u32; 2]) -> Writes {
    // Bit 67: the last operand is a uniform predicate.
    let last = Predicate::of(instruction, 68, field(instruction, 67, 1) == 1);
    let of = [Predicate::of(instruction, 87, false), Predicate::of(instruction, 77, false), last];
    Writes::Table { table: field(instruction, 72, 5) << 3 | field(instruction, 64, 3), of, to }
}
