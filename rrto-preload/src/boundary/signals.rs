//! Signals are the program's: its handlers run on its own threads, outside our locks, and nothing that we do raises one.

use std::mem::MaybeUninit;
use std::ptr;

/// What a write can raise on the thread that writes: its reader has gone, or the file has reached `ulimit -f`.
const RAISED_BY_WRITES: [libc::c_int; 2] = [libc::SIGPIPE, libc::SIGXFSZ];

/// Runs `start` with all signals blocked on this thread: so that a thread that it starts never runs a handler of the program,
/// which may use more stack than ours have or wait for a lock that we hold; and so that no handler comes in between.
pub fn with_signals_blocked<R>(start: impl FnOnce() -> R) -> R {
    /// Gives the thread its mask back, also after a panic.
    struct Restore(libc::sigset_t);
    impl Drop for Restore {
        fn drop(&mut self) {
            // SAFETY: the set was filled by pthread_sigmask below, and null is allowed for the old one.
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, ptr::null_mut()) };
        }
    }
    // SAFETY: sigset_t is plain data, for which zero bytes are a value; sigfillset and pthread_sigmask only write to the
    // two sets, which live longer than the calls.
    let _restore = unsafe {
        let (mut all, mut before): (libc::sigset_t, libc::sigset_t) = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_BLOCK, &all, &mut before);
        Restore(before)
    };
    start()
}

/// Runs `write`, which may write anywhere: the signal that this raises where nobody reads, or nothing more fits, never reaches the
/// program, which did not write. Such a signal is raised on this thread, where it is blocked, and is taken back; one that was
/// pending before is the program's and stays.
pub fn quietly<R>(write: impl FnOnce() -> R) -> R {
    with_signals_blocked(|| {
        let before = pending();
        let result = write();
        let after = pending();
        for signal in RAISED_BY_WRITES {
            if is_in(&after, signal) && !is_in(&before, signal) {
                take(signal);
            }
        }
        result
    })
}

/// The set of these signals.
pub(super) fn set(signals: &[libc::c_int]) -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: sigemptyset makes a value of whatever is there, and sigaddset changes only that.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in signals {
            libc::sigaddset(set.as_mut_ptr(), *signal);
        }
        set.assume_init()
    }
}

/// Those that wait for this thread, or for any of the process.
fn pending() -> libc::sigset_t {
    let mut pending = set(&[]);
    // SAFETY: it only writes to the set.
    unsafe { libc::sigpending(&mut pending) };
    pending
}

fn is_in(set: &libc::sigset_t, signal: libc::c_int) -> bool {
    // SAFETY: the set has a value, and the signal is one.
    unsafe { libc::sigismember(set, signal) == 1 }
}

fn take(signal: libc::c_int) {
    let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: set and time are values that outlive the call; null says that nobody wants to know more.
    unsafe { libc::sigtimedwait(&set(&[signal]), ptr::null_mut(), &now) };
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_write_without_a_reader_raises_nothing() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        drop(reader);
        // SAFETY: the default action, which ends the process, and back to what tests have.
        let before = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        let failed = quietly(|| writer.write_all(b"x").unwrap_err());
        assert_eq!(failed.kind(), std::io::ErrorKind::BrokenPipe);
        assert!(!is_in(&pending(), libc::SIGPIPE));
        // SAFETY: as above.
        unsafe { libc::signal(libc::SIGPIPE, before) };
    }

    #[test]
    fn what_was_pending_before_stays() {
        with_signals_blocked(|| {
            // SAFETY: the signal is blocked on this thread, and taken below.
            unsafe { libc::raise(libc::SIGPIPE) };
            let (reader, mut writer) = std::io::pipe().unwrap();
            drop(reader);
            quietly(|| writer.write_all(b"x").unwrap_err());
            assert!(is_in(&pending(), libc::SIGPIPE));
            take(libc::SIGPIPE);
            assert!(!is_in(&pending(), libc::SIGPIPE));
        });
    }
}
