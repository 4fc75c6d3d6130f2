//! Arithmetic against independent models: the host's own arithmetic, wide integers, and bit-by-bit definitions.

use proptest::prelude::*;

use super::half::{Bf16, F16, Half};
use super::soft::{self, Number};
use super::*;
use crate::device::cpu::ptx::Type;

/// Bits of floats with many special and neighbouring values among them.
fn f32_bits() -> impl Strategy<Value = u32> {
    let special = vec![
        0,
        1,
        2,
        0x7f_ffff,
        0x80_0000,
        0x80_0001,
        0x3f80_0000,
        0x3f7f_ffff,
        0x3f80_0001,
        0x7f7f_ffff,
        0x7f80_0000,
        0x7fc0_0000,
        0x4b00_0001,
        0x4f00_0000,
        0x5f00_0000,
    ];
    let near = (0u32..=40, any::<u32>()).prop_map(|(e, f)| (107 + e) << 23 | f & 0x7f_ffff);
    let magnitude = prop_oneof![prop::sample::select(special), any::<u32>().prop_map(|x| x >> 1), near];
    (magnitude, any::<bool>()).prop_map(|(m, negative)| m | u32::from(negative) << 31)
}

fn f64_bits() -> impl Strategy<Value = u64> {
    let special =
        vec![0, 1, 0xf_ffff_ffff_ffff, 1 << 52, 0x3ff0_0000_0000_0000, 0x7fef_ffff_ffff_ffff, 0x7ff << 52];
    let near = (0u64..=120, any::<u64>()).prop_map(|(e, f)| (963 + e) << 52 | f >> 12);
    let magnitude = prop_oneof![prop::sample::select(special), any::<u64>().prop_map(|x| x >> 1), near];
    (magnitude, any::<bool>()).prop_map(|(m, negative)| m | u64::from(negative) << 63)
}

fn mode(rounding: Rounding) -> Mode {
    Mode { rounding, ..Mode::default() }
}

const RN: Mode = Mode { rounding: Rounding::Nearest, ftz: false, sat: false };
const DIRECTED: [Rounding; 3] = [Rounding::Zero, Rounding::Down, Rounding::Up];

/// Runs on every lane and on one; the others must keep what they had.
fn one(f: Fn1, a: u64) -> u64 {
    let (mut all, mut some) = ([0; WARP], [7; WARP]);
    f(RN, &mut all, &[a; WARP], Mask::MAX);
    f(RN, &mut some, &[a; WARP], 1 << 5);
    assert!(some[5] == all[31] && some[4] == 7);
    all[31]
}

fn two(f: Fn2, a: u64, b: u64) -> u64 {
    let (mut all, mut some) = ([0; WARP], [7; WARP]);
    f(RN, &mut all, &[a; WARP], &[b; WARP], Mask::MAX);
    f(RN, &mut some, &[a; WARP], &[b; WARP], 1 << 5);
    assert!(some[5] == all[31] && some[4] == 7);
    all[31]
}

fn three(f: Fn3, a: u64, b: u64, c: u64) -> u64 {
    let (mut all, mut some) = ([0; WARP], [7; WARP]);
    f(RN, &mut all, &[a; WARP], &[b; WARP], &[c; WARP], Mask::MAX);
    f(RN, &mut some, &[a; WARP], &[b; WARP], &[c; WARP], 1 << 5);
    assert!(some[5] == all[31] && some[4] == 7);
    all[31]
}

/// The f32 that a real number, given as an f64 that holds it exactly, rounds to.
fn round_exact(value: f64, rounding: Rounding) -> f32 {
    let nearest = value as f32;
    let (below, above) = match f64::from(nearest) {
        n if n == value => return nearest,
        n if n < value => (nearest, nearest.next_up()),
        _ => (nearest.next_down(), nearest),
    };
    match rounding {
        Rounding::Nearest | Rounding::Away => nearest,
        Rounding::Zero => {
            if value > 0.0 {
                below
            } else {
                above
            }
        }
        Rounding::Down => below,
        Rounding::Up => above,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn soft_f32_is_the_hosts(a in f32_bits(), b in f32_bits(), c in f32_bits()) {
        let (x, y, z) = (f32::from_bits(a), f32::from_bits(b), f32::from_bits(c));
        let n = |bits: u32| Number::unpack(bits.into(), soft::F32);
        let pack = |number: Number| number.pack(soft::F32, Rounding::Nearest);
        prop_assert_eq!(pack(n(a).add(n(b), Rounding::Nearest)), float::out32(x + y));
        prop_assert_eq!(pack(n(a).mul(n(b))), float::out32(x * y));
        prop_assert_eq!(pack(n(a).div(n(b))), float::out32(x / y));
        prop_assert_eq!(pack(n(a).sqrt()), float::out32(x.sqrt()));
        let fused = float::out32(x.mul_add(y, z));
        prop_assert_eq!(pack(n(a).mul(n(b)).add(n(c), Rounding::Nearest)), fused);
        prop_assert_eq!(float::fma32(RN, a.into(), b.into(), c.into()), fused);
    }

    #[test]
    fn soft_f64_is_the_hosts(a in f64_bits(), b in f64_bits(), c in f64_bits()) {
        let (x, y, z) = (f64::from_bits(a), f64::from_bits(b), f64::from_bits(c));
        let n = |bits| Number::unpack(bits, soft::F64);
        let pack = |number: Number| number.pack(soft::F64, Rounding::Nearest);
        prop_assert_eq!(pack(n(a).add(n(b), Rounding::Nearest)), float::out64(x + y));
        prop_assert_eq!(pack(n(a).mul(n(b))), float::out64(x * y));
        prop_assert_eq!(pack(n(a).div(n(b))), float::out64(x / y));
        prop_assert_eq!(pack(n(a).sqrt()), float::out64(x.sqrt()));
        prop_assert_eq!(pack(n(a).mul(n(b)).add(n(c), Rounding::Nearest)), float::out64(x.mul_add(y, z)));
        let narrow = soft::convert(a, soft::F64, soft::F32, Rounding::Nearest);
        prop_assert_eq!(narrow, float::out32(x as f32));
    }

    #[test]
    fn directed_rounding_brackets_the_exact_value(a in f32_bits(), b in f32_bits()) {
        let (x, y) = (f32::from_bits(a), f32::from_bits(b));
        for rounding in DIRECTED {
            let m = mode(rounding);
            if x.is_finite() && y.is_finite() {
                // A product of two f32 is exact in f64.
                let product = f64::from(x) * f64::from(y);
                if product != 0.0 {
                    prop_assert_eq!(float::mul32(m, a.into(), b.into()), float::out32(round_exact(product, rounding)));
                }
                let (big, small) = (x.abs().max(y.abs()), x.abs().min(y.abs()));
                let sum = f64::from(x) + f64::from(y);
                if big < small * 1e6 && sum != 0.0 {
                    prop_assert_eq!(float::add32(m, a.into(), b.into()), float::out32(round_exact(sum, rounding)));
                }
            }
            // A quotient or root lies between its neighbours, found by multiplying back.
            if x.is_normal() && y.is_normal() && (1e-10..1e10).contains(&x.abs()) && (1e-10..1e10).contains(&y.abs()) {
                let q = f32::from_bits(float::div32(m, a.into(), b.into()) as u32);
                let sign = if y < 0.0 { -1.0 } else { 1.0 };
                let residue = |q: f32| sign * (f64::from(q) * f64::from(y) - f64::from(x));
                match rounding {
                    Rounding::Down => prop_assert!(residue(q) <= 0.0 && residue(q.next_up()) > 0.0),
                    Rounding::Up => prop_assert!(residue(q) >= 0.0 && residue(q.next_down()) < 0.0),
                    _ => prop_assert!((f64::from(q) * f64::from(y)).abs() <= f64::from(x).abs()),
                }
                let root = f32::from_bits(float::sqrt32(m, (a & 0x7fff_ffff).into()) as u32);
                let square = |r: f32| f64::from(r) * f64::from(r) - f64::from(x.abs());
                match rounding {
                    Rounding::Up => prop_assert!(square(root) >= 0.0 && square(root.next_down()) < 0.0),
                    _ => prop_assert!(square(root) <= 0.0 && square(root.next_up()) > 0.0),
                }
            }
        }
    }

    #[test]
    fn flushing_and_saturating(a in f32_bits(), b in f32_bits()) {
        let flush = |x: f32| if x.is_subnormal() { 0.0f32.copysign(x) } else { x };
        let (x, y) = (f32::from_bits(a), f32::from_bits(b));
        let product = float::out32(flush(flush(x) * flush(y)));
        let ftz = Mode { ftz: true, ..RN };
        prop_assert_eq!(float::mul32(ftz, a.into(), b.into()), product);
        let p = f32::from_bits(product as u32);
        let clamped = if p.is_nan() { 0.0 } else { p.clamp(0.0, 1.0) + 0.0 };
        let both = Mode { sat: true, ..ftz };
        prop_assert_eq!(float::mul32(both, a.into(), b.into()), u64::from(clamped.to_bits()));
    }

    #[test]
    fn halves_round_once(a in any::<u16>(), b in any::<u16>(), c in any::<u16>()) {
        fn check<H: Half>(a: u16, b: u16, c: u16) -> Result<(), TestCaseError> {
            let n = |x: u16| Number::unpack(x.into(), H::FORMAT);
            let pack = |number: Number| number.pack(H::FORMAT, Rounding::Nearest);
            let (x, y, z) = (a.into(), b.into(), c.into());
            prop_assert_eq!(half::add::<H>(RN, x, y), pack(n(a).add(n(b), Rounding::Nearest)));
            prop_assert_eq!(half::mul::<H>(RN, x, y), pack(n(a).mul(n(b))));
            prop_assert_eq!(half::fma::<H>(RN, x, y, z), pack(n(a).mul(n(b)).add(n(c), Rounding::Nearest)));
            Ok(())
        }
        check::<F16>(a, b, c)?;
        check::<Bf16>(a, b, c)?;
    }

    #[test]
    fn conversions_to_halves_round_once(a in f32_bits()) {
        let soft16 = |format| soft::convert(a.into(), soft::F32, format, Rounding::Nearest);
        prop_assert_eq!(half::from_f32::<F16>(RN, a.into()), soft16(soft::F16));
        prop_assert_eq!(half::from_f32::<Bf16>(RN, a.into()), soft16(soft::BF16));
    }

    #[test]
    fn integer_arithmetic_is_that_of_wide_integers(a in any::<u64>(), b in any::<u64>(), c in any::<u64>()) {
        use Type::{S16, S32, S64, U16, U32, U64};
        for ty in [U16, S16, U32, S32, U64, S64] {
            let bits = ty.bits();
            let mask = u128::MAX >> (128 - bits);
            let value = |x: u64| {
                let x = u128::from(x) & mask;
                if ty.is_signed() && x >> (bits - 1) & 1 == 1 { x as i128 - (1 << bits) } else { x as i128 }
            };
            let cut = |x: i128| (x as u128 & mask) as u64;
            let (x, y, z) = (value(a), value(b), value(c));
            let (ra, rb, rc) = (cut(x), cut(y), cut(z));
            let wide = |x: i128| (x as u128 & (u128::MAX >> (128 - 2 * bits))) as u64;
            let mut expected = vec![
                ("add", cut(x + y)), ("sub", cut(x - y)), ("mul.lo", cut(x.wrapping_mul(y))),
                ("min", cut(x.min(y))), ("max", cut(x.max(y))), ("and", ra & rb), ("or", ra | rb), ("xor", ra ^ rb),
            ];
            // The product of two u64 may reach beyond i128.
            let high = if ty == U64 { ((u128::from(ra) * u128::from(rb)) >> 64) as u64 } else { cut((x * y) >> bits) };
            expected.push(("mul.hi", high));
            if y != 0 {
                expected.extend([("div", cut(x / y)), ("rem", cut(x % y))]);
            }
            if bits < 64 {
                expected.push(("mul.wide", wide(x * y)));
            }
            for (name, want) in expected {
                let f = integer::binary(name, ty).unwrap();
                prop_assert_eq!(two(f, ra, rb), want, "{}.{:?} {} {}", name, ty, x, y);
            }
            let amount = c % 80;
            let left = if amount >= bits.into() { 0 } else { cut((ra as u128).wrapping_shl(amount as u32) as i128) };
            prop_assert_eq!(two(integer::binary("shl", ty).unwrap(), ra, amount), left);
            prop_assert_eq!(two(integer::binary("shr", ty).unwrap(), ra, amount), cut(x >> amount.min(bits.into())));
            let mad = integer::ternary("mad.lo", ty).unwrap();
            prop_assert_eq!(three(mad, ra, rb, rc), cut(x.wrapping_mul(y).wrapping_add(z)));
            let sad = integer::ternary("sad", ty).unwrap();
            prop_assert_eq!(three(sad, ra, rb, rc), cut((x - y).abs() + z));
            for (name, want) in [("neg", cut(-x)), ("abs", cut(x.abs())), ("not", cut(!x))] {
                if name != "abs" || ty.is_signed() {
                    prop_assert_eq!(one(integer::unary(name, ty).unwrap(), ra), want, "{}.{:?} {}", name, ty, x);
                }
            }
        }
    }

    #[test]
    fn saturating_addition(a in any::<i32>(), b in any::<i32>()) {
        let bits = |x: i32| u64::from(x as u32);
        let add = integer::binary("add.sat", Type::S32).unwrap();
        prop_assert_eq!(two(add, bits(a), bits(b)), bits(a.saturating_add(b)));
        let sub = integer::binary("sub.sat", Type::S32).unwrap();
        prop_assert_eq!(two(sub, bits(a), bits(b)), bits(a.saturating_sub(b)));
    }

    #[test]
    fn bit_fields_bit_by_bit(a in any::<u32>(), b in any::<u32>(), position in 0u32..70, length in 0u32..70) {
        // The definition in the PTX manual.
        for signed in [false, true] {
            let sign_at = (position + length).saturating_sub(1).min(31);
            let fill = signed && length > 0 && a >> sign_at & 1 == 1;
            let mut want = if fill { u32::MAX } else { 0 };
            for i in (0..32).filter(|&i| i < length && position + i <= 31) {
                want = want & !(1 << i) | (a >> (position + i) & 1) << i;
            }
            let f = integer::bfe(if signed { Type::S32 } else { Type::U32 }).unwrap();
            prop_assert_eq!(three(f, a.into(), position.into(), length.into()), u64::from(want));
        }
        let mut want = b;
        for i in (0..32).filter(|&i| i < length && position + i <= 31) {
            want = want & !(1 << (position + i)) | (a >> i & 1) << (position + i);
        }
        prop_assert_eq!(integer::bfi(a.into(), b.into(), position.into(), length.into(), 32), u64::from(want));
    }

    #[test]
    fn words_of_bits(a in any::<u32>(), b in any::<u32>(), c in any::<u32>(), table in any::<u8>()) {
        let (x, y, z) = (u64::from(a), u64::from(b), u64::from(c));
        let lop = (0..32).fold(0, |sum, i| {
            let row = (a >> i & 1) << 2 | (b >> i & 1) << 1 | c >> i & 1;
            sum | u64::from(table >> row & 1) << i
        });
        prop_assert_eq!(integer::lop3(x, y, z, table), lop);
        let both = y << 32 | x;
        for (left, wrap) in [(true, true), (true, false), (false, true), (false, false)] {
            let n = if wrap { c % 32 } else { c.min(32) };
            let want = if left { both << n >> 32 } else { both >> n & 0xffff_ffff };
            prop_assert_eq!(three(integer::funnel(left, wrap), x, y, z), want);
        }
        let bytes = both.to_le_bytes();
        let want: Vec<u8> = (0..4)
            .map(|i| {
                let selector = c >> (4 * i) & 15;
                let byte = bytes[(selector & 7) as usize];
                if selector < 8 { byte } else if byte < 128 { 0 } else { 255 }
            })
            .collect();
        let picked = three(integer::prmt(None).unwrap(), x, y, z);
        prop_assert_eq!((picked as u32).to_le_bytes().to_vec(), want);
        prop_assert_eq!(one(integer::unary("popc", Type::B32).unwrap(), x), u64::from(a.count_ones()));
        prop_assert_eq!(one(integer::unary("clz", Type::B32).unwrap(), x), u64::from(a.leading_zeros()));
        let dot: i32 = (0..4).map(|i| i32::from((a >> (8 * i)) as i8) * i32::from((b >> (8 * i)) as i8)).sum();
        let f = integer::dot("dp4a", true, true).unwrap();
        prop_assert_eq!(three(f, x, y, z), u64::from(c.wrapping_add(dot as u32)));
    }

    #[test]
    fn floats_become_integers(a in f32_bits()) {
        let x = f32::from_bits(a);
        type Round = fn(f32) -> f32;
        let modes: [(Rounding, Round); 4] = [
            (Rounding::Zero, f32::trunc), (Rounding::Down, f32::floor), (Rounding::Up, f32::ceil),
            (Rounding::Nearest, f32::round_ties_even),
        ];
        for (rounding, round) in modes {
            let run = |to, width| {
                let mut out = [0; WARP];
                convert::convert(to, Type::F32, width, true).unwrap()(mode(rounding), &mut out, &[a.into(); WARP], 1);
                out[0]
            };
            if !x.is_nan() {
                prop_assert_eq!(run(Type::S32, 32), u64::from(round(x) as i32 as u32));
                prop_assert_eq!(run(Type::U32, 32), u64::from(round(x) as u32));
                prop_assert_eq!(run(Type::S64, 64), round(x) as i64 as u64);
                prop_assert_eq!(run(Type::U8, 16), u64::from(round(x) as u8));
                prop_assert_eq!(run(Type::F32, 32), u64::from(round(x).to_bits()));
            }
        }
    }

    #[test]
    fn integers_become_floats(a in any::<u64>(), shift in 0u32..64) {
        let a = a >> shift;
        let run = |to, from, rounding| {
            let mut out = [0; WARP];
            convert::convert(to, from, 64, false).unwrap()(mode(rounding), &mut out, &[a; WARP], 1);
            out[0]
        };
        prop_assert_eq!(run(Type::F32, Type::U64, Rounding::Nearest), u64::from((a as f32).to_bits()));
        prop_assert_eq!(run(Type::F64, Type::S64, Rounding::Nearest), (a as i64 as f64).to_bits());
        let down = f32::from_bits(run(Type::F32, Type::U64, Rounding::Down) as u32);
        let up = f32::from_bits(run(Type::F32, Type::U64, Rounding::Up) as u32);
        prop_assert!(down as u128 <= u128::from(a) && up as u128 >= u128::from(a));
        prop_assert!(down == up || down.next_up() == up);
    }

    #[test]
    fn integers_change_width(a in any::<u64>()) {
        let run = |to, from, width, sat| {
            let mut out = [0; WARP];
            convert::convert(to, from, width, false).unwrap()(Mode { sat, ..RN }, &mut out, &[a; WARP], 1);
            out[0]
        };
        prop_assert_eq!(run(Type::S32, Type::S8, 32, false), u64::from(i32::from(a as i8) as u32));
        prop_assert_eq!(run(Type::S8, Type::S32, 32, false), u64::from(i32::from(a as i8) as u32));
        prop_assert_eq!(run(Type::U64, Type::U32, 64, false), a & 0xffff_ffff);
        prop_assert_eq!(run(Type::S64, Type::S32, 64, false), i64::from(a as i32) as u64);
        prop_assert_eq!(run(Type::U8, Type::S64, 32, true), (a as i64).clamp(0, 255) as u64);
        let clamped = (a as i64).clamp(-0x8000, 0x7fff) as i16;
        prop_assert_eq!(run(Type::S16, Type::S64, 16, true), u64::from(clamped as u16));
    }

    #[test]
    fn comparisons(a in f32_bits(), b in f32_bits()) {
        let (x, y) = (f32::from_bits(a), f32::from_bits(b));
        let nan = x.is_nan() || y.is_nan();
        let holds = |op: &str| compare::compare(op, Type::F32).unwrap()(RN, &[a.into(); WARP], &[b.into(); WARP]) == Mask::MAX;
        let rows = [("eq", x == y), ("ne", !nan && x != y), ("lt", x < y), ("le", x <= y), ("gt", x > y), ("ge", x >= y)];
        for (op, want) in rows {
            prop_assert_eq!(holds(op), want, "{}", op);
            prop_assert_eq!(holds(&format!("{op}u")), want || nan, "{}u", op);
        }
        prop_assert_eq!((holds("num"), holds("nan")), (!nan, nan));
        let int = |op, ty| compare::compare(op, ty).unwrap()(RN, &[a.into(); WARP], &[b.into(); WARP]) != 0;
        prop_assert_eq!((int("lt", Type::S32), int("lo", Type::U32)), ((a as i32) < b as i32, a < b));
    }

    #[test]
    fn approximations_are_close(x in -80.0f32..80.0) {
        let run = |name| f64::from(f32::from_bits(one(table::unary(name, Type::F32).unwrap(), x.to_bits().into()) as u32));
        let wide = f64::from(x);
        let close = |got: f64, want: f64| (got - want).abs() <= want.abs() * 6e-8 + 1e-44;
        prop_assert!(close(run("ex2.approx"), wide.exp2()));
        prop_assert!(close(run("sin.approx"), wide.sin()) && close(run("tanh.approx"), wide.tanh()));
        if x > 0.0 {
            prop_assert!(close(run("rsqrt.approx"), 1.0 / wide.sqrt()) && close(run("lg2.approx"), wide.log2()));
        }
    }
}

#[test]
fn every_half_survives_widening() {
    for bits in 0..=u16::MAX {
        for (widened, narrowed, nan) in [
            (F16::widen(bits), F16::narrow(F16::widen(bits)), F16::is_nan(bits)),
            (Bf16::widen(bits), Bf16::narrow(Bf16::widen(bits)), Bf16::is_nan(bits)),
        ] {
            assert_eq!(widened.is_nan(), nan);
            assert_eq!(narrowed, if nan { 0x7fff } else { bits });
        }
        let exact = f64::from_bits(soft::convert(bits.into(), soft::F16, soft::F64, Rounding::Nearest));
        assert!(F16::is_nan(bits) || F16::widen(bits) == exact);
    }
}

#[test]
fn minima_of_zeros_and_nans() {
    let (zero, minus_zero, nan, two_) = (0u64, 0x8000_0000u64, 0x7fc0_0000u64, 0x4000_0000u64);
    assert_eq!(float::min32(RN, zero, minus_zero), minus_zero);
    assert_eq!(float::max32(RN, minus_zero, zero), zero);
    assert_eq!(float::min32(RN, nan, two_), two_);
    assert_eq!(float::max32(RN, two_, nan), two_);
    assert_eq!(float::max32(RN, nan, nan), 0x7fff_ffff);
    assert_eq!(float::max32_nan(RN, two_, nan), 0x7fff_ffff);
    assert_eq!(half::min::<F16>(RN, 0, 0x8000), 0x8000);
    assert_eq!(half::max::<F16>(RN, 0x7e00, 0x4000), 0x4000);
    assert_eq!(half::max_nan::<F16>(RN, 0x7e00, 0x4000), 0x7fff);
}

#[test]
fn not_a_number_as_an_integer() {
    let run = |to, from, a| {
        let mut out = [0; WARP];
        convert::convert(to, from, 64, true).unwrap()(mode(Rounding::Zero), &mut out, &[a; WARP], 1);
        out[0]
    };
    assert_eq!(run(Type::S32, Type::F32, 0x7fc0_0000), 0);
    assert_eq!(run(Type::S64, Type::F32, 0x7fc0_0000), 1 << 63);
    assert_eq!(run(Type::S32, Type::F64, 0x7ff8_0000_0000_0000), 0x8000_0000);
}

#[test]
fn atomics_that_wrap() {
    let run = |op, ty, old, b, c| atomic::atomic(op, ty).unwrap()(old, b, c);
    assert_eq!(run("inc", Type::U32, 5, 5, 0), 0);
    assert_eq!(run("inc", Type::U32, 4, 5, 0), 5);
    assert_eq!(run("dec", Type::U32, 0, 5, 0), 5);
    assert_eq!(run("dec", Type::U32, 6, 5, 0), 5);
    assert_eq!(run("dec", Type::U32, 5, 5, 0), 4);
    assert_eq!(run("cas", Type::B32, 5, 5, 9), 9);
    assert_eq!(run("cas", Type::B32, 4, 5, 9), 4);
    assert_eq!(run("min", Type::S32, 0xffff_ffff, 1, 0), 0xffff_ffff);
    assert_eq!(run("add", Type::U32, 0xffff_ffff, 2, 0), 1);
}

#[test]
fn finding_bits() {
    let rows = [
        (Type::U32, 0x0000_8000, 15),
        (Type::U32, 0, 0xffff_ffff),
        (Type::S32, 0xffff_ff7f, 7),
        (Type::S32, 0xffff_ffff, 0xffff_ffff),
        (Type::U64, 1 << 40, 40),
        (Type::S64, u64::MAX, 0xffff_ffff),
    ];
    for (ty, value, want) in rows {
        assert_eq!(one(integer::bfind(ty, false).unwrap(), value), want, "{ty:?} {value:#x}");
    }
    assert_eq!(one(integer::bfind(Type::U32, true).unwrap(), 0x8000), 16);
    assert_eq!(integer::fns(0b1011_0010, 1, 2), 4);
    assert_eq!(integer::fns(0b1011_0010, 7, (-2i64) as u64 & 0xffff_ffff), 5);
    assert_eq!(integer::fns(0b1, 3, 1), 0xffff_ffff);
}
