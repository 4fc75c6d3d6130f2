//! Whether the program behind a connection is still there.
//!
//! A program that was killed says nothing, and a connection that is silent may be a robot's that drives through a tunnel. What
//! tells them apart is the robot's host: if it is there, it says that the port is closed ([`ClosedPorts`]). That is a reason to
//! look: the client is sent something that it has to acknowledge, again and again. If it is heard, whatever was reported was not so. If
//! it is not, and is reported as gone again in answer to that, its session is over.
//!
//! Where no host says anything (a relay, a translator of addresses that drops such messages, a robot without power), the idle
//! time and the grace time rule.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::{Connection, VarInt};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tracing::info;

use super::registry::Registry;
use super::{Counted, Shared};
use crate::close;
use crate::reports::ClosedPorts;
use crate::transport::RECEIVE_WINDOW_BYTES;

/// A client that is there is heard within this, whatever the link does to some packets; of those on a slow link within as many
/// round trips as below.
const PATIENCE: Duration = Duration::from_secs(2);

/// When another program of the robot has just come from the same address, the link is there.
const PATIENCE_BESIDE_ANOTHER: Duration = Duration::from_millis(250);

const PATIENCE_RTTS: u32 = 4;

/// How often it is sent something.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// How often it is looked whether it was heard.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What a look has shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Seen {
    Alive,
    Silent,
    Gone,
}

/// Looks after whom hosts report as gone. Never ends.
pub(super) async fn follow(registry: Arc<Registry>, mut reports: ClosedPorts) {
    loop {
        let address = reports.next().await;
        for (shared, number) in registry.note_closed(address) {
            let registry = registry.clone();
            tokio::spawn(async move { look(&registry, &shared, number, PATIENCE).await });
        }
    }
}

/// Looks whether the other programs of `robot` are there, one of which has just come from `peer`: so a robot that starts a
/// program that was killed finds what the dead one had free. Takes a round trip, if none was.
pub(super) async fn look_after(registry: &Arc<Registry>, robot: &str, peer: SocketAddr) {
    let mut looks = JoinSet::new();
    for (shared, number, address) in registry.connections_of(robot) {
        let is_beside = address.ip().to_canonical() == peer.ip().to_canonical();
        let patience = if is_beside { PATIENCE_BESIDE_ANOTHER } else { PATIENCE };
        let registry = registry.clone();
        looks.spawn(async move { look(&registry, &shared, number, patience).await });
    }
    // Who says nothing at all is not waited for longer.
    let all = async { while looks.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(2 * PATIENCE_BESIDE_ANOTHER, all).await;
    looks.detach_all();
}

async fn look(registry: &Registry, shared: &Shared, number: u64, patience: Duration) {
    let begun = {
        let mut state = shared.lock();
        state.path(number).map(|path| (path.connection.clone(), path.reports))
    };
    let Some((connection, reports)) = begun else { return };
    let seen = ask(shared, number, (&connection, reports), patience).await;
    if let Some(path) = shared.lock().path(number) {
        path.is_looked_at = false;
    }
    if seen == Seen::Gone {
        info!(session = shared.id, robot = %shared.robot, "the program is gone: its host says that its port is closed");
        shared.set_over("the program is gone: its host says that its port is closed".into());
        connection.close(close::DONE, b"");
        registry.count(Counted::ProgramGone);
    }
}

async fn ask(
    shared: &Shared,
    number: u64,
    (connection, reports): (&Connection, u64),
    patience: Duration,
) -> Seen {
    let heard = connection.stats().udp_rx.datagrams;
    let start = Instant::now();
    let patience = patience.max(connection.rtt() * PATIENCE_RTTS);
    let mut next_question = start;
    loop {
        let now = Instant::now();
        if now >= next_question {
            next_question = now + ASK_EVERY;
            elicit(connection);
        }
        sleep(LOOK_EVERY).await;
        if connection.stats().udp_rx.datagrams != heard || connection.close_reason().is_some() {
            return Seen::Alive;
        }
        let Some(now_reported) = shared.lock().path(number).map(|path| path.reports) else {
            return Seen::Alive;
        };
        if start.elapsed() >= patience {
            return if now_reported > reports { Seen::Gone } else { Seen::Silent };
        }
    }
}

/// Has QUIC send something that has to be acknowledged: quinn's ping is its own, but a window that grows is told at once (RFC 9000,
/// section 19.9). It shrinks again without a word.
fn elicit(connection: &Connection) {
    connection.set_receive_window(VarInt::from_u32(RECEIVE_WINDOW_BYTES + 1));
    connection.set_receive_window(VarInt::from_u32(RECEIVE_WINDOW_BYTES));
}
