//! What PTX text says, before any of it has a meaning: names are still text, labels are still labels.

/// A module as written.
#[derive(Debug, Default)]
pub(crate) struct Ast<'a> {
    pub variables: Vec<Variable<'a>>,
    pub functions: Vec<Function<'a>>,
}

/// The state space that a variable is declared in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeclSpace {
    Global,
    Const,
    Shared,
    Local,
    Param,
}

/// The type of a value, as PTX names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    B8,
    B16,
    B32,
    B64,
    B128,
    U8,
    U16,
    U32,
    U64,
    S8,
    S16,
    S32,
    S64,
    F16,
    F16x2,
    Bf16,
    Bf16x2,
    Tf32,
    F32,
    F64,
    U16x2,
    S16x2,
    Pred,
}

/// Every type with its name and its width in bits.
const TYPES: &[(Type, &str, u32)] = &[
    (Type::B8, "b8", 8),
    (Type::B16, "b16", 16),
    (Type::B32, "b32", 32),
    (Type::B64, "b64", 64),
    (Type::B128, "b128", 128),
    (Type::U8, "u8", 8),
    (Type::U16, "u16", 16),
    (Type::U32, "u32", 32),
    (Type::U64, "u64", 64),
    (Type::S8, "s8", 8),
    (Type::S16, "s16", 16),
    (Type::S32, "s32", 32),
    (Type::S64, "s64", 64),
    (Type::F16, "f16", 16),
    (Type::F16x2, "f16x2", 32),
    (Type::Bf16, "bf16", 16),
    (Type::Bf16x2, "bf16x2", 32),
    (Type::Tf32, "tf32", 32),
    (Type::F32, "f32", 32),
    (Type::F64, "f64", 64),
    (Type::U16x2, "u16x2", 32),
    (Type::S16x2, "s16x2", 32),
    (Type::Pred, "pred", 1),
];

impl Type {
    /// The type that PTX calls `name` (without the dot).
    pub(crate) fn named(name: &str) -> Option<Self> {
        TYPES.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    /// The name without the dot.
    pub(crate) fn name(self) -> &'static str {
        TYPES.iter().find(|row| row.0 == self).map_or("?", |row| row.1)
    }

    /// Width in bits; 1 for a predicate.
    pub(crate) fn bits(self) -> u32 {
        TYPES.iter().find(|row| row.0 == self).map_or(0, |row| row.2)
    }

    /// Width in bytes in memory.
    pub(crate) fn bytes(self) -> u32 {
        self.bits() / 8
    }

    pub(crate) fn is_signed(self) -> bool {
        matches!(self, Type::S8 | Type::S16 | Type::S32 | Type::S64 | Type::S16x2)
    }

    pub(crate) fn is_float(self) -> bool {
        use Type::{Bf16, Bf16x2, F16, F16x2, F32, F64, Tf32};
        matches!(self, F16 | F16x2 | Bf16 | Bf16x2 | Tf32 | F32 | F64)
    }
}

/// A declared variable, parameter or return value.
#[derive(Debug)]
pub(crate) struct Variable<'a> {
    pub line: u32,
    pub name: &'a str,
    pub space: DeclSpace,
    /// Bytes; at least the element's natural alignment.
    pub align: u32,
    /// Whole size in bytes; 0 where the declaration gives none (`x[]`).
    pub bytes: u64,
    pub element: Type,
    pub external: bool,
    pub init: Vec<Init<'a>>,
}

/// One element of an initialiser.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Init<'a> {
    Int(u64),
    F32(u32),
    F64(u64),
    Decimal(f64),
    /// The address of a symbol plus an addend. `mask` selects one byte of it (PTX's `0xFF00(name)`).
    Address {
        symbol: &'a str,
        addend: i64,
        mask: Option<u64>,
    },
}

/// A kernel (`.entry`) or a device function (`.func`).
#[derive(Debug)]
pub(crate) struct Function<'a> {
    pub line: u32,
    pub name: &'a str,
    pub entry: bool,
    pub returns: Vec<Variable<'a>>,
    pub params: Vec<Variable<'a>>,
    /// `.maxntid` or `.reqntid`, multiplied out.
    pub max_threads: Option<u32>,
    /// `None` for a declaration without a body.
    pub body: Option<Vec<Statement<'a>>>,
}

/// A line of a function's body.
#[derive(Debug)]
pub(crate) enum Statement<'a> {
    Block(Vec<Statement<'a>>),
    Label(&'a str),
    Registers {
        line: u32,
        ty: Type,
        names: Vec<(&'a str, Option<u32>)>,
    },
    Variable(Variable<'a>),
    /// `name: .branchtargets a, b, c;`
    BranchTargets {
        line: u32,
        name: &'a str,
        targets: Vec<&'a str>,
    },
    Instruction(Instruction<'a>),
}

/// An instruction as written.
#[derive(Debug)]
pub(crate) struct Instruction<'a> {
    pub line: u32,
    /// The guard predicate and whether it is negated.
    pub guard: Option<(&'a str, bool)>,
    /// The opcode with all its modifiers, as written.
    pub text: &'a str,
    /// The opcode alone.
    pub opcode: &'a str,
    pub modifiers: Vec<&'a str>,
    pub operands: Vec<Operand<'a>>,
}

/// An operand as written.
#[derive(Clone, Debug)]
pub(crate) enum Operand<'a> {
    /// A register, symbol or label, and what is added to it.
    Name(&'a str, i64),
    /// `!name`.
    Not(&'a str),
    /// `%tid.x`.
    Member(&'a str, &'a str),
    Int(u64),
    F32(u32),
    F64(u64),
    Decimal(f64),
    /// `[base + offset]`; an absolute address has no base.
    Address {
        base: Option<&'a str>,
        offset: i64,
    },
    /// `{a, b}`
    Vector(Vec<Operand<'a>>),
    /// `(a, b)`
    Group(Vec<Operand<'a>>),
    /// `a|b`
    Pair(&'a str, &'a str),
}
