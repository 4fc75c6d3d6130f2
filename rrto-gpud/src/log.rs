//! The log on standard error: never what ends, stalls or fills a server.
//!
//! ```text
//! event -> limiter (how many of a kind) -> text -> writer (a queue) -> log thread -> standard error
//! ```
//!
//! Standard error may be a file on a full disk, a pipe whose reader has gone or does not read, or a terminal that is stopped. So
//! whoever logs only queues a line, and a thread of the log's own writes it: what cannot be queued or written is lost and counted,
//! and the next line that can be written says how many were ([`LOG_LOST`]). A worker writes by itself instead: it gives up what it
//! does not need before it takes anything from its program, and a thread from before would keep it.
//!
//! Lines that others cause are limited in rate and summed up: see `limiter`.

mod limiter;
mod writer;

use std::backtrace::Backtrace;
use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::counter;
use tokio::signal::unix::{SignalKind, signal};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::set_global_default;
use tracing_subscriber::fmt::format::Writer as FormatWriter;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::{EnvFilter, Registry, fmt};

use self::limiter::Limiter;
use self::writer::Writer;
use crate::metrics::LOG_LOST;

/// How long the end of the process waits for lines to be written.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// How long a panic does: it may go on, in a thread on which others wait.
const PANIC_FLUSH_LIMIT: Duration = Duration::from_millis(100);

/// Who writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    /// A thread of the log's own; whoever logs never waits.
    Thread,
    /// Whoever logs.
    Direct,
}

/// The log. Dropping it writes what is still queued, for a second at most.
#[derive(Debug)]
pub struct Log(Writer);

impl Drop for Log {
    fn drop(&mut self) {
        self.0.flush(FLUSH_LIMIT);
    }
}

/// Starts logging RRTO's own crates up to `level`, and at most warnings of the libraries below, on standard error. Once a process.
pub fn start(level: LevelFilter, manner: Manner) -> Log {
    survive_file_limits();
    let limiter = Arc::new(Limiter::new(Instant::now()));
    let writer = match manner {
        Manner::Thread => Writer::thread(io::stderr(), Arc::clone(&limiter)),
        Manner::Direct => Writer::direct(io::stderr(), limiter.clone()),
    };
    let below = level.min(LevelFilter::WARN);
    let filter = format!("{below},rrto_gpud={level},rrto_quic={level},rrto_core={level}");
    let lines = fmt::layer()
        .with_writer(writer.clone())
        .with_ansi(false)
        .with_target(false)
        .log_internal_errors(false)
        .with_filter(limiter::Filter { limiter, writer: writer.clone() });
    // Only one that was there before could be in its way.
    let _ = set_global_default(Registry::default().with(EnvFilter::new(filter)).with(lines));
    // Panics are caught a session. They go where everything else about it goes, but not by way of the subscriber, in which one
    // may have happened: a panic in this hook would end the process.
    let panics = writer.clone();
    std::panic::set_hook(Box::new(move |panic| {
        let backtrace = Backtrace::capture();
        panics.line(line("ERROR", format_args!("{panic} (set RUST_BACKTRACE=1 for more)\n{backtrace}")));
        panics.flush(PANIC_FLUSH_LIMIT);
    }));
    Log(writer)
}

/// Beyond `ulimit -f` a write shall fail (EFBIG) and not end the process (SIGXFSZ, setrlimit(2)).
fn survive_file_limits() {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() else { return };
    // A handler stays for as long as the process, whether or not somebody looks at what it sees.
    let _ = runtime.block_on(async { signal(SignalKind::from_raw(libc::SIGXFSZ)).map(drop) });
}

/// A line as those of the subscriber are.
fn line(level: &str, text: std::fmt::Arguments<'_>) -> Vec<u8> {
    let mut line = String::new();
    // A String takes everything.
    let _ = SystemTime.format_time(&mut FormatWriter::new(&mut line));
    let _ = writeln!(line, " {level:>5} {text}");
    line.into_bytes()
}

/// Counts lines that nobody will read.
fn count_lost(why: &'static str, lines: u64) {
    counter!(LOG_LOST, "why" => why).increment(lines);
}

#[cfg(test)]
mod tests;
