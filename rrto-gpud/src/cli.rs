//! The command line.

mod relay;
mod units;
mod worker;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use rrto_quic::relay::RelayAddress;
use rrto_quic::{Congestion, Credentials};
use tracing::level_filters::LevelFilter;

pub use relay::RelayArgs;
pub use worker::WorkerArgs;

/// UDP port that the daemon listens on unless told otherwise. Not registered with IANA for anything.
pub const DEFAULT_PORT: u16 = 7786;

/// Sessions at a time unless told otherwise. A CUDA context takes some hundred MB of the device.
const DEFAULT_MAX_SESSIONS: u32 = 16;

/// More would not be served well by one device, and each has a thread.
const MOST_SESSIONS: i64 = 1024;

/// A connection that has been silent for so long is of no use: a robot that is there makes another one within a second.
const DEFAULT_SESSION_IDLE: &str = "10";

/// A link that a robot drives through can be gone for some seconds; memory of a robot that is gone for good should
/// not be held much longer.
const DEFAULT_GRACE: &str = "30";

/// Longer than any inference, and shorter than service managers wait before they kill.
const DEFAULT_DRAIN: &str = "15";

const QUICK_START: &str = "\
Quick start:
  rrto certs DIR                              make certificates, once
  rrto-gpud --device cpu --certs DIR          serve the software GPU
  rrto run --server HOST:7786 -- PROGRAM      run a CUDA program on it, from any machine that has
                                              ca.pem and a robot's certificate from DIR

Where robots cannot reach this machine: rrto-gpud relay --help

Prometheus reads http://127.0.0.1:9464/metrics if started with --metrics 9464.
End it with Ctrl-C or SIGTERM: what runs may end, programs are told, and everything on the device is freed.
SIGHUP has it read its certificates, and who is revoked, again.";

/// Serves this machine's GPU to CUDA programs on other machines.
///
/// Programs run elsewhere, unchanged, with RRTO's libcuda.so.1 preloaded; their GPU work is done here. Both sides
/// prove who they are with certificates of one authority; nobody else gets in.
#[derive(Parser, Clone, Debug, PartialEq)]
#[command(name = "rrto-gpud", version, after_help = QUICK_START)]
pub struct Args {
    /// What to execute on
    #[arg(long, value_enum, default_value_t = DeviceKind::Cuda)]
    pub device: DeviceKind,

    /// Which GPU, as CUDA counts them
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub gpu: usize,

    /// Execute all programs in this one process: a little faster, but a fault of one program ends all of them
    #[arg(long)]
    pub in_process: bool,

    /// UDP address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value_t = SocketAddr::from(([0, 0, 0, 0], DEFAULT_PORT)))]
    pub listen: SocketAddr,

    /// Directory with ca.pem, server.pem and server.key, as `rrto certs DIR` makes them
    #[arg(long, value_name = "DIR")]
    pub certs: PathBuf,

    /// Be reached through a relay too, as relay://HOST:PORT/ROOM; the room's secret is rooms/ROOM.key beside ca.pem
    #[arg(long, value_name = "ADDRESS")]
    pub relay: Option<RelayAddress>,

    /// How many programs may be connected at a time
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MAX_SESSIONS,
          value_parser = clap::value_parser!(u32).range(1..=MOST_SESSIONS))]
    pub max_sessions: u32,

    /// How many programs of one robot may be connected at a time [default: what there is, but for the last quarter of
    /// --max-sessions, which is for robots that have none]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MOST_SESSIONS))]
    pub sessions_per_robot: Option<u32>,

    /// Device memory that one program may have, such as 4GiB or 500MB [default: all there is]
    #[arg(long, value_name = "BYTES", value_parser = units::bytes)]
    pub session_memory: Option<u64>,

    /// Seconds without a sign of life after which a program's connection counts as lost
    #[arg(long, value_name = "SECS", default_value = DEFAULT_SESSION_IDLE, value_parser = units::seconds)]
    pub session_idle: Duration,

    /// Seconds that a program has to come back after its connection was lost, before everything of it is freed; at most
    /// half of the programs are waited for at a time
    #[arg(long, value_name = "SECS", default_value = DEFAULT_GRACE, value_parser = units::seconds)]
    pub grace: Duration,

    /// Seconds that what is running has to end when the server is to; programs that are between two inferences are told at
    /// once
    #[arg(long, value_name = "SECS", default_value = DEFAULT_DRAIN, value_parser = units::seconds)]
    pub drain: Duration,

    /// How fast to send: wireless, or for links that lose nothing but by congestion cubic, newreno or bbr
    #[arg(long, value_name = "KIND", default_value_t)]
    pub congestion: Congestion,

    /// Serve Prometheus metrics on this TCP address, or on this port of 127.0.0.1 [default: off]
    #[arg(long, value_name = "PORT|ADDR", value_parser = units::local_address)]
    pub metrics: Option<SocketAddr>,

    /// What to log on stderr: off, error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value_t = LevelFilter::INFO)]
    pub log_level: LevelFilter,
}

impl Args {
    /// The files that `--certs` means.
    pub fn credentials(&self) -> Credentials {
        let file = |name| self.certs.join(name);
        Credentials { ca: file("ca.pem"), certificate: file("server.pem"), key: file("server.key") }
    }
}

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Invocation {
    /// To be the server.
    Serve(Args),
    /// To be one session's worker of a server.
    Work(WorkerArgs),
    /// To be a relay.
    Relay(RelayArgs),
}

impl Invocation {
    /// Reads the command line; ends the process, with an explanation, if it is not a proper one.
    pub fn parse() -> Self {
        if let Some(line) = WorkerArgs::of(std::env::args_os()) {
            Invocation::Work(WorkerArgs::parse_from(line))
        } else if let Some(line) = RelayArgs::of(std::env::args_os()) {
            Invocation::Relay(RelayArgs::parse_from(line))
        } else {
            Invocation::Serve(Args::parse())
        }
    }
}

/// `line` without its first argument, if that is `word`.
fn after(word: &str, line: impl IntoIterator<Item = OsString>) -> Option<Vec<OsString>> {
    let mut line = line.into_iter();
    let program = line.next()?;
    (line.next()? == word).then(|| std::iter::once(program).chain(line).collect())
}

/// What to execute on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum DeviceKind {
    /// An NVIDIA GPU, through the driver of this machine (CUDA 12.0 or newer)
    Cuda,
    /// The software GPU: kernels' PTX on the CPU, on any machine
    Cpu,
}

#[cfg(test)]
mod tests;
