//! The transport thread as a guest in the program's process.
//!
//! Programs close descriptors that are not theirs: daemons all from 3 up, sandboxes all that they do not know. So the thread has a
//! table of descriptors of its own. The program can neither close nor see what is in it, `ulimit -n` counts it apart, and a
//! pipe whose end the program closes is closed, although the thread once had it too.
//!
//! The other threads cannot wake it by a descriptor then. They send it a signal: to this thread alone, where it is blocked like all
//! others, so that it is never delivered, and only makes a descriptor of the thread's readable (signalfd(2)).

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use rrto_quic::{Bell, Host};

use super::{enter_own_thread, signals};

/// Linux itself never raises it (signal(7)), so it is of no use to programs either.
const RING: libc::c_int = libc::SIGSTKFLT;

/// The transport thread's way into the process.
#[derive(Debug)]
pub struct Guest;

impl Host for Guest {
    fn start(&self, start: Box<dyn FnOnce() -> io::Result<()> + '_>) -> io::Result<()> {
        // The thread inherits the mask. It is this thread's for no longer: a program that waits for a server can be interrupted.
        signals::with_signals_blocked(start)
    }

    fn enter(&self) -> io::Result<Bell> {
        enter_own_thread();
        if has_table_of_its_own() {
            occupy_standard_descriptors();
        }
        let ring = signals::set(&[RING]);
        // SAFETY: the set is a value; -1 asks for a new descriptor, which is nobody else's then.
        let rung = unsafe {
            libc::pthread_sigmask(libc::SIG_BLOCK, &ring, std::ptr::null_mut());
            let rung = libc::signalfd(-1, &ring, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC);
            if rung < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(rung)
        };
        // SAFETY: it has no preconditions.
        let thread = unsafe { libc::syscall(libc::SYS_gettid) };
        let ring = move || {
            // SAFETY: tgkill finds out itself whether there is such a thread in this process.
            unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, RING) };
        };
        Ok(Bell { ring: Box::new(ring), rung })
    }

    fn enter_helper(&self) {
        enter_own_thread();
    }
}

/// Gives the calling thread an empty table of descriptors, if the system can. Where it cannot (Linux before 5.9 in a container that
/// forbids unshare), the thread goes on with the program's, and a program that closes what is not its own loses its session.
fn has_table_of_its_own() -> bool {
    // SAFETY: both change the table of this thread only, which has opened nothing yet.
    unsafe {
        let all = (0, libc::c_uint::MAX);
        if libc::syscall(libc::SYS_close_range, all.0, all.1, libc::CLOSE_RANGE_UNSHARE) == 0 {
            return true;
        }
        if libc::unshare(libc::CLONE_FILES) != 0 {
            return false;
        }
    }
    for descriptor in open_descriptors() {
        // SAFETY: it is this thread's copy, in the table made above, and nothing here uses it.
        unsafe { libc::close(descriptor) };
    }
    true
}

fn open_descriptors() -> Vec<libc::c_int> {
    // Of this thread: /proc/self would be the program's.
    let Ok(entries) = std::fs::read_dir("/proc/thread-self/fd") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// So that nothing that this thread opens becomes standard output or error, where something might write to it.
fn occupy_standard_descriptors() {
    // SAFETY: the path is a C string. The lowest free numbers are given first, which are 0, 1 and 2 in an empty table; where there
    // is no /dev/null anything does that nobody uses.
    unsafe {
        for _ in libc::STDIN_FILENO..=libc::STDERR_FILENO {
            if libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) < 0 {
                libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_guest_has_descriptors_of_its_own() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let number = writer.as_raw_fd();
        let (entered, has_entered) = std::sync::mpsc::channel();
        let (leave, may_leave) = std::sync::mpsc::channel::<()>();
        let guest = std::thread::spawn(move || {
            let bell = Guest.enter().unwrap();
            // SAFETY: it only looks.
            let sees = unsafe { libc::fcntl(number, libc::F_GETFD) } >= 0;
            let rung = bell.rung.as_raw_fd();
            entered.send((bell.ring, sees, rung)).unwrap();
            may_leave.recv().unwrap();
            // It can be read once it was rung, whoever rang, and however often.
            let mut said = [0; 256];
            let came = File::from(bell.rung).read(&mut said).unwrap();
            assert!(came > 0);
        });
        let (ring, sees, rung) = has_entered.recv().unwrap();
        assert!(!sees && rung > libc::STDERR_FILENO, "{rung}");
        // The guest keeps no end of the program's pipe.
        drop(writer);
        assert_eq!(reader.read(&mut [0; 1]).unwrap(), 0);
        ring();
        ring();
        leave.send(()).unwrap();
        guest.join().unwrap();
        // It is over: nobody hears, and nothing happens.
        ring();
    }
}
