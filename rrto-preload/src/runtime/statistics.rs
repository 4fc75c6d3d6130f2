//! `RRTO_STATS`: what the session has carried, as JSON.

use std::path::Path;

use rrto_core::wire::Mode;
use rrto_quic::LinkStatistics;

use super::insight::link_json;
use crate::{boundary, log};

/// One JSON object. Bytes are bytes, times are ms.
pub(super) fn json(mode: Mode, statistics: &LinkStatistics) -> String {
    let mut object = link_json(statistics);
    object["mode"] = mode.to_string().into();
    object.to_string()
}

/// Writes them to a file.
pub(super) fn write(path: &Path, mode: Mode, statistics: &LinkStatistics) {
    let object = json(mode, statistics);
    if let Err(error) = boundary::write(path, format!("{object}\n").as_bytes()) {
        log::error!(
            "cannot write the statistics to {}: {error}; set RRTO_STATS to another file",
            path.display()
        );
    }
}
