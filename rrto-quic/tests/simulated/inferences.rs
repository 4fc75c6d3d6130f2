//! What the payloads of an inference take, one inference after the other with a pause between: little more than the link needs
//! for their bytes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rrto_core::operator::{Handle, Operator};
use rrto_core::testing::link::{HEADER_BYTES, Timeline};
use rrto_core::wire::Mode;
use rrto_quic::AsyncLink;
use rrto_quic::testing::{simulate, steady};
use tokio::time::{Instant, sleep};

use crate::sessions::{Memory, Server, patient};

/// An image in, its scores out; and few tokens in, all their scores out.
const PAYLOADS: [(u64, u64); 2] = [(602_112, 4000), (512, 201_028)];

const DEVICE_BYTES: usize = 1 << 20;

/// What the program does between two inferences.
const PAUSE: Duration = Duration::from_millis(5);

/// Inferences, and those of them after which the link is known.
const INFERENCES: usize = 30;
const WARM_UP: usize = 10;

/// What is in a datagram beside the payload: IP's and UDP's headers, and QUIC's header, frames and tag.
const OVERHEAD: f64 = 1.0 + (HEADER_BYTES as f64 + 30.0) / 1420.0;

/// The median of how long inferences take, once some have been made.
fn inference(rtt: Duration, rate_mbps: f64, (up, down): (u64, u64)) -> Duration {
    simulate(1, |network| async move {
        let timeline = Timeline::constant(steady(rtt, rate_mbps)).unwrap();
        let server = Server::start_with_device(&network.server(), DEVICE_BYTES);
        let host = network.robot(network.path(timeline.clone(), timeline));
        let config = patient(server.address, Mode::Pipeline);
        let link = AsyncLink::connect(Arc::new(host), config, Arc::new(Memory::default())).await.unwrap();
        let payload = Bytes::from(vec![7; up as usize]);
        let mut took = Vec::new();
        for _ in 0..INFERENCES {
            let begin = Instant::now();
            let copy = Operator::CopyIn { dst: 0, bytes: up, stream: Handle::LEGACY_STREAM };
            link.submit(0, copy, Some(payload.clone()), |_| {}).await;
            let copy = Operator::CopyOut { src: 0, bytes: down, stream: Handle::LEGACY_STREAM };
            link.call(0, copy, None).await.unwrap();
            took.push(begin.elapsed());
            sleep(PAUSE).await;
        }
        let mut warm = took.split_off(WARM_UP);
        warm.sort();
        warm[warm.len() / 2]
    })
}

#[test]
fn an_inference_takes_what_its_bytes_take() {
    // The last three carry more in a round trip than an output has.
    for (rtt_ms, rate_mbps) in [(2, 450.0), (10, 90.0), (5, 200.0), (10, 450.0), (20, 450.0), (50, 90.0)] {
        for payloads in PAYLOADS {
            let rtt = Duration::from_millis(rtt_ms);
            let took = inference(rtt, rate_mbps, payloads);
            let bytes = (payloads.0 + payloads.1) as f64 * OVERHEAD;
            let least = rtt + Duration::from_secs_f64(bytes * 8.0 / (rate_mbps * 1e6));
            let what = format!("{rtt_ms} ms, {rate_mbps} Mbit/s, {payloads:?}: {took:?}, {least:?} at least");
            assert!(took <= least.mul_f64(1.01) + Duration::from_millis(1) / 10, "{what}");
        }
    }
}
