//! Operands: registers, immediates, addresses of variables, special registers.

use super::super::ast::{Instruction, Operand, Type};
use super::super::ir::{Address, PredSrc, Reg, Space, Special, Src};
use super::scope::Symbol;
use super::{Lowering, Result};

/// How exactly a register's width must match its instruction's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    /// Arithmetic.
    Exact,
    /// Loads, stores and conversions: a register may be wider than the value.
    AtLeast,
}

impl<'a> Lowering<'_, 'a> {
    /// The operand at a place, which must be there.
    pub(super) fn operand<'i>(&self, instruction: &'i Instruction<'a>, at: usize) -> Result<&'i Operand<'a>> {
        instruction.operands.get(at).ok_or_else(|| {
            self.error(format!(
                "`{}` needs at least {} operands and has {}",
                instruction.text,
                at + 1,
                instruction.operands.len()
            ))
        })
    }

    /// Refuses an instruction with more or fewer operands.
    pub(super) fn count(&self, instruction: &Instruction<'a>, expected: usize) -> Result<()> {
        let found = instruction.operands.len();
        if found == expected {
            return Ok(());
        }
        Err(self.error(format!("`{}` needs {expected} operands and has {found}", instruction.text)))
    }

    fn check_width(&self, name: &str, have: u32, need: u32, width: Width) -> Result<()> {
        let fits = match width {
            Width::Exact => have == need,
            Width::AtLeast => have >= need,
        };
        if fits {
            return Ok(());
        }
        Err(self.error(format!("`{name}` has {have} bits where {need} are needed")))
    }

    /// The number and width of a register that is written (or read) as `bits` wide.
    pub(super) fn data_register(&mut self, name: &'a str, bits: u32, width: Width) -> Result<(Reg, u32)> {
        let register = self.register(name)?;
        if register.ty == Type::Pred {
            return Err(self.error(format!("`{name}` is a predicate where a value is needed")));
        }
        self.check_width(name, register.ty.bits(), bits, width)?;
        Ok((register.index, register.ty.bits()))
    }

    /// A destination of exactly this width.
    pub(super) fn dst(&mut self, operand: &Operand<'a>, bits: u32) -> Result<Reg> {
        match operand {
            Operand::Name(name, 0) => Ok(self.data_register(name, bits, Width::Exact)?.0),
            _ => Err(self.error("the destination must be a register")),
        }
    }

    /// A destination that may be wider, or `_`.
    pub(super) fn wide_dst(&mut self, operand: &Operand<'a>, bits: u32) -> Result<Option<(Reg, u32)>> {
        match operand {
            Operand::Name("_", 0) => Ok(None),
            Operand::Name(name, 0) => self.data_register(name, bits, Width::AtLeast).map(Some),
            _ => Err(self.error("the destination must be a register")),
        }
    }

    /// A destination predicate; `_` is none.
    pub(super) fn pred_dst(&mut self, name: &'a str) -> Result<Option<Reg>> {
        if name == "_" {
            return Ok(None);
        }
        let register = self.register(name)?;
        if register.ty != Type::Pred {
            return Err(self.error(format!("`{name}` is not a predicate")));
        }
        Ok(Some(register.index))
    }

    /// A predicate that is read.
    pub(super) fn pred(&mut self, operand: &Operand<'a>) -> Result<PredSrc> {
        let (name, negated) = match operand {
            Operand::Int(value) => return Ok(PredSrc::Const(*value != 0)),
            Operand::Name(name, 0) => (*name, false),
            Operand::Not(name) => (*name, true),
            _ => return Err(self.error("expected a predicate")),
        };
        match self.pred_dst(name)? {
            Some(index) => Ok(PredSrc::Reg { index, negated }),
            None => Err(self.error("expected a predicate, found `_`")),
        }
    }

    /// A source of exactly the type's width.
    pub(super) fn src(&mut self, operand: &Operand<'a>, ty: Type) -> Result<Src> {
        self.any_src(operand, ty, Width::Exact)
    }

    /// A source that may lie in a wider register.
    pub(super) fn any_src(&mut self, operand: &Operand<'a>, ty: Type, width: Width) -> Result<Src> {
        let mask = if ty.bits() >= 64 { u64::MAX } else { (1 << ty.bits()) - 1 };
        match operand {
            Operand::Name(name, addend) => self.named_src(name, *addend, ty, width),
            Operand::Member(name, member) => self.special_src(name, member, ty),
            Operand::Int(_) if matches!(ty, Type::F32 | Type::F64) => {
                Err(self.error(format!("expected a float for `.{}`, found an integer", ty.name())))
            }
            Operand::Int(value) => Ok(Src::Imm(value & mask)),
            Operand::F32(bits) if ty.bits() == 64 && ty.is_float() => {
                Ok(Src::Imm(f64::from(f32::from_bits(*bits)).to_bits()))
            }
            Operand::F32(bits) if ty.bits() >= 32 => Ok(Src::Imm((*bits).into())),
            Operand::F64(bits) if ty == Type::F32 => {
                Ok(Src::Imm((f64::from_bits(*bits) as f32).to_bits().into()))
            }
            Operand::F64(bits) if ty.bits() == 64 => Ok(Src::Imm(*bits)),
            Operand::Decimal(value) if ty == Type::F32 => Ok(Src::Imm((*value as f32).to_bits().into())),
            Operand::Decimal(value) if ty == Type::F64 => Ok(Src::Imm(value.to_bits())),
            _ => Err(self.error(format!("expected a register or a number for `.{}`", ty.name()))),
        }
    }

    fn named_src(&mut self, name: &'a str, addend: i64, ty: Type, width: Width) -> Result<Src> {
        if let Some(special) = special(name, "") {
            return self.check_special(name, special, ty);
        }
        if name == "WARP_SZ" {
            return Ok(Src::Imm(32));
        }
        if self.find_register(name)?.is_some() {
            if addend != 0 {
                return Err(self.error("a register in an operand takes no offset"));
            }
            return Ok(Src::Reg(self.data_register(name, ty.bits(), width)?.0));
        }
        let Some(symbol) = self.find_symbol(name)? else {
            return Err(self.error(format!("`{name}` is not declared")));
        };
        if ty.bits() < 32 || ty.is_float() {
            return Err(self.error(format!("an address does not fit `.{}`", ty.name())));
        }
        self.symbol_address(symbol, addend)
    }

    /// The address of a variable within its own space.
    pub(super) fn symbol_address(&mut self, symbol: Symbol<'a>, addend: i64) -> Result<Src> {
        let small = |at: u32| u32::try_from(i64::from(at).checked_add(addend)?).ok();
        let out_of_range = self.error("an offset from a variable is out of range");
        Ok(match symbol {
            Symbol::Address(address) => Src::Imm(address.wrapping_add(addend as u64)),
            Symbol::SharedAt(at) => Src::Imm(u64::from(at).wrapping_add(addend as u64)),
            Symbol::KernelParam(at) => Src::Imm(u64::from(at).wrapping_add(addend as u64)),
            Symbol::Frame(at) => Src::Local(small(at).ok_or(out_of_range)?),
            Symbol::Shared(variable) if variable.bytes == 0 => {
                self.shared.use_dynamic(variable.align);
                Src::DynamicShared(small(0).ok_or(out_of_range)?)
            }
            Symbol::Shared(variable) => {
                let at = self.shared.place_once(variable)?;
                Src::Imm(u64::from(at).wrapping_add(addend as u64))
            }
        })
    }

    fn special_src(&mut self, name: &str, member: &str, ty: Type) -> Result<Src> {
        match special(name, member) {
            Some(special) => self.check_special(name, special, ty),
            None => {
                Err(self.error(format!("the software GPU does not support the operand `{name}.{member}`")))
            }
        }
    }

    fn check_special(&self, name: &str, special: Special, ty: Type) -> Result<Src> {
        if ty.is_float() || ty.bits() < 16 {
            return Err(self.error(format!("`{name}` does not fit `.{}`", ty.name())));
        }
        Ok(Src::Special(special))
    }

    /// `[base+offset]` in a space.
    pub(super) fn address(&mut self, operand: &Operand<'a>, space: Space) -> Result<Address> {
        let Operand::Address { base, offset } = operand else {
            return Err(self.error("expected an address in brackets"));
        };
        let Some(name) = base else {
            return Ok(Address { space, base: Src::Imm(*offset as u64), offset: 0, narrow: false });
        };
        if self.find_register(name)?.is_some() {
            let (register, bits) = self.data_register(name, 32, Width::AtLeast)?;
            return Ok(Address { space, base: Src::Reg(register), offset: *offset, narrow: bits == 32 });
        }
        let Some(symbol) = self.find_symbol(name)? else {
            return Err(self.error(format!("`{name}` is not declared")));
        };
        let space = match (space, symbol) {
            (Space::Param | Space::Local, Symbol::Frame(at)) => {
                let base = Src::Imm(at.into());
                return Ok(Address { space: Space::Frame, base, offset: *offset, narrow: false });
            }
            (Space::Generic, Symbol::Address(_)) => Space::Global,
            (Space::Generic, Symbol::Shared(_) | Symbol::SharedAt(_)) => Space::Shared,
            (Space::Global, Symbol::Address(_)) => space,
            (Space::Shared, Symbol::Shared(_) | Symbol::SharedAt(_)) => space,
            (Space::Param, Symbol::KernelParam(_)) => space,
            _ => return Err(self.error(format!("`{name}` is not in the state space of this instruction"))),
        };
        Ok(Address { space, base: self.symbol_address(symbol, 0)?, offset: *offset, narrow: false })
    }
}

/// The special register of that name and member.
fn special(name: &str, member: &str) -> Option<Special> {
    let axis = match member {
        "x" => Some(0),
        "y" => Some(1),
        "z" => Some(2),
        "w" => Some(3),
        _ => None,
    };
    Some(match (name, axis) {
        ("%tid", Some(axis)) => Special::Tid(axis),
        ("%ntid", Some(axis)) => Special::Ntid(axis),
        ("%ctaid", Some(axis)) => Special::Ctaid(axis),
        ("%nctaid", Some(axis)) => Special::Nctaid(axis),
        _ if !member.is_empty() => return None,
        ("%laneid", _) => Special::Lane,
        ("%warpid", _) => Special::Warp,
        ("%nwarpid", _) => Special::Warps,
        ("%smid", _) => Special::Sm,
        ("%nsmid", _) => Special::Sms,
        ("%gridid", _) => Special::Grid,
        ("%lanemask_eq", _) => Special::MaskEq,
        ("%lanemask_lt", _) => Special::MaskLt,
        ("%lanemask_le", _) => Special::MaskLe,
        ("%lanemask_gt", _) => Special::MaskGt,
        ("%lanemask_ge", _) => Special::MaskGe,
        ("%clock", _) => Special::Clock,
        ("%clock_hi", _) => Special::ClockHigh,
        ("%clock64", _) => Special::Clock64,
        ("%globaltimer" | "%globaltimer_lo", _) => Special::GlobalTimer,
        ("%globaltimer_hi", _) => Special::GlobalTimerHigh,
        ("%dynamic_smem_size", _) => Special::DynamicSharedSize,
        ("%total_smem_size", _) => Special::TotalSharedSize,
        ("%envreg1", _) => Special::WorkspaceHigh,
        ("%envreg2", _) => Special::WorkspaceLow,
        _ => return None,
    })
}
