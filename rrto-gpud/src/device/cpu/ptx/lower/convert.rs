//! `mov`, `cvt`, and conversions of addresses.

use super::super::ast::{Instruction, Operand, Type};
use super::super::ir::{Op, Space, Src};
use super::modifiers::Modifiers;
use super::operands::Width;
use super::{Lowering, Result};
use crate::device::cpu::alu::{Mode, Rounding, convert, integer};
use crate::device::cpu::exec::window;

pub(super) fn mov<'a>(l: &mut Lowering<'_, 'a>, i: &'a Instruction<'a>) -> Result<()> {
    let mut m = Modifiers::of(i);
    let ty = m.ty()?;
    m.finish()?;
    l.count(i, 2)?;
    match (&i.operands[0], &i.operands[1]) {
        (_, a) if ty == Type::Pred => {
            let (d, a) = (l.pred_reg(&i.operands[0])?, l.pred(a)?);
            l.emit(Op::PredMove { d, a })
        }
        (Operand::Vector(parts), a) => {
            let (part, a) = (part_type(l, ty, parts.len())?, l.src(a, ty)?);
            let parts = parts
                .iter()
                .map(|p| Ok(l.wide_dst(p, part.bits())?.map(|(d, _)| d)))
                .collect::<Result<_>>()?;
            l.emit(Op::Unpack { parts, bits: part.bits(), a })
        }
        (d, Operand::Vector(parts)) => {
            let (d, part) = (l.dst(d, ty.bits())?, part_type(l, ty, parts.len())?);
            let parts = parts.iter().map(|p| l.src(p, part)).collect::<Result<_>>()?;
            l.emit(Op::Pack { d, parts, bits: part.bits() })
        }
        (d, a) => {
            let (d, a) = (l.dst(d, ty.bits())?, l.src(a, ty)?);
            l.emit(Op::Move { d, a })
        }
    }
}

fn part_type(l: &Lowering<'_, '_>, ty: Type, parts: usize) -> Result<Type> {
    Ok(match (ty.bits() as usize, parts) {
        (64, 2) => Type::B32,
        (64, 4) | (32, 2) => Type::B16,
        (64, 8) | (32, 4) | (16, 2) => Type::B8,
        _ => return Err(l.error(format!("`.{}` has no {parts} parts", ty.name()))),
    })
}

pub(super) fn cvt<'a>(l: &mut Lowering<'_, 'a>, i: &'a Instruction<'a>) -> Result<()> {
    let mut m = Modifiers::of(i);
    let rounding = m.rounding();
    let (ftz, sat, relu) = (m.take("ftz"), m.take("sat"), m.take("relu"));
    let (to, from) = (m.ty()?, m.ty()?);
    let (rounding, integral) = rounding.unwrap_or((Rounding::Nearest, false));
    let mode = Mode { rounding, ftz, sat };
    if matches!(to, Type::F16x2 | Type::Bf16x2) && from == Type::F32 {
        let Some(f) = convert::convert_pair(to, relu) else { return Err(m.unsupported()) };
        m.finish()?;
        l.count(i, 3)?;
        let d = l.dst(&i.operands[0], 32)?;
        let (a, b) = (l.src(&i.operands[1], from)?, l.src(&i.operands[2], from)?);
        return l.emit(Op::Map2 { f, mode, d, a, b });
    }
    if relu {
        return Err(m.unsupported());
    }
    let text_error = m.unsupported();
    m.finish()?;
    l.count(i, 2)?;
    let Some((d, width)) = l.wide_dst(&i.operands[0], to.bits())? else {
        return Err(l.error("the destination must be a register"));
    };
    let a = l.any_src(&i.operands[1], from, Width::AtLeast)?;
    let Some(f) = convert::convert(unsigned_bits(to), unsigned_bits(from), width, integral) else {
        return Err(text_error);
    };
    l.emit(Op::Map1 { f, mode, d, a })?;
    if from.is_float() && !to.is_float() && to.is_signed() && to.bits() < width {
        // A narrow signed result is extended to its register by its sign.
        if let Some(f) = convert::convert(to, to, width, false) {
            return l.emit(Op::Map1 { f, mode: Mode::default(), d, a: Src::Reg(d) });
        }
    }
    Ok(())
}

/// `.b32` and its like convert as unsigned integers.
fn unsigned_bits(ty: Type) -> Type {
    match ty {
        Type::B8 => Type::U8,
        Type::B16 => Type::U16,
        Type::B32 => Type::U32,
        Type::B64 => Type::U64,
        other => other,
    }
}

/// The state space that a modifier names.
pub(super) fn space(m: &mut Modifiers<'_>) -> Option<Space> {
    let name = m.take_any(&[
        "global",
        "const",
        "shared",
        "shared::cta",
        "shared::cluster",
        "local",
        "param",
        "param::entry",
        "param::func",
    ])?;
    Some(match name {
        "global" | "const" => Space::Global,
        "local" => Space::Local,
        _ if name.starts_with("shared") => Space::Shared,
        _ => Space::Param,
    })
}

/// `cvta`: an address of one space as a generic one, or back. Device addresses are generic already.
pub(super) fn cvta<'a>(l: &mut Lowering<'_, 'a>, i: &'a Instruction<'a>) -> Result<()> {
    let mut m = Modifiers::of(i);
    let back = m.take("to");
    let Some(space) = space(&mut m) else { return Err(m.unsupported()) };
    let ty = m.ty()?;
    if ty.bits() != 64 {
        return Err(m.unsupported());
    }
    m.finish()?;
    l.count(i, 2)?;
    let d = l.dst(&i.operands[0], 64)?;
    let a = l.src(&i.operands[1], ty)?;
    // The parameters of a function live in its frame, which is local memory.
    let in_frame = matches!(a, Src::Local(_));
    let base = match space {
        Space::Shared => window::SHARED,
        Space::Local => window::LOCAL,
        Space::Param if in_frame || !l.entry => window::LOCAL,
        Space::Param => window::PARAM,
        _ => return l.emit(Op::Move { d, a }),
    };
    let f = integer::binary(if back { "sub" } else { "add" }, Type::U64);
    let Some(f) = f else { return Ok(()) };
    l.emit(Op::Map2 { f, mode: Mode::default(), d, a, b: Src::Imm(base) })
}

pub(super) fn isspacep<'a>(l: &mut Lowering<'_, 'a>, i: &'a Instruction<'a>) -> Result<()> {
    let mut m = Modifiers::of(i);
    let Some(space) = space(&mut m) else { return Err(m.unsupported()) };
    m.finish()?;
    l.count(i, 2)?;
    let (d, a) = (l.pred_reg(&i.operands[0])?, l.src(&i.operands[1], Type::U64)?);
    l.emit(Op::IsSpace { d, a, space })
}
