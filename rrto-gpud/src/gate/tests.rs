use rrto_core::wire::{DeviceInfo, Mode};
use rrto_quic::Gate as _;

use crate::executor::fake::FakeDevice;

use super::*;

fn gate(total_bytes: u64, memory_bytes: u64, max_sessions: u32) -> Gate {
    let limits = Limits { memory_bytes, ..Limits::default() };
    let info = DeviceInfo { total_bytes, ..DeviceInfo::default() };
    Gate::new(
        Arc::new(FakeDevice { info, ..FakeDevice::default() }),
        limits,
        Quota { sessions: max_sessions, of_a_robot: Some(max_sessions) },
    )
}

fn admit(gate: &Gate) -> Result<Admission, Refusal> {
    admit_robot(gate, "robot")
}

fn admit_robot(gate: &Gate, robot: &str) -> Result<Admission, Refusal> {
    gate.admit(robot, ([127, 0, 0, 1], 1).into(), &Hello::new(Mode::Pipeline, "program"))
}

#[test]
fn admits_up_to_its_number() {
    let gate = gate(1, 1, 2);
    let first = admit(&gate).ok();
    let second = admit(&gate).ok();
    assert!(first.is_some() && second.is_some());
    assert_eq!(gate.sessions(), 2);
    assert_eq!(admit(&gate).err(), Some(Refusal::Full { limit: 2 }));
    assert_eq!(gate.wait_until_empty(Duration::ZERO), 2);
    // A client that vanished before its session began.
    drop(first);
    assert_eq!(gate.sessions(), 1);
    assert!(admit(&gate).is_ok());
    drop(second);
    assert_eq!(gate.wait_until_empty(Duration::from_secs(60)), 0);
}

#[test]
fn waits_for_the_last_session() {
    let gate = gate(1, 1, 2);
    let (first, second) = (admit(&gate).ok(), admit(&gate).ok());
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| gate.wait_until_empty(Duration::from_secs(60)));
        drop(first);
        drop(second);
        assert_eq!(waiting.join().ok(), Some(0));
    });
}

#[test]
fn a_session_sees_the_memory_that_it_may_have() {
    for (total, limit, seen) in [(100, 40, 40), (100, u64::MAX, 100), (100, 400, 100)] {
        let welcome = admit(&gate(total, limit, 1)).ok().map(|admission| admission.welcome);
        assert_eq!(welcome.map(|w| (w.session, w.device.total_bytes)), Some((0, seen)));
    }
}

/// How many sessions a robot gets that asks for as many as it can, beside one each of `others`.
fn greed(sessions: u32, of_a_robot: Option<u32>, others: u32) -> u32 {
    let device = Arc::new(FakeDevice::default());
    let gate = Gate::new(device, Limits::default(), Quota { sessions, of_a_robot });
    let _others: Vec<_> = (0..others).map(|other| admit_robot(&gate, &format!("other {other}"))).collect();
    let mut taken = Vec::new();
    loop {
        match admit_robot(&gate, "greedy") {
            Ok(admission) => taken.push(admission),
            Err(Refusal::Full { .. } | Refusal::Share { .. }) => return taken.len() as u32,
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn no_robot_takes_the_last_places_from_one_that_has_none() {
    for sessions in 1..70 {
        for others in 0..sessions {
            let greedy = greed(sessions, None, others);
            assert!((1..=sessions - others).contains(&greedy), "{sessions}: {greedy} beside {others}");
            if sessions > 1 && others == 0 {
                assert!(greedy < sessions, "{sessions}: {greedy}");
            }
        }
    }
    assert_eq!((greed(16, None, 0), greed(16, None, 3), greed(16, None, 14)), (12, 9, 1));
    assert_eq!((greed(16, Some(3), 0), greed(16, Some(16), 0), greed(16, Some(16), 15)), (3, 16, 1));
}

#[test]
fn a_robots_place_is_its_own_again() {
    let device = Arc::new(FakeDevice::default());
    let gate = Gate::new(device, Limits::default(), Quota { sessions: 8, of_a_robot: Some(1) });
    let first = admit_robot(&gate, "one");
    assert!(first.is_ok() && admit_robot(&gate, "other").is_ok());
    assert_eq!(admit_robot(&gate, "one").err(), Some(Refusal::Share { sessions: 1 }));
    drop(first);
    assert!(admit_robot(&gate, "one").is_ok());
}
