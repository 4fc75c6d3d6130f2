//! `rrto-netem run` and `report`: a short scenario with the real processes.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::harness::{built, root};

/// A fast link without loss, and so many inferences that replay has learnt them; time ends nothing here.
const SCENARIO: &str = r#"
about = "A short one."
seed = 3
[run]
for_s = 120
measure_from_s = 0
inferences = 12
[workload]
recording = "ROOT/rrto-core/tests/golden/resnet50.calls.xz"
own_cpu_ms = 0
device_ms = 0
[[step]]
at_s = 0
rtt_ms = 1
rate_mbps = 1000
queue_kb = 1024
"#;

fn netem(folder: &Path, arguments: &[&str]) -> Output {
    let scenario = SCENARIO.replace("ROOT", &root().to_string_lossy());
    fs::write(folder.join("short.toml"), scenario).unwrap();
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", "300", env!("CARGO_BIN_EXE_rrto-netem")]).args(arguments);
    // What it leaves in the temporary folder is seen.
    let temporary = folder.join("tmp");
    fs::create_dir_all(&temporary).unwrap();
    let output = command.current_dir(folder).env("TMPDIR", &temporary).stdin(Stdio::null()).output().unwrap();
    assert_eq!(fs::read_dir(temporary).unwrap().count(), 0, "something is left behind");
    output
}

fn run(folder: &Path, modes: &str, program: &[&str]) -> Value {
    let bin = built().rrto.parent().unwrap().to_str().unwrap();
    let arguments = ["run", "short.toml", "--modes", modes, "--out", "results", "--bin", bin, "--"];
    let output = netem(folder, &[&arguments, program].concat());
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&fs::read(folder.join("results/short.json")).unwrap()).unwrap()
}

#[test]
fn a_recorded_program_plays_in_every_mode_and_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let result = run(folder.path(), "percall,pipeline,replay,ideal", &[]);
    let modes = result["modes"].as_array().unwrap();
    assert_eq!(modes.len(), 4);
    for mode in modes {
        let what = (&mode["failure"], &mode["wrong"], mode["inferences"].as_array().unwrap().len());
        assert_eq!(what, (&Value::Null, &0.into(), 12), "{mode}");
        let up = mode["bytes_each"][0].as_f64().unwrap();
        assert!(up > 602_112.0, "{mode}");
    }
    let round_trips = |mode: usize| modes[mode]["round_trips_each"].as_f64().unwrap();
    assert!(round_trips(0) > 200.0 && round_trips(2) <= 1.0, "{} {}", round_trips(0), round_trips(2));

    let output = netem(folder.path(), &["report", "results"]);
    assert!(output.status.success(), "{output:?}");
    let file = |name: &str| fs::read_to_string(folder.path().join("results").join(name)).unwrap();
    let table = file("scenarios.md");
    for expected in ["| short | replay | 12 |", "![short](short.svg)", "replay / ideal", "Seed 3."] {
        assert!(table.contains(expected), "{table}");
    }
    assert_eq!(file("scenarios.json").matches("\"p99_ms\"").count(), 4);
    for name in ["short.svg", "energy.svg"] {
        let svg = file(name);
        assert!(
            svg.starts_with("<svg") && svg.contains("replay") && svg.trim_end().ends_with("</svg>"),
            "{name}"
        );
    }
}

#[test]
fn a_program_that_fails_is_a_result() {
    let folder = tempfile::tempdir().unwrap();
    let program = ["/bin/sh", "-c", "echo inference 0 0.25 abc; echo oh no >&2; exit 3"];
    let result = run(folder.path(), "replay,ideal", &program);
    let failure = |mode: usize| result["modes"][mode]["failure"].as_str().unwrap();
    assert!(failure(0).contains('3') && failure(0).contains("oh no"), "{}", failure(0));
    assert!(failure(1).contains("no ideal client"), "{}", failure(1));
    assert_eq!(result["modes"][0]["inferences"][0]["latency_ms"], 250.0);
    let output = netem(folder.path(), &["report", "results", "--out", "report"]);
    assert!(output.status.success(), "{output:?}");
    let table = fs::read_to_string(folder.path().join("report/scenarios.md")).unwrap();
    assert!(
        table.contains("Ended before their time") && table.contains("| short | ideal | failed |"),
        "{table}"
    );
}

#[test]
fn what_cannot_run_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let message = |arguments: &[&str]| {
        let output = netem(folder.path(), arguments);
        assert!(!output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(message(&["run", "none.toml"]).contains("none.toml"));
    assert!(message(&["run", "short.toml", "--bin", "."]).contains("no rrto in"));
    assert!(message(&["report", "."]).contains("no results in"));
}
