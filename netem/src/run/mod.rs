//! Experiments: a scenario's link between real processes, in each mode, and what came of it.
//!
//! Each mode gets a server, a link that begins anew with the same seed, and a client: the same program through the preload library, or
//! for [`Mode::Ideal`] a client of its own. A mode that fails is a result like any other. All waits have limits.

mod client;
mod outcome;

use std::collections::HashMap;
use std::fs;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};

use crate::link::{Outage, Way};
use crate::report::Summary;
use crate::script::{Mode, Scenario};
use client::Setup;
pub use outcome::{LinkRates, Machine, ModeOutcome, Outcome, Sample};

/// What to run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Scenario files, or folders of them.
    pub scenarios: Vec<PathBuf>,
    /// Instead of those that the scenarios name.
    pub modes: Option<Vec<Mode>>,
    /// Instead of the scenarios' own.
    pub seed: Option<u64>,
    /// Where results go.
    pub out: PathBuf,
    /// Where `rrto`, its preload library and `rrto-gpud` are.
    pub bin: PathBuf,
    /// A program to run instead of the recorded one, with its arguments.
    pub program: Vec<std::ffi::OsString>,
}

/// Runs all of it; writes a file for each scenario as soon as it is done.
///
/// # Errors
/// A scenario is wrong, or nothing can run at all. That a mode fails is none: it stands in the results.
pub fn run(plan: &Plan) -> Result<()> {
    let files = files(&plan.scenarios)?;
    let scenarios = files.iter().map(|file| Ok((file, Scenario::load(file)?))).collect::<Result<Vec<_>>>()?;
    fs::create_dir_all(&plan.out).with_context(|| format!("cannot make {}", plan.out.display()))?;
    let setup = Setup::open(plan)?;
    for (file, scenario) in &scenarios {
        let outcome = one(plan, &setup, file, scenario)?;
        let path = plan.out.join(&outcome.scenario).with_extension("json");
        let text = serde_json::to_string(&outcome)? + "\n";
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Scenario files in order; of a folder, those that end in `.toml`.
fn files(given: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in given {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let entries = fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut inside: Vec<_> = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
        inside.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
        inside.sort();
        files.extend(inside);
    }
    ensure!(!files.is_empty(), "no scenario file, and no folder that has one");
    Ok(files)
}

fn one(plan: &Plan, setup: &Setup, file: &Path, scenario: &Scenario) -> Result<Outcome> {
    let name = file.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let seed = plan.seed.unwrap_or(scenario.seed());
    let run = scenario.run();
    let machine = machine();
    let experiment = setup.prepare(file, scenario, seed)?;
    let mut modes = Vec::new();
    let mut digests = HashMap::new();
    for mode in plan.modes.as_ref().unwrap_or(&run.modes) {
        let bar = bar(&name, *mode, run.length.as_secs());
        let mut outcome = experiment.play(*mode, &bar);
        bar.finish_and_clear();
        // The ideal client has a network of its own.
        if *mode != Mode::Ideal {
            outcome.compare(&mut digests);
        }
        writeln!(std::io::stdout(), "{name:<20} {}", line(&outcome.result, run.measure_from.as_secs_f64()))?;
        modes.push(outcome.result);
    }
    Ok(Outcome {
        scenario: name,
        about: scenario.about().to_owned(),
        seed,
        workload: experiment.workload(),
        device_ms: experiment.device_ms(),
        unix_s: SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs(),
        machine,
        link: rates(scenario),
        measured_s: [run.measure_from.as_secs_f64(), run.length.as_secs_f64()],
        modes,
    })
}

/// On a terminal; elsewhere the lines of finished modes are enough.
fn bar(scenario: &str, mode: Mode, length_s: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{prefix} [{bar:30}] {pos}/{len} s  {msg}");
    let bar = ProgressBar::new(length_s).with_prefix(format!("{scenario} {mode}"));
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn line(outcome: &ModeOutcome, measure_from_s: f64) -> String {
    let mode = outcome.mode;
    let measured = match Summary::of(outcome, measure_from_s, None) {
        Some(summary) => format!(
            "{:>6} inferences  p50 {:8.2} ms  p99 {:8.2} ms",
            summary.inferences, summary.p50_ms, summary.p99_ms
        ),
        None => "no inference that counts".into(),
    };
    let wrong = if outcome.wrong > 0 { format!("  {} WRONG", outcome.wrong) } else { String::new() };
    let failure = outcome.failure.as_ref().map_or(String::new(), |why| format!("  FAILED: {why}"));
    format!("{mode:<9} {measured}{wrong}{failure}")
}

fn machine() -> Machine {
    Machine {
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        architecture: std::env::consts::ARCH.into(),
        build: if cfg!(debug_assertions) { "debug" } else { "release" }.into(),
        load: fs::read_to_string("/proc/loadavg").ok().and_then(|text| text.split(' ').next()?.parse().ok()),
    }
}

/// When the rate changes, over the run's length.
fn rates(scenario: &Scenario) -> LinkRates {
    /// Rates are looked at so often; what is shorter is not seen in a plot of many seconds.
    const EVERY_S: f64 = 0.02;
    let length_s = scenario.run().length.as_secs_f64();
    let rate = |way, at_s| {
        let params = scenario.timeline(way).params(std::time::Duration::from_secs_f64(at_s));
        match (params.outage, params.rate_bps) {
            (Outage::None, 0) => None,
            (Outage::None, bps) => Some(bps as f64 / 1e6),
            (Outage::Lose | Outage::Hold, _) => Some(0.0),
        }
    };
    let mut rates: Vec<(f64, Option<f64>, Option<f64>)> = Vec::new();
    for step in 0..(length_s / EVERY_S) as u64 {
        let at_s = step as f64 * EVERY_S;
        let now = (at_s, rate(Way::Up, at_s), rate(Way::Down, at_s));
        if rates.last().is_none_or(|last| (last.1, last.2) != (now.1, now.2)) {
            rates.push(now);
        }
    }
    let roams_s = scenario.roams().iter().map(|roam| roam.at.as_secs_f64()).filter(|at| *at < length_s);
    let others = scenario.cross().iter().filter(|cross| cross.from.as_secs_f64() < length_s);
    let others = others.map(|cross| [cross.from, cross.until].map(|time| time.as_secs_f64()));
    LinkRates { rates, roams_s: roams_s.collect(), others_s: others.collect() }
}
