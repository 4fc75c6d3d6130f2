//! Plots, as SVG. Fonts are the viewer's.

use std::ops::Range;

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::coord::combinators::WithKeyPoints;
use plotters::prelude::*;

use super::ScenarioSummary;
use crate::run::{ModeOutcome, Outcome, Sample};
use crate::script::Mode;

/// Size of a scenario's plots and of the energy's, in pixels.
const SCENARIO_SIZE: (u32, u32) = (1080, 540);
const ENERGY_WIDTH: u32 = 820;

/// Height of title and legend, of the latency's panel, and width of those that show time; the rest is the rate's, and the
/// distribution's.
const HEAD_HEIGHT: u32 = 32;
const LATENCY_HEIGHT: u32 = 340;
const TIME_WIDTH: u32 = 680;

/// Height of a scenario in the energy's plot.
const ROW: u32 = 24;

/// Text sizes and margins in pixels.
const TEXT: u32 = 14;
const TITLE: u32 = 17;
const LEFT: u32 = 62;
const BOTTOM: u32 = 42;

const GRID: RGBColor = RGBColor(225, 225, 225);
const FRAME: RGBColor = RGBColor(90, 90, 90);
const RATE: RGBColor = RGBColor(120, 144, 156);
const OTHERS: RGBColor = RGBColor(239, 180, 110);
const ROAM: RGBColor = RGBColor(106, 27, 154);

/// A plot shows no more points of a mode than this: the worst of each stretch of time.
const MOST_POINTS: usize = 400;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Colours that differ in lightness too.
fn colour(mode: Mode) -> RGBColor {
    match mode {
        Mode::Percall => RGBColor(198, 40, 40),
        Mode::Pipeline => RGBColor(239, 138, 23),
        Mode::Replay => RGBColor(21, 101, 192),
        Mode::Ideal => RGBColor(46, 125, 50),
    }
}

fn failed<E: std::fmt::Display>(error: E) -> anyhow::Error {
    anyhow!("cannot draw: {error}")
}

fn font(size: u32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&BLACK)
}

/// Latency over time above the link's rate (that of the way up; dashed that of the way down, where it differs), and beside them
/// how latencies are distributed.
pub(super) fn scenario(outcome: &Outcome) -> Result<String> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SCENARIO_SIZE).into_drawing_area();
        root.fill(&WHITE).map_err(failed)?;
        let (head, panels) = root.split_vertically(HEAD_HEIGHT);
        headline(&head, &outcome.scenario, outcome.modes.iter().map(|mode| mode.mode))?;
        let (over_time, distribution) = panels.split_horizontally(TIME_WIDTH);
        let (above, below) = over_time.split_vertically(LATENCY_HEIGHT);
        let range = latency_range(outcome);
        latency(&above, outcome, range.clone())?;
        rate(&below, outcome)?;
        cumulated(&distribution, outcome, range)?;
        root.present().map_err(failed)?;
    }
    Ok(svg)
}

/// A title on the left, and what the colours mean.
fn headline(area: &Area<'_>, title: &str, modes: impl Iterator<Item = Mode>) -> Result<()> {
    /// Where the legend begins, and how wide an entry is.
    const LEGEND: i32 = 400;
    const ENTRY: i32 = 100;
    area.draw(&Text::new(title.to_owned(), (LEFT as i32, 10), font(TITLE))).map_err(failed)?;
    for (index, mode) in modes.enumerate() {
        let x = LEGEND + ENTRY * index as i32;
        let line = PathElement::new([(x, 19), (x + 20, 19)], colour(mode).stroke_width(3));
        area.draw(&line).map_err(failed)?;
        area.draw(&Text::new(mode.name(), (x + 26, 12), font(TEXT))).map_err(failed)?;
    }
    Ok(())
}

/// From the fastest to the slowest, with some room, so that a logarithmic axis shows percall and replay alike.
fn latency_range(outcome: &Outcome) -> Range<f64> {
    let all = outcome.modes.iter().flat_map(|mode| measured(outcome, mode)).map(|sample| sample.latency_ms);
    let (least, most) = all.fold((f64::MAX, 0.0_f64), |(least, most), ms| (least.min(ms), most.max(ms)));
    if least > most { 1.0..10.0 } else { (least * 0.8).max(0.01)..(most * 1.3).max(least * 2.0) }
}

fn measured<'a>(outcome: &Outcome, mode: &'a ModeOutcome) -> impl Iterator<Item = &'a Sample> {
    let [from_s, _] = outcome.measured_s;
    mode.inferences.iter().filter(move |sample| sample.at_s >= from_s)
}

fn times(outcome: &Outcome) -> Range<f64> {
    let [from_s, until_s] = outcome.measured_s;
    from_s..until_s
}

fn latency(area: &Area<'_>, outcome: &Outcome, range: Range<f64>) -> Result<()> {
    let mut chart = ChartBuilder::on(area)
        .margin(8)
        .set_label_area_size(LabelAreaPosition::Left, LEFT)
        .set_label_area_size(LabelAreaPosition::Bottom, 20)
        .build_cartesian_2d(times(outcome), logarithmic(&range))
        .map_err(failed)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(FRAME)
        .label_style(font(TEXT))
        .y_desc("latency of an inference, ms")
        .x_label_formatter(&seconds(outcome))
        .y_label_formatter(&|ms| number(*ms))
        .draw()
        .map_err(failed)?;
    for roam_s in &outcome.link.roams_s {
        let line = [(*roam_s, range.start), (*roam_s, range.end)];
        chart.draw_series(LineSeries::new(line, ROAM.mix(0.5))).map_err(failed)?;
    }
    for mode in &outcome.modes {
        let colour = colour(mode.mode);
        let points =
            thinned(measured(outcome, mode).map(|sample| (sample.at_s, sample.latency_ms)).collect());
        chart.draw_series(LineSeries::new(points, colour.stroke_width(1))).map_err(failed)?;
    }
    Ok(())
}

/// Labels of the time's axis: decimals only where they tell.
fn seconds(outcome: &Outcome) -> impl Fn(&f64) -> String + use<> {
    const SHORT_S: f64 = 8.0;
    let range = times(outcome);
    let decimals = usize::from(range.end - range.start < SHORT_S);
    move |s| format!("{s:.decimals$}")
}

/// A logarithmic axis with labels at 1, 2, 5, 10 and so on, or closer ones if it is short.
fn logarithmic(range: &Range<f64>) -> WithKeyPoints<LogCoord<f64>> {
    /// Of a decade; the shortest axes take the last.
    const LADDERS: [&[f64]; 3] = [&[1.0, 2.0, 5.0], &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0], &FINE];
    const FINE: [f64; 18] =
        [1.0, 1.1, 1.2, 1.3, 1.4, 1.6, 1.8, 2.0, 2.2, 2.5, 2.8, 3.2, 3.6, 4.0, 5.0, 6.0, 7.0, 8.5];
    const ENOUGH: usize = 4;
    let decades = range.start.log10().floor() as i32..=range.end.log10().ceil() as i32;
    let rungs = |ladder: &'static [f64]| {
        let all = decades.clone().flat_map(move |decade| ladder.iter().map(move |n| n * 10_f64.powi(decade)));
        all.filter(|value| range.contains(value)).collect::<Vec<_>>()
    };
    let ladders = LADDERS.map(rungs);
    let labels = ladders.iter().find(|labels| labels.len() >= ENOUGH).or(ladders.last());
    range.clone().log_scale().with_key_points(labels.cloned().unwrap_or_default())
}

/// The worst of each stretch of time, so that no spike is lost.
fn thinned(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let stretch = points.len().div_ceil(MOST_POINTS).max(1);
    points
        .chunks(stretch)
        .filter_map(|stretch| stretch.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1)))
        .collect()
}

fn rate(area: &Area<'_>, outcome: &Outcome) -> Result<()> {
    let (range, rates) = (times(outcome), &outcome.link.rates);
    let most = rates.iter().flat_map(|(_, up, down)| [*up, *down]).flatten().fold(0.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .margin(8)
        .set_label_area_size(LabelAreaPosition::Left, LEFT)
        .set_label_area_size(LabelAreaPosition::Bottom, BOTTOM)
        .build_cartesian_2d(range.clone(), 0.0..(most * 1.15).max(1.0))
        .map_err(failed)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(FRAME)
        .label_style(font(TEXT))
        .y_labels(4)
        .x_desc(if most > 0.0 { "time, s" } else { "time, s (the link's rate is unlimited)" })
        .y_desc("link, Mbit/s")
        .x_label_formatter(&seconds(outcome))
        .y_label_formatter(&|mbps| number(*mbps))
        .draw()
        .map_err(failed)?;
    let up = steps(rates.iter().map(|(at, up, _)| (*at, up.unwrap_or(0.0))), &range);
    chart.draw_series(AreaSeries::new(up, 0.0, RATE.mix(0.35)).border_style(RATE)).map_err(failed)?;
    if rates.iter().any(|(_, up, down)| up != down) {
        let down = steps(rates.iter().map(|(at, _, down)| (*at, down.unwrap_or(0.0))), &range);
        chart.draw_series(DashedLineSeries::new(down, 4, 3, FRAME.into())).map_err(failed)?;
    }
    for &[from_s, until_s] in &outcome.link.others_s {
        let (from_s, until_s) = (from_s.max(range.start), until_s.min(range.end));
        let span = [(from_s, 0.0), (until_s, most * 0.25)];
        chart.draw_series([Rectangle::new(span, OTHERS.mix(0.5).filled())]).map_err(failed)?;
        let text = Text::new("others' traffic", (5, -18), font(TEXT));
        chart.draw_series([EmptyElement::at((from_s, 0.0)) + text]).map_err(failed)?;
    }
    for roam_s in &outcome.link.roams_s {
        let line = [(*roam_s, 0.0), (*roam_s, most * 1.15)];
        chart.draw_series(LineSeries::new(line, ROAM)).map_err(failed)?;
    }
    Ok(())
}

/// A curve that holds each value until the next, within a range of times.
fn steps(values: impl Iterator<Item = (f64, f64)>, range: &Range<f64>) -> Vec<(f64, f64)> {
    let mut points: Vec<(f64, f64)> = Vec::new();
    let mut last = 0.0;
    for (at, value) in values.filter(|(at, _)| *at < range.end) {
        let at = at.max(range.start);
        points.extend([(at, last), (at, value)]);
        last = value;
    }
    points.retain(|(at, _)| *at >= range.start);
    points.push((range.end, last));
    // What came before the range has collapsed onto its beginning.
    let first = points.iter().rposition(|(at, _)| *at <= range.start).unwrap_or(0);
    points.split_off(first)
}

fn cumulated(area: &Area<'_>, outcome: &Outcome, range: Range<f64>) -> Result<()> {
    let mut chart = ChartBuilder::on(area)
        .margin(8)
        .margin_right(16)
        .set_label_area_size(LabelAreaPosition::Left, 50)
        .set_label_area_size(LabelAreaPosition::Bottom, BOTTOM)
        .build_cartesian_2d(logarithmic(&range), 0.0..1.0)
        .map_err(failed)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(FRAME)
        .label_style(font(TEXT))
        .x_desc("latency of an inference, ms")
        .y_desc("fraction of inferences")
        .x_label_formatter(&|value| number(*value))
        .y_label_formatter(&|fraction| format!("{fraction:.1}"))
        .draw()
        .map_err(failed)?;
    for mode in &outcome.modes {
        let mut sorted: Vec<_> = measured(outcome, mode).map(|sample| sample.latency_ms).collect();
        sorted.sort_by(f64::total_cmp);
        let count = sorted.len() as f64;
        let stretch = sorted.len().div_ceil(MOST_POINTS).max(1);
        let ranked = sorted.iter().enumerate().map(|(rank, ms)| (*ms, (rank + 1) as f64 / count));
        let kept = ranked.enumerate().filter(|(rank, _)| rank % stretch == 0 || rank + 1 == sorted.len());
        let curve = sorted.first().map(|ms| (*ms, 0.0)).into_iter().chain(kept.map(|(_, point)| point));
        chart.draw_series(LineSeries::new(curve, colour(mode.mode).stroke_width(2))).map_err(failed)?;
    }
    Ok(())
}

/// As short as it can be said.
fn number(value: f64) -> String {
    match value {
        v if v >= 10.0 || v == 0.0 => format!("{v:.0}"),
        v if v >= 1.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

/// Energy of an inference: a row for each scenario, a dot for each mode.
pub(super) fn energy(summaries: &[ScenarioSummary]) -> Result<String> {
    let rows: Vec<_> = summaries.iter().filter(|scenario| !scenario.modes.is_empty()).collect();
    let all = rows.iter().flat_map(|scenario| &scenario.modes).map(|mode| mode.energy_mj);
    let (least, most) = all.fold((f64::MAX, 1.0_f64), |(least, most), mj| (least.min(mj), most.max(mj)));
    let range = least.min(most) * 0.7..most * 1.4;
    let height = rows.len() as u32 * ROW;
    let mut svg = String::new();
    {
        let size = (ENERGY_WIDTH, HEAD_HEIGHT + height + BOTTOM + 16);
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        root.fill(&WHITE).map_err(failed)?;
        let (head, panel) = root.split_vertically(HEAD_HEIGHT);
        headline(&head, "energy of an inference on the robot", Mode::ALL.into_iter())?;
        let mut chart = ChartBuilder::on(&panel)
            .margin(8)
            .margin_right(20)
            .set_label_area_size(LabelAreaPosition::Left, 150)
            .set_label_area_size(LabelAreaPosition::Bottom, BOTTOM)
            .build_cartesian_2d(logarithmic(&range), 0.0..rows.len().max(1) as f64)
            .map_err(failed)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .y_labels(0)
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(FRAME)
            .label_style(font(TEXT))
            .x_desc("mJ, by the drafts' power model")
            .x_label_formatter(&|value| number(*value))
            .draw()
            .map_err(failed)?;
        for (index, scenario) in rows.iter().enumerate() {
            let y = (rows.len() - index) as f64 - 0.5;
            let name = Text::new(scenario.scenario.clone(), (-145, -7), font(TEXT));
            chart.draw_series([EmptyElement::at((range.start, y)) + name]).map_err(failed)?;
            chart.draw_series(LineSeries::new([(range.start, y), (range.end, y)], GRID)).map_err(failed)?;
            let dots = scenario
                .modes
                .iter()
                .map(|mode| Circle::new((mode.energy_mj, y), 5, colour(mode.mode).filled()));
            chart.draw_series(dots).map_err(failed)?;
        }
        root.present().map_err(failed)?;
    }
    Ok(svg)
}
