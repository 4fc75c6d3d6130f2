//! The `rrto-netem` command.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use rrto_netem::ideal::{self, Network, Pace};
use rrto_netem::link::Way;
use rrto_netem::proxy::{Config, Proxy, Stats};
use rrto_netem::report::report;
use rrto_netem::run::{Plan, run};
use rrto_netem::script::{Mode, Scenario, Settings};
use rrto_netem::soak::{self, soak};
use rrto_netem::tc;
use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// How often the file of `--stats` is written anew, so that it says something even if the process is killed.
const STATS_EVERY: Duration = Duration::from_secs(1);

/// A seeded user-space UDP link: delay, jitter, rate, queue and loss, scripted over time; and experiments over it. It needs no privileges.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a link until SIGINT or SIGTERM
    ///
    /// Start the server on one port and point clients at another, with the link between:
    ///
    ///   rrto-netem link --listen 127.0.0.1:4500 --to 127.0.0.1:4433 --rtt-ms 10 --rate-mbps 100 --loss 0.01
    ///
    /// stdout gets two lines of JSON: where the link listens, when it does, and what it has done, when it ends.
    #[command(verbatim_doc_comment)]
    Link(Box<LinkArgs>),
    /// Run experiments: a scenario's link between a real client and a real server, in each mode
    ///
    /// Plays the recorded program that the scenario names, or runs the program behind `--`: it prints a line for each inference,
    /// `inference NUMBER SECONDS DIGEST [cpu=SECONDS] [wrong]`, and may see in RRTO_NETEM_FOR_S for how long it is wanted.
    ///
    ///   rrto-netem run netem/scenarios --bin target/release --out results
    ///   rrto-netem run netem/scenarios/indoors.toml --modes replay -- python3 infer.py
    #[command(verbatim_doc_comment)]
    Run(RunArgs),
    /// Write a table, JSON and plots about what `run` has left in a folder
    Report {
        /// The folder
        from: PathBuf,
        /// Where the report goes [default: the same folder]
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Let robots and strangers do what they can to a server, and see whether it bears it
    ///
    /// Real processes on loopback, and the software GPU: programs that compute, are killed, roam, fault and end at any time;
    /// floods, half handshakes, and a robot that sends nonsense. The same seed gives the same choices.
    ///
    ///   rrto-netem soak --bin target/release --minutes 60 --out soak
    #[command(verbatim_doc_comment)]
    Soak(SoakArgs),
    /// Print a scenario's link as a shell script of tc commands, for kernels with sch_netem
    Tc {
        /// The scenario file
        scenario: PathBuf,
        /// The network interface by which this direction leaves
        #[arg(long)]
        dev: String,
        /// Which direction
        #[arg(long, value_parser = way, default_value = "up")]
        way: Way,
    },
    /// The client and server that experiments compare with
    #[command(subcommand, hide = true)]
    Ideal(Ideal),
    /// Check scenario files
    Check {
        /// The files
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

#[derive(Args)]
struct LinkArgs {
    /// Address for clients to send to; port 0 takes a free port
    #[arg(long, value_name = "IP:PORT")]
    listen: SocketAddr,
    /// Address of the server
    #[arg(long, value_name = "IP:PORT")]
    to: SocketAddr,
    /// Scenario file (TOML) to play, from the beginning of the link
    #[arg(long, value_name = "FILE", conflicts_with = "Settings")]
    scenario: Option<PathBuf>,
    /// Seed of all randomness: the same seed gives the same link [default: the scenario's, or 1]
    #[arg(long)]
    seed: Option<u64>,
    /// Stop after this many seconds
    #[arg(long, value_name = "S", value_parser = seconds)]
    for_s: Option<Duration>,
    /// Write the counters to this file too, every second and at the end
    #[arg(long, value_name = "FILE")]
    stats: Option<PathBuf>,
    /// Forget clients that are silent for this many seconds
    #[arg(long, value_name = "S", value_parser = seconds, default_value = "120")]
    idle_timeout_s: Duration,
    #[command(
        flatten,
        next_help_heading = "A link that is always the same, in both directions (instead of --scenario)"
    )]
    settings: Settings,
}

#[derive(Args)]
struct RunArgs {
    /// Scenario files, or folders of them
    #[arg(required = true)]
    scenarios: Vec<PathBuf>,
    /// Only these modes, in this order [default: the scenario's]
    #[arg(long, value_name = "MODE,...", value_delimiter = ',')]
    modes: Option<Vec<Mode>>,
    /// Seed of the links [default: the scenario's, or 1]
    #[arg(long)]
    seed: Option<u64>,
    /// Where results go
    #[arg(long, value_name = "DIR", default_value = "netem-results")]
    out: PathBuf,
    /// Folder of rrto, its preload library and rrto-gpud [default: this command's]
    #[arg(long, value_name = "DIR")]
    bin: Option<PathBuf>,
    /// A program to run instead of the recorded one, and its arguments
    #[arg(last = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
}

#[derive(Args)]
struct SoakArgs {
    /// Seed of all choices
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// For how long
    #[arg(long, value_name = "MIN", value_parser = minutes, default_value = "1")]
    minutes: Duration,
    /// Folder of rrto, its preload library and rrto-gpud [default: this command's]
    #[arg(long, value_name = "DIR")]
    bin: Option<PathBuf>,
    /// Where soak.txt, soak.json and the server's log go [default: nowhere]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Ideal {
    /// Serve
    Serve {
        #[arg(long)]
        certs: PathBuf,
        #[arg(long, value_name = "IP:PORT")]
        listen: SocketAddr,
        #[arg(long, value_name = "MS", value_parser = milliseconds)]
        device_ms: Duration,
        #[command(flatten)]
        network: Network,
    },
    /// Make inferences
    Infer {
        #[arg(long)]
        certs: PathBuf,
        #[arg(long, value_name = "IP:PORT")]
        server: SocketAddr,
        #[arg(long, value_name = "S", value_parser = seconds)]
        for_s: Duration,
        #[arg(long)]
        inferences: u32,
        #[arg(long, value_name = "MS", value_parser = milliseconds)]
        period_ms: Duration,
        #[command(flatten)]
        network: Network,
    },
}

fn way(text: &str) -> Result<Way, String> {
    match text {
        "up" => Ok(Way::Up),
        "down" => Ok(Way::Down),
        _ => Err("a way is up or down".into()),
    }
}

fn milliseconds(text: &str) -> Result<Duration, String> {
    Ok(seconds(text)? / 1000)
}

fn minutes(text: &str) -> Result<Duration, String> {
    Ok(seconds(text)? * 60)
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|e| format!("{e}; write seconds, such as 2.5"))?;
    Duration::try_from_secs_f64(seconds).map_err(|e| e.to_string())
}

/// The lines on stdout.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Line {
    Listening {
        listen: SocketAddr,
        to: SocketAddr,
        seed: u64,
        unix_s: f64,
    },
    Ended {
        seed: u64,
        #[serde(flatten)]
        stats: Box<Stats>,
    },
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Link(args) => link(*args),
        Command::Run(args) => experiments(args),
        Command::Soak(SoakArgs { seed, minutes: length, bin, out }) => {
            bin_or_own(bin).and_then(|bin| soak(&soak::Plan { seed, length, bin, out }))
        }
        Command::Report { from, out } => report(&from, out.as_ref().unwrap_or(&from)),
        Command::Tc { scenario, dev, way } => print_tc(&scenario, &dev, way),
        Command::Ideal(role) => ideal(role),
        Command::Check { files } => check(&files),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell if stderr is gone.
            let _ = writeln!(io::stderr(), "rrto-netem: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn link(args: LinkArgs) -> Result<()> {
    let scenario = match &args.scenario {
        Some(file) => Scenario::load(file)?,
        None => Scenario::constant(&args.settings)?,
    };
    // Signals first: whoever reads that the link listens may end it at once.
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("cannot handle signals")?;
    let (ended, end) = channel();
    std::thread::spawn(move || signals.forever().next().map(|_| ended.send(())));

    let LinkArgs { listen, to, idle_timeout_s: idle_timeout, .. } = args;
    let seed = args.seed.unwrap_or(scenario.seed());
    let proxy = Proxy::start(Config { listen, to, scenario, seed, idle_timeout })?;
    let unix_s = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs_f64();
    print(&Line::Listening { listen: proxy.listen_addr(), to, seed, unix_s })?;

    let stop_at = args.for_s.and_then(|length| proxy.started_at().checked_add(length));
    loop {
        let left = stop_at.map_or(STATS_EVERY, |at| at.saturating_duration_since(Instant::now()));
        let ended = !matches!(end.recv_timeout(left.min(STATS_EVERY)), Err(RecvTimeoutError::Timeout));
        if ended || stop_at.is_some_and(|at| at <= Instant::now()) {
            break;
        }
        save(args.stats.as_deref(), &Line::Ended { seed, stats: proxy.stats().into() })?;
    }
    let line = Line::Ended { seed, stats: proxy.stop().into() };
    save(args.stats.as_deref(), &line)?;
    print(&line)
}

fn experiments(args: RunArgs) -> Result<()> {
    let RunArgs { scenarios, modes, seed, out, bin, program } = args;
    run(&Plan { scenarios, modes, seed, out, bin: bin_or_own(bin)?, program })
}

/// The folder that is given, or this command's.
fn bin_or_own(given: Option<PathBuf>) -> Result<PathBuf> {
    match given {
        Some(bin) => Ok(bin),
        None => Ok(std::env::current_exe()?.parent().map(Path::to_owned).unwrap_or_default()),
    }
}

fn print_tc(file: &Path, device: &str, way: Way) -> Result<()> {
    let script = tc::script(&Scenario::load(file)?, way, device);
    Ok(io::stdout().write_all(script.as_bytes())?)
}

fn ideal(role: Ideal) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match role {
        Ideal::Serve { certs, listen, device_ms, network } => {
            let listening = |address| Ok(writeln!(io::stdout(), "listening on {address}")?);
            runtime.block_on(ideal::serve(&certs, listen, network, device_ms, listening))
        }
        Ideal::Infer { certs, server, for_s: length, inferences, period_ms: period, network } => {
            runtime.block_on(ideal::infer(&certs, server, network, Pace { length, inferences, period }))
        }
    }
}

fn check(files: &[PathBuf]) -> Result<()> {
    for file in files {
        let scenario = Scenario::load(file)?;
        let pieces = [Way::Up, Way::Down].map(|way| scenario.timeline(way).pieces().len());
        writeln!(
            io::stdout(),
            "{}: good, {} + {} pieces; {}",
            file.display(),
            pieces[0],
            pieces[1],
            scenario.about()
        )?;
    }
    Ok(())
}

fn print(line: &Line) -> Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{}", serde_json::to_string(line)?)?;
    Ok(stdout.flush()?)
}

/// Replaces the file in one step, so that a reader never sees half of it.
fn save(file: Option<&Path>, line: &Line) -> Result<()> {
    let Some(file) = file else { return Ok(()) };
    let mut name = file.as_os_str().to_owned();
    name.push(".new");
    let text = serde_json::to_string_pretty(line)? + "\n";
    fs::write(&name, text)
        .and_then(|()| fs::rename(&name, file))
        .with_context(|| format!("cannot write the counters to {}", file.display()))
}
