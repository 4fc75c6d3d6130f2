//! What a run leaves behind: a JSON file for each scenario.

use serde::{Deserialize, Serialize};

use crate::proxy::Stats;
use crate::script::Mode;

/// A scenario's run in all of its modes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The scenario file's name, without its end.
    pub scenario: String,
    /// What the file says that it is about.
    pub about: String,
    /// The seed of the link.
    pub seed: u64,
    /// What ran.
    pub workload: String,
    /// What the GPU takes for an inference, in ms, if that is known.
    pub device_ms: Option<f64>,
    /// When it ran, in seconds since 1970.
    pub unix_s: u64,
    /// Where it ran.
    pub machine: Machine,
    /// What the link does, by the script.
    pub link: LinkRates,
    /// When inferences begin to count, and when the last ones begin, in seconds.
    pub measured_s: [f64; 2],
    /// In the order in which they ran.
    pub modes: Vec<ModeOutcome>,
}

/// The machine of a run; client, link and server are all on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Processor cores.
    pub cores: usize,
    /// As Rust names it.
    pub architecture: String,
    /// `release` or `debug`.
    pub build: String,
    /// How many processes wanted a core, in the mean of the minute before, where the system tells: what else the machine did.
    #[serde(default)]
    pub load: Option<f64>,
}

/// What the link does over time, as far as plots experiment it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LinkRates {
    /// Seconds, and Mbit/s up and down from then on; 0 in an outage, no number where it is unlimited.
    pub rates: Vec<(f64, Option<f64>, Option<f64>)>,
    /// When clients' addresses change, in seconds.
    pub roams_s: Vec<f64>,
    /// From when until when others send too, in seconds.
    #[serde(default)]
    pub others_s: Vec<[f64; 2]>,
}

/// A run in one mode.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModeOutcome {
    /// Which.
    pub mode: Mode,
    /// Why it ended before its time, if it did.
    pub failure: Option<String>,
    /// All inferences, also those that do not count.
    pub inferences: Vec<Sample>,
    /// Inferences whose outputs are not those of the first mode, or were known to be wrong.
    pub wrong: u64,
    /// UDP payload that an inference took the client to send and to receive, in bytes: the mean of those that count.
    pub bytes_each: Option<[f64; 2]>,
    /// Waits for the server in an inference; the median.
    pub round_trips_each: Option<f64>,
    /// What the link did.
    pub link: Stats,
}

/// An inference.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// When it began, in seconds since the link's beginning.
    pub at_s: f64,
    /// How long it took.
    pub latency_ms: f64,
    /// What the program's process computed in it, if it told.
    pub cpu_ms: Option<f64>,
}
