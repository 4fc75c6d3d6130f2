//! The scenarios of the QUIC interop runner (<https://interop.seemann.io>): its links, its sizes, and times within which they must
//! be over. Where it bounds the packets lost in a row, these do not.

use std::time::Duration;

use rrto_core::testing::link::{Outage, Params, Way};
use rrto_quic::testing::{Host, script, simulate, steady};
use tokio::time::{Instant, sleep, timeout};

use crate::scenarios::Setup;

const SECOND: Duration = Duration::from_secs(1);
const FILE_BYTES: usize = 10 << 20;

/// After so much silence a client asks for a sign of life, as a session's does that awaits an answer.
const SIGN_OF_LIFE: Duration = Duration::from_millis(50);

/// 10 Mbit/s, 15 ms each way, and a queue of 25 packets.
fn link() -> Params {
    Params { queue_bytes: 25 * 1500, ..steady(Duration::from_millis(30), 10.0) }
}

/// What the file takes at the link's rate.
fn ideal() -> Duration {
    Duration::from_secs_f64(FILE_BYTES as f64 * 8.0 / 10e6)
}

/// Brings `bytes` from the server to the robot, while `disturb` does to the robot's host what it likes; gives how long it took
/// from the first packet of the handshake on.
fn download<F>(setup: &Setup, bytes: usize, disturb: impl FnOnce(Host) -> F) -> Duration
where
    F: Future<Output = ()> + Send + 'static,
{
    simulate(setup.seed, |network| async move {
        let path = setup.path(&network);
        let pair = setup.pair();
        let listener = pair.serve(&network.server()).unwrap();
        let host = network.robot(path);
        let began = Instant::now();
        let disturbed = tokio::spawn(disturb(host.clone()));
        let (robot, server) = pair.connect(&host, &listener).await.unwrap();
        tokio::spawn(async move {
            let mut stream = server.open_uni().await.unwrap();
            stream.write_all(&vec![7; bytes]).await.unwrap();
            stream.finish().unwrap();
            server.closed().await;
        });
        let mut stream = robot.accept_uni().await.unwrap();
        assert_eq!(stream.read_to_end(bytes).await.unwrap().len(), bytes);
        disturbed.abort();
        began.elapsed()
    })
}

async fn nothing(_: Host) {}

async fn every_five_seconds(host: Host, change: fn(&Host)) {
    sleep(SECOND).await;
    loop {
        change(&host);
        sleep(5 * SECOND).await;
    }
}

#[test]
fn handshakes_survive_the_loss_of_thirty_percent() {
    for seed in 0..50 {
        let took = download(&Setup::new(seed, Params { loss: 0.3, ..link() }), 1024, nothing);
        assert!(took < 10 * SECOND, "seed {seed}: {took:?}");
    }
}

#[test]
fn a_transfer_hardly_notices_the_loss_of_two_percent() {
    let took = download(&Setup::new(1, Params { loss: 0.02, ..link() }), FILE_BYTES, nothing);
    assert!(took < ideal().mul_f64(1.2), "{took:?}");
}

#[test]
fn a_transfer_survives_two_seconds_of_nothing() {
    let gone = Params { outage: Outage::Lose, ..link() };
    let timeline = script(&[(5 * SECOND, link()), (2 * SECOND, gone), (SECOND, link())]).unwrap();
    let took = download(&Setup::scripted(1, timeline), FILE_BYTES, nothing);
    // QUIC's probes may come only after the link has been back for as long as it was away.
    assert!(took < ideal().mul_f64(1.1) + 2 * SECOND + 2 * SECOND, "{took:?}");
}

#[test]
fn a_transfer_survives_new_ports() {
    let rebind = |host| every_five_seconds(host, Host::change_ports);
    let took = download(&Setup::new(1, link()), FILE_BYTES, rebind);
    assert!(took < ideal().mul_f64(1.2), "{took:?}");
}

#[test]
fn a_transfer_survives_new_addresses() {
    let relocate = |host| every_five_seconds(host, |host| host.change_address(None));
    let mut setup = Setup::new(1, link());
    // All that is on its way to the old address is lost, and who only receives has nothing to acknowledge then, so nothing
    // to send: the server would learn the new address with the next keep-alive packet, seconds later, unless an
    // acknowledgement happened to be due in the millisecond of the change.
    setup.adjust = |config| {
        config.keep_alive_interval(Some(SIGN_OF_LIFE));
    };
    let took = download(&setup, FILE_BYTES, relocate);
    assert!(took < ideal().mul_f64(1.2), "{took:?}");
}

#[test]
fn a_round_trip_of_750_ms_is_no_obstacle() {
    let far = Params { queue_bytes: 1 << 20, ..steady(Duration::from_millis(750), 10.0) };
    let took = download(&Setup::new(1, far), FILE_BYTES, nothing);
    assert!(took < 30 * SECOND, "{took:?}");
}

#[test]
fn a_server_sends_an_unknown_address_three_times_what_came_from_it_at_most() {
    simulate(1, |network| async move {
        // Nothing comes back, so the address stays unknown while the robot goes on trying.
        let mut setup = Setup::new(1, link());
        setup.down = script(&[(SECOND, Params { outage: Outage::Lose, ..link() })]).unwrap();
        let path = setup.path(&network);
        let pair = setup.pair();
        let server = pair.serve(&network.server()).unwrap();
        let robot = network.robot(path);
        let until = Instant::now() + 20 * SECOND;
        let dial = pair.connect(&robot, &server);
        tokio::pin!(dial);
        while Instant::now() < until {
            let _ = timeout(Duration::from_millis(100), &mut dial).await;
            let [up, down] = [Way::Up, Way::Down].map(|way| network.counts(path, way));
            let payload = |bytes, datagrams| bytes - datagrams * 28;
            assert!(payload(down.sent_bytes, down.sent) <= 3 * payload(up.bytes, up.sent - up.lost));
            assert!(down.sent > 0 || network.now() < SECOND);
        }
    });
}
