//! Barriers of a block.

use rrto_core::api::CuResult;

use super::fault::LaneFault;
use super::warp::{Around, Flow, Group, Warp};
use crate::device::cpu::alu::{Mask, WARP, lanes_of};
use crate::device::cpu::ptx::ir::{Barrier, BarrierKind, Op};

/// Barriers that a block has.
const BARRIERS: usize = 16;

/// A block's barriers.
#[derive(Debug, Default)]
pub(super) struct Barriers([Arrivals; BARRIERS]);

#[derive(Clone, Copy, Debug, Default)]
struct Arrivals {
    threads: u32,
    /// How many must come; all of the block where absent.
    expected: Option<u32>,
    /// How many came with a predicate that holds.
    holding: u32,
}

/// What a complete barrier tells those who waited.
#[derive(Clone, Copy, Debug)]
pub(super) struct Release {
    id: usize,
    threads: u32,
    holding: u32,
}

impl Barriers {
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// A barrier at which everyone has come, which is then empty again. `live` is the number of threads that
    /// have not exited.
    pub(super) fn next_complete(&mut self, live: u32) -> Option<Release> {
        let complete = |b: &Arrivals| b.threads > 0 && b.threads >= b.expected.unwrap_or(live);
        let id = self.0.iter().position(complete)?;
        let barrier = std::mem::take(self.0.get_mut(id)?);
        Some(Release { id, threads: barrier.threads, holding: barrier.holding })
    }
}

impl Warp {
    pub(super) fn barrier(
        &mut self,
        barrier: &Barrier,
        active: Mask,
        group: &Group,
        around: &mut Around<'_, '_>,
    ) -> Result<Flow, LaneFault> {
        let first = active.trailing_zeros() as usize % WARP;
        let id = self.value(barrier.id, group, around)[first];
        let expected = barrier.threads.map(|threads| self.value(threads, group, around)[first] as u32);
        let holding = match barrier.kind {
            BarrierKind::Sync | BarrierKind::Arrive => 0,
            BarrierKind::Popc { p, .. } | BarrierKind::And { p, .. } | BarrierKind::Or { p, .. } => {
                (self.predicate(p, group, around) & active).count_ones()
            }
        };
        let waits = barrier.kind != BarrierKind::Arrive;
        self.send(group.mask & !active, group.pc + 1);
        self.send(active, if waits { group.pc } else { group.pc + 1 });
        if waits {
            self.at_barrier |= active;
            lanes_of(active).for_each(|lane| self.waits_for[lane] = id as u32);
        }
        let Some(arrivals) = around.barriers.0.get_mut(id as usize) else {
            let what = format!("there is no barrier {id}");
            return Err(LaneFault::new(first, CuResult::ILLEGAL_INSTRUCTION, what));
        };
        arrivals.threads += active.count_ones();
        arrivals.holding += holding;
        if expected.is_some() {
            arrivals.expected = expected;
            // A count is in whole warps: lanes that a warp lacks count with its last one.
            let missing = if self.alive & !self.at_barrier == 0 || !waits { !self.alive } else { 0 };
            arrivals.threads += missing.count_ones();
        }
        Ok(Flow::Scatter)
    }

    /// Lets the lanes that wait at a complete barrier go on.
    pub(super) fn release(&mut self, release: Release, around: &Around<'_, '_>) {
        let waiting = lanes_of(self.at_barrier)
            .filter(|&lane| self.waits_for[lane] as usize == release.id)
            .fold(0, |mask, lane| mask | 1 << lane);
        self.at_barrier &= !waiting;
        for lane in lanes_of(waiting) {
            let group = Group { mask: 1 << lane, pc: self.pc[lane], depth: self.depth[lane].into() };
            self.pc[lane] += 1;
            let Some(Op::Barrier(barrier)) = around.grid.inst(group.pc).map(|inst| &inst.op) else {
                continue;
            };
            let all = |holds: bool| if holds { Mask::MAX } else { 0 };
            match barrier.kind {
                BarrierKind::Sync | BarrierKind::Arrive => {}
                BarrierKind::Popc { d, .. } => {
                    self.set_register(d, &[release.holding.into(); WARP], group.mask, &group, around);
                }
                BarrierKind::And { d, .. } => {
                    self.set_predicate(
                        d,
                        all(release.holding == release.threads),
                        group.mask,
                        &group,
                        around,
                    );
                }
                BarrierKind::Or { d, .. } => {
                    self.set_predicate(d, all(release.holding > 0), group.mask, &group, around);
                }
            }
        }
    }
}
