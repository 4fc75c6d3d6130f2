//! What goes wrong: the program gets the error that CUDA programs know, and a person one line that says what to do.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::UdpSocket;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Client, MODES, Server, built, certificates};

/// `CUDA_ERROR_NO_DEVICE`: what a program without a GPU gets.
const NO_DEVICE: &str = "cuInit 100\ncuInit 100\ncuDeviceGetCount 3\n";

/// The only line of `stderr`.
fn single_line(stderr: &str) -> &str {
    assert_eq!(stderr.lines().count(), 1, "expected one line:\n{stderr}");
    stderr.trim_end()
}

#[test]
fn without_a_server_there_is_no_device() {
    let server = Server::start();
    let nowhere = Client { server: "127.0.0.1:1".into(), ..server.client() };
    let outcome = nowhere.run(&built().probe, &["init"]);
    assert_eq!(outcome.stdout, NO_DEVICE, "{outcome:?}");
    assert!(single_line(&outcome.stderr).contains("127.0.0.1:1"), "{outcome:?}");
}

#[test]
fn a_program_that_waits_for_its_server_can_be_ended() {
    let server = Server::start();
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let nowhere = Client { server: silent.local_addr().unwrap().to_string(), ..server.client() };
    let mut command = nowhere.command(&built().probe);
    let command = command.arg("init").env("RRTO_CONNECT_TIMEOUT_MS", "100000").stdout(Stdio::null());
    let mut program = command.stderr(Stdio::null()).spawn().unwrap();
    // It is in cuInit. `timeout` passes the signal on, and kills what does not end at it.
    silent.recv(&mut [0; 1500]).unwrap();
    kill_process(Pid::from_child(&program), Signal::TERM).unwrap();
    let status = program.wait().unwrap();
    assert_eq!(status.signal(), Some(Signal::TERM.as_raw()), "{status}");
}

#[test]
fn strangers_are_refused() {
    let (server, others) = (Server::start(), certificates());
    let stranger = Client { certs: others.path().join("certs"), ..server.client() };
    let outcome = stranger.run(&built().probe, &["init"]);
    assert_eq!(outcome.stdout, NO_DEVICE, "{outcome:?}");
    assert!(single_line(&outcome.stderr).contains("certificate"), "{outcome:?}");
    assert_eq!(server.client().probe(&["work", "2"]), "sum 2\n");
}

#[test]
fn a_lost_server_is_a_sticky_error() {
    for mode in MODES {
        lose_the_server(mode);
    }
}

fn lose_the_server(mode: &'static str) {
    let mut server = Server::start();
    let mut command = server.client().mode(mode).command(&built().probe);
    let mut program = command.arg("loop").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(program.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "working\n", "{}", server.log());
    server.kill();
    let (mut rest, mut stderr) = (String::new(), String::new());
    stdout.read_to_string(&mut rest).unwrap();
    program.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(program.wait().unwrap().code(), Some(0), "{rest}{stderr}");
    let codes: Vec<&str> = rest.lines().filter_map(|line| line.split(' ').nth(1)).collect();
    assert_eq!(codes.len(), 3, "{rest}");
    assert!(codes[0] != "0" && codes.iter().all(|code| *code == codes[0]), "{rest}");
    single_line(&stderr);
}

#[test]
fn a_faulting_kernel_is_its_own_programs_trouble() {
    let server = Server::start();
    for (mode, what) in
        [("pipeline", "fault"), ("pipeline", "infer-fault"), ("replay", "fault"), ("replay", "infer-fault")]
    {
        let printed = server.client().mode(mode).probe(&[what]);
        assert_eq!(printed, "launch 0\ncuCtxSynchronize 700\ncuMemFree 700\n", "{mode}, {what}");
    }
    assert_eq!(server.client().probe(&["work", "2"]), "sum 2\n");
}

#[test]
fn an_unknown_instruction_is_named_at_load() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("strange.ptx");
    let ptx = ".version 7.0\n.target sm_75\n.address_size 64\n\
               .visible .entry strange_kernel() { frobnicate.u32 1; ret; }\n";
    fs::write(&path, ptx).unwrap();
    let outcome = server.client().run(&built().probe, &["load", path.to_str().unwrap()]);
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    // CUDA_ERROR_INVALID_PTX, and the context goes on working.
    assert_eq!(outcome.stdout, "cuModuleLoadData 218\ncuCtxSynchronize 0\n", "{outcome:?}");
    let said = outcome.stderr + &server.log();
    assert!(said.contains("frobnicate") && said.contains("strange_kernel"), "{said}");
}
