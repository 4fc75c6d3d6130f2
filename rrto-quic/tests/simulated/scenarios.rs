//! What is measured on bare connections: dials, bulk, messages beside bulk, and two connections on one link.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use quinn::{Connection, TransportConfig};
use rrto_core::testing::link::{Outage, Params, Timeline, Way};
use rrto_quic::Congestion;
use rrto_quic::testing::{Network, PairConfig, Path, script, simulate, steady, write_control};
use tokio::time::{Instant, sleep, sleep_until};

use crate::certificates::credentials;

pub(crate) const RTT: Duration = Duration::from_millis(10);
pub(crate) const RATE_MBPS: f64 = 100.0;

/// Bytes of one bulk stream, as an image has.
const BULK_BYTES: usize = 1 << 20;

/// A control message and its answer, bytes.
const MESSAGE_BYTES: usize = 40;

/// The link that the bars are about.
pub(crate) fn link() -> Params {
    steady(RTT, RATE_MBPS)
}

pub(crate) fn kb(queue: u64) -> Params {
    Params { queue_bytes: queue << 10, ..link() }
}

pub(crate) fn lossy(loss: f64) -> Params {
    Params { loss, ..link() }
}

/// What varies between runs.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) seed: u64,
    pub(crate) up: Timeline,
    pub(crate) down: Timeline,
    pub(crate) congestion: Congestion,
    pub(crate) adjust: fn(&mut TransportConfig),
}

impl Setup {
    pub(crate) fn new(seed: u64, params: Params) -> Self {
        Setup::scripted(seed, Timeline::constant(params).unwrap())
    }

    pub(crate) fn scripted(seed: u64, timeline: Timeline) -> Self {
        Setup { seed, up: timeline.clone(), down: timeline, congestion: Congestion::Wireless, adjust: |_| {} }
    }

    pub(crate) fn congestion(self, congestion: Congestion) -> Self {
        Setup { congestion, ..self }
    }

    pub(crate) fn pair(&self) -> PairConfig {
        PairConfig {
            server: credentials(true),
            robot: credentials(false),
            congestion: self.congestion,
            adjust: self.adjust,
        }
    }

    pub(crate) fn path(&self, network: &Network) -> Path {
        network.path(self.up.clone(), self.down.clone())
    }

    async fn connect(&self, network: &Network, path: Path) -> (Connection, Connection) {
        let pair = self.pair();
        let server = pair.serve(&network.server()).unwrap();
        pair.connect(&network.robot(path), &server).await.unwrap()
    }
}

/// A share of the events in order of size.
pub(crate) fn percentile(events: &[Duration], share: f64) -> Duration {
    let mut sorted = events.to_vec();
    sorted.sort();
    let at = (sorted.len() as f64 * share).ceil() as usize;
    sorted[at.clamp(1, sorted.len()) - 1]
}

/// What bulk achieved.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bulk {
    /// Payload bytes a second.
    pub(crate) rate: f64,
    /// Of the datagrams sent, those that the queue had no room for.
    pub(crate) overrun: f64,
}

impl Bulk {
    pub(crate) fn share(&self) -> f64 {
        self.rate * 8.0 / (RATE_MBPS * 1e6)
    }
}

/// Sends bulk for ever.
async fn fill(connection: Connection) {
    let payload = vec![7; BULK_BYTES];
    loop {
        let Ok(mut stream) = connection.open_uni().await else { return };
        if stream.write_all(&payload).await.is_err() {
            return;
        }
        let _ = stream.finish();
    }
}

/// Reads bulk for ever; says when how much came.
async fn drain(connection: Connection, arrived: tokio::sync::mpsc::UnboundedSender<(Instant, usize)>) {
    while let Ok(mut stream) = connection.accept_uni().await {
        let arrived = arrived.clone();
        tokio::spawn(async move {
            while let Ok(Some(chunk)) = stream.read_chunk(usize::MAX, true).await {
                let _ = arrived.send((Instant::now(), chunk.bytes.len()));
            }
        });
    }
}

/// Saturates the connection; gives the arrivals of payload bytes.
fn saturate(from: &Connection, to: &Connection) -> tokio::sync::mpsc::UnboundedReceiver<(Instant, usize)> {
    let (arrived, arrivals) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(fill(from.clone()));
    tokio::spawn(drain(to.clone(), arrived));
    arrivals
}

/// Bytes that arrived between two times.
fn between(arrivals: &[(Instant, usize)], from: Instant, to: Instant) -> usize {
    arrivals.iter().filter(|(at, _)| *at >= from && *at < to).map(|(_, bytes)| bytes).sum()
}

fn all(mut arrivals: tokio::sync::mpsc::UnboundedReceiver<(Instant, usize)>) -> Vec<(Instant, usize)> {
    std::iter::from_fn(|| arrivals.try_recv().ok()).collect()
}

/// Bulk up for `lasts`, its beginning included.
pub(crate) fn bulk(setup: &Setup, lasts: Duration) -> Bulk {
    simulate(setup.seed, |network| async move {
        let path = setup.path(&network);
        let (robot, server) = setup.connect(&network, path).await;
        let arrivals = saturate(&robot, &server);
        sleep(lasts).await;
        let bytes: usize = all(arrivals).into_iter().map(|(_, bytes)| bytes).sum();
        let counts = network.counts(path, Way::Up);
        Bulk {
            rate: bytes as f64 / lasts.as_secs_f64(),
            overrun: counts.queue_full as f64 / counts.sent as f64,
        }
    })
}

/// Two robots on one link, the second with Cubic and 2 s later: what each has of the rate after the first 10 s.
pub(crate) fn beside_cubic(setup: &Setup, lasts: Duration) -> [f64; 2] {
    simulate(setup.seed, |network| async move {
        let path = setup.path(&network);
        let (robot, server) = setup.connect(&network, path).await;
        let ours = saturate(&robot, &server);
        sleep(Duration::from_secs(2)).await;
        let cubic = setup.clone().congestion(Congestion::Cubic);
        let (robot, server) = cubic.connect(&network, path).await;
        let theirs = saturate(&robot, &server);
        let from = Instant::now() + Duration::from_secs(8);
        sleep_until(from + lasts).await;
        [ours, theirs].map(|arrivals| {
            let bytes = between(&all(arrivals), from, from + lasts);
            bytes as f64 * 8.0 / lasts.as_secs_f64() / (RATE_MBPS * 1e6)
        })
    })
}

/// A link that loses most of its rate, and gets it back.
pub(crate) struct Dropped {
    /// Round trips of control messages sent while the rate was low.
    pub(crate) during: Vec<Duration>,
    /// How long after the return 75% of the rate was used over 200 ms.
    pub(crate) back: Duration,
}

/// The rate falls after 1 s, for 8 s. A rate of 0 is an outage that holds what is queued.
pub(crate) fn drop_and_return(seed: u64, congestion: Congestion, mbps: f64, low_mbps: f64) -> Dropped {
    let (before, lasts, after) = (Duration::from_secs(1), Duration::from_secs(8), Duration::from_secs(5));
    let full = steady(RTT, mbps);
    let outage = if low_mbps == 0.0 { Outage::Hold } else { Outage::None };
    let low = Params { outage, ..steady(RTT, low_mbps) };
    let timeline = script(&[(before, full), (lasts, low), (after, full)]).unwrap();
    let setup = Setup::scripted(seed, timeline).congestion(congestion);
    simulate(seed, |network| async move {
        let path = setup.path(&network);
        let (robot, server) = setup.connect(&network, path).await;
        let arrivals = saturate(&robot, &server);
        let asked = ask(&robot, &server, Duration::from_millis(20)).await;
        sleep(before + lasts + after - network.now()).await;
        let down = Instant::now() - lasts - after;
        let up = down + lasts;
        let arrivals = all(arrivals);
        let slice = Duration::from_millis(200);
        let enough = mbps * 1e6 / 8.0 * slice.as_secs_f64() * 0.75;
        let back = (0..)
            .map(|step| Duration::from_millis(10) * step)
            .find(|&step| step > after || between(&arrivals, up + step, up + step + slice) as f64 >= enough);
        let asked = asked.lock().unwrap();
        let during = asked.iter().filter(|(at, _)| (down..up).contains(at)).map(|(_, took)| *took).collect();
        Dropped { during, back: back.unwrap() + slice }
    })
}

type Asked = Arc<Mutex<Vec<(Instant, Duration)>>>;

/// Asks and answers messages on a control stream for ever; says when which took how long.
async fn ask(robot: &Connection, server: &Connection, every: Duration) -> Asked {
    let asked = Asked::default();
    let (mut send, mut receive) = robot.open_bi().await.unwrap();
    send.set_priority(i32::MAX).unwrap();
    tokio::spawn(answer(server.clone()));
    let (robot, answers) = (robot.clone(), asked.clone());
    // Several may be on their way: what comes late must not keep the next from being asked.
    let sent = Arc::new(Mutex::new(std::collections::VecDeque::new()));
    let times = sent.clone();
    tokio::spawn(async move {
        let mut next = Instant::now();
        for number in 0_u32.. {
            // Never in step with the link or with tokio's milliseconds.
            next += every.mul_f64(0.75 + 0.5 * (f64::from(number * 37 % 101) / 101.0));
            sleep_until(next).await;
            times.lock().unwrap().push_back(Instant::now());
            if write_control(&robot, &mut send, &[1; MESSAGE_BYTES]).await.is_err() {
                return;
            }
        }
    });
    tokio::spawn(async move {
        while receive.read_exact(&mut [0; MESSAGE_BYTES]).await.is_ok() {
            let at = sent.lock().unwrap().pop_front().unwrap();
            answers.lock().unwrap().push((at, at.elapsed()));
        }
    });
    asked
}

async fn answer(server: Connection) {
    let Ok((mut send, mut receive)) = server.accept_bi().await else { return };
    send.set_priority(i32::MAX).unwrap();
    let mut message = [0; MESSAGE_BYTES];
    while receive.read_exact(&mut message).await.is_ok() {
        if write_control(&server, &mut send, &message).await.is_err() {
            return;
        }
    }
}

/// Round trips of `count` messages on the control stream, one about every `every`.
pub(crate) fn messages(setup: &Setup, count: usize, every: Duration, with_bulk: bool) -> Vec<Duration> {
    simulate(setup.seed, |network| async move {
        let path = setup.path(&network);
        let (robot, server) = setup.connect(&network, path).await;
        if with_bulk {
            saturate(&robot, &server);
            // Its beginning is another thing.
            sleep(Duration::from_secs(2)).await;
        }
        let asked = ask(&robot, &server, every).await;
        while asked.lock().unwrap().len() < count {
            sleep(every).await;
        }
        let asked = asked.lock().unwrap();
        asked.iter().map(|(_, took)| *took).collect()
    })
}

/// How long a connection takes to come about.
pub(crate) fn dials(setup: &Setup, count: u64) -> Vec<Duration> {
    let dial = |seed| {
        simulate(seed, |network| async move {
            let path = setup.path(&network);
            let pair = setup.pair();
            let server = pair.serve(&network.server()).unwrap();
            let before = Instant::now();
            pair.connect(&network.robot(path), &server).await.unwrap();
            before.elapsed()
        })
    };
    (0..count).map(|number| dial(setup.seed + number)).collect()
}
