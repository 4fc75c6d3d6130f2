//! What one inference costs: its latency as the program measures it, the rest as the preload library reports it.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use rrto_core::wire::Mode;
use serde_json::Value;

use super::scene::{Program, Scene};
use crate::library::Library;

/// Inferences before those that were asked for: the first ones fill caches and QUIC's estimates, and replay has to see an
/// inference a few times before it knows it. Medians pass over them.
pub(super) const WARM_UP: u32 = 10;

/// What the program itself has to send for an inference: a frame of 32 x 32 pixels of 3 bytes.
pub(super) const PAYLOAD_UP_BYTES: u64 = 32 * 32 * 3;
/// What it gets back: ten probabilities of 4 bytes.
pub(super) const PAYLOAD_DOWN_BYTES: u64 = 10 * 4;

/// What one inference costs; medians.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Measurement {
    pub(super) median_ms: f64,
    /// Times that the program waited for an answer.
    pub(super) round_trips: f64,
    /// Bytes that RRTO sends beyond the program's own.
    pub(super) control_up: f64,
    /// Bytes that RRTO receives beyond the program's own.
    pub(super) control_down: f64,
    /// Of all outputs, to compare one run with another.
    pub(super) output_hash: String,
}

impl Measurement {
    /// From what the program printed, and the report on it.
    fn of(printed: &Value, report: &Value) -> Result<Self> {
        ensure!(printed["wrong"] == 0, "{} outputs were wrong", printed["wrong"]);
        let inferences = &report["inferences"];
        Ok(Self {
            median_ms: number(printed, "median_ms")?,
            round_trips: number(inferences, "median_round_trips")?,
            control_up: number(inferences, "median_control_bytes_up")?,
            control_down: number(inferences, "median_control_bytes_down")?,
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

/// Runs the program.
pub(super) fn measure(
    scene: &Scene,
    library: &Library,
    program: &Program,
    server: &str,
    mode: Mode,
    inferences: u32,
) -> Result<Measurement> {
    let report = scene.file("report.json");
    let printed = scene.run(library, program, server, mode, WARM_UP + inferences, &report)?;
    let last = printed.lines().next_back().context("the program printed nothing")?;
    let printed =
        serde_json::from_str(last).with_context(|| format!("the program's last line is {last:?}"))?;
    Measurement::of(&printed, &take_report(&report)?)
}

/// Takes the file away, so that a later run's cannot be mistaken for it.
fn take_report(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).context("the preload library wrote no report (RRTO_REPORT)")?;
    std::fs::remove_file(path)?;
    serde_json::from_str(&text).with_context(|| format!("the report is {text:?}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report() -> Value {
        json!({ "inferences": {
            "median_round_trips": 1, "median_control_bytes_up": 21, "median_control_bytes_down": 14, "count": 30,
        } })
    }

    #[test]
    fn an_inference_costs_what_is_printed_and_reported() {
        let printed = json!({ "wrong": 0, "median_ms": 1.5, "output_hash": "00ff" });
        let one = Measurement::of(&printed, &report()).unwrap();
        assert_eq!((one.median_ms, one.round_trips, one.output_hash.as_str()), (1.5, 1.0, "00ff"));
        assert_eq!((one.control_up, one.control_down), (21.0, 14.0));
    }

    #[test]
    fn what_is_missing_or_wrong_is_an_error() {
        for printed in [
            json!({ "wrong": 1, "median_ms": 1.5, "output_hash": "00ff" }),
            json!({ "wrong": 0, "output_hash": "00ff" }),
            json!({ "wrong": 0, "median_ms": 1.5 }),
            json!(null),
        ] {
            assert!(Measurement::of(&printed, &report()).is_err(), "{printed}");
        }
        let good = json!({ "wrong": 0, "median_ms": 1.5, "output_hash": "00ff" });
        assert!(Measurement::of(&good, &json!({})).is_err());
    }

    #[test]
    fn payload_sizes_are_the_programs() {
        assert!(super::super::scene::SOURCE.contains(
            "enum { FRAME = 32, CHANNELS = 16, CLASSES = 10, STAGES = 4, FRAME_BYTES = 3 * FRAME * FRAME };"
        ));
    }
}
