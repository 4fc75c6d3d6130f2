//! The `rrto` command: runs programs with their GPU on a server, and helps to set that up.
//!
//! ```text
//! run      environment + exec; what becomes of the program is no longer ours
//! certs    rrto-certs as a command
//! doctor   every step between this machine and the server's GPU, one line each
//! demo     server, link and program on this machine, measured
//! recording    (hidden) what is in a file that RRTO_RECORD made
//! kernels      (hidden) which parameter bytes a library's kernels never read
//! ```
//!
//! Each command is a room with its own arguments. `connection` (where the server is and as whom to speak to it),
//! `library` (the preload library) and `environment` (how the library is told) are shared; `elf` reads program
//! headers and knows nothing of RRTO. The command never calls CUDA, and does not load the library into itself.

#![forbid(unsafe_code)]

mod certs;
mod connection;
mod demo;
mod doctor;
mod elf;
mod environment;
mod kernels;
mod library;
mod links;
mod recording;
mod run;
mod table;

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::LazyLock;

use clap::{Parser, Subcommand};
use rrto_core::wire::PROTOCOL_VERSION;

/// Runs CUDA programs with their GPU on another machine.
///
/// The program is not changed or rebuilt: a preloaded library is its CUDA driver, and rrto-gpud on the server executes
/// its driver calls.
#[derive(Parser)]
#[command(name = "rrto", version = VERSION.as_str(), after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  rrto demo                                          See it work here, without a GPU or a network
  rrto certs certs --robot spot                      Make certificates for a server and the robot `spot`
  rrto doctor --server gpu.lan:7786                  Check everything between here and the server's GPU
  rrto run --server gpu.lan:7786 -- python3 run.py   Run a program with its GPU there

`rrto COMMAND --help` says more about each.";

#[derive(Subcommand)]
enum Command {
    Run(run::RunArgs),
    Certs(certs::CertsArgs),
    Doctor(doctor::DoctorArgs),
    Demo(demo::DemoArgs),
    /// Of use to those who work on RRTO itself.
    #[command(hide = true)]
    Recording(recording::RecordingArgs),
    /// Of use to those who work on RRTO itself.
    #[command(hide = true)]
    Kernels(kernels::KernelsArgs),
}

/// The package's version, and which servers it can talk to.
static VERSION: LazyLock<String> =
    LazyLock::new(|| format!("{} (protocol {PROTOCOL_VERSION})", env!("CARGO_PKG_VERSION")));

fn main() -> ExitCode {
    let (result, failure) = match Cli::parse().command {
        Command::Run(arguments) => {
            // Comes back only if the program could not be started.
            let error = run::run(&arguments);
            let status = error.status();
            (Err(error.into()), status)
        }
        Command::Certs(arguments) => (certs::run(&arguments), ExitCode::FAILURE),
        Command::Doctor(arguments) => match doctor::run(&arguments) {
            Ok(true) => (Ok(()), ExitCode::FAILURE),
            // It has said what is wrong.
            Ok(false) => return ExitCode::FAILURE,
            Err(error) => (Err(error), ExitCode::FAILURE),
        },
        Command::Demo(arguments) => (demo::run(&arguments), ExitCode::FAILURE),
        Command::Recording(arguments) => (recording::run(&arguments), ExitCode::FAILURE),
        Command::Kernels(arguments) => (kernels::run(&arguments), ExitCode::FAILURE),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell if stderr is gone.
            let _ = writeln!(io::stderr(), "rrto: {error:#}");
            failure
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Command, clap::Error> {
        Cli::try_parse_from(line.split_whitespace()).map(|cli| cli.command)
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_version_names_the_protocol() {
        assert!(Cli::command().render_version().contains(&format!("protocol {PROTOCOL_VERSION}")));
    }

    #[test]
    fn every_example_parses() {
        let lines = EXAMPLES.lines().filter_map(|line| line.trim().split("   ").next());
        let examples: Vec<_> = lines.filter(|line| line.starts_with("rrto ")).collect();
        assert_eq!(examples.len(), 4);
        for example in examples {
            assert!(parse(example).is_ok(), "{example}");
        }
    }

    #[test]
    fn what_follows_the_dashes_is_the_programs() {
        let Ok(Command::Run(run)) = parse("rrto run --server gpu:1 -- prog --server x -- y") else {
            panic!("not parsed");
        };
        assert_eq!(run.command, ["prog", "--server", "x", "--", "y"]);
    }

    #[test]
    fn a_report_is_printed_or_written() {
        let report = |line| match parse(line) {
            Ok(Command::Run(run)) => (run.report, run.command),
            _ => panic!("not parsed: {line}"),
        };
        let program = vec![std::ffi::OsString::from("prog")];
        let printed = report("rrto run --server gpu:1 --report prog");
        assert_eq!(printed, (Some("-".into()), program.clone()));
        let written = report("rrto run --server gpu:1 --report=r.json prog");
        assert_eq!(written, (Some("r.json".into()), program.clone()));
        assert_eq!(report("rrto run --server gpu:1 prog"), (None, program));
    }

    #[test]
    fn mistakes_are_refused() {
        for line in [
            "rrto",
            "rrto run --server gpu:1",
            "rrto run --server gpu -- prog",
            "rrto run --server gpu:0 -- prog",
            "rrto run --server ::1:7786 -- prog",
            "rrto run --server gpu:1 --mode fast -- prog",
            "rrto run --server gpu:1 --log loud -- prog",
            "rrto certs",
            "rrto certs dir --add-robot a --robot b",
            "rrto demo --inferences 0",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
