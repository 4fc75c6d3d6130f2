//! The process-wide state: the one session, made when the program first initialises CUDA.
//!
//! Loading the library does nothing. cuInit connects; everything before it is refused, as CUDA does. A failed attempt
//! is not repeated, because every copy of the CUDA runtime in a process tries again and each would wait.

mod config;
mod insight;
mod nowhere;
mod recording;
mod statistics;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rrto_core::api::CuResult;
use rrto_core::engine::ClientLimits;
use rrto_core::wire::DeviceInfo;
use rrto_quic::{Link, LinkConfig, ProgramMemory};

use crate::boundary::{Guest, Interrupted};
use crate::client::{Call, Client, Deliveries, Remote};
use crate::context::{ContextHandle, contexts};
use crate::private_tables::{DeviceFacts, Facts, Source};
use crate::{boundary, lane, log};

use config::Config;
use insight::Insight;
use recording::Recording;

/// What cuDriverGetVersion answers: the version whose functions the table has. It must not change when the server is
/// known, because cudart asks before it initialises and hashes the answer afterwards.
pub(crate) const DRIVER_VERSION: i32 = 13_000;

/// How long the process's end may wait for the goodbye to leave.
const FAREWELL_LIMIT: Duration = Duration::from_millis(200);

/// The session, or why cuInit fails.
static SESSION: OnceLock<Result<Session, CuResult>> = OnceLock::new();

struct Session {
    client: Client,
    config: Config,
    insight: Option<Arc<Insight>>,
}

/// cuInit. The first call connects; all others do what it did.
pub(crate) fn start() -> Result<(), CuResult> {
    let session = match SESSION.get() {
        Some(session) => session,
        None => SESSION.get_or_init(|| boundary::start(connect)),
    };
    session.as_ref().map(|_| ()).map_err(|error| *error)
}

/// The session's client, for calls that need no context.
///
/// # Errors
/// NOT_INITIALIZED before cuInit has succeeded.
#[inline]
pub(crate) fn client() -> Result<&'static Client, CuResult> {
    match SESSION.get() {
        Some(Ok(session)) => Ok(&session.client),
        _ => Err(CuResult::NOT_INITIALIZED),
    }
}

/// A call of the program on this thread that needs the server and the current context.
///
/// # Errors
/// NOT_INITIALIZED, INVALID_CONTEXT or the sticky error, in this order.
#[inline]
pub(crate) fn call() -> Result<Call<'static>, CuResult> {
    call_in(client()?, contexts().require_current()?)
}

/// A call of the program on this thread that needs the server and no context, as those on libraries do: a library is the
/// process's and is loaded into each context that uses it (CUDA driver API, "Library Management"). The session's code
/// is the same in all contexts, so there is nothing to load it into; what such a call makes counts as the primary context's.
///
/// # Errors
/// NOT_INITIALIZED or the sticky error.
#[inline]
pub(crate) fn contextless_call() -> Result<Call<'static>, CuResult> {
    call_in(client()?, contexts().primary())
}

/// A call of the program on this thread on an object that has a context of its own, as an event has: none needs to be
/// current, but one that is current must exist.
///
/// # Errors
/// NOT_INITIALIZED, CONTEXT_IS_DESTROYED or the sticky error.
#[inline]
pub(crate) fn object_call() -> Result<Call<'static>, CuResult> {
    let client = client()?;
    match contexts().require_current() {
        Ok(current) => call_in(client, current),
        Err(CuResult::INVALID_CONTEXT) => call_in(client, contexts().primary()),
        Err(error) => Err(error),
    }
}

/// A call in a given context.
#[inline]
pub(crate) fn call_in(client: &'static Client, context: ContextHandle) -> Result<Call<'static>, CuResult> {
    client.call(lane::lane(), context)
}

/// What the private tables have to ask.
pub(crate) static TABLES: Source = Source {
    facts,
    is_known: |uuid| contextless_call()?.export_table(uuid),
    tpc_places: || call()?.tpc_places(),
    module_functions: |module| object_call()?.named_functions(module),
};

/// What cudart's integrity check is about.
fn facts() -> Result<Facts, CuResult> {
    let device = client()?.device();
    let pci = device.pci();
    let facts =
        DeviceFacts { uuid: device.uuid(), pci_domain: pci.domain, pci_bus: pci.bus, pci_device: pci.device };
    Ok(Facts { driver_version: DRIVER_VERSION.unsigned_abs(), devices: vec![facts] })
}

fn connect() -> Result<Session, CuResult> {
    if config::hides_the_device() {
        return Err(CuResult::NO_DEVICE);
    }
    let config = Config::from_environment().map_err(|problem| no_device(&problem))?;
    let deliveries = Arc::new(Deliveries::default());
    let insight = Insight::asked_by(&config);
    let memory: Arc<dyn ProgramMemory> = deliveries.clone();
    let memory = watched(insight.as_ref(), memory, Insight::watch_memory);
    let link = LinkConfig {
        server: config.server.clone(),
        credentials: config.credentials.clone(),
        mode: config.mode,
        program: config::program(),
        limits: ClientLimits::default(),
        connect_timeout: config.connect_timeout,
        silence_timeout: config.silence_timeout,
        coding: config.coding,
        congestion: config.congestion,
        tap: insight.as_ref().and_then(Insight::tap),
    };
    let link =
        Link::connect_in(Some(Arc::new(Guest)), link, memory).map_err(|problem| no_device(&problem))?;
    let welcome = link.welcome();
    log::info!(
        "session {} on {} (rrto-gpud {}): {}, mode {}",
        welcome.session,
        config.server,
        welcome.server_version,
        welcome.device.name,
        config.mode
    );
    let device: DeviceInfo = welcome.device.clone();
    boundary::at_end(farewell);
    lane::at_end(lane_farewell);
    let remote: Box<dyn Remote> = match &config.record {
        Some(path) => Box::new(Recording::new(link, path)),
        None => Box::new(link),
    };
    let remote = watched(insight.as_ref(), remote, Insight::watch);
    Ok(Session { client: Client::new(device, config.mode, remote, deliveries), config, insight })
}

/// `what`, with somebody watching it if a report or a trace is asked for.
fn watched<T>(insight: Option<&Arc<Insight>>, what: T, watch: fn(&Arc<Insight>, T) -> T) -> T {
    match insight {
        Some(insight) => watch(insight, what),
        None => what,
    }
}

fn no_device(problem: &dyn std::fmt::Display) -> CuResult {
    log::error!("{problem}; CUDA programs find no device");
    CuResult::NO_DEVICE
}

/// What the session has carried so far, if there is one.
pub(crate) fn statistics_json() -> Option<String> {
    let session = SESSION.get()?.as_ref().ok()?;
    Some(statistics::json(session.config.mode, &session.client.remote().statistics()))
}

/// Runs once when the process ends by exit or by returning from main. From a signal handler in one of our own calls only the
/// goodbye is said: all else needs locks that this thread may have.
fn farewell(Interrupted(is_interrupted): Interrupted) {
    let Some(Ok(session)) = SESSION.get() else { return };
    let remote = session.client.remote();
    if is_interrupted {
        return remote.close(FAREWELL_LIMIT);
    }
    if let Some(path) = &session.config.statistics {
        statistics::write(path, session.config.mode, &remote.statistics());
    }
    if let Some(insight) = &session.insight {
        insight.report(&session.config, remote);
    }
    remote.close(FAREWELL_LIMIT);
    // Last, because a long one takes a while.
    if let Some(insight) = &session.insight {
        insight.write_trace(&session.config);
    }
    log::say_the_rest();
}

/// Runs when a thread ends that has something of its own in the session.
fn lane_farewell(lane: u32) {
    boundary::guard(|| {
        if let Ok(client) = client() {
            client.end_lane(lane);
        }
        CuResult::SUCCESS
    });
}

/// A session with nothing at its other end, for measuring what is answered in the client. Not part of the interface.
#[doc(hidden)]
pub fn start_without_server(device: DeviceInfo) {
    let config = Config::nowhere();
    let client = Client::new(device, config.mode, Box::new(nowhere::Nowhere), Arc::default());
    let _ = SESSION.set(Ok(Session { client, config, insight: None }));
}
