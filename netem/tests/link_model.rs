//! Properties of the link's model, in virtual time.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use proptest::prelude::*;
use rrto_netem::link::{
    Burst, Direction, DropReason, Fade, HEADER_BYTES, JITTER_CAP, Outage, Params, Piece, Timeline, Verdict,
    Way,
};

const MBPS: u64 = 1_000_000;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn constant(params: Params, seed: u64) -> Direction {
    Direction::new(Timeline::constant(params).unwrap(), seed, Way::Up)
}

fn script(pieces: &[(u64, Params)], repeat_ms: Option<u64>) -> Direction {
    let pieces: Vec<_> = pieces.iter().map(|&(at_ms, params)| Piece { from: ms(at_ms), params }).collect();
    Direction::new(Timeline::new(&pieces, repeat_ms.map(ms), true).unwrap(), 1, Way::Up)
}

fn delivered(verdict: Verdict) -> Option<Duration> {
    match verdict {
        Verdict::Deliver { at } => Some(at),
        Verdict::Dropped(_) => None,
    }
}

/// Datagrams: the gap before each in microseconds, and its length.
fn arrivals() -> impl Strategy<Value = Vec<(u64, usize)>> {
    prop::collection::vec((prop_oneof![Just(0), 0..300_u64, 0..30_000_u64], 0..1472_usize), 1..400)
}

/// Parameters of every kind, except that something always gets through.
fn params() -> impl Strategy<Value = Params> {
    let burst = |exact| {
        (1..50_u64, 1..50_u64).prop_map(move |(every, lasts)| Burst {
            every: ms(every),
            lasts: ms(lasts),
            exact,
        })
    };
    let fade = (burst(false), 0.0..=1.0).prop_map(|(burst, loss)| Fade { burst, loss });
    let outage = prop_oneof![4 => Just(Outage::None), 1 => Just(Outage::Lose), 1 => Just(Outage::Hold)];
    let rate = prop_oneof![1 => Just(0), 4 => (1..500_u64).prop_map(|mbps| mbps * MBPS)];
    (
        0..50_u64,
        0..5_u64,
        rate,
        1_500..100_000_u64,
        0.0..0.3,
        prop::option::of(fade),
        prop::option::of(burst(true)),
        outage,
    )
        .prop_map(|(delay, jitter, rate_bps, queue_bytes, loss, fade, stall, outage)| Params {
            delay: ms(delay),
            jitter: ms(jitter),
            rate_bps,
            queue_bytes,
            loss,
            fade,
            stall,
            outage,
            ..Params::default()
        })
}

/// A timeline of one to five pieces, perhaps repeating.
fn timelines() -> impl Strategy<Value = Timeline> {
    (prop::collection::vec((1..200_u64, params()), 1..5), any::<bool>(), any::<bool>()).prop_map(
        |(steps, repeats, shared)| {
            let mut at = Duration::ZERO;
            let mut pieces = vec![];
            for (length, params) in steps {
                pieces.push(Piece { from: at, params });
                at += ms(length);
            }
            pieces[0].params.outage = Outage::None;
            Timeline::new(&pieces, repeats.then_some(at), shared).unwrap()
        },
    )
}

fn run(direction: &mut Direction, arrivals: &[(u64, usize)]) -> Vec<(Duration, usize, Verdict)> {
    let mut now = Duration::ZERO;
    arrivals
        .iter()
        .map(|&(gap_us, bytes)| {
            now += Duration::from_micros(gap_us);
            (now, bytes, direction.enqueue(now, bytes))
        })
        .collect()
}

proptest! {
    #[test]
    fn same_seed_same_link(timeline in timelines(), arrivals in arrivals(), seed: u64) {
        let mut links = [0, 0].map(|_| Direction::new(timeline.clone(), seed, Way::Down));
        let [first, second] = links.each_mut().map(|link| run(link, &arrivals));
        prop_assert_eq!(first, second);
    }

    #[test]
    fn order_delay_and_queue(timeline in timelines(), arrivals in arrivals(), seed: u64) {
        let mut link = Direction::new(timeline.clone(), seed, Way::Up);
        let least_delay = timeline.pieces().map(|piece| piece.params.delay).min().unwrap();
        let largest_queue = timeline.pieces().map(|piece| piece.params.queue_bytes).max().unwrap();
        let (mut now, mut last) = (Duration::ZERO, Duration::ZERO);
        for (gap_us, bytes) in arrivals {
            now += Duration::from_micros(gap_us);
            if let Verdict::Deliver { at } = link.enqueue(now, bytes) {
                prop_assert!(at >= last, "overtook: {at:?} before {last:?}");
                prop_assert!(at >= now + least_delay);
                last = at;
            }
            prop_assert!(link.queued_bytes(now) <= largest_queue);
        }
    }

    #[test]
    fn the_rate_is_never_exceeded(arrivals in arrivals(), rates in prop::collection::vec(1..500_u64, 1..4), loss in 0.0..0.5) {
        // Without jitter, and with one delay, datagrams arrive as they left.
        let pieces: Vec<_> = rates.iter().enumerate().map(|(index, &mbps)| {
            (index as u64 * 2, Params { rate_bps: mbps * MBPS, delay: ms(3), loss, ..Params::default() })
        }).collect();
        let fastest = rates.iter().max().unwrap() * MBPS;
        let passed: Vec<_> = run(&mut script(&pieces, None), &arrivals).into_iter()
            .filter_map(|(_, bytes, verdict)| Some((delivered(verdict)?, bytes + HEADER_BYTES)))
            .collect();
        for (index, (begin, _)) in passed.iter().enumerate() {
            // What ends in the window (begin, end] was sent in it.
            let mut bits = 0;
            for (end, bytes) in &passed[index + 1..] {
                bits += *bytes as u128 * 8;
                let allowed = (*end - *begin).as_nanos() * u128::from(fastest) / 1_000_000_000;
                prop_assert!(bits <= allowed, "{bits} bits in {:?}", *end - *begin);
            }
        }
    }

    #[test]
    fn jitter_is_bounded_and_may_reorder(seed: u64, jitter_ms in 1..20_u64) {
        let mut link = constant(Params { jitter: ms(jitter_ms), reorder: true, ..Params::default() }, seed);
        let arrivals = [(10, 100); 2_000];
        let delays: Vec<_> = run(&mut link, &arrivals).into_iter().map(|(now, _, verdict)| delivered(verdict).unwrap() - now).collect();
        prop_assert!(delays.iter().all(|&delay| delay <= ms(jitter_ms).mul_f64(JITTER_CAP)));
        prop_assert!(delays.windows(2).any(|pair| pair[1] + Duration::from_micros(10) < pair[0]), "nothing overtook");
        let mean = delays.iter().sum::<Duration>().as_secs_f64() / delays.len() as f64;
        // Six standard errors of an exponential's mean.
        prop_assert!((mean / ms(jitter_ms).as_secs_f64() - 1.0).abs() < 6.0 / (2_000_f64).sqrt());
    }

    #[test]
    fn random_loss_is_binomial(seed: u64, loss in 0.0..=1.0) {
        let count = 5_000;
        let mut link = constant(Params { loss, ..Params::default() }, seed);
        let lost = (0..count).filter(|_| link.enqueue(Duration::ZERO, 0) == Verdict::Dropped(DropReason::Loss)).count();
        let expected = loss * f64::from(count);
        let bound = 6.0 * (expected * (1.0 - loss)).sqrt() + 1.0;
        prop_assert!((lost as f64 - expected).abs() <= bound, "{lost} lost, {expected} expected");
    }

    #[test]
    fn fades_do_not_depend_on_traffic(seed: u64, extra in arrivals()) {
        let burst = Burst { every: ms(20), lasts: ms(10), exact: false };
        let params = Params { fade: Some(Fade { burst, loss: 1.0 }), ..Params::default() };
        let probes: Vec<_> = (0..500_u64).map(|n| Duration::from_micros(n * 777)).collect();
        let outcome = |link: &mut Direction, at| link.enqueue(at, 10) == Verdict::Dropped(DropReason::Fade);

        let mut quiet = constant(params, seed);
        let alone: Vec<_> = probes.iter().map(|&at| outcome(&mut quiet, at)).collect();

        let mut busy = constant(params, seed);
        let mut others: Vec<_> = extra.iter().map(|&(at, _)| Duration::from_micros(at * 10)).collect();
        others.sort();
        let mut others = others.into_iter().peekable();
        let among: Vec<_> = probes.iter().map(|&at| {
            while let Some(other) = others.next_if(|&other| other <= at) {
                let _ = busy.enqueue(other, 10);
            }
            outcome(&mut busy, at)
        }).collect();
        prop_assert_eq!(alone, among);
    }
}

#[test]
fn nothing_set_changes_nothing() {
    let mut link = constant(Params::default(), 1);
    for now in [ms(0), ms(0), ms(7)] {
        assert_eq!(link.enqueue(now, 1472), Verdict::Deliver { at: now });
    }
    assert_eq!(link.enqueue(ms(8), 1473), Verdict::Dropped(DropReason::TooBig));
}

#[test]
fn the_queue_drops_its_tail() {
    // 1,000 bytes with headers take 1 ms at 8 Mbit/s; three fit.
    let params = Params { rate_bps: 8 * MBPS, queue_bytes: 3_000, mtu_bytes: 1_000, ..Params::default() };
    let mut link = constant(params, 1);
    let verdicts = [0; 4].map(|_| link.enqueue(ms(0), 1_000 - HEADER_BYTES));
    assert_eq!(verdicts[..3], [1, 2, 3].map(|at| Verdict::Deliver { at: ms(at) }));
    assert_eq!(verdicts[3], Verdict::Dropped(DropReason::QueueFull));
    assert_eq!(link.queued_bytes(ms(1)), 2_000);
    assert_eq!(link.enqueue(ms(1), 1_000 - HEADER_BYTES), Verdict::Deliver { at: ms(4) });
}

#[test]
fn a_slower_rate_applies_to_what_is_queued() {
    let fast = Params { rate_bps: 8 * MBPS, ..Params::default() };
    let slow = Params { rate_bps: MBPS, ..Params::default() };
    let mut link = script(&[(0, fast), (5, slow), (100, fast)], None);
    let at: Vec<_> = (0..20).filter_map(|_| delivered(link.enqueue(ms(0), 1_000 - HEADER_BYTES))).collect();
    assert_eq!(at[..7], [1, 2, 3, 4, 5, 13, 21].map(ms));
    // 11 pass in the slow 95 ms, and 7 of the 8 ms of the next; its last eighth takes an eighth of a millisecond.
    assert_eq!(at[16], ms(100) + Duration::from_micros(125));
    assert_eq!(at[17], at[16] + ms(1));
}

#[test]
fn outages_lose_or_hold_from_their_time_on() {
    let up = Params { rate_bps: 8 * MBPS, delay: ms(5), ..Params::default() };
    let script = |outage| script(&[(0, up), (10, Params { outage, ..up }), (20, up)], Some(30));
    let bytes = 1_000 - HEADER_BYTES;

    let mut link = script(Outage::Lose);
    assert_eq!(link.enqueue(ms(8), bytes), Verdict::Deliver { at: ms(14) });
    // The second would leave at 10 ms, when the outage has begun.
    assert_eq!(link.enqueue(ms(8), bytes), Verdict::Dropped(DropReason::Outage));
    assert_eq!(link.enqueue(ms(18), bytes), Verdict::Dropped(DropReason::Outage));
    assert_eq!(link.enqueue(ms(19), bytes), Verdict::Deliver { at: ms(25) });
    // A lap later it is out again.
    assert_eq!(link.enqueue(ms(45), bytes), Verdict::Dropped(DropReason::Outage));

    let mut link = script(Outage::Hold);
    assert_eq!(link.enqueue(ms(12), bytes), Verdict::Deliver { at: ms(26) });
    assert_eq!(link.enqueue(ms(13), bytes), Verdict::Deliver { at: ms(27) });
    assert_eq!(link.enqueue(ms(39), bytes), Verdict::Deliver { at: ms(45) });
}

#[test]
fn a_script_may_end_in_an_outage() {
    let hold = Params { outage: Outage::Hold, ..Params::default() };
    let mut link = script(&[(0, Params::default()), (10, hold)], None);
    assert_eq!(link.enqueue(ms(9), 1), Verdict::Deliver { at: ms(9) });
    assert_eq!(link.enqueue(ms(10), 1), Verdict::Dropped(DropReason::Outage));
}

#[test]
fn stalls_hold_and_end() {
    let stall = Burst { every: ms(50), lasts: ms(20), exact: true };
    let mut link = constant(Params { stall: Some(stall), ..Params::default() }, 3);
    let delays: Vec<_> = (0..10_000).map(|n| delivered(link.enqueue(ms(n), 1)).unwrap() - ms(n)).collect();
    let stalled = delays.iter().filter(|delay| !delay.is_zero()).count();
    assert!(delays.iter().all(|&delay| delay <= ms(20)));
    // 20 ms in every 70 ms: 2,857 of 10,000, over 143 stalls.
    assert!((2_000..3_700).contains(&stalled), "{stalled} of 10000 were held up");
}

#[test]
fn fades_last_as_long_and_come_as_often_as_told() {
    let burst = Burst { every: ms(300), lasts: ms(100), exact: false };
    let params = Params { fade: Some(Fade { burst, loss: 1.0 }), ..Params::default() };
    let mut link = constant(params, 7);
    let lost: Vec<_> = (0..400_000).map(|n| delivered(link.enqueue(ms(n), 1)).is_none()).collect();
    let (total, fades) =
        (lost.iter().filter(|&&lost| lost).count(), lost.windows(2).filter(|w| w[1] && !w[0]).count());
    assert!((80_000..120_000).contains(&total), "{total} of 400000 ms faded");
    assert!((850..1_150).contains(&fades), "{fades} fades in 400 s");
}

#[test]
fn both_ways_share_the_air_if_told() {
    let burst = Burst { every: ms(30), lasts: ms(30), exact: false };
    let piece = Piece {
        from: Duration::ZERO,
        params: Params { fade: Some(Fade { burst, loss: 1.0 }), ..Params::default() },
    };
    let differ = |shared| {
        let timeline = Timeline::new(&[piece], None, shared).unwrap();
        let [mut up, mut down] = [Way::Up, Way::Down].map(|way| Direction::new(timeline.clone(), 5, way));
        (0..1_000).filter(|&n| up.enqueue(ms(n), 1) != down.enqueue(ms(n), 1)).count()
    };
    assert_eq!(differ(true), 0);
    assert!(differ(false) > 100);
}

#[test]
fn a_timeline_that_makes_no_sense_is_refused() {
    let hold = Params { outage: Outage::Hold, ..Params::default() };
    let good = Params::default();
    let burst = Burst { every: Duration::ZERO, lasts: ms(1), exact: true };
    type Pieces<'a> = &'a [(u64, Params)];
    let cases: [(Pieces<'_>, Option<u64>); 8] = [
        (&[], None),
        (&[(1, good)], None),
        (&[(0, good), (0, good)], None),
        (&[(0, good), (9, good)], Some(9)),
        (&[(0, hold)], Some(9)),
        (&[(0, Params { loss: f64::NAN, ..good })], None),
        (&[(0, Params { queue_bytes: 1_000, ..good })], None),
        (&[(0, Params { stall: Some(burst), ..good })], None),
    ];
    for (pieces, repeat_ms) in cases {
        let made: Vec<_> = pieces.iter().map(|&(at_ms, params)| Piece { from: ms(at_ms), params }).collect();
        assert!(Timeline::new(&made, repeat_ms.map(ms), true).is_err(), "{pieces:?} {repeat_ms:?}");
    }
}

#[test]
fn stalls_longer_than_the_pieces_of_a_repeating_script_end() {
    let stalls = |lasts_ms| Params {
        rate_bps: MBPS,
        stall: Some(Burst { every: ms(1), lasts: ms(lasts_ms), exact: true }),
        ..Params::default()
    };
    let mut link = script(&[(0, stalls(40)), (10, stalls(41))], Some(20));
    for packet in 0..100 {
        assert!(delivered(link.enqueue(ms(packet * 100), 1000)).is_some());
    }
}
