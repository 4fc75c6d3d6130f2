//! Contexts as programs use them. Each test has a set of its own; stacks belong to the test's thread.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use proptest::prelude::*;
use rrto_core::api::CuResult;

use super::{registry::fresh, *};

const KEY: usize = 0x7f00_1230;

#[test]
fn the_primary_context_lives_while_it_is_retained() {
    let contexts = fresh();
    let primary = contexts.primary();
    assert_eq!(contexts.primary_state(), PrimaryState { flags: 0, is_active: false });
    assert_eq!(contexts.release_primary(), Err(CuResult::INVALID_CONTEXT));

    assert_eq!(contexts.retain_primary(), Ok(primary));
    assert_eq!(contexts.retain_primary(), Ok(primary));
    assert!(contexts.primary_state().is_active);
    let first_life = contexts.id(Some(primary)).unwrap();
    assert_eq!(contexts.release_primary(), Ok(Ended::No));
    assert_eq!(contexts.release_primary(), Ok(Ended::Yes));
    assert!(!contexts.primary_state().is_active);
    assert_eq!(contexts.id(Some(primary)), Err(CuResult::CONTEXT_IS_DESTROYED));

    assert_eq!(contexts.retain_primary(), Ok(primary));
    assert_ne!(contexts.id(Some(primary)), Ok(first_life));
}

#[test]
fn a_reset_does_not_release() {
    let contexts = fresh();
    assert_eq!(contexts.reset_primary(), Ended::No);
    contexts.retain_primary().unwrap();
    contexts.set_current(Some(contexts.primary())).unwrap();
    assert_eq!(contexts.reset_primary(), Ended::Yes);
    assert_eq!(contexts.require_current(), Err(CuResult::CONTEXT_IS_DESTROYED));
    assert_eq!(contexts.current(), Some(contexts.primary()));
    contexts.retain_primary().unwrap();
    assert_eq!(contexts.require_current(), Ok(contexts.primary()));
    assert_eq!(contexts.release_primary(), Ok(Ended::No));
    assert_eq!(contexts.release_primary(), Ok(Ended::Yes));
}

#[test]
fn flags_are_checked_and_kept() {
    let contexts = fresh();
    for bad in [0x100, 3, 6, u32::MAX] {
        assert_eq!(contexts.set_primary_flags(bad, false), Err(CuResult::INVALID_VALUE), "{bad:#x}");
        assert_eq!(contexts.create(bad), Err(CuResult::INVALID_VALUE), "{bad:#x}");
    }
    contexts.set_primary_flags(0x0c, true).unwrap();
    contexts.retain_primary().unwrap();
    assert_eq!(contexts.set_primary_flags(4, true), Err(CuResult::PRIMARY_CONTEXT_ACTIVE));
    assert_eq!(contexts.primary_state(), PrimaryState { flags: 0x0c, is_active: true });
    contexts.set_primary_flags(4, false).unwrap();
    assert_eq!(contexts.flags(Some(contexts.primary())), Ok(4));
    assert_eq!(contexts.release_primary(), Ok(Ended::Yes));
    assert_eq!(contexts.primary_state(), PrimaryState { flags: 4, is_active: false });
}

#[test]
fn a_created_context_is_current_until_destroyed() {
    let contexts = fresh();
    assert_eq!(contexts.require_current(), Err(CuResult::INVALID_CONTEXT));
    let a = contexts.create(0).unwrap();
    let b = contexts.create(1).unwrap();
    assert_eq!(contexts.current(), Some(b));
    assert_eq!(contexts.flags(None), Ok(1));
    assert_eq!(contexts.api_version(None), Ok(3020));

    contexts.destroy(a).unwrap();
    assert_eq!(contexts.current(), Some(b), "only the top is taken off");
    contexts.destroy(b).unwrap();
    assert_eq!(contexts.current(), Some(a));
    assert_eq!(contexts.require_current(), Err(CuResult::CONTEXT_IS_DESTROYED));
    assert_eq!(contexts.destroy(a), Err(CuResult::INVALID_CONTEXT));
    assert_eq!(contexts.destroy(contexts.primary()), Err(CuResult::INVALID_CONTEXT));
    assert_eq!(contexts.pop(), Ok(a));
    assert_eq!(contexts.pop(), Err(CuResult::INVALID_CONTEXT));
}

#[test]
fn set_current_replaces_the_top() {
    let contexts = fresh();
    let a = contexts.create(0).unwrap();
    let b = contexts.create(0).unwrap();
    contexts.set_current(Some(a)).unwrap();
    assert_eq!((contexts.pop(), contexts.pop()), (Ok(a), Ok(a)));
    contexts.set_current(None).unwrap();
    contexts.set_current(Some(b)).unwrap();
    assert_eq!(contexts.current(), Some(b));
    contexts.set_current(None).unwrap();
    assert_eq!(contexts.current(), None);
    let nobodys = ContextHandle::from_raw(0x1234);
    assert_eq!(contexts.set_current(nobodys), Err(CuResult::INVALID_CONTEXT));
    assert_eq!(contexts.push(nobodys.unwrap()), Err(CuResult::INVALID_CONTEXT));
    assert_eq!(ContextHandle::from_raw(0), None);
}

#[test]
fn a_stack_is_a_threads_own_and_an_end_is_seen_everywhere() {
    let contexts = fresh();
    let a = contexts.create(0).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            assert_eq!(contexts.current(), None);
            contexts.push(a).unwrap();
            assert_eq!(contexts.require_current(), Ok(a));
            thread::scope(|inner| inner.spawn(|| contexts.destroy(a).unwrap()).join().unwrap());
            assert_eq!(contexts.require_current(), Err(CuResult::CONTEXT_IS_DESTROYED));
        });
    });
    assert_eq!(contexts.require_current(), Err(CuResult::CONTEXT_IS_DESTROYED));
}

#[test]
fn detaching_ends_what_was_attached() {
    let contexts = fresh();
    let a = contexts.create(0).unwrap();
    assert_eq!(contexts.attach(), Ok(a));
    contexts.detach(a).unwrap();
    assert_eq!(contexts.require_current(), Ok(a));
    contexts.detach(a).unwrap();
    assert_eq!(contexts.current(), None);
    assert_eq!(contexts.detach(a), Err(CuResult::INVALID_CONTEXT));
    assert_eq!(contexts.attach(), Err(CuResult::INVALID_CONTEXT));
}

#[test]
fn preferences_are_a_contexts_own() {
    let contexts = fresh();
    let a = contexts.create(0).unwrap();
    contexts.set_preference(Preference::Cache, 2).unwrap();
    contexts.set_preference(Preference::SharedMemory, 1).unwrap();
    contexts.create(0).unwrap();
    assert_eq!(contexts.preference(Preference::Cache), Ok(0));
    contexts.set_current(Some(a)).unwrap();
    assert_eq!(contexts.preference(Preference::Cache), Ok(2));
    assert_eq!(contexts.preference(Preference::SharedMemory), Ok(1));
}

#[test]
fn storage_belongs_to_a_context() {
    let contexts = fresh();
    assert_eq!(contexts.get(None, KEY), Err(CuResult::INVALID_CONTEXT));
    let primary = contexts.retain_primary().unwrap();
    assert_eq!(contexts.get(Some(primary), KEY), Err(CuResult::INVALID_HANDLE));
    contexts.put(Some(primary), KEY, 11, None).unwrap();
    let a = contexts.create(0).unwrap();
    assert_eq!(contexts.get(None, KEY), Err(CuResult::INVALID_HANDLE));
    contexts.put(None, KEY, 22, None).unwrap();
    for _ in 0..3 {
        assert_eq!(contexts.get(None, KEY), Ok(22));
        assert_eq!(contexts.get(Some(primary), KEY), Ok(11));
    }
    contexts.put(Some(a), KEY, 33, None).unwrap();
    assert_eq!(contexts.get(None, KEY), Ok(33));
    contexts.delete(None, KEY).unwrap();
    assert_eq!(contexts.get(None, KEY), Err(CuResult::INVALID_HANDLE));
    assert_eq!(contexts.delete(None, KEY), Err(CuResult::INVALID_HANDLE));
    assert_eq!(contexts.release_primary(), Ok(Ended::Yes));
    assert_eq!(contexts.get(Some(primary), KEY), Err(CuResult::CONTEXT_IS_DESTROYED));
    assert_eq!(contexts.put(Some(primary), KEY, 1, None), Err(CuResult::CONTEXT_IS_DESTROYED));
}

#[test]
fn a_change_is_seen_by_a_thread_that_remembers() {
    let contexts = fresh();
    let primary = contexts.retain_primary().unwrap();
    contexts.put(Some(primary), KEY, 1, None).unwrap();
    assert_eq!(contexts.get(Some(primary), KEY), Ok(1));
    thread::scope(|scope| scope.spawn(|| contexts.put(Some(primary), KEY, 2, None)).join().unwrap().unwrap());
    assert_eq!(contexts.get(Some(primary), KEY), Ok(2));
    thread::scope(|scope| scope.spawn(|| contexts.delete(Some(primary), KEY)).join().unwrap().unwrap());
    assert_eq!(contexts.get(Some(primary), KEY), Err(CuResult::INVALID_HANDLE));
}

#[test]
fn destructors_run_once_at_the_end_and_may_call_back() {
    let shared = Arc::new(fresh());
    let primary = shared.retain_primary().unwrap();
    let ran = Arc::new(AtomicUsize::new(0));
    for key in [KEY, KEY + 8] {
        let (ran, contexts) = (ran.clone(), shared.clone());
        let destructor: Destructor = Box::new(move |context, key, value| {
            assert_eq!((context, value), (primary, key + 1));
            // No lock is held, and the storage is already gone.
            assert_eq!(contexts.get(Some(context), key), Err(CuResult::CONTEXT_IS_DESTROYED));
            assert!(contexts.create(0).is_ok());
            ran.fetch_add(1, Ordering::Relaxed);
        });
        shared.put(Some(primary), key, key + 1, Some(destructor)).unwrap();
    }
    assert_eq!(ran.load(Ordering::Relaxed), 0);
    assert_eq!(shared.reset_primary(), Ended::Yes);
    assert_eq!(ran.load(Ordering::Relaxed), 2);
    assert_eq!(shared.reset_primary(), Ended::No);
    assert_eq!(ran.load(Ordering::Relaxed), 2);
}

#[derive(Clone, Debug)]
enum Step {
    Put(usize, usize),
    Delete(usize),
    Get(usize),
    Reset,
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..6_usize;
    prop_oneof![
        (key.clone(), 1..100_usize).prop_map(|(key, value)| Step::Put(key, value)),
        key.clone().prop_map(Step::Delete),
        key.prop_map(Step::Get),
        Just(Step::Reset),
    ]
}

proptest! {
    /// Whatever a thread remembers, storage behaves as a plain map.
    #[test]
    fn storage_is_a_map(steps in proptest::collection::vec(step(), 0..60)) {
        let contexts = fresh();
        let primary = contexts.retain_primary().unwrap();
        let mut map = std::collections::BTreeMap::new();
        for step in steps {
            match step {
                Step::Put(key, value) => {
                    prop_assert!(contexts.put(Some(primary), KEY + key, value, None).is_ok());
                    map.insert(key, value);
                }
                Step::Delete(key) => {
                    let is_there = contexts.delete(Some(primary), KEY + key).is_ok();
                    prop_assert_eq!(is_there, map.remove(&key).is_some());
                }
                Step::Get(key) => {
                    let expected = map.get(&key).copied().ok_or(CuResult::INVALID_HANDLE);
                    prop_assert_eq!(contexts.get(Some(primary), KEY + key), expected);
                }
                Step::Reset => {
                    prop_assert_eq!(contexts.reset_primary(), Ended::Yes);
                    prop_assert!(contexts.retain_primary().is_ok());
                    map.clear();
                }
            }
        }
    }
}
