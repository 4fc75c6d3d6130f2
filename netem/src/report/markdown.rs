//! The table.

use std::fmt::{self, Write as _};

use anyhow::Result;

use super::{COMMUNICATING_W, COMPUTING_W, ENERGY, STANDING_BY_W, ScenarioSummary, Summary};
use crate::proxy::WayStats;
use crate::run::Outcome;

pub(super) fn text(outcomes: &[Outcome], summaries: &[ScenarioSummary]) -> Result<String> {
    let mut text = String::from("# Scenarios\n\n");
    conditions(&mut text, outcomes)?;
    table(&mut text, summaries)?;
    comparison(&mut text, summaries)?;
    failures(&mut text, summaries)?;
    plots(&mut text, outcomes)?;
    Ok(text)
}

fn conditions(text: &mut String, outcomes: &[Outcome]) -> fmt::Result {
    let Some(first) = outcomes.first() else { return Ok(()) };
    let machine = &first.machine;
    writeln!(
        text,
        "Client, link and server on one machine with {} cores ({}, {} build); the link in user space, the GPU the software GPU.",
        machine.cores, machine.architecture, machine.build
    )?;
    let loads = outcomes.iter().filter_map(|outcome| outcome.machine.load);
    let (least, most) =
        loads.fold((f64::MAX, 0.0_f64), |(least, most), load| (least.min(load), most.max(load)));
    if least <= most {
        writeln!(text, "Its load average before a scenario's runs was {least:.1} to {most:.1}.")?;
    }
    emulation(text, outcomes)?;
    let mut workloads: Vec<_> =
        outcomes.iter().map(|outcome| (&outcome.workload, outcome.device_ms)).collect();
    workloads.dedup();
    for (workload, device_ms) in workloads {
        let device =
            device_ms.map_or(String::new(), |ms| format!("; the GPU takes {ms} ms for an inference"));
        writeln!(text, "Workload: {workload}{device}.")?;
    }
    writeln!(
        text,
        "\nLatencies are from the input's copy to the output, in ms. Bytes are UDP payload. Energy by the drafts' model: {COMPUTING_W} W while \
         the process computes, {STANDING_BY_W} W while only the server's GPU does, {COMMUNICATING_W} W otherwise ([plot]({ENERGY})).\n"
    )
}

/// What the link in user space has added to the script.
fn emulation(text: &mut String, outcomes: &[Outcome]) -> fmt::Result {
    let links = outcomes.iter().flat_map(|outcome| &outcome.modes).map(|mode| &mode.link);
    let ways = || links.clone().flat_map(|link| [&link.up, &link.down]);
    let late_us = ways().map(|way| way.lateness.mean_us).fold(0.0, f64::max);
    let lost = |way: &WayStats| way.lost_before + way.dropped.not_sent + way.dropped.held_too_much;
    let lost: u64 = ways().map(lost).sum();
    writeln!(
        text,
        "The link handed datagrams on at most {late_us:.0} \u{b5}s later than the script says, in a run's mean; {lost} datagrams of all \
         runs were lost that should not have been."
    )
}

fn table(text: &mut String, summaries: &[ScenarioSummary]) -> fmt::Result {
    text.push_str("| scenario | mode | inferences | p50 | p90 | p99 | worst | round trips | up, kB | down, kB | mJ | wrong |\n");
    text.push_str("|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n");
    for scenario in summaries {
        for mode in &scenario.modes {
            row(text, &scenario.scenario, mode)?;
        }
        let unmeasured = |mode| scenario.modes.iter().all(|summary| summary.mode != mode);
        for (mode, _) in scenario.failures.iter().filter(|(mode, _)| unmeasured(*mode)) {
            writeln!(text, "| {} | {mode} | failed | | | | | | | | | |", scenario.scenario)?;
        }
    }
    Ok(())
}

fn row(text: &mut String, scenario: &str, summary: &Summary) -> fmt::Result {
    let Summary { mode, inferences, p50_ms, p90_ms, p99_ms, worst_ms, energy_mj, wrong, .. } = summary;
    let round_trips = summary.round_trips.map_or("?".into(), |round_trips| format!("{round_trips:.0}"));
    let [up, down] = match summary.bytes {
        Some(bytes) => bytes.map(|bytes| format!("{:.1}", bytes / 1e3)),
        None => ["?".into(), "?".into()],
    };
    writeln!(
        text,
        "| {scenario} | {mode} | {inferences} | {p50_ms:.2} | {p90_ms:.2} | {p99_ms:.2} | {worst_ms:.1} | {round_trips} | {up} | {down} | \
         {energy_mj:.0} | {wrong} |"
    )
}

fn comparison(text: &mut String, summaries: &[ScenarioSummary]) -> fmt::Result {
    let compared: Vec<_> =
        summaries.iter().filter_map(|scenario| Some((scenario, scenario.replay_to_ideal?))).collect();
    if compared.is_empty() {
        return Ok(());
    }
    text.push_str("\n| scenario | replay / ideal, p50 | replay / ideal, p99 |\n|---|--:|--:|\n");
    compared.iter().try_for_each(|(scenario, ratios)| {
        writeln!(text, "| {} | {:.3} | {:.2} |", scenario.scenario, ratios.p50, ratios.p99)
    })
}

fn failures(text: &mut String, summaries: &[ScenarioSummary]) -> fmt::Result {
    let failed = summaries
        .iter()
        .flat_map(|scenario| scenario.failures.iter().map(move |failure| (scenario, failure)));
    for (number, (scenario, (mode, reason))) in failed.enumerate() {
        if number == 0 {
            text.push_str("\nEnded before their time:\n\n");
        }
        let reason = reason.replace('\n', " ");
        writeln!(text, "- {}, {mode}: {reason}", scenario.scenario)?;
    }
    Ok(())
}

fn plots(text: &mut String, outcomes: &[Outcome]) -> fmt::Result {
    for outcome in outcomes {
        let Outcome { scenario, about, seed, .. } = outcome;
        write!(text, "\n## {scenario}\n\n{about} Seed {seed}.\n\n![{scenario}]({scenario}.svg)\n")?;
    }
    Ok(())
}
