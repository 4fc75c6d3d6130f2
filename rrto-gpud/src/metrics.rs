//! What the daemon counts, for Prometheus. Every name stands once, in the table below, with its description.

mod kind;
mod meter;

pub use kind::Kind;
pub use meter::SessionMeter;

use std::net::SocketAddr;

use metrics::Unit;
use metrics_exporter_prometheus::{BuildError, ExporterFuture, PrometheusBuilder, PrometheusRecorder};

/// Upper bounds, seconds, of [`EXECUTE`]'s buckets: from a launch (a few microseconds) to loading a large module.
const EXECUTE_BUCKETS_SECONDS: &[f64] = &[1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0];

macro_rules! define_metrics {
    ($($id:ident = $describe:ident $name:literal $({ $label:literal })?, $unit:ident, $help:literal;)*) => {
        $(
            #[doc = concat!("`", $name, "`", $(" by `", $label, "`",)? ": ", $help)]
            pub const $id: &str = $name;
        )*

        /// Registers every metric's unit and description with the current recorder.
        pub fn describe() {
            $(metrics::$describe!($name, Unit::$unit, $help);)*
        }

        #[cfg(test)]
        const NAMES: &[&str] = &[$($name),*];
    };
}

// A row: constant = how it is described, name, label if it has one, unit, description.
define_metrics! {
    SESSIONS = describe_gauge "rrto_sessions", Count, "Sessions now.";
    DRAINING = describe_gauge "rrto_draining", Count, "1 from when the server is to end: it takes no new sessions.";
    SESSIONS_ADMITTED = describe_counter "rrto_sessions_admitted_total", Count, "Sessions that were admitted.";
    SESSIONS_REFUSED = describe_counter "rrto_sessions_refused_total", Count, "Sessions refused because the server was full.";
    ADMISSIONS = describe_counter "rrto_admissions_total" {"event"}, Count, "What the server did for room for those who are there or come: asked for an address to be shown, found all places taken, had a handshake, a connection or a session give way, or ended a session whose program is gone.";
    SESSION_PANICS = describe_counter "rrto_session_panics_total", Count, "Sessions that ended by a bug in the server.";
    OPERATORS = describe_counter "rrto_operators_total" {"kind"}, Count, "Operators issued.";
    ERRORS = describe_counter "rrto_operator_errors_total" {"result"}, Count, "Operators that answered an error; not ready is an answer.";
    PAYLOAD = describe_counter "rrto_payload_bytes_total" {"direction"}, Bytes, "Payload bytes of copies and images, up from programs and down to them.";
    MEMORY = describe_gauge "rrto_memory_bytes", Bytes, "Device memory that sessions have allocated.";
    PENDING = describe_gauge "rrto_pending_operators", Count, "Operators issued whose completion is awaited.";
    SPANS = describe_counter "rrto_spans_total", Count, "Spans of sequences that were replayed.";
    SPAN_OPERATORS = describe_counter "rrto_span_operators_total" {"manner"}, Count, "Operators of spans, by how they were issued: in a CUDA graph or singly. The software GPU does not count.";
    GRAPH_BUILDS = describe_counter "rrto_graph_builds_total", Count, "CUDA graphs that were built.";
    GRAPH_LAUNCHES = describe_counter "rrto_graph_launches_total", Count, "CUDA graphs that were launched.";
    GRAPH_PATCHES = describe_counter "rrto_graph_patches_total", Count, "Kernel nodes of CUDA graphs that were changed before a launch.";
    RELAY_CLIENTS = describe_gauge "rrto_relay_clients", Count, "Clients that a relay forwards for now.";
    RELAY_SERVERS = describe_gauge "rrto_relay_servers", Count, "Rooms of a relay that have a server now.";
    RELAY_DATAGRAMS = describe_counter "rrto_relay_datagrams_total", Count, "Datagrams that a relay has forwarded.";
    RELAY_BYTES = describe_counter "rrto_relay_bytes_total", Bytes, "Bytes of UDP payload that a relay has forwarded.";
    RELAY_DROPPED = describe_counter "rrto_relay_dropped_total" {"why"}, Count, "Datagrams that a relay has not forwarded.";
    RELAY_REGISTRATIONS = describe_counter "rrto_relay_registrations_total" {"outcome"}, Count, "Registrations at a relay, renewals among them.";
    LOG_LOST = describe_counter "rrto_log_lines_lost_total" {"why"}, Count, "Lines of log that nobody reads: unwritable, too many for a slow reader, or summed up in another one.";
    EXECUTE = describe_histogram "rrto_execute_seconds", Seconds, "Time to issue an operator, without what the device does later.";
}

/// Makes the recorder, and what serves it as Prometheus text at `http://ADDRESS/metrics`.
/// Must be called inside a Tokio runtime.
///
/// # Errors
/// The address is not free or not this machine's.
pub fn exporter(address: SocketAddr) -> Result<(PrometheusRecorder, ExporterFuture), BuildError> {
    PrometheusBuilder::new().with_http_listener(address).set_buckets(EXECUTE_BUCKETS_SECONDS)?.build()
}

#[cfg(test)]
mod tests;
