//! Processes and files of an experiment or a soak, and that nothing of them is left behind.
//!
//! Whatever ends it (its end, an error, Ctrl-C, SIGTERM), first every process ends and then the directory with all files is removed. A
//! signal is handled on a thread of its own, so no wait below may hold the lock.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tempfile::TempDir;

/// A server that takes longer to say that it listens does not start.
const START_LIMIT: Duration = Duration::from_secs(20);

/// Making certificates, compiling a program.
pub(crate) const TOOL_LIMIT: Duration = Duration::from_secs(60);

/// How often a process is asked whether it has ended.
const ASK_EVERY: Duration = Duration::from_millis(20);

/// How much of a failed process' log is shown, bytes.
const LOG_TAIL_BYTES: u64 = 2 << 10;

/// What an experiment needs beside this command.
const BINARIES: [&str; 3] = ["rrto", "rrto-gpud", "librrto_preload.so"];

/// The exit status after a signal is this and its number, as shells have it.
const SIGNAL_STATUS: i32 = 128;

#[derive(Debug)]
struct Kept {
    /// Each with a number; last started last.
    children: Vec<(u64, Child)>,
    started: u64,
    dir: Option<TempDir>,
}

impl Kept {
    fn end(&mut self, which: impl Fn(u64) -> bool) {
        for (number, child) in self.children.iter_mut().rev() {
            if which(*number) && matches!(child.try_wait(), Ok(None)) {
                // With all that it has started. What has ended by itself in the meantime need not be killed.
                let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
                let _ = child.wait();
            }
        }
        self.children.retain(|(number, _)| !which(*number));
    }

    /// Ends every process and removes the directory.
    fn clear(&mut self) {
        self.end(|_| true);
        self.dir = None;
    }
}

/// A directory, and all that runs. Dropping it ends and removes everything.
#[derive(Debug)]
pub(crate) struct Stage {
    kept: Arc<Mutex<Kept>>,
    dir: PathBuf,
    signals: signal_hook::iterator::Handle,
}

/// A process that runs until it is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    kept: Arc<Mutex<Kept>>,
    number: u64,
    log: PathBuf,
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stage {
    pub(crate) fn new() -> Result<Self> {
        let mut received = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot handle signals")?;
        let signals = received.handle();
        let dir = tempfile::Builder::new().prefix("rrto-netem-").tempdir();
        let dir = dir.context("cannot make a directory")?;
        let path = dir.path().to_owned();
        let kept = Arc::new(Mutex::new(Kept { children: Vec::new(), started: 0, dir: Some(dir) }));
        let ended = kept.clone();
        thread::spawn(move || {
            if let Some(signal) = received.forever().next() {
                lock(&ended).clear();
                std::process::exit(SIGNAL_STATUS + signal);
            }
        });
        Ok(Self { kept, dir: path, signals })
    }

    /// The path of a file in the directory.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Starts a process; its standard error goes to the file `name` with `.log` behind it.
    pub(crate) fn start(&self, name: &str, command: &mut Command) -> Result<(Running, ChildStdout)> {
        let log = self.file(&format!("{name}.log"));
        // A group of its own, so that it ends with all that it starts.
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(&log)?).process_group(0);
        let mut kept = lock(&self.kept);
        let mut child = command.spawn().with_context(|| format!("cannot start {}", command_name(command)))?;
        let stdout = child.stdout.take();
        let number = kept.started;
        kept.started += 1;
        kept.children.push((number, child));
        drop(kept);
        let running = Running { kept: self.kept.clone(), number, log };
        Ok((running, stdout.context("a process without standard output")?))
    }

    /// Starts a server and waits until one of its lines says where it listens: what `address` finds in it.
    pub(crate) fn start_server<T: Send + 'static>(
        &self,
        name: &str,
        command: &mut Command,
        address: fn(&str) -> Option<T>,
    ) -> Result<(Running, T)> {
        let (running, stdout) = self.start(name, command)?;
        let (said, says) = channel();
        thread::spawn(move || {
            // It goes on reading, so that a server that says more is not held up.
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // Nobody listens any more once the address is known.
                let _ = address(&line).map(|address| said.send(address));
            }
        });
        match says.recv_timeout(START_LIMIT) {
            Ok(address) => Ok((running, address)),
            Err(_) => bail!("{name} does not start{}", running.said()),
        }
    }

    /// Compiles a program of one C file in the directory.
    pub(crate) fn compile(&self, name: &str, source: &str) -> Result<PathBuf> {
        let (file, program) = (self.file(&format!("{name}.c")), self.file(name));
        fs::write(&file, source)?;
        let compiler = std::env::var_os("CC").filter(|cc| !cc.is_empty()).unwrap_or_else(|| "cc".into());
        let mut compile = Command::new(compiler);
        compile.arg("-O2").arg(&file).arg("-o").arg(&program).args(["-lm", "-ldl", "-lpthread"]);
        self.run("cc", &mut compile, TOOL_LIMIT)
            .with_context(|| format!("{name} needs a C compiler (CC)"))?;
        Ok(program)
    }

    /// Runs a command to its end, which is soon.
    pub(crate) fn run(&self, name: &str, command: &mut Command, limit: Duration) -> Result<()> {
        let (running, mut stdout) = self.start(name, command)?;
        // It says little: no pipe is filled by it.
        let status = running.wait(limit)?;
        let mut text = String::new();
        let _ = stdout.read_to_string(&mut text);
        ensure!(
            status.is_some_and(|status| status.success()),
            "{} fails{}",
            command_name(command),
            running.said()
        );
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Here and now: the thread that waits for signals keeps them, too, and the process may end before it has noticed.
        lock(&self.kept).clear();
        self.signals.close();
    }
}

impl Running {
    /// How it ended; `None` if it still runs after `limit`.
    pub(crate) fn wait(&self, limit: Duration) -> Result<Option<ExitStatus>> {
        let until = Instant::now() + limit;
        loop {
            let mut kept = lock(&self.kept);
            let child = kept.children.iter_mut().find(|(number, _)| *number == self.number);
            let (_, child) = child.context("the process is gone")?;
            if let Some(status) = child.try_wait()? {
                return Ok(Some(status));
            }
            drop(kept);
            if Instant::now() >= until {
                return Ok(None);
            }
            thread::sleep(ASK_EVERY);
        }
    }

    /// Its number, if it has not been waited for.
    pub(crate) fn pid(&self) -> Option<u32> {
        let kept = lock(&self.kept);
        kept.children.iter().find(|(number, _)| *number == self.number).map(|(_, child)| child.id())
    }

    /// Sends it a signal, unless it has ended.
    pub(crate) fn signal(&self, signal: Signal) {
        let mut kept = lock(&self.kept);
        let child = kept.children.iter_mut().find(|(number, _)| *number == self.number);
        if let Some((_, child)) = child
            && matches!(child.try_wait(), Ok(None))
        {
            // It has not been waited for, so the number is still its own.
            let _ = kill_process(Pid::from_child(child), signal);
        }
    }

    /// The file of what it writes to standard error.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// The end of what it wrote to standard error, as a part of a sentence.
    pub(crate) fn said(&self) -> String {
        let text = tail(&self.log).unwrap_or_default();
        if text.trim().is_empty() { String::new() } else { format!(": {}", text.trim()) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        lock(&self.kept).end(|number| number == self.number);
    }
}

/// The folder of RRTO's binaries, if all are there.
pub(crate) fn binaries(folder: &Path) -> Result<PathBuf> {
    let folder = fs::canonicalize(folder).with_context(|| format!("no folder {}", folder.display()))?;
    for name in BINARIES {
        ensure!(
            folder.join(name).exists(),
            "no {name} in {}: build it there (cargo build --release), or say where it is with --bin",
            folder.display()
        );
    }
    Ok(folder)
}

/// Where a line of rrto-gpud's says that it listens.
pub(crate) fn listening(line: &str) -> Option<SocketAddr> {
    let (_, address) = line.split_once("listening on ")?;
    address.split_whitespace().next()?.parse().ok()
}

fn command_name(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

fn tail(path: &Path) -> std::io::Result<String> {
    let length = fs::metadata(path)?.len();
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
