//! What an experiment runs over the link: `[run]` and `[workload]` of a scenario file.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::checked::{milliseconds, seconds};

/// How a program's GPU work reaches the server.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
#[clap(rename_all = "snake_case")]
pub enum Mode {
    /// RRTO, each call waits for its answer: what most remote-GPU systems do.
    Percall,
    /// RRTO without replay.
    Pipeline,
    /// RRTO.
    Replay,
    /// The bound: a client written for the purpose sends an input and gets an output.
    Ideal,
}

impl Mode {
    /// All of them.
    pub const ALL: [Mode; 4] = [Mode::Percall, Mode::Pipeline, Mode::Replay, Mode::Ideal];

    /// Its name, as `rrto run --mode` has it.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Percall => "percall",
            Mode::Pipeline => "pipeline",
            Mode::Replay => "replay",
            Mode::Ideal => "ideal",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How long an experiment takes, and what of it counts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Run {
    /// The program makes inferences until so long after the link's beginning, in each mode.
    #[serde(rename = "for_s", deserialize_with = "seconds")]
    pub length: Duration,
    /// Or so many of them, if that comes first; 0 is any number.
    pub inferences: u32,
    /// Inferences that begin earlier do not count: connecting, loading, and learning what repeats.
    #[serde(rename = "measure_from_s", deserialize_with = "seconds")]
    pub measure_from: Duration,
    /// Which modes, in this order.
    pub modes: Vec<Mode>,
}

impl Default for Run {
    fn default() -> Self {
        let (length, measure_from) = (Duration::from_secs(20), Duration::from_secs(3));
        Self { length, inferences: 0, measure_from, modes: Mode::ALL.into() }
    }
}

/// The recorded program.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Workload {
    /// Its calls (`RRTO_RECORD`, perhaps compressed with xz), seen from the scenario file's folder.
    pub recording: PathBuf,
    /// What it computes itself in an inference, spread over its calls.
    #[serde(rename = "own_cpu_ms", deserialize_with = "milliseconds")]
    pub own_cpu: Duration,
    /// What the GPU takes for an inference.
    #[serde(rename = "device_ms", deserialize_with = "milliseconds")]
    pub device: Duration,
    /// An inference begins so long after the one before, or at once if that took longer.
    #[serde(rename = "period_ms", deserialize_with = "milliseconds")]
    pub period: Duration,
}

impl Default for Workload {
    /// ResNet50 in stock PyTorch, as recorded, with the CPU time of its own that was measured beside an H200. There its CUDA graph
    /// took 0.84 ms; 2 ms are those of a smaller GPU, and what the software GPU needs for as many kernels that do nothing, so that the
    /// device takes the same time in all modes. Where the machine is busy it needs more, which counts against all but the ideal.
    fn default() -> Self {
        Self {
            recording: "../../rrto-core/tests/golden/resnet50.calls.xz".into(),
            own_cpu: Duration::from_micros(1_580),
            device: Duration::from_millis(2),
            period: Duration::ZERO,
        }
    }
}
