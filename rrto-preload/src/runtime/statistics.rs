//! `RRTO_STATS`: what the session has carried, as JSON.

use std::path::Path;

use rrto_core::wire::Mode;
use rrto_quic::LinkStatistics;
use serde_json::json;

use crate::log;

/// One JSON object. Bytes are bytes, times are ms.
pub(super) fn json(mode: Mode, statistics: &LinkStatistics) -> String {
    json!({
        "mode": mode.to_string(),
        "operators": statistics.operators,
        "round_trips": statistics.round_trips,
        "control_bytes_up": statistics.control_bytes_up,
        "control_bytes_down": statistics.control_bytes_down,
        "bulk_bytes_up": statistics.bulk_bytes_up,
        "bulk_bytes_down": statistics.bulk_bytes_down,
        "udp_bytes_up": statistics.udp_bytes_up,
        "udp_bytes_down": statistics.udp_bytes_down,
        "lost_packets": statistics.lost_packets,
        "rtt_ms": statistics.rtt.as_secs_f64() * 1e3,
    })
    .to_string()
}

/// Writes them to a file.
pub(super) fn write(path: &Path, mode: Mode, statistics: &LinkStatistics) {
    let object = json(mode, statistics);
    if let Err(error) = std::fs::write(path, format!("{object}\n")) {
        log::error!(
            "cannot write the statistics to {}: {error}; set RRTO_STATS to another file",
            path.display()
        );
    }
}
