//! A server in operation: certificates that change, robots that are locked out, an end that lets others end, and a machine
//! that has less memory than programs ask for.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod harness;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Instant;

use bytes::Bytes;
use harness::{PATIENCE, Program, certificates};
use rrto_core::api::CuResult;
use rrto_core::operator::{Geometry, Handle, Launch, Operator, Value};
use rrto_core::wire::Mode;
use rrto_quic::{ConnectError, Submission};

/// Kernels that end when they are told, and never.
const PTX: &str = include_str!("ptx/session.ptx");

/// A server, and what it logs.
struct Daemon {
    child: Child,
    address: SocketAddr,
    log: BufReader<ChildStderr>,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Daemon {
    fn start(certificates: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rrto-gpud"));
        command.args(arguments);
        Self::of(command, certificates)
    }

    fn of(mut command: Command, certificates: &Path) -> Self {
        command.args(["--device", "cpu", "--listen", "127.0.0.1:0", "--certs"]).arg(certificates);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.strip_prefix("rrto-gpud listening on ").and_then(|rest| rest.split(' ').next());
        let address = address.and_then(|address| address.parse().ok());
        let log = BufReader::new(child.stderr.take().unwrap());
        Daemon { child, address: address.unwrap_or_else(|| panic!("no address in {line:?}")), log }
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Reads the log up to the next line with these words.
    fn says(&mut self, words: &str) {
        let mut line = String::new();
        while !line.contains(words) {
            line.clear();
            assert!(self.log.read_line(&mut line).unwrap() > 0, "the log ends before {words:?}");
        }
    }

    fn connect(&self, robot: &str, certificates: &Path) -> Result<Program, ConnectError> {
        Program::connect_as(robot, self.address, certificates, Mode::Pipeline)
    }

    fn refuses(&self, robot: &str, certificates: &Path) -> String {
        match self.connect(robot, certificates).map(drop) {
            Err(ConnectError::Refused { reason, .. }) => reason,
            other => panic!("{other:?}"),
        }
    }
}

fn assert_works(program: &Program) {
    let address = program.alloc(64);
    assert_eq!(program.copy_in(address, &[7; 64]), Ok(Value::None));
    assert_eq!(program.copy_out(address, 64), [7; 64]);
}

/// Why the server has ended the program's session.
fn end_of(program: &Program) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(reason) = program.link.lost() {
            return reason;
        }
        assert!(Instant::now() < deadline, "the session has not ended");
        // A call would be something that is running.
        std::thread::yield_now();
    }
}

#[test]
fn a_revoked_robot_is_out_at_once_and_the_others_stay() {
    let certificates = certificates();
    let directory = certificates.path();
    rrto_certs::add_robot(directory, "other").unwrap();
    let mut daemon = Daemon::start(directory, &[]);
    let [stolen, other] = ["robot", "other"].map(|robot| daemon.connect(robot, directory).unwrap());
    let list = rrto_certs::revoke(directory, "robot").unwrap();
    assert_works(&stolen);
    daemon.signal("-HUP");
    let reason = end_of(&stolen);
    assert!(reason.contains("revoked"), "{reason}");
    let reason = daemon.refuses("robot", directory);
    assert!(reason.contains("revoked"), "{reason}");
    assert_works(&other);
    assert_works(&daemon.connect("other", directory).unwrap());

    // A list that nobody understands lets nobody in again.
    fs::write(&list, "robot").unwrap();
    daemon.signal("-HUP");
    daemon.says("stay as they were");
    assert!(daemon.refuses("robot", directory).contains("revoked"));
    assert_works(&other);
}

#[test]
fn new_certificates_serve_new_connections() {
    let (old, new) = (certificates(), certificates());
    let mut daemon = Daemon::start(old.path(), &[]);
    let program = daemon.connect("robot", old.path()).unwrap();
    for file in ["ca.pem", "server.pem", "server.key"] {
        fs::copy(new.path().join(file), old.path().join(file)).unwrap();
    }
    daemon.signal("-HUP");
    daemon.says("were read again");
    assert_works(&daemon.connect("robot", new.path()).unwrap());
    assert_works(&program);
    // Half of them: nothing changes.
    fs::write(old.path().join("server.key"), "no key").unwrap();
    daemon.signal("-HUP");
    daemon.says("stay as they were");
    assert_works(&daemon.connect("robot", new.path()).unwrap());
    assert_works(&program);
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let certificates = certificates();
    let key = certificates.path().join("server.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_rrto-gpud"));
    command.args(["--device", "cpu", "--listen", "127.0.0.1:0", "--certs"]).arg(certificates.path());
    let output = command.output().unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains(&format!("chmod 600 {}", key.display())), "{text}");
}

/// Launches a kernel of [`PTX`] on a stream.
fn launch(program: &Program, kernel: &str, stream: Handle, params: &[u8]) {
    let (image, module, function) = (Handle(1), Handle(2), Handle(3));
    let append = Operator::ImageAppend { image, bytes: PTX.len() as u64 };
    assert_eq!(program.link.call(0, append, Some(Bytes::from_static(PTX.as_bytes()))), Ok(Value::None));
    assert_eq!(program.call(Operator::ModuleLoad { module, image }), Ok(Value::None));
    let lookup = Operator::ModuleGetFunction { module, name: kernel.to_owned(), function };
    assert!(matches!(program.call(lookup), Ok(Value::Kernel(_))));
    let launch = Operator::Launch(Launch {
        function,
        geometry: Geometry { grid: [1, 1, 1], block: [1, 1, 1], shared_bytes: 0 },
        stream,
        cooperative: false,
        attributes: Vec::new(),
        params: Bytes::copy_from_slice(params),
    });
    assert_eq!(program.call(launch), Ok(Value::None));
}

#[test]
fn what_is_running_ends_before_the_server_does() {
    let certificates = certificates();
    let directory = certificates.path();
    let mut daemon = Daemon::start(directory, &["--drain", "600"]);
    let program = daemon.connect("robot", directory).unwrap();
    let (flag, streams) = (program.alloc(4), [Handle(10), Handle(11)]);
    for stream in streams {
        let create = Operator::StreamCreate { stream, flags: 1, priority: 0 };
        assert_eq!(program.call(create), Ok(Value::None));
    }
    assert_eq!(program.copy_in(flag, &[0; 4]), Ok(Value::None));
    assert_eq!(program.call(Operator::ContextSynchronize), Ok(Value::None));
    launch(&program, "wait_for_flag", streams[0], &flag.to_le_bytes());
    let wait = Operator::StreamSynchronize { stream: streams[0] };
    let Submission::Awaits(number) = program.link.submit(0, wait, None, |_| {}) else {
        panic!("nothing to wait for")
    };

    daemon.signal("-TERM");
    daemon.says("no new sessions");
    let reason = daemon.refuses("robot", directory);
    assert!(reason.contains("shutting down"), "{reason}");
    // The program goes on, and this ends its kernel.
    let set = Operator::CopyIn { dst: flag, bytes: 4, stream: streams[1] };
    assert_eq!(program.link.call(1, set, Some(Bytes::from_static(&[1, 0, 0, 0]))), Ok(Value::None));
    assert_eq!(program.link.wait(number), Ok(Value::None));
    let reason = end_of(&program);
    assert!(reason.contains("shutting down"), "{reason}");
    assert!(daemon.child.wait().unwrap().success());
}

#[test]
fn what_never_ends_is_told() {
    let certificates = certificates();
    let mut daemon = Daemon::start(certificates.path(), &["--drain", "0.1"]);
    let program = daemon.connect("robot", certificates.path()).unwrap();
    launch(&program, "forever", Handle::LEGACY_STREAM, &[]);
    daemon.signal("-TERM");
    let reason = end_of(&program);
    assert!(reason.contains("shutting down"), "{reason}");
    assert!(daemon.child.wait().unwrap().success());
}

#[test]
fn who_asks_for_more_memory_than_there_is_hurts_nobody() {
    let certificates = certificates();
    for in_process in [false, true] {
        // A limit of address space stands for a machine with less memory than the device says.
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -v 3000000 && exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_rrto-gpud")]);
        command.args(in_process.then_some("--in-process"));
        let daemon = Daemon::of(command, certificates.path());
        let [small, large] = [(); 2].map(|()| daemon.connect("robot", certificates.path()).unwrap());
        let too_much = Operator::MemAlloc { bytes: 3500 << 20 };
        assert_eq!(large.call(too_much), Err(CuResult::OUT_OF_MEMORY));
        assert_works(&small);
        assert_works(&large);
    }
}
