//! Measures the transport in virtual time and prints `netem/results/transport.md`:
//!
//! ```text
//! cargo run --release -p rrto-quic --example transport > netem/results/transport.md
//! ```
//!
//! With a section's name as its argument, it measures that one only.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that prints what it measures"
)]

#[path = "../../tests/simulated/certificates.rs"]
mod certificates;
mod report;
#[path = "../../tests/simulated/scenarios.rs"]
mod scenarios;

use std::time::Duration;

use quinn::{AckFrequencyConfig, TransportConfig};
use rrto_core::testing::link::{Burst, Fade, Params};
use rrto_quic::Congestion;

use report::{
    Bound, OTHERS_SEEDS, PERCENTILES, SEEDS, Section, cells, each_seed, least, mean, most, ms, render,
};
use scenarios::{
    Bulk, Dropped, Setup, beside_cubic, bulk, dials, drop_and_return, kb, link, lossy, messages, percentile,
};

const ALL: [Congestion; 4] = [Congestion::Wireless, Congestion::Cubic, Congestion::NewReno, Congestion::Bbr];

/// Dials of each seed.
const DIALS: u64 = 200;
/// Messages of each seed.
const EVENTS: usize = 500;
const MESSAGE_EVERY: Duration = Duration::from_millis(20);
const BULK_LASTS: Duration = Duration::from_secs(5);
/// A stall or a fade comes about once a second.
const RADIO_LASTS: Duration = Duration::from_secs(10);

fn main() {
    let wanted = std::env::args().nth(1);
    let wanted = SECTIONS.iter().filter(|(name, _)| wanted.as_deref().is_none_or(|wanted| wanted == *name));
    let measured = wanted.map(|(name, section)| {
        eprintln!("{name}");
        section()
    });
    let sections: Vec<_> = measured.collect();
    println!(
        "{HEAD}Of {SEEDS} seeds ({OTHERS_SEEDS} for the other controllers) events are pooled, and shares are"
    );
    println!("the mean; in the table of bars, shares and seconds are the worst seed's.\n");
    print!("{}", render(&sections, NOTES));
}

const HEAD: &str = "\
# The transport in virtual time

`cargo run --release -p rrto-quic --example transport > netem/results/transport.md` (one section: its name as the argument). The
real quinn and this crate's parameters on a simulated link: RTT 10 ms, 100 Mbit/s, a queue of 256 kB, unless said otherwise. Times
in ms. ";

const NOTES: &str = "
What a lost message waits for: if nothing follows it, its loss shows by the probe timeout only, and quinn's probe is a PING. What the
message said is sent again when that is acknowledged: one timeout and two round trips in all (33 ms), where packets behind it
would have shown the loss after one. Bulk is such packets, but for the answer, which goes the other way. At 10% loss one message
in 36 loses two of its packets, so its p99 holds two such waits.

Jitter is drawn for each packet, and none overtakes another: each waits for the latest before it, so at full rate the round trip is 30 ms
longer with a mean of 5, which no controller here uses in full.
";

type Measurement = (&'static str, fn() -> Section);

/// Each can be asked for by its name.
const SECTIONS: [Measurement; 8] = [
    ("dial", dialling),
    ("control", control),
    ("tuning", tuning),
    ("loss", loss),
    ("queues", queues),
    ("radio", radio),
    ("sharing", sharing),
    ("drops", drops),
];

fn setups<T>(cases: &[T], setup: impl Fn(&T) -> Setup) -> Vec<Setup> {
    cases.iter().map(setup).collect()
}

fn p99(events: &[Duration]) -> f64 {
    ms(percentile(events, 0.99))
}

fn dialling() -> Section {
    let mut section = Section::default();
    let losses = [0.0, 0.05, 0.1];
    let title = format!("Dial: until the handshake is over, {} dials", DIALS * SEEDS);
    section.table(&title, &[&["loss"], &PERCENTILES[..]].concat());
    let took = each_seed(&setups(&losses, |loss| Setup::new(1, lossy(*loss))), some_dials);
    for (loss, took) in losses.iter().zip(took) {
        let took = took.concat();
        section.row(&format!("{loss} | {}", cells(&took)));
        if *loss == 0.1 {
            section.bar("dial at 10% loss, p90", Bound::MostMs(200.0), ms(percentile(&took, 0.9)));
        }
    }
    section
}

/// Dials have seeds of their own: far apart, so that no two setups' are the same.
fn some_dials(setup: &Setup) -> Vec<Duration> {
    dials(&Setup { seed: setup.seed << 32, ..setup.clone() }, DIALS)
}

fn control() -> Section {
    let mut section = Section::default();
    let title = format!(
        "Control: a message of 40 bytes and its answer, {} of them, one every 20 ms",
        EVENTS as u64 * SEEDS
    );
    section.table(&title, &[&["loss", "bulk beside it"], &PERCENTILES[..]].concat());
    let queue_ms = link().queue_bytes as f64 * 8e3 / link().rate_bps as f64;
    let beside = Bound::MostMs(ms(scenarios::RTT) + queue_ms + 5.0);
    for (with_bulk, name) in [(false, "none"), (true, "saturating")] {
        let losses = [0.0, 0.02, 0.05, 0.1];
        let took = each_seed(&setups(&losses, |loss| Setup::new(1, lossy(*loss))), |setup| {
            messages(setup, EVENTS, MESSAGE_EVERY, with_bulk)
        });
        for (loss, took) in losses.iter().zip(took) {
            let took = took.concat();
            section.row(&format!("{loss} | {name} | {}", cells(&took)));
            let what = format!("message at {:.0}% loss", loss * 100.0);
            match (with_bulk, *loss) {
                (true, _) => section.bar(what + ", beside bulk: RTT + queue + 5, p99", beside, p99(&took)),
                (false, 0.05) => section.bar(what + ", p99", Bound::MostMs(60.0), p99(&took)),
                (false, 0.1) => section.bar(what + ", p99", Bound::MostMs(100.0), p99(&took)),
                (false, _) => {}
            }
        }
    }
    section
}

fn acks(config: &mut TransportConfig, threshold: u32, delay_ms: u64) {
    let mut acks = AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(threshold.into()).max_ack_delay(Some(Duration::from_millis(delay_ms)));
    config.ack_frequency_config(Some(acks));
}

type Variant = (&'static str, fn(&mut TransportConfig));

/// The last is what the crate does.
const VARIANTS: [Variant; 6] = [
    ("quinn's: no ACK frequency extension", |config| {
        config.ack_frequency_config(None);
    }),
    ("every packet acknowledged, or after 1 ms", |config| acks(config, 0, 1)),
    ("every tenth packet, or after 1 ms", |config| acks(config, 9, 1)),
    ("every second packet, or after 5 ms", |config| acks(config, 1, 5)),
    ("time threshold 1", |config| {
        config.time_threshold(1.0);
    }),
    ("as it is: every second packet, or after 1 ms", |_| {}),
];

const ASSUMED: [Variant; 4] = [
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

fn tuning() -> Section {
    let mut section = Section::default();
    let title = format!("Tuning: {} messages, one every 50 ms, and bulk by itself", EVENTS as u64 * SEEDS);
    section
        .table(&title, &[&["parameters", "loss"], &PERCENTILES[..], &["bulk, share of the rate"]].concat());
    let cases: Vec<_> =
        VARIANTS.iter().flat_map(|variant| [0.02, 0.05, 0.1].map(|loss| (variant, loss))).collect();
    let setups =
        setups(&cases, |((_, adjust), loss)| Setup { adjust: *adjust, ..Setup::new(1, lossy(*loss)) });
    let got = each_seed(&setups, |setup| {
        (messages(setup, EVENTS, Duration::from_millis(50), false), bulk(setup, BULK_LASTS).share())
    });
    for (((name, _), loss), got) in cases.iter().zip(got) {
        let (took, shares): (Vec<_>, Vec<_>) = got.into_iter().unzip();
        section.row(&format!("{name} | {loss} | {} | {:.2}", cells(&took.concat()), mean(shares)));
    }
    let title = format!("Tuning: the first round trip that is assumed, {} dials at 10% loss", DIALS * SEEDS);
    section.table(&title, &[&["assumed"], &PERCENTILES[..]].concat());
    let setups: Vec<_> =
        ASSUMED.iter().map(|(_, adjust)| Setup { adjust: *adjust, ..Setup::new(1, lossy(0.1)) }).collect();
    for ((name, _), took) in ASSUMED.iter().zip(each_seed(&setups, some_dials)) {
        section.row(&format!("{name} | {}", cells(&took.concat())));
    }
    section
}

/// One row a case: what each controller got of the rate, and how much it lost by overrunning the queue. Gives what the
/// first controller, ours, got in each case.
fn by_controller(
    section: &mut Section,
    (title, what): (&str, &str),
    lasts: Duration,
    cases: &[(String, Params)],
) -> Vec<Vec<Bulk>> {
    let names = ALL.map(|congestion| congestion.to_string());
    let head: Vec<_> = [what].into_iter().chain(names.iter().map(String::as_str)).collect();
    section.table(
        &format!(
            "{title}: share of the rate over {} s (packets lost by overrunning the queue)",
            lasts.as_secs()
        ),
        &head,
    );
    let setups: Vec<_> = cases
        .iter()
        .flat_map(|(_, params)| ALL.map(|congestion| Setup::new(1, *params).congestion(congestion)))
        .collect();
    let got = each_seed(&setups, |setup| bulk(setup, lasts));
    let rows: Vec<_> = got.chunks(ALL.len()).collect();
    for ((name, _), row) in cases.iter().zip(&rows) {
        let cell = |got: &Vec<Bulk>| {
            let share = mean(got.iter().map(Bulk::share));
            format!("{share:.2} ({:.1}%)", mean(got.iter().map(|got| got.overrun)) * 100.0)
        };
        section.row(&format!("{name} | {}", row.iter().map(cell).collect::<Vec<_>>().join(" | ")));
    }
    rows.iter().filter_map(|row| row.first()).cloned().collect()
}

fn loss() -> Section {
    let mut section = Section::default();
    let losses = [0.0, 0.01, 0.02, 0.05, 0.1];
    let cases = losses.map(|loss| (loss.to_string(), lossy(loss)));
    let ours = by_controller(&mut section, ("Bulk by random loss", "loss"), BULK_LASTS, &cases);
    for (loss, got) in losses.into_iter().zip(ours) {
        let share = least(got.iter().map(Bulk::share));
        match loss {
            0.02 => section.bar("bulk at 2% loss, share of the rate", Bound::LeastPercent(0.8), share),
            0.1 => section.bar("bulk at 10% loss, share of the rate", Bound::LeastPercent(0.7), share),
            _ => {}
        }
    }
    section
}

fn queues() -> Section {
    let mut section = Section::default();
    let cases: Vec<_> = [16, 32, 64]
        .into_iter()
        .flat_map(|queue| {
            [0.0, 0.02, 0.1].map(|loss| (format!("{queue} kB, loss {loss}"), Params { loss, ..kb(queue) }))
        })
        .collect();
    let ours = by_controller(&mut section, ("Bulk by queue", "queue"), BULK_LASTS, &cases);
    for ((name, params), got) in cases.iter().zip(ours) {
        if params.loss == 0.0 {
            let overrun = most(got.iter().map(|got| got.overrun));
            section.bar(format!("lost by overrunning the queue, {name}"), Bound::MostPercent(0.05), overrun);
        }
    }
    section
}

fn radio() -> Section {
    let mut section = Section::default();
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
    let cases = cases.map(|(name, params)| (name.to_owned(), params));
    by_controller(&mut section, ("Bulk on a radio", "link"), RADIO_LASTS, &cases);
    section
}

fn sharing() -> Section {
    let mut section = Section::default();
    let head = ["queue, kB", "wireless", "Cubic", "wireless, least to most"];
    section.table("Beside one Cubic flow: shares of the rate over 20 s, after the first 8", &head);
    let queues = [32, 64, 128, 256, 512];
    let got = each_seed(&setups(&queues, |queue| Setup::new(1, kb(*queue))), |setup| {
        beside_cubic(setup, Duration::from_secs(20))
    });
    for (queue, got) in queues.into_iter().zip(got) {
        let [ours, cubic] = [0, 1].map(|whose| got.iter().map(move |shares| shares[whose]));
        let range = format!("{:.2}-{:.2}", least(ours.clone()), most(ours.clone()));
        section.row(&format!("{queue} | {:.2} | {:.2} | {range}", mean(ours), mean(cubic)));
        let worst = least(got.into_iter().flatten());
        let what = format!("the lesser of us and one Cubic flow, queue of {queue} kB");
        section.bar(what, Bound::LeastPercent(0.25), worst);
    }
    section
}

fn drops() -> Section {
    let mut section = Section::default();
    let head =
        [&["Mbit/s", "controller"], &PERCENTILES[..], &["75% of the rate after, s (longest)"]].concat();
    section.table("A rate that falls for 8 s, with bulk; messages meanwhile", &head);
    for (rate, low) in [(100.0, 5.0), (450.0, 0.0)] {
        let setups: Vec<_> = ALL.map(|congestion| Setup::new(1, link()).congestion(congestion)).to_vec();
        let got = each_seed(&setups, |setup| drop_and_return(setup.seed, setup.congestion, rate, low));
        for (congestion, got) in ALL.into_iter().zip(got) {
            drop_row(&mut section, congestion, (rate, low), &got);
        }
    }
    section
}

fn drop_row(section: &mut Section, congestion: Congestion, (rate, low): (f64, f64), got: &[Dropped]) {
    let during: Vec<_> = got.iter().flat_map(|got| got.during.clone()).collect();
    let backs = || got.iter().map(|got| got.back.as_secs_f64());
    // While nothing passes there is nothing to see.
    let percentiles = if low > 0.0 { cells(&during) } else { "- | - | - | -".to_owned() };
    let what = format!("{rate} to {low} and back");
    let (back, longest) = (mean(backs()), most(backs()));
    section.row(&format!("{what} | {congestion} | {percentiles} | {back:.2} ({longest:.2})"));
    if congestion == Congestion::default() {
        if low > 0.0 {
            let p50 = ms(percentile(&during, 0.5));
            section.bar(format!("{what}: message meanwhile, p50"), Bound::MostMs(80.0), p50);
        }
        section.bar(format!("{what}: until 75% of the rate is used"), Bound::MostSeconds(4.0), longest);
    }
}
