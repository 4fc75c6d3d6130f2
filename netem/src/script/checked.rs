//! Values of a scenario file that are checked while it is read, so that an error names line and column.

use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

use super::MAX_SCRIPT_S;

fn within<'de, D: Deserializer<'de>>(
    from: D,
    least: f64,
    most: f64,
    unit: &'static str,
) -> Result<f64, D::Error> {
    let value = f64::deserialize(from)?;
    let good = (least..=most).contains(&value);
    let wrong = || D::Error::custom(format!("must be {least} to {most} {unit}; it is {value}"));
    good.then_some(value).ok_or_else(wrong)
}

/// A time in seconds, at most a day.
pub(super) fn seconds<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    within(from, 0.0, MAX_SCRIPT_S, "seconds").map(Duration::from_secs_f64)
}

/// A time in ms, at most an hour.
pub(super) fn milliseconds<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    within(from, 0.0, 3.6e6, "milliseconds").map(|ms| Duration::from_secs_f64(ms / 1e3))
}

/// A rate in Mbit/s, which is not 0, in bits a second.
pub(super) fn rate_bps<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    within(from, 0.001, 100_000.0, "Mbit/s").map(|mbps| Some((mbps * 1e6) as u64))
}

/// A count from 1 to a thousand.
pub(super) fn times<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    within(from, 1.0, 1_000.0, "times").map(|times| times as u32)
}
