//! Robots with ordinary programs: what they compute is known, and however they end, it harms nobody else.

use std::io::Read;
use std::net::SocketAddr;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use rustix::process::Signal;

use super::Scene;
use crate::proxy::{Config, Proxy};
use crate::script::Scenario;

/// A small network, which checks its outputs itself.
pub(super) const DEMO: &str = include_str!("../../../rrto-preload/demo/cnn.c");
pub(super) const DEMO_PTX: &str = include_str!("../../../rrto-preload/demo/cnn.ptx");

/// What well-behaved programs do not do, one thing a run.
pub(super) const PROBE: &str = include_str!("../../tests/e2e/probe.c");

/// Inferences of a run: some that are learnt, some that are replayed.
const INFERENCES: &str = "8";

/// A program that takes longer hangs: each does a second of work, on a machine that is busy with all the others.
const LIMIT: Duration = Duration::from_secs(120);

/// How long a program may take to be gone after a signal that it does not handle.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// The longest that a program lives before it is killed.
const LIFE_MS: u64 = 2500;

const MODES: [&str; 3] = ["percall", "pipeline", "replay"];

/// A program with its GPU at `server`.
fn program(scene: &Scene, server: SocketAddr, robot: &str, luck: &mut ChaCha8Rng) -> Command {
    let mode = MODES.choose(luck).copied().unwrap_or("replay");
    let mut command = Command::new(scene.bin.join("rrto"));
    command.args(["run", "--server", &server.to_string(), "--robot", robot, "--mode", mode, "--certs"]);
    // Busy with the others, the machine may take some seconds for a handshake.
    command.arg(scene.stage.file("certs")).env("RRTO_CONNECT_TIMEOUT_MS", "30000").arg("--");
    command
}

/// Runs it to its end, which must come by itself and be a success; gives what it printed.
fn run(scene: &Scene, command: &mut Command) -> Result<String> {
    let (running, mut stdout) = scene.stage.start(&scene.name("robot"), command)?;
    let status = running.wait(LIMIT)?;
    let Some(status) = status else { bail!("a program hangs{}", running.said()) };
    ensure!(status.success(), "a program ends with {status}{}", running.said());
    let mut text = String::new();
    stdout.read_to_string(&mut text)?;
    // Kept only of programs that fail.
    let _ = std::fs::remove_file(running.log());
    Ok(text)
}

/// Runs the demo, which must be right by its own reckoning; gives the hash of its outputs.
fn demo(scene: &Scene, server: SocketAddr, robot: &str, luck: &mut ChaCha8Rng) -> Result<String> {
    let mut command = program(scene, server, robot, luck);
    let text = run(scene, command.arg(&scene.demo).arg(scene.stage.file("cnn.ptx")).arg(INFERENCES))?;
    let line = text.lines().next_back().unwrap_or_default();
    let report: serde_json::Value =
        serde_json::from_str(line).with_context(|| format!("no report: {line}"))?;
    ensure!(report["wrong"] == 0, "an honest program is wrong: {line}");
    Ok(report["output_hash"].as_str().unwrap_or_default().to_owned())
}

fn right_demo(scene: &Scene, server: SocketAddr, robot: &str, luck: &mut ChaCha8Rng) -> Result<()> {
    let hash = demo(scene, server, robot, luck)?;
    ensure!(hash == scene.known, "an honest program has other outputs: {hash}, not {}", scene.known);
    Ok(())
}

fn probe(scene: &Scene, luck: &mut ChaCha8Rng, arguments: &[&str], expected: &str) -> Result<()> {
    let text = run(scene, program(scene, scene.address, "honest", luck).arg(&scene.probe).args(arguments))?;
    ensure!(text == expected, "probe {arguments:?} says {text:?}, not {expected:?}");
    Ok(())
}

/// The hash of the demo's outputs, which are all right.
pub(super) fn learn(scene: &Scene) -> Result<String> {
    demo(scene, scene.address, "honest", &mut rand::SeedableRng::seed_from_u64(0))
}

pub(super) fn infer(scene: &Scene, luck: &mut ChaCha8Rng) -> Result<()> {
    right_demo(scene, scene.address, "honest", luck)
}

pub(super) fn count(scene: &Scene, luck: &mut ChaCha8Rng) -> Result<()> {
    let rounds = luck.random_range(1..200).to_string();
    probe(scene, luck, &["work", &rounds], &format!("sum {rounds}\n"))
}

/// A program's own fault is its own trouble.
pub(super) fn fault(scene: &Scene, luck: &mut ChaCha8Rng) -> Result<()> {
    probe(scene, luck, &["fault"], "launch 0\ncuCtxSynchronize 700\ncuMemFree 700\n")
}

pub(super) fn leave(scene: &Scene, luck: &mut ChaCha8Rng) -> Result<()> {
    let how = ["return", "exit", "_exit", "quick_exit", "thread"].choose(luck).copied().unwrap_or("exit");
    let what = if luck.random() { "leave" } else { "infer-leave" };
    probe(scene, luck, &[what, how], "")
}

/// An inference across a link that loses, is out for moments, and changes the robot's address.
pub(super) fn roam(scene: &Scene, luck: &mut ChaCha8Rng) -> Result<()> {
    let (rtt_ms, loss) = (luck.random_range(1..30), f64::from(luck.random_range(0..5)) / 100.0);
    let (out_at, out_for) = (luck.random_range(200..2000), luck.random_range(50..1500));
    let (roam_at, change) = (luck.random_range(100..2000), if luck.random() { "address" } else { "port" });
    let s = |ms: u32| f64::from(ms) / 1e3;
    let script = format!(
        "[[step]]\nat_s = 0\nrtt_ms = {rtt_ms}\nrate_mbps = 100\nloss = {loss}\n\
         [[step]]\nat_s = {}\noutage = \"lose\"\n[[step]]\nat_s = {}\noutage = \"none\"\n\
         [[roam]]\nat_s = {}\nchange = \"{change}\"\nevery_s = 1.5\ntimes = 20\n",
        s(out_at),
        s(out_at + out_for),
        s(roam_at)
    );
    let scenario = Scenario::parse("roam", &script)?;
    let link = Proxy::start(Config::new(scene.address, scenario, luck.random()))?;
    right_demo(scene, link.listen_addr(), "wanderer", luck)
        .with_context(|| format!("across a link: {script}"))
}

/// Works for a while and is killed.
pub(super) fn be_killed(scene: &Scene, luck: &mut ChaCha8Rng) -> Result<()> {
    die(scene, scene.address, luck)
}

/// Works for a while across a link that is gone first, so that the server hears nothing of the end.
pub(super) fn vanish(scene: &Scene, luck: &mut ChaCha8Rng) -> Result<()> {
    let gone_at = f64::from(luck.random_range(100..1500)) / 1e3;
    let script = format!("[[step]]\nat_s = 0\nrtt_ms = 2\n[[step]]\nat_s = {gone_at}\noutage = \"lose\"\n");
    let link = Proxy::start(Config::new(scene.address, Scenario::parse("vanish", &script)?, luck.random()))?;
    die(scene, link.listen_addr(), luck)
}

fn die(scene: &Scene, server: SocketAddr, luck: &mut ChaCha8Rng) -> Result<()> {
    let mut command = program(scene, server, "mortal", luck);
    let (running, _stdout) =
        scene.stage.start(&scene.name("mortal"), command.arg(&scene.probe).arg("loop"))?;
    thread::sleep(Duration::from_millis(luck.random_range(0..LIFE_MS)));
    running.signal(if luck.random() { Signal::KILL } else { Signal::TERM });
    let ended = running.wait(KILL_LIMIT)?;
    ensure!(ended.is_some(), "a program does not end at a signal{}", running.said());
    let _ = std::fs::remove_file(running.log());
    Ok(())
}
