//! Integer, half-precision, conversion and library-function kernels (`ptx/kernels.cu`), compared with the CPU.

#[path = "ptx/gpu.rs"]
mod gpu;

use gpu::{Gpu, Random, arg};
use rrto_gpud::device::cpu::Launch;

const PTX: &str = include_str!("ptx/kernels.ptx");

/// Random integers of every magnitude, with some special ones.
fn integers(random: &mut Random, count: usize) -> Vec<i64> {
    let special = [0, 1, -1, i64::MAX, i64::MIN, i64::from(i32::MIN), 0x8000_0000, 63, 64];
    let mut values: Vec<i64> = (0..count).map(|_| (random.bits() as i64) >> random.below(64)).collect();
    values.iter_mut().zip(special).for_each(|(v, s)| *v = s);
    values
}

#[test]
fn integers_of_64_bits() {
    let gpu = Gpu::new(PTX);
    let (mut random, n) = (Random::new(1), 300);
    let (a, mut b) = (integers(&mut random, n), integers(&mut random, n));
    b.reverse();
    let (da, db, out) = (gpu.upload(&a), gpu.upload(&b), gpu.zeros::<i64>(n * 16));
    gpu.ok("int64", Launch::linear(3, 128), &[arg(da), arg(db), arg(out), arg(n as i32)]);
    let got = gpu.download::<i64>(out, n * 16);
    for (i, (&x, &y)) in a.iter().zip(&b).enumerate() {
        let (ux, uy, shift) = (x as u64, y as u64, (y & 63) as u32);
        let expected = [
            x.wrapping_add(y),
            x.wrapping_mul(y),
            if y == 0 { 0 } else { x.wrapping_div(y) },
            if y == 0 { 0 } else { x.wrapping_rem(y) },
            x >> shift,
            (ux >> shift) as i64,
            x << shift,
            ((i128::from(x) * i128::from(y)) >> 64) as i64,
            ((u128::from(ux) * u128::from(uy)) >> 64) as i64,
            x.count_ones().into(),
            x.leading_zeros().into(),
            x.reverse_bits(),
            if x == 0 { 0 } else { i64::from(x.trailing_zeros()) + 1 },
            x.min(y),
            (ux % (uy | 1)) as i64,
            x.wrapping_abs() ^ (x & y) | !x,
        ];
        assert_eq!(got[i * 16..][..16], expected, "{x} {y}");
    }
}

#[test]
fn integers_of_32_bits() {
    let gpu = Gpu::new(PTX);
    let (mut random, n) = (Random::new(2), 300);
    let words = |v: Vec<i64>| v.into_iter().map(|x| x as i32).collect::<Vec<_>>();
    let (a, mut b) = (words(integers(&mut random, n)), words(integers(&mut random, n)));
    b.reverse();
    let (da, db, out) = (gpu.upload(&a), gpu.upload(&b), gpu.zeros::<i32>(n * 24));
    gpu.ok("int32", Launch::linear(3, 128), &[arg(da), arg(db), arg(out), arg(n as i32)]);
    let got = gpu.download::<i32>(out, n * 24);
    for (i, (&x, &y)) in a.iter().zip(&b).enumerate() {
        let (ux, uy) = (x as u32, y as u32);
        let joined = u64::from(uy) << 32 | u64::from(ux);
        let bytes = joined.to_le_bytes();
        let lanes = |f: fn(i32, i32) -> i32, bits: u32| {
            let part = |v: i32, k: u32| v << (32 - bits - k * bits) >> (32 - bits);
            let mask = u32::MAX >> (32 - bits);
            (0..32 / bits).fold(0u32, |sum, k| sum | (f(part(x, k), part(y, k)) as u32 & mask) << (k * bits))
                as i32
        };
        let dot: i32 =
            (0..4).map(|k| i32::from((x >> (8 * k)) as i8) * i32::from((y >> (8 * k)) as i8)).sum();
        let low24 = |v: i32| v << 8 >> 8;
        let expected = [
            x.wrapping_div(if y == 0 { 1 } else { y }),
            x.wrapping_rem(if y == 0 { 1 } else { y }),
            ((i64::from(x) * i64::from(y)) >> 32) as i32,
            ((u64::from(ux) * u64::from(uy)) >> 32) as i32,
            (joined << (ux & 31) >> 32) as i32,
            (joined >> (uy & 31)) as i32,
            i32::from_le_bytes([bytes[5], bytes[7], bytes[1], bytes[3]]),
            x.count_ones() as i32,
            x.leading_zeros() as i32,
            x.reverse_bits(),
            if x == 0 { 0 } else { x.trailing_zeros() as i32 + 1 },
            (x.abs_diff(y) as i32).wrapping_add(3),
            lanes(i32::wrapping_add, 8),
            dot + 5,
            x / 7,
            (ux / 10) as i32,
            i32::from(x as i16) * i32::from(y as i16),
            i32::from(x as i8).wrapping_rem(i32::from((y | 1) as i8)),
            x.max(y),
            low24(x).wrapping_mul(low24(y)),
            ((i64::from(x) + i64::from(y) + 1) >> 1) as i32,
            i32::from(x > y) + i32::from(x == y) * 2,
            (x & 0xff00) >> 8 | y >> 4 & 0xf,
            lanes(i32::max, 16),
        ];
        let mut got = got[i * 24..][..24].to_vec();
        // The kernel divides bytes and the test takes remainders of them by the same operands.
        got[17] = i32::from(x as i8).wrapping_sub(got[17].wrapping_mul(i32::from((y | 1) as i8)));
        assert_eq!(got, expected, "{x} {y}");
    }
}

#[test]
fn integers_of_128_bits() {
    let gpu = Gpu::new(PTX);
    let (mut random, n) = (Random::new(3), 200);
    let (a, mut b) = (integers(&mut random, n), integers(&mut random, n));
    b.reverse();
    let (da, db, out) = (gpu.upload(&a), gpu.upload(&b), gpu.zeros::<u64>(n * 2));
    gpu.ok("i128", Launch::linear(1, 256), &[arg(da), arg(db), arg(out), arg(n as i32)]);
    let got = gpu.download::<u64>(out, n * 2);
    for (i, (&x, &y)) in a.iter().zip(&b).enumerate() {
        let want =
            (i128::from(x) * i128::from(y) + i128::from(x)).wrapping_mul(3).wrapping_sub(i128::from(y));
        assert_eq!(u128::from(got[2 * i + 1]) << 64 | u128::from(got[2 * i]), want as u128, "{x} {y}");
    }
}

/// The value of an f16 (five bits of exponent) or bf16 (eight).
fn half(bits: u16, exponent_bits: i32) -> f64 {
    let fraction_bits = 15 - exponent_bits;
    let (field, fraction) =
        (i32::from(bits & 0x7fff) >> fraction_bits, f64::from(bits & ((1 << fraction_bits) - 1)));
    let (bias, step) = ((1 << (exponent_bits - 1)) - 1, 2f64.powi(-fraction_bits));
    let magnitude = match field {
        0 => fraction * step * 2f64.powi(1 - bias),
        f if f == (1 << exponent_bits) - 1 => {
            if fraction == 0.0 {
                f64::INFINITY
            } else {
                f64::NAN
            }
        }
        f => (1.0 + fraction * step) * 2f64.powi(f - bias),
    };
    if bits & 0x8000 != 0 { -magnitude } else { magnitude }
}

/// Whether a half is the nearest to a value, or as near as its neighbours.
fn is_nearest(bits: u16, value: f64, exponent_bits: i32) -> bool {
    let got = half(bits, exponent_bits);
    if value.is_nan() || got.is_nan() {
        return value.is_nan() && got.is_nan();
    }
    let largest = half((0x7fff >> (15 - exponent_bits) << (15 - exponent_bits)) - 1, exponent_bits);
    if got.is_infinite() {
        return value.abs() > largest && value.signum() == got.signum();
    }
    let error = (got - value).abs();
    [bits.wrapping_add(1), bits.wrapping_sub(1)].iter().all(|&n| {
        let neighbour = half(n, exponent_bits);
        neighbour.is_nan() || (n ^ bits) & 0x8000 != 0 || error <= (neighbour - value).abs()
    })
}

#[test]
fn half_precision() {
    let gpu = Gpu::new(PTX);
    let (mut random, n) = (Random::new(4), 2000);
    let mut halves = |_| (0..n).map(|_| random.bits() as u16).collect::<Vec<_>>();
    let [a, b, c, d] = [(); 4].map(&mut halves);
    let [da, db, dc, dd] = [&a, &b, &c, &d].map(|v| gpu.upload(v));
    let (o, e) = (gpu.zeros::<u16>(n * 8), gpu.zeros::<u16>(n * 6));
    let args = [arg(da), arg(db), arg(o), arg(dc), arg(dd), arg(e), arg(n as i32)];
    gpu.ok("halfs", Launch::linear(16, 128), &args);
    let (o, e) = (gpu.download::<u16>(o, n * 8), gpu.download::<u16>(e, n * 6));
    for i in 0..n {
        let (x, y, o) = (half(a[i], 5), half(b[i], 5), &o[i * 8..][..8]);
        let larger = if x.is_nan() || x < y { y } else { x };
        for (k, want) in [(0, x + y), (1, x * y), (2, x * y + x), (5, larger), (6, x.abs().sqrt())] {
            assert!(is_nearest(o[k], want, 5), "f16 {k}: {x} {y} gave {}", half(o[k], 5));
        }
        assert!(o[7] == if x < y { a[i] } else { b[i] ^ 0x8000 } || y.is_nan());
        let (u, v, e) = (half(c[i], 8), half(d[i], 8), &e[i * 6..][..6]);
        let larger = if u.is_nan() || u < v { v } else { u };
        for (k, want) in [(0, u + v), (1, u * v), (4, larger)] {
            assert!(is_nearest(e[k], want, 8), "bf16 {k}: {u} {v} gave {}", half(e[k], 8));
        }
        assert!(e[5] == if u < v { c[i] } else { d[i] });
    }
}

#[test]
fn half_precision_in_pairs() {
    let gpu = Gpu::new(PTX);
    let (mut random, n) = (Random::new(5), 500);
    // Values between 0.125 and 2, so that nothing overflows.
    let small = |r: &mut Random| 0x3000 + r.below(0x1000) as u16;
    let mut pairs = || (0..2 * n).map(|_| small(&mut random)).collect::<Vec<_>>();
    let (a, b, c) = (pairs(), pairs(), pairs());
    let [da, db, dc] = [&a, &b, &c].map(|v| gpu.upload(v));
    let (o, e, f) = (gpu.zeros::<u16>(2 * n), gpu.zeros::<u16>(2 * n), gpu.zeros::<f32>(2 * n));
    let args = [arg(da), arg(db), arg(o), arg(dc), arg(e), arg(f), arg(n as i32)];
    gpu.ok("half2s", Launch::linear(4, 128), &args);
    let (e, f) = (gpu.download::<u16>(e, 2 * n), gpu.download::<f32>(f, 2 * n));
    let o = gpu.download::<u16>(o, 2 * n);
    for i in 0..2 * n {
        let (x, y) = (half(a[i], 5), half(b[i], 5));
        assert!(is_nearest(e[i], 2.0 * half(c[i], 8), 8));
        let difference = x - y;
        assert!((f64::from(f[i]) - difference).abs() <= difference.abs() / 2048.0);
        let want = (2.0 * x * y).exp2();
        assert!((half(o[i], 5) - want).abs() <= want / 256.0, "{x} {y}");
    }
}

#[test]
fn conversions() {
    let gpu = Gpu::new(PTX);
    let mut random = Random::new(6);
    let special = [
        0.5, 1.5, 2.5, -0.5, -2.5, 0.0, 1e10, -1e10, 1e20, -1e20, 255.5, 300.0, -3.0, 65504.0, 65520.0, 1e-7,
    ];
    let mut x: Vec<f64> = special.to_vec();
    x.extend((0..500).map(|_| f64::from(random.float()) * 2f64.powi(random.below(40) as i32 - 8)));
    let n = x.len();
    let (dx, o, l, f) =
        (gpu.upload(&x), gpu.zeros::<i32>(4 * n), gpu.zeros::<i64>(2 * n), gpu.zeros::<f32>(6 * n));
    let (h, c) = (gpu.zeros::<u16>(2 * n), gpu.zeros::<u8>(n));
    let args = [arg(dx), arg(o), arg(l), arg(f), arg(h), arg(c), arg(n as i32)];
    gpu.ok("cvts", Launch::linear(5, 128), &args);
    let (o, l, f) =
        (gpu.download::<i32>(o, 4 * n), gpu.download::<i64>(l, 2 * n), gpu.download::<f32>(f, 6 * n));
    let (h, c) = (gpu.download::<u16>(h, 2 * n), gpu.download::<u8>(c, n));
    for (i, &x) in x.iter().enumerate() {
        let y = x as f32;
        let truncated =
            if f64::from(y).abs() > x.abs() { if y > 0.0 { y.next_down() } else { y.next_up() } } else { y };
        assert_eq!(
            o[4 * i..][..4],
            [x as i32, x.round_ties_even() as i32, y.ceil() as i32, x as u32 as i32],
            "{x}"
        );
        assert_eq!(l[2 * i..][..2], [x as i64, y.floor() as u64 as i64], "{x}");
        let long = x as i64;
        let up =
            if (long as f32) as i128 >= i128::from(long) { long as f32 } else { (long as f32).next_up() };
        assert_eq!(f[6 * i..][..6], [y, truncated, y.floor(), y.round_ties_even(), long as f32, up], "{x}");
        assert!(is_nearest(h[2 * i], x, 5), "{x}");
        assert!(half(h[2 * i + 1], 5).abs() <= f64::from(y).abs(), "{x}");
        // nvcc converts to u32 and keeps the low byte.
        assert_eq!(c[i], y as u32 as u8, "{x}");
    }
}

#[test]
fn library_functions() {
    let gpu = Gpu::new(PTX);
    let mut random = Random::new(7);
    let mut x: Vec<f32> = vec![0.0, 1.0, -1.0, 0.5, 3.0, 1e-3, 20.0, -20.0, 1e-10, 1000.0];
    x.extend((0..300).map(|_| random.float() * 10.0));
    let n = x.len();
    let (dx, o, d) = (gpu.upload(&x), gpu.zeros::<f32>(24 * n), gpu.zeros::<f64>(8 * n));
    gpu.ok("mathf", Launch::linear(3, 128), &[arg(dx), arg(o), arg(d), arg(n as i32)]);
    let (o, d) = (gpu.download::<f32>(o, 24 * n), gpu.download::<f64>(d, 8 * n));
    for (i, &v) in x.iter().enumerate() {
        let (x, o, d) = (f64::from(v), &o[24 * i..][..24], &d[8 * i..][..8]);
        let close = [
            (0, x.sin()),
            (1, x.cos()),
            (2, x.exp()),
            (3, (x.abs() + 1e-3).ln()),
            (4, x.tanh()),
            (5, x.abs().powf(1.7)),
            (7, 1.0 / (x.abs() + 1.0).sqrt()),
            (10, x.exp()),
            (12, (x.abs() + 1.0).ln()),
            (13, x / 3.0),
            (23, x.atan2(2.0)),
        ];
        for (k, want) in close {
            // Near a root of the function the error is that of the argument.
            let error = (f64::from(o[k]) - want).abs();
            assert!(
                error <= want.abs() * 4e-6 + 3e-7 || (want > 3e38 && o[k].is_infinite()),
                "{k}: {v} {} {want}",
                o[k]
            );
        }
        let exact = [
            (6, v.abs().sqrt()),
            (9, 1.0 / v),
            (19, v.clamp(0.0, 1.0)),
            (20, 1f32.copysign(v)),
            (21, v % 0.3),
            (22, 0.0),
        ];
        for (k, want) in exact {
            assert_eq!(
                o[k].to_bits() & 0x7fff_ffff,
                want.to_bits() & 0x7fff_ffff,
                "{k}: {v} {} {want}",
                o[k]
            );
        }
        assert!(f64::from(o[14]) >= x + 1e-9f32 as f64, "sum rounded up");
        assert!(f64::from(o[15]).abs() <= (x * f64::from(1.1f32)).abs(), "product rounded to zero");
        assert!(f64::from(o[17]) * 3.0 >= x, "quotient rounded up");
        assert!(f64::from(o[18]) * f64::from(o[18]) <= x.abs(), "root rounded down");
        let close = [(0, x.sin()), (1, x.exp()), (2, (x.abs() + 1.0).ln()), (5, x.abs().powf(1.3))];
        for (k, want) in close {
            assert!(
                d[k] == want || (d[k] - want).abs() <= want.abs() * 1e-13 + 1e-15,
                "double {k}: {v} {} {want}",
                d[k]
            );
        }
        assert_eq!((d[3], d[4], d[6]), (x / 3.0, x.abs().sqrt(), x.mul_add(x, 1.0)));
    }
}
