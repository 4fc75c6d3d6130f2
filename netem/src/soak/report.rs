//! What came of it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use serde::Serialize;

use super::Plan;
use super::server::{Server, Vitals};

/// Failures that are kept; the rest is counted.
const MOST_FAILURES: usize = 30;

/// Calms that say something about memory: after the first third, in which the allocator still takes what storms need.
const ENOUGH_CALMS: usize = 6;

/// How much the server's memory may grow over what is judged: the allocator's pages come and go by some MiB.
const MOST_GROWTH_KIB: f64 = 8.0 * 1024.0;

/// How often an action was done, and how often that failed.
#[derive(Debug, Default, Clone, Copy, Serialize)]
struct Count {
    done: u64,
    failed: u64,
}

/// The server in a calm.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Calm {
    pub(super) at_s: f64,
    #[serde(flatten)]
    pub(super) vitals: Vitals,
}

/// The server's memory over time.
#[derive(Debug, Clone, Copy, Serialize)]
struct Memory {
    /// By the line that fits best.
    kib_per_minute: f64,
    /// That, times the time from the first calm that counts to the last.
    growth_kib: f64,
}

/// All of it.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    seed: u64,
    length_s: f64,
    unix_s: u64,
    build: &'static str,
    /// Whether the server was told to reload, too.
    reloads: bool,
    actions: BTreeMap<&'static str, Count>,
    base: Vitals,
    calms: Vec<Calm>,
    memory: Option<Memory>,
    log_bytes: usize,
    log_lines: BTreeMap<&'static str, usize>,
    failures: Vec<String>,
    failed: u64,
    /// Of the failures, those that have been printed.
    #[serde(skip)]
    shown: usize,
    server_lost: bool,
}

impl Report {
    pub(super) fn new(plan: &Plan, base: Vitals, reloads: bool) -> Self {
        Report {
            seed: plan.seed,
            length_s: plan.length.as_secs_f64(),
            unix_s: SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs(),
            build: if cfg!(debug_assertions) { "debug" } else { "release" },
            reloads,
            actions: BTreeMap::new(),
            base,
            calms: Vec::new(),
            memory: None,
            log_bytes: 0,
            log_lines: BTreeMap::new(),
            failures: Vec::new(),
            failed: 0,
            shown: 0,
            server_lost: false,
        }
    }

    pub(super) fn fail(&mut self, what: &str, why: &str) {
        self.failed += 1;
        if self.failures.len() < MOST_FAILURES {
            self.failures.push(format!("{what}: {why}"));
        }
    }

    pub(super) fn act(&mut self, name: &'static str, result: Result<(), String>) {
        let count = self.actions.entry(name).or_default();
        count.done += 1;
        if let Err(why) = result {
            count.failed += 1;
            self.fail(name, &why);
        }
    }

    /// Takes note of whether the server is there, or ended as it should.
    pub(super) fn note_server(&mut self, seen: Result<()>) {
        if let Err(error) = seen
            && !self.server_lost
        {
            self.server_lost = true;
            self.fail("server", &format!("{error:#}"));
        }
    }

    pub(super) fn calm(&mut self, calm: Calm) {
        self.calms.push(calm);
    }

    /// Nothing more can be found out.
    pub(super) fn is_over(&self) -> bool {
        self.server_lost
    }

    pub(super) fn is_good(&self) -> bool {
        self.failed == 0
    }

    /// Whether the server's memory stays where it is.
    pub(super) fn judge_memory(&mut self) {
        let counted: Vec<_> = self.calms.iter().skip(self.calms.len() / 3).collect();
        if counted.len() < ENOUGH_CALMS {
            return;
        }
        let points: Vec<_> =
            counted.iter().map(|calm| (calm.at_s / 60.0, calm.vitals.rss_kib as f64)).collect();
        let kib_per_minute = slope(&points);
        let minutes = points.last().map_or(0.0, |last| last.0) - points.first().map_or(0.0, |first| first.0);
        let memory = Memory { kib_per_minute, growth_kib: kib_per_minute * minutes };
        self.memory = Some(memory);
        if memory.growth_kib > MOST_GROWTH_KIB {
            self.fail("memory", &format!("the server's memory grows by {kib_per_minute:.0} KiB a minute"));
        }
    }

    /// What the log says of how the server is.
    pub(super) fn note_log(&mut self, server: &Server) -> Result<()> {
        let log = server.log()?;
        self.log_bytes = log.len();
        for level in ["ERROR", "WARN"] {
            let lines = log.lines().filter(|line| line.contains(level)).count();
            self.log_lines.insert(level, lines);
        }
        for line in log.lines().filter(|line| line.contains("panicked")) {
            self.fail("log", line);
        }
        Ok(())
    }

    /// One line in the midst of it, and what has failed since the last one.
    pub(super) fn print_progress(&mut self, elapsed: Duration) -> Result<()> {
        let done: u64 = self.actions.values().map(|count| count.done).sum();
        let rss = self.calms.last().map_or(0, |calm| calm.vitals.rss_kib);
        let (elapsed, failed) = (elapsed.as_secs(), self.failed);
        let mut stdout = std::io::stdout().lock();
        writeln!(stdout, "{elapsed:>5} s  {done:>6} actions  {failed} failed  resident {rss} KiB")?;
        for failure in self.failures.iter().skip(self.shown) {
            writeln!(stdout, "FAILED {failure}")?;
        }
        self.shown = self.failures.len();
        Ok(stdout.flush()?)
    }

    /// All of it as text, and as files.
    pub(super) fn print(&self, plan: &Plan, server: &Server) -> Result<()> {
        let text = self.text();
        std::io::stdout().write_all(text.as_bytes())?;
        if !self.is_good() {
            writeln!(std::io::stdout(), "seed {}; the end of the server's log{}", self.seed, server.said())?;
        }
        let Some(out) = &plan.out else { return Ok(()) };
        fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
        let write = |name: &str, text: &str| {
            let path = out.join(name);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
        };
        write("soak.json", &(serde_json::to_string_pretty(self)? + "\n"))?;
        write("soak.txt", &text)?;
        write("server.log", &server.log()?)
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (name, count) in &self.actions {
            let failed = if count.failed > 0 { format!(", {} failed", count.failed) } else { String::new() };
            text += &format!("{:>7} {name}{failed}\n", count.done);
        }
        let counts = |vitals: &Vitals| {
            format!(
                "{} KiB resident, {} descriptors, {} threads, {} processes",
                vitals.rss_kib, vitals.descriptors, vitals.threads, vitals.processes
            )
        };
        text += &format!("at first: {}\n", counts(&self.base));
        if let Some(last) = self.calms.last() {
            text += &format!(
                "after {:.0} s and {} calms: {}\n",
                last.at_s,
                self.calms.len(),
                counts(&last.vitals)
            );
        }
        if let Some(memory) = self.memory {
            text += &format!("memory: {:+.1} KiB a minute\n", memory.kib_per_minute);
        }
        text += &format!("log: {} bytes, {:?}\n", self.log_bytes, self.log_lines);
        for failure in &self.failures {
            text += &format!("FAILED {failure}\n");
        }
        text + &format!("soak: {} failures, seed {}\n", self.failed, self.seed)
    }
}

/// Of the line through these points with the least squares.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let along: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let spread: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    if spread > 0.0 { along / spread } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(rss: impl Fn(u64) -> u64) -> Report {
        let plan = Plan { seed: 1, length: Duration::ZERO, bin: "".into(), out: None };
        let vitals =
            |rss_kib| Vitals { rss_kib, processes_rss_kib: 0, descriptors: 1, threads: 1, processes: 0 };
        let mut report = Report::new(&plan, vitals(1), false);
        for minute in 0..30 {
            report.calm(Calm { at_s: minute as f64 * 60.0, vitals: vitals(rss(minute)) });
        }
        report.judge_memory();
        report
    }

    #[test]
    fn memory_that_grows_is_a_failure_and_memory_that_is_taken_once_is_none() {
        assert!(!report(|minute| 20_000 + minute * 1000).is_good());
        assert!(report(|minute| if minute < 5 { 20_000 } else { 40_000 + minute % 3 * 500 }).is_good());
    }
}
