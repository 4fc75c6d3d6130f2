//! `cvt` among all integer and floating-point types.

use super::float::{finish32, flush32, out64};
use super::half::{self, Bf16, F16};
use super::soft::{self, Format, Number};
use super::{Fn1, Fn2, Mode, Rounding, fn1, fn2};
use crate::device::cpu::ptx::Type;

/// Sign- or zero-extends the value of a type to i64 (which holds every value but those of u64 above the
/// middle).
fn widen(ty: Type, x: u64) -> i64 {
    match ty {
        Type::S8 => i64::from(x as i8),
        Type::S16 => i64::from(x as i16),
        Type::S32 => i64::from(x as i32),
        Type::U8 | Type::B8 => (x & 0xff) as i64,
        Type::U16 | Type::B16 => (x & 0xffff) as i64,
        Type::U32 | Type::B32 => (x & 0xffff_ffff) as i64,
        _ => x as i64,
    }
}

fn limits(ty: Type) -> (i128, i128) {
    let bits = ty.bits();
    if ty.is_signed() { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) }
}

fn value_of(ty: Type, x: u64) -> i128 {
    if matches!(ty, Type::U64 | Type::B64) { i128::from(x) } else { i128::from(widen(ty, x)) }
}

fn mask(bits: u32) -> u64 {
    if bits >= 64 { u64::MAX } else { (1 << bits) - 1 }
}

fn format_of(ty: Type) -> Option<Format> {
    Some(match ty {
        Type::F16 => soft::F16,
        Type::Bf16 => soft::BF16,
        Type::F32 => soft::F32,
        Type::F64 => soft::F64,
        _ => return None,
    })
}

/// A marker a type, so that a conversion is compiled once for each pair.
macro_rules! markers {
    ($($name:ident)*) => {
        trait Marker { const TYPE: Type; }
        $(struct $name; impl Marker for $name { const TYPE: Type = Type::$name; })*
    };
}

markers!(U8 U16 U32 U64 S8 S16 S32 S64);

struct FloatF16;
struct FloatBf16;
struct FloatF32;
struct FloatF64;
impl Marker for FloatF16 {
    const TYPE: Type = Type::F16;
}
impl Marker for FloatBf16 {
    const TYPE: Type = Type::Bf16;
}
impl Marker for FloatF32 {
    const TYPE: Type = Type::F32;
}
impl Marker for FloatF64 {
    const TYPE: Type = Type::F64;
}

/// Calls a generic function with the marker of an integer type.
macro_rules! with_int {
    ($ty:expr, $f:ident $(, $more:ty)*) => {
        match $ty {
            Type::U8 => Some($f::<U8 $(, $more)*>()),
            Type::U16 => Some($f::<U16 $(, $more)*>()),
            Type::U32 => Some($f::<U32 $(, $more)*>()),
            Type::U64 => Some($f::<U64 $(, $more)*>()),
            Type::S8 => Some($f::<S8 $(, $more)*>()),
            Type::S16 => Some($f::<S16 $(, $more)*>()),
            Type::S32 => Some($f::<S32 $(, $more)*>()),
            Type::S64 => Some($f::<S64 $(, $more)*>()),
            _ => None,
        }
    };
}

/// Calls a generic function with the marker of a float type and one of an integer type.
macro_rules! with_float_int {
    ($float:expr, $int:expr, $f:ident) => {
        match $float {
            Type::F16 => with_int!($int, $f, FloatF16),
            Type::Bf16 => with_int!($int, $f, FloatBf16),
            Type::F32 => with_int!($int, $f, FloatF32),
            Type::F64 => with_int!($int, $f, FloatF64),
            _ => None,
        }
    };
}

/// `cvt.to.from`. `width` is the destination register's width in bits: an integer result is extended to it by
/// its own sign. `integral` says that the rounding modifier was one of `rni rzi rmi rpi`.
pub(crate) fn convert(to: Type, from: Type, width: u32, integral: bool) -> Option<Fn1> {
    match (to.is_float(), from.is_float()) {
        (false, false) => int_to_int(to, from, width),
        (true, false) => with_float_int!(to, from, int_to_float),
        (false, true) => with_float_int!(from, to, float_to_int),
        (true, true) if to == from => same_float(to, integral),
        (true, true) => float_to_float(to, from),
    }
}

fn int_to_int(to: Type, from: Type, width: u32) -> Option<Fn1> {
    fn extend<F: Marker, T: Marker, const WIDTH: u32>(m: Mode, x: u64) -> u64 {
        let value = if m.sat {
            let (low, high) = limits(T::TYPE);
            value_of(F::TYPE, x).clamp(low, high) as u64
        } else {
            widen(F::TYPE, x) as u64
        };
        // Narrow to the destination type, then widen to the register by that type's sign.
        widen(T::TYPE, value & mask(T::TYPE.bits())) as u64 & mask(WIDTH)
    }
    fn to_16<T: Marker, F: Marker>() -> Fn1 {
        fn1!(extend::<F, T, 16>)
    }
    fn to_32<T: Marker, F: Marker>() -> Fn1 {
        fn1!(extend::<F, T, 32>)
    }
    fn to_64<T: Marker, F: Marker>() -> Fn1 {
        fn1!(extend::<F, T, 64>)
    }
    macro_rules! from {
        ($f:ident) => {
            match from {
                Type::U8 => with_int!(to, $f, U8),
                Type::U16 => with_int!(to, $f, U16),
                Type::U32 => with_int!(to, $f, U32),
                Type::U64 => with_int!(to, $f, U64),
                Type::S8 => with_int!(to, $f, S8),
                Type::S16 => with_int!(to, $f, S16),
                Type::S32 => with_int!(to, $f, S32),
                Type::S64 => with_int!(to, $f, S64),
                _ => None,
            }
        };
    }
    match width {
        16 => from!(to_16),
        32 => from!(to_32),
        64 => from!(to_64),
        _ => None,
    }
}

fn int_to_float<I: Marker, F: Marker>() -> Fn1 {
    fn1!(|m: Mode, x: u64| {
        let (int, float) = (I::TYPE, F::TYPE);
        if m.rounding == Rounding::Nearest {
            let wide = widen(int, x);
            let unsigned = int == Type::U64;
            match float {
                Type::F32 => {
                    let value = if unsigned { x as f32 } else { wide as f32 };
                    return finish32(m, value.to_bits().into());
                }
                Type::F64 => return if unsigned { x as f64 } else { wide as f64 }.to_bits(),
                _ => {}
            }
        }
        let Some(format) = format_of(float) else { return 0 };
        let bits = Number::integer(value_of(int, x)).pack(format, m.rounding);
        if float == Type::F32 { finish32(m, bits) } else { bits }
    })
}

fn float_to_int<I: Marker, F: Marker>() -> Fn1 {
    fn1!(|m: Mode, x: u64| {
        let (int, float) = (I::TYPE, F::TYPE);
        let x = if float == Type::F32 { flush32(m, x) } else { x };
        let value = match float {
            Type::F32 => f64::from(f32::from_bits(x as u32)),
            Type::F64 => f64::from_bits(x),
            Type::F16 => <F16 as half::Half>::widen(x as u16),
            _ => <Bf16 as half::Half>::widen(x as u16),
        };
        if value.is_nan() {
            return nan_as_integer(int, float);
        }
        let rounded = match m.rounding {
            Rounding::Zero => value.trunc(),
            Rounding::Nearest => value.round_ties_even(),
            Rounding::Down => value.floor(),
            Rounding::Up => value.ceil(),
            Rounding::Away => value.round(),
        };
        // Rust's casts saturate, as PTX does.
        match int {
            Type::S8 => rounded as i8 as u8 as u64,
            Type::S16 => rounded as i16 as u16 as u64,
            Type::S32 => rounded as i32 as u32 as u64,
            Type::S64 => rounded as i64 as u64,
            Type::U8 => rounded as u8 as u64,
            Type::U16 => rounded as u16 as u64,
            Type::U32 => rounded as u32 as u64,
            _ => rounded as u64,
        }
    })
}

/// PTX: zero, but the top bit alone where the source is f64 or the destination has 64 bits.
fn nan_as_integer(int: Type, float: Type) -> u64 {
    if float == Type::F64 || int.bits() == 64 { 1 << (int.bits() - 1) } else { 0 }
}

fn same_float(ty: Type, integral: bool) -> Option<Fn1> {
    fn integral32(m: Mode, x: u64) -> u64 {
        finish32(m, soft::to_integral(flush32(m, x), soft::F32, m.rounding))
    }
    fn plain32(m: Mode, x: u64) -> u64 {
        finish32(m, if f32::from_bits(x as u32).is_nan() { 0x7fff_ffff } else { flush32(m, x) })
    }
    Some(match (ty, integral) {
        (Type::F32, true) => fn1!(integral32),
        (Type::F32, false) => fn1!(plain32),
        (Type::F64, true) => fn1!(|m: Mode, x: u64| soft::to_integral(x, soft::F64, m.rounding)),
        (Type::F64, false) => fn1!(|_: Mode, x: u64| out64(f64::from_bits(x))),
        (Type::F16, true) => fn1!(|m: Mode, x: u64| soft::to_integral(x, soft::F16, m.rounding)),
        (Type::Bf16, true) => fn1!(|m: Mode, x: u64| soft::to_integral(x, soft::BF16, m.rounding)),
        (Type::F16 | Type::Bf16, false) => fn1!(|_: Mode, x: u64| x),
        _ => return None,
    })
}

fn float_to_float(to: Type, from: Type) -> Option<Fn1> {
    fn f64_to_f32(m: Mode, x: u64) -> u64 {
        let bits = match m.rounding {
            Rounding::Nearest => super::float::out32(f64::from_bits(x) as f32),
            _ => soft::convert(x, soft::F64, soft::F32, m.rounding),
        };
        finish32(m, bits)
    }
    fn tf32(m: Mode, x: u64) -> u64 {
        soft::convert(x, soft::F32, soft::TF32, m.rounding) << 13
    }
    Some(match (to, from) {
        (Type::F64, Type::F32) => fn1!(|m: Mode, x: u64| out64(f32::from_bits(flush32(m, x) as u32).into())),
        (Type::F32, Type::F64) => fn1!(f64_to_f32),
        (Type::F32, Type::F16) => fn1!(|m: Mode, x: u64| finish32(m, half::to_f32::<F16>(m, x))),
        (Type::F32, Type::Bf16) => fn1!(|m: Mode, x: u64| finish32(m, half::to_f32::<Bf16>(m, x))),
        (Type::F16, Type::F32) => {
            fn1!(|m: Mode, x: u64| half::from_f32::<F16>(Mode { ftz: false, ..m }, flush32(m, x)))
        }
        (Type::Bf16, Type::F32) => fn1!(half::from_f32::<Bf16>),
        (Type::F64, Type::F16) => {
            fn1!(|_: Mode, x: u64| soft::convert(x, soft::F16, soft::F64, Rounding::Nearest))
        }
        (Type::F64, Type::Bf16) => {
            fn1!(|_: Mode, x: u64| soft::convert(x, soft::BF16, soft::F64, Rounding::Nearest))
        }
        (Type::F16, Type::F64) => fn1!(|m: Mode, x: u64| soft::convert(x, soft::F64, soft::F16, m.rounding)),
        (Type::Bf16, Type::F64) => {
            fn1!(|m: Mode, x: u64| soft::convert(x, soft::F64, soft::BF16, m.rounding))
        }
        (Type::F16, Type::Bf16) => {
            fn1!(|m: Mode, x: u64| soft::convert(x, soft::BF16, soft::F16, m.rounding))
        }
        (Type::Bf16, Type::F16) => {
            fn1!(|m: Mode, x: u64| soft::convert(x, soft::F16, soft::BF16, m.rounding))
        }
        (Type::Tf32, Type::F32) => fn1!(tf32),
        _ => return None,
    })
}

/// `cvt.f16x2.f32 d, a, b`: a becomes the high half.
pub(crate) fn convert_pair(to: Type, relu: bool) -> Option<Fn2> {
    fn pair<H: half::Half>(m: Mode, a: u64, b: u64, relu: bool) -> u64 {
        let one = |x| {
            let bits = half::from_f32::<H>(m, x);
            if relu && bits & 0x8000 != 0 { 0 } else { bits }
        };
        one(a) << 16 | one(b)
    }
    Some(match (to, relu) {
        (Type::F16x2, false) => fn2!(|m, a, b| pair::<F16>(m, a, b, false)),
        (Type::F16x2, true) => fn2!(|m, a, b| pair::<F16>(m, a, b, true)),
        (Type::Bf16x2, false) => fn2!(|m, a, b| pair::<Bf16>(m, a, b, false)),
        (Type::Bf16x2, true) => fn2!(|m, a, b| pair::<Bf16>(m, a, b, true)),
        _ => return None,
    })
}
