//! f16 and bf16, alone and in pairs.
//!
//! A sum, product or fused product of half-precision values is formed in f64, where a product is exact and a
//! sum is rounded to odd: a second rounding to so few bits then cannot differ from a single one.

use super::soft::{self, Format};
use super::{Mode, Rounding};

/// One of the two 16-bit formats.
pub(crate) trait Half {
    const FORMAT: Format;
    const NAN: u16 = 0x7fff;
    const ONE: u16;
    const INFINITY: u16;
    /// Whether `.ftz` has a meaning (it has none for bf16).
    const FLUSHES: bool;

    fn widen(bits: u16) -> f64;
    fn narrow(value: f64) -> u16;

    fn is_nan(bits: u16) -> bool {
        bits & 0x7fff > Self::INFINITY
    }
}

pub(crate) struct F16;
pub(crate) struct Bf16;

impl Half for F16 {
    const FORMAT: Format = soft::F16;
    const ONE: u16 = 0x3c00;
    const INFINITY: u16 = 0x7c00;
    const FLUSHES: bool = true;

    #[inline]
    fn widen(bits: u16) -> f64 {
        let sign = u64::from(bits >> 15) << 63;
        let (field, fraction) = (u64::from(bits >> 10 & 0x1f), u64::from(bits & 0x3ff));
        let magnitude = match field {
            0 => (fraction as f64 * (1.0 / 16_777_216.0)).to_bits(),
            0x1f => 0x7ff0_0000_0000_0000 | fraction << 42,
            _ => (field + 1008) << 52 | fraction << 42,
        };
        f64::from_bits(sign | magnitude)
    }

    #[inline]
    fn narrow(value: f64) -> u16 {
        narrow(value, 10, 15)
    }
}

impl Half for Bf16 {
    const FORMAT: Format = soft::BF16;
    const ONE: u16 = 0x3f80;
    const INFINITY: u16 = 0x7f80;
    const FLUSHES: bool = false;

    #[inline]
    fn widen(bits: u16) -> f64 {
        f64::from(f32::from_bits(u32::from(bits) << 16))
    }

    #[inline]
    fn narrow(value: f64) -> u16 {
        narrow(value, 7, 127)
    }
}

/// f64 to a 16-bit format, to nearest even.
#[inline]
fn narrow(value: f64, fraction_bits: i32, bias: i32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 48) as u16 & 0x8000;
    if value.is_nan() {
        return 0x7fff;
    }
    let infinity = 0x7fffu16 >> fraction_bits << fraction_bits;
    let exponent = (bits >> 52 & 0x7ff) as i32 - 1023;
    if exponent > bias {
        return sign | infinity;
    }
    let lowest = 1 - bias;
    let significand = bits & ((1 << 52) - 1) | 1 << 52;
    let drop = (52 - fraction_bits + (lowest - exponent).max(0)).min(63);
    let (kept, rest, half) = (significand >> drop, significand & ((1 << drop) - 1), 1u64 << (drop - 1));
    let rounded = kept + u64::from(rest > half || (rest == half && kept & 1 == 1));
    let magnitude = ((exponent.max(lowest) - lowest) as u64) << fraction_bits;
    // The hidden bit adds one to the exponent field, which `lowest` leaves out.
    sign | (magnitude + rounded).min(infinity.into()) as u16
}

/// The sum in f64, rounded to odd: never to a value that lies half-way between two narrower ones unless the
/// sum does.
///
/// Without branches, so that a loop over lanes can be vectorised.
#[inline(always)]
pub(crate) fn add_to_odd(a: f64, b: f64) -> f64 {
    let sum = a + b;
    let part = sum - a;
    let error = (a - (sum - part)) + (b - part);
    let bits = sum.to_bits();
    // An infinite or undefined sum has an undefined error, which compares with nothing.
    let inexact = (error < 0.0) | (error > 0.0);
    let step = u64::from(inexact) & !bits & 1;
    let towards_zero = (error > 0.0) != (sum > 0.0);
    f64::from_bits(if towards_zero { bits.wrapping_sub(step) } else { bits.wrapping_add(step) })
}

fn flush<H: Half>(mode: Mode, bits: u16) -> u16 {
    if mode.ftz && H::FLUSHES && bits & 0x7c00 == 0 { bits & 0x8000 } else { bits }
}

fn finish<H: Half>(mode: Mode, value: f64) -> u16 {
    let bits = flush::<H>(mode, H::narrow(value));
    if !mode.sat {
        return bits;
    }
    match H::is_nan(bits) || bits & 0x8000 != 0 {
        true => 0,
        false => bits.min(H::ONE),
    }
}

fn load<H: Half>(mode: Mode, x: u64) -> f64 {
    H::widen(flush::<H>(mode, x as u16))
}

pub(crate) fn add<H: Half>(m: Mode, a: u64, b: u64) -> u64 {
    finish::<H>(m, add_to_odd(load::<H>(m, a), load::<H>(m, b))).into()
}

pub(crate) fn sub<H: Half>(m: Mode, a: u64, b: u64) -> u64 {
    finish::<H>(m, add_to_odd(load::<H>(m, a), -load::<H>(m, b))).into()
}

pub(crate) fn mul<H: Half>(m: Mode, a: u64, b: u64) -> u64 {
    finish::<H>(m, load::<H>(m, a) * load::<H>(m, b)).into()
}

pub(crate) fn fma<H: Half>(m: Mode, a: u64, b: u64, c: u64) -> u64 {
    finish::<H>(m, add_to_odd(load::<H>(m, a) * load::<H>(m, b), load::<H>(m, c))).into()
}

/// `fma.relu`: a negative result becomes zero, NaN stays.
pub(crate) fn fma_relu<H: Half>(m: Mode, a: u64, b: u64, c: u64) -> u64 {
    let d = fma::<H>(m, a, b, c);
    if d & 0x8000 != 0 && !H::is_nan(d as u16) { 0 } else { d }
}

pub(crate) fn neg<H: Half>(m: Mode, a: u64) -> u64 {
    u64::from(flush::<H>(m, a as u16) ^ 0x8000)
}

pub(crate) fn abs<H: Half>(m: Mode, a: u64) -> u64 {
    u64::from(flush::<H>(m, a as u16) & 0x7fff)
}

/// The smaller or larger of two; NaN loses, or wins where `NAN_WINS`.
fn extremum<H: Half, const MAX: bool, const NAN_WINS: bool>(m: Mode, a: u64, b: u64) -> u64 {
    let (x, y) = (flush::<H>(m, a as u16), flush::<H>(m, b as u16));
    // As signed integers in sign-magnitude order, -0 lies below +0 as PTX asks.
    let key = |v: u16| if v & 0x8000 != 0 { -i32::from(v & 0x7fff) - 1 } else { i32::from(v) };
    let pick = match (H::is_nan(x), H::is_nan(y)) {
        (false, false) if (key(x) > key(y)) == MAX => x,
        (false, false) => y,
        (true, true) => H::NAN,
        _ if NAN_WINS => H::NAN,
        (true, false) => y,
        (false, true) => x,
    };
    pick.into()
}

pub(crate) fn min<H: Half>(m: Mode, a: u64, b: u64) -> u64 {
    extremum::<H, false, false>(m, a, b)
}

pub(crate) fn max<H: Half>(m: Mode, a: u64, b: u64) -> u64 {
    extremum::<H, true, false>(m, a, b)
}

pub(crate) fn min_nan<H: Half>(m: Mode, a: u64, b: u64) -> u64 {
    extremum::<H, false, true>(m, a, b)
}

pub(crate) fn max_nan<H: Half>(m: Mode, a: u64, b: u64) -> u64 {
    extremum::<H, true, true>(m, a, b)
}

pub(crate) fn ex2<H: Half>(m: Mode, a: u64) -> u64 {
    finish::<H>(m, load::<H>(m, a).exp2()).into()
}

pub(crate) fn tanh<H: Half>(m: Mode, a: u64) -> u64 {
    finish::<H>(m, load::<H>(m, a).tanh()).into()
}

/// f16 or bf16 to f32.
pub(crate) fn to_f32<H: Half>(_: Mode, a: u64) -> u64 {
    let bits = a as u16;
    if H::is_nan(bits) { 0x7fff_ffff } else { u64::from((H::widen(bits) as f32).to_bits()) }
}

/// f32 to f16 or bf16 in any rounding mode.
pub(crate) fn from_f32<H: Half>(m: Mode, a: u64) -> u64 {
    let value = f32::from_bits(a as u32);
    if m.rounding == Rounding::Nearest {
        return finish::<H>(m, value.into()).into();
    }
    let bits = soft::convert(a, soft::F32, H::FORMAT, m.rounding) as u16;
    finish::<H>(m, H::widen(bits)).into()
}

/// Applies a function of halves to both halves of a pair.
#[inline(always)]
pub(crate) fn both1(a: u64, f: impl Fn(u64) -> u64) -> u64 {
    f(a & 0xffff) | f(a >> 16 & 0xffff) << 16
}

#[inline(always)]
pub(crate) fn both2(a: u64, b: u64, f: impl Fn(u64, u64) -> u64) -> u64 {
    f(a & 0xffff, b & 0xffff) | f(a >> 16 & 0xffff, b >> 16 & 0xffff) << 16
}

#[inline(always)]
pub(crate) fn both3(a: u64, b: u64, c: u64, f: impl Fn(u64, u64, u64) -> u64) -> u64 {
    f(a & 0xffff, b & 0xffff, c & 0xffff) | f(a >> 16 & 0xffff, b >> 16 & 0xffff, c >> 16 & 0xffff) << 16
}
