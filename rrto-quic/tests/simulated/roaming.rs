//! Robots that roam: nothing is lost, nothing is executed twice, and it does not take long.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rrto_core::api::CuResult;
use rrto_core::operator::Operator;
use rrto_core::testing::link::{Outage, Params};
use rrto_core::wire::Mode;
use rrto_quic::testing::{script, simulate};
use tokio::time::{Instant, sleep};

use crate::scenarios::{RTT, link, percentile};
use crate::sessions::{Program, Server, Wiretap, beside, is_initial, patient, replay, robot};

const MS: Duration = Duration::from_millis(1);

/// Runs inferences while the robot roams `roams` times, `every` so often in the mean: to another port, to another address, or to
/// a place where it hears nothing for a while. Gives how long the inferences took.
async fn roam(
    network: rrto_quic::testing::Network,
    seed: u64,
    (mode, roams, every): (Mode, u32, Duration),
    params: Params,
) -> Vec<Duration> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let server = Server::start(&network.server());
    let host = robot(&network, params);
    let mut program = Program::start(Arc::new(host.clone()), patient(server.address, mode)).await;
    let mut took = Vec::new();
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let roaming = async {
        for _ in 0..roams {
            sleep(every.mul_f64(rng.random_range(0.0..2.0))).await;
            if rng.random_bool(0.5) { host.change_ports() } else { host.change_address(None) }
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    };
    let inferring = async {
        while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
            took.push(program.infer().await);
            // As a camera's pictures come.
            sleep(33 * MS).await;
        }
        took.push(program.infer().await);
    };
    beside(inferring, roaming).await;
    program.end(&server).await;
    took
}

#[test]
fn a_thousand_roams_lose_nothing_and_repeat_nothing() {
    for (seed, mode) in [(1, Mode::Pipeline), (2, Mode::Replay)] {
        let took = simulate(seed, |network| roam(network, seed, (mode, 500, 100 * MS), link()));
        assert!(took.len() > 200, "{}", took.len());
    }
}

#[test]
fn roams_on_a_lossy_link_lose_nothing_and_repeat_nothing() {
    let params = Params { loss: 0.1, ..link() };
    simulate(3, |network| roam(network, 3, (Mode::Replay, 50, 300 * MS), params));
}

#[test]
fn eight_roams_in_ten_seconds() {
    let took = simulate(4, |network| roam(network, 4, (Mode::Replay, 8, 1250 * MS), link()));
    assert!(percentile(&took, 1.0) < 400 * MS, "{:?}", percentile(&took, 1.0));
}

/// How long inferences take in which the port or the address changes, and the median of others.
pub(crate) fn changes(seed: u64, events: u32, address: bool) -> (Vec<Duration>, Duration) {
    simulate(seed, |network| async move {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let server = Server::start(&network.server());
        let host = robot(&network, link());
        let config = patient(server.address, Mode::Replay);
        let mut program = Program::start(Arc::new(host.clone()), config).await;
        let (mut undisturbed, mut disturbed) = (Vec::new(), Vec::new());
        for _ in 0..20 {
            undisturbed.push(program.infer().await);
        }
        for _ in 0..events {
            undisturbed.push(program.infer().await);
            let median = percentile(&undisturbed, 0.5);
            let at = median.mul_f64(rng.random_range(0.0..1.0));
            let change = async {
                sleep(at).await;
                if address { host.change_address(None) } else { host.change_ports() }
            };
            disturbed.push(beside(program.infer(), change).await);
        }
        program.end(&server).await;
        (disturbed, percentile(&undisturbed, 0.5))
    })
}

#[test]
fn a_change_in_the_middle_of_an_inference_costs_little() {
    for address in [false, true] {
        let (disturbed, median) = changes(5, 50, address);
        let worst = percentile(&disturbed, 1.0);
        assert!(worst <= median + 120 * MS, "address {address}: {worst:?}, median {median:?}");
    }
}

#[test]
fn a_resumption_is_answered_in_one_round_trip() {
    let ratios = resumptions(6, 40);
    assert!(ratios.iter().all(|ratio| *ratio <= 1.1), "{ratios:?}");
}

/// From the first packet of a new connection to the first answer, in round trips.
pub(crate) fn resumptions(seed: u64, events: u32) -> Vec<f64> {
    simulate(seed, |network| async move {
        let server = Server::start(&network.server());
        let tap = Wiretap::new(robot(&network, link()));
        let program = Program::start(Arc::new(tap.clone()), patient(server.address, Mode::Pipeline)).await;
        let mut ratios = Vec::new();
        for _ in 0..events {
            sleep(Duration::from_secs(1)).await;
            program.ask().await;
            // The old connection gets nothing to the server, so it has to be another one. It is still heard.
            let start = Instant::now();
            let mute = tap.mute_short_headers();
            program.ask().await;
            drop(mute);
            let first = tap.since(start).into_iter().find(|(_, datagram)| is_initial(datagram)).unwrap().0;
            ratios.push(first.elapsed().as_secs_f64() / RTT.as_secs_f64());
        }
        let statistics = program.link.statistics();
        assert_eq!(statistics.connections, u64::from(events) + 1);
        assert_eq!((statistics.early_connections, statistics.refused_early), (events.into(), 0));
        // What shows that the connection is of no use, and the answer on the next one.
        assert!((100 * MS..150 * MS).contains(&statistics.longest_pause), "{:?}", statistics.longest_pause);
        program.end(&server).await;
        ratios
    })
}

#[test]
fn a_flight_that_is_captured_and_repeated_does_nothing() {
    simulate(7, |network| async move {
        let server_host = network.server();
        let server = Server::start(&server_host);
        let tap = Wiretap::new(robot(&network, link()));
        let attacker = robot(&network, link());
        let mut program =
            Program::start(Arc::new(tap.clone()), patient(server.address, Mode::Pipeline)).await;
        program.infer().await;
        let start = Instant::now();
        {
            let _mute = tap.mute_short_headers();
            program.compute().await;
        }
        let flight: Vec<Bytes> = tap.since(start).into_iter().map(|(_, datagram)| datagram).collect();
        assert!(flight.iter().any(|datagram| is_initial(datagram)));
        let connections = program.link.statistics().connections;
        assert_eq!(connections, 2);
        for _ in 0..100 {
            replay(&attacker, server.address, &flight).await;
        }
        program.infer().await;
        assert_eq!(program.link.statistics().connections, connections, "the client kept its connection");
        assert_eq!(*server.begun.lock().unwrap(), 1);
        let executed = server.executed.lock().unwrap().clone();
        assert!(executed.is_sorted_by(|one, next| one < next), "each once");
        let address = server.address;
        server.kill();
        let server = Server::start(&server_host);
        assert_eq!(server.address, address);
        for _ in 0..100 {
            replay(&attacker, server.address, &flight).await;
        }
        assert_eq!(*server.begun.lock().unwrap(), 0);
        assert!(server.executed.lock().unwrap().is_empty());
        assert_eq!(program.link.call(0, Operator::MemGetInfo, None).await, Err(CuResult::DEVICE_UNAVAILABLE));
        assert!(
            program.link.lost().unwrap().contains("does not know this session"),
            "{:?}",
            program.link.lost()
        );
    });
}

#[test]
fn answers_that_are_lost_while_operators_come_through_change_nothing() {
    simulate(8, |network| async move {
        // Down, nothing comes for half of each second.
        let dead = Params { outage: Outage::Lose, ..link() };
        let pieces: Vec<_> = (0..20).flat_map(|_| [(500 * MS, link()), (500 * MS, dead)]).collect();
        let up = script(&[(Duration::from_secs(1), link())]).unwrap();
        let path = network.path(up, script(&[pieces, vec![(MS, link())]].concat()).unwrap());
        let server = Server::start(&network.server());
        let host = network.robot(path);
        let mut program = Program::start(Arc::new(host), patient(server.address, Mode::Replay)).await;
        while network.now() < Duration::from_secs(20) {
            program.infer().await;
        }
        assert!(program.link.statistics().connections > 10);
        program.end(&server).await;
    });
}

#[test]
fn early_data_that_is_refused_is_sent_again() {
    // A robot that comes back has its old connection and up to six attempts at once; the eighth is another program's.
    const CONNECTIONS: u32 = 8;
    // Half as many again as make the server forget all tickets that it gave before: it keeps those of two handshakes for each
    // connection.
    const OTHERS: u32 = 3 * CONNECTIONS;
    const OUTAGES: u32 = 10;
    simulate(9, |network| async move {
        let server = Server::start_with(&network.server(), Duration::from_secs(10), CONNECTIONS);
        let dead = Params { outage: Outage::Lose, ..link() };
        let pieces: Vec<_> = (0..OUTAGES).flat_map(|_| [(3000 * MS, link()), (500 * MS, dead)]).collect();
        let timeline = script(&[pieces, vec![(MS, link())]].concat()).unwrap();
        let host = network.robot(network.path(timeline.clone(), timeline));
        let mut program = Program::start(Arc::new(host), patient(server.address, Mode::Pipeline)).await;
        for outage in 1..=OUTAGES {
            for _ in 0..OTHERS {
                let other = patient(server.address, Mode::Pipeline);
                let other = Program::start(Arc::new(robot(&network, link())), other).await;
                other.link.close(Duration::from_secs(1)).await;
                sleep(20 * MS).await;
            }
            while network.now() < 3500 * MS * outage {
                program.infer().await;
            }
            // Where the old connection is the first to be answered, it is kept, and no early data is looked at.
            if program.link.statistics().connections >= 4 {
                break;
            }
        }
        let statistics = program.link.statistics();
        assert!(statistics.connections >= 4);
        assert!(statistics.refused_early > 0, "{statistics:?}");
        let executed = server.executed.lock().unwrap().clone();
        assert_eq!(executed, (1..=executed.len() as u64).collect::<Vec<_>>(), "each once, in order");
    });
}

#[test]
fn a_session_waits_for_its_robot_as_long_as_it_should() {
    simulate(10, |network| async move {
        let away =
            |time| vec![(500 * MS, link()), (time, Params { outage: Outage::Lose, ..link() }), (MS, link())];
        let server = Server::start_with(&network.server(), Duration::from_secs(3), 100);
        for (time, comes_back) in [(8, true), (20, false)] {
            let pieces = [vec![(network.now() + MS, link())], away(Duration::from_secs(time))].concat();
            let timeline = script(&pieces).unwrap();
            let host = network.robot(network.path(timeline.clone(), timeline));
            let mut config = patient(server.address, Mode::Pipeline);
            config.silence_timeout = Duration::from_secs(30);
            let mut program = Program::start(Arc::new(host), config).await;
            program.infer().await;
            sleep(Duration::from_secs(1)).await;
            let outcome = program.link.call(0, Operator::MemGetInfo, None).await;
            assert_eq!(outcome.is_ok(), comes_back, "{time} s: {outcome:?}");
            assert_eq!(server.over.lock().unwrap().is_empty(), comes_back);
        }
    });
}

#[test]
fn a_server_that_is_gone_is_an_error_after_the_time_and_not_before() {
    simulate(11, |network| async move {
        let server = Server::start(&network.server());
        let host = robot(&network, link());
        let mut program = Program::start(Arc::new(host), patient(server.address, Mode::Replay)).await;
        program.infer().await;
        server.kill();
        let start = Instant::now();
        assert_eq!(program.link.call(0, Operator::MemGetInfo, None).await, Err(CuResult::DEVICE_UNAVAILABLE));
        let took = start.elapsed();
        assert!(took >= Duration::from_secs(10) && took < Duration::from_millis(10_200), "{took:?}");
        assert_eq!(program.link.sticky(), Some(CuResult::DEVICE_UNAVAILABLE));
    });
}

#[test]
fn a_program_that_ends_without_a_link_ends_in_time() {
    simulate(12, |network| async move {
        let server = Server::start(&network.server());
        let host = robot(&network, link());
        let mut program = Program::start(Arc::new(host), patient(server.address, Mode::Replay)).await;
        program.infer().await;
        server.kill();
        sleep(Duration::from_secs(30)).await;
        let start = Instant::now();
        program.link.close(200 * MS).await;
        assert!(start.elapsed() <= 201 * MS, "{:?}", start.elapsed());
    });
}

#[test]
fn a_server_that_stops_says_so_at_once() {
    simulate(13, |network| async move {
        let server = Server::start(&network.server());
        let host = robot(&network, link());
        let mut program = Program::start(Arc::new(host), patient(server.address, Mode::Replay)).await;
        program.infer().await;
        let start = Instant::now();
        tokio::spawn(server.stop());
        while program.link.lost().is_none() {
            sleep(MS).await;
        }
        assert!(start.elapsed() < 100 * MS, "{:?}", start.elapsed());
    });
}
