//! What is printed: a table of the bars, and a table or two a section; and the seeds and cores that the numbers come from.

use std::fmt::Write as _;
use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rrto_quic::Congestion;

use crate::scenarios::{Setup, percentile};

/// What our controller achieves comes from so many seeds: what one seed gives may be luck.
pub(crate) const SEEDS: u64 = 5;

/// The other controllers are there to compare with; one seed of theirs takes as long as the rest together.
pub(crate) const OTHERS_SEEDS: u64 = 1;

fn seeds(setup: &Setup) -> u64 {
    if setup.congestion == Congestion::default() { SEEDS } else { OTHERS_SEEDS }
}

/// What one section has found.
#[derive(Default)]
pub(crate) struct Section {
    bars: Vec<Bar>,
    text: String,
}

/// A bar, and what was measured.
struct Bar {
    what: String,
    bound: Bound,
    got: f64,
}

/// What is wished for.
#[derive(Clone, Copy)]
pub(crate) enum Bound {
    MostMs(f64),
    MostSeconds(f64),
    /// As a fraction.
    MostPercent(f64),
    /// As a fraction.
    LeastPercent(f64),
}

impl Bound {
    fn is_met(self, got: f64) -> bool {
        match self {
            Bound::MostMs(most) | Bound::MostSeconds(most) | Bound::MostPercent(most) => got <= most,
            Bound::LeastPercent(least) => got >= least,
        }
    }

    /// The bound and what was measured, for people.
    fn cells(self, got: f64) -> String {
        match self {
            Bound::MostMs(most) => format!("at most {most:.0} ms | {got:.1} ms"),
            Bound::MostSeconds(most) => format!("at most {most:.0} s | {got:.2} s"),
            Bound::MostPercent(most) => format!("at most {:.0}% | {:.1}%", most * 100.0, got * 100.0),
            Bound::LeastPercent(least) => format!("at least {:.0}% | {:.0}%", least * 100.0, got * 100.0),
        }
    }
}

impl Section {
    pub(crate) fn bar(&mut self, what: impl Into<String>, bound: Bound, got: f64) {
        self.bars.push(Bar { what: what.into(), bound, got });
    }

    /// Begins a table.
    pub(crate) fn table(&mut self, title: &str, head: &[&str]) {
        let (head, rule) = (head.join(" | "), "---|".repeat(head.len()));
        let _ = writeln!(self.text, "\n## {title}\n\n| {head} |\n|{rule}");
    }

    /// Adds a row to the last table, its cells divided by bars.
    pub(crate) fn row(&mut self, cells: &str) {
        let _ = writeln!(self.text, "| {cells} |");
    }
}

/// The whole report: all bars first, then what is to be said about them.
pub(crate) fn render(sections: &[Section], notes: &str) -> String {
    let mut report = String::from("| bar | wished | measured | |\n|---|---|---|---|\n");
    for Bar { what, bound, got } in sections.iter().flat_map(|section| &section.bars) {
        let verdict = if bound.is_met(*got) { "met" } else { "missed" };
        let _ = writeln!(report, "| {what} | {} | {verdict} |", bound.cells(*got));
    }
    report += notes;
    sections.iter().for_each(|section| report += &section.text);
    report
}

/// What `measure` gives for each case, in their order; on all cores.
pub(crate) fn each<T: Sync, R: Send>(cases: &[T], measure: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let number = next.fetch_add(1, Ordering::Relaxed)
            && let Some(case) = cases.get(number)
        {
            let result = measure(case);
            results.lock().unwrap().push((number, result));
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, NonZero::get) {
            scope.spawn(work);
        }
    });
    let mut results = results.into_inner().unwrap();
    results.sort_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, result)| result).collect()
}

/// What `measure` gives for each setup with each of its seeds: a list a setup.
pub(crate) fn each_seed<R: Send>(setups: &[Setup], measure: impl Fn(&Setup) -> R + Sync) -> Vec<Vec<R>> {
    let with_seeds = |setup: &Setup| (1..=seeds(setup)).map(|seed| Setup { seed, ..setup.clone() }).collect();
    let seeded: Vec<Setup> = setups.iter().flat_map::<Vec<_>, _>(with_seeds).collect();
    let mut results = each(&seeded, measure).into_iter();
    setups.iter().map(|setup| results.by_ref().take(seeds(setup) as usize).collect()).collect()
}

pub(crate) fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// p50, p90, p99 and the most, in ms, as cells.
pub(crate) fn cells(events: &[Duration]) -> String {
    [0.5, 0.9, 0.99, 1.0].map(|share| format!("{:.1}", ms(percentile(events, share)))).join(" | ")
}

/// Head of [`cells`].
pub(crate) const PERCENTILES: [&str; 4] = ["p50", "p90", "p99", "most"];

pub(crate) fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let (sum, count) = values.into_iter().fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    sum / f64::max(count, 1.0)
}

pub(crate) fn least(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().fold(f64::INFINITY, f64::min)
}

pub(crate) fn most(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().fold(f64::NEG_INFINITY, f64::max)
}
