//! One mode of one scenario: server, link, client.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use indicatif::ProgressBar;

use super::Plan as Orders;
use super::outcome::{ModeOutcome, Sample};
use crate::proxy::{Config, Proxy, Stats};
use crate::script::{Mode, Scenario};
use crate::stage::{self, Running, Stage, TOOL_LIMIT};
use crate::workload::{Inference, PLAYER, Plan, kernels};

/// A client that still runs so long after its last inference should have begun hangs: longer than the preload library waits for a
/// silent server (10 s).
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a client may take to end once it has nothing more to say.
const END_LIMIT: Duration = Duration::from_secs(5);

/// How often the progress bar moves while nothing is said.
const TICK: Duration = Duration::from_millis(200);

/// The most inferences of one run that are kept: a day at one a ms would be more.
const MAX_SAMPLES: usize = 1_000_000;

/// Lines that wait to be looked at; a program that prints more has to wait.
const MAX_UNREAD_LINES: usize = 1024;

/// What all runs share: certificates, the compiled player, a directory.
pub(super) struct Setup {
    stage: Stage,
    bin: PathBuf,
    program: Vec<OsString>,
}

impl Setup {
    pub(super) fn open(orders: &Orders) -> Result<Self> {
        let bin = stage::binaries(&orders.bin)?;
        let stage = Stage::new()?;
        let certs = stage.file("certs");
        stage.run("certs", Command::new(bin.join("rrto")).arg("certs").arg(&certs), TOOL_LIMIT)?;
        if orders.program.is_empty() {
            stage.compile("player", PLAYER)?;
        }
        Ok(Self { stage, bin, program: orders.program.clone() })
    }

    /// Reads a scenario's workload.
    pub(super) fn prepare<'a>(
        &'a self,
        file: &Path,
        scenario: &'a Scenario,
        seed: u64,
    ) -> Result<Experiment<'a>> {
        let recording = scenario.workload().recording.as_path();
        let plan = match self.program.is_empty() {
            true => Some(Plan::load(&file.parent().unwrap_or(Path::new("")).join(recording))?),
            false => None,
        };
        if let Some(plan) = &plan {
            fs::write(self.stage.file("plan"), plan.text())?;
            fs::write(self.stage.file("ptx"), kernels(&plan.kernels))?;
        }
        Ok(Experiment { setup: self, scenario, seed, plan })
    }
}

/// A scenario that can be played.
pub(super) struct Experiment<'a> {
    setup: &'a Setup,
    scenario: &'a Scenario,
    seed: u64,
    /// Unless a program is given.
    plan: Option<Plan>,
}

/// A mode's result, and what each output was.
pub(super) struct Played {
    pub(super) result: ModeOutcome,
    /// By the inferences' numbers; not of those that are known to be wrong.
    digests: Vec<(u64, String)>,
}

impl Played {
    /// Counts outputs that differ from those of the modes before, where these had that inference.
    pub(super) fn compare(&mut self, known: &mut HashMap<u64, String>) {
        for (number, digest) in self.digests.drain(..) {
            let expected = known.entry(number).or_insert_with(|| digest.clone());
            self.result.wrong += u64::from(*expected != digest);
        }
    }
}

impl Experiment<'_> {
    /// What runs, in words.
    pub(super) fn workload(&self) -> String {
        match (&self.plan, self.setup.program.first()) {
            (Some(plan), _) => {
                let name = self.scenario.workload().recording.file_name().unwrap_or_default();
                let name = name.to_string_lossy();
                let calls = plan.inferences.first().map_or(0, Vec::len);
                let name = name.split('.').next().unwrap_or_default();
                format!(
                    "recorded {name}: {calls} calls, {} bytes in, {} out",
                    plan.input_bytes(),
                    plan.output_bytes()
                )
            }
            (None, program) => program.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        }
    }

    pub(super) fn device_ms(&self) -> Option<f64> {
        self.plan.as_ref().map(|_| self.scenario.workload().device.as_secs_f64() * 1e3)
    }

    /// Plays it in one mode. Whatever goes wrong is in the result.
    pub(super) fn play(&self, mode: Mode, bar: &ProgressBar) -> Played {
        let mut watch = Watch::default();
        let mut stats = Stats::default();
        let mut round_trips = None;
        let failure = self.perform(mode, bar, &mut watch, &mut stats, &mut round_trips).err();
        let measure_from_s = self.scenario.run().measure_from.as_secs_f64();
        let result = ModeOutcome {
            mode,
            failure: failure.map(|error| format!("{error:#}")),
            wrong: watch.wrong,
            bytes_each: watch.bytes_each(measure_from_s),
            inferences: watch.samples,
            round_trips_each: round_trips,
            link: stats,
        };
        Played { result, digests: watch.digests }
    }

    fn perform(
        &self,
        mode: Mode,
        bar: &ProgressBar,
        watch: &mut Watch,
        stats: &mut Stats,
        round_trips: &mut Option<f64>,
    ) -> Result<()> {
        let (_server, address) = self.start_server(mode)?;
        let link = Proxy::start(Config::new(address, self.scenario.clone(), self.seed))?;
        let report = self.setup.stage.file("report.json");
        // Of the mode before.
        let _ = fs::remove_file(&report);
        let (client, stdout) =
            self.setup.stage.start(mode.name(), &mut self.client(mode, link.listen_addr(), &report)?)?;
        let watched = watch.follow(stdout, &link, self.scenario.run().length, bar);
        let ended = watched.and_then(|()| end(&client));
        *round_trips = if mode == Mode::Ideal { Some(1.0) } else { median_round_trips(&report) };
        *stats = link.stop();
        ended
    }

    fn start_server(&self, mode: Mode) -> Result<(Running, SocketAddr)> {
        let stage = &self.setup.stage;
        let certs = stage.file("certs");
        let mut command = match mode {
            Mode::Ideal => {
                let mut command = Command::new(std::env::current_exe()?);
                let device_ms = self.device_ms().unwrap_or_default().to_string();
                command.args(["ideal", "serve", "--device-ms", &device_ms]).args(self.network()?);
                command
            }
            Mode::Percall | Mode::Pipeline | Mode::Replay => {
                let mut command = Command::new(self.setup.bin.join("rrto-gpud"));
                command.args(["--device", "cpu"]);
                command
            }
        };
        command.args(["--listen", "127.0.0.1:0", "--certs"]).arg(certs);
        stage.start_server("server", &mut command, stage::listening)
    }

    fn client(&self, mode: Mode, server: SocketAddr, report: &Path) -> Result<Command> {
        let stage = &self.setup.stage;
        let (run, workload) = (self.scenario.run(), self.scenario.workload());
        let ms = |time: Duration| (time.as_secs_f64() * 1e3).to_string();
        let (length, inferences) = (run.length.as_secs_f64().to_string(), run.inferences.to_string());
        if mode == Mode::Ideal {
            let mut command = Command::new(std::env::current_exe()?);
            command.args(["ideal", "infer", "--server", &server.to_string(), "--for-s", &length]);
            command.args(["--inferences", &inferences, "--period-ms", &ms(workload.period)]);
            command.args(self.network()?).arg("--certs").arg(stage.file("certs"));
            return Ok(command);
        }
        let mut command = Command::new(self.setup.bin.join("rrto"));
        command.args(["run", "--server", &server.to_string(), "--mode", mode.name(), "--certs"]);
        command.arg(stage.file("certs")).env("RRTO_REPORT", report).arg("--");
        match self.plan {
            Some(_) => {
                let times = [workload.own_cpu, workload.device, workload.period].map(ms);
                let files = ["player", "plan", "ptx"].map(|name| stage.file(name));
                command.args(files).args([length, inferences]).args(times);
            }
            None => {
                command.args(&self.setup.program).env("RRTO_NETEM_FOR_S", &length);
                command.env("RRTO_NETEM_INFERENCES", &inferences);
            }
        }
        Ok(command)
    }

    /// What the ideal client and server have to know.
    fn network(&self) -> Result<[String; 4]> {
        let Some(plan) = &self.plan else {
            bail!("there is no ideal client of this program: leave the mode out, or write one");
        };
        let (input, output) = (plan.input_bytes().to_string(), plan.output_bytes().to_string());
        Ok(["--input-bytes".into(), input, "--output-bytes".into(), output])
    }
}

/// Waits for the client's end, which its silence has announced.
fn end(client: &Running) -> Result<()> {
    match client.wait(END_LIMIT)? {
        Some(status) if status.success() => Ok(()),
        Some(status) => bail!("the client ended with {status}{}", client.said()),
        None => bail!("the client says nothing more and does not end{}", client.said()),
    }
}

fn median_round_trips(report: &Path) -> Option<f64> {
    let report: serde_json::Value = serde_json::from_slice(&fs::read(report).ok()?).ok()?;
    report.get("inferences")?.get("median_round_trips")?.as_f64()
}

/// What is seen of a client.
#[derive(Default)]
struct Watch {
    samples: Vec<Sample>,
    digests: Vec<(u64, String)>,
    wrong: u64,
    /// What the link had carried up and down, in bytes, when each inference ended.
    carried: Vec<[u64; 2]>,
}

impl Watch {
    /// Reads what the client prints until it has nothing more to say.
    fn follow(
        &mut self,
        stdout: ChildStdout,
        link: &Proxy,
        length: Duration,
        bar: &ProgressBar,
    ) -> Result<()> {
        let lines = lines(stdout);
        let until = link.started_at() + length + PATIENCE;
        loop {
            bar.set_position(link.started_at().elapsed().as_secs());
            match lines.recv_timeout(TICK) {
                Ok((at, line)) => self.take(&line, at, link, bar)?,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Err(RecvTimeoutError::Timeout) if Instant::now() >= until => {
                    bail!("the client hangs: it still runs {} s after its time", PATIENCE.as_secs());
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn take(&mut self, line: &str, at: Instant, link: &Proxy, bar: &ProgressBar) -> Result<()> {
        let Some(inference) = Inference::parse(line) else { return Ok(()) };
        ensure!(self.samples.len() < MAX_SAMPLES, "more than {MAX_SAMPLES} inferences");
        let ended_s = at.saturating_duration_since(link.started_at()).as_secs_f64();
        let latency_ms = inference.seconds * 1e3;
        self.samples.push(Sample {
            at_s: (ended_s - inference.seconds).max(0.0),
            latency_ms,
            cpu_ms: inference.cpu_s.map(|seconds| seconds * 1e3),
        });
        let stats = link.stats();
        self.carried.push([stats.up.sent_bytes, stats.down.sent_bytes]);
        match inference.is_wrong {
            true => self.wrong += 1,
            false => self.digests.push((inference.number, inference.digest)),
        }
        bar.set_message(format!("{latency_ms:.2} ms"));
        Ok(())
    }

    /// Bytes up and down of an inference, from the end of the first one that counts to the end of the last.
    fn bytes_each(&self, measure_from_s: f64) -> Option<[f64; 2]> {
        let first = self.samples.iter().position(|sample| sample.at_s >= measure_from_s)?;
        let between = (self.carried.len().checked_sub(first + 1)).filter(|count| *count > 0)?;
        let (from, to) = (self.carried.get(first)?, self.carried.last()?);
        Some([0, 1].map(|way| (to[way] - from[way]) as f64 / between as f64))
    }
}

/// What a process prints, each line with the time at which it came.
fn lines(stdout: ChildStdout) -> Receiver<(Instant, String)> {
    let (said, says) = sync_channel(MAX_UNREAD_LINES);
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if said.send((Instant::now(), line)).is_err() {
                break;
            }
        }
    });
    says
}
