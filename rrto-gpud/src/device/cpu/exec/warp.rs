//! A warp: 32 lanes, each at its own instruction.

use rrto_core::api::CuResult;

use super::barrier::Barriers;
use super::fault::{Fault, LaneFault, OutOfMemory, lengthen};
use super::launch::Grid;
use crate::device::cpu::alu::{Lanes, Mask, WARP, lanes_of};
use crate::device::cpu::ptx::ir::Pc;

/// How many times a group is chosen by its place before one is chosen by turn. Small enough that a lane
/// waiting for a lock's holder wastes little, large enough that divergent code mostly stays in step.
const PICKS_BETWEEN_TURNS: u32 = 64;
/// Deepest nesting of calls. The hardware's stack of 1 kB a thread allows fewer; recursion beyond this is a
/// runaway.
pub(super) const MAX_CALL_DEPTH: usize = 512;
/// Most registers of a warp in all its calls: 16 MiB.
const MAX_CALL_REGISTERS: usize = 1 << 16;
/// Most bytes of local memory a thread may use over all its calls: the hardware's limit.
pub(super) const MAX_LOCAL_BYTES: usize = 512 << 10;

/// What a warp needs of its block while it runs.
pub(super) struct Around<'a, 'g> {
    pub grid: &'a Grid<'g>,
    pub shared: &'a mut Vec<u8>,
    pub barriers: &'a mut Barriers,
    pub block_index: [u32; 3],
    pub sm: u32,
}

/// Lanes at the same instruction in calls of the same depth.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    pub mask: Mask,
    pub pc: Pc,
    pub depth: usize,
}

/// What comes after an instruction.
pub(super) enum Flow {
    /// The next instruction, for the whole group.
    Next,
    /// Another instruction, for the whole group.
    Jump(Pc),
    /// The lanes have been sent on their ways: choose anew.
    Scatter,
    /// Likewise, and let the other warps run first.
    Yield,
}

#[derive(Debug)]
pub(super) struct Warp {
    /// The warp's number in its block.
    pub number: u32,
    /// Lanes that have not exited.
    pub alive: Mask,
    /// Lanes that wait for others of the warp, or at a barrier.
    pub waiting: Mask,
    pub at_barrier: Mask,
    /// For a lane that waits: the members it waits for, or the number of its barrier.
    pub waits_for: [u32; WARP],
    /// Where each lane that is not running stands.
    pub pc: [Pc; WARP],
    /// How many calls deep each lane is.
    pub depth: [u16; WARP],
    /// Where each lane returns to, by depth.
    pub returns: Vec<[Pc; WARP]>,
    pub registers: Vec<Lanes>,
    pub predicates: Vec<Mask>,
    pub carry: Mask,
    pub locals: Vec<Vec<u8>>,
    picks: u32,
    turn: u32,
}

impl Warp {
    pub(super) fn new(number: u32) -> Self {
        Self {
            number,
            alive: 0,
            waiting: 0,
            at_barrier: 0,
            waits_for: [0; WARP],
            pc: [0; WARP],
            depth: [0; WARP],
            returns: Vec::new(),
            registers: Vec::new(),
            predicates: Vec::new(),
            carry: 0,
            locals: vec![Vec::new(); WARP],
            picks: 0,
            turn: 0,
        }
    }

    /// Puts every lane of the mask at the kernel's first instruction. Registers and local memory begin as
    /// zero, so that a kernel which reads what it has not written does the same each time and learns nothing
    /// of another.
    ///
    /// # Errors
    /// The machine has no memory for them.
    pub(super) fn reset(&mut self, mask: Mask, grid: &Grid<'_>) -> Result<(), OutOfMemory> {
        self.alive = mask;
        (self.waiting, self.at_barrier, self.carry) = (0, 0, 0);
        self.pc = [grid.routine().entry; WARP];
        self.depth = [0; WARP];
        self.registers.clear();
        lengthen(&mut self.registers, grid.frames.registers(1), [0; WARP])?;
        self.predicates.clear();
        lengthen(&mut self.predicates, grid.frames.predicates(1), 0)?;
        let local = grid.frames.local(1);
        for lane in lanes_of(mask) {
            self.locals[lane].clear();
            lengthen(&mut self.locals[lane], local, 0)?;
        }
        Ok(())
    }

    /// Lanes that can execute.
    pub(super) fn runnable(&self) -> Mask {
        self.alive & !self.waiting & !self.at_barrier
    }

    /// Executes up to `budget` instructions, or until no lane can; whether any was executed.
    pub(super) fn run(&mut self, around: &mut Around<'_, '_>, mut budget: u32) -> Result<bool, Fault> {
        let mut progress = false;
        while budget > 0 {
            let Some(group) = self.pick() else {
                // Lanes may wait for one that has exited meanwhile.
                if self.meet_waiting(around) {
                    continue;
                }
                break;
            };
            progress = true;
            if self.run_group(group, &mut budget, around)? {
                break;
            }
        }
        Ok(progress)
    }

    /// The group whose turn it is.
    fn pick(&mut self) -> Option<Group> {
        let runnable = self.runnable();
        if runnable == 0 {
            return None;
        }
        self.picks = self.picks.wrapping_add(1);
        let leader = if self.picks.is_multiple_of(PICKS_BETWEEN_TURNS) {
            self.turn = self.turn.wrapping_add(1);
            let rotated = runnable.rotate_right(self.turn % WARP as u32);
            ((rotated.trailing_zeros() + self.turn) % WARP as u32) as usize
        } else {
            lanes_of(runnable).min_by_key(|&lane| (u16::MAX - self.depth[lane], self.pc[lane]))?
        };
        let (pc, depth) = (self.pc[leader], self.depth[leader]);
        let mut mask = 0;
        for lane in 0..WARP {
            mask |= Mask::from(self.pc[lane] == pc && self.depth[lane] == depth) << lane;
        }
        Some(Group { mask: mask & runnable, pc, depth: depth.into() })
    }

    /// Executes a group until it splits, meets other lanes, waits or ends, or the budget is spent; whether it
    /// asked to yield.
    fn run_group(
        &mut self,
        mut group: Group,
        budget: &mut u32,
        around: &mut Around<'_, '_>,
    ) -> Result<bool, Fault> {
        let others = self.runnable() & !group.mask;
        // Where the nearest lanes ahead stand: there the group ends and a larger one may begin.
        let stop = lanes_of(others)
            .filter(|&lane| usize::from(self.depth[lane]) == group.depth && self.pc[lane] > group.pc)
            .map(|lane| self.pc[lane])
            .min()
            .unwrap_or(Pc::MAX);
        loop {
            match self.step(&group, around) {
                Ok(Flow::Next) => group.pc += 1,
                Ok(Flow::Jump(pc)) => {
                    group.pc = pc;
                    if others != 0 {
                        *budget = budget.saturating_sub(1);
                        self.park(&group);
                        return Ok(false);
                    }
                }
                Ok(Flow::Scatter) => {
                    *budget = budget.saturating_sub(1);
                    return Ok(false);
                }
                Ok(Flow::Yield) => return Ok(true),
                Err(fault) => return Err(self.locate(&group, fault, around)),
            }
            *budget = budget.saturating_sub(1);
            if group.pc == stop || *budget == 0 {
                self.park(&group);
                return Ok(false);
            }
        }
    }

    /// Notes where a group stands, since it stops running.
    pub(super) fn park(&mut self, group: &Group) {
        self.send(group.mask, group.pc);
    }

    /// Sends lanes to an instruction.
    pub(super) fn send(&mut self, mask: Mask, pc: Pc) {
        if mask == Mask::MAX {
            self.pc = [pc; WARP];
        } else {
            lanes_of(mask).for_each(|lane| self.pc[lane] = pc);
        }
    }

    /// Says which thread of which block did it, and on which line.
    fn locate(&self, group: &Group, fault: LaneFault, around: &Around<'_, '_>) -> Fault {
        let grid = around.grid;
        let thread = self.number * WARP as u32 + fault.lane as u32;
        let [x, y, _] = grid.block;
        let thread = [thread % x, thread / x % y, thread / x / y];
        let line = grid.line(group.pc);
        let kernel = grid.kernel_name();
        let block = around.block_index;
        let message =
            format!("kernel `{kernel}`, PTX line {line}, block {block:?}, thread {thread:?}: {}", fault.what);
        Fault::new(fault.code, message)
    }

    /// Enters a function with the lanes of the mask, which will return to `back`.
    pub(super) fn enter(
        &mut self,
        mask: Mask,
        depth: usize,
        back: Pc,
        grid: &Grid<'_>,
    ) -> Result<(), LaneFault> {
        let inner = depth + 1;
        let lane = mask.trailing_zeros() as usize % WARP;
        let local = grid.frames.local(inner + 1);
        let registers = grid.frames.registers(inner + 1) - grid.frames.registers(1);
        if inner >= MAX_CALL_DEPTH || local > MAX_LOCAL_BYTES || registers > MAX_CALL_REGISTERS {
            return Err(LaneFault::new(lane, CuResult::HARDWARE_STACK_ERROR, "the stack overflowed"));
        }
        let none = |OutOfMemory| {
            LaneFault::new(lane, CuResult::OUT_OF_MEMORY, "the machine has no memory for a call")
        };
        lengthen(&mut self.returns, inner, [0; WARP]).map_err(none)?;
        lengthen(&mut self.registers, grid.frames.registers(inner + 1), [0; WARP]).map_err(none)?;
        lengthen(&mut self.predicates, grid.frames.predicates(inner + 1), 0).map_err(none)?;
        for lane in lanes_of(mask) {
            lengthen(&mut self.locals[lane], local, 0).map_err(none)?;
            self.depth[lane] = inner as u16;
            self.returns[depth][lane] = back;
        }
        Ok(())
    }
}
