//! Floating-point arithmetic in integers, for any format and rounding mode.
//!
//! The host rounds to nearest and knows two formats; PTX has four rounding modes and more formats. Values
//! here are a sign, an exponent and a significand of up to 128 bits plus a sticky bit that says "and a little
//! more", which is enough to round any sum, product, fused product, quotient or root of f64 or less exactly
//! once.

use super::Rounding;

/// An IEEE-like binary format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    /// Bits of the exponent field.
    exponent: u32,
    /// Bits of the fraction field.
    fraction: u32,
    /// The NaN that operations give.
    nan: u64,
}

pub(crate) const F16: Format = Format { exponent: 5, fraction: 10, nan: 0x7fff };
pub(crate) const BF16: Format = Format { exponent: 8, fraction: 7, nan: 0x7fff };
/// An f32 with ten bits of fraction, in the high bits of an f32.
pub(crate) const TF32: Format = Format { exponent: 8, fraction: 10, nan: 0x3ffff };
pub(crate) const F32: Format = Format { exponent: 8, fraction: 23, nan: 0x7fff_ffff };
pub(crate) const F64: Format = Format { exponent: 11, fraction: 52, nan: F64_NAN };
/// The NaN that f64 operations give.
pub(crate) const F64_NAN: u64 = 0xfff8_0000_0000_0000;

impl Format {
    fn bias(self) -> i32 {
        (1 << (self.exponent - 1)) - 1
    }

    fn infinity(self) -> u64 {
        ((1 << self.exponent) - 1) << self.fraction
    }

    fn signed(self, negative: bool, magnitude: u64) -> u64 {
        magnitude | u64::from(negative) << (self.exponent + self.fraction)
    }
}

/// A number with its sign: what a format's bits mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Number {
    pub negative: bool,
    pub kind: Kind,
}

/// The magnitude of a [`Number`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Nan,
    Infinite,
    Zero,
    /// `significand` (not zero) times two to the power `exponent`, and a little more where `sticky`.
    Finite {
        exponent: i32,
        significand: u128,
        sticky: bool,
    },
}

impl Number {
    const NAN: Number = Number { negative: false, kind: Kind::Nan };

    fn new(negative: bool, kind: Kind) -> Self {
        Self { negative, kind }
    }

    fn finite(negative: bool, exponent: i32, significand: u128, sticky: bool) -> Self {
        if significand == 0 && !sticky {
            return Self::new(negative, Kind::Zero);
        }
        Self::new(negative, Kind::Finite { exponent, significand, sticky })
    }

    /// An integer.
    pub(crate) fn integer(value: i128) -> Self {
        Self::finite(value < 0, 0, value.unsigned_abs(), false)
    }

    /// Reads a value of a format.
    pub(crate) fn unpack(bits: u64, format: Format) -> Self {
        let negative = bits >> (format.exponent + format.fraction) & 1 == 1;
        let field = bits >> format.fraction & ((1 << format.exponent) - 1);
        let fraction = bits & ((1 << format.fraction) - 1);
        let lowest = 1 - format.bias() - format.fraction as i32;
        let kind = match (field, fraction) {
            (0, 0) => Kind::Zero,
            (0, _) => Kind::Finite { exponent: lowest, significand: fraction.into(), sticky: false },
            (all, 0) if all == (1 << format.exponent) - 1 => Kind::Infinite,
            (all, _) if all == (1 << format.exponent) - 1 => Kind::Nan,
            _ => Kind::Finite {
                exponent: lowest + field as i32 - 1,
                significand: u128::from(fraction | 1 << format.fraction),
                sticky: false,
            },
        };
        Self { negative, kind }
    }

    /// Rounds to a format.
    pub(crate) fn pack(self, format: Format, rounding: Rounding) -> u64 {
        let Kind::Finite { exponent, significand, sticky } = self.kind else {
            return match self.kind {
                Kind::Nan => format.nan,
                Kind::Infinite => format.signed(self.negative, format.infinity()),
                _ => format.signed(self.negative, 0),
            };
        };
        let lowest = 1 - format.bias() - format.fraction as i32;
        let top = 127 - significand.leading_zeros() as i32;
        let unit = (exponent + top - format.fraction as i32).max(lowest);
        let (rounded, _) = round_to_unit(self.negative, exponent, significand, sticky, unit, rounding);
        // A carry out of the significand doubles it, and adding it to the exponent field then does the right
        // thing.
        let magnitude = if rounded >> format.fraction == 0 {
            rounded as u64
        } else {
            ((unit - lowest) as u64).saturating_mul(1 << format.fraction).saturating_add(rounded as u64)
        };
        if magnitude < format.infinity() {
            return format.signed(self.negative, magnitude);
        }
        let to_infinity = match rounding {
            Rounding::Nearest | Rounding::Away => true,
            Rounding::Zero => false,
            Rounding::Down => self.negative,
            Rounding::Up => !self.negative,
        };
        format.signed(self.negative, format.infinity() - u64::from(!to_infinity))
    }

    pub(crate) fn negated(self) -> Self {
        Self { negative: !self.negative, ..self }
    }

    /// The exact sum, but for what `sticky` stands for. `rounding` decides the sign of a zero.
    pub(crate) fn add(self, other: Self, rounding: Rounding) -> Self {
        match (self.kind, other.kind) {
            (Kind::Nan, _) | (_, Kind::Nan) => Self::NAN,
            (Kind::Infinite, Kind::Infinite) if self.negative != other.negative => Self::NAN,
            (Kind::Infinite, _) => self,
            (_, Kind::Infinite) => other,
            (Kind::Zero, Kind::Zero) if self.negative != other.negative => {
                Self::new(rounding == Rounding::Down, Kind::Zero)
            }
            (Kind::Zero, _) => other,
            (_, Kind::Zero) => self,
            (
                Kind::Finite { exponent: e, significand: m, .. },
                Kind::Finite { exponent: f, significand: n, .. },
            ) => {
                let (a, b) = (normal(self.negative, e, m), normal(other.negative, f, n));
                let (high, low) = if (a.1, a.2) >= (b.1, b.2) { (a, b) } else { (b, a) };
                let (aligned, lost) = shift_right(low.2, (high.1 - low.1) as u32);
                if high.0 == low.0 {
                    return Self::finite(high.0, high.1, high.2 + aligned, lost);
                }
                // Where bits were lost, the true difference lies just below: one less, and a little more.
                let difference = high.2 - aligned - u128::from(lost);
                if difference == 0 && !lost {
                    return Self::new(rounding == Rounding::Down, Kind::Zero);
                }
                Self::finite(high.0, high.1, difference, lost)
            }
        }
    }

    /// The exact product of two numbers of at most 64 significant bits each.
    pub(crate) fn mul(self, other: Self) -> Self {
        let negative = self.negative != other.negative;
        match (self.kind, other.kind) {
            (Kind::Nan, _) | (_, Kind::Nan) => Self::NAN,
            (Kind::Infinite, Kind::Zero) | (Kind::Zero, Kind::Infinite) => Self::NAN,
            (Kind::Infinite, _) | (_, Kind::Infinite) => Self::new(negative, Kind::Infinite),
            (Kind::Zero, _) | (_, Kind::Zero) => Self::new(negative, Kind::Zero),
            (
                Kind::Finite { exponent: e, significand: m, .. },
                Kind::Finite { exponent: f, significand: n, .. },
            ) => Self::finite(negative, e + f, m.wrapping_mul(n), false),
        }
    }

    /// The quotient.
    pub(crate) fn div(self, other: Self) -> Self {
        let negative = self.negative != other.negative;
        match (self.kind, other.kind) {
            (Kind::Nan, _) | (_, Kind::Nan) => Self::NAN,
            (Kind::Infinite, Kind::Infinite) | (Kind::Zero, Kind::Zero) => Self::NAN,
            (Kind::Infinite, _) | (_, Kind::Zero) => Self::new(negative, Kind::Infinite),
            (Kind::Zero, _) | (_, Kind::Infinite) => Self::new(negative, Kind::Zero),
            (
                Kind::Finite { exponent: e, significand: m, .. },
                Kind::Finite { exponent: f, significand: n, .. },
            ) => {
                let up = m.leading_zeros();
                let dividend = m << up;
                Self::finite(negative, e - up as i32 - f, dividend / n, dividend % n != 0)
            }
        }
    }

    /// The square root.
    pub(crate) fn sqrt(self) -> Self {
        match self.kind {
            Kind::Nan => Self::NAN,
            Kind::Zero => self,
            _ if self.negative => Self::NAN,
            Kind::Infinite => self,
            Kind::Finite { exponent, significand, .. } => {
                let mut up = significand.leading_zeros() as i32;
                up -= (exponent - up) & 1;
                let radicand = significand << up;
                let root = radicand.isqrt();
                Self::finite(false, (exponent - up) / 2, root, root * root != radicand)
            }
        }
    }
}

/// The same magnitude with its top bit at bit 125, which leaves room for one carry.
fn normal(negative: bool, exponent: i32, significand: u128) -> (bool, i32, u128) {
    let up = significand.leading_zeros() as i32 - 2;
    let moved = if up >= 0 { significand << up } else { significand >> -up };
    (negative, exponent - up, moved)
}

/// The value shifted right, and whether a one fell off.
fn shift_right(value: u128, by: u32) -> (u128, bool) {
    match value.checked_shr(by) {
        Some(kept) => (kept, kept << by != value),
        None => (0, value != 0),
    }
}

/// Rounds a magnitude to a multiple of two to the power `unit`; gives the multiple, and whether anything was
/// lost.
fn round_to_unit(
    negative: bool,
    exponent: i32,
    significand: u128,
    sticky: bool,
    unit: i32,
    rounding: Rounding,
) -> (u128, bool) {
    let down = unit - exponent;
    if down <= 0 {
        return (significand << -down, sticky);
    }
    let (kept, _) = shift_right(significand, down as u32);
    // The first bit that is dropped, and whether anything lies below it.
    let (upper, below) = shift_right(significand, down as u32 - 1);
    let half = upper & 1 == 1;
    let below = below || sticky;
    let up = match rounding {
        Rounding::Nearest => half && (below || kept & 1 == 1),
        Rounding::Away => half,
        Rounding::Zero => false,
        Rounding::Down => negative && (half || below),
        Rounding::Up => !negative && (half || below),
    };
    (kept + u128::from(up), half || below)
}

/// Converts between formats.
pub(crate) fn convert(bits: u64, from: Format, to: Format, rounding: Rounding) -> u64 {
    Number::unpack(bits, from).pack(to, rounding)
}

/// Rounds to an integral value of the same format.
pub(crate) fn to_integral(bits: u64, format: Format, rounding: Rounding) -> u64 {
    let number = Number::unpack(bits, format);
    let Kind::Finite { exponent, significand, sticky } = number.kind else {
        return number.pack(format, rounding);
    };
    if exponent >= 0 {
        return bits;
    }
    let (rounded, _) = round_to_unit(number.negative, exponent, significand, sticky, 0, rounding);
    Number::finite(number.negative, 0, rounded, false).pack(format, rounding)
}
