//! A scenario's link as a shell script of `tc` commands, for kernels that have `sch_netem`.
//!
//! netem shapes what leaves a device, so each direction is a script of its own, for the device at its beginning. It is less than
//! the link in user space: jitter is uniform, fades are per packet, and there are neither stalls nor roams nor traffic of others. What a script
//! cannot say stands in it as a comment.

use std::fmt::Write as _;
use std::time::Duration;

use crate::link::{Outage, Params, Way};
use crate::script::Scenario;

/// Fades are per packet in netem: so many bytes a packet are assumed.
const PACKET_BYTES: f64 = 1500.0;

/// Packets a second in a fade of a link without a rate.
const UNLIMITED_PACKETS_PER_S: f64 = 10_000.0;

/// netem's queue of a link without a rate, in packets.
const UNLIMITED_QUEUE: u64 = 10_000;

/// The script for one direction, for `sh`; `device` is a network interface's name.
pub fn script(scenario: &Scenario, way: Way, device: &str) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write(&mut text, scenario, way, device);
    text
}

fn write(text: &mut String, scenario: &Scenario, way: Way, device: &str) -> std::fmt::Result {
    let timeline = scenario.timeline(way);
    let name = match way {
        Way::Up => "up",
        Way::Down => "down",
    };
    writeln!(
        text,
        "#!/bin/sh\n# {}\n# The way {name}, on the interface that it leaves by. Needs root.",
        one_line(scenario.about())
    )?;
    for (what, is_there) in [
        ("roams", !scenario.roams().is_empty()),
        ("traffic of others", scenario.cross().iter().any(|cross| cross.way == way)),
        ("stalls", timeline.pieces().any(|piece| piece.params.stall.is_some())),
        (
            "an outage that holds what is sent (here it is lost)",
            timeline.pieces().any(|piece| piece.params.outage == Outage::Hold),
        ),
    ] {
        if is_there {
            writeln!(text, "# Not in this script: {what}.")?;
        }
    }
    writeln!(text, "set -eu\ndevice={}\nend() {{ tc qdisc del dev \"$device\" root; }}", quoted(device))?;
    text.push_str("trap end EXIT; trap 'exit 1' INT TERM\n");
    text.push_str("link() { tc qdisc replace dev \"$device\" root netem \"$@\"; }\n");
    text.push_str("begin=$(date +%s.%N)\n");
    text.push_str("at() { sleep \"$(awk -v t=\"$1\" -v b=\"$begin\" -v n=\"$(date +%s.%N)\" 'BEGIN { d = b + t - n; print d > 0 ? d : 0 }')\"; }\n");
    if timeline.period().is_some() {
        text.push_str("while :; do\n");
    }
    for piece in timeline.pieces() {
        if piece.from > Duration::ZERO {
            writeln!(text, "at {}", piece.from.as_secs_f64())?;
        }
        writeln!(text, "link {}", arguments(&piece.params))?;
    }
    match timeline.period() {
        Some(period) => {
            let s = period.as_secs_f64();
            writeln!(
                text,
                "at {s}\nbegin=$(awk -v b=\"$begin\" 'BEGIN {{ printf \"%.6f\", b + {s} }}')\ndone"
            )
        }
        None => {
            writeln!(text, "# The last step lasts until this script is ended.\nwhile :; do sleep 3600; done")
        }
    }
}

/// What netem is told of a piece.
fn arguments(params: &Params) -> String {
    let mut words = vec![format!("limit {}", limit(params))];
    let us = |time: Duration| format!("{}us", time.as_micros());
    // The model's jitter only adds, and its mean is given; netem's is plus or minus.
    match (params.delay, params.jitter) {
        (delay, Duration::ZERO) => words.push(format!("delay {}", us(delay))),
        (delay, jitter) => words.push(format!("delay {} {}", us(delay + jitter), us(jitter))),
    }
    if params.outage != Outage::None {
        words.push("loss 100%".into());
    } else if let Some(fade) = params.fade {
        let packets_per_s = match params.rate_bps {
            0 => UNLIMITED_PACKETS_PER_S,
            bps => bps as f64 / 8.0 / PACKET_BYTES,
        };
        let percent = |mean: Duration| (100.0 / (mean.as_secs_f64() * packets_per_s)).min(100.0);
        let (into, out) = (percent(fade.burst.every), percent(fade.burst.lasts));
        let (inside, outside) = (fade.loss * 100.0, params.loss * 100.0);
        words.push(format!("loss gemodel {into:.4}% {out:.4}% {inside:.4}% {outside:.4}%"));
    } else if params.loss > 0.0 {
        words.push(format!("loss {:.4}%", params.loss * 100.0));
    }
    if params.rate_bps > 0 {
        words.push(format!("rate {}bit", params.rate_bps));
    }
    words.join(" ")
}

/// netem counts packets, those that propagate too.
fn limit(params: &Params) -> u64 {
    if params.rate_bps == 0 {
        return UNLIMITED_QUEUE;
    }
    let propagating = params.rate_bps as f64 / 8.0 * (params.delay + params.jitter).as_secs_f64();
    ((params.queue_bytes as f64 + propagating) / PACKET_BYTES).ceil() as u64
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A word that the shell leaves as it is.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}
