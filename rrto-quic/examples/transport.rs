//! Measures the transport in virtual time and prints `netem/results/transport.md`:
//!
//! ```text
//! cargo run --release -p rrto-quic --example transport > netem/results/transport.md
//! ```

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program that prints what it measures")]

#[path = "../tests/simulated/certificates.rs"]
mod certificates;
#[path = "../tests/simulated/scenarios.rs"]
mod scenarios;

use std::time::Duration;

use quinn::{AckFrequencyConfig, TransportConfig};
use rrto_core::testing::link::{Burst, Fade, Params};
use rrto_quic::Congestion;

use scenarios::{Setup, beside_cubic, bulk, dials, drop_and_return, kb, link, lossy, messages, percentile};

const ALL: [Congestion; 4] = [Congestion::Wireless, Congestion::Cubic, Congestion::NewReno, Congestion::Bbr];
const EVENTS: usize = 500;
const MESSAGE_EVERY: Duration = Duration::from_millis(20);
const BULK_LASTS: Duration = Duration::from_secs(5);

fn main() {
    println!("# The transport in virtual time\n");
    println!(
        "`cargo run --release -p rrto-quic --example transport`. The real quinn and this crate's parameters on a"
    );
    println!(
        "simulated link: RTT 10 ms, 100 Mbit/s, a queue of 256 kB, seed 1, unless said otherwise. Times in ms.\n"
    );
    let wanted = std::env::args().nth(1);
    for (name, section) in SECTIONS {
        if wanted.as_deref().is_none_or(|wanted| wanted == name) {
            section();
        }
    }
}

/// Each can be asked for by its name.
const SECTIONS: [(&str, fn()); 8] = [
    ("dial", dialling),
    ("control", control),
    ("tuning", tuning),
    ("loss", loss),
    ("queues", queues),
    ("radio", radio),
    ("sharing", sharing),
    ("drops", drops),
];

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// p50, p90, p99 and the most, as cells of a table.
fn cells(events: &[Duration]) -> String {
    [0.5, 0.9, 0.99, 1.0].map(|share| format!("{:.1}", ms(percentile(events, share)))).join(" | ")
}

fn table(title: &str, head: &[&str]) {
    println!("\n## {title}\n\n| {} |\n|{}", head.join(" | "), "---|".repeat(head.len()));
}

fn dialling() {
    table("Dial: until the handshake is over, 500 dials", &["loss", "p50", "p90", "p99", "most"]);
    for loss in [0.0, 0.05, 0.1] {
        println!("| {loss} | {} |", cells(&dials(&Setup::new(1, lossy(loss)), EVENTS as u64)));
    }
}

fn control() {
    let head = ["loss", "bulk beside it", "p50", "p90", "p99", "most"];
    table("Control: a message of 40 bytes and its answer, 500 of them, one every 20 ms", &head);
    for loss in [0.0, 0.02, 0.05, 0.1] {
        for (with_bulk, name) in [(false, "none"), (true, "saturating")] {
            let took = messages(&Setup::new(1, lossy(loss)), EVENTS, MESSAGE_EVERY, with_bulk);
            println!("| {loss} | {name} | {} |", cells(&took));
        }
    }
}

fn acks(config: &mut TransportConfig, threshold: u32, delay_ms: u64) {
    let mut acks = AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(threshold.into()).max_ack_delay(Some(Duration::from_millis(delay_ms)));
    config.ack_frequency_config(Some(acks));
}

type Variant = (&'static str, fn(&mut TransportConfig));

/// The last is what the crate does.
const VARIANTS: [Variant; 7] = [
    ("quinn's: no ACK frequency extension", |config| {
        config.ack_frequency_config(None);
    }),
    ("every packet acknowledged, or after 1 ms", |config| acks(config, 0, 1)),
    ("every tenth packet, or after 1 ms", |config| acks(config, 9, 1)),
    ("every second packet, or after 5 ms", |config| acks(config, 1, 5)),
    ("packet threshold 2", |config| {
        config.packet_threshold(2);
    }),
    ("time threshold 1", |config| {
        config.time_threshold(1.0);
    }),
    ("as it is: every second packet, or after 1 ms", |_| {}),
];

fn tuning() {
    let head = ["parameters", "loss", "p50", "p90", "p99", "most", "bulk, share of the rate"];
    table("Tuning: 1000 messages, one every 50 ms, and bulk by itself", &head);
    for (name, adjust) in VARIANTS {
        for loss in [0.02, 0.05, 0.1] {
            let setup = Setup { adjust, ..Setup::new(1, lossy(loss)) };
            let took = messages(&setup, 2 * EVENTS, Duration::from_millis(50), false);
            let share = bulk(&setup, BULK_LASTS).share();
            println!("| {name} | {loss} | {} | {share:.2} |", cells(&took));
        }
    }
    table(
        "Tuning: the first round trip that is assumed, 500 dials at 10% loss",
        &["assumed", "p50", "p90", "p99", "most"],
    );
    let assumed: [Variant; 4] = [
        ("333 (quinn)", |config| {
            config.initial_rtt(Duration::from_millis(333));
        }),
        ("100", |config| {
            config.initial_rtt(Duration::from_millis(100));
        }),
        ("30 (as it is)", |_| {}),
        ("10", |config| {
            config.initial_rtt(Duration::from_millis(10));
        }),
    ];
    for (name, adjust) in assumed {
        println!(
            "| {name} | {} |",
            cells(&dials(&Setup { adjust, ..Setup::new(1, lossy(0.1)) }, EVENTS as u64))
        );
    }
}

/// One row a case: what each controller got of the rate, and how much it lost by overrunning the queue.
fn by_controller(title: &str, what: &str, cases: &[(String, Params)]) {
    let names = ALL.map(|congestion| congestion.to_string());
    let head: Vec<_> = [what].into_iter().chain(names.iter().map(String::as_str)).collect();
    table(title, &head);
    for (name, params) in cases {
        let got = ALL.map(|congestion| bulk(&Setup::new(1, *params).congestion(congestion), BULK_LASTS));
        let cells = got.map(|got| format!("{:.2} ({:.1}%)", got.share(), got.overrun * 100.0));
        println!("| {name} | {} |", cells.join(" | "));
    }
}

fn loss() {
    let cases = [0.0, 0.01, 0.02, 0.05, 0.1].map(|loss| (loss.to_string(), lossy(loss)));
    by_controller(
        "Bulk by random loss: share of the rate (packets lost by overrunning the queue), 5 s",
        "loss",
        &cases,
    );
}

fn queues() {
    let mut cases = Vec::new();
    for queue in [16, 32, 64] {
        for loss in [0.0, 0.02, 0.1] {
            cases.push((format!("{queue} kB, loss {loss}"), Params { loss, ..kb(queue) }));
        }
    }
    by_controller("Bulk by queue", "queue", &cases);
}

fn radio() {
    let millis = Duration::from_millis;
    let stall = |lasts| Some(Burst { every: 10 * lasts, lasts, exact: true });
    let fade =
        |lasts: Duration, loss| Some(Fade { burst: Burst { every: 20 * lasts, lasts, exact: false }, loss });
    let cases = [
        ("jitter, mean 2 ms", Params { jitter: millis(2), ..link() }),
        ("jitter, mean 5 ms", Params { jitter: millis(5), ..link() }),
        ("stalls of 100 ms, 9% of the time", Params { stall: stall(millis(100)), ..link() }),
        (
            "stalls of 150 ms, 9% of the time, jitter 2 ms, loss 1%",
            Params { stall: stall(millis(150)), jitter: millis(2), loss: 0.01, ..link() },
        ),
        ("fades of 20 ms that lose half, 5% of the time", Params { fade: fade(millis(20), 0.5), ..link() }),
        ("fades of 50 ms that lose all, 5% of the time", Params { fade: fade(millis(50), 1.0), ..link() }),
    ];
    by_controller("Bulk on a radio", "link", &cases.map(|(name, params)| (name.to_owned(), params)));
}

fn sharing() {
    let head = ["queue, kB", "wireless", "Cubic"];
    table("Beside one Cubic flow: shares of the rate over 20 s, after the first 8", &head);
    for queue in [32, 64, 128, 256, 512] {
        let [ours, cubic] = beside_cubic(&Setup::new(1, kb(queue)), Duration::from_secs(20));
        println!("| {queue} | {ours:.2} | {cubic:.2} |");
    }
}

fn drops() {
    let head = ["Mbit/s", "controller", "control p50", "p90", "p99", "most", "75% of the rate after, s"];
    table("A rate that falls for 8 s, with bulk", &head);
    for (rate, low) in [(100.0, 5.0), (450.0, 0.0)] {
        for congestion in ALL {
            let got = drop_and_return(1, congestion, rate, low);
            // While nothing passes there is nothing to see.
            let during = if low > 0.0 { cells(&got.during) } else { "- | - | - | -".to_owned() };
            let back = got.back.as_secs_f64();
            println!("| {rate} to {low} and back | {congestion} | {during} | {back:.2} |");
        }
    }
}
