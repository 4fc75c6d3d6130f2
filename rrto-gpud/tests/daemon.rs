//! The daemon as a process: what it prints, how it ends, and what it says when it cannot start.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod harness;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use harness::{Program, certificates};
use rrto_core::operator::{Operator, Value};
use rrto_core::wire::Mode;

fn daemon(certificates: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rrto-gpud"));
    command.args(["--device", "cpu", "--listen", "127.0.0.1:0", "--certs"]).arg(certificates).args(arguments);
    command
}

/// A daemon that has said that it is ready, and where it listens; `None` if it ended instead.
fn try_start(certificates: &Path, arguments: &[&str]) -> Option<(Child, SocketAddr)> {
    let mut command = daemon(certificates, arguments);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    if stdout.read_line(&mut line).unwrap() == 0 {
        child.wait().unwrap();
        return None;
    }
    // For the test to see what else comes.
    child.stdout = Some(stdout.into_inner());
    assert!(line.ends_with(")\n") && line.contains(" (device "), "{line:?}");
    let address = line.strip_prefix("rrto-gpud listening on ").and_then(|rest| rest.split(' ').next());
    let address = address.and_then(|address| address.parse().ok());
    Some((child, address.unwrap_or_else(|| panic!("no address in {line:?}"))))
}

fn send_signal(child: &Child, signal: &str) {
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// The text on stderr of a daemon that could not start.
fn failure(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn serves_and_ends_at_a_signal() {
    let certificates = certificates();
    for signal in ["-TERM", "-INT"] {
        let (mut child, address) = try_start(certificates.path(), &[]).unwrap();
        let program = Program::connect(address, certificates.path(), Mode::Pipeline).unwrap();
        let address = program.alloc(64);
        assert_eq!(program.copy_in(address, &[1; 64]), Ok(Value::None));
        assert_eq!(program.copy_out(address, 64), [1; 64]);

        send_signal(&child, signal);
        let status = child.wait().unwrap();
        assert!(status.success(), "{status}");
        // The session was told: the program has its error at once and need not wait for a timeout.
        while program.call(Operator::ContextSynchronize).is_ok() {}
        let lost = program.link.lost();
        assert!(lost.as_deref().is_some_and(|reason| reason.contains("shutting down")), "{lost:?}");

        let (mut more, mut log) = (String::new(), String::new());
        child.stdout.take().unwrap().read_to_string(&mut more).unwrap();
        child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        assert_eq!(more, "", "one line on stdout");
        for expected in
            ["session started", "session ended", "robot=\"robot\"", "operators=", "all sessions have ended"]
        {
            assert!(log.contains(expected), "{expected} is missing in:\n{log}");
        }
    }
}

/// One program runs.
fn run_program(address: SocketAddr, certificates: &Path) {
    let program = Program::connect(address, certificates, Mode::Pipeline).unwrap();
    let memory = program.alloc(64);
    assert_eq!(program.copy_in(memory, &[1; 64]), Ok(Value::None));
    assert_eq!(program.copy_out(memory, 64), [1; 64]);
}

#[test]
fn serves_whatever_becomes_of_its_log() {
    let certificates = certificates();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let logs = [Stdio::from(File::options().write(true).open("/dev/full").unwrap()), Stdio::from(writer)];
    for log in logs {
        let mut command = daemon(certificates.path(), &["--log-level", "trace"]);
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.strip_prefix("rrto-gpud listening on ").and_then(|rest| rest.split(' ').next());
        let address = address.unwrap().parse().unwrap();
        (0..2).for_each(|_| run_program(address, certificates.path()));
        send_signal(&child, "-TERM");
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn serves_beyond_the_size_that_its_log_may_have() {
    let certificates = certificates();
    let log = certificates.path().join("log");
    // A block is 1,024 bytes in bash.
    let command = format!(
        "ulimit -f 1; exec {} --device cpu --listen 127.0.0.1:0 --log-level trace --certs {} 2>{}",
        env!("CARGO_BIN_EXE_rrto-gpud"),
        certificates.path().display(),
        log.display()
    );
    let mut child = Command::new("bash").args(["-c", &command]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.strip_prefix("rrto-gpud listening on ").and_then(|rest| rest.split(' ').next());
    let address = address.unwrap().parse().unwrap();
    let is_full = || std::fs::metadata(&log).unwrap().len() == 1024;
    let filled = (0..100).any(|_| {
        run_program(address, certificates.path());
        is_full()
    });
    assert!(filled);
    (0..2).for_each(|_| run_program(address, certificates.path()));
    assert!(is_full());
    send_signal(&child, "-TERM");
    assert!(child.wait().unwrap().success());
}

#[test]
fn what_strangers_send_costs_a_bounded_log() {
    const DATAGRAMS: u32 = 2000;
    let certificates = certificates();
    let (mut child, address) = try_start(certificates.path(), &[]).unwrap();
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    // Of the shape of a first packet of version 1 (RFC 9000, section 17.2.2); nothing in it can be decrypted.
    let mut datagram =
        vec![0xc0, 0, 0, 0, 1, 8, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x44, 0x96];
    datagram.resize(1200, 7);
    for number in 0..DATAGRAMS {
        datagram[6..10].copy_from_slice(&number.to_le_bytes());
        stranger.send_to(&datagram, address).unwrap();
        if number % 50 == 0 {
            // Waits until the server has taken them: it answers a program.
            drop(Program::connect(address, certificates.path(), Mode::Pipeline).unwrap());
        }
    }
    send_signal(&child, "-TERM");
    assert!(child.wait().unwrap().success());
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    let refusals: Vec<_> = log.lines().filter(|line| line.contains("connection refused")).collect();
    assert!((1..100).contains(&refusals.len()), "{} lines:\n{log}", refusals.len());
    assert!(log.contains(" more from 1 address in "), "{log}");
}

#[test]
fn metrics_tell_what_sessions_do() {
    let certificates = certificates();
    // Another process may take a free port before the daemon has it.
    let (mut child, address, metrics) = (0..100)
        .find_map(|_| {
            let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).unwrap();
            let started = try_start(certificates.path(), &["--metrics", &free.port().to_string()]);
            started.map(|(child, address)| (child, address, free))
        })
        .unwrap();
    let program = Program::connect(address, certificates.path(), Mode::Percall).unwrap();
    program.alloc(1000);
    assert!(program.call(Operator::MemFree { address: 1 }).is_err());
    let mut stream = TcpStream::connect(metrics).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    for line in [
        "# HELP rrto_sessions Sessions now.",
        "rrto_sessions 1",
        "rrto_sessions_admitted_total 1",
        "rrto_operators_total{kind=\"memory\"} 2",
        "rrto_operator_errors_total{result=\"CUDA_ERROR_INVALID_VALUE\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in:\n{text}");
    }
    send_signal(&child, "-TERM");
    assert!(child.wait().unwrap().success());
}

#[test]
fn missing_certificates_are_told() {
    let empty = tempfile::tempdir().unwrap();
    let text = failure(&daemon(empty.path(), &[]).output().unwrap());
    assert!(text.contains("rrto certs"), "{text}");
}

#[test]
fn ports_in_use_are_told() {
    let certificates = certificates();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let (udp, tcp) = (udp.local_addr().unwrap().to_string(), tcp.local_addr().unwrap().to_string());
    for (option, address) in [("--listen", &udp), ("--metrics", &tcp)] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rrto-gpud"));
        command.args(["--device", "cpu", option, address, "--certs"]).arg(certificates.path());
        if option == "--metrics" {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        let text = failure(&command.output().unwrap());
        assert!(text.contains(address) && text.contains(option), "{text}");
    }
}

#[test]
fn help_is_for_newcomers() {
    let output = Command::new(env!("CARGO_BIN_EXE_rrto-gpud")).arg("--help").output().unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("Quick start"));
}
