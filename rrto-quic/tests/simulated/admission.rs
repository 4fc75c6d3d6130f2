//! Handshakes that are begun and never go on, as whoever sends from addresses that are not its own begins them: robots get in all the
//! same. And servers that have no place for a while.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rrto_core::testing::link::{Outage, Params, Timeline};
use rrto_core::wire::Mode;
use rrto_quic::ConnectError;
use rrto_quic::testing::{Network, simulate};
use tokio::time::{Instant, sleep};

use crate::harness::connect;
use crate::scenarios::{RTT, link};
use crate::sessions::{Program, Server, Wiretap, is_initial, patient, robot};

/// Connections that the server may have.
const PLACES: u32 = 16;

/// Begins four times as many. Nothing of what the server says arrives, so none goes on; each is tried again for longer than a test takes.
async fn flood(network: &Network, server: SocketAddr) {
    let deaf = Params { outage: Outage::Lose, ..link() };
    let [up, down] = [link(), deaf].map(|params| Timeline::constant(params).unwrap());
    let host = network.robot(network.path(up, down));
    for _ in 0..4 * PLACES {
        let host = host.clone();
        tokio::spawn(async move { connect(&host, server).await.err() });
    }
    sleep(Duration::from_millis(100)).await;
}

#[test]
fn robots_get_in_beside_handshakes_that_never_go_on() {
    simulate(1, |network| async move {
        let server = Server::start_with(&network.server(), Duration::from_secs(10), PLACES);
        flood(&network, server.address).await;
        let robot = Arc::new(robot(&network, link()));
        let mut program = Program::start(robot, patient(server.address, Mode::Pipeline)).await;
        for _ in 0..10 {
            program.infer().await;
            sleep(Duration::from_millis(33)).await;
        }
        program.end(&server).await;
    });
}

#[test]
fn a_session_comes_back_beside_them_with_early_data() {
    simulate(2, |network| async move {
        let server = Server::start_with(&network.server(), Duration::from_secs(10), PLACES);
        let tap = Wiretap::new(robot(&network, link()));
        let mut program =
            Program::start(Arc::new(tap.clone()), patient(server.address, Mode::Pipeline)).await;
        program.infer().await;
        flood(&network, server.address).await;
        // The connection that there is gets nothing to the server any more.
        let start = Instant::now();
        let mute = tap.mute_short_headers();
        program.compute().await;
        drop(mute);
        // One round trip more than without: it shows that it gets what is sent to its address.
        let first = tap.since(start).into_iter().find(|(_, datagram)| is_initial(datagram)).unwrap().0;
        assert!(first.elapsed() <= RTT.mul_f64(2.2), "{:?}", first.elapsed());
        let statistics = program.link.statistics();
        let counted = [statistics.connections, statistics.early_connections, statistics.refused_early];
        assert_eq!(counted, [2, 1, 0]);
        program.infer().await;
        program.end(&server).await;
    });
}

/// What a robot is told that asks beside another one, which ends after `busy`, at a server with one place; and after how long.
fn ask_a_busy_server(seed: u64, busy: Duration) -> (Result<(), ConnectError>, Duration) {
    simulate(seed, |network| async move {
        let server = Server::start_with(&network.server(), Duration::from_secs(10), 1);
        let first =
            Program::start(Arc::new(robot(&network, link())), patient(server.address, Mode::Pipeline)).await;
        let start = Instant::now();
        let second = robot(&network, link());
        let asked = async { connect(&second, server.address).await.map(drop) };
        let ended = async {
            sleep(busy).await;
            first.link.close(Duration::from_secs(1)).await;
            std::future::pending().await
        };
        tokio::select! {
            asked = asked => (asked, start.elapsed()),
            () = ended => unreachable!("it never ends"),
        }
    })
}

#[test]
fn a_robot_that_finds_no_place_asks_again_until_it_has_one_or_no_patience() {
    for (seed, busy_ms) in [(3, 10), (4, 300), (5, 12_000)] {
        let busy = Duration::from_millis(busy_ms);
        let (asked, took) = ask_a_busy_server(seed, busy);
        assert!(asked.is_ok(), "{asked:?}");
        assert!(
            took < busy * 2 + Duration::from_millis(500) && took < busy + Duration::from_secs(2),
            "{took:?}"
        );
    }
    let (asked, took) = ask_a_busy_server(6, Duration::from_secs(60));
    assert!(matches!(asked, Err(ConnectError::Busy { .. })), "{asked:?}");
    // As long as the robot's configuration says, less a pause.
    assert!((18..=20).contains(&took.as_secs()), "{took:?}");
}
