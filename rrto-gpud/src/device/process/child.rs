//! A worker's process: its start, its end, its remains.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rrto_core::wire::DeviceInfo;

use super::channel::Channel;
use super::message::{ToServer, ToWorker};
use super::staging::Staging;
use super::{Processes, WorkerCommand};
use crate::device::{DeviceError, Limits};

/// How long a worker may take to open the device, and then a context. A driver that nothing keeps loaded takes some
/// ten seconds to start on a machine with several GPUs.
const OPEN_LIMIT: Duration = Duration::from_secs(60);

/// How long a worker may take to free what its session held; then it is killed, which frees it too. A kernel that never
/// ends must not keep a session's place.
const END_LIMIT: Duration = Duration::from_secs(5);

/// How long a killed process may take to be gone. It takes longer only if the driver holds it.
const KILL_LIMIT: Duration = Duration::from_secs(3);

/// Environment variables that mean something to a driver, to the system's loader or to Rust: those whose names begin so, and
/// those that are called so. A worker is not told of others: a server's environment may hold secrets.
const FAMILIES: &[&str] = &["CUDA_", "__NV_", "__GL_", "LD_", "GLIBC_", "MALLOC_", "RUST_", "LC_"];
const VARIABLES: &[&str] = &["HOME", "PATH", "TMPDIR", "USER", "LANG", "TZ", "LLVM_PROFILE_FILE"];

/// How often to look whether a process has ended; a context takes some milliseconds to destroy.
const LOOK: Duration = Duration::from_millis(1);

/// A live worker. Dropping it ends the process, and waits until it is gone.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) channel: Channel,
    pub(super) staging: Arc<Staging>,
    /// There until the process is gone.
    child: Option<Child>,
    id: u32,
    processes: Processes,
}

impl Worker {
    /// Starts a worker and waits until it has opened the device.
    ///
    /// # Errors
    /// The process cannot be started, or the device not be opened.
    pub(super) fn start(
        command: &WorkerCommand,
        processes: &Processes,
    ) -> Result<(Self, DeviceInfo), DeviceError> {
        let failed = |error| DeviceError(format!("cannot start {}: {error}", command.program.display()));
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let staging = Staging::share(&ours).map_err(failed)?;
        let channel = Channel::new(ours).map_err(failed)?;
        let child = Command::new(&command.program)
            .args(&command.arguments)
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| is_for_workers(name)))
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            // The server's own standard output is for its one line.
            .stdout(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let id = child.id();
        processes.lock().insert(id);
        let staging = Arc::new(staging);
        let mut worker = Worker { channel, staging, child: Some(child), id, processes: processes.clone() };
        match worker.converse()? {
            ToServer::Ready(info) => Ok((worker, info)),
            other => Err(unexpected(&other)),
        }
    }

    /// Has the session's context opened. Gives what the worker cannot be confined by.
    ///
    /// # Errors
    /// The device has no room for it, or is lost.
    pub(super) fn open(&mut self, limits: Limits) -> Result<Vec<String>, DeviceError> {
        let sent = self.channel.send(&ToWorker::Open(limits), Bytes::new());
        sent.map_err(|_| DeviceError("limits are too long to be told".to_owned()))?;
        match self.converse()? {
            ToServer::Opened { lacking } => Ok(lacking),
            other => Err(unexpected(&other)),
        }
    }

    fn converse(&mut self) -> Result<ToServer, DeviceError> {
        match self.channel.converse(Some(OPEN_LIMIT)) {
            Ok((ToServer::Refused(reason), _)) => Err(DeviceError(reason)),
            Ok((answer, _)) => Ok(answer),
            Err(error) => {
                let status = self.end();
                Err(DeviceError(format!("worker process {}: {error}; {status}", self.id)))
            }
        }
    }

    /// The process id.
    pub(super) fn id(&self) -> u32 {
        self.id
    }

    /// Ends the process if it has not ended by itself, waits until it is gone, and tells how it ended.
    pub(super) fn end(&mut self) -> String {
        self.channel.close();
        let Some(mut child) = self.child.take() else { return "it is gone".to_owned() };
        let ended = match wait_within(&mut child, END_LIMIT) {
            Ok(Some(status)) => status.to_string(),
            Ok(None) => {
                tracing::warn!(worker = self.id, "a worker does not end by itself and is killed");
                let killed = child.kill().and_then(|()| wait_within(&mut child, KILL_LIMIT));
                match killed {
                    Ok(Some(status)) => status.to_string(),
                    Ok(None) => self.leave(child),
                    Err(error) => format!("it cannot be killed: {error}"),
                }
            }
            Err(error) => format!("it cannot be waited for: {error}"),
        };
        self.processes.lock().remove(&self.id);
        ended
    }

    /// Leaves a process that the driver holds to a thread that waits for it, so that nothing of it remains.
    fn leave(&self, mut child: Child) -> String {
        tracing::error!(worker = self.id, "a killed worker is not gone: the device may not work any more");
        let waiting = std::thread::Builder::new().name("rrto-reaper".to_owned()).spawn(move || child.wait());
        match waiting {
            Ok(_) => "killed, and not gone yet".to_owned(),
            Err(error) => format!("killed, and not gone yet, and there is no thread to wait for it: {error}"),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let status = self.end();
        tracing::debug!(worker = self.id, status, "worker ended");
    }
}

fn is_for_workers(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    VARIABLES.iter().any(|known| name == known.as_bytes())
        || FAMILIES.iter().any(|family| name.starts_with(family.as_bytes()))
}

fn unexpected(answer: &ToServer) -> DeviceError {
    DeviceError(format!("a worker answered {answer:?} where it should not"))
}

/// Waits until the process is gone, at most `limit`.
fn wait_within(child: &mut Child, limit: Duration) -> io::Result<Option<std::process::ExitStatus>> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if started.elapsed() >= limit {
            return Ok(None);
        }
        std::thread::sleep(LOOK);
    }
}
