//! Loads, stores, atomics, copies and fences.

use super::super::ast::{Instruction, Operand, Type};
use super::super::ir::{Atomic, Load, Op, Ordered, Space, Src, Store};
use super::convert::space;
use super::modifiers::Modifiers;
use super::operands::Width;
use super::{Lowering, Result};
use crate::device::cpu::alu::atomic::{FnAtomic, atomic as atomic_function};

/// The order a memory instruction asks for; how far it reaches makes no difference to one memory.
fn order(m: &mut Modifiers<'_>) -> Ordered {
    let semantics = m.take_any(&["weak", "volatile", "relaxed", "acquire", "release", "acq_rel", "mmio"]);
    m.take_any(&["cta", "cluster", "gpu", "sys"]);
    Ordered {
        acquire: matches!(semantics, Some("acquire" | "acq_rel")),
        release: matches!(semantics, Some("release" | "acq_rel")),
    }
}

/// Drops what only a cache would care about; says whether a cache policy follows as an operand.
fn cache_hints(m: &mut Modifiers<'_>) -> bool {
    let policy = m.take("L2::cache_hint");
    while m.take_where(|x| x.starts_with("L1::") || x.starts_with("L2::")).is_some() {}
    m.take_any(&["ca", "cg", "cs", "lu", "cv", "wb", "wt"]);
    m.take("nc");
    policy
}

fn lanes(m: &mut Modifiers<'_>) -> usize {
    match m.take_any(&["v2", "v4", "v8"]) {
        Some("v2") => 2,
        Some("v4") => 4,
        Some(_) => 8,
        None => 1,
    }
}

/// The elements of a register operand or of a vector of them.
fn elements<'i, 'a>(
    l: &Lowering<'_, 'a>,
    operand: &'i Operand<'a>,
    lanes: usize,
) -> Result<&'i [Operand<'a>]> {
    let found = match operand {
        Operand::Vector(elements) => elements.as_slice(),
        one => std::slice::from_ref(one),
    };
    if found.len() != lanes {
        return Err(l.error(format!("expected {lanes} registers, found {}", found.len())));
    }
    Ok(found)
}

/// In a device function the parameter space is its frame.
fn own_space(l: &Lowering<'_, '_>, space: Space) -> Space {
    if space == Space::Param && !l.entry { Space::Local } else { space }
}

pub(super) fn load<'a>(l: &mut Lowering<'_, 'a>, i: &'a Instruction<'a>) -> Result<()> {
    let mut m = Modifiers::of(i);
    let order = order(&mut m);
    let space = space(&mut m).unwrap_or(Space::Generic);
    let policy = cache_hints(&mut m);
    let lanes = lanes(&mut m);
    let ty = m.ty()?;
    if ty.bits() > 64 || lanes as u32 * ty.bits() > 256 {
        return Err(m.unsupported());
    }
    m.finish()?;
    l.count(i, 2 + usize::from(policy))?;
    let mut d = Vec::with_capacity(lanes);
    let mut extend = None;
    for element in elements(l, &i.operands[0], lanes)? {
        let register = l.wide_dst(element, ty.bits())?;
        if let Some((_, width)) = register
            && ty.is_signed()
            && width > ty.bits()
        {
            extend = Some(width);
        }
        d.push(register.map(|r| r.0));
    }
    let at = l.address(&i.operands[1], own_space(l, space))?;
    l.emit(Op::Load(Box::new(Load { at, size: ty.bytes(), extend, d: d.into(), order })))
}

pub(super) fn store<'a>(l: &mut Lowering<'_, 'a>, i: &'a Instruction<'a>) -> Result<()> {
    let mut m = Modifiers::of(i);
    let order = order(&mut m);
    let space = space(&mut m).unwrap_or(Space::Generic);
    let policy = cache_hints(&mut m);
    let lanes = lanes(&mut m);
    let ty = m.ty()?;
    if ty.bits() > 64 || lanes as u32 * ty.bits() > 256 {
        return Err(m.unsupported());
    }
    m.finish()?;
    l.count(i, 2 + usize::from(policy))?;
    let at = l.address(&i.operands[0], own_space(l, space))?;
    if at.space == Space::Param {
        return Err(l.error("a kernel's parameters cannot be written"));
    }
    let values = elements(l, &i.operands[1], lanes)?
        .iter()
        .map(|element| l.any_src(element, ty, Width::AtLeast))
        .collect::<Result<_>>()?;
    l.emit(Op::Store(Box::new(Store { at, size: ty.bytes(), values, order })))
}

/// `atom` and `red`.
pub(super) fn atomic<'a>(l: &mut Lowering<'_, 'a>, i: &'a Instruction<'a>) -> Result<()> {
    let mut m = Modifiers::of(i);
    let order = order(&mut m);
    let space = space(&mut m).unwrap_or(Space::Generic);
    let policy = cache_hints(&mut m);
    m.take("noftz");
    let op = m.take_any(&["add", "min", "max", "exch", "cas", "and", "or", "xor", "inc", "dec"]);
    let ty = m.ty()?;
    let Some(f) = op.and_then(|op| atomic_function(op, ty)) else { return Err(m.unsupported()) };
    if !matches!(space, Space::Generic | Space::Global | Space::Shared) {
        return Err(m.unsupported());
    }
    m.finish()?;
    let cas = op == Some("cas");
    let first = usize::from(i.opcode == "atom");
    l.count(i, first + 2 + usize::from(cas) + usize::from(policy))?;
    let d = match i.operands.first() {
        Some(operand) if first == 1 => l.wide_dst(operand, ty.bits())?.map(|d| d.0),
        _ => None,
    };
    let at = l.address(l.operand(i, first)?, space)?;
    let b = l.src(l.operand(i, first + 1)?, ty)?;
    let c = if cas { l.src(l.operand(i, first + 2)?, ty)? } else { Src::Imm(0) };
    l.emit(Op::Atomic(Box::new(Atomic { at, size: ty.bytes(), f, d, b, c, order })))
}

/// The function that `redux` folds a warp's values with.
pub(super) fn reduction(op: &str, ty: Type) -> Option<FnAtomic> {
    matches!(op, "add" | "min" | "max" | "and" | "or" | "xor").then(|| atomic_function(op, ty)).flatten()
}

/// `cp.async`, done at once, so that waiting for it is nothing.
pub(super) fn copy_async<'a>(l: &mut Lowering<'_, 'a>, i: &'a Instruction<'a>) -> Result<()> {
    let mut m = Modifiers::of(i);
    if !m.take("async") || m.take("bulk") || m.take("mbarrier") {
        return Err(Modifiers::of(i).unsupported());
    }
    if m.take_any(&["commit_group", "wait_group", "wait_all"]).is_some() {
        return m.finish();
    }
    let policy = cache_hints(&mut m);
    let to = space(&mut m);
    let from = space(&mut m);
    if (to, from) != (Some(Space::Shared), Some(Space::Global)) || policy {
        return Err(m.unsupported());
    }
    m.finish()?;
    let to = Box::new(l.address(l.operand(i, 0)?, Space::Shared)?);
    let from = Box::new(l.address(l.operand(i, 1)?, Space::Global)?);
    let Operand::Int(size @ (4 | 8 | 16)) = *l.operand(i, 2)? else {
        return Err(l.error("the size of `cp.async` must be 4, 8 or 16"));
    };
    let copied = match i.operands.get(3) {
        Some(operand) => Some(l.src(operand, Type::U32)?),
        None => None,
    };
    l.emit(Op::CopyAsync { to, from, size: size as u32, copied })
}

/// Instructions that only advise a cache.
pub(super) fn hint<'a>(_: &mut Lowering<'_, 'a>, _: &'a Instruction<'a>) -> Result<()> {
    Ok(())
}

pub(super) fn fence<'a>(l: &mut Lowering<'_, 'a>, i: &'a Instruction<'a>) -> Result<()> {
    let mut m = Modifiers::of(i);
    while m
        .take_where(|x| {
            matches!(
                x,
                "cta" | "gl" | "sys" | "sc" | "acq_rel" | "acquire" | "release" | "gpu" | "cluster" | "proxy"
            ) || x.starts_with("async")
                || x.starts_with("alias")
                || x.starts_with("sync_restrict")
        })
        .is_some()
    {}
    m.finish()?;
    l.emit(Op::Fence)
}
