//! What one inference costs, from two runs of different length.
//!
//! Everything outside the inferences (connecting, loading the module, copying weights) is the same in both runs, so what
//! the longer one has more is what its additional inferences cost.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use rrto_core::wire::Mode;
use serde_json::Value;

use super::scene::{Program, Scene};
use crate::library::Library;

/// Inferences of the shorter run, which are not counted: the first ones fill caches and QUIC's estimates, and replay has
/// to see an inference a few times before it knows it.
pub(super) const WARM_UP: u32 = 10;

/// What the program itself has to send for an inference: a frame of 32 x 32 pixels of 3 bytes.
pub(super) const PAYLOAD_UP_BYTES: u64 = 32 * 32 * 3;
/// What it gets back: ten probabilities of 4 bytes.
pub(super) const PAYLOAD_DOWN_BYTES: u64 = 10 * 4;

/// What one inference costs.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Measurement {
    pub(super) median_ms: f64,
    /// Times that the program waited for an answer.
    pub(super) round_trips: f64,
    /// On QUIC streams, payload included.
    bytes_up: f64,
    bytes_down: f64,
    /// Of all outputs, to compare one run with another.
    pub(super) output_hash: String,
}

impl Measurement {
    /// Bytes that RRTO sends beyond the program's own.
    pub(super) fn control_up(&self) -> f64 {
        self.bytes_up - PAYLOAD_UP_BYTES as f64
    }

    /// Bytes that RRTO receives beyond the program's own.
    pub(super) fn control_down(&self) -> f64 {
        self.bytes_down - PAYLOAD_DOWN_BYTES as f64
    }

    /// From what the longer run printed, and both runs' statistics.
    fn of(printed: &Value, short: &Value, long: &Value, inferences: u32) -> Result<Self> {
        let each = |fields: &[&str]| -> Result<f64> {
            let mut more = 0.0;
            for field in fields {
                more += number(long, field)? - number(short, field)?;
            }
            Ok(more / f64::from(inferences))
        };
        ensure!(printed["wrong"] == 0, "{} outputs were wrong", printed["wrong"]);
        Ok(Self {
            median_ms: number(printed, "median_ms")?,
            round_trips: each(&["round_trips"])?,
            bytes_up: each(&["control_bytes_up", "bulk_bytes_up"])?,
            bytes_down: each(&["control_bytes_down", "bulk_bytes_down"])?,
            output_hash: printed["output_hash"]
                .as_str()
                .context("the program printed no output_hash")?
                .to_owned(),
        })
    }
}

fn number(object: &Value, field: &str) -> Result<f64> {
    object[field].as_f64().with_context(|| format!("no number {field} in {object}"))
}

/// Runs the program twice.
pub(super) fn measure(
    scene: &Scene,
    library: &Library,
    program: &Program,
    server: &str,
    mode: Mode,
    inferences: u32,
) -> Result<Measurement> {
    let run = |inferences| -> Result<(Value, Value)> {
        let stats = scene.file("stats.json");
        let printed = scene.run(library, program, server, mode, inferences, &stats)?;
        let last = printed.lines().next_back().context("the program printed nothing")?;
        let report =
            serde_json::from_str(last).with_context(|| format!("the program's last line is {last:?}"))?;
        Ok((report, read_statistics(&stats)?))
    };
    let (_, short) = run(WARM_UP)?;
    let (printed, long) = run(WARM_UP + inferences)?;
    Measurement::of(&printed, &short, &long, inferences)
}

/// Takes the file away, so that a later run's cannot be mistaken for it.
fn read_statistics(path: &Path) -> Result<Value> {
    let text =
        std::fs::read_to_string(path).context("the preload library wrote no statistics (RRTO_STATS)")?;
    std::fs::remove_file(path)?;
    serde_json::from_str(&text).with_context(|| format!("statistics are {text:?}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn statistics(round_trips: u64, up: u64, down: u64, bulk_up: u64) -> Value {
        json!({
            "round_trips": round_trips, "control_bytes_up": up, "control_bytes_down": down,
            "bulk_bytes_up": bulk_up, "bulk_bytes_down": 0,
        })
    }

    #[test]
    fn the_difference_of_two_runs_is_what_an_inference_costs() {
        let printed = json!({ "wrong": 0, "median_ms": 1.5, "output_hash": "00ff" });
        let short = statistics(40, 9_000, 700, 500);
        let long = statistics(60, 79_720, 2_500, 500);
        let one = Measurement::of(&printed, &short, &long, 20).unwrap();
        assert_eq!((one.median_ms, one.round_trips, one.output_hash.as_str()), (1.5, 1.0, "00ff"));
        assert_eq!((one.control_up(), one.control_down()), (464.0, 50.0));
    }

    #[test]
    fn what_is_missing_or_wrong_is_an_error() {
        let statistics = statistics(1, 1, 1, 1);
        for printed in [
            json!({ "wrong": 1, "median_ms": 1.5, "output_hash": "00ff" }),
            json!({ "wrong": 0, "output_hash": "00ff" }),
            json!({ "wrong": 0, "median_ms": 1.5 }),
            json!(null),
        ] {
            assert!(Measurement::of(&printed, &statistics, &statistics, 1).is_err(), "{printed}");
        }
        let good = json!({ "wrong": 0, "median_ms": 1.5, "output_hash": "00ff" });
        assert!(Measurement::of(&good, &json!({}), &statistics, 1).is_err());
    }

    #[test]
    fn payload_sizes_are_the_programs() {
        assert!(super::super::scene::SOURCE.contains(
            "enum { FRAME = 32, CHANNELS = 16, CLASSES = 10, STAGES = 4, FRAME_BYTES = 3 * FRAME * FRAME };"
        ));
    }
}
