//! Reading operands and writing results, for a group of lanes.

use super::warp::{Around, Group, Warp};
use crate::device::cpu::alu::{Lanes, Mask, WARP};
use crate::device::cpu::ptx::ir::{PredSrc, Reg, Special, Src};

/// An operand's value in every lane: a register in place, or something made for the occasion.
#[expect(
    clippy::large_enum_variant,
    reason = "it lives on the stack for one instruction; a box would cost more"
)]
pub(super) enum Value<'a> {
    Register(&'a Lanes),
    Made(Lanes),
}

impl std::ops::Deref for Value<'_> {
    type Target = Lanes;

    #[inline(always)]
    fn deref(&self) -> &Lanes {
        match self {
            Value::Register(lanes) => lanes,
            Value::Made(lanes) => lanes,
        }
    }
}

const ZERO: Lanes = [0; WARP];

impl Warp {
    #[inline(always)]
    pub(super) fn value(&self, src: Src, group: &Group, around: &Around<'_, '_>) -> Value<'_> {
        match src {
            Src::Reg(register) => {
                let at = around.grid.frames.registers(group.depth) + register as usize;
                Value::Register(self.registers.get(at).unwrap_or(&ZERO))
            }
            Src::Imm(value) => Value::Made([value; WARP]),
            other => Value::Made(self.rare_value(other, group, around)),
        }
    }

    #[inline(never)]
    fn rare_value(&self, src: Src, group: &Group, around: &Around<'_, '_>) -> Lanes {
        match src {
            Src::Special(special) => self.special(special, around),
            Src::Local(offset) => [around.grid.frames.local(group.depth) as u64 + u64::from(offset); WARP],
            Src::DynamicShared(offset) => [u64::from(around.grid.dynamic_base + offset); WARP],
            Src::Reg(_) | Src::Imm(_) => ZERO,
        }
    }

    fn special(&self, special: Special, around: &Around<'_, '_>) -> Lanes {
        let grid = around.grid;
        let axis = |of: [u32; 3], axis: u8| u64::from(of.get(usize::from(axis)).copied().unwrap_or(0));
        let size = |of: [u32; 3], axis: u8| u64::from(of.get(usize::from(axis)).copied().unwrap_or(1));
        let first = u64::from(self.number) * WARP as u64;
        let each = |f: &dyn Fn(u64) -> u64| std::array::from_fn(|lane| f(lane as u64));
        let all = |value: u64| [value; WARP];
        let nanos = || grid.started.elapsed().as_nanos() as u64;
        let low = |value: u64| value & 0xffff_ffff;
        match special {
            Special::Tid(0) => each(&|lane| (first + lane) % size(grid.block, 0)),
            Special::Tid(1) => each(&|lane| (first + lane) / size(grid.block, 0) % size(grid.block, 1)),
            Special::Tid(2) => each(&|lane| (first + lane) / size(grid.block, 0) / size(grid.block, 1)),
            Special::Tid(_) => all(0),
            Special::Ntid(a) => all(size(grid.block, a)),
            Special::Ctaid(a) => all(axis(around.block_index, a)),
            Special::Nctaid(a) => all(size(grid.grid, a)),
            Special::Lane => each(&|lane| lane),
            Special::Warp => all(self.number.into()),
            Special::Warps => all(grid.warps().into()),
            Special::Sm => all(around.sm.into()),
            Special::Sms => all(grid.workers.into()),
            Special::Grid => all(grid.number),
            Special::MaskEq => each(&|lane| 1 << lane),
            Special::MaskLt => each(&|lane| (1 << lane) - 1),
            Special::MaskLe => each(&|lane| low((2 << lane) - 1)),
            Special::MaskGt => each(&|lane| low(!((2 << lane) - 1))),
            Special::MaskGe => each(&|lane| low(!((1 << lane) - 1))),
            Special::Clock => all(low(nanos())),
            Special::ClockHigh => all(nanos() >> 32),
            Special::Clock64 => all(nanos()),
            Special::GlobalTimer => all(grid.epoch_nanos.wrapping_add(nanos())),
            Special::GlobalTimerHigh => all(grid.epoch_nanos.wrapping_add(nanos()) >> 32),
            Special::DynamicSharedSize => all(grid.dynamic_shared.into()),
            Special::TotalSharedSize => all(around.shared.len() as u64),
            Special::WorkspaceHigh => all(grid.workspace >> 32),
            Special::WorkspaceLow => all(low(grid.workspace)),
        }
    }

    /// The lanes where a predicate holds.
    #[inline(always)]
    pub(super) fn predicate(&self, src: PredSrc, group: &Group, around: &Around<'_, '_>) -> Mask {
        match src {
            PredSrc::Const(true) => Mask::MAX,
            PredSrc::Const(false) => 0,
            PredSrc::Reg { index, negated } => {
                let at = around.grid.frames.predicates(group.depth) + index as usize;
                let mask = self.predicates.get(at).copied().unwrap_or(0);
                if negated { !mask } else { mask }
            }
        }
    }

    /// Sets a predicate in the lanes of the mask.
    #[inline(always)]
    pub(super) fn set_predicate(
        &mut self,
        d: Reg,
        value: Mask,
        mask: Mask,
        group: &Group,
        around: &Around<'_, '_>,
    ) {
        let at = around.grid.frames.predicates(group.depth) + d as usize;
        if let Some(p) = self.predicates.get_mut(at) {
            *p = *p & !mask | value & mask;
        }
    }

    /// The register to write to.
    #[inline(always)]
    pub(super) fn register(&mut self, d: Reg, group: &Group, around: &Around<'_, '_>) -> Option<&mut Lanes> {
        self.registers.get_mut(around.grid.frames.registers(group.depth) + d as usize)
    }

    /// Sets a register in the lanes of the mask.
    #[inline]
    pub(super) fn set_register(
        &mut self,
        d: Reg,
        value: &Lanes,
        mask: Mask,
        group: &Group,
        around: &Around<'_, '_>,
    ) {
        let Some(out) = self.register(d, group, around) else { return };
        if mask == Mask::MAX {
            *out = *value;
        } else {
            crate::device::cpu::alu::lanes_of(mask).for_each(|lane| out[lane] = value[lane]);
        }
    }
}
