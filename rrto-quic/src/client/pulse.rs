//! Whether the server is there, as far as one connection can tell.
//!
//! Two things are no sign that it is not: a program that waits for a long kernel hears nothing for as long, and a connection on
//! which nothing is sent is silent. So silence counts from a packet that the server has to acknowledge; and where an answer
//! is awaited and nothing is on its way, something is sent now and then.

use std::time::Duration;

use quinn::ConnectionStats;
use tokio::time::Instant;

/// A server takes no longer to acknowledge, nor does a packet take to be sent again, than so many round trips..
const SILENT_RTTS: u32 = 3;

/// ..or than this, which covers the delay of an acknowledgement and a lost packet. What it costs to be wrong is a
/// handshake.
const SILENT_AT_LEAST: Duration = Duration::from_millis(100);

/// An answer is awaited for so long before a sign of life is asked for: the NAT between may have forgotten this side, and the
/// answer have gone nowhere. Twice as long each time.
const FIRST_PROBE: Duration = Duration::from_millis(50);
const LAST_PROBE: Duration = Duration::from_secs(1);

/// What has been seen of one connection.
#[derive(Debug)]
pub(super) struct Pulse {
    received: u64,
    /// Frames sent that have to be acknowledged.
    asked: u64,
    /// Since when something is unacknowledged and nothing has been received.
    unanswered_since: Option<Instant>,
    heard: Instant,
    probe_after: Duration,
    last_probe: Instant,
}

impl Pulse {
    pub(super) fn new(now: Instant) -> Self {
        Pulse {
            received: 0,
            asked: 0,
            unanswered_since: None,
            heard: now,
            probe_after: FIRST_PROBE,
            last_probe: now,
        }
    }

    /// When something was received last.
    pub(super) fn heard(&self) -> Instant {
        self.heard
    }

    /// Since when it should have been heard, if it should.
    pub(super) fn unanswered_since(&self) -> Option<Instant> {
        self.unanswered_since
    }

    pub(super) fn update(&mut self, now: Instant, stats: &ConnectionStats) {
        let sent = &stats.frame_tx;
        let asked = sent.stream
            + sent.ping
            + sent.crypto
            + sent.path_challenge
            + sent.max_data
            + sent.max_stream_data;
        if stats.udp_rx.datagrams != self.received {
            *self = Pulse {
                received: stats.udp_rx.datagrams,
                asked,
                unanswered_since: None,
                heard: now,
                ..*self
            };
        } else if asked != self.asked && self.unanswered_since.is_none() {
            self.unanswered_since = Some(now);
        }
    }

    /// Whether the server should have been heard.
    pub(super) fn is_silent(&self, now: Instant, rtt: Duration) -> bool {
        let patience = SILENT_AT_LEAST.max(rtt * SILENT_RTTS);
        self.unanswered_since.is_some_and(|since| now.duration_since(since) >= patience)
    }

    /// Whether to ask for a sign of life, an answer being awaited. Says so once.
    pub(super) fn poll_probe(&mut self, now: Instant) -> bool {
        let quiet_since = self.heard.max(self.last_probe);
        let is_due = self.unanswered_since.is_none() && now.duration_since(quiet_since) >= self.probe_after;
        if is_due {
            self.last_probe = now;
            self.probe_after = LAST_PROBE.min(self.probe_after * 2);
        }
        is_due
    }

    /// The program got an answer, or asks for the first one: the next is expected soon.
    pub(super) fn handle_answer(&mut self) {
        self.probe_after = FIRST_PROBE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(10);

    fn stats(received: u64, streams: u64) -> ConnectionStats {
        let mut stats = ConnectionStats::default();
        stats.udp_rx.datagrams = received;
        stats.frame_tx.stream = streams;
        stats
    }

    #[test]
    fn silence_counts_from_what_has_to_be_acknowledged() {
        let start = Instant::now();
        let mut pulse = Pulse::new(start);
        pulse.update(start, &stats(5, 3));
        let later = start + Duration::from_secs(10);
        pulse.update(later, &stats(5, 3));
        assert!(!pulse.is_silent(later, RTT));
        pulse.update(later, &stats(5, 4));
        assert!(!pulse.is_silent(later + SILENT_AT_LEAST / 2, RTT));
        assert!(pulse.is_silent(later + SILENT_AT_LEAST, RTT));
        assert!(!pulse.is_silent(later + SILENT_AT_LEAST, SILENT_AT_LEAST));
        pulse.update(later + SILENT_AT_LEAST, &stats(6, 4));
        assert!(!pulse.is_silent(later + 2 * SILENT_AT_LEAST, RTT));
    }

    #[test]
    fn signs_of_life_are_asked_for_ever_more_seldom() {
        let start = Instant::now();
        let mut pulse = Pulse::new(start);
        let mut probes = Vec::new();
        for ms in 0..10_000 {
            let now = start + Duration::from_millis(ms);
            if pulse.poll_probe(now) {
                probes.push(ms);
                // It is answered.
                pulse.update(now, &stats(ms, ms));
            }
        }
        assert_eq!(probes[..5], [50, 150, 350, 750, 1550]);
        assert_eq!(probes.len(), 13);
    }
}
