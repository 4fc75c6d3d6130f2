//! The table of netem/results/transport.md.

use std::time::Duration;

use quinn::TransportConfig;
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
                let took = messages(&setup, 300, Duration::from_millis(25), with_bulk);
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

#[test]
#[ignore]
fn tuning() {
    fn acks(config: &mut TransportConfig, threshold: u32, delay: u64) {
        let mut acks = quinn::AckFrequencyConfig::default();
        acks.ack_eliciting_threshold(threshold.into()).max_ack_delay(Some(Duration::from_millis(delay)));
        config.ack_frequency_config(Some(acks));
    }
    let variants: [(&str, fn(&mut TransportConfig)); 6] = [
        ("as it is", |_| {}),
        ("no extension", |config| {
            config.ack_frequency_config(None);
        }),
        ("0, 1 ms", |config| acks(config, 0, 1)),
        ("9, 1 ms", |config| acks(config, 9, 1)),
        ("1, 5 ms", |config| acks(config, 1, 5)),
        ("time 1.0", |config| {
            config.time_threshold(1.0);
        }),
    ];
    for (name, adjust) in variants {
        for loss in [0.02, 0.05, 0.1] {
            let setup = Setup { adjust, ..Setup::new(1, lossy(loss)) };
            let took = messages(&setup, 1000, Duration::from_millis(50), false);
            let p = |share| percentile(&took, share).as_secs_f64() * 1e3;
            println!(
                "{name:14} loss {loss} p50 {:.1} p90 {:.1} p99 {:.1} max {:.1}",
                p(0.5),
                p(0.9),
                p(0.99),
                p(1.0)
            );
        }
        let got = bulk(&Setup { adjust, ..Setup::new(1, lossy(0.02)) }, Duration::from_secs(4));
        println!("{name:14} bulk share {:.3}", got.share());
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[test]
#[ignore]
fn drops() {
    for congestion in only() {
        for (before, during) in [(100.0, 5.0), (450.0, 0.0)] {
            let got = drop_and_return(1, congestion, before, during);
            println!(
                "{congestion:8} {before} {during} p50 {:.1} p90 {:.1} n {} back {:.2} s",
                milliseconds(percentile(&got.during, 0.5)),
                milliseconds(percentile(&got.during, 0.9)),
                got.during.len(),
                got.back.as_secs_f64(),
            );
        }
    }
}
