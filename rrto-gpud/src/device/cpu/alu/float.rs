//! f32 and f64.
//!
//! Rounding to nearest without modifiers is the host's own arithmetic; everything else goes through
//! [`super::soft`]. A NaN that comes out is always the same NaN, as on NVIDIA's hardware, so that results do
//! not depend on the host.

use super::half::add_to_odd;
use super::soft::{self, F32, F64, Format, Number};
use super::{Mode, Rounding};

const F32_NAN: u32 = 0x7fff_ffff;

#[inline(always)]
fn f(x: u64) -> f32 {
    f32::from_bits(x as u32)
}

#[inline(always)]
fn d(x: u64) -> f64 {
    f64::from_bits(x)
}

/// The bits of a result, NaN made canonical.
#[inline(always)]
pub(crate) fn out32(value: f32) -> u64 {
    u64::from(if value.is_nan() { F32_NAN } else { value.to_bits() })
}

#[inline(always)]
pub(crate) fn out64(value: f64) -> u64 {
    if value.is_nan() { soft::F64_NAN } else { value.to_bits() }
}

/// A subnormal becomes a zero of its sign where `.ftz` asks.
#[inline(always)]
pub(crate) fn flush32(mode: Mode, x: u64) -> u64 {
    if mode.ftz && x & 0x7f80_0000 == 0 { x & 0x8000_0000 } else { x }
}

fn saturate32(x: u64) -> u64 {
    let value = f(x);
    if value > 0.0 { u64::from(value.min(1.0).to_bits()) } else { 0 }
}

/// What `.ftz` and `.sat` do to a result.
#[inline(always)]
pub(crate) fn finish32(mode: Mode, bits: u64) -> u64 {
    let bits = flush32(mode, bits);
    if mode.sat { saturate32(bits) } else { bits }
}

fn number32(mode: Mode, x: u64) -> Number {
    Number::unpack(flush32(mode, x), F32)
}

fn pack32(mode: Mode, number: Number) -> u64 {
    finish32(mode, number.pack(F32, mode.rounding))
}

macro_rules! binary32 {
    ($name:ident, $op:tt, |$m:ident, $x:ident, $y:ident| $slow:expr) => {
        #[inline(always)]
        pub(crate) fn $name(m: Mode, a: u64, b: u64) -> u64 {
            if m.rounding == Rounding::Nearest {
                return finish32(m, out32(f(flush32(m, a)) $op f(flush32(m, b))));
            }
            let ($m, $x, $y) = (m, number32(m, a), number32(m, b));
            pack32(m, $slow)
        }
    };
}

binary32!(add32, +, |m, x, y| x.add(y, m.rounding));
binary32!(sub32, -, |m, x, y| x.add(y.negated(), m.rounding));
binary32!(mul32, *, |_m, x, y| x.mul(y));
binary32!(div32, /, |_m, x, y| x.div(y));

/// A fused multiply-add. The product of two f32 is exact in f64, and a sum rounded to odd there rounds
/// correctly to f32.
#[inline(always)]
pub(crate) fn fma32(m: Mode, a: u64, b: u64, c: u64) -> u64 {
    if m.rounding == Rounding::Nearest {
        let product = f64::from(f(flush32(m, a))) * f64::from(f(flush32(m, b)));
        return finish32(m, out32(add_to_odd(product, f64::from(f(flush32(m, c)))) as f32));
    }
    pack32(m, number32(m, a).mul(number32(m, b)).add(number32(m, c), m.rounding))
}

pub(crate) fn sqrt32(m: Mode, a: u64) -> u64 {
    match m.rounding {
        Rounding::Nearest => finish32(m, out32(f(flush32(m, a)).sqrt())),
        _ => pack32(m, number32(m, a).sqrt()),
    }
}

pub(crate) fn rcp32(m: Mode, a: u64) -> u64 {
    div32(m, 1.0f32.to_bits().into(), a)
}

pub(crate) fn neg32(m: Mode, a: u64) -> u64 {
    flush32(m, a) ^ 0x8000_0000
}

pub(crate) fn abs32(m: Mode, a: u64) -> u64 {
    flush32(m, a) & 0x7fff_ffff
}

/// The smaller or larger of two; NaN loses, or wins where `NAN_WINS`; -0 is less than +0.
#[inline(always)]
fn extremum32<const MAX: bool, const NAN_WINS: bool>(m: Mode, a: u64, b: u64) -> u64 {
    let (x, y) = (f(flush32(m, a)), f(flush32(m, b)));
    let pick = if x.is_nan() || y.is_nan() {
        match (x.is_nan(), NAN_WINS) {
            (_, true) => f32::NAN,
            (true, false) => y,
            (false, false) => x,
        }
    } else if x == y {
        if x.is_sign_negative() == MAX { y } else { x }
    } else if (x > y) == MAX {
        x
    } else {
        y
    };
    out32(pick)
}

pub(crate) fn min32(m: Mode, a: u64, b: u64) -> u64 {
    extremum32::<false, false>(m, a, b)
}

pub(crate) fn max32(m: Mode, a: u64, b: u64) -> u64 {
    extremum32::<true, false>(m, a, b)
}

pub(crate) fn min32_nan(m: Mode, a: u64, b: u64) -> u64 {
    extremum32::<false, true>(m, a, b)
}

pub(crate) fn max32_nan(m: Mode, a: u64, b: u64) -> u64 {
    extremum32::<true, true>(m, a, b)
}

/// An approximate function, formed in f64 and rounded: closer than PTX demands.
macro_rules! approx32 {
    ($($name:ident: |$x:ident| $value:expr;)*) => {
        $(pub(crate) fn $name(m: Mode, a: u64) -> u64 {
            let $x = f64::from(f(flush32(m, a)));
            finish32(m, out32($value as f32))
        })*
    };
}

approx32! {
    sin32: |x| x.sin();
    cos32: |x| x.cos();
    lg2_32: |x| x.log2();
    ex2_32: |x| x.exp2();
    tanh32: |x| x.tanh();
    rcp32_approx: |x| 1.0 / x;
    sqrt32_approx: |x| x.sqrt();
    rsqrt32: |x| 1.0 / x.sqrt();
}

/// `copysign d, a, b`: the magnitude of b with the sign of a.
pub(crate) fn copysign32(_: Mode, a: u64, b: u64) -> u64 {
    a & 0x8000_0000 | b & 0x7fff_ffff
}

pub(crate) fn copysign64(_: Mode, a: u64, b: u64) -> u64 {
    a & 1 << 63 | b & !(1 << 63)
}

macro_rules! binary64 {
    ($name:ident, $op:tt, |$m:ident, $x:ident, $y:ident| $slow:expr) => {
        #[inline(always)]
        pub(crate) fn $name(m: Mode, a: u64, b: u64) -> u64 {
            if m.rounding == Rounding::Nearest {
                return out64(d(a) $op d(b));
            }
            let ($m, $x, $y) = (m, Number::unpack(a, F64), Number::unpack(b, F64));
            $slow.pack(F64, m.rounding)
        }
    };
}

binary64!(add64, +, |m, x, y| x.add(y, m.rounding));
binary64!(sub64, -, |m, x, y| x.add(y.negated(), m.rounding));
binary64!(mul64, *, |_m, x, y| x.mul(y));
binary64!(div64, /, |_m, x, y| x.div(y));

pub(crate) fn fma64(m: Mode, a: u64, b: u64, c: u64) -> u64 {
    if m.rounding == Rounding::Nearest {
        return out64(d(a).mul_add(d(b), d(c)));
    }
    let unpack = |x| Number::unpack(x, F64);
    unpack(a).mul(unpack(b)).add(unpack(c), m.rounding).pack(F64, m.rounding)
}

pub(crate) fn sqrt64(m: Mode, a: u64) -> u64 {
    match m.rounding {
        Rounding::Nearest => out64(d(a).sqrt()),
        _ => Number::unpack(a, F64).sqrt().pack(F64, m.rounding),
    }
}

pub(crate) fn rcp64(m: Mode, a: u64) -> u64 {
    div64(m, 1.0f64.to_bits(), a)
}

/// The high half of a result whose low half PTX defines as zero (`rcp.approx.ftz.f64` and its like),
/// subnormals flushed.
fn coarse64(a: u64, function: impl Fn(f64) -> f64) -> u64 {
    let flush = |x: u64| if x & 0x7ff0_0000_0000_0000 == 0 { x & 1 << 63 } else { x };
    // Only the high half of the input counts; a NaN must not lose its only bits with the low half.
    let input = if d(a).is_nan() { a } else { a & 0xffff_ffff_0000_0000 };
    flush(out64(function(d(flush(input)))) & 0xffff_ffff_0000_0000)
}

pub(crate) fn rcp64_approx(_: Mode, a: u64) -> u64 {
    coarse64(a, |x| 1.0 / x)
}

pub(crate) fn rsqrt64_approx(_: Mode, a: u64) -> u64 {
    coarse64(a, |x| 1.0 / x.sqrt())
}

/// `rsqrt.approx.f64`.
pub(crate) fn rsqrt64(_: Mode, a: u64) -> u64 {
    out64(1.0 / d(a).sqrt())
}

pub(crate) fn neg64(_: Mode, a: u64) -> u64 {
    a ^ 1 << 63
}

pub(crate) fn abs64(_: Mode, a: u64) -> u64 {
    a & !(1 << 63)
}

fn extremum64<const MAX: bool>(a: u64, b: u64) -> u64 {
    let (x, y) = (d(a), d(b));
    let pick = match (x.is_nan(), y.is_nan()) {
        (true, _) => y,
        (false, true) => x,
        _ if x == y => {
            if x.is_sign_negative() == MAX {
                y
            } else {
                x
            }
        }
        _ if (x > y) == MAX => x,
        _ => y,
    };
    out64(pick)
}

pub(crate) fn min64(_: Mode, a: u64, b: u64) -> u64 {
    extremum64::<false>(a, b)
}

pub(crate) fn max64(_: Mode, a: u64, b: u64) -> u64 {
    extremum64::<true>(a, b)
}

/// What `testp` asks of a float.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Property {
    Finite,
    Infinite,
    Number,
    NotANumber,
    Normal,
    Subnormal,
}

/// Whether a value of the format has the property. Zero counts as normal, as PTX says.
pub(crate) fn has_property(bits: u64, format: Format, property: Property) -> bool {
    let (class, zero) = if format == F32 {
        (f(bits).classify(), f(bits) == 0.0)
    } else {
        (d(bits).classify(), d(bits) == 0.0)
    };
    use std::num::FpCategory::{Infinite, Nan, Normal, Subnormal};
    match property {
        Property::Finite => !matches!(class, Nan | Infinite),
        Property::Infinite => class == Infinite,
        Property::Number => class != Nan,
        Property::NotANumber => class == Nan,
        Property::Normal => class == Normal || zero,
        Property::Subnormal => class == Subnormal,
    }
}
