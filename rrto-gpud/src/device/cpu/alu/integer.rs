//! Integer arithmetic, logic, shifts and bit fields.
//!
//! PTX wraps; a shift by the width or more gives zero (or the sign); a division by zero gives all ones, which
//! is what NVIDIA's hardware does where PTX leaves it open.

use super::{Fn1, Fn2, Fn3, Mode, fn1, fn2, fn3};
use crate::device::cpu::ptx::Type;

/// The integer types that arithmetic is defined for, as Rust sees them.
macro_rules! by_type {
    ($ty:expr, $macro:ident ! ($($args:tt)*)) => {
        match $ty {
            Type::U16 | Type::B16 => Some($macro!(u16, i16, u16, u32, $($args)*)),
            Type::S16 => Some($macro!(i16, i16, u16, i32, $($args)*)),
            Type::U32 | Type::B32 => Some($macro!(u32, i32, u32, u64, $($args)*)),
            Type::S32 => Some($macro!(i32, i32, u32, i64, $($args)*)),
            Type::U64 | Type::B64 => Some($macro!(u64, i64, u64, u128, $($args)*)),
            Type::S64 => Some($macro!(i64, i64, u64, i128, $($args)*)),
            _ => None,
        }
    };
}

// In each: $t the type, $s its signed form, $u its unsigned form, $w twice as wide.
macro_rules! op1 {
    ($t:ty, $s:ty, $u:ty, $w:ty, |$a:ident, $bits:ident| $e:expr) => {
        fn1!(|_: Mode, a: u64| {
            type Unsigned = $u;
            #[allow(unused_variables)]
            let $bits = Unsigned::BITS;
            let $a = a as $t;
            ($e) as $u as u64
        })
    };
}

macro_rules! op2 {
    ($t:ty, $s:ty, $u:ty, $w:ty, |$a:ident, $b:ident| $e:expr) => {
        fn2!(|_: Mode, a: u64, b: u64| {
            let ($a, $b) = (a as $t, b as $t);
            ($e) as $u as u64
        })
    };
}

macro_rules! op3 {
    ($t:ty, $s:ty, $u:ty, $w:ty, |$a:ident, $b:ident, $c:ident| $e:expr) => {
        fn3!(|_: Mode, a: u64, b: u64, c: u64| {
            let ($a, $b, $c) = (a as $t, b as $t, c as $t);
            ($e) as $u as u64
        })
    };
}

macro_rules! high {
    ($t:ty, $s:ty, $u:ty, $w:ty, mul) => {
        fn2!(|_: Mode, a: u64, b: u64| ((a as $t as $w * b as $t as $w) >> <$t>::BITS) as $u as u64)
    };
    ($t:ty, $s:ty, $u:ty, $w:ty, mad) => {
        fn3!(|_: Mode, a: u64, b: u64, c: u64| {
            let high = ((a as $t as $w * b as $t as $w) >> <$t>::BITS) as $u;
            high.wrapping_add(c as $u) as u64
        })
    };
}

macro_rules! wide {
    ($t:ty, $s:ty, $u:ty, $w:ty, mul) => {
        fn2!(|_: Mode, a: u64, b: u64| {
            let product = a as $t as $w * b as $t as $w;
            (product as u64) & mask_of(2 * <$t>::BITS)
        })
    };
    ($t:ty, $s:ty, $u:ty, $w:ty, mad) => {
        fn3!(|_: Mode, a: u64, b: u64, c: u64| {
            let product = a as $t as $w * b as $t as $w;
            (product as u64).wrapping_add(c) & mask_of(2 * <$t>::BITS)
        })
    };
}

macro_rules! shift {
    ($t:ty, $s:ty, $u:ty, $w:ty, left) => {
        fn2!(|_: Mode, a: u64, b: u64| (a as $u).checked_shl(b as u32).unwrap_or(0) as u64)
    };
    ($t:ty, $s:ty, $u:ty, $w:ty, right) => {
        fn2!(|_: Mode, a: u64, b: u64| {
            // Past the width a signed value leaves its sign, an unsigned one nothing.
            let by = (b as u32).min(<$t>::BITS - 1);
            let shifted = (a as $t) >> by;
            let all = b as u32 >= <$t>::BITS && <$t>::MIN == 0;
            if all { 0 } else { shifted as $u as u64 }
        })
    };
}

const fn mask_of(bits: u32) -> u64 {
    if bits >= 64 { u64::MAX } else { (1 << bits) - 1 }
}

/// Instructions of one source on integers.
pub(crate) fn unary(opcode: &str, ty: Type) -> Option<Fn1> {
    match opcode {
        "neg" => by_type!(ty, op1!(|a, bits| a.wrapping_neg())),
        "abs" => by_type!(ty, op1!(|a, bits| if (a as i64) < 0 { a.wrapping_neg() } else { a })),
        "not" => by_type!(ty, op1!(|a, bits| !a)),
        "cnot" => by_type!(ty, op1!(|a, bits| a == 0)),
        "popc" => by_type!(ty, op1!(|a, bits| a.count_ones())),
        "clz" => by_type!(ty, op1!(|a, bits| a.leading_zeros())),
        "brev" => by_type!(ty, op1!(|a, bits| a.reverse_bits())),
        _ => None,
    }
}

/// `bfind`: the highest bit that differs from the sign, or all ones; with `shift_amount`, how far it is from the top.
pub(crate) fn bfind(ty: Type, shift_amount: bool) -> Option<Fn1> {
    fn find(value: u64, bits: u32, shift_amount: bool) -> u64 {
        if value == 0 {
            return 0xffff_ffff;
        }
        let top = u64::from(63 - value.leading_zeros());
        if shift_amount { u64::from(bits) - 1 - top } else { top }
    }
    macro_rules! choose {
        ($t:ty, $u:ty) => {{
            if shift_amount {
                fn1!(|_: Mode, a: u64| {
                    let value = a as $t;
                    let value = if <$t>::MIN != 0 && (value as i64) < 0 { !value } else { value };
                    find(value as $u as u64, <$t>::BITS, true)
                })
            } else {
                fn1!(|_: Mode, a: u64| {
                    let value = a as $t;
                    let value = if <$t>::MIN != 0 && (value as i64) < 0 { !value } else { value };
                    find(value as $u as u64, <$t>::BITS, false)
                })
            }
        }};
    }
    Some(match ty {
        Type::U32 => choose!(u32, u32),
        Type::S32 => choose!(i32, u32),
        Type::U64 => choose!(u64, u64),
        Type::S64 => choose!(i64, u64),
        _ => return None,
    })
}

/// Instructions of two sources on integers. `mul` and `mad` are spelt with their half: `mul.lo`, `mul.hi`,
/// `mul.wide`.
pub(crate) fn binary(opcode: &str, ty: Type) -> Option<Fn2> {
    match opcode {
        "add" => by_type!(ty, op2!(|a, b| a.wrapping_add(b))),
        "add.sat" => by_type!(ty, op2!(|a, b| a.saturating_add(b))),
        "sub" => by_type!(ty, op2!(|a, b| a.wrapping_sub(b))),
        "sub.sat" => by_type!(ty, op2!(|a, b| a.saturating_sub(b))),
        "mul.lo" => by_type!(ty, op2!(|a, b| a.wrapping_mul(b))),
        "mul.hi" => by_type!(ty, high!(mul)),
        "mul.wide" if ty.bits() < 64 => by_type!(ty, wide!(mul)),
        "mul24.lo" => match ty {
            Type::U32 => Some(fn2!(|_: Mode, a: u64, b: u64| mul24(a, b, false) & 0xffff_ffff)),
            Type::S32 => Some(fn2!(|_: Mode, a: u64, b: u64| mul24(a, b, true) & 0xffff_ffff)),
            _ => None,
        },
        "mul24.hi" => match ty {
            Type::U32 => Some(fn2!(|_: Mode, a: u64, b: u64| mul24(a, b, false) >> 16 & 0xffff_ffff)),
            Type::S32 => Some(fn2!(|_: Mode, a: u64, b: u64| mul24(a, b, true) >> 16 & 0xffff_ffff)),
            _ => None,
        },
        "div" => by_type!(ty, op2!(|a, b| if b == 0 { !0 } else { a.wrapping_div(b) })),
        "rem" => by_type!(ty, op2!(|a, b| if b == 0 { a } else { a.wrapping_rem(b) })),
        "min" => by_type!(ty, op2!(|a, b| a.min(b))),
        "max" => by_type!(ty, op2!(|a, b| a.max(b))),
        "and" => by_type!(ty, op2!(|a, b| a & b)),
        "or" => by_type!(ty, op2!(|a, b| a | b)),
        "xor" => by_type!(ty, op2!(|a, b| a ^ b)),
        "shl" => by_type!(ty, shift!(left)),
        "shr" => by_type!(ty, shift!(right)),
        _ => None,
    }
}

/// `min`, `max` and `add` on pairs of 16-bit integers.
pub(crate) fn packed(opcode: &str, ty: Type) -> Option<Fn2> {
    macro_rules! both {
        ($t:ty, |$a:ident, $b:ident| $e:expr) => {
            Some(fn2!(|_: Mode, x: u64, y: u64| {
                super::half::both2(x, y, |a, b| {
                    let ($a, $b) = (a as $t, b as $t);
                    ($e) as u16 as u64
                })
            }))
        };
    }
    match (opcode, ty) {
        ("add", Type::U16x2 | Type::S16x2) => both!(u16, |a, b| a.wrapping_add(b)),
        ("min", Type::U16x2) => both!(u16, |a, b| a.min(b)),
        ("max", Type::U16x2) => both!(u16, |a, b| a.max(b)),
        ("min", Type::S16x2) => both!(i16, |a, b| a.min(b)),
        ("max", Type::S16x2) => both!(i16, |a, b| a.max(b)),
        _ => None,
    }
}

/// Instructions of three sources on integers.
pub(crate) fn ternary(opcode: &str, ty: Type) -> Option<Fn3> {
    match opcode {
        "mad.lo" => by_type!(ty, op3!(|a, b, c| a.wrapping_mul(b).wrapping_add(c))),
        "mad.hi" => by_type!(ty, high!(mad)),
        "mad.hi.sat" if ty == Type::S32 => Some(fn3!(|_: Mode, a: u64, b: u64, c: u64| {
            let high = ((i64::from(a as i32) * i64::from(b as i32)) >> 32) as i32;
            u64::from(high.saturating_add(c as i32) as u32)
        })),
        "mad.wide" if ty.bits() < 64 => by_type!(ty, wide!(mad)),
        "mad24.lo" => match ty {
            Type::U32 => Some(fn3!(|_: Mode, a, b, c: u64| mul24(a, b, false).wrapping_add(c) & 0xffff_ffff)),
            Type::S32 => Some(fn3!(|_: Mode, a, b, c: u64| mul24(a, b, true).wrapping_add(c) & 0xffff_ffff)),
            _ => None,
        },
        "sad" => by_type!(ty, op3!(|a, b, c| c.wrapping_add(a.abs_diff(b) as _))),
        _ => None,
    }
}

fn mul24(a: u64, b: u64, signed: bool) -> u64 {
    let low = |x: u64| if signed { i64::from((x as i32) << 8 >> 8) } else { (x & 0xff_ffff) as i64 };
    (low(a) * low(b)) as u64
}

/// `shf`: two words shifted as one, and one word of the result.
pub(crate) fn funnel(left: bool, wrap: bool) -> Fn3 {
    fn amount(c: u64, wrap: bool) -> u32 {
        if wrap { c as u32 & 31 } else { (c as u32).min(32) }
    }
    fn joined(a: u64, b: u64) -> u64 {
        b << 32 | a & 0xffff_ffff
    }
    match (left, wrap) {
        (true, true) => fn3!(|_: Mode, a, b, c| joined(a, b) << amount(c, true) >> 32),
        (true, false) => fn3!(|_: Mode, a, b, c| joined(a, b) << amount(c, false) >> 32),
        (false, true) => fn3!(|_: Mode, a, b, c| joined(a, b) >> amount(c, true) & 0xffff_ffff),
        (false, false) => fn3!(|_: Mode, a, b, c| joined(a, b) >> amount(c, false) & 0xffff_ffff),
    }
}

/// `bfe`: sources are the value, the position and the length, whose low bytes count.
pub(crate) fn bfe(ty: Type) -> Option<Fn3> {
    fn extract(value: u64, position: u64, length: u64, bits: u32, signed: bool) -> u64 {
        let (position, length, width) = ((position & 0xff) as u32, (length & 0xff) as u32, bits);
        if length == 0 {
            return 0;
        }
        let sign_at = (position + length - 1).min(width - 1);
        let sign = signed && value >> sign_at & 1 == 1;
        let kept = length.min(width.saturating_sub(position));
        let field = if position >= width { 0 } else { value >> position & mask_of(kept) };
        if sign { (field | !mask_of(kept)) & mask_of(width) } else { field }
    }
    Some(match ty {
        Type::U32 => fn3!(|_: Mode, a, b, c| extract(a, b, c, 32, false)),
        Type::S32 => fn3!(|_: Mode, a, b, c| extract(a, b, c, 32, true)),
        Type::U64 => fn3!(|_: Mode, a, b, c| extract(a, b, c, 64, false)),
        Type::S64 => fn3!(|_: Mode, a, b, c| extract(a, b, c, 64, true)),
        _ => return None,
    })
}

/// The lanes of `bfi`: field, base, position and length.
pub(crate) fn bfi(field: u64, base: u64, position: u64, length: u64, bits: u32) -> u64 {
    let (position, length) = ((position & 0xff) as u32, (length & 0xff) as u32);
    if position >= bits || length == 0 {
        return base;
    }
    let mask = mask_of(length.min(bits - position)) << position;
    base & !mask | field << position & mask
}

/// `bmsk`: a mask of `b` ones from bit `a`.
pub(crate) fn bmsk(wrap: bool) -> Fn2 {
    fn mask(a: u32, b: u32) -> u64 {
        if a >= 32 { 0 } else { (mask_of(b.min(32)) << a) & 0xffff_ffff }
    }
    if wrap {
        fn2!(|_: Mode, a: u64, b: u64| mask(a as u32 & 31, b as u32 & 31))
    } else {
        fn2!(|_: Mode, a: u64, b: u64| mask(a as u32, b as u32))
    }
}

/// `prmt`: four bytes picked from the eight of b and a. `None` for a mode that does not exist.
pub(crate) fn prmt(mode: Option<&str>) -> Option<Fn3> {
    fn byte(a: u64, b: u64, index: u64) -> u64 {
        (b << 32 | a & 0xffff_ffff) >> (8 * (index & 7)) & 0xff
    }
    /// Bytes in order from the lowest, picked by a function of the byte's place.
    fn pick(a: u64, b: u64, index: impl Fn(u64) -> u64) -> u64 {
        (0..4).fold(0, |sum, place| sum | byte(a, b, index(place)) << (8 * place))
    }
    fn default(a: u64, b: u64, c: u64) -> u64 {
        (0..4).fold(0, |sum, place| {
            let selector = c >> (4 * place) & 0xf;
            let value = byte(a, b, selector);
            let value = if selector & 8 == 0 { value } else { 0xff * (value >> 7) };
            sum | value << (8 * place)
        })
    }
    Some(match mode {
        None => fn3!(|_: Mode, a, b, c| default(a, b, c)),
        Some("f4e") => fn3!(|_: Mode, a, b, c| pick(a, b, |i| (c & 3) + i)),
        Some("b4e") => fn3!(|_: Mode, a, b, c: u64| pick(a, b, |i| (c & 3).wrapping_sub(i))),
        Some("rc8") => fn3!(|_: Mode, a, b, c| pick(a, b, |_| c & 3)),
        Some("ecl") => fn3!(|_: Mode, a, b, c: u64| pick(a, b, |i| (c & 3).max(i))),
        Some("ecr") => fn3!(|_: Mode, a, b, c: u64| pick(a, b, |i| (c & 3).min(i))),
        Some("rc16") => fn3!(|_: Mode, a, b, c| pick(a, b, |i| (c & 1) * 2 + (i & 1))),
        Some(_) => return None,
    })
}

/// `dp4a` and `dp2a`: dot products of bytes (and half-words) added to the third source.
pub(crate) fn dot(opcode: &str, a_signed: bool, b_signed: bool) -> Option<Fn3> {
    fn byte(x: u64, i: u32, signed: bool) -> i64 {
        let byte = (x >> (8 * i)) as u8;
        if signed { i64::from(byte as i8) } else { i64::from(byte) }
    }
    fn word(x: u64, i: u32, signed: bool) -> i64 {
        let word = (x >> (16 * i)) as u16;
        if signed { i64::from(word as i16) } else { i64::from(word) }
    }
    fn dp4a(a: u64, b: u64, c: u64, s: bool, t: bool) -> u64 {
        let sum: i64 = (0..4).map(|i| byte(a, i, s) * byte(b, i, t)).sum();
        c.wrapping_add(sum as u64) & 0xffff_ffff
    }
    fn dp2a(a: u64, b: u64, c: u64, from: u32, s: bool, t: bool) -> u64 {
        let sum: i64 = (0..2).map(|i| word(a, i, s) * byte(b, i + from, t)).sum();
        c.wrapping_add(sum as u64) & 0xffff_ffff
    }
    macro_rules! signs {
        (|$a:ident, $b:ident, $c:ident, $s:ident, $t:ident| $e:expr) => {
            match (a_signed, b_signed) {
                (false, false) => fn3!(|_: Mode, $a, $b, $c| {
                    let ($s, $t) = (false, false);
                    $e
                }),
                (false, true) => fn3!(|_: Mode, $a, $b, $c| {
                    let ($s, $t) = (false, true);
                    $e
                }),
                (true, false) => fn3!(|_: Mode, $a, $b, $c| {
                    let ($s, $t) = (true, false);
                    $e
                }),
                (true, true) => fn3!(|_: Mode, $a, $b, $c| {
                    let ($s, $t) = (true, true);
                    $e
                }),
            }
        };
    }
    Some(match opcode {
        "dp4a" => signs!(|a, b, c, s, t| dp4a(a, b, c, s, t)),
        "dp2a.lo" => signs!(|a, b, c, s, t| dp2a(a, b, c, 0, s, t)),
        "dp2a.hi" => signs!(|a, b, c, s, t| dp2a(a, b, c, 2, s, t)),
        _ => return None,
    })
}

/// `lop3` on one lane: any function of three bits, given by its truth table.
#[inline(always)]
pub(crate) fn lop3(a: u64, b: u64, c: u64, table: u8) -> u64 {
    let mut out = 0;
    for row in 0..8 {
        if table >> row & 1 == 1 {
            let pick = |x: u64, bit: u8| if row & bit != 0 { x } else { !x };
            out |= pick(a, 4) & pick(b, 2) & pick(c, 1);
        }
    }
    out & 0xffff_ffff
}

/// `fns`: the position of the n-th set bit of a mask counted from a base, or all ones.
pub(crate) fn fns(mask: u64, base: u64, offset: u64) -> u64 {
    let (mask, base, offset) = (mask as u32, (base as u32) & 31, offset as i32);
    let set = |i: &u32| mask >> i & 1 == 1;
    let found = match offset {
        0 => Some(base).filter(set),
        1.. => (base..32).filter(set).nth(offset as usize - 1),
        _ => (0..=base).rev().filter(set).nth(offset.unsigned_abs() as usize - 1),
    };
    found.map_or(0xffff_ffff, u64::from)
}
