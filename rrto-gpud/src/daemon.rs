//! The running server: a device, the gate to it, the listener in front, and the metrics beside.

use std::future::Future;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ::metrics::gauge;
use metrics_exporter_prometheus::BuildError;
use rrto_core::engine::ServerLimits;
use rrto_quic::{Coding, Listener, Reloader, ServeConfig, ServeError};

use crate::cli::Args;
use crate::device::{Device, Limits};
use crate::expiry;
use crate::gate::{Gate, Quota};
use crate::metrics;

/// Connections beyond two a session, which a robot has when it roams, so that a client of a full server is told so instead of
/// timing out.
const SPARE_CONNECTIONS: u32 = 16;

/// How long sessions may take to free what they hold when the server ends. A kernel that never ends must not keep
/// the process alive: its exit frees everything too.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(10);

/// Why the server cannot start, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Certificates, or the UDP address.
    #[error("{0}{hint}", hint = hint(.0))]
    Listen(#[from] ServeError),
    /// The metrics' TCP address.
    #[error("cannot serve metrics on {address}: {cause}\nGive another port with --metrics, or leave it out")]
    Metrics {
        /// As given.
        address: SocketAddr,
        /// Why.
        cause: BuildError,
    },
}

/// What to do about an address that cannot be had; credentials' errors say it themselves.
fn hint(error: &ServeError) -> &'static str {
    let ServeError::Listen { cause, .. } = error else { return "" };
    match cause.kind() {
        ErrorKind::AddrInUse => {
            "\nAnother rrto-gpud may be running; give another port with --listen ADDR:PORT"
        }
        ErrorKind::AddrNotAvailable => {
            "\nThis machine has no such address; --listen 0.0.0.0:7786 takes all it has"
        }
        ErrorKind::PermissionDenied => "\nPorts below 1024 are root's; give another with --listen ADDR:PORT",
        _ => "",
    }
}

/// A server that listens.
pub struct Daemon {
    listener: Listener,
    device: Arc<dyn Device>,
    gate: Arc<Gate>,
}

impl Daemon {
    /// Listens, to serve `device`. Must be called inside a Tokio runtime, once per process: it installs the
    /// metrics' recorder if `args` ask for metrics.
    ///
    /// # Errors
    /// What is missing or in use.
    pub fn start(args: &Args, device: Arc<dyn Device>) -> Result<Self, StartError> {
        if let Some(address) = args.metrics {
            start_metrics(address)?;
        }
        let limits = Limits { memory_bytes: args.session_memory.unwrap_or(u64::MAX), ..Limits::default() };
        let serve = ServeConfig {
            listen: args.listen,
            credentials: args.credentials(),
            limits: ServerLimits::default(),
            idle_timeout: args.session_idle,
            congestion: args.congestion,
            coding: Coding::Auto,
            grace: args.grace,
            max_waiting: args.max_sessions.div_ceil(2),
            max_connections: args.max_sessions.saturating_mul(2).saturating_add(SPARE_CONNECTIONS),
        };
        let listener = match &args.relay {
            Some(relay) => Listener::bind_behind(relay, serve)?,
            None => Listener::bind(serve)?,
        };
        let listener = listener.with_drain(args.drain);
        expiry::watch(args.credentials());
        let quota = Quota { sessions: args.max_sessions, of_a_robot: args.sessions_per_robot };
        let gate = Arc::new(Gate::new(Arc::clone(&device), limits, quota));
        Ok(Daemon { listener, device, gate })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.listener.local_addr()
    }

    /// For reading the certificates again while it serves.
    pub fn reloader(&self) -> Reloader {
        self.listener.reloader()
    }

    /// The device's name.
    pub fn device_name(&self) -> &str {
        &self.device.info().name
    }

    /// Serves until `shutdown` is ready, lets what is running end, then ends all sessions and waits until what they held is
    /// freed.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        let Daemon { listener, gate, .. } = self;
        let sessions = Arc::clone(&gate);
        let told = async move {
            shutdown.await;
            tracing::info!(sessions = sessions.sessions(), "no new sessions: what is running may end");
            gauge!(metrics::DRAINING).set(1.0);
        };
        listener.serve(Arc::clone(&gate) as Arc<dyn rrto_quic::Gate>, told).await;
        tracing::info!(sessions = gate.sessions(), "shutting down");
        let waited = tokio::task::spawn_blocking(move || gate.wait_until_empty(SHUTDOWN_LIMIT)).await;
        match waited {
            Ok(0) => tracing::info!("all sessions have ended"),
            Ok(left) => tracing::warn!(left, "sessions did not end in time; the process's exit frees them"),
            Err(error) => tracing::error!(%error, "waiting for sessions failed"),
        }
    }
}

/// Serves metrics as long as the process lives. Must be called inside a Tokio runtime, once per process.
///
/// # Errors
/// The address is not free or not this machine's.
pub fn start_metrics(address: SocketAddr) -> Result<(), StartError> {
    let failed = |cause| StartError::Metrics { address, cause };
    let (recorder, serving) = metrics::exporter(address).map_err(failed)?;
    ::metrics::set_global_recorder(recorder).map_err(|error| failed(error.into()))?;
    metrics::describe();
    tokio::spawn(serving);
    if !address.ip().is_loopback() {
        tracing::warn!(%address, "metrics are readable by other machines, without any proof of who they are");
    }
    tracing::info!("metrics: http://{address}/metrics");
    Ok(())
}
