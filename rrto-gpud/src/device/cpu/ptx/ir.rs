//! What a module is once it is understood: instructions with registers as indexes, labels as instruction
//! numbers and arithmetic as function pointers.
//!
//! All functions of a module share one array of instructions, so an instruction number says which function it
//! is in.

use crate::device::cpu::alu::atomic::FnAtomic;
use crate::device::cpu::alu::compare::Combine;
use crate::device::cpu::alu::{Fn1, Fn2, Fn3, FnCompare, Mode};

/// A register of a frame, by number. Predicates are numbered apart.
pub(crate) type Reg = u32;
/// The number of an instruction in its module.
pub(crate) type Pc = u32;

/// A source operand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Src {
    Reg(Reg),
    Imm(u64),
    Special(Special),
    /// The address of a local variable: its offset in the function's frame.
    Local(u32),
    /// The address at which dynamic shared memory begins, plus an offset.
    DynamicShared(u32),
}

/// A predicate as a source, perhaps negated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum PredSrc {
    Reg { index: Reg, negated: bool },
    Const(bool),
}

/// A register that a program can only read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Special {
    Tid(u8),
    Ntid(u8),
    Ctaid(u8),
    Nctaid(u8),
    Lane,
    Warp,
    Warps,
    Sm,
    Sms,
    Grid,
    /// Lanes at, below, at or below, above, at or above this one.
    MaskEq,
    MaskLt,
    MaskLe,
    MaskGt,
    MaskGe,
    Clock,
    ClockHigh,
    Clock64,
    GlobalTimer,
    GlobalTimerHigh,
    DynamicSharedSize,
    TotalSharedSize,
    /// The halves of the address of a cooperative launch's workspace (`%envreg1` and `%envreg2`).
    WorkspaceHigh,
    WorkspaceLow,
}

/// Where a memory instruction looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Space {
    Generic,
    /// Global and constant memory: device addresses.
    Global,
    Shared,
    Local,
    /// A variable of the frame, by its offset: local variables and the parameters of functions.
    Frame,
    /// The kernel's parameters.
    Param,
}

/// The order that a memory instruction asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ordered {
    pub acquire: bool,
    pub release: bool,
}

/// The address of a memory instruction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Address {
    pub space: Space,
    pub base: Src,
    pub offset: i64,
    /// The base register has 32 bits, so the sum wraps there.
    pub narrow: bool,
}

/// An instruction and its guard.
#[derive(Debug)]
pub(crate) struct Inst {
    pub guard: PredSrc,
    pub op: Op,
}

/// What an instruction does.
#[derive(Debug)]
pub(crate) enum Op {
    Map1 {
        f: Fn1,
        mode: Mode,
        d: Reg,
        a: Src,
    },
    Map2 {
        f: Fn2,
        mode: Mode,
        d: Reg,
        a: Src,
        b: Src,
    },
    Map3 {
        f: Fn3,
        mode: Mode,
        d: Reg,
        a: Src,
        b: Src,
        c: Src,
    },
    Move {
        d: Reg,
        a: Src,
    },
    Lop3 {
        d: Reg,
        a: Src,
        b: Src,
        c: Src,
        table: u8,
    },
    Bfi {
        d: Reg,
        sources: Box<[Src; 4]>,
        bits: u32,
    },
    Carry(Box<Carry>),
    SetP(Box<SetP>),
    Set(Box<Set>),
    /// `slct`: a where c is not negative.
    Slct {
        d: Reg,
        a: Src,
        b: Src,
        c: Src,
        float: bool,
    },
    Select {
        d: Reg,
        a: Src,
        b: Src,
        p: PredSrc,
    },
    PredLogic {
        combine: Combine,
        d: Reg,
        a: PredSrc,
        b: PredSrc,
    },
    PredMove {
        d: Reg,
        a: PredSrc,
    },
    /// A predicate from a register: set where it is not zero.
    TestProperty {
        d: Reg,
        a: Src,
        double: bool,
        property: crate::device::cpu::alu::float::Property,
    },
    /// Registers from the parts of one value, lowest first. `None` is a sink.
    Unpack {
        parts: Box<[Option<Reg>]>,
        bits: u32,
        a: Src,
    },
    /// One value from parts, lowest first.
    Pack {
        d: Reg,
        parts: Box<[Src]>,
        bits: u32,
    },
    Load(Box<Load>),
    Store(Box<Store>),
    Atomic(Box<Atomic>),
    /// A synchronous `cp.async`: `copied` bytes, then zeros up to `size`.
    CopyAsync {
        to: Box<Address>,
        from: Box<Address>,
        size: u32,
        copied: Option<Src>,
    },
    IsSpace {
        d: Reg,
        a: Src,
        space: Space,
    },
    Branch {
        target: Pc,
    },
    BranchIndexed {
        index: Src,
        targets: Box<[Pc]>,
    },
    Call(Box<Call>),
    /// `__assertfail`: message, file, line and function, as offsets of parameters in the caller's frame.
    Assert {
        arguments: Box<[u32]>,
    },
    Return,
    Exit,
    Trap,
    Barrier(Box<Barrier>),
    Warp(Box<Warp>),
    ActiveMask {
        d: Reg,
    },
    Fence,
    /// Lets other warps run first.
    Yield,
}

/// Addition and subtraction with a carry, and the `mad` that goes with them.
#[derive(Debug)]
pub(crate) struct Carry {
    pub kind: CarryKind,
    pub signed: bool,
    pub bits: u32,
    pub carry_in: bool,
    pub carry_out: bool,
    pub d: Reg,
    pub a: Src,
    pub b: Src,
    pub c: Src,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CarryKind {
    Add,
    Sub,
    MadLow,
    MadHigh,
}

/// `setp`.
#[derive(Debug)]
pub(crate) struct SetP {
    pub f: FnCompare,
    pub mode: Mode,
    pub a: Src,
    pub b: Src,
    pub combine: Option<(Combine, PredSrc)>,
    pub d: Option<Reg>,
    /// Takes the negated comparison.
    pub q: Option<Reg>,
    /// Half-precision pairs: `d` is the low half's result and `q` the high half's.
    pub paired: bool,
}

/// `set`: a comparison as a value.
#[derive(Debug)]
pub(crate) struct Set {
    pub f: FnCompare,
    pub mode: Mode,
    pub a: Src,
    pub b: Src,
    pub combine: Option<(Combine, PredSrc)>,
    pub d: Reg,
    /// What true looks like (for a pair: in each half).
    pub yes: u64,
    pub paired: bool,
}

/// `ld`.
#[derive(Debug)]
pub(crate) struct Load {
    pub at: Address,
    /// Bytes in an element.
    pub size: u32,
    /// Sign-extend each element to this many bits.
    pub extend: Option<u32>,
    /// A register for each element; `None` is a sink.
    pub d: Box<[Option<Reg>]>,
    pub order: Ordered,
}

/// `st`.
#[derive(Debug)]
pub(crate) struct Store {
    pub at: Address,
    pub size: u32,
    pub values: Box<[Src]>,
    pub order: Ordered,
}

/// `atom` and `red`.
#[derive(Debug)]
pub(crate) struct Atomic {
    pub at: Address,
    pub size: u32,
    pub f: FnAtomic,
    pub d: Option<Reg>,
    pub b: Src,
    pub c: Src,
    pub order: Ordered,
}

/// `call`.
#[derive(Debug)]
pub(crate) struct Call {
    /// The callee, by its number in the module.
    pub function: usize,
    /// From the caller's frame to the callee's.
    pub arguments: Box<[FrameCopy]>,
    /// From the callee's frame to the caller's.
    pub results: Box<[FrameCopy]>,
}

/// Bytes that go from one frame to another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameCopy {
    pub from: u32,
    pub to: u32,
    pub bytes: u32,
}

/// `bar`, `barrier` and their reductions.
#[derive(Debug)]
pub(crate) struct Barrier {
    pub id: Src,
    /// Threads that take part; all of the block where absent.
    pub threads: Option<Src>,
    pub kind: BarrierKind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum BarrierKind {
    Sync,
    /// Counts, but does not wait.
    Arrive,
    Popc {
        d: Reg,
        p: PredSrc,
    },
    And {
        d: Reg,
        p: PredSrc,
    },
    Or {
        d: Reg,
        p: PredSrc,
    },
}

/// An instruction for which the lanes of a mask wait for each other.
#[derive(Debug)]
pub(crate) struct Warp {
    pub members: Src,
    pub kind: WarpKind,
}

#[derive(Debug)]
pub(crate) enum WarpKind {
    Sync,
    Shuffle { mode: ShuffleMode, d: Reg, p: Option<Reg>, a: Src, b: Src, c: Src },
    VoteAll { d: Reg, p: PredSrc },
    VoteAny { d: Reg, p: PredSrc },
    VoteUni { d: Reg, p: PredSrc },
    Ballot { d: Reg, p: PredSrc },
    MatchAny { d: Reg, a: Src },
    MatchAll { d: Reg, p: Option<Reg>, a: Src },
    Reduce { f: FnAtomic, d: Reg, a: Src },
    Elect { d: Option<Reg>, p: Reg },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShuffleMode {
    Up,
    Down,
    Butterfly,
    Index,
}

/// A kernel or a device function.
#[derive(Debug)]
pub(crate) struct Routine {
    pub name: String,
    pub entry: Pc,
    pub registers: u32,
    pub predicates: u32,
    /// Bytes of its frame: parameters, return values and local variables.
    pub frame_bytes: u32,
    /// The routines that it calls.
    pub calls: Vec<usize>,
}
