//! Kernels that fail, hang or wait for each other, and launches that cannot be: the result codes are the
//! driver's.

#[path = "ptx/gpu.rs"]
mod gpu;

use std::time::Duration;

use gpu::{Gpu, arg};
use rrto_core::api::CuResult;
use rrto_gpud::device::cpu::{Launch, Limits, launch};

/// A module of one kernel `k(u64 a)` with some registers.
fn kernel(body: &str) -> Gpu {
    Gpu::new(&format!(
        ".version 8.0\n.target sm_80\n.address_size 64\n.extern .shared .align 16 .b8 dynamic[];\n\
         .visible .entry k(.param .u64 a) {{\n\
         .reg .pred %p<9>; .reg .b16 %h<9>; .reg .b32 %r<20>; .reg .f32 %f<9>; .reg .b64 %d<9>;\n\
         .shared .align 8 .b8 tile[128];\n.local .align 8 .b8 own[64];\n\
         ld.param.u64 %d1, [a];\nmov.u32 %r1, %tid.x;\n{body}\nret;\n}}\n"
    ))
}

fn code(gpu: &Gpu, threads: u32, a: u64) -> (CuResult, String) {
    match gpu.run("k", Launch::linear(1, threads), &[arg(a)]) {
        Ok(()) => (CuResult::SUCCESS, String::new()),
        Err(fault) => (fault.code, fault.message),
    }
}

#[test]
fn accesses_outside_every_allocation() {
    let rows = [
        ("ld.global.u32 %r2, [%d1];", 0, CuResult::SUCCESS),
        ("ld.global.u32 %r2, [%d1+96];", 0, CuResult::SUCCESS),
        ("ld.global.u32 %r2, [%d1+100];", 0, CuResult::ILLEGAL_ADDRESS),
        ("ld.global.u32 %r2, [%d1+-4];", 0, CuResult::ILLEGAL_ADDRESS),
        ("st.global.u64 [%d1+96], %d1;", 0, CuResult::ILLEGAL_ADDRESS),
        ("st.global.u32 [%d1], %r1;", 2, CuResult::MISALIGNED_ADDRESS),
        ("ld.global.v4.u32 {%r2,%r3,%r4,%r5}, [%d1+8];", 0, CuResult::MISALIGNED_ADDRESS),
        ("atom.global.add.u32 %r2, [%d1+400], 1;", 0, CuResult::ILLEGAL_ADDRESS),
        ("ld.shared.u32 %r2, [tile+124];", 0, CuResult::SUCCESS),
        ("ld.shared.u32 %r2, [tile+128];", 0, CuResult::ILLEGAL_ADDRESS),
        ("st.shared.u32 [tile+2], %r1;", 0, CuResult::MISALIGNED_ADDRESS),
        ("ld.local.u32 %r2, [own+60];", 0, CuResult::SUCCESS),
        ("ld.local.u32 %r2, [own+64000];", 0, CuResult::ILLEGAL_ADDRESS),
        ("mov.u64 %d2, 0; ld.u32 %r2, [%d2];", 0, CuResult::ILLEGAL_ADDRESS),
    ];
    for (body, add, want) in rows {
        let gpu = kernel(body);
        let address = gpu.zeros::<u8>(100);
        let (code, message) = code(&gpu, 1, address + add);
        assert_eq!(code, want, "{body}: {message}");
        if want != CuResult::SUCCESS {
            assert!(
                message.contains("kernel `k`, PTX line") && message.contains("thread [0, 0, 0]"),
                "{message}"
            );
        }
    }
}

#[test]
fn generic_addresses_lead_to_every_space() {
    let gpu = kernel(
        "mov.u64 %d2, tile; cvta.shared.u64 %d3, %d2; mov.u64 %d4, own; cvta.local.u64 %d5, %d4;\n\
         st.u32 [%d3+4], 7; st.u32 [%d5+8], 8; st.u32 [%d1], 9;\n\
         ld.shared.u32 %r2, [tile+4]; ld.local.u32 %r3, [own+8]; ld.global.u32 %r4, [%d1];\n\
         mad.lo.u32 %r5, %r2, 100, %r3; mad.lo.u32 %r5, %r5, 100, %r4; st.global.u32 [%d1], %r5;\n\
         isspacep.shared %p1, %d3; isspacep.local %p2, %d5; isspacep.global %p3, %d1; isspacep.global %p4, %d3;\n\
         selp.u32 %r6, 1, 0, %p1; @%p2 add.u32 %r6, %r6, 2; @%p3 add.u32 %r6, %r6, 4; @%p4 add.u32 %r6, %r6, 8;\n\
         st.global.u32 [%d1+4], %r6;\n\
         mov.b64 %d6, a; cvta.param.u64 %d6, %d6; ld.u64 %d7, [%d6]; st.global.u64 [%d1+8], %d7;",
    );
    let address = gpu.zeros::<u32>(4);
    assert_eq!(code(&gpu, 1, address).0, CuResult::SUCCESS);
    assert_eq!(gpu.download::<u32>(address, 2), [70_809, 7]);
    assert_eq!(gpu.download::<u64>(address + 8, 1), [address]);
}

#[test]
fn traps_and_assertions() {
    assert_eq!(code(&kernel("trap;"), 1, 0).0, CuResult::LAUNCH_FAILED);
    let gpu = Gpu::new(include_str!("ptx/asserts.ptx"));
    let values = gpu.upload(&[1i32, 2, 50, 4]);
    gpu.ok("check", Launch::linear(1, 4), &[arg(values), arg(51i32)]);
    assert_eq!(gpu.download::<i32>(values, 4), [2, 3, 51, 5]);
    let fault = gpu.run("check", Launch::linear(1, 4), &[arg(values), arg(51i32)]).unwrap_err();
    assert_eq!(fault.code, CuResult::ASSERT);
    assert!(
        fault.message.contains("assertion `x[i] < n` failed") && fault.message.contains("asserts.cu"),
        "{fault}"
    );
    assert!(fault.message.contains("thread [2, 0, 0]"), "{fault}");
}

#[test]
fn a_kernel_that_never_ends_is_stopped() {
    let mut gpu = kernel("again: add.u32 %r2, %r2, 1; bra again;");
    gpu.limits.time = Duration::from_millis(20);
    assert_eq!(code(&gpu, 64, 0).0, CuResult::LAUNCH_TIMEOUT);
}

#[test]
fn threads_that_wait_for_each_other_are_a_failure_and_no_hang() {
    // One half of the warp waits for the whole; the other has gone to a barrier.
    let gpu = kernel(
        "setp.lt.u32 %p1, %r1, 16; @%p1 bra low; bar.sync 0; bra end; low: bar.warp.sync -1; bar.sync 0; end:",
    );
    let (result, message) = code(&gpu, 32, 0);
    assert_eq!(result, CuResult::LAUNCH_FAILED);
    assert!(message.contains("32 live threads wait for each other"), "{message}");
}

#[test]
fn lanes_meet_at_different_places() {
    // The same shuffle and mask on both sides of a branch; and lanes that exit do not count.
    let gpu = kernel(
        "setp.gt.u32 %p3, %r1, 29; @%p3 exit;\n\
         setp.lt.u32 %p1, %r1, 16; @%p1 bra low;\n\
         shfl.sync.idx.b32 %r2|%p2, %r1, 3, 31, -1; bra end;\n\
         low: add.u32 %r3, %r1, 100; shfl.sync.idx.b32 %r2, %r3, 20, 31, -1;\n\
         end: mad.wide.u32 %d2, %r1, 4, %d1; st.global.u32 [%d2], %r2;",
    );
    let out = gpu.zeros::<u32>(32);
    assert_eq!(code(&gpu, 32, out).0, CuResult::SUCCESS);
    let want: Vec<u32> = (0..32)
        .map(|i| {
            if i < 16 {
                20
            } else if i < 30 {
                103
            } else {
                0
            }
        })
        .collect();
    assert_eq!(gpu.download::<u32>(out, 32), want);
}

#[test]
fn barriers_count_threads_and_predicates() {
    // Two warps use barrier 1 with a count; the third only arrives.
    let gpu = kernel(
        "setp.lt.u32 %p1, %r1, 64; @!%p1 bra arrive;\n\
         setp.lt.u32 %p2, %r1, 5; bar.red.popc.u32 %r2, 1, 64, %p2;\n\
         bar.sync 2, 96; ld.shared.u32 %r3, [tile]; add.u32 %r2, %r2, %r3;\n\
         mad.wide.u32 %d2, %r1, 4, %d1; st.global.u32 [%d2], %r2; bra end;\n\
         arrive: st.shared.u32 [tile], 1000; bar.arrive 2, 96; end:",
    );
    let out = gpu.zeros::<u32>(64);
    assert_eq!(code(&gpu, 96, out).0, CuResult::SUCCESS);
    assert_eq!(gpu.download::<u32>(out, 64), vec![1005; 64]);
}

#[test]
fn a_block_may_wait_for_a_later_one() {
    // Every block adds one to a counter and waits until all eight have.
    let body = "atom.global.add.u32 %r2, [%d1], 1; again: nanosleep.u32 100; ld.volatile.global.u32 %r3, [%d1]; setp.lt.u32 %p1, %r3, 8; @%p1 bra again;";
    let mut gpu = kernel(body);
    gpu.limits = Limits { workers: std::num::NonZero::<usize>::MIN, ..gpu.limits };
    let counter = gpu.zeros::<u32>(1);
    gpu.ok("k", Launch::linear(8, 1), &[arg(counter)]);
}

#[test]
fn launches_that_cannot_be() {
    let gpu = kernel("mov.u32 %r2, dynamic;");
    let run = |shape: Launch| {
        gpu.run("k", shape, &[arg(0u64)]).map_or_else(|fault| fault.code, |()| CuResult::SUCCESS)
    };
    let one = Launch::linear(1, 1);
    assert_eq!(run(one), CuResult::SUCCESS);
    let rows = [
        Launch { grid: [0, 1, 1], ..one },
        Launch { grid: [1, 65_536, 1], ..one },
        Launch { block: [0, 1, 1], ..one },
        Launch { block: [1025, 1, 1], ..one },
        Launch { block: [32, 33, 1], ..one },
        Launch { block: [1, 1, 65], ..one },
        Launch { block: [u32::MAX; 3], ..one },
        Launch { dynamic_shared_bytes: 48 << 10, ..one },
        Launch { dynamic_shared_bytes: u32::MAX, ..one },
    ];
    for shape in rows {
        assert_eq!(run(shape), CuResult::INVALID_VALUE, "{shape:?}");
    }
    assert_eq!(run(Launch { dynamic_shared_bytes: (48 << 10) - 128, ..one }), CuResult::SUCCESS);
}

#[test]
fn a_kernel_runs_only_with_its_own_module() {
    let (one, other) = (kernel("ret;"), Gpu::new(include_str!("ptx/session.ptx")));
    let foreign = other.module.kernel("many_params").unwrap();
    let result = launch(&one.module, foreign, &Launch::linear(1, 1), &[0; 48], &one.memory, &one.limits);
    assert_eq!(result.unwrap_err().code, CuResult::INVALID_HANDLE);
}

#[test]
fn recursion_ends_somewhere() {
    let gpu = Gpu::new(
        ".version 8.0\n.target sm_80\n.address_size 64\n.func f(.param .b32 n) { .local .b8 own[256];\n\
         { .param .b32 p; call f, (p); } ret; }\n.visible .entry k() { { .param .b32 p; call f, (p); } ret; }\n",
    );
    let fault = gpu.run("k", Launch::linear(1, 32), &[]).unwrap_err();
    assert_eq!(fault.code, CuResult::HARDWARE_STACK_ERROR);
}
