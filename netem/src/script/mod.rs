//! What a link does over time, as a TOML file says.
//!
//! ```
//! let scenario = rrto_netem::script::Scenario::parse("example.toml", r#"
//!     about = "A robot drives behind a wall and comes back."
//!     repeat_every_s = 30       # optional: begin again; without it the last step lasts
//!     shared_air = true         # default: both directions fade and stall at the same times
//!
//!     [[step]]
//!     at_s = 0                  # the first step must begin at 0
//!     rtt_ms = 10
//!     rate_mbps = 100
//!     queue_kb = 256
//!     down = { rate_mbps = 160 }  # `up` and `down` say what differs in one direction
//!
//!     [[step]]
//!     at_s = 10
//!     ramp_s = 2                # delay, jitter, rate and loss move there over 2 s; the rest changes at once
//!     rate_mbps = 5
//!     loss = 0.05
//! "#)?;
//! # Ok::<(), rrto_netem::script::ScriptError>(())
//! ```
//!
//! A step changes what it names; all else stays as the step before left it. [`Settings`] has the keys.
//!
//! Beside the steps a file may have a `seed`, `[[roam]]` and `[[cross]]` ([`Roam`], [`Cross`]), and what an experiment over
//! this link does: `[run]` and `[workload]` ([`Run`], [`Workload`]).

mod checked;
mod events;
mod experiment;
mod settings;

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use crate::link::{Cross, MAX_PIECES, Piece, Timeline, TimelineError, Way};
pub use events::{Change, Roam};
use events::{CrossKeys, RoamKeys};
pub use experiment::{Mode, Run, Workload};
pub use settings::Settings;

/// The largest scenario file: far above any written by hand, so that a wrong file is not read into memory.
pub const MAX_FILE_BYTES: u64 = 1 << 20;

/// A ramp moves in stairs of this length, which is below what a congestion controller can resolve.
const STAIR: Duration = Duration::from_millis(10);

/// The latest time in a script: a day. It keeps sums of times exact.
const MAX_SCRIPT_S: f64 = 86_400.0;

/// The shortest time after which a script may repeat: a lap costs work, which must not grow without bound.
const MIN_REPEAT_S: f64 = 0.01;

/// The seed of a scenario that names none.
pub const DEFAULT_SEED: u64 = 1;

/// What both directions of a link do over time, and what an experiment over it does.
#[derive(Debug, Clone)]
pub struct Scenario {
    about: String,
    seed: u64,
    up: Timeline,
    down: Timeline,
    roams: Vec<Roam>,
    cross: Vec<Cross>,
    run: Run,
    workload: Workload,
}

/// Why there is no scenario. Each says where and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// The file cannot be read.
    #[error("{file}: {reason}")]
    Read {
        /// The file.
        file: String,
        /// Why.
        reason: std::io::Error,
    },
    /// The file is too large to be a scenario.
    #[error("{file}: larger than {MAX_FILE_BYTES} bytes: this is no scenario file")]
    TooLarge {
        /// The file.
        file: String,
    },
    /// The text is not TOML of the right shape.
    #[error("{origin}: {reason}")]
    Syntax {
        /// The file.
        origin: String,
        /// Where and what.
        reason: Box<toml::de::Error>,
    },
    /// A value is wrong.
    #[error("{origin}: {place}{problem}")]
    Value {
        /// The file, or the command line.
        origin: String,
        /// The step, ending in ": "; empty on the command line.
        place: String,
        /// The field, what it must be, and what it is.
        problem: String,
    },
    /// The steps do not fit together.
    #[error("{origin}: {reason}")]
    Timeline {
        /// The file, or the command line.
        origin: String,
        /// Why.
        reason: TimelineError,
    },
}

/// A scenario file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Script {
    #[serde(default)]
    about: String,
    repeat_every_s: Option<f64>,
    #[serde(default = "yes")]
    shared_air: bool,
    #[serde(default = "default_seed")]
    seed: u64,
    step: Vec<toml::Table>,
    #[serde(default)]
    roam: Vec<RoamKeys>,
    #[serde(default)]
    cross: Vec<CrossKeys>,
    #[serde(default)]
    run: Run,
    #[serde(default)]
    workload: Workload,
}

fn yes() -> bool {
    true
}

fn default_seed() -> u64 {
    DEFAULT_SEED
}

/// A step: the settings stand directly in its table, beside four keys of its own.
#[derive(Debug)]
struct Step {
    at_s: f64,
    ramp_s: f64,
    both: Settings,
    up: Settings,
    down: Settings,
}

impl Step {
    /// Reads a step's table. (serde's `flatten` would take unknown keys silently; this refuses them and lists the known ones.)
    fn read(mut table: toml::Table) -> Result<Self, String> {
        let missing = "at_s: each [[step]] needs it, the time in seconds at which it begins";
        Ok(Self {
            at_s: take(&mut table, "at_s")?.ok_or(missing)?,
            ramp_s: take(&mut table, "ramp_s")?.unwrap_or(0.0),
            up: take(&mut table, "up")?.unwrap_or_default(),
            down: take(&mut table, "down")?.unwrap_or_default(),
            both: table.try_into().map_err(|e: toml::de::Error| one_line(&e))?,
        })
    }
}

fn take<T: for<'de> Deserialize<'de>>(table: &mut toml::Table, key: &str) -> Result<Option<T>, String> {
    let named = |e: toml::de::Error| format!("{key}: {}", one_line(&e));
    table.remove(key).map(|value| value.try_into().map_err(named)).transpose()
}

/// An error about a value: the key where there is one, and what is wrong.
fn one_line(error: &toml::de::Error) -> String {
    error.to_string().lines().map(str::trim).collect::<Vec<_>>().join(" ").trim().to_owned()
}

impl Scenario {
    /// Reads a scenario file.
    pub fn load(path: &Path) -> Result<Self, ScriptError> {
        let file = path.display().to_string();
        let read = |reason| ScriptError::Read { file: file.clone(), reason };
        let mut text = String::new();
        File::open(path).map_err(read)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(read)?;
        if text.len() as u64 > MAX_FILE_BYTES {
            return Err(ScriptError::TooLarge { file });
        }
        Self::parse(&file, &text)
    }

    /// Reads a scenario from TOML text; errors name `origin` as its file.
    pub fn parse(origin: &str, text: &str) -> Result<Self, ScriptError> {
        let script: Script = toml::from_str(text)
            .map_err(|reason| ScriptError::Syntax { origin: origin.into(), reason: Box::new(reason) })?;
        let value =
            |place: String, problem: String| ScriptError::Value { origin: origin.into(), place, problem };
        if let Some(problem) =
            script.repeat_every_s.and_then(|s| time_problem("repeat_every_s", MIN_REPEAT_S, s))
        {
            return Err(value(String::new(), problem));
        }
        let step = |(index, table)| {
            Step::read(table).map_err(|problem| value(format!("step {}: ", index + 1), problem))
        };
        let steps: Vec<_> = script.step.into_iter().enumerate().map(step).collect::<Result<_, _>>()?;
        let timeline = |way| {
            let pieces = pieces(&steps, way).map_err(|(place, problem)| value(place, problem))?;
            let repeat = script.repeat_every_s.map(Duration::from_secs_f64);
            Timeline::new(&pieces, repeat, script.shared_air)
                .map_err(|reason| ScriptError::Timeline { origin: origin.into(), reason })
        };
        let (up, down) = (timeline(Way::Up)?, timeline(Way::Down)?);
        let has_rate = |way| {
            let timeline = if way == Way::Up { &up } else { &down };
            timeline.pieces().all(|piece| piece.params.rate_bps > 0)
        };
        let cross = script.cross.iter().enumerate().map(|(index, keys)| {
            events::cross(keys, has_rate).map_err(|problem| value(format!("cross {}: ", index + 1), problem))
        });
        let cross = cross.collect::<Result<_, _>>()?;
        if script.run.measure_from >= script.run.length || script.run.modes.is_empty() {
            let problem = "measure_from_s must come before for_s, and modes must name at least one";
            return Err(value("run: ".into(), problem.into()));
        }
        Ok(Self {
            about: script.about,
            seed: script.seed,
            up,
            down,
            roams: events::roams(&script.roam),
            cross,
            run: script.run,
            workload: script.workload,
        })
    }

    /// A link that is always the same, in both directions. Errors name the command line.
    pub fn constant(settings: &Settings) -> Result<Self, ScriptError> {
        let origin = || "command line".to_owned();
        let params = settings.checked().and_then(|settings| settings.params());
        let params = params.map_err(|problem| ScriptError::Value {
            origin: origin(),
            place: String::new(),
            problem,
        })?;
        let timeline = Timeline::constant(params)
            .map_err(|reason| ScriptError::Timeline { origin: origin(), reason })?;
        Ok(Self {
            about: String::new(),
            seed: DEFAULT_SEED,
            up: timeline.clone(),
            down: timeline,
            roams: Vec::new(),
            cross: Vec::new(),
            run: Run::default(),
            workload: Workload::default(),
        })
    }

    /// What the file says the scenario is about; empty if it does not.
    pub fn about(&self) -> &str {
        &self.about
    }

    /// The seed of all randomness, if nobody wants another.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// When clients come to the server from elsewhere, in order of time.
    pub fn roams(&self) -> &[Roam] {
        &self.roams
    }

    /// Traffic of others.
    pub fn cross(&self) -> &[Cross] {
        &self.cross
    }

    /// How long an experiment takes.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// What program it runs.
    pub fn workload(&self) -> &Workload {
        &self.workload
    }

    /// What one direction does.
    pub fn timeline(&self, way: Way) -> &Timeline {
        match way {
            Way::Up => &self.up,
            Way::Down => &self.down,
        }
    }
}

/// One direction's pieces; an error is a place and a problem.
fn pieces(steps: &[Step], way: Way) -> Result<Vec<Piece>, (String, String)> {
    let mut pieces = Vec::new();
    let mut settings = Settings::default();
    let (mut began, mut busy_until) = (None, Duration::ZERO);
    for (index, step) in steps.iter().enumerate() {
        let fail = |problem| (format!("step {} (at_s = {}): ", index + 1, step.at_s), problem);
        let times = [("at_s", step.at_s), ("ramp_s", step.ramp_s)];
        if let Some(problem) = times.iter().find_map(|&(name, s)| time_problem(name, 0.0, s)) {
            return Err(fail(problem));
        }
        let at = Duration::from_secs_f64(step.at_s);
        if index == 0 && (step.at_s, step.ramp_s) != (0.0, 0.0) {
            return Err(fail("at_s: the first step must be at 0 and have no ramp_s".into()));
        }
        if at < busy_until || began.is_some_and(|began| at <= began) {
            let until = busy_until.as_secs_f64();
            return Err(fail(format!("at_s: must come after the step before, which ends at {until} s")));
        }
        let target = settings.with(&changes(step, way).map_err(fail)?);
        ramp(&mut pieces, &settings, &target, step).map_err(fail)?;
        settings = target;
        (began, busy_until) = (Some(at), at + Duration::from_secs_f64(step.ramp_s));
    }
    Ok(pieces)
}

/// What a step changes in one direction.
fn changes(step: &Step, way: Way) -> Result<Settings, String> {
    let (name, own) = match way {
        Way::Up => ("up", &step.up),
        Way::Down => ("down", &step.down),
    };
    if own.rtt_ms.is_some() {
        return Err(format!("{name}.rtt_ms: a direction has a one-way delay: set {name}.delay_ms"));
    }
    let own = own.checked().map_err(|problem| format!("{name}.{problem}"))?;
    Ok(step.both.checked()?.with(&own))
}

/// Adds a step's pieces: the stairs of its ramp, if it has one, and where it ends.
fn ramp(pieces: &mut Vec<Piece>, from: &Settings, to: &Settings, step: &Step) -> Result<(), String> {
    let at = Duration::from_secs_f64(step.at_s);
    let length = Duration::from_secs_f64(step.ramp_s);
    let rates = (from.rate_mbps.unwrap_or(0.0), to.rate_mbps.unwrap_or(0.0));
    if step.ramp_s > 0.0 && rates.0 != rates.1 && (rates.0 == 0.0 || rates.1 == 0.0) {
        return Err("rate_mbps: 0 is unlimited, and nothing ramps from or to that; \
                    for a link that stops, ramp to a small rate and set outage = \"hold\" in the next step"
            .into());
    }
    let stairs = length.as_nanos().div_ceil(STAIR.as_nanos()) as u32;
    if pieces.len() + stairs as usize >= MAX_PIECES {
        return Err(format!(
            "ramp_s: all ramps together have more than {MAX_PIECES} stairs of 10 ms; make it shorter"
        ));
    }
    // A ramp may end just where the next step begins: that step's beginning replaces its end.
    pieces.pop_if(|last| last.from == at);
    for stair in 0..stairs {
        // The middle of the stair, so that the ramp carries as many bytes as a smooth one.
        let done = (f64::from(stair) + 0.5) / f64::from(stairs);
        let params = from.towards(to, done).params()?;
        pieces.push(Piece { from: at + length * stair / stairs, params });
    }
    pieces.push(Piece { from: at + length, params: to.params()? });
    Ok(())
}

fn time_problem(name: &str, min: f64, seconds: f64) -> Option<String> {
    let good = (min..=MAX_SCRIPT_S).contains(&seconds);
    (!good).then(|| format!("{name}: must be {min} to {MAX_SCRIPT_S} seconds; it is {seconds}"))
}
