//! A server among robots and strangers who do what they can, for minutes or hours.
//!
//! One `rrto-gpud` with the software GPU serves, on loopback, whoever comes: robots whose programs compute what is known, are killed,
//! roam, fault, or end with everything outstanding (`robots`); strangers who have no certificate (`stranger`); and a robot
//! that has one, and means harm (`rogue`). Who does what and when comes from a seed, as far as real processes let it. Storms,
//! in which several of them act at a time, alternate with calms, in which nobody does, and the server has to be as it was
//! before: no sessions, and no more descriptors, threads, processes and, over time, memory (`server`).
//!
//! What must hold: the server lives and never panics, honest programs are right, and what somebody held is given back.

mod report;
mod robots;
mod rogue;
mod server;
mod stranger;

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rand::SeedableRng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use crate::stage::{self, Stage, TOOL_LIMIT};
use report::{Calm, Report};
use server::{Server, Vitals};

/// Who acts at a time.
const ACTORS: u64 = 4;

/// How long actors begin new actions; each of them then ends.
const STORM: Duration = Duration::from_secs(12);

/// How long the server may take to give everything back: a session whose robot is gone without a word waits for the times that
/// the server is started with, and a busy machine takes its own.
const CALM_LIMIT: Duration = Duration::from_secs(45);

/// How often the server is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The robots' names: honest programs that stay where they are share one, those that roam another, as they are on other links than
/// the first; then those that come to a bad end, and the one that means harm.
const ROBOTS: [&str; 4] = ["honest", "wanderer", "mortal", "rogue"];

/// What to do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Of all choices.
    pub seed: u64,
    /// How long storms begin.
    pub length: Duration,
    /// Where `rrto`, its preload library and `rrto-gpud` are.
    pub bin: PathBuf,
    /// Where the report and the server's log go, besides the text on standard output.
    pub out: Option<PathBuf>,
}

/// What actors need.
struct Scene {
    stage: Stage,
    bin: PathBuf,
    server: Server,
    address: SocketAddr,
    demo: PathBuf,
    probe: PathBuf,
    /// What the demo's outputs hash to.
    known: String,
    started: AtomicU64,
}

impl Scene {
    /// A name that nothing else on the stage has.
    fn name(&self, what: &str) -> String {
        format!("{what}-{}", self.started.fetch_add(1, Ordering::Relaxed))
    }
}

/// What somebody does.
struct Action {
    name: &'static str,
    /// How often it is chosen, compared with the others.
    weight: u32,
    /// Fails if the server, or an honest program, does not do what it should.
    act: fn(&Scene, &mut ChaCha8Rng) -> Result<()>,
}

const ACTIONS: [Action; 18] = [
    Action { name: "infer", weight: 6, act: robots::infer },
    Action { name: "count", weight: 4, act: robots::count },
    Action { name: "roam", weight: 4, act: robots::roam },
    Action { name: "fault", weight: 2, act: robots::fault },
    Action { name: "leave with work outstanding", weight: 3, act: robots::leave },
    Action { name: "be killed", weight: 4, act: robots::be_killed },
    Action { name: "vanish", weight: 2, act: robots::vanish },
    Action { name: "noise", weight: 2, act: stranger::noise },
    Action { name: "half a handshake", weight: 3, act: stranger::half_a_handshake },
    Action { name: "foreign certificate", weight: 1, act: stranger::foreign_certificate },
    Action { name: "random bytes", weight: 1, act: rogue::random_bytes },
    Action { name: "random frames", weight: 1, act: rogue::random_frames },
    Action { name: "huge numbers", weight: 1, act: rogue::huge_numbers },
    Action { name: "greed", weight: 1, act: rogue::greed },
    Action { name: "garbage modules", weight: 1, act: rogue::garbage_modules },
    Action { name: "many sessions", weight: 1, act: rogue::many_sessions },
    Action { name: "open streams", weight: 1, act: rogue::open_streams },
    Action { name: RELOAD, weight: 1, act: |scene, _| scene.server.reload() },
];

/// What is only done to a server that goes on at it.
const RELOAD: &str = "reload";

/// Runs all of it, and prints what came of it.
///
/// # Errors
/// Something did not hold, or nothing could run at all.
pub fn soak(plan: &Plan) -> Result<()> {
    writeln!(std::io::stdout(), "soak: seed {}, {} s", plan.seed, plan.length.as_secs())?;
    let scene = set_scene(plan)?;
    let reloads = server::reloads(&scene.stage, &scene.bin)?;
    let actions: Vec<_> = ACTIONS.iter().filter(|action| reloads || action.name != RELOAD).collect();
    let server = &scene.server;
    let base = settle(server, None).context("after the first program")?;

    let mut report = Report::new(plan, base, reloads);
    let began = Instant::now();
    for round in 0.. {
        if began.elapsed() >= plan.length || report.is_over() {
            break;
        }
        storm(&scene, &actions, plan, round, &mut report);
        report.note_server(server.look());
        if report.is_over() {
            break;
        }
        match settle(server, Some(base)) {
            Ok(vitals) => report.calm(Calm { at_s: began.elapsed().as_secs_f64(), vitals }),
            Err(error) => report.fail("calm", &format!("{error:#}")),
        }
        report.print_progress(began.elapsed())?;
    }
    report.note_server(server.end());
    report.judge_memory();
    report.note_log(server)?;
    report.print(plan, server)?;
    ensure!(report.is_good(), "the soak with seed {} failed", plan.seed);
    Ok(())
}

/// Certificates, programs, and a server that has been used once.
fn set_scene(plan: &Plan) -> Result<Scene> {
    let stage = Stage::new()?;
    let bin = stage::binaries(&plan.bin)?;
    for (folder, robots) in [("certs", &ROBOTS[..]), ("strangers", &["stranger"])] {
        let mut certs = Command::new(bin.join("rrto"));
        certs.arg("certs").arg(stage.file(folder));
        for robot in robots {
            certs.args(["--robot", robot]);
        }
        stage.run("certs", &mut certs, TOOL_LIMIT)?;
    }
    fs::write(stage.file("cnn.ptx"), robots::DEMO_PTX)?;
    let (demo, probe) = (stage.compile("cnn", robots::DEMO)?, stage.compile("probe", robots::PROBE)?);
    let server = Server::start(&stage, &bin, "server")?;
    let (address, known, started) = (server.address(), String::new(), AtomicU64::new(0));
    let mut scene = Scene { stage, bin, server, address, demo, probe, known, started };
    scene.known = robots::learn(&scene).context("the first program of all fails")?;
    Ok(scene)
}

/// Actors act, several at a time, as long as the server is there.
fn storm(scene: &Scene, actions: &[&Action], plan: &Plan, round: u64, report: &mut Report) {
    let until = Instant::now() + STORM.min(plan.length);
    let acted = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for actor in 0..ACTORS {
            let acted = &acted;
            scope.spawn(move || {
                let mut luck = ChaCha8Rng::seed_from_u64(plan.seed);
                luck.set_stream(round * ACTORS + actor);
                while Instant::now() < until && scene.server.look().is_ok() {
                    let Ok(action) = actions.choose_weighted(&mut luck, |action| action.weight) else {
                        return;
                    };
                    let result = (action.act)(scene, &mut luck).map_err(|error| format!("{error:#}"));
                    acted.lock().unwrap_or_else(PoisonError::into_inner).push((action.name, result));
                }
            });
        }
    });
    for (name, result) in acted.into_inner().unwrap_or_else(PoisonError::into_inner) {
        report.act(name, result);
    }
}

/// Waits until the server holds nothing for anybody, and no more of the system than at the `base`; or for that, twice the same.
fn settle(server: &Server, base: Option<Vitals>) -> Result<Vitals> {
    let until = Instant::now() + CALM_LIMIT;
    let mut before = None;
    loop {
        server.look()?;
        let (sessions, vitals) = (server.sessions()?, server.vitals()?);
        let is_steady = base.is_some() || before.is_some_and(|before| vitals.has_as_many(before));
        let more = base.map_or(String::new(), |base| vitals.beyond(base));
        if sessions == 0.0 && is_steady && more.is_empty() {
            return Ok(vitals);
        }
        before = Some(vitals);
        ensure!(
            Instant::now() < until,
            "{} s after everybody has gone there are {sessions} sessions{more}",
            CALM_LIMIT.as_secs()
        );
        thread::sleep(LOOK_EVERY);
    }
}
