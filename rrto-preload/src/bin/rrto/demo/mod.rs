//! `rrto demo`: server, link, and an ordinary CUDA program on this machine, measured in all modes.

mod measure;
mod scene;

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;
use rrto_core::wire::Mode;
use serde_json::json;

use crate::library::{LibraryArgs, beside};
use crate::table;
use measure::Measurement;
use scene::Scene;

/// The round-trip time of the emulated link: a robot on busy Wi-Fi.
const LINK_RTT_MS: u32 = 10;

/// See it work on this machine, without a GPU or a network
///
/// Compiles a small convolutional network, an ordinary CUDA program that knows nothing of RRTO, and runs it against
/// rrto-gpud with its software GPU, over QUIC on loopback and through an emulated link of 10 ms, in the modes percall,
/// pipeline and replay. Every output is checked against the same network computed on the CPU. Needs a C compiler.
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub(crate) struct DemoArgs {
    /// Inferences measured in each run
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    inferences: u32,
    /// Print one JSON object instead of the table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    library: LibraryArgs,
}

/// One link that the program runs over.
struct Path {
    rtt_ms: u32,
    name: String,
    address: String,
}

/// Runs everything and prints what came of it.
pub(crate) fn run(arguments: &DemoArgs) -> Result<()> {
    let library = arguments.library.find()?;
    let gpud = beside("rrto-gpud", &[""])?;
    let netem = beside("rrto-netem", &[""]).ok();

    let scene = Scene::open()?;
    let progress = |text: &str| {
        if !arguments.json {
            // What is shown while one waits is not worth an error.
            let _ = writeln!(io::stderr(), "{text}");
        }
    };
    progress("Compiling a small CNN, an ordinary CUDA program, with the C compiler...");
    let program = scene.compile()?;
    progress("Starting rrto-gpud with the software GPU...");
    let server = scene.start_server(&gpud)?;
    let paths = paths(&scene, server, netem)?;

    let mut measured = Vec::new();
    for path in &paths {
        for (mode, name) in Mode::NAMES {
            progress(&format!("Running it: {}, {name}...", path.name));
            let measurement =
                measure::measure(&scene, &library, &program, &path.address, mode, arguments.inferences)
                    .with_context(|| format!("{}, {name}", path.name))?;
            measured.push((path, mode, measurement));
        }
    }
    let first = measured.first().map(|(_, _, measurement)| measurement).context("nothing was measured")?;
    ensure!(
        measured.iter().all(|(_, _, other)| other.output_hash == first.output_hash),
        "the modes gave different outputs: please report this"
    );
    let text = if arguments.json { as_json(&measured, arguments)? } else { as_text(&measured, arguments) };
    io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

/// Loopback as it is, and the emulated link where its command is built.
fn paths(scene: &Scene, server: String, netem: Option<PathBuf>) -> Result<Vec<Path>> {
    let mut paths = vec![Path { rtt_ms: 0, name: "loopback".into(), address: server.clone() }];
    if let Some(netem) = netem {
        let address = scene.start_link(&netem, &server, LINK_RTT_MS)?;
        paths.push(Path { rtt_ms: LINK_RTT_MS, name: format!("{LINK_RTT_MS} ms link"), address });
    }
    Ok(paths)
}

type Measured<'a> = (&'a Path, Mode, Measurement);

fn as_json(measured: &[Measured<'_>], arguments: &DemoArgs) -> Result<String> {
    let runs: Vec<_> = measured
        .iter()
        .map(|(path, mode, m)| {
            json!({
                "rtt_ms": path.rtt_ms,
                "mode": mode.to_string(),
                "median_ms": m.median_ms,
                "round_trips": m.round_trips,
                "control_bytes_up": m.control_up,
                "control_bytes_down": m.control_down,
                "payload_bytes": measure::PAYLOAD_UP_BYTES + measure::PAYLOAD_DOWN_BYTES,
                "output_hash": m.output_hash,
            })
        })
        .collect();
    let report = json!({ "device": "cpu", "inferences": arguments.inferences, "per_inference": runs });
    Ok(serde_json::to_string_pretty(&report)? + "\n")
}

fn as_text(measured: &[Measured<'_>], arguments: &DemoArgs) -> String {
    let rows: Vec<_> = measured
        .iter()
        .map(|(path, mode, m)| {
            [
                path.name.clone(),
                mode.to_string(),
                format!("{:.2} ms", m.median_ms),
                table::grouped(m.round_trips),
                table::grouped(m.control_up),
                table::grouped(m.control_down),
                table::grouped((measure::PAYLOAD_UP_BYTES + measure::PAYLOAD_DOWN_BYTES) as f64),
            ]
        })
        .collect();
    let heads = ["", "mode", "latency", "round trips", "control B up", "control B down", "data B"];
    let mut text = String::from("\nOne inference (medians):\n\n");
    text += &table::render(&heads, &rows);
    text += &format!(
        "\nAll outputs agree with the CPU reference, and are the same to the bit in all {} runs of {} inferences.\n",
        measured.len(),
        arguments.inferences + measure::WARM_UP
    );
    if measured.len() == Mode::NAMES.len() {
        text += "There is no rrto-netem beside rrto; with it there would be rows for a 10 ms link too.\n";
    }
    text
}
