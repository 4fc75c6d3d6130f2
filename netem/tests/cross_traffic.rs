//! Traffic of others in the link's model, in virtual time.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use proptest::prelude::*;
use rrto_netem::link::{Cross, Direction, Flow, Params, Timeline, Verdict, Way};

const MBPS: u64 = 1_000_000;
const FOR_EVER: Duration = Duration::from_secs(86_400);

fn direction(rate_bps: u64, queue_bytes: u64, loss: f64, flows: &[Cross]) -> Direction {
    let delay = Duration::from_millis(5);
    let params = Params { rate_bps, queue_bytes, loss, delay, ..Params::default() };
    Direction::new(Timeline::constant(params).unwrap(), 1, Way::Up).shared_with(flows)
}

fn flow(flow: Flow, from_s: u64, until: Duration) -> Cross {
    Cross { way: Way::Up, from: Duration::from_secs(from_s), until, flow }
}

/// Mbit/s of others between two times.
fn others_mbps(direction: &mut Direction, from_s: u64, until_s: u64) -> f64 {
    direction.queued_bytes(Duration::from_secs(from_s));
    let before = direction.others_bytes();
    direction.queued_bytes(Duration::from_secs(until_s));
    (direction.others_bytes() - before) as f64 * 8.0 / 1e6 / (until_s - from_s) as f64
}

#[test]
fn a_constant_flow_has_its_rate_and_its_time() {
    let flow = flow(Flow::Constant { rate_bps: 40 * MBPS }, 2, Duration::from_secs(6));
    let mut direction = direction(100 * MBPS, 256 << 10, 0.0, &[flow]);
    assert_eq!(others_mbps(&mut direction, 0, 1), 0.0);
    let rate = others_mbps(&mut direction, 3, 5);
    assert!((39.5..40.5).contains(&rate), "{rate}");
    assert_eq!(others_mbps(&mut direction, 7, 9), 0.0);
}

#[test]
fn a_cubic_flow_fills_a_free_link_and_keeps_its_queue_filled() {
    for (rate, queue_kb) in [(10, 64), (50, 256)] {
        let mut direction = direction(rate * MBPS, queue_kb << 10, 0.0, &[flow(Flow::Cubic, 0, FOR_EVER)]);
        let reached = others_mbps(&mut direction, 5, 15);
        assert!((rate as f64 * 0.9..=rate as f64 * 1.001).contains(&reached), "{reached} of {rate}");
        let queued: Vec<_> =
            (0..300).map(|n| direction.queued_bytes(Duration::from_millis(15_000 + 10 * n))).collect();
        let mean = queued.iter().sum::<u64>() / 300;
        assert!(mean > (queue_kb << 10) / 8, "{mean} of {queue_kb} kB are queued");
    }
}

#[test]
fn cubic_suffers_from_random_loss() {
    let mut direction = direction(100 * MBPS, 256 << 10, 0.01, &[flow(Flow::Cubic, 0, FOR_EVER)]);
    let reached = others_mbps(&mut direction, 5, 25);
    assert!((3.0..40.0).contains(&reached), "{reached}");
}

#[test]
fn two_cubic_flows_share() {
    let flows = [flow(Flow::Cubic, 0, FOR_EVER), flow(Flow::Cubic, 4, FOR_EVER)];
    let mut direction = direction(20 * MBPS, 64 << 10, 0.0, &flows);
    let alone = others_mbps(&mut direction, 2, 4);
    let both = others_mbps(&mut direction, 6, 16);
    assert!(alone > 18.0 && (18.0..20.1).contains(&both), "{alone}, {both}");
}

#[test]
fn others_take_the_other_way_if_they_say_so() {
    let other = Cross { way: Way::Down, ..flow(Flow::Cubic, 0, FOR_EVER) };
    let mut direction = direction(100 * MBPS, 256 << 10, 0.0, &[other]);
    assert_eq!(others_mbps(&mut direction, 0, 10), 0.0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whoever asks, and how often: what others do is the same.
    #[test]
    fn asking_changes_nothing(asked_ms in prop::collection::vec(0..5_000_u64, 0..50)) {
        let flows = [flow(Flow::Cubic, 0, FOR_EVER), flow(Flow::Constant { rate_bps: 2 * MBPS }, 1, FOR_EVER)];
        let [mut often, mut seldom] = [(); 2].map(|()| direction(10 * MBPS, 64 << 10, 0.001, &flows));
        let mut asked_ms = asked_ms;
        asked_ms.sort_unstable();
        for ms in asked_ms {
            often.queued_bytes(Duration::from_millis(ms));
        }
        let end = Duration::from_secs(6);
        prop_assert_eq!(often.queued_bytes(end), seldom.queued_bytes(end));
        prop_assert_eq!(often.others_bytes(), seldom.others_bytes());
    }

    /// One's own datagrams wait behind others', and the rate is never exceeded.
    #[test]
    fn the_rate_is_shared(rate in 5..100_u64, gap_us in 50..1_000_u64) {
        let flows = [flow(Flow::Cubic, 0, FOR_EVER)];
        let mut direction = direction(rate * MBPS, 64 << 10, 0.0, &flows);
        let mut own_bytes = 0;
        for n in 0..2_000 {
            let now = Duration::from_micros(n * gap_us);
            if let Verdict::Deliver { at } = direction.enqueue(now, 1200) {
                prop_assert!(at >= now + Duration::from_millis(5));
                own_bytes += 1228;
            }
        }
        let end_s = (2_000 * gap_us) as f64 / 1e6;
        let most = rate as f64 * 1e6 / 8.0 * end_s + 65_536.0 + 1500.0;
        prop_assert!((own_bytes + direction.others_bytes()) as f64 <= most);
    }
}
