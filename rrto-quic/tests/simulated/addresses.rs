//! Names that have several addresses, dead ones among them, that come late, and that move: a server is found by any of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rrto_core::operator::Operator;
use rrto_core::wire::Mode;
use rrto_quic::testing::{Host, Network, simulate};
use rrto_quic::{AsyncLink, ConnectError, LinkConfig};
use tokio::time::{Instant, sleep};

use crate::harness::{Memory, config, serve};
use crate::scenarios::{RTT, link};
use crate::sessions::{Program, Server, patient, robot};

const NAME: &str = "gpu.lan:4433";

/// Of RFC 8305, section 5.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// That the name has or has had in these tests.
const MOST_ADDRESSES: u32 = 6;

/// Addresses of hosts that never were: nothing comes back from there.
fn dead(number: usize) -> Vec<SocketAddr> {
    (0..number).map(|at| ([203, 0, 113, at as u8 + 1], 4433).into()).collect()
}

fn named() -> LinkConfig {
    LinkConfig {
        server: NAME.into(),
        connect_timeout: Duration::from_secs(5),
        ..config(([0, 0, 0, 0], 1).into())
    }
}

async fn connect(robot: &Host, config: LinkConfig) -> Result<AsyncLink, ConnectError> {
    AsyncLink::connect(Arc::new(robot.clone()), config, Arc::new(Memory::default())).await
}

/// How long it takes to connect where `addresses` are the name's, of which `before` are dead and come first.
async fn connects_within(network: &Network, addresses: &[SocketAddr], before: u32) {
    network.name(NAME, addresses);
    let start = Instant::now();
    connect(&robot(network, link()), named()).await.unwrap();
    let limit = ATTEMPT_DELAY * before + 4 * RTT;
    assert!(start.elapsed() <= limit, "{addresses:?}: {:?}, {limit:?}", start.elapsed());
}

#[test]
fn dead_addresses_cost_a_quarter_of_a_second_each() {
    for seed in 0..6 {
        simulate(seed, |network| async move {
            let live = serve(&network);
            let mut addresses = dead(seed as usize);
            addresses.push(live);
            addresses.extend(dead(9).split_off(seed as usize));
            connects_within(&network, &addresses, seed as u32).await;
        });
    }
}

#[test]
fn an_address_that_means_nothing_here_costs_nothing() {
    simulate(1, |network| async move {
        let live = serve(&network);
        // There is no IPv6 here.
        let other = "[2001:db8::1]:4433".parse().unwrap();
        connects_within(&network, &[other, live], 0).await;
        connects_within(&network, &[live, other], 0).await;
    });
}

#[test]
fn a_closed_port_and_a_silent_one_are_told_apart_when_the_time_is_up() {
    simulate(2, |network| async move {
        let host = network.server();
        let closed = SocketAddr::new(host.address(), 4433);
        for (addresses, is_closed) in [(dead(1), false), (dead(2), false), (vec![dead(1)[0], closed], true)] {
            network.name(NAME, &addresses);
            let start = Instant::now();
            let error = connect(&robot(&network, link()), named()).await.err().unwrap();
            let is_right = match error {
                ConnectError::Closed { address, .. } => is_closed && address == closed,
                ConnectError::Timeout { .. } => !is_closed,
                _ => false,
            };
            assert!(is_right, "{addresses:?}: {error}");
            let taken = start.elapsed().as_secs_f64();
            assert!(
                (4.9..5.1).contains(&taken),
                "an objection of the network is no reason to give up: {taken}"
            );
        }
    });
}

#[test]
fn a_server_that_starts_late_is_found_at_a_port_that_was_closed() {
    simulate(3, |network| async move {
        let host = network.server();
        let address = SocketAddr::new(host.address(), 4433);
        let program = tokio::spawn(Program::start(
            Arc::new(robot(&network, link())),
            LinkConfig { connect_timeout: Duration::from_secs(20), ..patient(address, Mode::Pipeline) },
        ));
        sleep(Duration::from_secs(2)).await;
        let server = Server::start(&host);
        let mut program = program.await.unwrap();
        program.infer().await;
        program.end(&server).await;
    });
}

#[test]
fn a_name_that_is_not_known_yet_is_asked_for_until_the_time_is_up() {
    simulate(4, |network| async move {
        let address = serve(&network);
        let host = robot(&network, link());
        let error = connect(&host, named()).await.err().unwrap();
        assert!(matches!(error, ConnectError::Unresolved { .. }), "{error}");
        let connecting = tokio::spawn(async move { connect(&host, named()).await });
        sleep(Duration::from_secs(2)).await;
        network.name(NAME, &[address]);
        connecting.await.unwrap().unwrap();
    });
}

/// The server's address changes under a program that is connected, and its name some time later.
async fn server_moves(network: Network, later: Duration, others: &[SocketAddr]) {
    let host = network.server();
    let server = Server::start(&host);
    network.name(NAME, &[&[server.address][..], others].concat());
    let config = LinkConfig { server: NAME.into(), ..patient(server.address, Mode::Pipeline) };
    let mut program = Program::start(Arc::new(robot(&network, link())), config).await;
    for _ in 0..3 {
        program.infer().await;
        host.change_address(None);
        let moved = SocketAddr::new(host.address(), server.address.port());
        let renamed = network.clone();
        let others = others.to_vec();
        let renaming = tokio::spawn(async move {
            sleep(later).await;
            renamed.name(NAME, &[&others[..], &[moved]].concat());
        });
        let start = Instant::now();
        program.compute().await;
        // A second between two looks at the name, and the others' turns.
        let limit = later + Duration::from_millis(1500) + ATTEMPT_DELAY * MOST_ADDRESSES;
        assert!(start.elapsed() <= limit, "{:?}, {limit:?}", start.elapsed());
        renaming.await.unwrap();
    }
    program.end(&server).await;
}

#[test]
fn a_session_follows_its_server_to_where_the_name_leads() {
    for (seed, later, others) in [(5, 0, 0), (6, 3, 0), (7, 1, 2)] {
        simulate(seed, |network| async move {
            server_moves(network, Duration::from_secs(later), &dead(others)).await;
        });
    }
}

#[test]
fn a_server_that_has_ended_is_told_from_one_that_is_out_of_reach() {
    simulate(8, |network| async move {
        for has_ended in [true, false] {
            let host = network.server();
            let server = Server::start(&host);
            let config = patient(server.address, Mode::Pipeline);
            let mut program = Program::start(Arc::new(robot(&network, link())), config).await;
            program.infer().await;
            if has_ended {
                server.kill();
            } else {
                host.change_address(None);
            }
            let start = Instant::now();
            assert!(program.link.call(0, Operator::MemGetInfo, None).await.is_err());
            let why = program.link.lost().unwrap();
            assert_eq!(why.contains("nothing listens"), has_ended, "{why}");
            let taken = start.elapsed().as_secs_f64();
            assert!(
                (9.9..10.6).contains(&taken),
                "an objection of the network is no reason to give up: {taken}"
            );
        }
    });
}
