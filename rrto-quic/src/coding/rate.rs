//! What a byte costs on the link: a congestion controller that watches another one's acknowledgements.
//!
//! Neither the congestion window over the round trip (a bound, far above a link's rate while the window is not used) nor
//! the time until a payload is acknowledged (its last packet's acknowledgement may be delayed by 25 ms, more than the whole payload takes)
//! says it. What does is the time in which [`WINDOW_BYTES`] were acknowledged in the midst of a transfer. A window in which the
//! program had too little to send says nothing about the link and is left out: one whose packets were sent about as slowly
//! as they were acknowledged although nothing but the program held them back. The median of the last few windows is neither
//! moved by a stalled radio nor by acknowledgements that came in one heap.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::Connection;
use quinn::congestion::{Controller, ControllerFactory, ControllerMetrics};
use quinn_proto::RttEstimator;

/// Bytes whose acknowledgement is timed.
const WINDOW_BYTES: u64 = 64 << 10;

/// Windows that are remembered.
const WINDOWS: usize = 9;

/// What is known of a connection's link.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Pace {
    /// What a byte costs, ns; `None` before anything long has been sent on this path.
    pub(crate) ns_per_byte: Option<f64>,
    /// The smoothed round trip.
    pub(crate) rtt: Duration,
}

/// What is known of the link that `connection` uses now. A new path begins without knowledge.
pub(crate) fn pace(connection: &Connection) -> Pace {
    let metered = connection.congestion_state().into_any().downcast::<Metered>();
    let ns_per_byte = metered.ok().and_then(|metered| metered.meter.ns_per_byte());
    Pace { ns_per_byte, rtt: connection.rtt() }
}

/// Makes `inner`'s controllers, watched.
pub(crate) fn metered(
    inner: Arc<dyn ControllerFactory + Send + Sync>,
) -> Arc<dyn ControllerFactory + Send + Sync> {
    Arc::new(MeteredFactory(inner))
}

struct MeteredFactory(Arc<dyn ControllerFactory + Send + Sync>);

impl ControllerFactory for MeteredFactory {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(Metered { inner: self.0.clone().build(now, current_mtu), meter: Meter::default() })
    }
}

/// A controller that another one decides for.
struct Metered {
    inner: Box<dyn Controller>,
    meter: Meter,
}

impl Controller for Metered {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.inner.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, rtt: &RttEstimator) {
        self.meter.on_ack(now, sent, bytes);
        self.inner.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        largest_packet_num_acked: Option<u64>,
    ) {
        self.meter.on_end_acks(now, in_flight, app_limited);
        self.inner.on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        self.inner.on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.inner.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        self.inner.window()
    }

    fn metrics(&self) -> ControllerMetrics {
        self.inner.metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Metered { inner: self.inner.clone_box(), meter: self.meter.clone() })
    }

    fn initial_window(&self) -> u64 {
        self.inner.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// Times windows of acknowledged bytes.
#[derive(Clone, Default)]
struct Meter {
    window: Option<Window>,
    /// What a byte took in the last windows, ns; the oldest is overwritten.
    took_ns: [f64; WINDOWS],
    /// Windows so far.
    count: usize,
}

/// The one that is being filled: it begins with the acknowledgement of what it does not count.
#[derive(Clone, Copy)]
struct Window {
    began: Instant,
    bytes: u64,
    /// When the last packet before it and its last packet were sent.
    sent_before: Instant,
    sent_last: Instant,
}

impl Meter {
    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64) {
        let window =
            self.window.get_or_insert(Window { began: now, bytes: 0, sent_before: sent, sent_last: sent });
        if now > window.began {
            window.bytes += bytes;
            window.sent_last = window.sent_last.max(sent);
        } else {
            window.sent_before = window.sent_before.max(sent);
            window.sent_last = window.sent_before;
        }
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool) {
        let Some(window) = self.window.filter(|window| window.bytes >= WINDOW_BYTES) else {
            if in_flight == 0 {
                self.window = None;
            }
            return;
        };
        let took = now.saturating_duration_since(window.began);
        let sent_in = window.sent_last.saturating_duration_since(window.sent_before);
        // What was sent clearly faster than it was acknowledged waited for the link.
        if !app_limited || sent_in * 4 < took * 3 {
            self.took_ns[self.count % WINDOWS] = took.as_nanos() as f64 / window.bytes as f64;
            self.count += 1;
        }
        let sent = window.sent_last;
        self.window =
            (in_flight > 0).then_some(Window { began: now, bytes: 0, sent_before: sent, sent_last: sent });
    }

    fn ns_per_byte(&self) -> Option<f64> {
        let mut known = self.took_ns;
        let known = known.get_mut(..self.count.min(WINDOWS)).filter(|known| !known.is_empty())?;
        let middle = known.len() / 2;
        Some(*known.select_nth_unstable_by(middle, f64::total_cmp).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: u64 = 1200;

    /// Acknowledges packets that were sent `send_us` apart and come through `ack_us` apart, two at a time.
    fn transfer(
        meter: &mut Meter,
        start: Instant,
        packets: u32,
        (send_us, ack_us): (u64, u64),
        app_limited: bool,
    ) -> Instant {
        let mut now = start;
        for packet in 0..packets {
            let sent = start + Duration::from_micros(send_us) * packet;
            now = start + Duration::from_micros(2000) + Duration::from_micros(ack_us) * (packet | 1);
            meter.on_ack(now, sent, PACKET);
            if packet % 2 == 1 || packet + 1 == packets {
                let left = u64::from(packets - packet - 1) * PACKET;
                meter.on_end_acks(now, left, app_limited);
            }
        }
        now
    }

    #[test]
    fn a_transfer_says_what_a_byte_costs() {
        let mut meter = Meter::default();
        assert_eq!(meter.ns_per_byte(), None);
        // All of it was sent at once; the link took 24 us a packet.
        let end = transfer(&mut meter, Instant::now(), 400, (1, 24), true);
        let first = meter.ns_per_byte().unwrap();
        assert!((19.5..20.5).contains(&first), "{first}");
        // The next begins after a pause that nobody counts, and is sent as it is acknowledged.
        transfer(&mut meter, end + Duration::from_secs(1), 1000, (240, 240), false);
        let second = meter.ns_per_byte().unwrap();
        assert!((195.0..205.0).contains(&second), "{second}");
    }

    #[test]
    fn a_program_that_sends_little_says_nothing_of_the_link() {
        let mut meter = Meter::default();
        transfer(&mut meter, Instant::now(), 1000, (240, 240), true);
        assert_eq!(meter.ns_per_byte(), None);
    }

    #[test]
    fn a_stall_changes_nothing() {
        let mut meter = Meter::default();
        let now = transfer(&mut meter, Instant::now(), 400, (1, 24), true);
        let before = meter.ns_per_byte().unwrap();
        // One window of 60 packets, of which the last takes a second.
        let late = now + Duration::from_secs(1);
        for at in [now + Duration::from_millis(1), late] {
            (0..60).for_each(|_| meter.on_ack(at, now, PACKET));
            meter.on_end_acks(at, PACKET, true);
        }
        let after = meter.ns_per_byte().unwrap();
        assert!((before - after).abs() < 1.0, "{before} {after}");
    }
}
