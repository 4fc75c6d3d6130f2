//! What the transport must achieve, each in a short form; `examples/transport` measures the same at length.

use std::time::Duration;

use rrto_core::testing::link::{Burst, Fade, Params};
use rrto_quic::Congestion;

use crate::scenarios::{
    RTT, Setup, beside_cubic, bulk, dials, drop_and_return, kb, link, lossy, messages, percentile,
};

/// Below 200, a p99 is chance.
const EVENTS: usize = 250;

const MESSAGE_EVERY: Duration = Duration::from_millis(20);
const BULK_LASTS: Duration = Duration::from_secs(4);

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

#[test]
fn a_dial_survives_ten_percent_loss() {
    let p90 = percentile(&dials(&Setup::new(1, lossy(0.1)), EVENTS as u64), 0.9);
    assert!(p90 <= ms(200), "{p90:?}");
}

#[test]
fn a_lost_message_is_soon_sent_again() {
    for (loss, most) in [(0.05, ms(60)), (0.1, ms(100))] {
        let p99 = percentile(&messages(&Setup::new(1, lossy(loss)), 3 * EVENTS, MESSAGE_EVERY, false), 0.99);
        assert!(p99 <= most, "loss {loss}: {p99:?}");
    }
}

#[test]
fn a_message_waits_for_no_more_than_the_queue() {
    let queue = Duration::from_secs_f64(link().queue_bytes as f64 * 8.0 / link().rate_bps as f64);
    let p99 = percentile(&messages(&Setup::new(1, link()), EVENTS, MESSAGE_EVERY, true), 0.99);
    assert!(p99 <= RTT + queue + ms(5), "{p99:?}");
    // Bulk alone does not even fill it.
    assert!(p99 <= RTT + queue * 3 / 4, "{p99:?}");
}

#[test]
fn bulk_uses_a_lossy_link() {
    for (loss, least) in [(0.02, 0.8), (0.1, 0.7)] {
        let share = bulk(&Setup::new(1, lossy(loss)), BULK_LASTS).share();
        assert!(share >= least, "loss {loss}: {share}");
    }
}

#[test]
fn bulk_does_not_overrun_a_short_queue() {
    for queue in [16, 64] {
        let got = bulk(&Setup::new(1, kb(queue)), BULK_LASTS);
        assert!(got.overrun <= 0.05 && got.share() >= 0.8, "queue of {queue} kB: {got:?}");
    }
}

#[test]
fn bulk_uses_a_link_that_stalls_and_fades() {
    let stall = Burst { every: ms(900), lasts: ms(100), exact: true };
    let fade = Fade { burst: Burst { every: ms(400), lasts: ms(20), exact: false }, loss: 0.5 };
    let params = Params { stall: Some(stall), fade: Some(fade), ..link() };
    // A tenth of the time is stalls.
    let share = bulk(&Setup::new(1, params), BULK_LASTS).share();
    assert!(share >= 0.9 * 0.7, "{share}");
}

#[test]
fn jitter_is_no_queue() {
    let jitter = |mean| Params { jitter: ms(mean), ..link() };
    // Each packet waits for the latest before it, so Cubic too has no more than 90 and 80%.
    for (params, least) in [(jitter(2), 0.7), (jitter(5), 0.4), (Params { loss: 0.01, ..jitter(2) }, 0.5)] {
        let share = bulk(&Setup::new(1, params), BULK_LASTS).share();
        assert!(share >= least, "jitter {:?}, loss {}: {share}", params.jitter, params.loss);
    }
}

#[test]
fn bulk_and_a_cubic_flow_share() {
    for queue in [32, 64, 256] {
        let [ours, cubic] = beside_cubic(&Setup::new(1, kb(queue)), Duration::from_secs(8));
        assert!(ours >= 0.25 && cubic >= 0.25, "queue of {queue} kB: {ours} {cubic}");
    }
}

#[test]
fn a_rate_that_falls_does_not_fill_the_queue_and_one_that_rises_is_used() {
    for (rate, low) in [(100.0, 5.0), (100.0, 0.0)] {
        let got = drop_and_return(1, Congestion::Wireless, rate, low);
        assert!(got.back <= Duration::from_secs(4), "{rate} Mbit/s: {:?}", got.back);
        if low > 0.0 {
            let p50 = percentile(&got.during, 0.5);
            assert!(got.during.len() >= 200 && p50 <= ms(80), "{p50:?} of {}", got.during.len());
        }
    }
}
