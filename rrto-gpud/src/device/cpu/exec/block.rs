//! A block: its shared memory, its barriers, and its warps in turn.

use rrto_core::api::CuResult;

use super::barrier::Barriers;
use super::fault::{Fault, OutOfMemory, lengthen};
use super::launch::Grid;
use super::warp::{Around, Warp};
use crate::device::cpu::alu::{Mask, WARP};

/// Instructions that a warp executes before the next one's turn: some tens of microseconds, so that the clock
/// is read seldom and a warp that spins holds the others up little.
const SLICE_INSTRUCTIONS: u32 = 1000;

/// How a turn of a block ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Running,
    Done,
}

/// A block that is running, or the empty shell of one: its memory serves the next block.
#[derive(Debug, Default)]
pub(super) struct Block {
    index: [u32; 3],
    shared: Vec<u8>,
    barriers: Barriers,
    warps: Vec<Warp>,
}

impl Block {
    /// Makes this the block of that number, at its beginning.
    ///
    /// # Errors
    /// The machine has no memory for it.
    pub(super) fn begin(&mut self, number: u64, grid: &Grid<'_>) -> Result<(), OutOfMemory> {
        let [x, y, _] = grid.grid.map(u64::from);
        self.index = [number % x, number / x % y, number / x / y].map(|i| i as u32);
        self.shared.clear();
        lengthen(&mut self.shared, grid.shared_bytes(), 0)?;
        self.barriers.reset();
        let threads = grid.threads();
        let count = grid.warps();
        self.warps.truncate(count as usize);
        for number in self.warps.len() as u32..count {
            self.warps.push(Warp::new(number));
        }
        for (number, warp) in (0u32..).zip(&mut self.warps) {
            let lanes = (threads - number * WARP as u32).min(WARP as u32);
            warp.reset(Mask::MAX >> (WARP as u32 - lanes), grid)?;
        }
        Ok(())
    }

    /// Gives each warp a turn.
    pub(super) fn turn(&mut self, grid: &Grid<'_>, sm: u32) -> Result<Progress, Fault> {
        let Self { index, shared, barriers, warps } = self;
        let mut around = Around { grid, shared, barriers, block_index: *index, sm };
        let mut progress = false;
        for warp in warps.iter_mut() {
            progress |= warp.run(&mut around, SLICE_INSTRUCTIONS)?;
        }
        let live: u32 = warps.iter().map(|warp| warp.alive.count_ones()).sum();
        if live == 0 {
            return Ok(Progress::Done);
        }
        while let Some(release) = around.barriers.next_complete(live) {
            warps.iter_mut().for_each(|warp| warp.release(release, &around));
            progress = true;
        }
        if !progress {
            let message = format!(
                "kernel `{}`, block {:?}: all of its {live} live threads wait for each other",
                grid.kernel_name(),
                self.index
            );
            return Err(Fault::new(CuResult::LAUNCH_FAILED, message));
        }
        Ok(Progress::Running)
    }
}
