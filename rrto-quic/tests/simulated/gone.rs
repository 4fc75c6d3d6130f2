//! Programs that end, with and without a word, and what their sessions hold until the server knows.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rrto_core::operator::{Handle, Operator};
use rrto_core::wire::Mode;
use rrto_quic::testing::{Host, Network, simulate};
use tokio::time::{Instant, sleep, timeout};

use crate::scenarios::{link, lossy};
use crate::sessions::{Program, Server, Wiretap, beside, patient, robot};

/// Says again and again that nobody is at the address of the server's first session.
async fn report(server: &Server, every: Duration) {
    let peer: SocketAddr = server.peers.lock().unwrap()[0];
    loop {
        server.system.report(peer);
        sleep(every).await;
    }
}

/// A program at a robot that is killed: nothing of it gets anywhere any more.
async fn killed(host: &Host, server: &Server) -> Program {
    let tap = Wiretap::new(host.clone());
    let mut program = Program::start(Arc::new(tap.clone()), patient(server.address, Mode::Pipeline)).await;
    program.infer().await;
    tap.kill();
    program
}

async fn until_over(server: &Server, sessions: usize) {
    while server.over.lock().unwrap().len() < sessions {
        sleep(Duration::from_millis(1)).await;
    }
}

#[test]
fn a_goodbye_frees_a_session_with_uploads_on_their_way() {
    for seed in 0..8 {
        simulate(seed, |network| async move {
            let server = Server::start(&network.server());
            let robot = Arc::new(robot(&network, lossy(0.02 * (seed % 3) as f64)));
            let mut program = Program::start(robot, patient(server.address, Mode::Pipeline)).await;
            program.infer().await;
            for _ in 0..=seed {
                let copy = Operator::CopyIn { dst: 0, bytes: 200_000, stream: Handle::LEGACY_STREAM };
                program.link.submit(0, copy, Some(vec![7; 200_000].into()), |_| {}).await;
            }
            let start = Instant::now();
            program.link.close(Duration::from_secs(5)).await;
            timeout(Duration::from_secs(1), until_over(&server, 1)).await.expect("it is over");
            assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
            let reason = server.over.lock().unwrap()[0].0.clone();
            assert!(reason.contains("has ended"), "{reason}");
        });
    }
}

#[test]
fn a_killed_program_is_freed_within_seconds_where_its_host_says_so() {
    simulate(1, |network| async move {
        let server = Server::start(&network.server());
        let program = killed(&robot(&network, link()), &server).await;
        let reports = report(&server, Duration::from_millis(100));
        let over = timeout(Duration::from_secs(4), until_over(&server, 1));
        beside(over, reports).await.expect("it is over");
        let reason = server.over.lock().unwrap()[0].0.clone();
        assert!(reason.contains("gone"), "{reason}");
        drop(program);
    });
}

#[test]
fn a_program_that_is_there_survives_whatever_is_reported_of_it() {
    for seed in 0..6 {
        simulate(seed, |network| async move {
            let server = Server::start(&network.server());
            let robot = Arc::new(robot(&network, lossy(0.1)));
            let mut program = Program::start(robot, patient(server.address, Mode::Pipeline)).await;
            program.infer().await;
            let work = async {
                for _ in 0..20 {
                    program.infer().await;
                    sleep(Duration::from_millis(300)).await;
                }
                program
            };
            let program = beside(work, report(&server, Duration::from_millis(5))).await;
            program.end(&server).await;
            assert_eq!(*server.begun.lock().unwrap(), 1);
        });
    }
}

/// How long a robot's second program takes to get in beside its first, which was killed; with reports if its host makes them.
/// Gives how many sessions were over by then, too.
fn successor(seed: u64, has_reports: bool) -> (Duration, usize) {
    simulate(seed, |network: Network| async move {
        let server = Server::start(&network.server());
        let host = robot(&network, link());
        let first = killed(&host, &server).await;
        let start = Instant::now();
        let second = Program::start(Arc::new(host.clone()), patient(server.address, Mode::Pipeline));
        let second = match has_reports {
            true => beside(second, report(&server, Duration::from_millis(20))).await,
            false => second.await,
        };
        let took = (start.elapsed(), server.over.lock().unwrap().len());
        drop((first, second));
        took
    })
}

#[test]
fn a_new_program_takes_the_place_of_its_robots_dead_one() {
    for seed in 0..4 {
        let (took, over) = successor(seed, true);
        assert_eq!(over, 1, "it was freed before");
        assert!(took < Duration::from_secs(1), "{took:?}");
        let (took, over) = successor(seed, false);
        assert_eq!(over, 0, "nobody says that it is gone");
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
}
