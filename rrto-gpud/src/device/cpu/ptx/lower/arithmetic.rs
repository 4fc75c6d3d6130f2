//! Arithmetic, logic, bit fields, comparisons and selections.

use super::super::ast::{Instruction, Operand, Type};
use super::super::ir::{Carry, CarryKind, Op, PredSrc, Set, SetP, Src};
use super::modifiers::Modifiers;
use super::{Lowering, Result};
use crate::device::cpu::alu::compare::{self, Combine};
use crate::device::cpu::alu::float::Property;
use crate::device::cpu::alu::{Mode, Rounding, integer, table};

/// The half of a product that an integer `mul` or `mad` keeps.
fn half(m: &mut Modifiers<'_>) -> Option<&'static str> {
    m.take_any(&["lo", "hi", "wide"]).map(|h| match h {
        "lo" => "lo",
        "hi" => "hi",
        _ => "wide",
    })
}

/// Refuses modes that an instruction has not: integers round nothing and only 32-bit signed sums saturate,
/// f64 neither saturates nor flushes, and half precision rounds to nearest.
fn check_mode(l: &Lowering<'_, '_>, m: &Modifiers<'_>, ty: Type, mode: Mode, opcode: &str) -> Result<()> {
    let rounds =
        ty.is_float() && matches!(opcode, "add" | "sub" | "mul" | "div" | "fma" | "mad" | "sqrt" | "rcp");
    let any_direction = matches!(ty, Type::F32 | Type::F64) && mode.rounding != Rounding::Away;
    let bad_rounding = match m.rounded() {
        Some(integral) => integral || !rounds || !(any_direction || mode.rounding == Rounding::Nearest),
        None => false,
    };
    let saturates = ty.is_float() || ty == Type::S32 && matches!(opcode, "add" | "sub" | "mad");
    if bad_rounding || (mode.sat && !saturates) || (mode.ftz && !ty.is_float()) {
        return Err(m.unsupported());
    }
    if ty == Type::F64 && (mode.sat || (mode.ftz && !matches!(opcode, "rcp" | "rsqrt"))) {
        return Err(l.error(format!("`{}` has a modifier that f64 has not", m.text)));
    }
    Ok(())
}

pub(super) fn unary<'a>(l: &mut Lowering<'_, 'a>, i: &'a Instruction<'a>) -> Result<()> {
    let mut m = Modifiers::of(i);
    let approx = m.take("approx");
    let mode = m.mode();
    if i.opcode == "not" && m.take("pred") {
        m.finish()?;
        l.count(i, 2)?;
        let (d, a) = (l.pred_reg(&i.operands[0])?, l.pred(&i.operands[1])?);
        let flipped = match a {
            PredSrc::Reg { index, negated } => PredSrc::Reg { index, negated: !negated },
            PredSrc::Const(value) => PredSrc::Const(!value),
        };
        return l.emit(Op::PredMove { d, a: flipped });
    }
    let ty = m.ty()?;
    check_mode(l, &m, ty, mode, i.opcode)?;
    let f = if ty.is_float() {
        // `.ftz` names a coarser instruction only for f64, where it is no mode.
        let coarse = ty == Type::F64 && mode.ftz;
        let name = format!(
            "{}{}{}",
            i.opcode,
            if approx { ".approx" } else { "" },
            if coarse { ".ftz" } else { "" }
        );
        table::unary(&name, ty)
    } else {
        integer::unary(i.opcode, ty)
    };
    let Some(f) = f else { return Err(m.unsupported()) };
    m.finish()?;
    l.count(i, 2)?;
    let bits = if matches!(i.opcode, "popc" | "clz") { 32 } else { ty.bits() };
    let (d, a) = (l.dst(&i.operands[0], bits)?, l.src(&i.operands[1], ty)?);
    l.emit(Op::Map1 { f, mode, d, a })
}

pub(super) fn binary<'a>(l: &mut Lowering<'_, 'a>, i: &'a Instruction<'a>) -> Result<()> {
    let mut m = Modifiers::of(i);
    if m.take("cc") {
        return carry(l, i);
    }
    let half = half(&mut m);
    // Division's `.approx` and `.full` allow an error; the exact quotient has none.
    let loose = i.opcode == "div" && (m.take("approx") || m.take("full"));
    let nan = m.take("NaN");
    let mode = m.mode();
    let ty = m.ty()?;
    check_mode(l, &m, ty, mode, i.opcode)?;
    let name = match (half, nan) {
        (Some(half), _) => format!("{}.{half}", i.opcode),
        (None, true) => format!("{}.NaN", i.opcode),
        (None, false) if mode.sat && !ty.is_float() => format!("{}.sat", i.opcode),
        _ => i.opcode.to_owned(),
    };
    let f = match ty {
        Type::U16x2 | Type::S16x2 => integer::packed(&name, ty),
        _ if ty.is_float() => table::binary(&name, ty),
        _ if loose || nan => None,
        _ => integer::binary(&name, ty),
    };
    let Some(f) = f else { return Err(m.unsupported()) };
    m.finish()?;
    l.count(i, 3)?;
    let bits = if half == Some("wide") { ty.bits() * 2 } else { ty.bits() };
    let d = l.dst(&i.operands[0], bits)?;
    let (a, b) = (l.src(&i.operands[1], ty)?, l.src(&i.operands[2], ty)?);
    l.emit(Op::Map2 { f, mode, d, a, b })
}

pub(super) fn ternary<'a>(l: &mut Lowering<'_, 'a>, i: &'a Instruction<'a>) -> Result<()> {
    let mut m = Modifiers::of(i);
    if m.take("cc") {
        return carry(l, i);
    }
    let half = half(&mut m);
    let relu = m.take("relu");
    let mode = m.mode();
    let ty = m.ty()?;
    check_mode(l, &m, ty, mode, i.opcode)?;
    let name = match half {
        Some(half) if mode.sat => format!("{}.{half}.sat", i.opcode),
        Some(half) => format!("{}.{half}", i.opcode),
        None if relu => format!("{}.relu", i.opcode),
        None => i.opcode.to_owned(),
    };
    let f = if ty.is_float() { table::ternary(&name, ty) } else { integer::ternary(&name, ty) };
    let Some(f) = f else { return Err(m.unsupported()) };
    m.finish()?;
    l.count(i, 4)?;
    let wide = half == Some("wide");
    let bits = if wide { ty.bits() * 2 } else { ty.bits() };
    let d = l.dst(&i.operands[0], bits)?;
    let (a, b) = (l.src(&i.operands[1], ty)?, l.src(&i.operands[2], ty)?);
    let c = l.src(&i.operands[3], if wide { twice(ty) } else { ty })?;
    l.emit(Op::Map3 { f, mode, d, a, b, c })
}

fn twice(ty: Type) -> Type {
    match ty {
        Type::U16 => Type::U32,
        Type::S16 => Type::S32,
        Type::U32 => Type::U64,
        _ => Type::S64,
    }
}

/// `add.cc`, `addc`, `madc.hi.cc` and their like.
pub(super) fn carry<'a>(l: &mut Lowering<'_, 'a>, i: &'a Instruction<'a>) -> Result<()> {
    let mut m = Modifiers::of(i);
    let carry_out = m.take("cc");
    let half = half(&mut m);
    let ty = m.ty()?;
    let kind = match (i.opcode, half) {
        ("add" | "addc", None) => CarryKind::Add,
        ("sub" | "subc", None) => CarryKind::Sub,
        ("mad" | "madc", Some("lo")) => CarryKind::MadLow,
        ("mad" | "madc", Some("hi")) => CarryKind::MadHigh,
        _ => return Err(m.unsupported()),
    };
    if ty.is_float() || ty.bits() < 32 {
        return Err(m.unsupported());
    }
    m.finish()?;
    let mad = matches!(kind, CarryKind::MadLow | CarryKind::MadHigh);
    l.count(i, if mad { 4 } else { 3 })?;
    let d = l.dst(&i.operands[0], ty.bits())?;
    let (a, b) = (l.src(&i.operands[1], ty)?, l.src(&i.operands[2], ty)?);
    let c = if mad { l.src(&i.operands[3], ty)? } else { Src::Imm(0) };
    let carry_in = i.opcode.ends_with('c');
    l.emit(Op::Carry(Box::new(Carry {
        kind,
        signed: ty.is_signed(),
        bits: ty.bits(),
        carry_in,
        carry_out,
        d,
        a,
        b,
        c,
    })))
}

/// `and`, `or` and `xor`, on values and on predicates.
pub(super) fn logic<'a>(l: &mut Lowering<'_, 'a>, i: &'a Instruction<'a>) -> Result<()> {
    let mut m = Modifiers::of(i);
    if !m.take("pred") {
        return binary(l, i);
    }
    m.finish()?;
    l.count(i, 3)?;
    let combine = Combine::named(i.opcode).unwrap_or(Combine::And);
    let d = l.pred_reg(&i.operands[0])?;
    let (a, b) = (l.pred(&i.operands[1])?, l.pred(&i.operands[2])?);
    l.emit(Op::PredLogic { combine, d, a, b })
}

/// `shl` and `shr`: the amount is 32 bits wide whatever the type.
pub(super) fn shift<'a>(l: &mut Lowering<'_, 'a>, i: &'a Instruction<'a>) -> Result<()> {
    let mut m = Modifiers::of(i);
    let ty = m.ty()?;
    let Some(f) = integer::binary(i.opcode, ty) else { return Err(m.unsupported()) };
    m.finish()?;
    l.count(i, 3)?;
    let d = l.dst(&i.operands[0], ty.bits())?;
    let (a, b) = (l.src(&i.operands[1], ty)?, l.src(&i.operands[2], Type::U32)?);
    l.emit(Op::Map2 { f, mode: Mode::default(), d, a, b })
}

/// Instructions whose second and third sources are 32 bits wide, or all three.
pub(super) fn three_words<'a>(l: &mut Lowering<'_, 'a>, i: &'a Instruction<'a>) -> Result<()> {
    let mut m = Modifiers::of(i);
    let (f, ty) = match i.opcode {
        "shf" => {
            let left = m.take("l");
            if !left && !m.take("r") {
                return Err(m.unsupported());
            }
            let wrap = m.take("wrap");
            if !wrap && !m.take("clamp") {
                return Err(m.unsupported());
            }
            (Some(integer::funnel(left, wrap)), m.ty()?)
        }
        "prmt" => {
            let ty = m.ty()?;
            let mode = m.take_where(|_| true);
            (integer::prmt(mode), ty)
        }
        "bfe" => {
            let ty = m.ty()?;
            (integer::bfe(ty), ty)
        }
        _ => {
            let half = m.take_any(&["lo", "hi"]);
            let (a, b) = (m.ty()?, m.ty()?);
            if a.bits() != 32 || b.bits() != 32 {
                return Err(m.unsupported());
            }
            let name = half.map_or(i.opcode.to_owned(), |half| format!("{}.{half}", i.opcode));
            (integer::dot(&name, a.is_signed(), b.is_signed()), Type::B32)
        }
    };
    let Some(f) = f else { return Err(m.unsupported()) };
    m.finish()?;
    l.count(i, 4)?;
    let d = l.dst(&i.operands[0], ty.bits())?;
    let a = l.src(&i.operands[1], ty)?;
    let (b, c) = (l.src(&i.operands[2], Type::B32)?, l.src(&i.operands[3], Type::B32)?);
    l.emit(Op::Map3 { f, mode: Mode::default(), d, a, b, c })
}

/// `bfind`, `bmsk` and `fns`.
pub(super) fn bits<'a>(l: &mut Lowering<'_, 'a>, i: &'a Instruction<'a>) -> Result<()> {
    let mut m = Modifiers::of(i);
    let mode = Mode::default();
    match i.opcode {
        "bfind" => {
            let shift_amount = m.take("shiftamt");
            let ty = m.ty()?;
            let Some(f) = integer::bfind(ty, shift_amount) else { return Err(m.unsupported()) };
            m.finish()?;
            l.count(i, 2)?;
            let (d, a) = (l.dst(&i.operands[0], 32)?, l.src(&i.operands[1], ty)?);
            l.emit(Op::Map1 { f, mode, d, a })
        }
        "bmsk" => {
            let wrap = m.take("wrap");
            if !wrap && !m.take("clamp") {
                return Err(m.unsupported());
            }
            let ty = m.ty()?;
            m.finish()?;
            l.count(i, 3)?;
            let d = l.dst(&i.operands[0], 32)?;
            let (a, b) = (l.src(&i.operands[1], ty)?, l.src(&i.operands[2], Type::B32)?);
            l.emit(Op::Map2 { f: integer::bmsk(wrap), mode, d, a, b })
        }
        _ => {
            let ty = m.ty()?;
            m.finish()?;
            l.count(i, 4)?;
            let d = l.dst(&i.operands[0], 32)?;
            let a = l.src(&i.operands[1], ty)?;
            let (b, c) = (l.src(&i.operands[2], Type::B32)?, l.src(&i.operands[3], Type::B32)?);
            let f = crate::device::cpu::alu::fn3!(|_: Mode, a, b, c| integer::fns(a, b, c));
            l.emit(Op::Map3 { f, mode, d, a, b, c })
        }
    }
}

pub(super) fn lop3<'a>(l: &mut Lowering<'_, 'a>, i: &'a Instruction<'a>) -> Result<()> {
    let mut m = Modifiers::of(i);
    let ty = m.ty()?;
    m.finish()?;
    l.count(i, 5)?;
    let d = l.dst(&i.operands[0], 32)?;
    let (a, b, c) = (l.src(&i.operands[1], ty)?, l.src(&i.operands[2], ty)?, l.src(&i.operands[3], ty)?);
    let Operand::Int(table @ 0..=255) = i.operands[4] else {
        return Err(l.error("the truth table of `lop3` must be a number up to 255"));
    };
    l.emit(Op::Lop3 { d, a, b, c, table: table as u8 })
}

pub(super) fn bfi<'a>(l: &mut Lowering<'_, 'a>, i: &'a Instruction<'a>) -> Result<()> {
    let mut m = Modifiers::of(i);
    let ty = m.ty()?;
    if !matches!(ty, Type::B32 | Type::B64) {
        return Err(m.unsupported());
    }
    m.finish()?;
    l.count(i, 5)?;
    let d = l.dst(&i.operands[0], ty.bits())?;
    let sources = Box::new([
        l.src(&i.operands[1], ty)?,
        l.src(&i.operands[2], ty)?,
        l.src(&i.operands[3], Type::B32)?,
        l.src(&i.operands[4], Type::B32)?,
    ]);
    l.emit(Op::Bfi { d, sources, bits: ty.bits() })
}

/// What `setp` and `set` have in common: the comparison and how it is combined.
struct Comparison {
    f: crate::device::cpu::alu::FnCompare,
    combine: Option<Combine>,
    ftz: bool,
    ty: Type,
    paired: bool,
}

fn comparison(m: &mut Modifiers<'_>, ty: Type) -> Result<Comparison> {
    const OPERATORS: &[&str] = &[
        "eq", "ne", "lt", "le", "gt", "ge", "lo", "ls", "hi", "hs", "equ", "neu", "ltu", "leu", "gtu", "geu",
        "num", "nan",
    ];
    let Some(op) = m.take_any(OPERATORS) else { return Err(m.unsupported()) };
    let combine = m.take_any(&["and", "or", "xor"]).and_then(Combine::named);
    let ftz = m.take("ftz");
    let (element, paired) = match ty {
        Type::F16x2 => (Type::F16, true),
        Type::Bf16x2 => (Type::Bf16, true),
        _ => (ty, false),
    };
    let Some(f) = compare::compare(op, element) else { return Err(m.unsupported()) };
    Ok(Comparison { f, combine, ftz, ty, paired })
}

pub(super) fn setp<'a>(l: &mut Lowering<'_, 'a>, i: &'a Instruction<'a>) -> Result<()> {
    let mut m = Modifiers::of(i);
    let ty = m.ty()?;
    let comparison = comparison(&mut m, ty)?;
    m.finish()?;
    l.count(i, if comparison.combine.is_some() { 4 } else { 3 })?;
    let (d, q) = match &i.operands[0] {
        Operand::Name(d, 0) => (l.pred_dst(d)?, None),
        Operand::Pair(d, q) => (l.pred_dst(d)?, l.pred_dst(q)?),
        _ => return Err(l.error("the destination must be a predicate")),
    };
    let (a, b) = (l.src(&i.operands[1], comparison.ty)?, l.src(&i.operands[2], comparison.ty)?);
    let combine = match comparison.combine {
        Some(combine) => Some((combine, l.pred(&i.operands[3])?)),
        None => None,
    };
    let mode = Mode { ftz: comparison.ftz, ..Mode::default() };
    l.emit(Op::SetP(Box::new(SetP { f: comparison.f, mode, a, b, combine, d, q, paired: comparison.paired })))
}

pub(super) fn set<'a>(l: &mut Lowering<'_, 'a>, i: &'a Instruction<'a>) -> Result<()> {
    let mut m = Modifiers::of(i);
    let (to, from) = (m.ty()?, m.ty()?);
    let comparison = comparison(&mut m, from)?;
    let yes = match to {
        Type::U32 | Type::S32 if comparison.paired => 0xffff,
        Type::U32 | Type::S32 => 0xffff_ffff,
        Type::U16 | Type::S16 => 0xffff,
        Type::F32 => 0x3f80_0000,
        Type::F16 | Type::F16x2 => 0x3c00,
        Type::Bf16 | Type::Bf16x2 => 0x3f80,
        _ => return Err(m.unsupported()),
    };
    m.finish()?;
    l.count(i, if comparison.combine.is_some() { 4 } else { 3 })?;
    let d = l.dst(&i.operands[0], to.bits())?;
    let (a, b) = (l.src(&i.operands[1], from)?, l.src(&i.operands[2], from)?);
    let combine = match comparison.combine {
        Some(combine) => Some((combine, l.pred(&i.operands[3])?)),
        None => None,
    };
    let mode = Mode { ftz: comparison.ftz, ..Mode::default() };
    l.emit(Op::Set(Box::new(Set { f: comparison.f, mode, a, b, combine, d, yes, paired: comparison.paired })))
}

pub(super) fn selp<'a>(l: &mut Lowering<'_, 'a>, i: &'a Instruction<'a>) -> Result<()> {
    let mut m = Modifiers::of(i);
    let ty = m.ty()?;
    m.finish()?;
    l.count(i, 4)?;
    let d = l.dst(&i.operands[0], ty.bits())?;
    let (a, b) = (l.src(&i.operands[1], ty)?, l.src(&i.operands[2], ty)?);
    let p = l.pred(&i.operands[3])?;
    l.emit(Op::Select { d, a, b, p })
}

pub(super) fn slct<'a>(l: &mut Lowering<'_, 'a>, i: &'a Instruction<'a>) -> Result<()> {
    let mut m = Modifiers::of(i);
    m.take("ftz");
    let (ty, by) = (m.ty()?, m.ty()?);
    if !matches!(by, Type::S32 | Type::F32) {
        return Err(m.unsupported());
    }
    m.finish()?;
    l.count(i, 4)?;
    let d = l.dst(&i.operands[0], ty.bits())?;
    let (a, b) = (l.src(&i.operands[1], ty)?, l.src(&i.operands[2], ty)?);
    let c = l.src(&i.operands[3], by)?;
    l.emit(Op::Slct { d, a, b, c, float: by == Type::F32 })
}

pub(super) fn testp<'a>(l: &mut Lowering<'_, 'a>, i: &'a Instruction<'a>) -> Result<()> {
    let mut m = Modifiers::of(i);
    let property = match m.take_any(&["finite", "infinite", "number", "notanumber", "normal", "subnormal"]) {
        Some("finite") => Property::Finite,
        Some("infinite") => Property::Infinite,
        Some("number") => Property::Number,
        Some("notanumber") => Property::NotANumber,
        Some("normal") => Property::Normal,
        Some(_) => Property::Subnormal,
        None => return Err(m.unsupported()),
    };
    let ty = m.ty()?;
    if !matches!(ty, Type::F32 | Type::F64) {
        return Err(m.unsupported());
    }
    m.finish()?;
    l.count(i, 2)?;
    let (d, a) = (l.pred_reg(&i.operands[0])?, l.src(&i.operands[1], ty)?);
    l.emit(Op::TestProperty { d, a, double: ty == Type::F64, property })
}

impl<'a> Lowering<'_, 'a> {
    /// A destination predicate that cannot be `_`.
    pub(super) fn pred_reg(&mut self, operand: &Operand<'a>) -> Result<u32> {
        let Operand::Name(name, 0) = operand else {
            return Err(self.error("the destination must be a predicate"));
        };
        self.pred_dst(name)?.ok_or_else(|| self.error("the destination must be a predicate"))
    }
}
