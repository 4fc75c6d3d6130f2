//! A mode's run in a few numbers.

use serde::Serialize;

use super::energy::energy_mj;
use crate::run::ModeOutcome;
use crate::script::Mode;

/// What the inferences that count were like.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Which mode.
    pub mode: Mode,
    /// How many inferences count.
    pub inferences: usize,
    /// Latency that half of them do not exceed, in ms.
    pub p50_ms: f64,
    /// Nine of ten.
    pub p90_ms: f64,
    /// 99 of a hundred.
    pub p99_ms: f64,
    /// None.
    pub worst_ms: f64,
    /// Waits for the server in one; the median.
    pub round_trips: Option<f64>,
    /// UDP payload of one, up and down, in bytes.
    pub bytes: Option<[f64; 2]>,
    /// Energy of one, the mean, in mJ.
    pub energy_mj: f64,
    /// Outputs that were wrong, also of inferences that do not count.
    pub wrong: u64,
}

impl Summary {
    /// Of the inferences that began at or after a time; `None` if there are none.
    pub fn of(outcome: &ModeOutcome, measure_from_s: f64, device_ms: Option<f64>) -> Option<Self> {
        let counting = outcome.inferences.iter().filter(|sample| sample.at_s >= measure_from_s);
        let counting: Vec<_> = counting.collect();
        let mut latencies: Vec<_> = counting.iter().map(|sample| sample.latency_ms).collect();
        latencies.sort_by(f64::total_cmp);
        let energies = counting.iter().map(|sample| energy_mj(sample, device_ms.unwrap_or(0.0)));
        Some(Self {
            mode: outcome.mode,
            inferences: latencies.len(),
            p50_ms: quantile(&latencies, 0.5)?,
            p90_ms: quantile(&latencies, 0.9)?,
            p99_ms: quantile(&latencies, 0.99)?,
            worst_ms: *latencies.last()?,
            round_trips: outcome.round_trips_each,
            bytes: outcome.bytes_each,
            energy_mj: energies.sum::<f64>() / latencies.len() as f64,
            wrong: outcome.wrong,
        })
    }
}

/// The least value that a fraction of all does not exceed (nearest rank).
pub(super) fn quantile(ascending: &[f64], fraction: f64) -> Option<f64> {
    let rank = (ascending.len() as f64 * fraction).ceil() as usize;
    ascending.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_there() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!([0.5, 0.9, 0.99, 1.0].map(|q| quantile(&values, q)), [50.0, 90.0, 99.0, 100.0].map(Some));
        assert_eq!((quantile(&[7.0], 0.99), quantile(&[], 0.5)), (Some(7.0), None));
    }
}
