//! What the arithmetic instructions compute: pure functions over the 32 lanes of a warp.
//!
//! A register of a warp is [`Lanes`]: one 64-bit slot a lane. A narrower value lies in the low bits of its
//! slot and the rest is zero; every function here keeps that. An instruction is chosen once, when the module
//! is loaded, as a pointer to a function that does all lanes, so that executing it costs one indirect call a
//! warp and the loop over the lanes can be vectorised.

pub(crate) mod atomic;
pub(crate) mod compare;
pub(crate) mod convert;
pub(crate) mod float;
pub(crate) mod half;
pub(crate) mod integer;
pub(crate) mod soft;
pub(crate) mod table;
#[cfg(test)]
mod tests;

/// Lanes in a warp.
pub(crate) const WARP: usize = 32;
/// A register: one value a lane.
pub(crate) type Lanes = [u64; WARP];
/// A set of lanes: bit n is lane n.
pub(crate) type Mask = u32;

/// How a result is rounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Rounding {
    /// To nearest, ties to even (`rn`, `rni`).
    #[default]
    Nearest,
    /// Towards zero (`rz`, `rzi`).
    Zero,
    /// Towards minus infinity (`rm`, `rmi`).
    Down,
    /// Towards plus infinity (`rp`, `rpi`).
    Up,
    /// To nearest, ties away from zero (`rna`).
    Away,
}

/// The modifiers of an arithmetic instruction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mode {
    pub rounding: Rounding,
    /// Subnormal f32 (f16) inputs and results become zero.
    pub ftz: bool,
    /// The result is clamped: to [0, 1] for floats, to the type's range for integers.
    pub sat: bool,
}

impl Mode {
    /// No modifiers: what the host's own arithmetic does.
    pub(crate) const PLAIN: Mode = Mode { rounding: Rounding::Nearest, ftz: false, sat: false };
}

/// An instruction with one source.
pub(crate) type Fn1 = fn(Mode, &mut Lanes, &Lanes, Mask);
/// An instruction with two sources.
pub(crate) type Fn2 = fn(Mode, &mut Lanes, &Lanes, &Lanes, Mask);
/// An instruction with three sources.
pub(crate) type Fn3 = fn(Mode, &mut Lanes, &Lanes, &Lanes, &Lanes, Mask);
/// A comparison: the lanes (of all, active or not) where it holds.
pub(crate) type FnCompare = fn(Mode, &Lanes, &Lanes) -> Mask;

/// The lanes of a set, lowest first.
#[inline(always)]
pub(crate) fn lanes_of(mut mask: Mask) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        if mask == 0 {
            return None;
        }
        let lane = mask.trailing_zeros() as usize;
        mask &= mask - 1;
        Some(lane % WARP)
    })
}

#[inline(always)]
pub(crate) fn map1(d: &mut Lanes, a: &Lanes, mask: Mask, f: impl Fn(u64) -> u64) {
    if mask == Mask::MAX {
        for i in 0..WARP {
            d[i] = f(a[i]);
        }
    } else {
        lanes_of(mask).for_each(|i| d[i] = f(a[i]));
    }
}

#[inline(always)]
pub(crate) fn map2(d: &mut Lanes, a: &Lanes, b: &Lanes, mask: Mask, f: impl Fn(u64, u64) -> u64) {
    if mask == Mask::MAX {
        for i in 0..WARP {
            d[i] = f(a[i], b[i]);
        }
    } else {
        lanes_of(mask).for_each(|i| d[i] = f(a[i], b[i]));
    }
}

#[inline(always)]
pub(crate) fn map3(
    d: &mut Lanes,
    a: &Lanes,
    b: &Lanes,
    c: &Lanes,
    mask: Mask,
    f: impl Fn(u64, u64, u64) -> u64,
) {
    if mask == Mask::MAX {
        for i in 0..WARP {
            d[i] = f(a[i], b[i], c[i]);
        }
    } else {
        lanes_of(mask).for_each(|i| d[i] = f(a[i], b[i], c[i]));
    }
}

#[inline(always)]
pub(crate) fn test2(a: &Lanes, b: &Lanes, f: impl Fn(u64, u64) -> bool) -> Mask {
    let mut mask = 0;
    for i in 0..WARP {
        mask |= Mask::from(f(a[i], b[i])) << i;
    }
    mask
}

/// A [`Fn1`] from a function of a mode and one value.
macro_rules! fn1 {
    ($f:expr) => {{
        let f: $crate::device::cpu::alu::Fn1 =
            |mode, d, a, mask| $crate::device::cpu::alu::map1(d, a, mask, |x| $f(mode, x));
        f
    }};
}

/// A [`Fn2`] from a function of a mode and two values.
macro_rules! fn2 {
    ($f:expr) => {{
        let f: $crate::device::cpu::alu::Fn2 =
            |mode, d, a, b, mask| $crate::device::cpu::alu::map2(d, a, b, mask, |x, y| $f(mode, x, y));
        f
    }};
}

/// A [`Fn3`] from a function of a mode and three values.
macro_rules! fn3 {
    ($f:expr) => {{
        let f: $crate::device::cpu::alu::Fn3 = |mode, d, a, b, c, mask| {
            $crate::device::cpu::alu::map3(d, a, b, c, mask, |x, y, z| $f(mode, x, y, z))
        };
        f
    }};
}

/// Like [`fn2`], with a loop of its own for the case without modifiers, which is short enough to be vectorised.
macro_rules! fn2_plain {
    ($f:expr) => {{
        let f: $crate::device::cpu::alu::Fn2 = |mode, d, a, b, mask| {
            const PLAIN: $crate::device::cpu::alu::Mode = $crate::device::cpu::alu::Mode::PLAIN;
            if mode == PLAIN {
                $crate::device::cpu::alu::map2(d, a, b, mask, |x, y| $f(PLAIN, x, y))
            } else {
                $crate::device::cpu::alu::map2(d, a, b, mask, |x, y| $f(mode, x, y))
            }
        };
        f
    }};
}

/// The same for [`fn3`].
macro_rules! fn3_plain {
    ($f:expr) => {{
        let f: $crate::device::cpu::alu::Fn3 = |mode, d, a, b, c, mask| {
            const PLAIN: $crate::device::cpu::alu::Mode = $crate::device::cpu::alu::Mode::PLAIN;
            if mode == PLAIN {
                $crate::device::cpu::alu::map3(d, a, b, c, mask, |x, y, z| $f(PLAIN, x, y, z))
            } else {
                $crate::device::cpu::alu::map3(d, a, b, c, mask, |x, y, z| $f(mode, x, y, z))
            }
        };
        f
    }};
}

/// A [`FnCompare`] from a predicate of a mode and two values.
macro_rules! fn_compare {
    ($f:expr) => {{
        let f: $crate::device::cpu::alu::FnCompare =
            |mode, a, b| $crate::device::cpu::alu::test2(a, b, |x, y| $f(mode, x, y));
        f
    }};
}

pub(crate) use {fn_compare, fn1, fn2, fn2_plain, fn3, fn3_plain};
