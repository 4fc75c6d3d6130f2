//! PTX that is wrong, strange or hostile: an error that says where and what, never a panic.

use std::sync::Arc;

use proptest::prelude::*;
use rrto_core::api::CuResult;
use rrto_gpud::device::cpu::fuzzing::load_anything;
use rrto_gpud::device::cpu::ptx::MAX_BLOCK_DEPTH;
use rrto_gpud::device::cpu::{LoadError, Memory, Module};

const KERNELS: &str = include_str!("ptx/kernels.ptx");
const SESSION: &str = include_str!("ptx/session.ptx");
const HEAD: &str = ".version 8.0\n.target sm_80\n.address_size 64\n";

fn load(text: &str) -> Result<Module, LoadError> {
    Module::load(text, &Arc::new(Memory::new(1 << 20)))
}

/// Loads a kernel whose body begins on line 6.
fn body(text: &str) -> Result<Module, LoadError> {
    load(&format!(
        "{HEAD}.visible .entry kern(.param .u64 a) {{\n.reg .pred %p<3>; .reg .b16 %h<3>; .reg .b32 %r<5>; .reg .f32 %f<3>; .reg .b64 %d<3>;\n{text}\n}}\n"
    ))
}

#[test]
fn unknown_instructions_are_named_with_kernel_and_line() {
    let rows = [
        "wgmma.fence.sync.aligned;",
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f1}, {%r1}, {%r2}, {%f2};",
        "tex.2d.v4.f32.s32 {%f1,%f1,%f1,%f1}, [%d1, {%r1,%r2}];",
        "add.rn.s32 %r1, %r2, %r3;",
        "add.pred %p1, %p2, %p1;",
        "ld.global.b128 %d1, [%d2];",
        "atom.global.mul.u32 %r1, [%d1], %r2;",
        "mul.wide.u64 %d1, %d1, %d2;",
        "cvt.rn.f32.e4m3 %f1, %r1;",
        "setp.ltu.s32 %p1, %r1, %r2;",
        "shfl.idx.b32 %r1, %r2, 0, 31;",
    ];
    for row in rows {
        let error = body(&format!("ret;\n{row}")).unwrap_err();
        let shown = error.to_string();
        let name = row.split(' ').next().unwrap().trim_end_matches(';');
        assert_eq!(error.status, CuResult::INVALID_PTX, "{row}");
        assert_eq!((error.line, error.function.as_deref()), (7, Some("kern")), "{shown}");
        assert!(shown.contains(name) || name.starts_with("tex"), "{shown} does not name {name}");
    }
}

#[test]
fn what_is_wrong_is_said() {
    let rows = [
        ("add.u32 %r1, %r2;", "`add.u32` needs 3 operands and has 2"),
        ("add.u32 %r1, %r2, %d1;", "`%d1` has 64 bits where 32 are needed"),
        ("add.u32 %r1, %r2, %p1;", "`%p1` is a predicate where a value is needed"),
        ("add.u32 %r1, %r2, %r9;", "`%r9` is not declared"),
        ("add.f32 %f1, %f2, 3;", "expected a float for `.f32`, found an integer"),
        ("bra nowhere;", "there is no label `nowhere`"),
        ("@%r1 bra end; end:", "the guard `%r1` is not a predicate"),
        ("call f, ();", "`f` is not a function of this module"),
        ("st.param.u64 [a], %d1;", "parameters cannot be written"),
        ("mov.u32 %r1 %r2;", "expected `,` or `;` after an operand of `mov.u32`, found `%r2`"),
        ("here: here: ret;", "the label `here` appears twice"),
        (".reg .b32 %r<5>;", "the register `%r` is declared twice"),
        ("mov.u32 %r1, %clusterid.x;", "does not support the operand `%clusterid.x`"),
        ("{", "expected an instruction or `}`, found the end of the text"),
        ("cp.async.bulk.commit_group;", "does not support the instruction `cp.async.bulk.commit_group`"),
    ];
    for (text, want) in rows {
        let error = body(text).unwrap_err().to_string();
        assert!(error.contains(want), "{text}: {error}");
    }
}

#[test]
fn modules_that_cannot_be_loaded() {
    let rows = [
        ("", "`.version`", CuResult::INVALID_IMAGE),
        ("\u{1}", "has no meaning", CuResult::INVALID_IMAGE),
        (".version 9.1\n", "newer than 9.0", CuResult::UNSUPPORTED_PTX_VERSION),
        (".version 8.0\n.target sm_80\n.address_size 32\n", "32-bit addresses", CuResult::INVALID_PTX),
        (".version 8.0\n.texref t;\n", "the directive `.texref`", CuResult::INVALID_PTX),
        (".version 8.0\n.global .b32 x[4] = {1,2,3,4,5};\n", "larger than it", CuResult::INVALID_PTX),
        (
            ".version 8.0\n.global .b8 x[2000000];\n",
            "does not fit into device memory",
            CuResult::OUT_OF_MEMORY,
        ),
        (".version 8.0\n.global .b8 x[9999999999][9999999999];\n", "too large", CuResult::INVALID_PTX),
        (".version 8.0\n.global .u64 p = nothing;\n", "names `nothing`", CuResult::INVALID_PTX),
        (".version 8.0\n.global .u32 x;\n.global .u32 x;\n", "defined twice", CuResult::INVALID_PTX),
        (
            ".version 8.0\n.visible .entry k() { ret; }\n.visible .entry k() { ret; }\n",
            "defined twice",
            CuResult::INVALID_PTX,
        ),
        (
            ".version 8.0\n.visible .entry k() { .shared .b8 x[50000]; ret; }\n",
            "shared memory",
            CuResult::INVALID_PTX,
        ),
        (".version 8.0\n.func f(.reg .u32 a) { ret; }\n", "parameters in registers", CuResult::INVALID_PTX),
        (".version 8.0\n/* no end", "this comment has no end", CuResult::INVALID_PTX),
    ];
    for (text, want, status) in rows {
        let error = load(text).unwrap_err();
        assert!(error.to_string().contains(want), "{text}: {error}");
        assert_eq!(error.status, status, "{text}");
    }
}

#[test]
fn a_module_that_is_refused_or_dropped_leaves_no_memory() {
    let memory = Arc::new(Memory::new(1 << 20));
    let text = ".version 8.0\n.global .b8 x[1000];\n.visible .entry k() { bad; }\n";
    assert!(Module::load(text, &memory).is_err());
    assert_eq!(memory.used(), 0);
    let module = Module::load(SESSION, &memory).unwrap();
    assert_eq!(memory.used(), 512);
    drop(module);
    assert_eq!(memory.used(), 0);
}

#[test]
fn nesting_and_numbers_have_limits() {
    let deep = |n: usize| format!("{HEAD}.visible .entry k() {{ {} {} ret; }}", "{".repeat(n), "}".repeat(n));
    assert!(load(&deep(MAX_BLOCK_DEPTH)).is_ok());
    assert!(load(&deep(MAX_BLOCK_DEPTH + 1)).unwrap_err().to_string().contains("nested"));
    assert!(load(&deep(1_000_000)).is_err());
    let deep_init = format!(".version 8.0\n.global .b8 x[4] = {}", "{".repeat(1_000_000));
    assert!(load(&deep_init).is_err());
    assert!(body(".reg .b32 %many<4294967295>; mov.u32 %many4294967294, 1; ret;").is_ok());
    assert!(body(".reg .b32 %z<99999999999>;").is_err());
    assert!(body(".local .b8 huge[600000]; ret;").unwrap_err().to_string().contains("does not fit"));
    assert!(
        body("add.u32 %r1, %r2, 99999999999999999999999;")
            .unwrap_err()
            .to_string()
            .contains("is not a number")
    );
}

#[test]
fn blocks_hide_outer_names_and_labels() {
    let text =
        "mov.u32 %r1, 1; { .reg .b32 %r1; mov.u32 %r1, 2; again: bra again; } { again: bra again; } ret;";
    assert!(body(text).is_ok());
}

#[test]
fn debug_information_is_passed_over() {
    let text = ".file 1 \"a.cu\", 123, 456\n.loc 1 2 3, function_name $L__i+4, inlined_at 1 7 8\nret;";
    assert!(body(text).is_ok());
    let section = format!("{HEAD}.section .debug_str {{\n$L__i:\n.b8 95, 90\n.b32 .debug_abbrev\n}}\n");
    assert!(load(&section).is_ok());
}

/// One change to a text: a byte replaced, a piece removed, repeated, or moved.
fn mutate(text: &str, change: (u8, usize, usize, u8)) -> String {
    let (kind, at, len, byte) = change;
    let mut bytes = text.as_bytes().to_vec();
    if bytes.is_empty() {
        return String::new();
    }
    let at = at % bytes.len();
    let end = (at + len).min(bytes.len());
    match kind % 4 {
        0 => bytes[at] = byte,
        1 => drop(bytes.drain(at..end)),
        2 => {
            let piece = bytes[at..end].to_vec();
            bytes.splice(at..at, piece);
        }
        _ => bytes.truncate(at),
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A piece of the large module that begins and ends between functions, so that a run is quick.
fn small_module(pick: usize) -> String {
    let mut pieces = KERNELS.split(".visible .entry");
    let head = pieces.next().unwrap_or("");
    let entries: Vec<&str> = pieces.collect();
    format!("{head}.visible .entry{}", entries[pick % entries.len()])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn damaged_text_never_panics(
        pick in any::<usize>(),
        changes in prop::collection::vec((any::<u8>(), any::<usize>(), 1usize..60, any::<u8>()), 1..6),
    ) {
        let text = changes.into_iter().fold(small_module(pick), |text, change| mutate(&text, change));
        load_anything(text.as_bytes());
    }

    #[test]
    fn damaged_hand_written_text_never_panics(
        changes in prop::collection::vec((any::<u8>(), any::<usize>(), 1usize..30, 32u8..127), 1..9),
    ) {
        let text = changes.into_iter().fold(SESSION.to_owned(), |text, change| mutate(&text, change));
        load_anything(text.as_bytes());
    }

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        load_anything(&bytes);
        load_anything(&[HEAD.as_bytes(), &bytes].concat());
    }
}
