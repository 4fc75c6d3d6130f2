//! The table against what a real driver exports and answers.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// What libcuda 580 exports, a symbol a line.
const EXPORTS: &str = include_str!("exports.txt");
/// What driver 580 answered to cuGetProcAddress.
const RESOLVED: &str = include_str!("resolved.tsv");

#[test]
fn rows_are_the_exports_of_libcuda() {
    let table: BTreeSet<&str> = Function::ALL.iter().map(|f| f.symbol()).collect();
    let exports: BTreeSet<&str> = EXPORTS.lines().collect();
    assert_eq!(table, exports);
    assert_eq!(table.len(), Function::ALL.len(), "a symbol has two rows");
}

#[test]
fn index_and_symbol_lead_back() {
    for (at, f) in Function::ALL.iter().enumerate() {
        assert_eq!(usize::from(f.index()), at);
        assert_eq!(Function::from_index(f.index()), Some(*f));
        assert_eq!(Function::from_symbol(f.symbol()), Some(*f));
    }
    assert_eq!(Function::from_index(Function::ALL.len() as u16), None);
    assert_eq!(Function::from_symbol("cuMemAlloc_v9"), None);
}

#[test]
fn names_resolve_as_a_driver_resolves_them() {
    let mut rows = 0;
    for line in RESOLVED.lines().filter(|line| !line.starts_with('#')) {
        let [name, version, flags, symbol] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("a row has four columns: {line:?}");
        };
        let answer = Function::resolve(name, version.parse().unwrap(), flags.parse().unwrap());
        assert_eq!(answer.map(Function::symbol), Ok(symbol), "{line}");
        rows += 1;
    }
    assert_eq!(rows, 459);
}

#[test]
fn resolution_by_version_and_stream() {
    use resolve_flags::*;
    let cases = [
        ("cuMemAlloc", 2000, DEFAULT, Ok(Function::cuMemAlloc)),
        ("cuMemAlloc", 3019, DEFAULT, Ok(Function::cuMemAlloc)),
        ("cuMemAlloc", 3020, DEFAULT, Ok(Function::cuMemAlloc_v2)),
        ("cuMemAlloc", 13000, PER_THREAD_DEFAULT_STREAM, Ok(Function::cuMemAlloc_v2)),
        ("cuMemAlloc", 1999, DEFAULT, Err(ResolveError::VersionTooLow)),
        ("cuMemcpy", 13000, LEGACY_STREAM, Ok(Function::cuMemcpy)),
        ("cuMemcpy", 13000, PER_THREAD_DEFAULT_STREAM, Ok(Function::cuMemcpy_ptds)),
        // Older than per-thread streams are: the ordinary form is all there was.
        ("cuMemcpy", 4000, PER_THREAD_DEFAULT_STREAM, Ok(Function::cuMemcpy)),
        ("cuMemcpyHtoDAsync", 12000, PER_THREAD_DEFAULT_STREAM, Ok(Function::cuMemcpyHtoDAsync_v2_ptsz)),
        ("cuMemAlloc_v2", 13000, DEFAULT, Err(ResolveError::NotFound)),
        ("cuMemcpy_ptds", 13000, DEFAULT, Err(ResolveError::NotFound)),
        ("cudbgApiInit", 13000, DEFAULT, Err(ResolveError::NotFound)),
        ("", 13000, DEFAULT, Err(ResolveError::NotFound)),
    ];
    for (name, version, flags, expected) in cases {
        assert_eq!(Function::resolve(name, version, flags), expected, "{name} {version} {flags}");
    }
}

#[test]
fn per_thread_variants_cost_what_their_function_costs() {
    for f in Function::ALL.iter().filter(|f| f.is_per_thread()) {
        let ordinary = Function::from_symbol(strip_per_thread(f.symbol())).unwrap();
        assert_eq!(f.class(), ordinary.class(), "{f}");
        assert!(f.since() >= ordinary.since(), "{f}");
        assert_eq!(f.base(), ordinary.base());
    }
}

#[test]
fn a_newer_form_is_newer() {
    for f in Function::ALL {
        for g in
            Function::ALL.iter().filter(|g| g.base() == f.base() && g.is_per_thread() == f.is_per_thread())
        {
            let (Some(f_since), Some(g_since)) = (f.since(), g.since()) else { continue };
            assert_eq!(f.symbol().cmp(g.symbol()), f_since.cmp(&g_since), "{f} and {g}");
        }
    }
}

#[test]
fn the_hash_is_stable_and_not_trivial() {
    assert_eq!(table_hash(), table_hash());
    assert_ne!(table_hash(), [0; 32]);
}

proptest! {
    #[test]
    fn any_question_has_an_answer(name in "(cu[A-Z][a-z0-9_]{0,12})|.{0,40}", version: u32, flags: u64) {
        if let Ok(f) = Function::resolve(&name, version, flags) {
            prop_assert_eq!(f.base(), name);
            prop_assert!(f.since().is_some_and(|since| since <= version));
        }
    }

    #[test]
    fn asking_for_a_newer_version_never_finds_an_older_form(at in 0..Function::ALL.len(), a: u32, b: u32) {
        let name = Function::ALL[at].base();
        let (low, high) = (a.min(b) % 14_000, a.max(b));
        if let Ok(f) = Function::resolve(name, low, 0) {
            let g = Function::resolve(name, high.max(low), 0);
            prop_assert!(g.is_ok_and(|g| g.since() >= f.since()));
        }
    }

    #[test]
    fn a_function_survives_the_wire(at in 0..Function::ALL.len()) {
        let f = Function::ALL[at];
        let bytes = postcard::to_allocvec(&f).unwrap();
        prop_assert_eq!(postcard::from_bytes::<Function>(&bytes), Ok(f));
    }

    #[test]
    fn an_index_past_the_table_is_refused(index in Function::ALL.len() as u16..) {
        let bytes = postcard::to_allocvec(&index).unwrap();
        prop_assert!(postcard::from_bytes::<Function>(&bytes).is_err());
    }
}
