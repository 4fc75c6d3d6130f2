//! Links and sessions over real QUIC on loopback, with the fake device behind them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code: a failure is a panic")]

mod namespace;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rrto_core::api::CuResult;
use rrto_core::engine::{ClientLimits, Ready, ServerLimits, Work};
use rrto_core::operator::{Handle, Operator, Value};
use rrto_core::testing::{Device, FakeDevice, Manner, kernel, launch};
use rrto_core::wire::{DeviceInfo, Hello, Mode, Refusal, Welcome};
use rrto_quic::{
    Admission, Coding, Congestion, ConnectError, Credentials, CredentialsError, Gate, Link, LinkConfig,
    LinkStatistics, Listener, Next, ProgramMemory, ServeConfig, ServerFault, Session, Submission, Tap,
};

const STREAM: Handle = Handle::LEGACY_STREAM;

/// Executes each session on a fake device; admits `limit` of them.
struct FakeGate {
    limit: u32,
    admitted: Mutex<u32>,
    over: Mutex<Vec<String>>,
}

impl Gate for GateHandle {
    fn admit(&self, robot: &str, _: SocketAddr, _: &Hello) -> Result<Admission, Refusal> {
        assert_eq!(robot, "robot");
        let gate = self.0.clone();
        let mut admitted = gate.admitted.lock().unwrap();
        if *admitted == gate.limit {
            return Err(Refusal::Full { limit: gate.limit });
        }
        *admitted += 1;
        drop(admitted);
        let device = DeviceInfo { name: "fake".into(), ..DeviceInfo::default() };
        let welcome = Welcome { session: 0, server_version: "test".into(), device };
        Ok(Admission { welcome, run: Box::new(move |session| execute(&gate, &session)) })
    }
}

struct GateHandle(Arc<FakeGate>);

fn execute(gate: &FakeGate, session: &Session) {
    let mut device = FakeDevice::new(16 << 20);
    loop {
        match session.next(Duration::from_secs(5)) {
            Next::Ready(Work::Operator(ready)) => session.finish(ready.number, device.execute(&ready)),
            Next::Ready(Work::Span { first, sequence, span }) => {
                for (number, error) in device.execute_span(first, &sequence, &span) {
                    session.finish(number, Err(error));
                }
            }
            Next::Ready(Work::Retire(_)) => {}
            Next::Idle => {}
            Next::Over(reason) => {
                gate.over.lock().unwrap().push(reason);
                return;
            }
        }
    }
}

struct Server {
    address: SocketAddr,
    gate: Arc<FakeGate>,
    _runtime: tokio::runtime::Runtime,
}

fn credentials(certs: &Path, server: bool) -> Credentials {
    let files = rrto_certs::Files::new(certs);
    let identity = if server { files.server() } else { files.robot("robot") };
    Credentials { ca: files.authority().certificate, certificate: identity.certificate, key: identity.key }
}

fn make_certs(dir: &Path) {
    rrto_certs::create_all(dir, &["localhost"], &["robot"]).unwrap();
}

fn serve(certs: &Path, limit: u32) -> Server {
    serve_at(certs, Ipv4Addr::LOCALHOST, limit, Coding::Auto)
}

fn serve_at(certs: &Path, listen: Ipv4Addr, limit: u32, coding: Coding) -> Server {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let gate = Arc::new(FakeGate { limit, admitted: Mutex::new(0), over: Mutex::new(Vec::new()) });
    let config = ServeConfig {
        listen: (listen, 0).into(),
        credentials: credentials(certs, true),
        limits: ServerLimits::default(),
        idle_timeout: Duration::from_secs(5),
        congestion: Congestion::default(),
        grace: Duration::from_secs(10),
        max_waiting: 8,
        max_connections: 16,
        coding,
    };
    let _entered = runtime.enter();
    let listener = Listener::bind(config).unwrap();
    let address = listener.local_addr();
    runtime.spawn(listener.serve(Arc::new(GateHandle(gate.clone())), std::future::pending()));
    drop(_entered);
    Server { address, gate, _runtime: runtime }
}

/// Keeps what is delivered, by operator number.
#[derive(Default)]
struct Memory(Mutex<HashMap<u64, Vec<u8>>>);

impl ProgramMemory for Memory {
    fn deliver(&self, number: u64, offset: u64, bytes: &[u8]) {
        let mut memory = self.0.lock().unwrap();
        let buffer = memory.entry(number).or_default();
        assert_eq!(buffer.len() as u64, offset);
        buffer.extend_from_slice(bytes);
    }
}

fn config(certs: &Path, server: SocketAddr, mode: Mode) -> LinkConfig {
    LinkConfig {
        server: server.to_string(),
        credentials: credentials(certs, false),
        mode,
        program: "test".into(),
        limits: ClientLimits::default(),
        connect_timeout: Duration::from_secs(20),
        silence_timeout: Duration::from_secs(5),
        coding: Coding::Auto,
        congestion: Congestion::default(),
        tap: None,
    }
}

#[test]
fn copies_of_all_sizes_come_back_as_they_went() {
    let certs = tempfile::tempdir().unwrap();
    make_certs(certs.path());
    let server = serve(certs.path(), 8);
    for mode in [Mode::Replay, Mode::Pipeline, Mode::Percall] {
        let memory = Arc::new(Memory::default());
        let link = Link::connect(config(certs.path(), server.address, mode), memory.clone()).unwrap();
        assert_eq!(link.welcome().device.name, "fake");
        for (index, bytes) in [1u64, 100, 4096, 4097, 100_000, 1 << 20].into_iter().enumerate() {
            let payload: Bytes = (0..bytes).map(|i| (i * 7 + index as u64) as u8).collect::<Vec<_>>().into();
            let copy = Operator::CopyIn { dst: 64, bytes, stream: STREAM };
            assert_eq!(link.call(0, copy, Some(payload.clone())), Ok(Value::None));
            let out = Operator::CopyOut { src: 64, bytes, stream: STREAM };
            let Submission::Awaits(number) = link.submit(0, out, None, |_| {}) else { panic!("not awaited") };
            assert_eq!(link.wait(number), Ok(Value::None));
            assert_eq!(memory.0.lock().unwrap().remove(&number).as_deref(), Some(&payload[..]));
        }
    }
}

/// Elements of four bytes whose upper two take few values, as a tensor's do.
fn tensor(elements: u32) -> Bytes {
    let element = |at: u32| at.wrapping_mul(0x9e37_79b9) & 0x0fff_ffff | 0x3000_0000;
    (0..elements).flat_map(|at| element(at).to_le_bytes()).collect::<Vec<_>>().into()
}

#[test]
fn coded_payloads_come_back_as_they_went_and_travel_shorter() {
    let certs = tempfile::tempdir().unwrap();
    make_certs(certs.path());
    for (up, down) in [(Coding::Always, Coding::Off), (Coding::Off, Coding::Always)] {
        let server = serve_at(certs.path(), Ipv4Addr::LOCALHOST, 1, down);
        let memory = Arc::new(Memory::default());
        let config = LinkConfig { coding: up, ..config(certs.path(), server.address, Mode::Pipeline) };
        let link = Link::connect(config, memory.clone()).unwrap();
        let mut payload_bytes = 0;
        for elements in [10_000, 8192, 8193, 250_000] {
            let payload = tensor(elements);
            let bytes = payload.len() as u64;
            payload_bytes += bytes;
            let copy = Operator::CopyIn { dst: 64, bytes, stream: STREAM };
            assert_eq!(link.call(0, copy, Some(payload.clone())), Ok(Value::None));
            let out = Operator::CopyOut { src: 64, bytes, stream: STREAM };
            let Submission::Awaits(number) = link.submit(0, out, None, |_| {}) else { panic!("not awaited") };
            assert_eq!(link.wait(number), Ok(Value::None));
            assert!(memory.0.lock().unwrap().remove(&number).as_deref() == Some(&payload[..]));
        }
        let statistics = link.statistics();
        assert_eq!([statistics.bulk_bytes_up, statistics.bulk_bytes_down], [payload_bytes; 2]);
        let wire = [statistics.bulk_wire_bytes_up, statistics.bulk_wire_bytes_down];
        for (wire, coding) in wire.into_iter().zip([up, down]) {
            assert_eq!(
                wire < payload_bytes,
                coding == Coding::Always,
                "{wire} of {payload_bytes}, {coding:?}"
            );
        }
    }
}

#[test]
fn what_is_repeated_is_replayed() {
    let certs = tempfile::tempdir().unwrap();
    make_certs(certs.path());
    let server = serve(certs.path(), 1);
    let memory = Arc::new(Memory::default());
    let link = Link::connect(config(certs.path(), server.address, Mode::Replay), memory.clone()).unwrap();
    let mut expected = FakeDevice::new(16 << 20);
    let mut number = 0;
    for round in 0..40_u8 {
        let payload = Bytes::from(vec![round; 100_000]);
        let copy = Operator::CopyIn { dst: 0, bytes: 100_000, stream: STREAM };
        let kernels = (0..100).map(|at| launch(at % 7, STREAM, kernel(at * 30, at * 50, 60, Manner::Mixes)));
        let out = Operator::CopyOut { src: 0, bytes: 5000, stream: STREAM };
        let calls = [(copy, Some(payload))].into_iter().chain(kernels.map(|kernel| (kernel, None)));
        let mut output = None;
        for (operator, payload) in calls.chain([(out, None)]) {
            number += 1;
            let ready = Ready {
                number,
                lane: 0,
                wants_answer: true,
                operator: operator.clone(),
                payload: payload.clone().map(Into::into),
            };
            output = Some(expected.execute(&ready));
            match link.submit(0, operator, payload, |_| {}) {
                Submission::Queued => {}
                Submission::Awaits(number) => {
                    assert_eq!(link.wait(number), Ok(Value::None));
                    let delivered = memory.0.lock().unwrap().remove(&number).unwrap();
                    assert_eq!(output.take(), Some(Ok(Value::Payload(delivered.into()))));
                }
                answered => panic!("{answered:?}"),
            }
        }
        assert_eq!(output, None);
    }
    let statistics = link.replay_statistics();
    assert!(statistics.runs >= 30, "{statistics:?}");
    assert_eq!(link.poll_divergence(), None);
    // Where the answer is there before it is waited for, there is none.
    assert!(link.statistics().round_trips <= 40);
}

/// Counts bytes: control up, control down, payloads up.
#[derive(Debug, Default)]
struct Counts(Mutex<[u64; 3]>);

impl Tap for Counts {
    fn control_sent(&self, frames: &[u8]) {
        self.0.lock().unwrap()[0] += frames.len() as u64;
    }

    fn control_received(&self, bytes: &[u8]) {
        self.0.lock().unwrap()[1] += bytes.len() as u64;
    }

    fn payload_sent(&self, _: u64, bytes: u64) {
        self.0.lock().unwrap()[2] += bytes;
    }
}

#[test]
fn a_tap_is_told_of_all_that_passes() {
    let certs = tempfile::tempdir().unwrap();
    make_certs(certs.path());
    let server = serve(certs.path(), 1);
    let tap = Arc::new(Counts::default());
    let config = LinkConfig { tap: Some(tap.clone()), ..config(certs.path(), server.address, Mode::Replay) };
    let link = Link::connect(config, Arc::new(Memory::default())).unwrap();
    for bytes in [100, 10_000] {
        let copy = Operator::CopyIn { dst: 0, bytes, stream: STREAM };
        assert_eq!(link.call(0, copy, Some(vec![1; bytes as usize].into())), Ok(Value::None));
    }
    assert_eq!(link.call(0, Operator::MemGetInfo, None), Ok(Value::None));
    link.close(Duration::from_secs(20));
    let LinkStatistics { control_bytes_up, control_bytes_down, bulk_bytes_up, .. } = link.statistics();
    let told = *tap.0.lock().unwrap();
    assert_eq!(told, [control_bytes_up, control_bytes_down, bulk_bytes_up]);
    assert_eq!(told[2], 10_000);
}

#[test]
fn more_bulk_than_may_be_in_flight_waits_and_arrives() {
    let certs = tempfile::tempdir().unwrap();
    make_certs(certs.path());
    let server = serve(certs.path(), 1);
    let memory = Arc::new(Memory::default());
    let link = Link::connect(config(certs.path(), server.address, Mode::Pipeline), memory).unwrap();
    for piece in 0..100u64 {
        let copy = Operator::CopyIn { dst: (piece % 16) << 20, bytes: 1 << 20, stream: STREAM };
        let payload = Bytes::from(vec![piece as u8; 1 << 20]);
        assert_eq!(link.submit(0, copy, Some(payload), |_| {}), Submission::Queued);
    }
    assert_eq!(link.call(0, Operator::MemGetInfo, None), Ok(Value::None));
    assert_eq!(link.statistics().round_trips, 1);
}

#[test]
fn a_goodbye_ends_the_session_and_later_calls_fail() {
    let certs = tempfile::tempdir().unwrap();
    make_certs(certs.path());
    let server = serve(certs.path(), 1);
    let link =
        Link::connect(config(certs.path(), server.address, Mode::Pipeline), Arc::new(Memory::default()))
            .unwrap();
    link.close(Duration::from_secs(20));
    link.close(Duration::from_secs(20));
    assert_eq!(link.call(0, Operator::MemGetInfo, None), Err(CuResult::DEVICE_UNAVAILABLE));
    while server.gate.over.lock().unwrap().is_empty() {
        std::thread::yield_now();
    }
}

#[test]
fn a_full_server_says_so() {
    let certs = tempfile::tempdir().unwrap();
    make_certs(certs.path());
    let server = serve(certs.path(), 0);
    let refused =
        Link::connect(config(certs.path(), server.address, Mode::Pipeline), Arc::new(Memory::default()));
    let text = refused.err().unwrap().to_string();
    assert!(text.contains("full"), "{text}");
}

#[test]
fn a_robot_of_another_authority_is_turned_away() {
    let (certs, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make_certs(certs.path());
    make_certs(other.path());
    let server = serve(certs.path(), 1);
    let mut stranger = config(other.path(), server.address, Mode::Pipeline);
    let refused = Link::connect(stranger.clone(), Arc::new(Memory::default()));
    let fault = ServerFault::OtherAuthority { ca: stranger.credentials.ca.clone() };
    assert!(
        matches!(&refused, Err(ConnectError::ServerCertificate { fault: found, .. }) if *found == fault),
        "{:?}",
        refused.err()
    );
    // Files that do not fit each other are found where they lie.
    stranger.credentials.ca = credentials(certs.path(), false).ca;
    let refused = Link::connect(stranger, Arc::new(Memory::default()));
    let unfit = ConnectError::Credentials(CredentialsError::OtherAuthority {
        certificate: credentials(other.path(), false).certificate,
        ca: credentials(certs.path(), false).ca,
    });
    assert_eq!(refused.err().unwrap().to_string(), unfit.to_string());
    assert!(server.gate.over.lock().unwrap().is_empty());
}

/// A certificate of this authority that names nobody, as another tool than `rrto certs` may make it.
fn nameless(certs: &Path, common_name: Option<&str>) -> Credentials {
    let read = |path| std::fs::read_to_string(path).unwrap();
    let authority = rrto_certs::Files::new(certs).authority();
    let key = rcgen::KeyPair::from_pem(&read(&authority.key)).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_pem(&read(&authority.certificate), key).unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::OrganizationName, "an organisation");
    common_name.into_iter().for_each(|name| params.distinguished_name.push(rcgen::DnType::CommonName, name));
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let credentials = Credentials {
        ca: authority.certificate,
        certificate: certs.join("nameless.pem"),
        key: certs.join("nameless.key"),
    };
    std::fs::write(&credentials.certificate, certificate.pem()).unwrap();
    std::fs::write(&credentials.key, key.serialize_pem()).unwrap();
    std::fs::set_permissions(&credentials.key, std::fs::Permissions::from_mode(0o600)).unwrap();
    credentials
}

#[test]
fn a_robot_whose_certificate_names_nobody_is_told_so() {
    let certs = tempfile::tempdir().unwrap();
    make_certs(certs.path());
    let server = serve(certs.path(), 1);
    for common_name in [None, Some("")] {
        let credentials = nameless(certs.path(), common_name);
        let config = LinkConfig { credentials, ..config(certs.path(), server.address, Mode::Pipeline) };
        let text = Link::connect(config, Arc::new(Memory::default())).err().unwrap().to_string();
        assert!(text.contains("certificate has no name"), "{text}");
    }
    assert_eq!(*server.gate.admitted.lock().unwrap(), 0);
}

#[test]
fn another_address_of_the_robot_is_noticed_and_followed() {
    if !namespace::is_inside("another_address_of_the_robot_is_noticed_and_followed") {
        return;
    }
    const PATIENCE: Duration = Duration::from_secs(60);
    let [one, other, server] = [[198, 18, 0, 1], [198, 18, 0, 2], [198, 18, 7, 7]].map(Ipv4Addr::from);
    let loopback = namespace::Loopback::up();
    loopback.add(one);
    let certs = tempfile::tempdir().unwrap();
    make_certs(certs.path());
    let serving = serve_at(certs.path(), Ipv4Addr::UNSPECIFIED, 1, Coding::Auto);
    let address = (server, serving.address.port()).into();
    let config = LinkConfig { silence_timeout: PATIENCE, ..config(certs.path(), address, Mode::Pipeline) };
    let link = Link::connect(config, Arc::new(Memory::default())).unwrap();
    assert_eq!(link.call(0, Operator::MemGetInfo, None), Ok(Value::None));
    for (migrations, [from, to]) in [(1, [one, other]), (2, [other, one])] {
        assert_eq!(link.statistics().migrations, migrations - 1);
        loopback.remove(from);
        loopback.add(to);
        let changed = Instant::now();
        while link.statistics().migrations < migrations {
            assert!(changed.elapsed() < PATIENCE, "not noticed");
            assert_eq!(link.call(0, Operator::MemGetInfo, None), Ok(Value::None));
        }
        assert_eq!(link.call(0, Operator::MemGetInfo, None), Ok(Value::None));
    }
    assert_eq!(*serving.gate.admitted.lock().unwrap(), 1);
}

#[test]
fn nobody_there_is_an_error_within_the_limit() {
    let certs = tempfile::tempdir().unwrap();
    make_certs(certs.path());
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut nowhere = config(certs.path(), silent.local_addr().unwrap(), Mode::Pipeline);
    nowhere.connect_timeout = Duration::from_millis(300);
    let refused = Link::connect(nowhere, Arc::new(Memory::default()));
    assert!(matches!(refused, Err(ConnectError::Timeout { .. })), "{:?}", refused.err());
}

#[test]
fn a_closed_port_is_told_from_a_silent_one() {
    let certs = tempfile::tempdir().unwrap();
    make_certs(certs.path());
    let address = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut closed = config(certs.path(), address, Mode::Pipeline);
    closed.connect_timeout = Duration::from_millis(1500);
    let refused = Link::connect(closed, Arc::new(Memory::default()));
    assert!(matches!(refused, Err(ConnectError::Closed { .. })), "{:?}", refused.err());
}
