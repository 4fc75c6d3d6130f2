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

/// An image in, its scores out.
const IMAGE: (u64, u64) = (602_112, 4000);

/// Few tokens in, all their scores out.
const TOKENS: (u64, u64) = (512, 201_028);

/// Round trip, ms, and rate, Mbit/s. The last three carry more in a round trip than an output has.
const LINKS: [(u64, f64); 6] = [(2, 450.0), (10, 90.0), (5, 200.0), (10, 450.0), (20, 450.0), (50, 90.0)];

const DEVICE_BYTES: usize = 1 << 20;

/// What the program does between two inferences.
const PAUSE: Duration = Duration::from_millis(5);

/// Inferences, and those of them after which the link is known.
const INFERENCES: usize = 30;
const WARM_UP: usize = 10;

/// What is in a datagram beside the payload: IP's and UDP's headers, and QUIC's header, frames and tag.
const OVERHEAD: f64 = 1.0 + (HEADER_BYTES as f64 + 30.0) / 1420.0;

/// What a program does for a while.
#[derive(Clone, Copy, Debug)]
enum Part {
    /// Copies so many MB to the device, as a model.
    Load(u64),
    Rest(Duration),
    Infer(Inference),
}

/// An inference: bytes in and bytes out, and how often it waits for something short before it has its output.
#[derive(Clone, Copy, Debug)]
struct Inference {
    up: u64,
    down: u64,
    waits: u32,
}

impl Inference {
    fn of((up, down): (u64, u64)) -> Self {
        Inference { up, down, waits: 0 }
    }

    async fn once(&self, link: &AsyncLink, payload: &Bytes) -> Duration {
        let begin = Instant::now();
        copy_in(link, payload.clone()).await;
        for _ in 0..self.waits {
            copy_out(link, 1).await;
        }
        copy_out(link, self.down).await;
        begin.elapsed()
    }

    /// What its bytes and headers take on the link, and its round trips.
    fn least(&self, rtt: Duration, rate_mbps: f64) -> Duration {
        let bytes = (self.up + self.down) as f64 * OVERHEAD;
        (1 + self.waits) * rtt + Duration::from_secs_f64(bytes * 8.0 / (rate_mbps * 1e6))
    }
}

async fn copy_in(link: &AsyncLink, payload: Bytes) {
    let copy = Operator::CopyIn { dst: 0, bytes: payload.len() as u64, stream: Handle::LEGACY_STREAM };
    link.submit(0, copy, Some(payload), |_| {}).await;
}

async fn copy_out(link: &AsyncLink, bytes: u64) {
    let copy = Operator::CopyOut { src: 0, bytes, stream: Handle::LEGACY_STREAM };
    link.call(0, copy, None).await.unwrap();
}

/// Has one session do `parts`. Gives the median of how long the inferences of each took, once the link was known.
fn session(rtt: Duration, rate_mbps: f64, parts: &[Part]) -> Vec<(Inference, Duration)> {
    simulate(1, |network| async move {
        let timeline = Timeline::constant(steady(rtt, rate_mbps)).unwrap();
        let server = Server::start_with_device(&network.server(), DEVICE_BYTES);
        let host = network.robot(network.path(timeline.clone(), timeline));
        let config = patient(server.address, Mode::Pipeline);
        let link = AsyncLink::connect(Arc::new(host), config, Arc::new(Memory::default())).await.unwrap();
        let mut medians = Vec::new();
        for part in parts {
            match *part {
                Part::Load(mb) => {
                    let piece = Bytes::from(vec![7; DEVICE_BYTES]);
                    for _ in 0..mb {
                        copy_in(&link, piece.clone()).await;
                    }
                    copy_out(&link, 1).await;
                }
                Part::Rest(duration) => sleep(duration).await,
                Part::Infer(inference) => {
                    let payload = Bytes::from(vec![7; inference.up as usize]);
                    let mut took = Vec::new();
                    for _ in 0..INFERENCES {
                        took.push(inference.once(&link, &payload).await);
                        sleep(PAUSE).await;
                    }
                    let mut warm = took.split_off(WARM_UP);
                    warm.sort();
                    medians.push((inference, warm[warm.len() / 2]));
                }
            }
        }
        medians
    })
}

/// Fails if inferences of a part take more than their bytes.
fn takes_what_its_bytes_take((rtt_ms, rate_mbps): (u64, f64), parts: &[Part]) {
    let rtt = Duration::from_millis(rtt_ms);
    for (inference, took) in session(rtt, rate_mbps, parts) {
        let least = inference.least(rtt, rate_mbps);
        let what = format!("{rtt_ms} ms, {rate_mbps} Mbit/s, {inference:?} of {parts:?}");
        let limit = least.mul_f64(1.01) + Duration::from_millis(1) / 10;
        assert!(took <= limit, "{what}: {took:?}, {least:?} at least");
    }
}

#[test]
fn an_inference_takes_what_its_bytes_take() {
    for link in LINKS {
        for payloads in [IMAGE, TOKENS] {
            takes_what_its_bytes_take(link, &[Part::Infer(Inference::of(payloads))]);
        }
    }
}

/// Short outputs and then long ones, and the other way round; a model is loaded between, or nothing happens for seconds. A window, a rate or
/// a shortest round trip that was learned from other traffic shows here.
#[test]
fn what_a_session_did_before_changes_nothing() {
    let [image, tokens] = [IMAGE, TOKENS].map(|payloads| Part::Infer(Inference::of(payloads)));
    let waits = Part::Infer(Inference { waits: 1, ..Inference::of(TOKENS) });
    let (load, rest) = (Part::Load(16), Part::Rest(Duration::from_secs(8)));
    let programs: [&[Part]; 2] =
        [&[load, image, load, tokens, waits, image], &[tokens, rest, image, rest, tokens]];
    for link in [(2, 450.0), (10, 90.0)] {
        for parts in programs {
            takes_what_its_bytes_take(link, parts);
        }
    }
}
