//! What the tests share: the binaries built, a server on loopback, a program that runs with its GPU there.

use std::env;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

/// A program that takes longer hangs: each does seconds of work, in a debug build on a busy machine.
const LIMIT_S: &str = "180";

/// Every mode. What a program gets is the same in all of them.
pub(crate) const MODES: [&str; 3] = ["percall", "pipeline", "replay"];

/// What `timeout` exits with when the limit was reached.
const TIMED_OUT: i32 = 124;

/// Where the built binaries and C programs are.
pub(crate) struct Built {
    /// The server.
    pub(crate) gpud: PathBuf,
    /// The `rrto` command; its preload library lies beside it.
    pub(crate) rrto: PathBuf,
    /// The demo's network as a program.
    pub(crate) demo: PathBuf,
    /// `probe.c` as a program.
    pub(crate) probe: PathBuf,
    /// `stranger.c` as a program.
    pub(crate) stranger: PathBuf,
    _programs: TempDir,
}

/// The repository's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Builds everything once a test process, in the profile and target folder that this test itself was built in.
pub(crate) fn built() -> &'static Built {
    static BUILT: OnceLock<Built> = OnceLock::new();
    BUILT.get_or_init(|| {
        // target/PROFILE/deps/e2e-HASH
        let profile_folder = env::current_exe().unwrap().ancestors().nth(2).unwrap().to_path_buf();
        let profile = match profile_folder.file_name().unwrap().to_str().unwrap() {
            "debug" => "dev",
            other => other,
        };
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(root()).args(["build", "--quiet", "--profile", profile, "--target-dir"]);
        cargo.arg(profile_folder.parent().unwrap());
        succeed(cargo.args(["--package", "rrto-gpud", "--package", "rrto-preload"]));
        let programs = tempfile::tempdir().unwrap();
        Built {
            gpud: profile_folder.join("rrto-gpud"),
            rrto: profile_folder.join("rrto"),
            demo: compile("rrto-preload/demo/cnn.c", programs.path().join("cnn")),
            probe: compile("netem/tests/e2e/probe.c", programs.path().join("probe")),
            stranger: compile("netem/tests/e2e/stranger.c", programs.path().join("stranger")),
            _programs: programs,
        }
    })
}

fn compile(source: &str, program: PathBuf) -> PathBuf {
    let compiler = env::var_os("CC").unwrap_or_else(|| "cc".into());
    let mut cc = Command::new(compiler);
    // What a program defines, its libraries use too.
    cc.args(["-O2", "-rdynamic"]).arg(root().join(source)).arg("-o").arg(&program);
    succeed(cc.args(["-lm", "-ldl", "-lpthread"]));
    program
}

fn succeed(command: &mut Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}

/// A folder of fresh certificates.
pub(crate) fn certificates() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    succeed(Command::new(&built().rrto).arg("certs").arg(folder.path().join("certs")).stdout(Stdio::null()));
    folder
}

/// A secret for a room of a relay beside these certificates.
pub(crate) fn add_room(certs: &Path, room: &str) {
    succeed(
        Command::new(&built().rrto).arg("certs").arg(certs).args(["--add-room", room]).stdout(Stdio::null()),
    );
}

/// A process of `rrto-gpud` on loopback; it ends when dropped.
pub(crate) struct Daemon {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    log: PathBuf,
}

impl Daemon {
    /// Starts one, which appends to `log`, and waits until it listens.
    pub(crate) fn start(command: &mut Command, log: PathBuf) -> Self {
        let stderr = File::options().create(true).append(true).open(&log).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.split_once(" listening on ")?.1.split_whitespace().next()?.parse().ok());
        let said = || fs::read_to_string(&log).unwrap_or_default();
        let address = address.unwrap_or_else(|| panic!("{command:?} did not start:\n{}", said()));
        Self { child, address, log }
    }

    /// Ends it without any warning.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// `rrto-gpud --device cpu` on a free port.
pub(crate) struct Server {
    daemon: Daemon,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    folder: TempDir,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_with(certificates(), &[])
    }

    /// With these certificates, and more options.
    pub(crate) fn start_with(folder: TempDir, options: &[&str]) -> Self {
        let mut command = Command::new(&built().gpud);
        command.args(["--device", "cpu", "--listen", "127.0.0.1:0", "--certs"]);
        command.arg(folder.path().join("certs")).args(options);
        let daemon = Daemon::start(&mut command, folder.path().join("log"));
        Self { address: daemon.address, daemon, folder }
    }

    /// The certificates that it takes.
    pub(crate) fn certs(&self) -> PathBuf {
        self.folder.path().join("certs")
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.daemon.log).unwrap_or_default()
    }

    /// Ends it without any warning.
    pub(crate) fn kill(&mut self) {
        self.daemon.kill();
    }

    /// A client of this server.
    pub(crate) fn client(&self) -> Client {
        Client { server: self.address.to_string(), certs: self.certs(), mode: "pipeline" }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have been killed by the test.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How programs are run with their GPU on a server.
#[derive(Clone)]
pub(crate) struct Client {
    /// Where the server, or a link to it, listens; or a relay's address.
    pub(crate) server: String,
    /// Its certificates.
    pub(crate) certs: PathBuf,
    /// `--mode`.
    pub(crate) mode: &'static str,
}

/// What a program left behind.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Client {
    /// The command that runs `program`, ended if it hangs.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", LIMIT_S]).arg(&built().rrto);
        command.arg("run").arg("--server").arg(&self.server).arg("--certs").arg(&self.certs);
        command.args(["--mode", self.mode, "--"]).arg(program).stdin(Stdio::null());
        command
    }

    /// The same server in another mode.
    pub(crate) fn mode(self, mode: &'static str) -> Self {
        Client { mode, ..self }
    }

    /// Runs `program` to its end, which must come by itself.
    pub(crate) fn run(&self, program: &Path, arguments: &[&str]) -> Outcome {
        Self::finish(self.command(program).args(arguments))
    }

    fn finish(command: &mut Command) -> Outcome {
        let output = command.output().unwrap();
        let outcome = Outcome {
            status: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        };
        assert_ne!(outcome.status, Some(TIMED_OUT), "{command:?} hangs: {outcome:?}");
        outcome
    }

    /// Runs `probe.c` and returns what it printed; it must have done what it wanted.
    pub(crate) fn probe(&self, arguments: &[&str]) -> String {
        let outcome = self.run(&built().probe, arguments);
        assert_eq!(outcome.status, Some(0), "probe {arguments:?}: {outcome:?}");
        outcome.stdout
    }

    /// Runs `probe.c`, which must do what it wanted, and returns what its session carried.
    pub(crate) fn statistics(&self, arguments: &[&str]) -> serde_json::Value {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("statistics.json");
        let outcome = Self::finish(self.command(&built().probe).args(arguments).env("RRTO_STATS", &file));
        assert_eq!(outcome.status, Some(0), "probe {arguments:?}: {outcome:?}");
        serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
    }

    /// Runs the demo and returns the hash of its outputs; it must have been right.
    pub(crate) fn demo(&self, inferences: &str) -> String {
        let ptx = root().join("rrto-preload/demo/cnn.ptx");
        let outcome = self.run(&built().demo, &[ptx.to_str().unwrap(), inferences]);
        assert_eq!(outcome.status, Some(0), "{outcome:?}");
        let report: serde_json::Value =
            serde_json::from_str(outcome.stdout.lines().next_back().unwrap()).unwrap();
        assert_eq!(report["wrong"], 0, "{report}");
        report["output_hash"].as_str().unwrap().to_owned()
    }
}
