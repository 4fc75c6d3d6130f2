//! How fast to send: the congestion controllers that one can choose from.

mod signals;
mod wireless;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use quinn::congestion::{BbrConfig, ControllerFactory, CubicConfig, NewRenoConfig};

use wireless::WirelessConfig;

/// A congestion controller. Each side chooses for what it sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Congestion {
    /// For links that lose packets for other reasons than congestion, and whose rate changes: a loss counts only if the queue
    /// has grown or if more is lost than the link loses anyway.
    #[default]
    Wireless,
    /// RFC 9438: every loss is congestion.
    Cubic,
    /// RFC 9002, section 7: every loss is congestion.
    NewReno,
    /// BBR, version 1: ignores losses, and overruns short queues.
    Bbr,
}

/// Their names, for people.
const NAMES: [(Congestion, &str); 4] = [
    (Congestion::Wireless, "wireless"),
    (Congestion::Cubic, "cubic"),
    (Congestion::NewReno, "newreno"),
    (Congestion::Bbr, "bbr"),
];

impl Congestion {
    pub(crate) fn factory(self) -> Arc<dyn ControllerFactory + Send + Sync> {
        match self {
            Congestion::Wireless => Arc::new(WirelessConfig),
            Congestion::Cubic => Arc::new(CubicConfig::default()),
            Congestion::NewReno => Arc::new(NewRenoConfig::default()),
            Congestion::Bbr => Arc::new(BbrConfig::default()),
        }
    }
}

impl fmt::Display for Congestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(congestion, _)| congestion == self).map_or("", |(_, name)| name);
        f.write_str(name)
    }
}

/// There is no congestion controller of this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a congestion controller (expected wireless, cubic, newreno or bbr)")]
pub struct UnknownCongestion(String);

impl FromStr for Congestion {
    type Err = UnknownCongestion;

    fn from_str(name: &str) -> Result<Self, UnknownCongestion> {
        let found = NAMES.iter().find(|(_, known)| *known == name);
        found.map(|(congestion, _)| *congestion).ok_or_else(|| UnknownCongestion(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_controller_is_found_by_its_name() {
        for (congestion, name) in NAMES {
            assert_eq!(name.parse(), Ok(congestion));
            assert_eq!(congestion.to_string(), name);
        }
        assert!("vegas".parse::<Congestion>().unwrap_err().to_string().contains("wireless, cubic"));
    }
}
