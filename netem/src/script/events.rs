//! What happens beside the link's parameters: roams, and traffic of others.

use std::time::Duration;

use serde::Deserialize;

use super::MAX_SCRIPT_S;
use super::checked::{rate_bps, seconds, times};
use crate::link::{Cross, Flow, Way};

/// What of a client's address changes, as the server sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The port: a NAT has forgotten the client.
    Port,
    /// Address and port: the client has a new network.
    Address,
}

/// All clients of a link come to the server from elsewhere, and what is sent to where they were is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roam {
    /// When, since the link's beginning.
    pub at: Duration,
    /// What changes.
    pub change: Change,
}

/// `[[roam]]`: one, or several at equal distances.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RoamKeys {
    #[serde(deserialize_with = "seconds")]
    at_s: Duration,
    change: Change,
    #[serde(default, deserialize_with = "seconds")]
    every_s: Duration,
    #[serde(default = "once", deserialize_with = "times")]
    times: u32,
}

fn once() -> u32 {
    1
}

/// Every roam, in order of time.
pub(super) fn roams(keys: &[RoamKeys]) -> Vec<Roam> {
    let several = |keys: &RoamKeys| {
        let (at_s, every_s, change) = (keys.at_s, keys.every_s, keys.change);
        (0..keys.times).map(move |number| Roam { at: at_s + every_s * number, change })
    };
    let mut roams: Vec<_> = keys.iter().flat_map(several).collect();
    roams.sort_by_key(|roam| roam.at);
    roams
}

/// `[[cross]]`: a flow of somebody else.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(super) struct CrossKeys {
    way: Way,
    flow: FlowKind,
    #[serde(default, deserialize_with = "rate_bps")]
    rate_mbps: Option<u64>,
    #[serde(default, deserialize_with = "seconds")]
    from_s: Duration,
    #[serde(default = "for_ever", deserialize_with = "seconds")]
    until_s: Duration,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FlowKind {
    Constant,
    Cubic,
}

fn for_ever() -> Duration {
    Duration::from_secs_f64(MAX_SCRIPT_S)
}

/// The flow that the keys describe; an error says which key is wrong. `has_rate` says whether that way has a rate at all times.
pub(super) fn cross(keys: &CrossKeys, has_rate: impl Fn(Way) -> bool) -> Result<Cross, String> {
    let flow = match (keys.flow, keys.rate_mbps) {
        (FlowKind::Constant, Some(rate_bps)) => Flow::Constant { rate_bps },
        (FlowKind::Constant, None) => return Err("rate_mbps: a constant flow needs it".into()),
        (FlowKind::Cubic, None) => Flow::Cubic,
        (FlowKind::Cubic, Some(_)) => {
            return Err("rate_mbps: a cubic flow takes what it gets; leave it out".into());
        }
    };
    if keys.until_s <= keys.from_s {
        return Err("until_s: must be after from_s".into());
    }
    if !has_rate(keys.way) {
        return Err("way: others share a link's rate; give every step a rate_mbps in this direction".into());
    }
    Ok(Cross { way: keys.way, from: keys.from_s, until: keys.until_s, flow })
}
