//! A link between real sockets.
//!
//! Clients send to the link's address, and each client address gets a socket of its own towards the server, so that the
//! server tells clients apart. One thread moves all datagrams of both ways, in batches (GRO and GSO where the kernel has
//! them). Between two it sleeps in `ppoll`, or stays awake on a machine with processors to spare. ECN marks pass through.
//!
//! What happens to a datagram is [`crate::link`]'s to decide; the proxy only carries it out. It uses bounded memory:
//! at most [`MAX_FLOWS`] clients, [`MAX_HELD_BYTES`] a direction.

mod engine;
mod flows;
mod kernel;
mod port;
mod stats;

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::script::{Change, Scenario};
use engine::Engine;
pub use stats::{Dropped, Lateness, Stats, WayStats};

/// The most clients at a time; one more takes the place of the one that was silent for longest. Each has a socket.
pub const MAX_FLOWS: usize = 64;

/// The most datagrams' bytes that one direction holds, queued or propagating: 10 Gbit/s for 50 ms.
pub const MAX_HELD_BYTES: usize = 64 << 20;

/// A client that neither sends nor receives for this long is forgotten; above the 30 s of a QUIC idle timeout.
pub const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(120);

/// What a proxy does.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where clients send to; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The server.
    pub to: SocketAddr,
    /// What the link does over time, from the moment it starts.
    pub scenario: Scenario,
    /// All randomness comes from this.
    pub seed: u64,
    /// How long a silent client is remembered.
    pub idle_timeout: Duration,
}

impl Config {
    /// A link from a free port of 127.0.0.1 to `to`.
    pub fn new(to: SocketAddr, scenario: Scenario, seed: u64) -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        Self { listen, to, scenario, seed, idle_timeout: DEFAULT_IDLE_TIMEOUT }
    }
}

/// Why a proxy does not start.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The listening address cannot be had.
    #[error("cannot listen on {listen}: {reason}; choose a free port, or port 0 for any")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// Why.
        reason: io::Error,
    },
    /// The script moves clients to other addresses, and there are none.
    #[error(
        "{to}: clients can only change their address towards a server on 127.0.0.0/8; a change of the port works everywhere"
    )]
    NoAddresses {
        /// The server.
        to: SocketAddr,
    },
    /// The system refuses something else.
    #[error("cannot start the link")]
    Start(#[from] io::Error),
}

/// A running link. It stops when dropped; what it holds then is lost.
#[derive(Debug)]
pub struct Proxy {
    listen_addr: SocketAddr,
    started_at: Instant,
    stats: Arc<Mutex<Stats>>,
    /// Closing it wakes and ends the thread.
    alive: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Starts a link. Its scenario's time 0 is now.
    pub fn start(config: Config) -> Result<Self, ProxyError> {
        let listen = config.listen;
        let moves = config.scenario.roams().iter().any(|roam| roam.change == Change::Address);
        if moves && !matches!(config.to.ip(), IpAddr::V4(ip) if ip.is_loopback()) {
            return Err(ProxyError::NoAddresses { to: config.to });
        }
        let socket = UdpSocket::bind(listen).map_err(|reason| ProxyError::Listen { listen, reason })?;
        let listen_addr = socket.local_addr()?;
        let (alive, ended) = UnixStream::pair()?;
        let stats = Arc::new(Mutex::new(Stats::default()));
        let started_at = Instant::now();
        let engine = Engine::new(config, socket, ended, started_at, Arc::clone(&stats))?;
        let thread = std::thread::Builder::new().name("netem link".into()).spawn(move || engine.run())?;
        Ok(Self { listen_addr, started_at, stats, alive: Some(alive), thread: Some(thread) })
    }

    /// Where clients send to.
    pub fn listen_addr(&self) -> SocketAddr {
        self.listen_addr
    }

    /// The scenario's time 0.
    pub fn started_at(&self) -> Instant {
        self.started_at
    }

    /// What has happened so far.
    pub fn stats(&self) -> Stats {
        let mut stats = self.stats.lock().unwrap_or_else(PoisonError::into_inner).clone();
        stats.elapsed_s = self.started_at.elapsed().as_secs_f64();
        stats
    }

    /// Stops and says what has happened.
    pub fn stop(mut self) -> Stats {
        self.end();
        self.stats()
    }

    fn end(&mut self) {
        self.alive.take();
        if let Some(thread) = self.thread.take() {
            // It only fails if the thread panicked, which has then been reported on stderr.
            let _ = thread.join();
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.end();
    }
}
