//! The demo's processes and files, and that nothing of them is left behind.
//!
//! Whatever ends the demo (its end, an error, Ctrl-C, SIGTERM), first every process ends and then the directory with all
//! files is removed. A signal is handled on a thread of its own, so no wait below may hold the lock.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rrto_certs::SERVER_NAME;
use rrto_core::wire::Mode;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tempfile::TempDir;

use crate::connection::Robot;
use crate::environment::Environment;
use crate::library::Library;

/// The program and its kernels are part of this command, so that the demo runs from anywhere.
pub(super) const SOURCE: &str = include_str!("../../../../demo/cnn.c");
const KERNELS: &str = include_str!("../../../../demo/cnn.ptx");

/// The robot that the demo plays.
const ROBOT: &str = "demo";

/// A server or link that takes longer to say that it listens does not start.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// A run that takes longer than this, and this for each inference, hangs: ten times what a busy machine needs.
const RUN_TIMEOUT: Duration = Duration::from_secs(60);
const INFERENCE_TIMEOUT: Duration = Duration::from_secs(2);
/// How much of a failed process' log is shown, bytes.
const LOG_TAIL_BYTES: usize = 4 << 10;
/// The exit status after a signal is this and its number, as shells have it.
const SIGNAL_STATUS: i32 = 128;

/// What has to be gone at the end.
struct Stage {
    children: Vec<Child>,
    dir: Option<TempDir>,
}

impl Stage {
    /// Ends every process and removes the directory.
    fn clear(&mut self) {
        // Last started first: programs before the link, the link before the server.
        while let Some(mut child) = self.children.pop() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
        self.dir = None;
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Processes and files of one demo.
pub(super) struct Scene {
    stage: Arc<Mutex<Stage>>,
    dir: PathBuf,
    robot: Robot,
    signals: signal_hook::iterator::Handle,
}

/// The compiled program.
pub(super) struct Program {
    path: PathBuf,
    kernels: PathBuf,
}

impl Scene {
    /// A directory with certificates, and the promise to clean up.
    pub(super) fn open() -> Result<Self> {
        let mut received = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot handle signals")?;
        let signals = received.handle();
        let dir =
            tempfile::Builder::new().prefix("rrto-demo-").tempdir().context("cannot make a directory")?;
        let path = dir.path().to_owned();
        let stage = Arc::new(Mutex::new(Stage { children: Vec::new(), dir: Some(dir) }));
        let cleared = stage.clone();
        thread::spawn(move || {
            if let Some(signal) = received.forever().next() {
                lock(&cleared).clear();
                std::process::exit(SIGNAL_STATUS + signal);
            }
        });
        let certs = path.join("certs");
        rrto_certs::create_all(&certs, &[SERVER_NAME], &[ROBOT])?;
        let robot = Robot::find(certs, Some(ROBOT))?;
        Ok(Self { stage, dir: path, robot, signals })
    }

    /// The path of a file in the directory.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Compiles the program with the C compiler of this machine (`CC`, or `cc`).
    pub(super) fn compile(&self) -> Result<Program> {
        let (source, path, kernels) = (self.file("cnn.c"), self.file("cnn"), self.file("cnn.ptx"));
        fs::write(&source, SOURCE)?;
        fs::write(&kernels, KERNELS)?;
        let compiler = std::env::var_os("CC").filter(|cc| !cc.is_empty()).unwrap_or_else(|| "cc".into());
        let output = Command::new(&compiler)
            .args([
                OsStr::new("-O2"),
                source.as_ref(),
                "-o".as_ref(),
                path.as_ref(),
                "-lm".as_ref(),
                "-ldl".as_ref(),
            ])
            .output()
            .with_context(|| {
                format!(
                    "cannot start the C compiler {}: install one (gcc), or name it in CC",
                    compiler.display()
                )
            })?;
        ensure!(
            output.status.success(),
            "the C compiler {} failed:\n{}",
            compiler.display(),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(Program { path, kernels })
    }

    /// Starts the server with the software GPU; gives where it listens.
    pub(super) fn start_server(&self, gpud: &Path) -> Result<String> {
        let mut command = Command::new(gpud);
        command.args(["--device", "cpu", "--listen", "127.0.0.1:0", "--certs"]).arg(&self.robot.dir);
        self.start("rrto-gpud", command, |line| {
            let rest = line.strip_prefix("rrto-gpud listening on ")?;
            rest.split_whitespace().next().map(String::from)
        })
    }

    /// Starts a link to `server`; gives where it listens.
    pub(super) fn start_link(&self, netem: &Path, server: &str, rtt_ms: u32) -> Result<String> {
        let mut command = Command::new(netem);
        command.args(["link", "--listen", "127.0.0.1:0", "--to", server, "--rtt-ms", &rtt_ms.to_string()]);
        self.start("rrto-netem", command, |line| {
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            line["listen"].as_str().map(String::from)
        })
    }

    /// Starts a process that goes on; `address` finds where it listens in what it prints.
    fn start(&self, name: &str, command: Command, address: fn(&str) -> Option<String>) -> Result<String> {
        let stdout = self.spawn(name, command)?;
        let (found, awaited) = channel();
        thread::spawn(move || {
            // Reads on after that, so that the process never writes to a closed pipe.
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some(address) = address(&line) {
                    let _ = found.send(address);
                }
            }
        });
        awaited.recv_timeout(START_TIMEOUT).map_err(|_| self.failure(name, "did not start"))
    }

    /// Runs the program to its end; gives what it printed.
    pub(super) fn run(
        &self,
        library: &Library,
        program: &Program,
        server: &str,
        mode: Mode,
        inferences: u32,
        report: &Path,
    ) -> Result<String> {
        let environment = Environment {
            library: &library.path,
            links: None,
            server,
            robot: &self.robot,
            mode,
            log: None,
            stats: None,
            report: Some(report),
            trace: None,
        };
        let mut command = Command::new(&program.path);
        command.arg(&program.kernels).arg(inferences.to_string());
        command.envs(environment.variables(std::env::var_os)).env_remove("RRTO_LOG_FILE");
        let mut stdout = self.spawn("cnn", command)?;
        let (done, awaited) = channel();
        thread::spawn(move || {
            let mut printed = String::new();
            let _ = done.send(stdout.read_to_string(&mut printed).map(|_| printed));
        });
        let limit = RUN_TIMEOUT + INFERENCE_TIMEOUT * inferences;
        let Ok(printed) = awaited.recv_timeout(limit) else { bail!(self.failure("cnn", "hangs")) };
        let status = self.wait_for_last()?;
        if !status.success() {
            bail!(self.failure("cnn", &format!("ended with {status}")));
        }
        Ok(printed?)
    }

    /// Starts a process whose standard error goes to a log, and which ends with the demo.
    fn spawn(&self, name: &str, mut command: Command) -> Result<ChildStdout> {
        let log = File::create(self.log(name))?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        // Held from before the start: a signal's thread either sees the process or keeps it from starting.
        let mut stage = lock(&self.stage);
        let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let stdout = child.stdout.take();
        stage.children.push(child);
        stdout.with_context(|| format!("{name} has no output"))
    }

    /// How the last started process ended; it has closed its output, so this is soon.
    fn wait_for_last(&self) -> Result<ExitStatus> {
        let mut stage = lock(&self.stage);
        let mut child = stage.children.pop().context("no process was started")?;
        Ok(child.wait()?)
    }

    fn log(&self, name: &str) -> PathBuf {
        self.file(&format!("{name}.log"))
    }

    /// An error with the end of the process' log, and the server's.
    fn failure(&self, name: &str, what: &str) -> anyhow::Error {
        let mut text = format!("{name} {what}");
        let mut names = vec![name, "rrto-gpud"];
        names.dedup();
        for name in names {
            let log = fs::read(self.log(name)).unwrap_or_default();
            let tail = log.get(log.len().saturating_sub(LOG_TAIL_BYTES)..).unwrap_or_default();
            if !tail.is_empty() {
                text += &format!("\n--- {name} said:\n{}", String::from_utf8_lossy(tail).trim_end());
            }
        }
        anyhow::Error::msg(text)
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        lock(&self.stage).clear();
        self.signals.close();
    }
}

/// A panic elsewhere must not keep us from cleaning up.
fn lock(stage: &Mutex<Stage>) -> MutexGuard<'_, Stage> {
    stage.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn nothing_is_left_behind() {
        let scene = Scene::open().unwrap();
        let dir = scene.dir.clone();
        let pid = scene
            .start("child", shell("echo address $$; exec sleep 600"), |line| {
                line.strip_prefix("address ").map(String::from)
            })
            .unwrap();
        assert!(dir.join("certs/server.pem").is_file());
        assert!(Path::new("/proc").join(&pid).exists());
        drop(scene);
        assert!(!dir.exists());
        assert!(!Path::new("/proc").join(&pid).exists());
    }

    #[test]
    fn what_does_not_start_is_shown_with_its_log() {
        let scene = Scene::open().unwrap();
        let error =
            scene.start("child", shell("echo no memory >&2; exit 3"), |_| None).unwrap_err().to_string();
        assert!(error.contains("child did not start") && error.contains("no memory"), "{error}");
    }

    #[test]
    fn the_program_compiles() {
        let scene = Scene::open().unwrap();
        let program = scene.compile().unwrap();
        let usage = Command::new(&program.path).output().unwrap();
        assert!(String::from_utf8_lossy(&usage.stderr).starts_with("usage: cnn"));
    }
}
