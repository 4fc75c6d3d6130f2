//! The server, and what can be seen of it from outside.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use serde::Serialize;

use crate::stage::{self, Running, Stage};

/// Sessions at a time. Those of `rogue::many_sessions` are no more than half.
const MAX_SESSIONS: &str = "32";

/// How long a lost connection counts as silent, and a lost program is waited for, seconds.
const IDLE_S: &str = "4";
const GRACE_S: &str = "5";

/// How long the server may take to end.
const END_LIMIT: Duration = Duration::from_secs(30);

/// How long a server that ends at a signal may take to do so.
const SIGNAL_LIMIT: Duration = Duration::from_secs(1);

/// How long it may take to say how it is.
const METRICS_LIMIT: Duration = Duration::from_secs(20);

/// The most of its log that is read.
const MOST_LOG_BYTES: u64 = 256 << 20;

/// The server's process.
pub(super) struct Server {
    running: Running,
    address: SocketAddr,
    metrics: SocketAddr,
    pid: u32,
}

/// What the system says of a server.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Vitals {
    /// Resident memory of the server.
    pub(super) rss_kib: u64,
    /// Resident memory of its processes, where they share memory counted for each.
    pub(super) processes_rss_kib: u64,
    /// Open descriptors.
    pub(super) descriptors: usize,
    /// Threads.
    pub(super) threads: usize,
    /// Processes that it has started and that are there.
    pub(super) processes: usize,
}

impl Vitals {
    /// What there is more of than at first, as a part of a sentence.
    pub(super) fn beyond(&self, base: Vitals) -> String {
        let counts = [
            ("descriptors", self.descriptors, base.descriptors),
            ("threads", self.threads, base.threads),
            ("processes", self.processes, base.processes),
        ];
        let more = counts.iter().filter(|(_, now, first)| now > first);
        more.map(|(what, now, first)| format!(", {now} {what} (at first {first})")).collect()
    }

    /// Whether neither has more of anything that is counted.
    pub(super) fn has_as_many(&self, as_there: Vitals) -> bool {
        self.beyond(as_there).is_empty() && as_there.beyond(*self).is_empty()
    }
}

impl Server {
    pub(super) fn start(stage: &Stage, bin: &Path, name: &str) -> Result<Self> {
        // A port that was free a moment ago.
        let metrics = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = Command::new(bin.join("rrto-gpud"));
        command.args(["--device", "cpu", "--listen", "127.0.0.1:0", "--certs"]).arg(stage.file("certs"));
        command.args(["--metrics", &metrics.to_string(), "--max-sessions", MAX_SESSIONS]);
        command.args(["--session-memory", "256MiB", "--session-idle", IDLE_S, "--grace", GRACE_S]);
        let (running, address) = stage.start_server(name, &mut command, stage::listening)?;
        let pid = running.pid().context("the server is gone")?;
        Ok(Server { running, address, metrics, pid })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Fails if it has ended.
    pub(super) fn look(&self) -> Result<()> {
        match self.running.wait(Duration::ZERO)? {
            None => Ok(()),
            Some(status) => bail!("the server has ended with {status}{}", self.running.said()),
        }
    }

    /// Tells it to read its certificates again. It goes on.
    pub(super) fn reload(&self) -> Result<()> {
        self.running.signal(Signal::HUP);
        thread::sleep(SIGNAL_LIMIT);
        self.look()
    }

    /// Tells it to end, which it has to do in an orderly way.
    pub(super) fn end(&self) -> Result<()> {
        self.look()?;
        self.running.signal(Signal::TERM);
        match self.running.wait(END_LIMIT)? {
            Some(status) if status.success() => Ok(()),
            Some(status) => bail!("told to end, the server ends with {status}{}", self.running.said()),
            None => bail!("told to end, the server still runs after {} s", END_LIMIT.as_secs()),
        }
    }

    /// How many sessions it has; fails if one has ended by a bug.
    pub(super) fn sessions(&self) -> Result<f64> {
        let text = self.metrics_text().context("the server does not say how it is")?;
        let panics = metric(&text, "rrto_session_panics_total").unwrap_or(0.0);
        ensure!(panics == 0.0, "{panics} sessions have panicked");
        metric(&text, "rrto_sessions").context("the server has no metric rrto_sessions")
    }

    /// What it says to Prometheus (HTTP/1.0, so that the end is the connection's).
    fn metrics_text(&self) -> Result<String> {
        let mut stream = TcpStream::connect_timeout(&self.metrics, METRICS_LIMIT)?;
        stream.set_read_timeout(Some(METRICS_LIMIT))?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut text = String::new();
        stream.take(1 << 20).read_to_string(&mut text)?;
        Ok(text)
    }

    /// What the system says of it.
    pub(super) fn vitals(&self) -> Result<Vitals> {
        let entries = |what| Ok::<_, std::io::Error>(fs::read_dir(self.proc(what))?.count());
        let children = children(self.pid);
        Ok(Vitals {
            rss_kib: rss_kib(self.pid).context("the server is gone")?,
            processes_rss_kib: children.iter().filter_map(|pid| rss_kib(*pid)).sum(),
            descriptors: entries("fd")?,
            threads: entries("task")?,
            processes: children.len(),
        })
    }

    fn proc(&self, what: &str) -> String {
        format!("/proc/{}/{what}", self.pid)
    }

    /// All that it has logged.
    pub(super) fn log(&self) -> Result<String> {
        let mut bytes = Vec::new();
        fs::File::open(self.running.log())?.take(MOST_LOG_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The end of that.
    pub(super) fn said(&self) -> String {
        self.running.said()
    }
}

/// Whether a server goes on at SIGHUP: one that only knows how to end does not get it.
pub(super) fn reloads(stage: &Stage, bin: &Path) -> Result<bool> {
    let server = Server::start(stage, bin, "reload")?;
    Ok(server.reload().is_ok())
}

/// A metric without labels.
fn metric(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

fn status(pid: u32, field: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

fn rss_kib(pid: u32) -> Option<u64> {
    status(pid, "VmRSS")
}

/// The processes that this one has started.
fn children(of: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| status(*pid, "PPid") == Some(of.into())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_found_by_its_whole_name() {
        let text = "# TYPE rrto_sessions gauge\nrrto_sessions_admitted_total 7\nrrto_sessions 2\n";
        assert_eq!(metric(text, "rrto_sessions"), Some(2.0));
        assert_eq!(metric(text, "rrto_sess"), None);
    }

    #[test]
    fn what_there_is_more_of_is_named() {
        let base = Vitals { rss_kib: 1, processes_rss_kib: 1, descriptors: 5, threads: 3, processes: 1 };
        assert_eq!(base.beyond(base), "");
        let more = Vitals { descriptors: 7, threads: 2, ..base };
        assert_eq!(more.beyond(base), ", 7 descriptors (at first 5)");
    }
}
