use rrto_core::wire::{DeviceInfo, Mode};
use rrto_quic::Gate as _;

use crate::executor::fake::FakeDevice;

use super::*;

fn gate(total_bytes: u64, memory_bytes: u64, max_sessions: u32) -> Gate {
    let limits = Limits { memory_bytes, ..Limits::default() };
    let info = DeviceInfo { total_bytes, ..DeviceInfo::default() };
    Gate::new(Arc::new(FakeDevice { info, ..FakeDevice::default() }), limits, max_sessions)
}

fn admit(gate: &Gate) -> Result<Admission, Refusal> {
    gate.admit("robot", ([127, 0, 0, 1], 1).into(), &Hello::new(Mode::Pipeline, "program"))
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
