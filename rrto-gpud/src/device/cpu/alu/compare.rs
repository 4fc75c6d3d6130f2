//! Comparisons, and the functions that combine them with predicates.

use super::float::flush32;
use super::half::{Bf16, F16, Half};
use super::{FnCompare, Mode, fn_compare};
use crate::device::cpu::ptx::Type;

macro_rules! float_compare {
    ($op:expr, |$m:ident, $x:ident| $load:expr) => {{
        // The unordered forms hold where either side is NaN.
        macro_rules! with {
            (|$a:ident, $b:ident| $test:expr) => {
                Some(fn_compare!(|m: Mode, a: u64, b: u64| {
                    let load = |$m: Mode, $x: u64| $load;
                    let ($a, $b) = (load(m, a), load(m, b));
                    $test
                }))
            };
        }
        match $op {
            "eq" => with!(|a, b| a == b),
            "ne" => with!(|a, b| a != b && !a.is_nan() && !b.is_nan()),
            "lt" => with!(|a, b| a < b),
            "le" => with!(|a, b| a <= b),
            "gt" => with!(|a, b| a > b),
            "ge" => with!(|a, b| a >= b),
            "equ" => with!(|a, b| a == b || a.is_nan() || b.is_nan()),
            "neu" => with!(|a, b| a != b),
            "ltu" => with!(|a, b| !(a >= b)),
            "leu" => with!(|a, b| !(a > b)),
            "gtu" => with!(|a, b| !(a <= b)),
            "geu" => with!(|a, b| !(a < b)),
            "num" => with!(|a, b| !a.is_nan() && !b.is_nan()),
            "nan" => with!(|a, b| a.is_nan() || b.is_nan()),
            _ => None,
        }
    }};
}

macro_rules! int_compare {
    ($op:expr, $t:ty) => {{
        macro_rules! with {
            (|$a:ident, $b:ident| $test:expr) => {
                Some(fn_compare!(|_: Mode, a: u64, b: u64| {
                    let ($a, $b) = (a as $t, b as $t);
                    $test
                }))
            };
        }
        match $op {
            "eq" => with!(|a, b| a == b),
            "ne" => with!(|a, b| a != b),
            "lt" | "lo" => with!(|a, b| a < b),
            "le" | "ls" => with!(|a, b| a <= b),
            "gt" | "hi" => with!(|a, b| a > b),
            "ge" | "hs" => with!(|a, b| a >= b),
            _ => None,
        }
    }};
}

fn half<H: Half>(mode: Mode, x: u64) -> f64 {
    let bits = x as u16;
    H::widen(if mode.ftz && H::FLUSHES && bits & 0x7c00 == 0 { bits & 0x8000 } else { bits })
}

/// The comparison that PTX calls `op` on values of the type.
#[allow(clippy::neg_cmp_op_on_partial_ord, reason = "the negation is what makes a comparison unordered")]
pub(crate) fn compare(op: &str, ty: Type) -> Option<FnCompare> {
    match ty {
        Type::F32 => float_compare!(op, |m, x| f32::from_bits(flush32(m, x) as u32)),
        Type::F64 => float_compare!(op, |_m, x| f64::from_bits(x)),
        Type::F16 => float_compare!(op, |m, x| half::<F16>(m, x)),
        Type::Bf16 => float_compare!(op, |m, x| half::<Bf16>(m, x)),
        Type::U16 | Type::B16 => int_compare!(op, u16),
        Type::S16 => int_compare!(op, i16),
        Type::U32 | Type::B32 => int_compare!(op, u32),
        Type::S32 => int_compare!(op, i32),
        Type::U64 | Type::B64 => int_compare!(op, u64),
        Type::S64 => int_compare!(op, i64),
        _ => None,
    }
}

/// How a comparison is combined with a further predicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Combine {
    And,
    Or,
    Xor,
}

impl Combine {
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "and" => Some(Self::And),
            "or" => Some(Self::Or),
            "xor" => Some(Self::Xor),
            _ => None,
        }
    }

    #[inline]
    pub(crate) fn apply(self, a: u32, b: u32) -> u32 {
        match self {
            Self::And => a & b,
            Self::Or => a | b,
            Self::Xor => a ^ b,
        }
    }
}
