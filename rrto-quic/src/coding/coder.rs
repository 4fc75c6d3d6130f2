//! Decides whether a payload is coded, and does it.

use bytes::Bytes;
use rrto_core::replay::NEAR;
use tokio::time::Instant;

use super::block::Encoder;
use super::plan::Plan;
use super::rate::Pace;
use super::{BLOCK_BYTES, Coding};

/// A shorter payload is not looked at: what there is to save is less than a packet or two.
const LEAST_BYTES: usize = 16 << 10;

/// A byte that costs less on the link (2 Gbit/s) is never coded.
const FAST_LINK_NS: f64 = 4.0;

/// What a byte is taken to cost on a link of unknown rate that is not [`NEAR`], ns (100 Mbit/s): no radio answers so soon, and
/// a congestion window that has yet to open makes any link slow.
const UNKNOWN_NS: f64 = 80.0;

/// What coding a byte is taken to cost before it has been measured, ns.
const FIRST_COST_NS: f64 = 2.0;

/// How often what coding costs must fit into what the link takes: the other side, whose speed is not known, decodes meanwhile,
/// and both have packets to see to.
const HEADROOM: f64 = 2.0;

/// Weight of a block in the average cost, and the most that one block may count for, as a multiple of that average: a
/// thread that lost its processor says nothing about coding.
const COST_WEIGHT: f64 = 1.0 / 16.0;
const MOST_COST: f64 = 4.0;

/// What becomes of the average at each payload that is found too expensive: it comes down, so that coding is
/// tried again some time.
const COST_DECAY: f64 = 0.99;

/// One connection's, in one direction.
pub(crate) struct Coder {
    coding: Coding,
    /// Made for the first payload that is coded.
    encoder: Option<Encoder>,
    cost_ns: f64,
}

impl Coder {
    pub(crate) fn new(coding: Coding) -> Self {
        Coder { coding, encoder: None, cost_ns: FIRST_COST_NS }
    }

    /// How to code `payload` on a link of this pace, asked only where it matters; `None` if it goes as it is.
    pub(crate) fn begin(&mut self, payload: Bytes, pace: impl FnOnce() -> Pace) -> Option<Coded<'_>> {
        if self.coding == Coding::Off || payload.len() < LEAST_BYTES {
            return None;
        }
        let plan = match self.coding {
            Coding::Always => Plan::of(&payload)?,
            _ => self.worthwhile(&payload, pace())?,
        };
        if self.encoder.is_none() {
            self.encoder = Encoder::new();
        }
        let encoder = self.encoder.as_mut()?;
        Some(Coded { encoder, cost_ns: &mut self.cost_ns, plan, left: payload })
    }

    /// The plan that saves more time on the link than it takes.
    fn worthwhile(&mut self, payload: &[u8], pace: Pace) -> Option<Plan> {
        let link_ns = match pace.ns_per_byte {
            Some(ns) => ns,
            None if pace.rtt >= NEAR => UNKNOWN_NS,
            None => return None,
        };
        if link_ns < FAST_LINK_NS {
            return None;
        }
        let plan = Plan::of(payload)?;
        let coded_ns = coded_ns(payload.len(), f64::from(plan.saving), link_ns, self.cost_ns);
        if coded_ns < link_ns * payload.len() as f64 {
            return Some(plan);
        }
        self.cost_ns *= COST_DECAY;
        None
    }
}

/// How long a coded payload takes: both sides work while the link carries the blocks between, so it is the slowest of them
/// that counts, and the coding of the first block and the decoding of the last besides.
fn coded_ns(bytes: usize, saving: f64, link_ns: f64, cost_ns: f64) -> f64 {
    let slowest = f64::max(link_ns * (1.0 - saving), cost_ns * HEADROOM);
    slowest * bytes as f64 + 2.0 * cost_ns * bytes.min(BLOCK_BYTES) as f64
}

/// A payload that is being coded, block by block.
pub(crate) struct Coded<'a> {
    encoder: &'a mut Encoder,
    cost_ns: &'a mut f64,
    plan: Plan,
    left: Bytes,
}

impl Coded<'_> {
    /// The next block: its header and its body, which may be a part of the payload itself.
    pub(crate) fn next(&mut self) -> Option<[Bytes; 2]> {
        if self.left.is_empty() {
            return None;
        }
        let raw = self.left.split_to(self.left.len().min(BLOCK_BYTES));
        let began = Instant::now();
        let block = self.encoder.encode(&raw, &mut self.plan);
        let took = began.elapsed().as_nanos() as f64 / raw.len() as f64;
        *self.cost_ns += (took.min(*self.cost_ns * MOST_COST) - *self.cost_ns) * COST_WEIGHT;
        Some(block)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::{floats, noise};
    use super::*;

    fn pace(rate_mbps: Option<f64>, rtt_us: u64) -> Pace {
        Pace { ns_per_byte: rate_mbps.map(|rate| 8000.0 / rate), rtt: Duration::from_micros(rtt_us) }
    }

    fn codes(coder: &mut Coder, payload: &Bytes, rate_mbps: Option<f64>, rtt_us: u64) -> bool {
        coder.begin(payload.clone(), || pace(rate_mbps, rtt_us)).is_some()
    }

    #[test]
    fn what_the_link_costs_decides() {
        let tensor = floats(100_000);
        let noise: Bytes = noise(400_000).into();
        for (payload, rate_mbps, rtt_us, coded) in [
            (&tensor, Some(90.0), 10_000, true),
            (&tensor, Some(450.0), 2000, true),
            (&tensor, Some(450.0), 100, true),
            (&tensor, Some(5000.0), 100, false),
            (&tensor, Some(5000.0), 10_000, false),
            (&tensor, None, 100, false),
            (&tensor, None, 2000, true),
            (&noise, Some(90.0), 10_000, false),
            (&tensor.slice(..1000), Some(90.0), 10_000, false),
        ] {
            let mut coder = Coder::new(Coding::Auto);
            let case = format!("{} bytes, {rate_mbps:?} Mbit/s, {rtt_us} us", payload.len());
            assert_eq!(codes(&mut coder, payload, rate_mbps, rtt_us), coded, "{case}");
            assert!(!codes(&mut Coder::new(Coding::Off), payload, rate_mbps, rtt_us), "{case}");
        }
        assert!(codes(&mut Coder::new(Coding::Always), &tensor, Some(5000.0), 100));
        assert!(!codes(&mut Coder::new(Coding::Always), &noise, Some(5.0), 10_000));
    }

    #[test]
    fn a_machine_that_is_slow_at_it_stops_and_tries_again() {
        let mut coder = Coder::new(Coding::Auto);
        let tensor = floats(10_000);
        coder.cost_ns = 20.0;
        assert!(codes(&mut coder, &tensor, Some(5.0), 1000));
        let refused = (0..1000).take_while(|_| !codes(&mut coder, &tensor, Some(450.0), 1000)).count();
        assert!((100..300).contains(&refused), "{refused}");
    }
}
