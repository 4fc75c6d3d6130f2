//! What a worker can still do once it is confined: a process confines itself as workers do, tries, and tells.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use rrto_gpud::confine::{self, Confinement};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

/// Which confinement the process is to try, the directory with what it should not get, and the process ids of another
/// worker and of the server.
const KIND: &str = "RRTO_TEST_CONFINEMENT";
const DIRECTORY: &str = "RRTO_TEST_DIRECTORY";
const OTHERS: &str = "RRTO_TEST_OTHERS";

/// The address that is tried, on loopback.
const PORT: &str = "RRTO_TEST_PORT";

/// What the process says, a line each.
const POSSIBLE: &str = "possible: ";
const LACKING: &str = "lacking: ";
const END: &str = "that is all";

/// A process that has confined itself and lives until its standard input ends.
struct Confined {
    child: Child,
    _stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Drop for Confined {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Confined {
    fn start(kind: &str, directory: &Path, others: &[u32], port: u16) -> Self {
        let others: Vec<String> = others.iter().map(u32::to_string).collect();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "probe", "--nocapture", "--test-threads=1"])
            .env(KIND, kind)
            .env(DIRECTORY, directory)
            .env(OTHERS, others.join(" "))
            .env(PORT, port.to_string())
            .env("HOME", directory.join("home"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Confined { child, _stdin: stdin, stdout }
    }

    /// What it could do, and what it could not be confined by.
    fn tells(&mut self) -> (BTreeSet<String>, Vec<String>) {
        let (mut possible, mut lacking) = (BTreeSet::new(), Vec::new());
        for line in self.stdout.by_ref().lines() {
            let line = line.unwrap();
            // The harness writes before it without ending the line.
            if let Some((_, what)) = line.split_once(POSSIBLE) {
                possible.insert(what.to_owned());
            } else if let Some((_, what)) = line.split_once(LACKING) {
                lacking.push(what.to_owned());
            } else if line.contains(END) {
                return (possible, lacking);
            }
        }
        panic!("it has died: {:?}", self.child.wait());
    }
}

/// Not a test of its own: it is what the other process runs.
#[test]
fn probe() {
    let Some(kind) = std::env::var_os(KIND) else { return };
    let confinement = match kind.to_str().unwrap() {
        "driver" => Confinement::Driver,
        _ => Confinement::Nothing { memory_bytes: 1 << 30 },
    };
    let directory = PathBuf::from(std::env::var_os(DIRECTORY).unwrap());
    let others = std::env::var(OTHERS).unwrap();
    let others: Vec<i32> = others.split_whitespace().map(|id| id.parse().unwrap()).collect();
    let port: u16 = std::env::var(PORT).unwrap().parse().unwrap();
    let mut stdout = std::io::stdout();
    let mut say = |what: &str, text: &str| writeln!(stdout, "{what}{text}").unwrap();

    // A thread that is there before, as the driver's are.
    let (ask, asked) = std::sync::mpsc::channel::<()>();
    let earlier = std::thread::spawn(move || {
        asked.recv().unwrap();
        Command::new("/bin/true").status().is_ok()
    });
    confine::begin();
    let mut lacking = confinement.close_files();
    lacking.extend(confinement.close_calls());
    lacking.iter().for_each(|what| say(LACKING, what));

    let mut note = |what: &str, is_possible: bool| {
        if is_possible {
            say(POSSIBLE, what);
        }
    };
    note("read the key", fs::read(directory.join("server.key")).is_ok());
    note("write a file", fs::write(directory.join("new"), "").is_ok());
    note("list files", fs::read_dir(&directory).is_ok());
    note("read the driver's files", fs::read("/usr/bin/env").is_ok() && fs::read("/proc/self/maps").is_ok());
    note("write to the driver's cache", fs::write(directory.join("home/.nv/ComputeCache/index"), "").is_ok());
    note("use a device", File::options().read(true).write(true).open("/dev/null").is_ok());
    note("a datagram", UdpSocket::bind(("127.0.0.1", 0)).is_ok());
    note("a connection", TcpStream::connect(("127.0.0.1", port)).is_ok());
    note("a daemon of this machine", UnixStream::connect(directory.join("socket")).is_ok());
    note("execute", Command::new("/bin/true").status().is_ok());
    ask.send(()).unwrap();
    note("execute in another thread", earlier.join().unwrap());
    note("signal itself", kill_process(rustix::process::getpid(), Signal::CONT).is_ok());
    for &other in &others {
        let pid = Pid::from_raw(other).unwrap();
        let shown = |what| fs::read(format!("/proc/{other}/{what}")).is_ok();
        note("memory of others", File::open(format!("/proc/{other}/mem")).is_ok());
        note("environment of others", shown("environ"));
        let descriptors = fs::read_dir(format!("/proc/{other}/fd")).into_iter().flatten().flatten();
        note("descriptors of others", descriptors.into_iter().any(|one| fs::read_link(one.path()).is_ok()));
        note("signal others", kill_process(pid, Signal::CONT).is_ok());
        let none = Rlimit { current: None, maximum: None };
        note("limit others", prlimit(Some(pid), Resource::Core, none).is_ok());
        // SAFETY: the call concerns the other process, and is refused or ends with this one.
        note("trace others", unsafe { libc::ptrace(libc::PTRACE_SEIZE, other, 0, 0) } == 0);
    }
    note("a thread and memory", std::thread::spawn(|| vec![1_u8; 8 << 20].len()).join().is_ok());
    note("a large core", rustix::process::getrlimit(Resource::Core).current != Some(0));
    say("", END);
    let _ = std::io::stdin().read(&mut [0]);
}

/// What processes that are confined so can do, with what the kernel lacks.
fn try_as(kind: &str) -> (BTreeSet<String>, Vec<String>) {
    let directory = tempfile::tempdir().unwrap();
    rrto_certs::create_all(directory.path(), &["localhost"], &["robot"]).unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let _daemon = UnixListener::bind(directory.path().join("socket")).unwrap();
    let mut other = Confined::start(kind, directory.path(), &[], port);
    other.tells();
    let others = [other.child.id(), std::process::id()];
    Confined::start(kind, directory.path(), &others, port).tells()
}

fn set(what: &[&str]) -> BTreeSet<String> {
    what.iter().map(|what| (*what).to_owned()).collect()
}

#[test]
fn a_worker_of_the_software_gpu_has_its_memory_and_its_socket() {
    let (possible, lacking) = try_as("nothing");
    // One of the two is enough.
    assert!(lacking.len() <= 1, "{lacking:?}");
    assert_eq!(possible, set(&["a thread and memory", "signal itself"]));
}

#[test]
fn a_worker_of_a_gpu_has_besides_what_the_driver_opens() {
    let (possible, lacking) = try_as("driver");
    let of_the_driver = ["read the driver's files", "write to the driver's cache", "use a device"];
    let expected = ["a thread and memory", "signal itself", "a daemon of this machine"];
    let expected = set(&[&expected[..], &of_the_driver].concat());
    assert!(expected.is_subset(&possible), "{possible:?}");
    if lacking.is_empty() {
        assert_eq!(possible, expected);
    }
}
