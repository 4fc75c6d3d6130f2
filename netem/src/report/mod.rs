//! What the results of `rrto-netem run` say: a table in Markdown, the numbers in JSON, plots in SVG.

mod energy;
mod markdown;
mod plot;
mod summary;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::run::Outcome;
use crate::script::Mode;
pub use energy::{COMMUNICATING_W, COMPUTING_W, STANDING_BY_W, energy_mj};
pub use summary::Summary;

/// The largest result file: a day's inferences.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// The file names of a report, beside an SVG file for each scenario.
const MARKDOWN: &str = "scenarios.md";
const JSON: &str = "scenarios.json";
const ENERGY: &str = "energy.svg";

/// A scenario's modes in a few numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScenarioSummary {
    /// The scenario file's name, without its end.
    pub scenario: String,
    /// Of each mode in which inferences counted.
    pub modes: Vec<Summary>,
    /// Modes that ended before their time, and why.
    pub failures: Vec<(Mode, String)>,
    /// `replay` compared with `ideal`, if both were run.
    pub replay_to_ideal: Option<Ratios>,
}

/// One mode's latencies by another's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Ratios {
    /// Of the medians.
    pub p50: f64,
    /// Of the 99th percentiles.
    pub p99: f64,
}

impl ScenarioSummary {
    /// Of a scenario's results.
    pub fn of(outcome: &Outcome) -> Self {
        let [measure_from_s, _] = outcome.measured_s;
        let summary = |mode| Summary::of(mode, measure_from_s, outcome.device_ms);
        let modes: Vec<_> = outcome.modes.iter().filter_map(summary).collect();
        let of = |mode| modes.iter().find(|summary| summary.mode == mode);
        let ratios = of(Mode::Replay).zip(of(Mode::Ideal)).map(|(replay, ideal)| Ratios {
            p50: replay.p50_ms / ideal.p50_ms,
            p99: replay.p99_ms / ideal.p99_ms,
        });
        let failures = outcome.modes.iter().filter_map(|mode| Some((mode.mode, mode.failure.clone()?)));
        let failures = failures.collect();
        Self { scenario: outcome.scenario.clone(), modes, failures, replay_to_ideal: ratios }
    }
}

/// Writes a report about all results in `from` into `into`.
///
/// # Errors
/// No results, damaged ones, or files that cannot be written.
pub fn report(from: &Path, into: &Path) -> Result<()> {
    let outcomes = load(from)?;
    ensure!(!outcomes.is_empty(), "no results in {}: rrto-netem run SCENARIO --out {0}", from.display());
    let summaries: Vec<_> = outcomes.iter().map(ScenarioSummary::of).collect();
    fs::create_dir_all(into).with_context(|| format!("cannot make {}", into.display()))?;
    let write = |name: &str, text: &str| {
        let path = into.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    for outcome in &outcomes {
        write(&format!("{}.svg", outcome.scenario), &plot::scenario(outcome)?)?;
    }
    write(ENERGY, &plot::energy(&summaries)?)?;
    write(JSON, &(serde_json::to_string_pretty(&summaries)? + "\n"))?;
    write(MARKDOWN, &markdown::text(&outcomes, &summaries)?)
}

/// All results in a folder, in the order of their names; other JSON files are left alone.
fn load(from: &Path) -> Result<Vec<Outcome>> {
    let entries = fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))?;
    let mut paths: Vec<_> = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.retain(|path| path.file_name().is_some_and(|name| name != JSON));
    paths.sort();
    let mut outcomes = Vec::new();
    for path in paths {
        let length = fs::metadata(&path)?.len();
        ensure!(length <= MAX_FILE_BYTES, "{} is too large to be a result", path.display());
        let outcome = serde_json::from_slice(&fs::read(&path)?);
        outcomes.push(outcome.with_context(|| format!("{} is no result of rrto-netem run", path.display()))?);
    }
    Ok(outcomes)
}
