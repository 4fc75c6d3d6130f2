//! Programs that were not written for RRTO: whatever they do to their own process, the library in it neither ends it nor keeps it,
//! says nothing but its own lines, and writes into no file but its own.

use std::fs;
use std::io;
use std::process::{Command, Stdio};

use crate::harness::{Outcome, Server, built};

/// Enough that what happens in one of ten ends is seen.
const ENDS: usize = 20;

fn stranger(server: &Server, arguments: &[&str]) -> Outcome {
    server.client().run(&built().stranger, arguments)
}

/// It has ended by itself, with what it wanted, and nobody has said anything.
fn assert_silent(outcome: &Outcome) {
    assert_eq!((outcome.status, &*outcome.stdout, &*outcome.stderr), (Some(0), "", ""), "{outcome:?}");
}

/// What has ended as usual is no news for the server either.
fn assert_no_refusal(server: &Server) {
    let log = server.log();
    assert!(!log.contains("refused"), "{log}");
}

#[test]
fn closed_descriptors_are_the_programs_and_so_are_their_numbers() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    for when in ["close-after", "close-before"] {
        assert_silent(&stranger(&server, &[when, file.to_str().unwrap()]));
    }
}

#[test]
fn a_standard_error_that_nobody_reads_ends_nothing() {
    let server = Server::start();
    let said = stranger(&server, &["unsupported"]);
    assert!(said.status == Some(0) && said.stderr.contains("cuGraphCreate"), "{said:?}");
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let mut command = server.client().command(&built().stranger);
    command.arg("unsupported").env("RRTO_REPORT", "-").stderr(writer);
    assert_eq!(command.status().unwrap().code(), Some(0));
}

/// A report, a trace and so on, each in a file of this name.
fn with_files<'a>(command: &'a mut Command, file: &str) -> &'a mut Command {
    for name in ["RRTO_LOG_FILE", "RRTO_STATS", "RRTO_REPORT", "RRTO_TRACE", "RRTO_RECORD"] {
        command.env(name, file);
    }
    command.env("RRTO_LOG", "debug")
}

#[test]
fn files_that_cannot_be_written_end_nothing() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for (what, file) in [
        ("unsupported", "/dev/full"),
        ("unsupported", "/no/such/folder/file"),
        ("unsupported", pipe.to_str().unwrap()),
        ("no-files", folder.path().join("file").to_str().unwrap()),
    ] {
        let mut command = server.client().command(&built().stranger);
        let output = with_files(command.arg(what), file).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{what} {file}: {output:?}");
    }
}

#[test]
fn a_program_may_end_while_its_threads_are_in_calls() {
    let server = Server::start();
    for _ in 0..ENDS {
        assert_silent(&stranger(&server, &["busy"]));
    }
    assert_no_refusal(&server);
}

#[test]
fn however_a_program_ends_nobody_says_that_something_is_lost() {
    let server = Server::start();
    for how in ["return", "exit", "_exit", "quick_exit", "exec", "fork"] {
        for _ in 0..ENDS / 4 {
            assert_silent(&stranger(&server, &["end", how]));
        }
    }
    for how in ["kill", "abort"] {
        let outcome = stranger(&server, &["end", how]);
        assert_eq!((&*outcome.stdout, &*outcome.stderr), ("", ""), "{outcome:?}");
    }
    assert_silent(&stranger(&server, &["ask-late"]));
    assert_no_refusal(&server);
}

#[test]
fn a_fork_at_any_time_harms_nobody() {
    let server = Server::start();
    assert_silent(&stranger(&server, &["forks", "100"]));
    assert_silent(&stranger(&server, &["fork-while-starting"]));
}

#[test]
fn signals_at_any_time_harm_nobody() {
    let server = Server::start();
    let outcome = stranger(&server, &["storm"]);
    assert_eq!((outcome.status, &*outcome.stdout), (Some(0), ""), "{outcome:?}");
    // A call that interrupts a call is refused, and that is said once.
    assert!(outcome.stderr.lines().count() <= 1, "{outcome:?}");
    for after_us in ["1000", "3100", "10300", "20700"] {
        for _ in 0..ENDS / 4 {
            let outcome = stranger(&server, &["leave-from-handler", after_us]);
            assert_eq!((outcome.status, &*outcome.stderr), (Some(0), ""), "{outcome:?}");
        }
    }
}

#[test]
fn where_the_system_has_nothing_left_there_is_an_error_and_no_death() {
    let server = Server::start();
    for what in ["no-descriptors", "no-threads"] {
        let outcome = stranger(&server, &[what]);
        assert_eq!((outcome.status, &*outcome.stdout), (Some(0), ""), "{what}: {outcome:?}");
        assert!(outcome.stderr.lines().all(|line| line.starts_with("rrto: ")), "{what}: {outcome:?}");
    }
}

#[test]
fn the_driver_is_found_by_each_of_its_names_and_is_one() {
    let server = Server::start();
    assert_silent(&stranger(&server, &["other-name"]));
    let mut command = server.client().command("sh".as_ref());
    let look = r#"for path in "$LD_LIBRARY_PATH" "$LIBRARY_PATH" "$TRITON_LIBCUDA_PATH"; do
        test -e "${path%%:*}/libcuda.so.1" && test -e "${path%%:*}/libcuda.so" || exit 1; done"#;
    let status = command.args(["-c", look]).stderr(Stdio::inherit()).status().unwrap();
    assert!(status.success(), "{status}");
}

#[test]
fn a_log_file_is_written_although_the_program_closes_what_it_does_not_know() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    let (file, log) = (folder.path().join("file"), folder.path().join("log"));
    let mut command = server.client().command(&built().stranger);
    command.args(["close-before", file.to_str().unwrap()]).env("RRTO_LOG_FILE", &log);
    assert_eq!(command.status().unwrap().code(), Some(0));
    assert!(fs::read_to_string(log).unwrap().contains("cuGraphCreate"));
}
