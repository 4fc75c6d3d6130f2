//! One instruction, for a group of lanes.

use rrto_core::api::CuResult;

use super::fault::LaneFault;
use super::warp::{Around, Flow, Group, Warp};
use super::window;
use crate::device::cpu::alu::soft::{F32, F64};
use crate::device::cpu::alu::{Lanes, Mask, WARP, float, integer, lanes_of, map1, map3};
use crate::device::cpu::ptx::ir::{Call, Carry, CarryKind, FrameCopy, Inst, Op, Set, SetP, Space, Src};

type Step = Result<Flow, LaneFault>;

impl Warp {
    /// Executes the group's instruction.
    #[inline]
    pub(super) fn step(&mut self, group: &Group, around: &mut Around<'_, '_>) -> Step {
        let grid = around.grid;
        let Some(inst) = grid.inst(group.pc) else {
            let lane = group.mask.trailing_zeros() as usize;
            return Err(LaneFault::new(lane, CuResult::ILLEGAL_INSTRUCTION, "there is no such instruction"));
        };
        let active = group.mask & self.predicate(inst.guard, group, around);
        if active == 0 {
            return Ok(Flow::Next);
        }
        match &inst.op {
            Op::Map1 { f, mode, d, a } => {
                if let Some([d, a]) = self.in_place([Src::Reg(*d), *a], group, around) {
                    f(*mode, d, a, active);
                    return Ok(Flow::Next);
                }
                let mut out = self.old(*d, group, around);
                f(*mode, &mut out, &self.value(*a, group, around), active);
                self.put(*d, &out, group, around);
            }
            Op::Map2 { f, mode, d, a, b } => {
                if let Some([d, a, b]) = self.in_place([Src::Reg(*d), *a, *b], group, around) {
                    f(*mode, d, a, b, active);
                    return Ok(Flow::Next);
                }
                let mut out = self.old(*d, group, around);
                f(*mode, &mut out, &self.value(*a, group, around), &self.value(*b, group, around), active);
                self.put(*d, &out, group, around);
            }
            Op::Map3 { f, mode, d, a, b, c } => {
                if let Some([d, a, b, c]) = self.in_place([Src::Reg(*d), *a, *b, *c], group, around) {
                    f(*mode, d, a, b, c, active);
                    return Ok(Flow::Next);
                }
                let mut out = self.old(*d, group, around);
                let (a, b) = (self.value(*a, group, around), self.value(*b, group, around));
                f(*mode, &mut out, &a, &b, &self.value(*c, group, around), active);
                self.put(*d, &out, group, around);
            }
            Op::Move { d, a } => {
                let mut out = self.old(*d, group, around);
                map1(&mut out, &self.value(*a, group, around), active, |x| x);
                self.put(*d, &out, group, around);
            }
            Op::SetP(setp) => self.setp(setp, active, group, around),
            Op::Load(load) => self.load(load, active, group, around)?,
            Op::Store(store) => self.store(store, active, group, around)?,
            Op::Branch { target } => {
                if active == group.mask {
                    return Ok(Flow::Jump(*target));
                }
                self.send(group.mask & !active, group.pc + 1);
                self.send(active, *target);
                return Ok(Flow::Scatter);
            }
            _ => return self.rare_step(inst, active, group, around),
        }
        Ok(Flow::Next)
    }

    /// The registers themselves, if the operands are registers and no two are the same: then nothing needs to
    /// be copied.
    #[inline(always)]
    fn in_place<const N: usize>(
        &mut self,
        operands: [Src; N],
        group: &Group,
        around: &Around<'_, '_>,
    ) -> Option<[&mut Lanes; N]> {
        let base = around.grid.frames.registers(group.depth);
        let mut at = [0; N];
        for (at, operand) in at.iter_mut().zip(operands) {
            let Src::Reg(register) = operand else { return None };
            *at = base + register as usize;
        }
        self.registers.get_disjoint_mut(at).ok()
    }

    fn old(&self, d: u32, group: &Group, around: &Around<'_, '_>) -> Lanes {
        *self.value(Src::Reg(d), group, around)
    }

    fn put(&mut self, d: u32, value: &Lanes, group: &Group, around: &Around<'_, '_>) {
        if let Some(out) = self.register(d, group, around) {
            *out = *value;
        }
    }

    #[inline(never)]
    fn rare_step(&mut self, inst: &Inst, active: Mask, group: &Group, around: &mut Around<'_, '_>) -> Step {
        match &inst.op {
            Op::Lop3 { d, a, b, c, table } => {
                let mut out = self.old(*d, group, around);
                let (a, b) = (self.value(*a, group, around), self.value(*b, group, around));
                let c = self.value(*c, group, around);
                map3(&mut out, &a, &b, &c, active, |x, y, z| integer::lop3(x, y, z, *table));
                self.put(*d, &out, group, around);
            }
            Op::Bfi { d, sources, bits } => {
                let mut out = self.old(*d, group, around);
                let [field, base, position, length] = sources.map(|s| self.value(s, group, around));
                lanes_of(active).for_each(|i| {
                    out[i] = integer::bfi(field[i], base[i], position[i], length[i], *bits);
                });
                self.put(*d, &out, group, around);
            }
            Op::Select { d, a, b, p } => {
                let mut out = self.old(*d, group, around);
                let p = self.predicate(*p, group, around);
                let (a, b) = (self.value(*a, group, around), self.value(*b, group, around));
                lanes_of(active).for_each(|i| out[i] = if p >> i & 1 == 1 { a[i] } else { b[i] });
                self.put(*d, &out, group, around);
            }
            Op::Slct { d, a, b, c, float } => {
                let mut out = self.old(*d, group, around);
                let (a, b) = (self.value(*a, group, around), self.value(*b, group, around));
                let c = self.value(*c, group, around);
                let chosen = |x: u64| if *float { f32::from_bits(x as u32) >= 0.0 } else { x as i32 >= 0 };
                lanes_of(active).for_each(|i| out[i] = if chosen(c[i]) { a[i] } else { b[i] });
                self.put(*d, &out, group, around);
            }
            Op::Set(set) => self.set(set, active, group, around),
            Op::Carry(carry) => self.carry(carry, active, group, around),
            Op::PredLogic { combine, d, a, b } => {
                let value =
                    combine.apply(self.predicate(*a, group, around), self.predicate(*b, group, around));
                self.set_predicate(*d, value, active, group, around);
            }
            Op::PredMove { d, a } => {
                let value = self.predicate(*a, group, around);
                self.set_predicate(*d, value, active, group, around);
            }
            Op::TestProperty { d, a, double, property } => {
                let format = if *double { F64 } else { F32 };
                let value =
                    mask_where(&self.value(*a, group, around), |x| float::has_property(x, format, *property));
                self.set_predicate(*d, value, active, group, around);
            }
            Op::IsSpace { d, a, space } => {
                let value = mask_where(&self.value(*a, group, around), |x| in_space(x, *space));
                self.set_predicate(*d, value, active, group, around);
            }
            Op::Unpack { parts, bits, a } => {
                let a = *self.value(*a, group, around);
                let mask = (1u64 << bits) - 1;
                for (place, part) in (0u32..).zip(parts) {
                    let Some(d) = part else { continue };
                    let value = a.map(|x| x >> (place * bits) & mask);
                    self.set_register(*d, &value, active, group, around);
                }
            }
            Op::Pack { d, parts, bits } => {
                let mut value = [0; WARP];
                for (place, part) in (0u32..).zip(parts) {
                    let part = self.value(*part, group, around);
                    (0..WARP).for_each(|i| value[i] |= part[i] << (place * bits));
                }
                self.set_register(*d, &value, active, group, around);
            }
            Op::ActiveMask { d } => {
                self.set_register(*d, &[active.into(); WARP], active, group, around);
            }
            Op::Atomic(atomic) => self.atomic(atomic, active, group, around)?,
            Op::CopyAsync { to, from, size, copied } => {
                self.copy_async(to, from, (*size, *copied), active, group, around)?;
            }
            Op::Fence => std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst),
            _ => return self.control(inst, active, group, around),
        }
        Ok(Flow::Next)
    }

    /// Instructions that move lanes about.
    fn control(&mut self, inst: &Inst, active: Mask, group: &Group, around: &mut Around<'_, '_>) -> Step {
        let rest = group.mask & !active;
        let first = active.trailing_zeros() as usize;
        match &inst.op {
            Op::BranchIndexed { index, targets } => {
                let index = *self.value(*index, group, around);
                self.send(rest, group.pc + 1);
                for lane in lanes_of(active) {
                    let Some(&target) = targets.get(index[lane] as usize) else {
                        let what = format!("`brx.idx` with index {}", index[lane]);
                        return Err(LaneFault::new(lane, CuResult::ILLEGAL_INSTRUCTION, what));
                    };
                    self.pc[lane] = target;
                }
            }
            Op::Call(call) => {
                self.send(rest, group.pc + 1);
                self.call(call, active, group, around)?;
            }
            Op::Return => {
                self.send(rest, group.pc + 1);
                if group.depth == 0 {
                    self.exit(active, around);
                } else {
                    self.return_from(active, group, around);
                }
            }
            Op::Exit => {
                self.send(rest, group.pc + 1);
                self.exit(active, around);
            }
            Op::Trap => {
                return Err(LaneFault::new(first, CuResult::LAUNCH_FAILED, "the kernel executed `trap`"));
            }
            Op::Assert { arguments } => return Err(self.assertion(arguments, first, group, around)),
            Op::Barrier(barrier) => return self.barrier(barrier, active, group, around),
            Op::Warp(warp) => return self.meet(warp, active, group, around),
            Op::Yield => {
                self.send(group.mask, group.pc + 1);
                return Ok(Flow::Yield);
            }
            _ => return Ok(Flow::Next),
        }
        Ok(Flow::Scatter)
    }

    fn setp(&mut self, setp: &SetP, active: Mask, group: &Group, around: &Around<'_, '_>) {
        let (a, b) = (self.value(setp.a, group, around), self.value(setp.b, group, around));
        let (low, high) = if setp.paired {
            let half = |x: &Lanes, shift: u32| x.map(|x| x >> shift & 0xffff);
            (
                (setp.f)(setp.mode, &half(&a, 0), &half(&b, 0)),
                (setp.f)(setp.mode, &half(&a, 16), &half(&b, 16)),
            )
        } else {
            let holds = (setp.f)(setp.mode, &a, &b);
            (holds, !holds)
        };
        let combined = |holds: Mask| match setp.combine {
            Some((combine, c)) => combine.apply(holds, self.predicate(c, group, around)),
            None => holds,
        };
        let (low, high) = (combined(low), combined(high));
        if let Some(d) = setp.d {
            self.set_predicate(d, low, active, group, around);
        }
        if let Some(q) = setp.q {
            self.set_predicate(q, high, active, group, around);
        }
    }

    fn set(&mut self, set: &Set, active: Mask, group: &Group, around: &Around<'_, '_>) {
        let (a, b) = (self.value(set.a, group, around), self.value(set.b, group, around));
        let mut out = [0; WARP];
        let halves: &[u32] = if set.paired { &[0, 16] } else { &[0] };
        for &shift in halves {
            let half = |x: &Lanes| if set.paired { x.map(|x| x >> shift & 0xffff) } else { *x };
            let mut holds = (set.f)(set.mode, &half(&a), &half(&b));
            if let Some((combine, c)) = set.combine {
                holds = combine.apply(holds, self.predicate(c, group, around));
            }
            lanes_of(holds).for_each(|i| out[i] |= set.yes << shift);
        }
        self.set_register(set.d, &out, active, group, around);
    }

    fn carry(&mut self, carry: &Carry, active: Mask, group: &Group, around: &Around<'_, '_>) {
        let (a, b) = (*self.value(carry.a, group, around), *self.value(carry.b, group, around));
        let c = *self.value(carry.c, group, around);
        let mut out = self.old(carry.d, group, around);
        let mask = if carry.bits == 64 { u64::MAX } else { 0xffff_ffff };
        for i in lanes_of(active) {
            let carried = u128::from(carry.carry_in && self.carry >> i & 1 == 1);
            let (x, y) = match carry.kind {
                CarryKind::Add | CarryKind::Sub => (a[i], b[i]),
                CarryKind::MadLow => (a[i].wrapping_mul(b[i]) & mask, c[i]),
                CarryKind::MadHigh => (high_product(a[i], b[i], carry.bits, carry.signed) & mask, c[i]),
            };
            let (x, y) = (u128::from(x), u128::from(y));
            let sum =
                if carry.kind == CarryKind::Sub { x.wrapping_sub(y + carried) } else { x + y + carried };
            out[i] = sum as u64 & mask;
            if carry.carry_out {
                // Beyond the width lies the carry; after a borrow, everything beyond is set.
                self.carry = self.carry & !(1 << i) | Mask::from(sum >> carry.bits != 0) << i;
            }
        }
        self.put(carry.d, &out, group, around);
    }

    fn call(
        &mut self,
        call: &Call,
        active: Mask,
        group: &Group,
        around: &Around<'_, '_>,
    ) -> Result<(), LaneFault> {
        let grid = around.grid;
        self.enter(active, group.depth, group.pc + 1, grid)?;
        let (outer, inner) = (grid.frames.local(group.depth), grid.frames.local(group.depth + 1));
        for lane in lanes_of(active) {
            copy_frames(&mut self.locals[lane], &call.arguments, outer, inner);
        }
        self.send(active, grid.entry_of(call.function));
        Ok(())
    }

    fn return_from(&mut self, active: Mask, group: &Group, around: &Around<'_, '_>) {
        let grid = around.grid;
        let outer = group.depth - 1;
        let (to, from) = (grid.frames.local(outer), grid.frames.local(group.depth));
        for lane in lanes_of(active) {
            let back = self.returns.get(outer).map_or(0, |lanes| lanes[lane]);
            self.pc[lane] = back;
            self.depth[lane] = outer as u16;
            // The call is the instruction before; lanes of one group may have come from different ones.
            if let Some(Inst { op: Op::Call(call), .. }) = back.checked_sub(1).and_then(|pc| grid.inst(pc)) {
                copy_frames(&mut self.locals[lane], &call.results, from, to);
            }
        }
    }

    fn exit(&mut self, lanes: Mask, around: &mut Around<'_, '_>) {
        self.alive &= !lanes;
        if self.waiting != 0 {
            self.meet_waiting(around);
        }
    }

    /// Reads what `__assertfail` was told.
    fn assertion(&self, arguments: &[u32], lane: usize, group: &Group, around: &Around<'_, '_>) -> LaneFault {
        let frame = around.grid.frames.local(group.depth);
        let argument = |n: usize, size: usize| {
            let at = frame + arguments.get(n).copied().unwrap_or(0) as usize;
            let mut bytes = [0; 8];
            if let (Some(from), Some(to)) = (self.locals[lane].get(at..at + size), bytes.get_mut(..size)) {
                to.copy_from_slice(from);
            }
            u64::from_le_bytes(bytes)
        };
        let text = |n| around.grid.text(argument(n, 8));
        let what = format!("{}:{}: {}: assertion `{}` failed", text(1), argument(2, 4), text(3), text(0));
        LaneFault::new(lane, CuResult::ASSERT, what)
    }
}

fn mask_where(value: &Lanes, holds: impl Fn(u64) -> bool) -> Mask {
    (0..WARP).fold(0, |mask, i| mask | Mask::from(holds(value[i])) << i)
}

fn in_space(address: u64, space: Space) -> bool {
    match space {
        Space::Shared => window::holds(window::SHARED, address),
        Space::Local | Space::Frame => window::holds(window::LOCAL, address),
        Space::Param => window::holds(window::PARAM, address),
        Space::Global | Space::Generic => address >= crate::device::cpu::memory::BASE_ADDRESS,
    }
}

fn high_product(a: u64, b: u64, bits: u32, signed: bool) -> u64 {
    match (bits, signed) {
        (64, false) => ((u128::from(a) * u128::from(b)) >> 64) as u64,
        (64, true) => ((i128::from(a as i64) * i128::from(b as i64)) >> 64) as u64,
        (_, false) => ((a & 0xffff_ffff) * (b & 0xffff_ffff)) >> 32,
        (_, true) => ((i64::from(a as i32) * i64::from(b as i32)) >> 32) as u64,
    }
}

/// Copies parameters from one frame of a lane's local memory to another.
fn copy_frames(local: &mut [u8], copies: &[FrameCopy], from: usize, to: usize) {
    for copy in copies {
        let (from, to) = (from + copy.from as usize, to + copy.to as usize);
        let end = from + copy.bytes as usize;
        if end <= local.len() && to + copy.bytes as usize <= local.len() {
            local.copy_within(from..end, to);
        }
    }
}
