//! What UDP has carried, over all connections of a session.

use quinn::Connection;

/// UDP payloads, and packets found lost.
#[derive(Clone, Copy, Default)]
pub(super) struct Carried {
    pub(super) up: u64,
    pub(super) down: u64,
    pub(super) lost: u64,
}

impl Carried {
    /// With what a connection has carried.
    pub(super) fn and(self, connection: Option<&Connection>) -> Carried {
        let Some(stats) = connection.map(Connection::stats) else { return self };
        Carried {
            up: self.up + stats.udp_tx.bytes,
            down: self.down + stats.udp_rx.bytes,
            lost: self.lost + stats.path.lost_packets,
        }
    }
}
