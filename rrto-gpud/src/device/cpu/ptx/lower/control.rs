//! Branches, calls and ends.

use super::super::ast::{Instruction, Operand, Type};
use super::super::ir::{Call, FrameCopy, Op};
use super::layout::KernelParam;
use super::modifiers::Modifiers;
use super::scope::Symbol;
use super::{Lowering, Result};

/// The function that a failed `assert` calls; the driver supplies its body.
const ASSERT: &str = "__assertfail";

pub(super) fn branch<'a>(l: &mut Lowering<'_, 'a>, i: &'a Instruction<'a>) -> Result<()> {
    let mut m = Modifiers::of(i);
    m.take("uni");
    m.finish()?;
    l.count(i, 1)?;
    let Operand::Name(name, 0) = i.operands[0] else { return Err(l.error("expected a label")) };
    let target = l.label(name)?;
    l.emit(Op::Branch { target })
}

pub(super) fn branch_indexed<'a>(l: &mut Lowering<'_, 'a>, i: &'a Instruction<'a>) -> Result<()> {
    let mut m = Modifiers::of(i);
    if !m.take("idx") {
        return Err(m.unsupported());
    }
    m.take("uni");
    m.finish()?;
    l.count(i, 2)?;
    let index = l.src(&i.operands[0], Type::U32)?;
    let Operand::Name(name, 0) = i.operands[1] else { return Err(l.error("expected a list of labels")) };
    let targets = l.branch_table(name)?.iter().map(|label| l.label(label)).collect::<Result<_>>()?;
    l.emit(Op::BranchIndexed { index, targets })
}

/// `call (results), function, (arguments)`: both lists may be absent.
pub(super) fn call<'a>(l: &mut Lowering<'_, 'a>, i: &'a Instruction<'a>) -> Result<()> {
    let mut m = Modifiers::of(i);
    m.take("uni");
    m.finish()?;
    let mut operands = i.operands.iter();
    let mut next = operands.next();
    let mut results: &[Operand<'a>] = &[];
    if let Some(Operand::Group(list)) = next {
        results = list;
        next = operands.next();
    }
    let Some(Operand::Name(name, 0)) = next else { return Err(l.error("expected the name of a function")) };
    let arguments: &[Operand<'a>] = match operands.next() {
        Some(Operand::Group(list)) => list,
        None => &[],
        Some(_) => return Err(l.error("expected the arguments in parentheses")),
    };
    if operands.next().is_some() {
        return Err(l.error("indirect calls are not supported by the software GPU"));
    }
    let callees = l.callees;
    let Some(callee) = callees.get(name) else {
        return Err(
            l.error(format!("`{name}` is not a function of this module; indirect calls are not supported"))
        );
    };
    let arguments = frame_slots(l, name, arguments, &callee.layout.params)?;
    let results = frame_slots(l, name, results, &callee.layout.returns)?;
    match callee.routine {
        Some(function) => {
            l.calls.push(function);
            // What is an argument's source is a result's destination.
            let arguments = arguments.into_iter().collect();
            let results = results.into_iter().map(|c| FrameCopy { from: c.to, to: c.from, ..c }).collect();
            l.emit(Op::Call(Box::new(Call { function, arguments, results })))
        }
        None if *name == ASSERT => {
            l.emit(Op::Assert { arguments: arguments.iter().map(|a| a.from).collect() })
        }
        None => {
            let what = format!("`call` of `{name}`, which this module only declares");
            Err(super::LoadError::unsupported(i.line, what))
        }
    }
}

/// Pairs the variables of a call with the callee's parameters.
fn frame_slots<'a>(
    l: &mut Lowering<'_, 'a>,
    callee: &str,
    given: &[Operand<'a>],
    wanted: &[(&str, KernelParam)],
) -> Result<Vec<FrameCopy>> {
    if given.len() != wanted.len() {
        let (wanted, given) = (wanted.len(), given.len());
        return Err(l.error(format!("`{callee}` has {wanted} parameters or results, the call {given}")));
    }
    let mut copies = Vec::with_capacity(given.len());
    for (operand, (_, slot)) in given.iter().zip(wanted) {
        let Operand::Name(name, 0) = operand else { return Err(l.error("expected a `.param` variable")) };
        let Some(Symbol::Frame(from)) = l.find_symbol(name)? else {
            return Err(l.error(format!("`{name}` is not a `.param` variable of this function")));
        };
        if from.checked_add(slot.bytes).is_none_or(|end| end > l.frame.bytes()) {
            return Err(l.error(format!("`{name}` is smaller than what `{callee}` expects")));
        }
        copies.push(FrameCopy { from, to: slot.offset, bytes: slot.bytes });
    }
    Ok(copies)
}

pub(super) fn end<'a>(l: &mut Lowering<'_, 'a>, i: &'a Instruction<'a>) -> Result<()> {
    let mut m = Modifiers::of(i);
    m.take("uni");
    m.finish()?;
    l.count(i, 0)?;
    l.emit(match i.opcode {
        "ret" => Op::Return,
        "exit" => Op::Exit,
        _ => Op::Trap,
    })
}

/// Instructions that advise the scheduler. Sleeping lets others run.
pub(super) fn hint<'a>(l: &mut Lowering<'_, 'a>, i: &'a Instruction<'a>) -> Result<()> {
    if i.opcode == "nanosleep" { l.emit(Op::Yield) } else { Ok(()) }
}
