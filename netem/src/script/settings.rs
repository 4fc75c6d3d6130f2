//! The parameters as people write them, in a scenario file or on the command line, and the one table of them.

use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde::Deserialize;

use crate::link::{Burst, Fade, Outage, Params};

/// Link parameters as people write them; what is absent stays as it was.
///
/// The fields are both the keys of a scenario file's steps and the flags of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Round trip time: half of it is each direction's delay [default: 0]
    #[arg(long, value_name = "MS")]
    pub rtt_ms: Option<f64>,
    /// One-way delay of each direction, instead of --rtt-ms
    #[arg(long, value_name = "MS")]
    pub delay_ms: Option<f64>,
    /// Mean of the exponentially distributed jitter added to the delay, cut off at 8 times itself [default: 0]
    #[arg(long, value_name = "MS")]
    pub jitter_ms: Option<f64>,
    /// Let jitter change the order of datagrams; without it, a late one holds up those behind it
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub reorder: Option<bool>,
    /// Rate in 10^6 bits a second, 28 bytes of headers a datagram included; 0 is unlimited [default: 0]
    #[arg(long, value_name = "MBPS")]
    pub rate_mbps: Option<f64>,
    /// Drop-tail queue in front of the rate, in units of 1024 bytes [default: 256]
    #[arg(long, value_name = "KB")]
    pub queue_kb: Option<f64>,
    /// Largest IP packet, 28 bytes of headers included; larger ones are dropped [default: 1500]
    #[arg(long, value_name = "BYTES")]
    pub mtu_bytes: Option<f64>,
    /// Probability, 0 to 1, that a datagram is lost, each by itself [default: 0]
    #[arg(long, value_name = "P")]
    pub loss: Option<f64>,
    /// Mean time between fades (loss in bursts); 0 is none [default: 0]
    #[arg(long, value_name = "MS")]
    pub fade_every_ms: Option<f64>,
    /// Mean length of a fade, exponentially distributed
    #[arg(long, value_name = "MS")]
    pub fade_ms: Option<f64>,
    /// Probability, 0 to 1, that a datagram is lost in a fade [default: 1]
    #[arg(long, value_name = "P")]
    pub fade_loss: Option<f64>,
    /// Mean time between stalls, in which the transmitter stands still; 0 is none [default: 0]
    #[arg(long, value_name = "MS")]
    pub stall_every_ms: Option<f64>,
    /// Length of each stall
    #[arg(long, value_name = "MS")]
    pub stall_ms: Option<f64>,
    /// What the link is out for: lose everything, or hold it in the queue [default: none]
    #[arg(long, value_name = "KIND", value_parser = outages())]
    pub outage: Option<Outage>,
}

/// The model knows nothing of command lines.
fn outages() -> impl TypedValueParser<Value = Outage> {
    PossibleValuesParser::new(["none", "lose", "hold"]).map(|kind| match &*kind {
        "lose" => Outage::Lose,
        "hold" => Outage::Hold,
        _ => Outage::None,
    })
}

/// A numeric setting: its name and the values it may have.
pub(super) struct Knob {
    pub(super) name: &'static str,
    pub(super) slot: fn(&mut Settings) -> &mut Option<f64>,
    min: f64,
    max: f64,
    /// Whether 0 is allowed too, and what it means.
    zero: Option<&'static str>,
    /// Whether a step with `ramp_s` moves it gradually.
    pub(super) ramps: bool,
}

const HOUR_MS: f64 = 3.6e6;

/// Every numeric setting. The limits keep a mistyped unit (seconds for milliseconds, bits for megabits) from passing.
#[rustfmt::skip]
pub(super) const KNOBS: [Knob; 12] = [
    Knob { name: "rtt_ms", slot: |s| &mut s.rtt_ms, min: 0.0, max: 20_000.0, zero: None, ramps: false },
    Knob { name: "delay_ms", slot: |s| &mut s.delay_ms, min: 0.0, max: 10_000.0, zero: None, ramps: true },
    Knob { name: "jitter_ms", slot: |s| &mut s.jitter_ms, min: 0.0, max: 1_000.0, zero: None, ramps: true },
    Knob { name: "rate_mbps", slot: |s| &mut s.rate_mbps, min: 0.001, max: 100_000.0, zero: Some("unlimited"), ramps: true },
    Knob { name: "queue_kb", slot: |s| &mut s.queue_kb, min: 2.0, max: 65_536.0, zero: None, ramps: false },
    Knob { name: "mtu_bytes", slot: |s| &mut s.mtu_bytes, min: 68.0, max: 65_535.0, zero: None, ramps: false },
    Knob { name: "loss", slot: |s| &mut s.loss, min: 0.0, max: 1.0, zero: None, ramps: true },
    Knob { name: "fade_every_ms", slot: |s| &mut s.fade_every_ms, min: 1.0, max: HOUR_MS, zero: Some("no fades"), ramps: false },
    Knob { name: "fade_ms", slot: |s| &mut s.fade_ms, min: 0.1, max: HOUR_MS, zero: None, ramps: false },
    Knob { name: "fade_loss", slot: |s| &mut s.fade_loss, min: 0.0, max: 1.0, zero: None, ramps: false },
    Knob { name: "stall_every_ms", slot: |s| &mut s.stall_every_ms, min: 1.0, max: HOUR_MS, zero: Some("no stalls"), ramps: false },
    Knob { name: "stall_ms", slot: |s| &mut s.stall_ms, min: 0.1, max: HOUR_MS, zero: None, ramps: false },
];

impl Knob {
    pub(super) fn value(&self, settings: &Settings) -> Option<f64> {
        *(self.slot)(&mut { *settings })
    }

    fn check(&self, settings: &Settings) -> Result<(), String> {
        let Some(value) = self.value(settings) else { return Ok(()) };
        if (self.min..=self.max).contains(&value) || (value == 0.0 && self.zero.is_some()) {
            return Ok(());
        }
        let zero = self.zero.map_or(String::new(), |meaning| format!(", or 0 for {meaning}"));
        Err(format!("{}: must be {} to {}{zero}; it is {value}", self.name, self.min, self.max))
    }
}

impl Settings {
    /// Checks ranges, and turns `rtt_ms` into `delay_ms`. An error names the field.
    pub(super) fn checked(mut self) -> Result<Self, String> {
        KNOBS.iter().try_for_each(|knob| knob.check(&self))?;
        if let Some(rtt_ms) = self.rtt_ms.take() {
            if self.delay_ms.is_some() {
                return Err("rtt_ms: delay_ms is given too; give one of them".into());
            }
            self.delay_ms = Some(rtt_ms / 2.0);
        }
        Ok(self)
    }

    /// These settings, changed by what `changes` sets.
    pub(super) fn with(mut self, changes: &Settings) -> Self {
        for knob in &KNOBS {
            let slot = (knob.slot)(&mut self);
            *slot = knob.value(changes).or(*slot);
        }
        self.reorder = changes.reorder.or(self.reorder);
        self.outage = changes.outage.or(self.outage);
        self
    }

    /// These settings on their way to `target`: of what ramps, the fraction `done`; of the rest, all.
    pub(super) fn towards(&self, target: &Settings, done: f64) -> Self {
        let mut between = *target;
        for knob in KNOBS.iter().filter(|knob| knob.ramps) {
            let (from, to) = (knob.value(self).unwrap_or(0.0), knob.value(target).unwrap_or(0.0));
            *(knob.slot)(&mut between) = Some(from + (to - from) * done);
        }
        between
    }

    /// The link's parameters; what was never set has its default. An error names the field.
    pub(super) fn params(&self) -> Result<Params, String> {
        let defaults = Params::default();
        let burst = |every: Option<f64>, lasts: Option<f64>, exact: bool, name: &str| match (every, lasts) {
            (None | Some(0.0), _) => Ok(None),
            (Some(_), None) => Err(format!("{name}_every_ms: set {name}_ms too, the length of a {name}")),
            (Some(every), Some(lasts)) => {
                Ok(Some(Burst { every: milliseconds(every), lasts: milliseconds(lasts), exact }))
            }
        };
        let fade = burst(self.fade_every_ms, self.fade_ms, false, "fade")?;
        let params = Params {
            delay: milliseconds(self.delay_ms.unwrap_or(0.0)),
            jitter: milliseconds(self.jitter_ms.unwrap_or(0.0)),
            reorder: self.reorder.unwrap_or(defaults.reorder),
            rate_bps: self.rate_mbps.map_or(defaults.rate_bps, |mbps| (mbps * 1e6).round() as u64),
            queue_bytes: self.queue_kb.map_or(defaults.queue_bytes, |kb| (kb * 1024.0).round() as u64),
            mtu_bytes: self.mtu_bytes.map_or(defaults.mtu_bytes, |bytes| bytes as u64),
            loss: self.loss.unwrap_or(defaults.loss),
            fade: fade.map(|burst| Fade { burst, loss: self.fade_loss.unwrap_or(1.0) }),
            stall: burst(self.stall_every_ms, self.stall_ms, true, "stall")?,
            outage: self.outage.unwrap_or_default(),
        };
        if params.queue_bytes < params.mtu_bytes {
            return Err(format!(
                "queue_kb: the queue ({} bytes) must hold at least one datagram of mtu_bytes ({})",
                params.queue_bytes, params.mtu_bytes
            ));
        }
        Ok(params)
    }
}

/// Checked settings are finite and not negative.
fn milliseconds(ms: f64) -> Duration {
    Duration::from_secs_f64(ms / 1e3)
}
