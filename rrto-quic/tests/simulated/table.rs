//! The table of netem/results/transport.md.

use std::time::Duration;

use rrto_core::testing::link::Params;
use rrto_quic::Congestion;

use crate::scenarios::*;

const ALL: [Congestion; 4] = [Congestion::Wireless, Congestion::Cubic, Congestion::NewReno, Congestion::Bbr];

#[test]
#[ignore]
fn bulk_by_loss() {
    for loss in [0.0, 0.01, 0.02, 0.05, 0.1] {
        for congestion in only() {
            let got = bulk(&Setup::new(1, lossy(loss)).congestion(congestion), Duration::from_secs(10));
            println!("loss {loss:.2} {congestion:8} share {:.3} overrun {:.3}", got.share(), got.overrun);
        }
    }
}

#[test]
#[ignore]
fn bulk_by_queue() {
    for queue in [16, 32, 64, 256] {
        for loss in [0.0, 0.02, 0.1] {
            for congestion in only() {
                let setup = Setup::new(1, Params { loss, ..kb(queue) }).congestion(congestion);
                let got = bulk(&setup, Duration::from_secs(10));
                println!(
                    "queue {queue} loss {loss} {congestion:8} share {:.3} overrun {:.3}",
                    got.share(),
                    got.overrun
                );
            }
        }
    }
}

#[test]
#[ignore]
fn fairness() {
    for queue in [32, 64, 128, 256, 512] {
        for congestion in only() {
            let got = beside_cubic(&Setup::new(1, kb(queue)).congestion(congestion), Duration::from_secs(20));
            println!("queue {queue} {congestion:8} {:.3} cubic {:.3}", got[0], got[1]);
        }
    }
}

#[test]
#[ignore]
fn control() {
    for loss in [0.0, 0.02, 0.05, 0.1] {
        for with_bulk in [false, true] {
            for congestion in only() {
                let setup = Setup::new(1, lossy(loss)).congestion(congestion);
                let took = durations(&messages(&setup, 500, Duration::from_millis(25), with_bulk));
                let p = |share| percentile(&took, share).as_secs_f64() * 1e3;
                println!(
                    "loss {loss} bulk {with_bulk} {congestion:8} p50 {:.1} p90 {:.1} p99 {:.1} max {:.1}",
                    p(0.5),
                    p(0.9),
                    p(0.99),
                    p(1.0)
                );
            }
        }
    }
}

#[test]
#[ignore]
fn dial() {
    for loss in [0.0, 0.05, 0.1] {
        let took = dials(&Setup::new(1, lossy(loss)), 200);
        let p = |share| percentile(&took, share).as_secs_f64() * 1e3;
        println!("loss {loss} p50 {:.1} p90 {:.1} p99 {:.1} max {:.1}", p(0.5), p(0.9), p(0.99), p(1.0));
    }
}

fn only() -> Vec<Congestion> {
    match std::env::var("ONLY") {
        Ok(name) => vec![name.parse().unwrap()],
        Err(_) => ALL.to_vec(),
    }
}
