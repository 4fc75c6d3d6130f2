//! Large copies in whose midst the robot's address changes: every byte arrives where it should, and no operator is executed twice.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rrto_core::operator::{Handle, MAX_PAYLOAD_BYTES, Operator, Value};
use rrto_core::testing::link::{Outage, Params, Timeline};
use rrto_core::wire::Mode;
use rrto_quic::testing::{Host, script, simulate};
use rrto_quic::{AsyncLink, Submission};
use tokio::time::{Instant, sleep};

use crate::scenarios::{RATE_MBPS, link};
use crate::sessions::{Memory, Server, beside, patient};

const MS: Duration = Duration::from_millis(1);

/// Twice what a client keeps unacknowledged, so that much of it waits when the address changes.
const BYTES: u64 = 16 << 20;

/// Changes of the address in each copy.
const CHANGES: u32 = 4;

/// A change costs no more: what is under way is lost, and who only receives tells its new address when it asks for a sign of life.
const CHANGE_LIMIT: Duration = Duration::from_millis(100);

/// No two words of it are alike, so that whatever comes twice or elsewhere shows.
fn contents(seed: u64) -> Bytes {
    let word = |at: u64| (at ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
    (0..BYTES / 8).flat_map(word).collect::<Vec<_>>().into()
}

/// Where the pieces are that a copy travels in, as the preload library cuts it.
fn pieces() -> impl Iterator<Item = (u64, u64)> {
    (0..BYTES).step_by(MAX_PAYLOAD_BYTES as usize).map(|at| (at, MAX_PAYLOAD_BYTES.min(BYTES - at)))
}

async fn upload(link: &AsyncLink, contents: &Bytes) -> Duration {
    let start = Instant::now();
    for (dst, bytes) in pieces() {
        let copy = Operator::CopyIn { dst, bytes, stream: Handle::LEGACY_STREAM };
        let payload = contents.slice(dst as usize..(dst + bytes) as usize);
        assert_eq!(link.submit(0, copy, Some(payload), |_| {}).await, Submission::Queued);
    }
    assert_eq!(link.call(0, Operator::MemGetInfo, None).await, Ok(Value::None), "{:?}", link.lost());
    start.elapsed()
}

async fn download(link: &AsyncLink, memory: &Memory, contents: &Bytes) -> Duration {
    let start = Instant::now();
    let mut numbers = Vec::new();
    for (src, bytes) in pieces() {
        let copy = Operator::CopyOut { src, bytes, stream: Handle::LEGACY_STREAM };
        match link.submit(0, copy, None, |_| {}).await {
            Submission::Awaits(number) => numbers.push(number),
            other => panic!("{other:?}"),
        }
    }
    for (number, (at, bytes)) in numbers.into_iter().zip(pieces()) {
        assert_eq!(link.wait(number).await, Ok(Value::None), "{:?}", link.lost());
        assert!(memory.take(number) == contents[at as usize..(at + bytes) as usize], "piece at {at}");
    }
    start.elapsed()
}

/// Copies there and back, on a link that does as `timeline` says. In each copy the address changes `changes` times. Gives how long each
/// of them took, and the connections that carried the session.
fn there_and_back(seed: u64, timeline: Timeline, changes: u32) -> ([Duration; 2], u64) {
    simulate(seed, |network| async move {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let server = Server::start_with_device(&network.server(), BYTES as usize);
        let host = network.robot(network.path(timeline.clone(), timeline));
        let memory = Arc::new(Memory::default());
        let config = patient(server.address, Mode::Pipeline);
        let link = AsyncLink::connect(Arc::new(host.clone()), config, memory.clone()).await.unwrap();
        let contents = contents(seed);
        let up = beside(upload(&link, &contents), roam(&host, &mut rng, changes)).await;
        let down = beside(download(&link, &memory, &contents), roam(&host, &mut rng, changes)).await;
        let statistics = link.statistics();
        link.close(Duration::from_secs(5)).await;
        while server.over.lock().unwrap().is_empty() {
            sleep(10 * MS).await;
        }
        assert!(server.over.lock().unwrap()[0].1.memory == contents, "device memory");
        let each_once: Vec<u64> = (1..=statistics.operators).collect();
        assert_eq!(*server.executed.lock().unwrap(), each_once, "each once, in order");
        ([up, down], statistics.connections)
    })
}

/// Gives the robot another address `changes` times while a copy goes on.
async fn roam(host: &Host, rng: &mut ChaCha8Rng, changes: u32) {
    for _ in 0..changes {
        sleep((ideal() / CHANGES).mul_f64(rng.random_range(0.3..1.0))).await;
        host.change_address(None);
    }
}

/// What a copy takes at the link's rate.
fn ideal() -> Duration {
    Duration::from_secs_f64(BYTES as f64 * 8.0 / (RATE_MBPS * 1e6))
}

#[test]
fn large_copies_survive_changes_of_the_address() {
    for (seed, loss) in [(1, 0.0), (2, 0.02)] {
        let steady = || Timeline::constant(Params { loss, ..link() }).unwrap();
        let (calm, _) = there_and_back(seed, steady(), 0);
        let (took, _) = there_and_back(seed, steady(), CHANGES);
        for (took, calm) in took.into_iter().zip(calm) {
            assert!(took <= calm + CHANGES * CHANGE_LIMIT, "loss {loss}: {took:?}, {calm:?} without changes");
        }
    }
}

#[test]
fn large_copies_survive_outages_with_new_connections() {
    let away = Params { outage: Outage::Lose, ..link() };
    let pieces: Vec<_> = (0..20).flat_map(|_| [(500 * MS, link()), (400 * MS, away)]).collect();
    let timeline = script(&[pieces, vec![(MS, link())]].concat()).unwrap();
    let (_, connections) = there_and_back(3, timeline, CHANGES);
    assert!(connections > 1, "none was needed");
}
