//! The simulated network itself: times are exact, and sessions work on it.

use std::time::Duration;

use bytes::Bytes;
use rrto_core::operator::{Handle, Operator, Value};
use rrto_core::testing::link::{Params, Way};
use rrto_quic::testing::{simulate, steady};
use tokio::time::Instant;

use crate::harness::{connect, serve, symmetric};

const RTT: Duration = Duration::from_millis(10);

fn ask() -> Operator {
    Operator::MemGetInfo
}

#[test]
fn a_round_trip_takes_as_long_as_the_link_says() {
    simulate(1, |network| async move {
        let path = symmetric(&network, steady(RTT, 100.0));
        let server = serve(&network);
        let link = connect(&network.robot(path), server).await.unwrap();
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_micros(12_345)).await;
            let before = Instant::now();
            assert_eq!(link.call(0, ask(), None).await, Ok(Value::None));
            let took = before.elapsed();
            // Two packets' transmission, and nothing else.
            assert!(took > RTT && took < RTT + Duration::from_micros(300), "{took:?}");
        }
    });
}

#[test]
fn a_copy_takes_as_long_as_the_rate_says() {
    simulate(2, |network| async move {
        let path = symmetric(&network, steady(RTT, 100.0));
        let server = serve(&network);
        let link = connect(&network.robot(path), server).await.unwrap();
        let copy = Operator::CopyIn { dst: 0, bytes: 1 << 20, stream: Handle::LEGACY_STREAM };
        let before = Instant::now();
        assert_eq!(link.call(0, copy, Some(Bytes::from(vec![7; 1 << 20]))).await, Ok(Value::None));
        assert_eq!(link.call(0, ask(), None).await, Ok(Value::None));
        // 84 ms at 100 Mbit/s, and slow start.
        assert!(before.elapsed() > Duration::from_millis(84 + 10), "{:?}", before.elapsed());
        assert!(before.elapsed() < Duration::from_millis(200), "{:?}", before.elapsed());
        assert!(network.counts(path, Way::Up).bytes > 1 << 20);
    });
}

#[test]
fn a_robot_that_gets_new_ports_keeps_its_session() {
    simulate(3, |network| async move {
        let path = symmetric(&network, steady(RTT, 100.0));
        let server = serve(&network);
        let robot = network.robot(path);
        let link = connect(&robot, server).await.unwrap();
        for _ in 0..5 {
            robot.change_ports();
            let before = Instant::now();
            assert_eq!(link.call(0, ask(), None).await, Ok(Value::None));
            assert!(before.elapsed() < 3 * RTT, "{:?}", before.elapsed());
        }
    });
}

#[test]
fn what_is_lost_is_sent_again() {
    simulate(4, |network| async move {
        let path = symmetric(&network, Params { loss: 0.1, ..steady(RTT, 100.0) });
        let server = serve(&network);
        let link = connect(&network.robot(path), server).await.unwrap();
        let before = Instant::now();
        for _ in 0..500 {
            assert_eq!(link.call(0, ask(), None).await, Ok(Value::None));
        }
        assert!(before.elapsed() > 500 * RTT);
        assert!(network.counts(path, Way::Up).lost > 0);
    });
}
