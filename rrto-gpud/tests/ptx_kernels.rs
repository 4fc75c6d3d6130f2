//! What `nvcc -O3` makes of ordinary CUDA kernels (`ptx/kernels.cu`), executed and compared with the CPU.

#[path = "ptx/gpu.rs"]
mod gpu;

use gpu::{Gpu, Random, arg};
use rrto_gpud::device::cpu::Launch;

const PTX: &str = include_str!("ptx/kernels.ptx");

fn grid2(blocks: [u32; 2], threads: [u32; 2]) -> Launch {
    Launch { grid: [blocks[0], blocks[1], 1], block: [threads[0], threads[1], 1], ..Launch::linear(1, 1) }
}

#[test]
fn vector_add() {
    let gpu = Gpu::new(PTX);
    let (mut random, n) = (Random::new(1), 10_001);
    let (a, b) = (random.floats(n), random.floats(n));
    let (da, db, dc) = (gpu.upload(&a), gpu.upload(&b), gpu.zeros::<f32>(n));
    gpu.ok("vector_add", Launch::linear(40, 256), &[arg(da), arg(db), arg(dc), arg(n as i32)]);
    let expected: Vec<f32> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
    assert_eq!(gpu.download::<f32>(dc, n), expected);
}

#[test]
fn tiled_matrix_multiply() {
    let gpu = Gpu::new(PTX);
    let (mut random, n) = (Random::new(2), 50);
    let (a, b) = (random.floats(n * n), random.floats(n * n));
    let (da, db, dc) = (gpu.upload(&a), gpu.upload(&b), gpu.zeros::<f32>(n * n));
    gpu.ok("matmul", grid2([4, 4], [16, 16]), &[arg(da), arg(db), arg(dc), arg(n as i32)]);
    let c = gpu.download::<f32>(dc, n * n);
    for (i, got) in c.iter().enumerate() {
        let want = (0..n).fold(0.0f32, |sum, k| a[i / n * n + k].mul_add(b[k * n + i % n], sum));
        assert_eq!(*got, want, "element {i}");
    }
}

#[test]
fn tree_reduction() {
    let gpu = Gpu::new(PTX);
    let n = 5000;
    let values: Vec<f32> = (0..n).map(|i| (i % 17) as f32).collect();
    let (x, out) = (gpu.upload(&values), gpu.zeros::<f32>(1));
    gpu.ok("reduce_sum", Launch::linear(7, 96), &[arg(x), arg(out), arg(n)]);
    assert_eq!(gpu.download::<f32>(out, 1)[0], values.iter().sum::<f32>());
}

#[test]
fn convolution_with_constants() {
    let gpu = Gpu::new(PTX);
    let (mut random, h, w, k) = (Random::new(3), 19usize, 23usize, 5usize);
    let (x, filter) = (random.floats(h * w), random.floats(k * k));
    let (address, bytes) = gpu.module.global("filt").unwrap();
    assert_eq!(bytes, 100);
    assert_eq!(gpu.download::<f32>(address, 4), [1.0, 2.0, 3.0, 0.0]);
    let filter_bytes: Vec<u8> = filter.iter().flat_map(|f| f.to_le_bytes()).collect();
    gpu.memory.write(address, &filter_bytes).unwrap();
    let (dx, dy) = (gpu.upload(&x), gpu.zeros::<f32>(h * w));
    let args = [arg(dx), arg(dy), arg(h as i32), arg(w as i32), arg(k as i32)];
    gpu.ok("conv2d", grid2([3, 3], [8, 8]), &args);
    let y = gpu.download::<f32>(dy, h * w);
    for (at, got) in y.iter().enumerate() {
        let mut want = 0.0f32;
        for i in 0..k {
            for j in 0..k {
                let (yy, xx) = ((at / w + i) as i64 - 2, (at % w + j) as i64 - 2);
                if (0..h as i64).contains(&yy) && (0..w as i64).contains(&xx) {
                    want = x[yy as usize * w + xx as usize].mul_add(filter[i * k + j], want);
                }
            }
        }
        assert_eq!(*got, want, "pixel {at}");
    }
}

#[test]
fn relu_and_max_pooling() {
    let gpu = Gpu::new(PTX);
    let (mut random, h, w) = (Random::new(4), 14usize, 10usize);
    let x = random.floats(h * w);
    let (dx, dy) = (gpu.upload(&x), gpu.zeros::<f32>(h * w / 4));
    gpu.ok("maxpool", grid2([1, 1], [8, 8]), &[arg(dx), arg(dy), arg(h as i32), arg(w as i32)]);
    let pooled = gpu.download::<f32>(dy, h * w / 4);
    for (i, got) in pooled.iter().enumerate() {
        let at = i / (w / 2) * 2 * w + i % (w / 2) * 2;
        let want = [x[at], x[at + 1], x[at + w], x[at + w + 1]].into_iter().fold(f32::MIN, f32::max);
        assert_eq!(*got, want);
    }
    gpu.ok("relu", Launch::linear(2, 128), &[arg(dx), arg((h * w) as i32)]);
    let expected: Vec<f32> = x.iter().map(|v| v.max(0.0)).collect();
    assert_eq!(gpu.download::<f32>(dx, h * w), expected);
}

#[test]
fn softmax_in_dynamic_shared_memory() {
    let gpu = Gpu::new(PTX);
    let (mut random, rows, n) = (Random::new(5), 6usize, 100usize);
    let x: Vec<f32> = random.floats(rows * n).iter().map(|v| v * 20.0).collect();
    let (dx, dy) = (gpu.upload(&x), gpu.zeros::<f32>(rows * n));
    let shape = Launch { dynamic_shared_bytes: 64 * 4, ..Launch::linear(rows as u32, 64) };
    gpu.ok("softmax", shape, &[arg(dx), arg(dy), arg(n as i32)]);
    let y = gpu.download::<f32>(dy, rows * n);
    for row in 0..rows {
        let x = &x[row * n..][..n];
        let max = x.iter().copied().fold(f32::MIN, f32::max);
        let total: f64 = x.iter().map(|v| f64::from(v - max).exp()).sum();
        for (got, v) in y[row * n..][..n].iter().zip(x) {
            let want = f64::from(v - max).exp() / total;
            assert!((f64::from(*got) - want).abs() <= 1e-6 * want + 1e-12, "{got} {want}");
        }
    }
}

#[test]
fn histogram() {
    let gpu = Gpu::new(PTX);
    let (mut random, n) = (Random::new(6), 20_000);
    let x: Vec<u8> = (0..n).map(|_| random.bits() as u8 & 0x7f).collect();
    let (dx, dh) = (gpu.upload(&x), gpu.zeros::<u32>(256));
    gpu.ok("histogram", Launch::linear(5, 128), &[arg(dx), arg(dh), arg(n)]);
    let mut expected = vec![0u32; 256];
    x.iter().for_each(|&b| expected[b as usize] += 1);
    assert_eq!(gpu.download::<u32>(dh, 256), expected);
}

#[test]
fn device_functions_and_recursion() {
    let gpu = Gpu::new(PTX);
    let (mut random, n) = (Random::new(7), 100usize);
    let x = random.floats(n);
    let q: Vec<u8> =
        [3i32, 1, 4, 1, 5, 9].iter().flat_map(|v| v.to_le_bytes()).chain(2.5f32.to_le_bytes()).collect();
    let (dx, dy) = (gpu.upload(&x), gpu.zeros::<f32>(n));
    let (df, dz) = (gpu.zeros::<u64>(n), gpu.zeros::<i32>(n));
    gpu.ok("calls", Launch::linear(2, 64), &[arg(dx), arg(dy), arg(df), arg(dz), q, arg(n as i32)]);
    let fib = [0u64, 1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89];
    let (y, f, z) = (gpu.download::<f32>(dy, n), gpu.download::<u64>(df, n), gpu.download::<i32>(dz, n));
    for i in 0..n {
        assert_eq!(y[i], (x[i] * x[i]).mul_add(0.5, 1.0));
        assert_eq!(f[i], fib[i % 12]);
        assert_eq!(z[i], [3, 1, 4, 1, 5, 9][i % 6] * i as i32 + (2.5 + i as f32) as i32);
    }
}

#[test]
fn atomics() {
    let gpu = Gpu::new(PTX);
    let n = 700u32;
    let (i, u) = (gpu.zeros::<i32>(6), gpu.upload(&[u32::MAX, 0, 0, 0, 100, 0, 0]));
    let (l, f, d, h, s) = (
        gpu.zeros::<u64>(5),
        gpu.zeros::<f32>(1),
        gpu.zeros::<f64>(1),
        gpu.zeros::<u16>(2),
        gpu.zeros::<i64>(1),
    );
    let args = [arg(i), arg(u), arg(l), arg(f), arg(d), arg(h), arg(s), arg(n as i32)];
    gpu.ok("atomics", Launch::linear(7, 100), &args);
    let sum: u32 = (0..n).sum();
    let i = gpu.download::<i32>(i, 6);
    assert_eq!(i[..4], [sum as i32, -(sum as i32), -699, 699]);
    assert!((0..700).contains(&i[4]) && (1..=700).contains(&i[5]));
    let u = gpu.download::<u32>(u, 7);
    assert_eq!(u[..3], [0, u32::MAX, (0..n).fold(0, |x, t| x ^ t)]);
    // inc counts modulo 101; dec counts down from 100 modulo 101.
    let counted: u32 = (0..n).map(|k| k % 101).sum();
    assert_eq!(u[3..], [n % 101, (100 + 101 * 7 - n) % 101, 699, counted]);
    assert_eq!(gpu.download::<u64>(l, 5), [u64::from(sum), 699, 5, 9, 700]);
    assert_eq!(gpu.download::<f32>(f, 1)[0], (0..n).map(|t| (t & 7) as f32).sum::<f32>());
    assert_eq!(gpu.download::<f64>(d, 1)[0], f64::from(sum));
    // 700 in half precision, by ones.
    assert_eq!(gpu.download::<u16>(h, 2), [0x6178, 0x6178]);
    assert_eq!(gpu.download::<i64>(s, 1)[0], -699);
}

#[test]
fn warp_instructions() {
    let gpu = Gpu::new(PTX);
    let threads = 64u32;
    let out = gpu.zeros::<u32>(64 * 16);
    gpu.ok("warps", Launch::linear(1, threads), &[arg(out)]);
    let got = gpu.download::<u32>(out, 64 * 16);
    for t in 0..threads {
        let (l, base) = (t % 32, t / 32 * 32);
        let segment = l / 16 * 16;
        let up = if l - segment >= 2 { t - 2 } else { t };
        let down = if l % 8 + 3 < 8 { t + 3 } else { t };
        let same_fifth: u32 = (0..32).filter(|j| j / 5 == l / 5).map(|j| 1 << j).sum();
        let mirrored = base + if l < 16 { 15 - l } else { 31 - (l - 16) };
        let expected = [
            base + (l ^ 3),
            up,
            down,
            base + (l ^ 5),
            (0..32).filter(|j| j % 3 == 0).map(|j| 1 << j).sum(),
            0,
            1,
            same_fifth,
            0, // all ones plus one
            u32::MAX,
            496,
            31,
            mirrored,
            (0..32).fold(0, |x, j| x ^ j),
            14,
            1,
        ];
        assert_eq!(got[t as usize * 16..][..16], expected, "thread {t}");
    }
}

#[test]
fn a_lock_within_a_warp_is_no_deadlock() {
    let gpu = Gpu::new(PTX);
    let (lock, count) = (gpu.zeros::<i32>(1), gpu.zeros::<i32>(1));
    gpu.ok("spinlock", Launch::linear(3, 70), &[arg(lock), arg(count)]);
    assert_eq!(gpu.download::<i32>(count, 1)[0], 210);
}

#[test]
fn blocks_of_a_cooperative_launch_meet() {
    let gpu = Gpu::new(PTX);
    let n = 50 * 64;
    let (x, out) = (gpu.zeros::<i32>(n), gpu.zeros::<i32>(n));
    let shape = Launch { cooperative: true, ..Launch::linear(50, 64) };
    let before = gpu.memory.used();
    gpu.ok("grid_sync", shape, &[arg(x), arg(out), arg(n as i32)]);
    let expected: Vec<i32> = (0..n as i32).rev().collect();
    assert_eq!(gpu.download::<i32>(out, n), expected);
    assert_eq!(gpu.memory.used(), before);
}

#[test]
fn local_arrays_and_jump_tables() {
    let gpu = Gpu::new(PTX);
    let (mut random, n) = (Random::new(8), 200usize);
    let x: Vec<i32> = (0..n).map(|_| random.bits() as i32 & 0xffff).collect();
    let (dx, out) = (gpu.upload(&x), gpu.zeros::<i32>(n));
    gpu.ok("local_array", Launch::linear(4, 64), &[arg(dx), arg(out), arg(n as i32)]);
    let got = gpu.download::<i32>(out, n);
    for (i, got) in got.iter().enumerate() {
        let mut a: Vec<i32> = (0..32).map(|k| x[(i + k) % n]).collect();
        (0..32).for_each(|k| a.swap((x[k] & 31) as usize, k));
        assert_eq!(*got, a.iter().fold(0i32, |s, v| s.wrapping_mul(31).wrapping_add(*v)), "thread {i}");
    }
    gpu.ok("switcher", Launch::linear(4, 64), &[arg(dx), arg(out), arg(n as i32)]);
    let got = gpu.download::<i32>(out, n);
    for (i, got) in got.iter().enumerate() {
        let v = x[i];
        let want = match v & 15 {
            0 => v.wrapping_mul(3),
            1 => v / 5,
            2 => v ^ 77,
            3 => v + x[(i + 1) % n],
            4 => -v,
            5 => v << 3,
            6 => v.count_ones() as i32,
            7 => v.wrapping_mul(v),
            8 => 1,
            9 => v - 100,
            _ => v,
        };
        assert_eq!(*got, want);
    }
}

#[test]
fn variables_with_addresses() {
    let gpu = Gpu::new(PTX);
    let out = gpu.zeros::<i32>(3);
    for round in 0..2 {
        gpu.ok("globals", Launch::linear(1, 1), &[arg(out)]);
        assert_eq!(gpu.download::<i32>(out, 3), [5 + round, 6 + round, 99]);
    }
}

#[test]
fn vectors_clocks_and_groups() {
    let gpu = Gpu::new(PTX);
    let x: Vec<f32> = (0..40).map(|i| i as f32).collect();
    let (a, b) = (gpu.upload(&x), gpu.zeros::<f32>(40));
    gpu.ok("vec4", Launch::linear(1, 32), &[arg(a), arg(b), arg(10)]);
    let want: Vec<f32> = x.chunks(4).flat_map(|v| [v[0] * 2.0, v[1] + 1.0, v[2] - v[3], v[3]]).collect();
    assert_eq!(gpu.download::<f32>(b, 40), want);
    let out = gpu.zeros::<i64>(4);
    gpu.ok("clocks", Launch::linear(1, 1), &[arg(out)]);
    let got = gpu.download::<i64>(out, 4);
    assert!(got[1] > 1_600_000_000_000_000_000 && got[2] == 0 && got[3] == 32);
    let out = gpu.zeros::<u32>(64);
    gpu.ok("coop", Launch::linear(1, 64), &[arg(out)]);
    let got = gpu.download::<u32>(out, 64);
    for t in 0..64u32 {
        let thirds = (t / 32 * 32..t / 32 * 32 + 32).filter(|j| j % 3 == 0).collect::<Vec<_>>();
        let extra =
            thirds.iter().position(|&j| j == t).map_or(0, |rank| thirds.len() as u32 * 100 + rank as u32);
        assert_eq!(got[t as usize], (t ^ 1) + extra + 32 * 10_000, "thread {t}");
    }
}
