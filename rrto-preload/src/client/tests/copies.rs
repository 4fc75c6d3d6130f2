//! Copies and their hazards, on the real engines: nothing moves over the link until somebody waits.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use rrto_core::engine::{ClientLimits, Submitted};
use rrto_core::operator::{MAX_PAYLOAD_BYTES, Outcome};
use rrto_core::replay::ReplayStatistics;
use rrto_core::testing::{FakeDevice, Pair};
use rrto_quic::{LinkStatistics, ProgramMemory};

use super::super::deliveries::OUTSTANDING_MAX;
use super::*;
use crate::marshal::HostAddress;

const DEVICE_BYTES: usize = 4096;

/// A pair of engines as a remote.
pub(super) struct Engines {
    pair: Mutex<Pair>,
    deliveries: Arc<Deliveries>,
    heard: Mutex<Vec<Heard>>,
}

/// What passes between the client and the engines.
pub(super) enum Heard {
    /// An operator that travels, with its number.
    Sent(u64, Operator),
    /// The answer to this number was waited for.
    Answered(u64),
}

impl Engines {
    /// What has passed since the last time.
    pub(super) fn heard(&self) -> Vec<Heard> {
        std::mem::take(&mut *self.heard.lock().unwrap())
    }

    fn run(&self) -> std::sync::MutexGuard<'_, Pair> {
        let mut pair = self.pair.lock().unwrap();
        pair.settle();
        for (number, bytes) in std::mem::take(&mut pair.delivered) {
            self.deliveries.deliver(number, 0, &bytes);
        }
        pair
    }
}

impl Remote for Arc<Engines> {
    fn sticky(&self) -> Option<CuResult> {
        self.pair.lock().unwrap().client.sticky()
    }

    fn submit(
        &self,
        lane: u32,
        operator: Operator,
        payload: Option<Bytes>,
        register: &mut dyn FnMut(u64),
    ) -> Submission {
        let mut pair = self.pair.lock().unwrap();
        let mut note = |number| {
            self.heard.lock().unwrap().push(Heard::Sent(number, operator.clone()));
            register(number);
        };
        match pair.client.handle_submit(lane, operator.clone(), payload) {
            Submitted::Answered(outcome) => return Submission::Answered(outcome),
            Submitted::Full(..) => panic!("nothing here fills the engine"),
            Submitted::Queued(number) => note(number),
            Submitted::Awaits(number) => {
                note(number);
                pair.take_deliveries();
                return Submission::Awaits(number);
            }
        }
        Submission::Queued
    }

    fn wait(&self, number: u64) -> Outcome {
        self.heard.lock().unwrap().push(Heard::Answered(number));
        self.run().client.poll_outcome(number).expect("an outcome is given once")
    }

    fn is_awaited(&self, number: u64) -> bool {
        self.pair.lock().unwrap().client.is_awaited(number)
    }

    fn lost(&self) -> Option<String> {
        None
    }

    fn statistics(&self) -> LinkStatistics {
        LinkStatistics::default()
    }

    fn replay_statistics(&self) -> ReplayStatistics {
        ReplayStatistics::default()
    }

    fn close(&self, _: Duration) {}
}

pub(super) fn engines(mode: Mode, device_bytes: usize) -> (Client, Arc<Engines>) {
    let deliveries = Arc::new(Deliveries::default());
    let pair = Mutex::new(Pair::new(mode, ClientLimits::default(), FakeDevice::new(device_bytes)));
    let engines = Arc::new(Engines { pair, deliveries: deliveries.clone(), heard: Mutex::default() });
    let client = Client::new(device(), mode, Box::new(engines.clone()), deliveries);
    // Address 0 is the fake device's first byte, and no host address is below its end.
    client.memory.insert(
        0,
        device_bytes as u64,
        memory::Region { context: context(16), id: 1, variable_of: None },
    );
    (client, engines)
}

const LEGACY: Handle = Handle::LEGACY_STREAM;

#[derive(Clone, Debug)]
enum Step {
    In { from: usize, to: usize, bytes: usize },
    Out { from: usize, to: usize, bytes: usize, until: Until },
    Fill { at: usize, bytes: usize, value: u8 },
    Synchronise,
}

fn step(host_bytes: usize) -> impl Strategy<Value = Step> {
    let ranges = (0..host_bytes, 0..DEVICE_BYTES, 1..600_usize).prop_map(move |(host, device, bytes)| {
        let bytes = bytes.min(host_bytes - host).min(DEVICE_BYTES - device);
        (host, device, bytes)
    });
    (0..5, ranges, any::<u8>()).prop_map(|(kind, (host, device, bytes), value)| match kind {
        0 => Step::In { from: host, to: device, bytes },
        1 => Step::Out { from: device, to: host, bytes, until: Until::Queued },
        2 => Step::Out { from: device, to: host, bytes, until: Until::Done },
        3 => Step::Fill { at: device, bytes, value },
        _ => Step::Synchronise,
    })
}

proptest! {
    /// Whatever copies are outstanding, the bytes end up where they would if each copy had been over at once.
    #[test]
    fn copies_keep_their_order_on_host_memory(
        steps in prop::collection::vec(step(2000), 1..40),
        pinned in any::<bool>(),
        (mode, _) in prop::sample::select(&Mode::NAMES),
        // What is repeated often enough is replayed.
        rounds in 1..7_usize,
    ) {
        let (client, engines) = engines(mode, DEVICE_BYTES);
        let call = call(&client);
        let mut host: Vec<u8> = (0..2000_u32).map(|at| (at * 7) as u8).collect();
        let (mut host_model, mut device_model) = (host.clone(), vec![0; DEVICE_BYTES]);
        if pinned {
            call.register_host(HostAddress::to(&mut host), 2000, 0).unwrap();
        }
        for step in std::iter::repeat_n(steps, rounds).flatten() {
            match step {
                Step::In { from, to, bytes } => {
                    let source = HostAddress::from(&host[from..]);
                    call.copy_in(to as u64, source, bytes as u64, LEGACY, Until::Queued).unwrap();
                    device_model[to..to + bytes].copy_from_slice(&host_model[from..from + bytes]);
                }
                Step::Out { from, to, bytes, until } => {
                    let destination = HostAddress::to(&mut host[to..]);
                    call.copy_out(destination, from as u64, bytes as u64, LEGACY, until).unwrap();
                    host_model[to..to + bytes].copy_from_slice(&device_model[from..from + bytes]);
                    if until == Until::Done {
                        prop_assert_eq!(&host[to..to + bytes], &host_model[to..to + bytes]);
                    }
                }
                Step::Fill { at, bytes, value } => {
                    let fill = Fill {
                        address: at as u64, pitch_bytes: 0, value: value.into(), element_bytes: 1,
                        width: bytes as u64, height: 1,
                    };
                    call.fill(fill, LEGACY).unwrap();
                    device_model[at..at + bytes].fill(value);
                }
                Step::Synchronise => {
                    call.stream_synchronize(LEGACY).unwrap();
                    prop_assert_eq!(&host, &host_model);
                }
            }
        }
        call.context_synchronize().unwrap();
        prop_assert_eq!(&host, &host_model);
        prop_assert_eq!(&engines.run().device.memory, &device_model);
    }
}

#[test]
fn a_long_copy_is_cut_and_arrives_whole() {
    let bytes = 40 * MAX_PAYLOAD_BYTES as usize + 17;
    let (client, _engines) = engines(Mode::Pipeline, bytes);
    let call = call(&client);
    let sent: Vec<u8> = (0..bytes).map(|at| (at >> 12) as u8 ^ at as u8).collect();
    for piece in 0..8 {
        // In parts, because a client may have only so much unacknowledged.
        let part = bytes.div_ceil(8);
        let range = piece * part..bytes.min((piece + 1) * part);
        call.copy_in(
            range.start as u64,
            HostAddress::from(&sent[range.clone()]),
            range.len() as u64,
            LEGACY,
            Until::Queued,
        )
        .unwrap();
        call.copy_out(HostAddress::to(&mut [0]), 0, 1, LEGACY, Until::Done).unwrap();
    }
    let mut received = vec![0; bytes];
    call.copy_out(HostAddress::to(&mut received), 0, bytes as u64, LEGACY, Until::Done).unwrap();
    assert!(received == sent);
}

#[test]
fn a_copy_into_pinned_memory_goes_on_after_its_call() {
    let (client, engines) = engines(Mode::Pipeline, DEVICE_BYTES);
    let call = call(&client);
    let mut host = vec![1; 64];
    call.register_host(HostAddress::to(&mut host), 64, 0).unwrap();
    call.copy_out(HostAddress::to(&mut host), 0, 64, LEGACY, Until::Queued).unwrap();
    assert_eq!(host, [1; 64]);
    assert!(client.deliveries.latest().is_some());
    // Ending the registration is one of the ways to wait for it.
    call.unregister_host(HostAddress::to(&mut host)).unwrap();
    assert_eq!(host, [0; 64]);
    assert_eq!(client.deliveries.latest(), None);
    drop(engines.run());
    assert_eq!(call.unregister_host(HostAddress::to(&mut host)), Err(CuResult::HOST_MEMORY_NOT_REGISTERED));
}

#[test]
fn copies_into_one_place_do_not_overtake_each_other() {
    let (client, _engines) = engines(Mode::Pipeline, DEVICE_BYTES);
    let call = call(&client);
    let mut host = vec![1; 64];
    call.register_host(HostAddress::to(&mut host), 64, 0).unwrap();
    call.copy_out(HostAddress::to(&mut host), 0, 40, LEGACY, Until::Queued).unwrap();
    let first = client.deliveries.latest();
    let (_, overlapping) = host.split_at_mut(32);
    call.copy_out(HostAddress::to(overlapping), 0, 32, LEGACY, Until::Queued).unwrap();
    assert!(client.deliveries.latest() > first);
    assert_eq!(client.deliveries.on_stream(LEGACY, u64::MAX).len(), 1);
}

#[test]
fn an_event_stands_for_the_copies_before_its_record() {
    let (client, _engines) = engines(Mode::Pipeline, DEVICE_BYTES);
    let call = call(&client);
    let mut host = vec![1; 64];
    call.register_host(HostAddress::to(&mut host), 64, 0).unwrap();
    let [stream, other] = [call.create_stream(1, 0).unwrap(), call.create_stream(1, 0).unwrap()];
    let event = visible(call.create_event(2).unwrap());
    let (before, after) = host.split_at_mut(32);
    call.copy_out(HostAddress::to(before), 0, 32, stream, Until::Queued).unwrap();
    call.record_event(event, stream, 0).unwrap();
    call.copy_out(HostAddress::to(after), 0, 32, stream, Until::Queued).unwrap();
    call.stream_synchronize(other).unwrap();
    assert_eq!(client.deliveries.on_stream(stream, u64::MAX).len(), 2);
    call.event_synchronize(event).unwrap();
    assert_eq!(before, [0; 32]);
    assert_eq!(client.deliveries.on_stream(stream, u64::MAX).len(), 1);
    call.stream_query(stream).unwrap();
    assert_eq!((after, client.deliveries.latest()), ([0; 32].as_mut_slice(), None));
}

#[test]
fn outstanding_copies_are_bounded() {
    let (client, _engines) = engines(Mode::Pipeline, DEVICE_BYTES);
    let call = call(&client);
    let mut host = vec![1; 2 * OUTSTANDING_MAX];
    call.register_host(HostAddress::to(&mut host), 2 * OUTSTANDING_MAX, 0).unwrap();
    for byte in host.chunks_mut(1) {
        call.copy_out(HostAddress::to(byte), 0, 1, LEGACY, Until::Queued).unwrap();
        assert!(client.deliveries.on_stream(LEGACY, u64::MAX).len() <= OUTSTANDING_MAX);
    }
}

#[test]
fn an_error_of_a_copy_nobody_waited_for_is_given_by_the_next_that_waits() {
    let (client, recorder) = recorded();
    let call = call(&client);
    let mut host = vec![1; 64];
    client.memory.insert(0, 64, memory::Region { context: context(16), id: 1, variable_of: None });
    call.register_host(HostAddress::to(&mut host), 64, 0).unwrap();
    call.copy_out(HostAddress::to(&mut host), 0, 64, LEGACY, Until::Queued).unwrap();
    recorder.answer(Ok(Value::None));
    recorder.answer(Err(CuResult::INVALID_VALUE));
    assert_eq!(call.stream_synchronize(LEGACY), Err(CuResult::INVALID_VALUE));
    assert_eq!(call.stream_synchronize(LEGACY), Ok(()));
}

#[test]
fn ranges_are_checked_at_once() {
    let (client, recorder) = recorded();
    let call = call(&client);
    recorder.answer(Ok(Value::Address(NOWHERE + 0x1000)));
    let memory = call.allocate(256).unwrap();
    recorder.sent();
    let mut host = [0; 512];
    let invalid = Err(CuResult::INVALID_VALUE);
    for (address, bytes, expected) in [
        (memory, 256, Ok(())),
        (memory + 255, 1, Ok(())),
        (0, 0, Ok(())),
        (0, 16, invalid),
        (memory + 1, 256, invalid),
    ] {
        let mut to = HostAddress::to(&mut host);
        assert_eq!(call.copy_in(address, to, bytes, LEGACY, Until::Queued), expected, "{address:#x} {bytes}");
        assert_eq!(call.copy_out(to, address, bytes, LEGACY, Until::Done), expected, "{address:#x} {bytes}");
        assert_eq!(call.copy_device(memory, address, bytes, LEGACY), expected, "{address:#x} {bytes}");
        to = HostAddress::of(0).unwrap();
        assert_eq!(call.copy_in(memory, to, bytes, LEGACY, Until::Queued).is_ok(), bytes == 0);
    }
    for (address, pitch_bytes, element_bytes, width, height, expected) in [
        (memory, 0, 4, 64, 1, Ok(())),
        (memory, 64, 4, 16, 4, Ok(())),
        (memory, 0, 1, 0, 1, Ok(())),
        (memory + 1, 0, 4, 4, 1, invalid),
        (memory, 0, 4, 65, 1, invalid),
        (memory, 32, 4, 16, 4, invalid),
        (memory, u64::MAX - 3, 4, 1, 4, invalid),
        (memory, 0, 4, u64::MAX, 1, invalid),
    ] {
        let fill = Fill { address, pitch_bytes, value: 0, element_bytes, width, height };
        assert_eq!(call.fill(fill, LEGACY), expected, "{fill:?}");
    }
}

#[test]
fn a_device_address_called_a_host_address_is_the_devices() {
    let (client, recorder) = recorded();
    let call = call(&client);
    recorder.answer(Ok(Value::Address(NOWHERE + 0x1000)));
    call.allocate(256).unwrap();
    recorder.sent();
    let mistaken = HostAddress::of(NOWHERE + 0x1080).unwrap();
    call.copy_in(NOWHERE + 0x1000, mistaken, 16, LEGACY, Until::Queued).unwrap();
    call.copy_out(mistaken, NOWHERE + 0x1000, 16, LEGACY, Until::Done).unwrap();
    let copy = |dst, src| Operator::CopyDevice { dst, src, bytes: 16, stream: LEGACY };
    assert_eq!(
        recorder.operators(),
        [copy(NOWHERE + 0x1000, NOWHERE + 0x1080), copy(NOWHERE + 0x1080, NOWHERE + 0x1000)]
    );
}

#[test]
fn unified_copies_go_by_address() {
    let (client, engines) = engines(Mode::Pipeline, DEVICE_BYTES);
    let call = call(&client);
    let (from, mut to, mut last) = ([7_u8; 32], [0_u8; 32], [0_u8; 32]);
    let address = |buffer: &mut [u8]| HostAddress::to(buffer).address() as u64;
    let source = HostAddress::from(&from).address() as u64;
    call.copy_unified(64, source, 32, LEGACY, Until::Done).unwrap();
    call.copy_unified(128, 64, 32, LEGACY, Until::Done).unwrap();
    call.copy_unified(address(&mut to), 128, 32, LEGACY, Until::Done).unwrap();
    call.copy_unified(address(&mut last), address(&mut to), 32, LEGACY, Until::Done).unwrap();
    assert_eq!((to, last), (from, from));
    assert_eq!(engines.run().device.memory[128..160], from);
}
