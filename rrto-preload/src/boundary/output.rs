//! What the library writes: to files that were asked for, and to standard error if that is still what it was.
//!
//! Descriptors are the program's. A daemon closes all that it finds, ours too, and its next file gets the number: so none is kept
//! between two writes, and standard error is looked at before each line. No write raises a signal ([`quietly`]), and none
//! waits longer than a moment for a reader that is there and does not read.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::signals::quietly;

/// How long all writes to one output together may wait for its reader, ms.
const PATIENCE_MS: i32 = 500;

/// As long as this, bytes, a write to a pipe that is ready for it does not wait (`PIPE_BUF`, pipe(7)).
const PIECE_BYTES: usize = 4096;

/// Where programs keep a descriptor that they have made standard error (with dup2), if they keep it.
const KEPT: std::ops::Range<i32> = 0..256;

/// A file that is written to.
#[derive(Debug)]
pub struct Output {
    file: File,
    left_ms: i32,
}

impl Output {
    /// An empty file, or what is there emptied.
    ///
    /// # Errors
    /// The system's. A pipe that nobody reads is one, and not waited for.
    pub fn create(path: &Path) -> io::Result<Self> {
        Self::open(path, OpenOptions::new().write(true).create(true).truncate(true))
    }

    /// A file that is written on.
    ///
    /// # Errors
    /// As for [`Output::create`].
    pub fn append(path: &Path) -> io::Result<Self> {
        Self::open(path, OpenOptions::new().append(true).create(true))
    }

    fn open(path: &Path, options: &mut OpenOptions) -> io::Result<Self> {
        let file = quietly(|| options.custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path))?;
        Ok(Output { file, left_ms: PATIENCE_MS })
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match quietly(|| self.file.write(bytes)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !is_ready(self.file.as_raw_fd(), &mut self.left_ms) {
                        return Err(error);
                    }
                }
                other => return other,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a file anew.
///
/// # Errors
/// The system's.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    Output::create(path)?.write_all(bytes)
}

/// Writes to standard error, in one piece if that is possible. What cannot be written is lost, and so is everything where
/// descriptor 2 has become something else. Neither locks nor allocates.
pub fn to_standard_error(bytes: &[u8]) {
    if !is_standard_error() {
        return;
    }
    let mut left_ms = PATIENCE_MS;
    quietly(|| {
        for piece in bytes.chunks(PIECE_BYTES) {
            let mut rest = piece;
            while !rest.is_empty() {
                if !is_ready(libc::STDERR_FILENO, &mut left_ms) {
                    return;
                }
                // SAFETY: `rest` is that long.
                let written = unsafe { libc::write(libc::STDERR_FILENO, rest.as_ptr().cast(), rest.len()) };
                match usize::try_from(written) {
                    Ok(0) => return,
                    Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                    Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => return,
                }
            }
        }
    });
}

/// Waits until something can be written, or fails, and takes the time from what is left.
fn is_ready(descriptor: libc::c_int, left_ms: &mut i32) -> bool {
    let mut polled = libc::pollfd { fd: descriptor, events: libc::POLLOUT, revents: 0 };
    let since = std::time::Instant::now();
    // SAFETY: one entry, which lives longer than the call.
    let ready = unsafe { libc::poll(&mut polled, 1, *left_ms) };
    let waited = i32::try_from(since.elapsed().as_millis()).unwrap_or(i32::MAX);
    *left_ms = left_ms.saturating_sub(waited).max(0);
    // Where it cannot be asked, a write tells more.
    ready != 0
}

/// Which file a descriptor is.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

/// What standard error was when the library was loaded. All zero: it was closed.
static DEVICE: AtomicU64 = AtomicU64::new(0);
static INODE: AtomicU64 = AtomicU64::new(0);
/// Somebody has looked.
static IS_KNOWN: AtomicBool = AtomicBool::new(false);

/// Looks when the library is loaded, before the program runs and can close anything. It is one system call and changes nothing.
#[used]
#[unsafe(link_section = ".init_array")]
static AT_LOAD: extern "C" fn() = remember;

extern "C" fn remember() {
    let identity = identity(libc::STDERR_FILENO).unwrap_or(Identity { device: 0, inode: 0 });
    DEVICE.store(identity.device, Ordering::Relaxed);
    INODE.store(identity.inode, Ordering::Relaxed);
    IS_KNOWN.store(true, Ordering::Release);
}

fn identity(descriptor: libc::c_int) -> Option<Identity> {
    let mut stat = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: fstat fills the structure if it answers 0, and touches nothing else.
    let stat = unsafe {
        if libc::fstat(descriptor, stat.as_mut_ptr()) != 0 {
            return None;
        }
        stat.assume_init()
    };
    Some(Identity { device: stat.st_dev, inode: stat.st_ino })
}

/// Whether descriptor 2 is meant to be read by people. It is if it is what it was; another file may be so by the program's will, or
/// because it had closed standard error and the number was free. A standard descriptor stays open in the programs that a program
/// starts; and who makes one with dup2 mostly has the same opening under another number too, appends to it, or has a terminal.
fn is_standard_error() -> bool {
    let Some(now) = identity(libc::STDERR_FILENO) else { return false };
    let was = Identity { device: DEVICE.load(Ordering::Relaxed), inode: INODE.load(Ordering::Relaxed) };
    if !IS_KNOWN.load(Ordering::Acquire) || now == was {
        return true;
    }
    // SAFETY: neither call has preconditions, and F_GETFD and F_GETFL take no argument.
    let (descriptor_flags, file_flags, is_terminal) = unsafe {
        let fcntl = |command| libc::fcntl(libc::STDERR_FILENO, command);
        (fcntl(libc::F_GETFD), fcntl(libc::F_GETFL), libc::isatty(libc::STDERR_FILENO) == 1)
    };
    let is_inherited = descriptor_flags >= 0 && descriptor_flags & libc::FD_CLOEXEC == 0;
    let appends = file_flags >= 0 && file_flags & libc::O_APPEND != 0;
    let is_kept = || KEPT.filter(|other| *other != libc::STDERR_FILENO).any(is_same_opening);
    is_inherited && (appends || is_terminal || is_kept())
}

/// Whether a descriptor was made of standard error, or the other way round; opening the file twice is not enough. Where the system
/// cannot say, it was not.
fn is_same_opening(descriptor: libc::c_int) -> bool {
    /// What kcmp(2) compares.
    const KCMP_FILE: libc::c_int = 0;
    // SAFETY: it only compares, within this process.
    unsafe {
        let me = libc::getpid();
        libc::syscall(libc::SYS_kcmp, me, me, KCMP_FILE, descriptor, libc::STDERR_FILENO) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_an_error() {
        assert!(write(Path::new("/dev/full"), b"x").is_err());
    }

    #[test]
    fn a_pipe_that_nobody_reads_is_an_error_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        make_pipe(&path);
        assert!(write(&path, b"x").is_err());
        // A reader that does not read: what the pipe holds is written, the rest is given up.
        let _reader = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path).unwrap();
        let mut output = Output::create(&path).unwrap();
        output.left_ms = 1;
        assert_eq!(output.write_all(&[0; 1 << 20]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    fn make_pipe(path: &Path) {
        let path = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: the path is a C string.
        assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
    }

    #[test]
    fn what_is_appended_stays() {
        let file = tempfile::NamedTempFile::new().unwrap();
        write(file.path(), b"one ").unwrap();
        Output::append(file.path()).unwrap().write_all(b"two").unwrap();
        assert_eq!(std::fs::read(file.path()).unwrap(), b"one two");
    }
}
