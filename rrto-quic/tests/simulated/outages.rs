//! How soon the first answer comes when a link comes back.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rrto_core::operator::{Handle, Operator, Value};
use rrto_core::testing::link::{Outage, Params};
use rrto_core::wire::Mode;
use rrto_quic::Submission;
use rrto_quic::testing::{script, simulate};
use tokio::time::sleep;

use crate::scenarios::{link, percentile};
use crate::sessions::{Program, Server, patient};

const MS: Duration = Duration::from_millis(1);

/// The link is there for so long between two outages.
const BETWEEN: Duration = Duration::from_millis(1300);

/// From the link's coming back to the answer to what was asked when it went or while it was away, for most of `events` outages
/// that are as long as `outage`. With `bulk`, a copy of 200 kB follows the question, which its answer need not wait for.
pub(crate) fn outages(
    seed: u64,
    events: u32,
    (outage, kind): (Duration, Outage),
    bulk: bool,
    loss: f64,
) -> Vec<Duration> {
    simulate(seed, |network| async move {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (up, down) = (Params { loss, ..link() }, Params { outage: kind, ..link() });
        let mut pieces = Vec::new();
        let mut comes_back = Vec::new();
        let mut at = Duration::ZERO;
        for event in 0..events {
            // Not in step with anything else.
            let before = BETWEEN + MS * (event * 37 % 101);
            pieces.extend([(before, up), (outage, down)]);
            at += before + outage;
            comes_back.push(at);
        }
        pieces.push((MS, up));
        let timeline = script(&pieces).unwrap();
        let server = Server::start(&network.server());
        let host = network.robot(network.path(timeline.clone(), timeline));
        let program = Program::start(Arc::new(host), patient(server.address, Mode::Pipeline)).await;
        let mut took = Vec::new();
        for back in comes_back {
            // Asked shortly before the link goes, or at any time of the first half of the outage.
            let asks = (back - outage).saturating_sub(10 * MS)
                + (outage / 2 + 10 * MS).mul_f64(rng.random_range(0.0..1.0));
            sleep(asks.saturating_sub(network.now())).await;
            let asked = program.link.submit(0, Operator::MemGetInfo, None, |_| {}).await;
            let Submission::Awaits(number) = asked else { panic!("{asked:?}") };
            if bulk {
                let copy = Operator::CopyIn { dst: 0, bytes: 200_000, stream: Handle::LEGACY_STREAM };
                program.link.submit(1, copy, Some(Bytes::from(vec![1; 200_000])), |_| {}).await;
            }
            assert_eq!(program.link.wait(number).await, Ok(Value::None), "{:?}", program.link.lost());
            // One that was answered before the link went says nothing.
            if network.now() > back {
                took.push(network.now() - back);
            }
            program.ask().await;
        }
        let executed = server.executed.lock().unwrap();
        assert!(executed.is_sorted_by(|one, next| one < next), "each once, in order");
        took
    })
}

#[test]
fn the_first_answer_comes_soon_after_the_link() {
    for (ms, bulk, loss) in
        [(100, false, 0.0), (300, true, 0.1), (1000, false, 0.1), (2000, true, 0.0), (5000, false, 0.0)]
    {
        let took = outages(1, 20, (MS * ms, Outage::Lose), bulk, loss);
        let [p50, p90] = [0.5, 0.9].map(|share| percentile(&took, share));
        assert!(
            p50 <= 50 * MS && p90 <= 250 * MS,
            "{ms} ms, bulk {bulk}, loss {loss}: {p50:?}, {p90:?}, {took:?}"
        );
    }
}

#[test]
fn a_link_that_holds_what_is_sent_meanwhile_is_no_worse() {
    for ms in [300, 2000] {
        let took = outages(1, 20, (MS * ms, Outage::Hold), true, 0.0);
        let [p50, p90] = [0.5, 0.9].map(|share| percentile(&took, share));
        assert!(p50 <= 50 * MS && p90 <= 250 * MS, "{ms} ms: {p50:?}, {p90:?}, {took:?}");
    }
}

/// The table of `netem/results/roaming.md`.
#[test]
#[ignore = "measures"]
fn table() {
    let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
    for length in [100, 300, 1000, 2000, 5000] {
        for bulk in [false, true] {
            for loss in [0.0, 0.1] {
                let took = outages(2, 200, (MS * length, Outage::Lose), bulk, loss);
                let [p50, p90, most] = [0.5, 0.9, 1.0].map(|share| ms(percentile(&took, share)));
                println!("| {length} | {bulk} | {:.0} % | {p50:.1} | {p90:.1} | {most:.1} |", loss * 100.0);
            }
        }
    }
    for address in [false, true] {
        let (disturbed, median) = crate::roaming::changes(3, 200, address);
        let [p50, p90, most] = [0.5, 0.9, 1.0].map(|share| ms(percentile(&disturbed, share)));
        println!("| change of address {address} | {:.1} | {p50:.1} | {p90:.1} | {most:.1} |", ms(median));
    }
    let ratios = crate::roaming::resumptions(4, 200);
    println!("resumptions: at most {:.3} round trips", ratios.iter().copied().fold(0.0, f64::max));
}
