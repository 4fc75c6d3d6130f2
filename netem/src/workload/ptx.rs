//! Kernels for the player: as many as the recording has, with parameter blocks as long as theirs, that compute a chain.
//!
//! The recorded kernels themselves are machine code of a GPU, and a software GPU would take seconds for their sums. What
//! matters to the network is that every launch happens, once and in order, with the bytes that the program gave it, and how long
//! the GPU takes for all of them.

use std::fmt::Write as _;

/// A module with kernels `k0`, `k1` and so on, one for each length of a parameter block, in bytes.
///
/// The global `board` holds, in words of 8 bytes: the chain, the input's address, the output's address, launches of an
/// inference, launches of this one so far, when it began, how many ns it shall take, and the distance of the input's samples.
pub fn kernels(param_bytes: &[usize]) -> String {
    let mut text = String::from(HEAD);
    for (kernel, bytes) in param_bytes.iter().enumerate() {
        let params = match bytes {
            0 => String::new(),
            bytes => format!(".param .align 8 .b8 p[{bytes}]"),
        };
        // Writing to a string cannot fail.
        let _ = write!(text, ".visible .entry k{kernel}({params})\n{{{BEGIN}");
        let _ = write!(text, "    xor.b64 %chain, %chain, {};\n{END}}}\n", kernel + 1);
    }
    text
}

const HEAD: &str = "\
.version 7.0
.target sm_70
.address_size 64
.visible .global .align 8 .u64 board[8];
";

/// The first launch of an inference takes the time and 16 samples of the input into the chain.
const BEGIN: &str = "
    .reg .pred %is;
    .reg .b32 %left;
    .reg .b64 %board, %chain, %at, %word, %step, %done, %all, %from, %now, %for;
    mov.u64 %board, board;
    ld.global.u64 %chain, [%board];
    ld.global.u64 %done, [%board+32];
    setp.ne.u64 %is, %done, 0;
    @%is bra join;
    mov.u64 %now, %globaltimer;
    st.global.u64 [%board+40], %now;
    ld.global.u64 %at, [%board+8];
    ld.global.u64 %step, [%board+56];
    mov.u32 %left, 16;
sample:
    ld.global.u64 %word, [%at];
    xor.b64 %chain, %chain, %word;
    mul.lo.u64 %chain, %chain, 1099511628211;
    add.u64 %at, %at, %step;
    sub.u32 %left, %left, 1;
    setp.ne.u32 %is, %left, 0;
    @%is bra sample;
join:
";

/// The last launch of an inference waits until its time is over and gives the chain out.
const END: &str = "    mul.lo.u64 %chain, %chain, 1099511628211;
    st.global.u64 [%board], %chain;
    add.u64 %done, %done, 1;
    ld.global.u64 %all, [%board+24];
    setp.lt.u64 %is, %done, %all;
    @%is bra count;
    ld.global.u64 %at, [%board+16];
    st.global.u64 [%at], %chain;
    ld.global.u64 %from, [%board+40];
    ld.global.u64 %for, [%board+48];
wait:
    nanosleep.u32 1000;
    mov.u64 %now, %globaltimer;
    sub.u64 %now, %now, %from;
    setp.lt.u64 %is, %now, %for;
    @%is bra wait;
    mov.u64 %done, 0;
count:
    st.global.u64 [%board+32], %done;
    ret;
";
