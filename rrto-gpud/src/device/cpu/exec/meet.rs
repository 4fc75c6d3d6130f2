//! Instructions for which lanes of a warp wait for each other: shuffles, votes, matches, reductions,
//! `bar.warp.sync`.
//!
//! A lane that comes to one names the lanes that take part. It waits until every one of those that has not
//! exited stands at an instruction of the same kind with the same members, not necessarily at the same place;
//! then it is done for all of them at once.

use rrto_core::api::CuResult;

use super::fault::LaneFault;
use super::warp::{Around, Flow, Group, Warp};
use crate::device::cpu::alu::{Lanes, Mask, WARP, lanes_of};
use crate::device::cpu::ptx::ir::{Op, PredSrc, ShuffleMode, Warp as WarpOp, WarpKind};

/// What the lanes bring, and what they take away.
struct Exchange {
    members: Mask,
    a: Lanes,
    b: Lanes,
    c: Lanes,
    holds: Mask,
}

impl Warp {
    pub(super) fn meet(
        &mut self,
        op: &WarpOp,
        active: Mask,
        group: &Group,
        around: &mut Around<'_, '_>,
    ) -> Result<Flow, LaneFault> {
        let members = *self.value(op.members, group, around);
        for lane in lanes_of(active) {
            if members[lane] >> lane & 1 == 0 {
                let what = format!("lane {lane} is not among the members {:#x} that it names", members[lane]);
                return Err(LaneFault::new(lane, CuResult::ILLEGAL_INSTRUCTION, what));
            }
            self.waits_for[lane] = members[lane] as u32;
        }
        let first = active.trailing_zeros() as usize % WARP;
        if active == group.mask && lanes_of(active).all(|lane| self.waits_for[lane] == self.waits_for[first])
        {
            let all = self.waits_for[first] & self.alive;
            if all == active {
                // The common case: the group is everyone.
                let mut exchange = Exchange::new(all);
                self.bring(&op.kind, group, &mut exchange, around);
                self.take(&op.kind, group, &exchange, around);
                return Ok(Flow::Next);
            }
        }
        self.send(group.mask & !active, group.pc + 1);
        self.send(active, group.pc);
        self.waiting |= active;
        self.meet_waiting(around);
        Ok(Flow::Scatter)
    }

    /// Lets every set of waiting lanes that is complete go on; whether there was one.
    pub(super) fn meet_waiting(&mut self, around: &mut Around<'_, '_>) -> bool {
        let mut met = false;
        let mut rest = self.waiting;
        while rest != 0 {
            let first = rest.trailing_zeros() as usize % WARP;
            let all = self.waits_for[first] & self.alive;
            let together = lanes_of(all).all(|lane| self.meets(lane, first, around));
            if together {
                self.exchange(all, around);
                met = true;
            }
            rest &= !(all | 1 << first);
        }
        met
    }

    fn warp_op<'g>(&self, lane: usize, around: &Around<'g, '_>) -> Option<&'g WarpOp> {
        match &around.grid.inst(self.pc[lane])?.op {
            Op::Warp(op) => Some(op),
            _ => None,
        }
    }

    /// Whether a lane waits for the same as another.
    fn meets(&self, lane: usize, other: usize, around: &Around<'_, '_>) -> bool {
        let same_kind = match (self.warp_op(lane, around), self.warp_op(other, around)) {
            (Some(a), Some(b)) => match (&a.kind, &b.kind) {
                (WarpKind::Shuffle { mode: a, .. }, WarpKind::Shuffle { mode: b, .. }) => a == b,
                (a, b) => std::mem::discriminant(a) == std::mem::discriminant(b),
            },
            _ => false,
        };
        self.waiting >> lane & 1 == 1 && self.waits_for[lane] == self.waits_for[other] && same_kind
    }

    /// Does the instruction for lanes that wait, perhaps at different places.
    fn exchange(&mut self, lanes: Mask, around: &mut Around<'_, '_>) {
        let mut exchange = Exchange::new(lanes);
        for group in self.places(lanes) {
            if let Some(op) = self.warp_op(group.mask.trailing_zeros() as usize, around) {
                self.bring(&op.kind, &group, &mut exchange, around);
            }
        }
        for group in self.places(lanes) {
            if let Some(op) = self.warp_op(group.mask.trailing_zeros() as usize, around) {
                self.take(&op.kind, &group, &exchange, around);
            }
            self.send(group.mask, group.pc + 1);
        }
        self.waiting &= !lanes;
    }

    /// The lanes, grouped by where they stand.
    fn places(&self, lanes: Mask) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        for lane in lanes_of(lanes) {
            let (pc, depth) = (self.pc[lane], usize::from(self.depth[lane]));
            match groups.iter_mut().find(|g| g.pc == pc && g.depth == depth) {
                Some(group) => group.mask |= 1 << lane,
                None => groups.push(Group { mask: 1 << lane, pc, depth }),
            }
        }
        groups
    }

    fn bring(&self, kind: &WarpKind, group: &Group, exchange: &mut Exchange, around: &Around<'_, '_>) {
        let copy = |to: &mut Lanes, from: &Lanes| lanes_of(group.mask).for_each(|i| to[i] = from[i]);
        let mut holds = |p: PredSrc| exchange.holds |= self.predicate(p, group, around) & group.mask;
        match kind {
            WarpKind::Sync | WarpKind::Elect { .. } => {}
            WarpKind::Shuffle { a, b, c, .. } => {
                copy(&mut exchange.a, &self.value(*a, group, around));
                copy(&mut exchange.b, &self.value(*b, group, around));
                copy(&mut exchange.c, &self.value(*c, group, around));
            }
            WarpKind::VoteAll { p, .. }
            | WarpKind::VoteAny { p, .. }
            | WarpKind::VoteUni { p, .. }
            | WarpKind::Ballot { p, .. } => holds(*p),
            WarpKind::MatchAny { a, .. } | WarpKind::MatchAll { a, .. } | WarpKind::Reduce { a, .. } => {
                copy(&mut exchange.a, &self.value(*a, group, around));
            }
        }
    }

    fn take(&mut self, kind: &WarpKind, group: &Group, exchange: &Exchange, around: &Around<'_, '_>) {
        let members = exchange.members;
        let all = |holds: bool| if holds { Mask::MAX } else { 0 };
        let (mut d, mut p) = (None, None);
        match kind {
            WarpKind::Sync => {}
            WarpKind::Shuffle { mode, d: register, p: predicate, .. } => {
                let (value, valid) = exchange.shuffle(*mode);
                d = Some((*register, value));
                p = predicate.map(|p| (p, valid));
            }
            WarpKind::VoteAll { d, .. } => p = Some((*d, all(exchange.holds == members))),
            WarpKind::VoteAny { d, .. } => p = Some((*d, all(exchange.holds != 0))),
            WarpKind::VoteUni { d, .. } => {
                p = Some((*d, all(exchange.holds == members || exchange.holds == 0)));
            }
            WarpKind::Ballot { d: register, .. } => d = Some((*register, [exchange.holds.into(); WARP])),
            WarpKind::MatchAny { d: register, .. } => {
                let same = |i: usize| {
                    lanes_of(members).fold(0, |m, j| m | u64::from(exchange.a[i] == exchange.a[j]) << j)
                };
                d = Some((*register, std::array::from_fn(same)));
            }
            WarpKind::MatchAll { d: register, p: predicate, .. } => {
                let first = exchange.a[members.trailing_zeros() as usize % WARP];
                let same = lanes_of(members).all(|i| exchange.a[i] == first);
                d = Some((*register, [if same { members.into() } else { 0 }; WARP]));
                p = predicate.map(|p| (p, all(same)));
            }
            WarpKind::Reduce { f, d: register, .. } => {
                let total = lanes_of(members).map(|i| exchange.a[i]).reduce(|x, y| f(x, y, 0)).unwrap_or(0);
                d = Some((*register, [total; WARP]));
            }
            WarpKind::Elect { d: register, p: predicate } => {
                let leader = members.trailing_zeros();
                d = register.map(|d| (d, [leader.into(); WARP]));
                p = Some((*predicate, 1 << leader));
            }
        }
        if let Some((register, value)) = d {
            self.set_register(register, &value, group.mask, group, around);
        }
        if let Some((predicate, value)) = p {
            self.set_predicate(predicate, value, group.mask, group, around);
        }
    }
}

impl Exchange {
    fn new(members: Mask) -> Self {
        Self { members, a: [0; WARP], b: [0; WARP], c: [0; WARP], holds: 0 }
    }

    /// What each lane receives, and whether its source was within its segment.
    fn shuffle(&self, mode: ShuffleMode) -> (Lanes, Mask) {
        let (mut out, mut valid) = ([0; WARP], 0);
        for (lane, out) in out.iter_mut().enumerate() {
            let (b, c) = ((self.b[lane] & 31) as usize, self.c[lane]);
            let (clamp, segment) = ((c & 31) as usize, (c >> 8 & 31) as usize);
            let low = lane & segment;
            let high = low | (clamp & !segment);
            let (source, inside) = match mode {
                // Going up, the clamp is the lowest lane.
                ShuffleMode::Up => (lane.wrapping_sub(b), lane >= b && lane - b >= high),
                ShuffleMode::Down => (lane + b, lane + b <= high),
                ShuffleMode::Butterfly => (lane ^ b, lane ^ b <= high),
                ShuffleMode::Index => (low | (b & !segment), low | (b & !segment) <= high),
            };
            let source = if inside { source % WARP } else { lane };
            *out = self.a[source];
            valid |= Mask::from(inside) << lane;
        }
        (out, valid)
    }
}
