//! `RRTO_REPORT`: what a run has cost, as a table for people or as JSON.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::{self, Write as _};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use rrto_core::api::{Class, Function};
use rrto_core::replay::{ReplayStatistics, SequenceStatistics};
use rrto_core::wire::Mode;
use rrto_quic::LinkStatistics;
use serde_json::{Value, json};

use super::inferences::Summary;
use crate::boundary;

/// What `RRTO_REPORT` is for a table on standard error.
const STANDARD_ERROR: &str = "-";

/// The most called functions are named, so many of them.
const NAMED_FUNCTIONS: usize = 8;

/// So many sequences are shown, those that ran most.
const SHOWN_SEQUENCES: usize = 10;

/// Of so many sequences it is told why the latest run that was given up was.
const TOLD_DIVERGENCES: usize = 3;

/// Every class with its name in a report.
const CLASSES: [(Class, &str); 8] = [
    (Class::Local, "local"),
    (Class::Cached, "cached"),
    (Class::Ordered, "ordered"),
    (Class::Launch, "launch"),
    (Class::CopyIn, "copy in"),
    (Class::CopyOut, "copy out"),
    (Class::Blocking, "blocking"),
    (Class::Unsupported, "unsupported"),
];

/// Where a report goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::runtime) enum Destination {
    /// A table for people.
    StandardError,
    /// JSON.
    File(PathBuf),
}

impl Destination {
    /// What the variable says; `file` makes a path of a name.
    pub(in crate::runtime) fn of(text: OsString, file: impl Fn(OsString) -> PathBuf) -> Self {
        if text == STANDARD_ERROR { Self::StandardError } else { Self::File(file(text)) }
    }

    pub(super) fn write(&self, report: &Report<'_>) -> io::Result<()> {
        match self {
            // In one piece, so that other processes' lines do not come between.
            Self::StandardError => {
                boundary::to_standard_error(report.to_string().as_bytes());
                Ok(())
            }
            Self::File(path) => boundary::write(path, format!("{:#}\n", report.json()).as_bytes()),
        }
    }
}

/// What a run has cost.
pub(super) struct Report<'a> {
    pub(super) mode: Mode,
    pub(super) server: &'a str,
    /// Since the session's beginning.
    pub(super) elapsed: Duration,
    pub(super) link: LinkStatistics,
    pub(super) replay: ReplayStatistics,
    /// Calls of each function that was called.
    pub(super) calls: Vec<(Function, u64)>,
    pub(super) inferences: Summary,
}

fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// What the link has carried: counts, bytes, and ms.
pub(in crate::runtime) fn link_json(link: &LinkStatistics) -> Value {
    json!({
        "operators": link.operators,
        "round_trips": link.round_trips,
        "control_bytes_up": link.control_bytes_up,
        "control_bytes_down": link.control_bytes_down,
        "bulk_bytes_up": link.bulk_bytes_up,
        "bulk_bytes_down": link.bulk_bytes_down,
        "bulk_wire_bytes_up": link.bulk_wire_bytes_up,
        "bulk_wire_bytes_down": link.bulk_wire_bytes_down,
        "udp_bytes_up": link.udp_bytes_up,
        "udp_bytes_down": link.udp_bytes_down,
        "lost_packets": link.lost_packets,
        "connections": link.connections,
        "early_connections": link.early_connections,
        "refused_early": link.refused_early,
        "migrations": link.migrations,
        "longest_pause_ms": ms(link.longest_pause),
        "rtt_ms": link.rtt.as_secs_f64() * 1e3,
    })
}

impl Report<'_> {
    /// Bytes are bytes, times are ms.
    fn json(&self) -> Value {
        let by_function: BTreeMap<_, _> =
            self.calls.iter().map(|(function, count)| (function.symbol(), *count)).collect();
        let by_class: BTreeMap<_, _> =
            self.by_class().map(|(name, count)| (name.replace(' ', "_"), count)).collect();
        let Summary { count, median, p90, longest, round_trips, control_up, control_down } = self.inferences;
        json!({
            "mode": self.mode.to_string(),
            "server": self.server,
            "elapsed_ms": ms(self.elapsed),
            "calls": { "by_class": by_class, "by_function": by_function },
            "link": link_json(&self.link),
            "replay": self.replay,
            "inferences": {
                "count": count,
                "median_ms": ms(median),
                "p90_ms": ms(p90),
                "longest_ms": ms(longest),
                "median_round_trips": round_trips,
                "median_control_bytes_up": control_up,
                "median_control_bytes_down": control_down,
            },
        })
    }

    fn by_class(&self) -> impl Iterator<Item = (&'static str, u64)> {
        CLASSES.into_iter().map(|(class, name)| {
            let of_class = self.calls.iter().filter(|(function, _)| function.class() == class);
            (name, of_class.map(|(_, count)| count).sum())
        })
    }

    fn calls_section(&self, text: &mut String) -> fmt::Result {
        writeln!(text, "\n  calls")?;
        for (name, count) in self.by_class().filter(|(_, count)| *count > 0) {
            writeln!(text, "    {name:<22}{:>14}", Grouped(count))?;
        }
        let mut calls = self.calls.clone();
        calls.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let named = calls.iter().take(NAMED_FUNCTIONS);
        let named: Vec<_> =
            named.map(|(function, count)| format!("{function} {}", Grouped(*count))).collect();
        for (at, names) in named.chunks(3).enumerate() {
            let head = if at == 0 { "most called:" } else { "" };
            let comma = if (at + 1) * 3 < named.len() { "," } else { "" };
            writeln!(text, "    {head:<14}{}{comma}", names.join(", "))?;
        }
        Ok(())
    }

    fn link_section(&self, text: &mut String) -> fmt::Result {
        let link = &self.link;
        writeln!(text, "\n  link{:>36}{:>18}", "up, bytes", "down, bytes")?;
        let coded =
            link.bulk_wire_bytes_up < link.bulk_bytes_up || link.bulk_wire_bytes_down < link.bulk_bytes_down;
        let as_coded =
            coded.then_some(("  as they were coded", link.bulk_wire_bytes_up, link.bulk_wire_bytes_down));
        let rows = [
            ("control stream", link.control_bytes_up, link.control_bytes_down),
            ("payloads beside it", link.bulk_bytes_up, link.bulk_bytes_down),
        ];
        let all = ("UDP, all in all", link.udp_bytes_up, link.udp_bytes_down);
        for (name, up, down) in rows.into_iter().chain(as_coded).chain([all]) {
            writeln!(text, "    {name:<22}{:>14}{:>18}", Grouped(up), Grouped(down))?;
        }
        writeln!(
            text,
            "    {} operators, {} round trips of {:.2} ms, {} packets lost",
            Grouped(link.operators),
            Grouped(link.round_trips),
            ms(link.rtt),
            Grouped(link.lost_packets)
        )?;
        self.roaming_line(text)
    }

    /// What became of the connection, if more than a packet was lost.
    fn roaming_line(&self, text: &mut String) -> fmt::Result {
        let LinkStatistics { connections, early_connections, refused_early, migrations, .. } = self.link;
        if connections <= 1 && refused_early == 0 && migrations == 0 {
            return Ok(());
        }
        writeln!(
            text,
            "    connections {} (with early data {}, refused {}), changes of address {}, longest pause {:.0} ms",
            Grouped(connections),
            Grouped(early_connections),
            Grouped(refused_early),
            Grouped(migrations),
            ms(self.link.longest_pause)
        )
    }

    fn replay_section(&self, text: &mut String) -> fmt::Result {
        let replay = &self.replay;
        if replay.found == 0 {
            return Ok(());
        }
        writeln!(text, "\n  sequence  thread  operators  segments        runs     patched  given up")?;
        let mut sequences: Vec<_> = replay.sequences.iter().collect();
        sequences.sort_by_key(|sequence| std::cmp::Reverse(sequence.runs));
        for sequence in sequences.iter().take(SHOWN_SEQUENCES) {
            let SequenceStatistics { id, lane, operators, segments, live, .. } = sequence;
            let given_up: u64 = sequence.divergences.values().sum();
            writeln!(
                text,
                "  {id:>8}{lane:>8}{:>11}{:>10}{:>12}{:>12}{:>10}{}",
                Grouped((*operators).into()),
                Grouped((*segments).into()),
                Grouped(sequence.runs),
                Grouped(sequence.patched_operators),
                Grouped(given_up),
                if *live { "" } else { "  retired" }
            )?;
        }
        writeln!(
            text,
            "    {} operators replayed, {} of them patched, and {} sent one by one; {} {} found, {} retired since",
            Grouped(replay.replayed_operators),
            Grouped(replay.patched_operators),
            Grouped(replay.recorded_operators),
            Grouped(replay.found),
            if replay.found == 1 { "sequence" } else { "sequences" },
            Grouped(replay.retired)
        )?;
        let reasons =
            replay.divergences.iter().map(|(reason, count)| format!("{} for {reason}", Grouped(*count)));
        let reasons: Vec<_> = reasons.collect();
        if !reasons.is_empty() {
            writeln!(text, "    given up: {}", reasons.join(", "))?;
        }
        let told =
            sequences.iter().filter_map(|sequence| Some((sequence.id, sequence.last_divergence.as_ref()?)));
        for (id, last) in told.take(TOLD_DIVERGENCES) {
            writeln!(text, "    the latest of sequence {id}: {last}")?;
        }
        Ok(())
    }

    fn inferences_section(&self, text: &mut String) -> fmt::Result {
        let Summary { count, median, p90, longest, round_trips, control_up, control_down } = self.inferences;
        if count == 0 {
            return Ok(());
        }
        writeln!(text, "\n  inferences, from the first operator after a wait to the output")?;
        writeln!(
            text,
            "    {} took a median of {:.2} ms; 90 % at most {:.2} ms, the longest {:.2} ms",
            Grouped(count),
            ms(median),
            ms(p90),
            ms(longest)
        )?;
        writeln!(
            text,
            "    half of them took no more than {} round trip{}, and {} bytes up and {} down beside what was copied",
            Grouped(round_trips),
            if round_trips == 1 { "" } else { "s" },
            Grouped(control_up),
            Grouped(control_down)
        )
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        let seconds = self.elapsed.as_secs_f64();
        writeln!(
            text,
            "\nrrto: process {}, {} on {}, {seconds:.2} s",
            std::process::id(),
            self.mode,
            self.server
        )?;
        self.calls_section(&mut text)?;
        self.link_section(&mut text)?;
        self.replay_section(&mut text)?;
        self.inferences_section(&mut text)?;
        f.write_str(&text)
    }
}

/// A number with its thousands apart: 1,234,567.
struct Grouped(u64);

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        let mut text = String::new();
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        // With the width and alignment that were asked for.
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use rrto_core::replay::Reason;

    use super::*;

    fn report() -> Report<'static> {
        Report {
            mode: Mode::Pipeline,
            server: "gpu:1",
            elapsed: Duration::from_millis(2500),
            link: LinkStatistics {
                operators: 12_000,
                round_trips: 42,
                control_bytes_up: 1_234_567,
                rtt: Duration::from_micros(10_250),
                ..LinkStatistics::default()
            },
            replay: ReplayStatistics::default(),
            calls: vec![
                (Function::cuCtxGetDevice, 1_000_000),
                (Function::cuLaunchKernel, 11_000),
                (Function::cuLaunchKernel_ptsz, 1),
                (Function::cuGLInit, 1),
            ],
            inferences: Summary {
                count: 20,
                median: Duration::from_micros(12_340),
                p90: Duration::from_millis(13),
                longest: Duration::from_millis(90),
                round_trips: 1,
                control_up: 1_021,
                control_down: 14,
            },
        }
    }

    #[test]
    fn a_table_reads_well() {
        let text = report().to_string().replace(&std::process::id().to_string(), "PID");
        let expected = "
rrto: process PID, pipeline on gpu:1, 2.50 s

  calls
    local                      1,000,000
    launch                        11,001
    unsupported                        1
    most called:  cuCtxGetDevice 1,000,000, cuLaunchKernel 11,000, cuLaunchKernel_ptsz 1,
                  cuGLInit 1

  link                           up, bytes       down, bytes
    control stream             1,234,567                 0
    payloads beside it                 0                 0
    UDP, all in all                    0                 0
    12,000 operators, 42 round trips of 10.25 ms, 0 packets lost

  inferences, from the first operator after a wait to the output
    20 took a median of 12.34 ms; 90 % at most 13.00 ms, the longest 90.00 ms
    half of them took no more than 1 round trip, and 1,021 bytes up and 14 down beside what was copied
";
        assert_eq!(text, expected);
    }

    #[test]
    fn what_there_was_none_of_is_left_out() {
        let text = Report { inferences: Summary::default(), ..report() }.to_string();
        assert!(!text.contains("inferences") && !text.contains("blocking"), "{text}");
    }

    #[test]
    fn roaming_is_told_where_there_was_any() {
        assert!(!report().to_string().contains("connections"));
        let mut roamed = report();
        roamed.link.connections = 3;
        roamed.link.early_connections = 2;
        roamed.link.refused_early = 1;
        roamed.link.migrations = 1_000;
        roamed.link.longest_pause = Duration::from_micros(412_345);
        let expected = "0 packets lost
    connections 3 (with early data 2, refused 1), changes of address 1,000, longest pause 412 ms

  inferences";
        assert!(roamed.to_string().contains(expected), "{roamed}");
        let link = &roamed.json()["link"];
        let told = ["connections", "early_connections", "refused_early", "migrations", "longest_pause_ms"];
        assert_eq!(told.map(|name| link[name].as_f64()), [3.0, 2.0, 1.0, 1000.0, 412.345].map(Some));
    }

    fn replayed() -> ReplayStatistics {
        let sequence = SequenceStatistics {
            id: 1,
            lane: 0,
            operators: 1_250,
            segments: 12,
            runs: 1_000,
            patched_operators: 2_000,
            live: true,
            divergences: [(Reason::Operator, 2), (Reason::Unrepeatable, 1)].into(),
            last_divergence: Some("at 7: MemAlloc".into()),
            ..SequenceStatistics::default()
        };
        let retired = SequenceStatistics { id: 0, live: false, runs: 1, ..SequenceStatistics::default() };
        ReplayStatistics {
            found: 2,
            retired: 1,
            replayed_operators: 1_250_000,
            recorded_operators: 5_000,
            patched_operators: 2_000,
            divergences: sequence.divergences.clone(),
            sequences: vec![retired, sequence],
            ..ReplayStatistics::default()
        }
    }

    #[test]
    fn sequences_are_a_table_too() {
        let text = Report { replay: replayed(), ..report() }.to_string();
        let expected = "
  sequence  thread  operators  segments        runs     patched  given up
         1       0      1,250        12       1,000       2,000         3
         0       0          0         0           1           0         0  retired
    1,250,000 operators replayed, 2,000 of them patched, and 5,000 sent one by one; 2 sequences found, 1 retired since
    given up: 2 for another call, 1 for a call that is not repeated
    the latest of sequence 1: at 7: MemAlloc
";
        assert!(text.contains(expected), "{text}");
        let json = Report { replay: replayed(), ..report() }.json();
        assert_eq!(
            json["replay"]["sequences"][1]["divergences"],
            json!({ "operator": 2, "unrepeatable": 1 })
        );
    }

    #[test]
    fn json_has_everything() {
        let json = report().json();
        assert_eq!(json["mode"], "pipeline");
        assert_eq!(json["elapsed_ms"], 2500.0);
        assert_eq!(json["calls"]["by_class"]["launch"], 11_001);
        assert_eq!(json["calls"]["by_class"]["copy_in"], 0);
        assert_eq!(json["calls"]["by_function"]["cuCtxGetDevice"], 1_000_000);
        assert_eq!(json["link"]["round_trips"], 42);
        assert_eq!(
            json["inferences"],
            json!({
                "count": 20, "median_ms": 12.34, "p90_ms": 13.0, "longest_ms": 90.0, "median_round_trips": 1,
                "median_control_bytes_up": 1021, "median_control_bytes_down": 14,
            })
        );
    }

    #[test]
    fn every_class_has_a_name() {
        let named = |class| CLASSES.iter().filter(|(named, _)| *named == class).count();
        assert!(Function::ALL.iter().all(|function| named(function.class()) == 1));
    }

    #[test]
    fn a_dash_is_standard_error() {
        let of = |text: &str| Destination::of(text.into(), PathBuf::from);
        assert_eq!(of("-"), Destination::StandardError);
        assert_eq!(of("/r.json"), Destination::File("/r.json".into()));
    }
}
