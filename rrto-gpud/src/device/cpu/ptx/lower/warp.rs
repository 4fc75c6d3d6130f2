//! Instructions by which threads meet: barriers, shuffles, votes.

use super::super::ast::{Instruction, Operand, Type};
use super::super::ir::{Barrier, BarrierKind, Op, PredSrc, ShuffleMode, Src, Warp, WarpKind};
use super::modifiers::Modifiers;
use super::{Lowering, Result};

pub(super) fn barrier<'a>(l: &mut Lowering<'_, 'a>, i: &'a Instruction<'a>) -> Result<()> {
    let mut m = Modifiers::of(i);
    if m.take("cluster") {
        return Err(m.unsupported());
    }
    m.take("cta");
    m.take("aligned");
    if m.take("warp") {
        m.take("sync");
        m.finish()?;
        l.count(i, 1)?;
        let members = l.src(&i.operands[0], Type::B32)?;
        return l.emit_warp(members, WarpKind::Sync);
    }
    let mut operands = i.operands.iter();
    let mut missing =
        || operands.next().ok_or_else(|| super::LoadError::syntax(i.line, "an operand is missing"));
    let (kind, id) = if m.take("red") {
        let op = m.take_any(&["popc", "and", "or"]);
        let ty = m.ty()?;
        let d = missing()?;
        let id = missing()?;
        let p = i.operands.last().map_or(Ok(PredSrc::Const(true)), |p| l.pred(p))?;
        let kind = match (op, ty) {
            (Some("popc"), Type::U32) => BarrierKind::Popc { d: l.dst(d, 32)?, p },
            (Some("and"), Type::Pred) => BarrierKind::And { d: l.pred_reg(d)?, p },
            (Some("or"), Type::Pred) => BarrierKind::Or { d: l.pred_reg(d)?, p },
            _ => return Err(m.unsupported()),
        };
        (kind, id)
    } else if m.take("arrive") {
        (BarrierKind::Arrive, missing()?)
    } else if m.take("sync") {
        (BarrierKind::Sync, missing()?)
    } else {
        return Err(m.unsupported());
    };
    m.finish()?;
    let reduces = !matches!(kind, BarrierKind::Sync | BarrierKind::Arrive);
    let rest: Vec<_> = operands.collect();
    let threads = match (rest.as_slice(), reduces) {
        ([], false) | ([_], true) => None,
        ([threads], false) | ([threads, _], true) => Some(l.src(threads, Type::U32)?),
        _ => return Err(l.error(format!("`{}` has a wrong number of operands", i.text))),
    };
    let id = l.src(id, Type::U32)?;
    l.emit(Op::Barrier(Box::new(Barrier { id, threads, kind })))
}

/// A destination with an optional predicate: `d|p`.
fn pair<'a>(l: &mut Lowering<'_, 'a>, operand: &Operand<'a>, bits: u32) -> Result<(u32, Option<u32>)> {
    match operand {
        Operand::Pair(d, p) => Ok((l.dst(&Operand::Name(d, 0), bits)?, l.pred_dst(p)?)),
        other => Ok((l.dst(other, bits)?, None)),
    }
}

pub(super) fn shuffle<'a>(l: &mut Lowering<'_, 'a>, i: &'a Instruction<'a>) -> Result<()> {
    let mut m = Modifiers::of(i);
    let mode = match m.take_any(&["up", "down", "bfly", "idx"]) {
        Some("up") => ShuffleMode::Up,
        Some("down") => ShuffleMode::Down,
        Some("bfly") => ShuffleMode::Butterfly,
        Some(_) => ShuffleMode::Index,
        None => return Err(m.unsupported()),
    };
    if !m.take("sync") {
        return Err(m.unsupported());
    }
    let ty = m.ty()?;
    m.finish()?;
    l.count(i, 5)?;
    let (d, p) = pair(l, &i.operands[0], 32)?;
    let a = l.src(&i.operands[1], ty)?;
    let (b, c) = (l.src(&i.operands[2], Type::B32)?, l.src(&i.operands[3], Type::B32)?);
    let members = l.src(&i.operands[4], Type::B32)?;
    l.emit_warp(members, WarpKind::Shuffle { mode, d, p, a, b, c })
}

pub(super) fn vote<'a>(l: &mut Lowering<'_, 'a>, i: &'a Instruction<'a>) -> Result<()> {
    let mut m = Modifiers::of(i);
    let op = m.take_any(&["all", "any", "uni", "ballot"]);
    if !m.take("sync") {
        return Err(m.unsupported());
    }
    let ty = m.ty()?;
    l.count(i, 3)?;
    let p = l.pred(&i.operands[1])?;
    let kind = match (op, ty) {
        (Some("ballot"), Type::B32) => WarpKind::Ballot { d: l.dst(&i.operands[0], 32)?, p },
        (Some("all"), Type::Pred) => WarpKind::VoteAll { d: l.pred_reg(&i.operands[0])?, p },
        (Some("any"), Type::Pred) => WarpKind::VoteAny { d: l.pred_reg(&i.operands[0])?, p },
        (Some("uni"), Type::Pred) => WarpKind::VoteUni { d: l.pred_reg(&i.operands[0])?, p },
        _ => return Err(m.unsupported()),
    };
    m.finish()?;
    let members = l.src(&i.operands[2], Type::B32)?;
    l.emit_warp(members, kind)
}

pub(super) fn match_lanes<'a>(l: &mut Lowering<'_, 'a>, i: &'a Instruction<'a>) -> Result<()> {
    let mut m = Modifiers::of(i);
    let all = m.take("all");
    if !all && !m.take("any") || !m.take("sync") {
        return Err(m.unsupported());
    }
    let ty = m.ty()?;
    m.finish()?;
    l.count(i, 3)?;
    let (d, p) = pair(l, &i.operands[0], 32)?;
    let a = l.src(&i.operands[1], ty)?;
    let members = l.src(&i.operands[2], Type::B32)?;
    l.emit_warp(members, if all { WarpKind::MatchAll { d, p, a } } else { WarpKind::MatchAny { d, a } })
}

pub(super) fn active_mask<'a>(l: &mut Lowering<'_, 'a>, i: &'a Instruction<'a>) -> Result<()> {
    let mut m = Modifiers::of(i);
    m.ty()?;
    m.finish()?;
    l.count(i, 1)?;
    let d = l.dst(&i.operands[0], 32)?;
    l.emit(Op::ActiveMask { d })
}

pub(super) fn reduce<'a>(l: &mut Lowering<'_, 'a>, i: &'a Instruction<'a>) -> Result<()> {
    let mut m = Modifiers::of(i);
    let op = m.take_any(&["add", "min", "max", "and", "or", "xor"]);
    let sync = m.take("sync");
    let ty = m.ty()?;
    let f = op.and_then(|op| super::memory::reduction(op, ty)).filter(|_| sync && ty.bits() == 32);
    let Some(f) = f.filter(|_| !ty.is_float()) else { return Err(m.unsupported()) };
    m.finish()?;
    l.count(i, 3)?;
    let (d, a) = (l.dst(&i.operands[0], 32)?, l.src(&i.operands[1], ty)?);
    let members = l.src(&i.operands[2], Type::B32)?;
    l.emit_warp(members, WarpKind::Reduce { f, d, a })
}

pub(super) fn elect<'a>(l: &mut Lowering<'_, 'a>, i: &'a Instruction<'a>) -> Result<()> {
    let mut m = Modifiers::of(i);
    m.take("sync");
    m.finish()?;
    l.count(i, 2)?;
    let Operand::Pair(d, p) = i.operands[0] else { return Err(l.error("expected `d|p`")) };
    let d = if d == "_" { None } else { Some(l.dst(&Operand::Name(d, 0), 32)?) };
    let Some(p) = l.pred_dst(p)? else { return Err(l.error("expected a predicate")) };
    let members = l.src(&i.operands[1], Type::B32)?;
    l.emit_warp(members, WarpKind::Elect { d, p })
}

impl Lowering<'_, '_> {
    fn emit_warp(&mut self, members: Src, kind: WarpKind) -> Result<()> {
        self.emit(Op::Warp(Box::new(Warp { members, kind })))
    }
}
