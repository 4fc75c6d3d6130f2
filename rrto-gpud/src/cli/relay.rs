//! The command line of the relay.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use tracing::level_filters::LevelFilter;

use super::units;
use crate::relay::Limits;

/// What the relay's command line begins with.
const RELAY: &str = "relay";

/// UDP port that the relay listens on unless told otherwise: the one beside the server's.
const DEFAULT_RELAY_PORT: u16 = 7787;

/// Clients of a room unless told otherwise: a server has 16 sessions, and a program that was killed is a client for a while.
const DEFAULT_ROOM_CLIENTS: u32 = 64;

/// Clients behind one address unless told otherwise: a house full of robots behind one address translator.
const DEFAULT_SOURCE_CLIENTS: u32 = 64;

/// More would not fit into memory that anybody meant to give.
const MOST_CLIENTS: i64 = 65_536;

/// Mbit/s of a client unless told otherwise: the best that Wi-Fi does.
const DEFAULT_CLIENT_MBIT: u64 = 500;

/// Mbit/s of all unless told otherwise: what the machines have that relays run on.
const DEFAULT_TOTAL_MBIT: u64 = 1000;

/// The bound of both: more than any network interface.
const MOST_MBIT: u64 = 1_000_000;

const BYTES_PER_MBIT: u64 = 125_000;

const QUICK_START: &str = "\
Quick start:
  rrto certs certs --add-room robots                     make a room's secret, once; it belongs beside
                                                         the certificates of its server and robots, too
  scp certs/rooms/robots.key RELAY:rooms/                the relay needs nothing else of them
  rrto-gpud relay --rooms rooms                          on RELAY, which both sides can reach
  rrto-gpud --certs certs --relay relay://RELAY:7787/robots
  rrto run --server relay://RELAY:7787/robots --certs certs -- PROGRAM";

/// Forwards between servers and programs that are both behind address translators.
///
/// Both dial this relay. It forwards only between those who prove that they know a room's secret, and sees nothing
/// of what they say: that is encrypted from program to server, as without a relay.
#[derive(Parser, Clone, Debug, PartialEq)]
#[command(name = "rrto-gpud relay", bin_name = "rrto-gpud relay", version, after_help = QUICK_START)]
pub struct RelayArgs {
    /// UDP address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value_t = SocketAddr::from(([0, 0, 0, 0], DEFAULT_RELAY_PORT)))]
    pub listen: SocketAddr,

    /// Directory with a file NAME.key for each room, as `rrto certs DIR --add-room NAME` makes them
    #[arg(long, value_name = "DIR")]
    pub rooms: PathBuf,

    /// Clients of a room at a time
    #[arg(long, value_name = "N", default_value_t = DEFAULT_ROOM_CLIENTS,
          value_parser = clap::value_parser!(u32).range(1..=MOST_CLIENTS))]
    pub room_clients: u32,

    /// Clients behind one IP address at a time
    #[arg(long, value_name = "N", default_value_t = DEFAULT_SOURCE_CLIENTS,
          value_parser = clap::value_parser!(u32).range(1..=MOST_CLIENTS))]
    pub source_clients: u32,

    /// Mbit/s of one client, both directions together; a datagram counts as 100 bytes more than it has
    #[arg(long, value_name = "N", default_value_t = DEFAULT_CLIENT_MBIT,
          value_parser = clap::value_parser!(u64).range(1..=MOST_MBIT))]
    pub client_mbit: u64,

    /// Mbit/s of all clients together, counted likewise
    #[arg(long, value_name = "N", default_value_t = DEFAULT_TOTAL_MBIT,
          value_parser = clap::value_parser!(u64).range(1..=MOST_MBIT))]
    pub total_mbit: u64,

    /// Serve Prometheus metrics on this TCP address, or on this port of 127.0.0.1 [default: off]
    #[arg(long, value_name = "PORT|ADDR", value_parser = units::local_address)]
    pub metrics: Option<SocketAddr>,

    /// What to log on stderr: off, error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value_t = LevelFilter::INFO)]
    pub log_level: LevelFilter,
}

impl RelayArgs {
    /// What parties may have.
    pub fn limits(&self) -> Limits {
        Limits {
            room_clients: self.room_clients,
            source_clients: self.source_clients,
            flow_bytes_per_s: self.client_mbit.saturating_mul(BYTES_PER_MBIT),
            total_bytes_per_s: self.total_mbit.saturating_mul(BYTES_PER_MBIT),
        }
    }

    /// The relay's command line, for the parser, if `line` is one.
    pub(super) fn of(line: impl IntoIterator<Item = OsString>) -> Option<Vec<OsString>> {
        super::after(RELAY, line)
    }
}
