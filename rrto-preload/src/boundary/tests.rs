//! What the guard makes of everything that can go wrong.

use super::*;

#[test]
fn a_result_passes_through() {
    assert_eq!(guard(|| CuResult::SUCCESS), 0);
    assert_eq!(guard(|| CuResult::INVALID_VALUE), 1);
    assert_eq!(guard_constant(|| CuResult::NOT_FOUND), 500);
}

#[test]
fn a_panic_becomes_unknown_and_the_thread_goes_on() {
    assert_eq!(guard(|| panic!("a test's panic")), CuResult::UNKNOWN.0);
    assert_eq!(guard_constant(|| panic!("another {}", "one")), CuResult::UNKNOWN.0);
    assert_eq!(guard(|| CuResult::SUCCESS), 0);
}

#[test]
fn a_payload_that_panics_when_dropped_is_survived() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }
    assert_eq!(guard(|| panic::panic_any(Bomb)), CuResult::UNKNOWN.0);
}

#[test]
fn a_call_from_inside_is_refused_unless_it_is_constant_or_the_programs() {
    let nested = guard(|| {
        assert_eq!(guard(|| CuResult::SUCCESS), CuResult::NOT_PERMITTED.0);
        assert_eq!(guard_constant(|| CuResult::SUCCESS), 0);
        // Still inside after the constant one.
        assert_eq!(guard(|| CuResult::SUCCESS), CuResult::NOT_PERMITTED.0);
        assert_eq!(outside(|| guard(|| CuResult::SUCCESS)), 0);
        assert_eq!(guard(|| CuResult::SUCCESS), CuResult::NOT_PERMITTED.0);
        CuResult::INVALID_DEVICE
    });
    assert_eq!(nested, CuResult::INVALID_DEVICE.0);
    assert_eq!(guard(|| CuResult::SUCCESS), 0);
}

#[test]
fn a_thread_of_ours_makes_no_calls() {
    let refused = std::thread::spawn(|| {
        enter_own_thread();
        guard(|| CuResult::SUCCESS)
    });
    assert_eq!(refused.join().unwrap(), CuResult::NOT_PERMITTED.0);
    assert_eq!(guard(|| CuResult::SUCCESS), 0);
}

/// One test, because the state belongs to the process: each stage looks at it from a child of its own.
#[test]
fn children_and_the_end() {
    assert_eq!(guard(|| CuResult::SUCCESS), 0);

    assert_eq!(in_child(|| guard(|| CuResult::SUCCESS)), 0, "the device has not been used");
    let after_exit = in_child(|| {
        ended();
        assert!(is_ending());
        guard(|| CuResult::SUCCESS)
    });
    assert_eq!(after_exit, CuResult::DEINITIALIZED.0);
    let constant_after_exit = in_child(|| {
        ended();
        guard_constant(|| CuResult::NOT_READY)
    });
    assert_eq!(constant_after_exit, CuResult::NOT_READY.0 & 0xff);
    let farewell = in_child(|| {
        at_end(leave);
        ended();
        0
    });
    assert_eq!(farewell, FAREWELL as u32);

    assert_eq!(
        start(|| Err::<(), _>(in_child(|| guard(|| CuResult::SUCCESS)))),
        Err(CuResult::NOT_INITIALIZED.0)
    );
    assert_eq!(in_child(|| guard(|| CuResult::SUCCESS)), 0, "the device could not be used");
    start(|| Ok::<_, ()>(())).unwrap();
    assert_eq!(guard(|| CuResult::SUCCESS), 0, "the parent goes on");
    assert_eq!(in_child(|| guard(|| CuResult::SUCCESS)), CuResult::NOT_INITIALIZED.0);
    let ending_child = in_child(|| {
        at_end(leave);
        ended();
        guard(|| CuResult::SUCCESS)
    });
    assert_eq!(ending_child, CuResult::NOT_INITIALIZED.0, "a child's end says no farewell");
    assert_eq!(in_child(|| guard_constant(|| CuResult::INVALID_VALUE)), 1);
}

const FAREWELL: i32 = 77;

fn leave(_: Interrupted) {
    assert!(is_ending());
    // SAFETY: it has no preconditions, and this is a child of the test's own.
    unsafe { libc::_exit(FAREWELL) }
}

/// The low byte of what `call` returns in a forked child.
fn in_child(call: fn() -> u32) -> u32 {
    // SAFETY: the child runs only `call`, which neither allocates nor locks, and then leaves without cleaning
    // up.
    unsafe {
        let child = libc::fork();
        assert!(child >= 0, "fork failed");
        if child == 0 {
            libc::_exit((call() & 0xff) as i32);
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
        assert!(libc::WIFEXITED(status), "the child died: {status:#x}");
        libc::WEXITSTATUS(status) as u32
    }
}
