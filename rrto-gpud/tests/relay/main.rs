//! Programs and a server that meet at a relay, over real sockets: with symmetric address translators before both, which forget, and a
//! relay that restarts.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

#[path = "../harness/mod.rs"]
mod harness;
mod nat;

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};

use harness::{PATIENCE, Program, Server, certificates};
use nat::Nat;
use rrto_core::operator::Value;
use rrto_core::wire::Mode;
use rrto_gpud::device::Limits as SessionLimits;
use rrto_gpud::relay::{Limits, Relay, RelayServer, RoomConfig};
use rrto_quic::relay::{RelayError, RoomKey};
use rrto_quic::{ConnectError, Listener};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const LIMITS: Limits = Limits {
    room_clients: 8,
    source_clients: 8,
    flow_bytes_per_s: 1_000_000_000,
    total_bytes_per_s: 1_000_000_000,
};

/// A relay in this process, with the room `room` of these certificates.
struct Running {
    address: SocketAddr,
    runtime: Runtime,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Running {
    fn start(certificates: &Path) -> Self {
        Self::start_at(certificates, ([127, 0, 0, 1], 0).into())
    }

    fn start_at(certificates: &Path, address: SocketAddr) -> Self {
        let key = RoomKey::read(&rrto_certs::Files::new(certificates).room("room")).unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let _inside = runtime.enter();
        let relay = Relay::new(vec![RoomConfig { name: "room".into(), key }], LIMITS).unwrap();
        let server = RelayServer::bind(address, relay).unwrap();
        let address = server.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let serving = runtime.spawn(server.serve(async move {
            let _ = stopped.await;
        }));
        drop(_inside);
        Running { address, runtime, stop, serving }
    }

    /// Another one at the same address, which knows nothing of this one's parties.
    fn restart(self, certificates: &Path) -> Self {
        self.stop.send(()).unwrap();
        self.runtime.block_on(self.serving).unwrap().unwrap();
        Self::start_at(certificates, self.address)
    }
}

fn certificates_with_room() -> TempDir {
    let certificates = certificates();
    rrto_certs::add_room(certificates.path(), "room").unwrap();
    certificates
}

fn serve_behind(relay: SocketAddr, certificates: TempDir) -> Server {
    let relay = format!("relay://{relay}/room").parse().unwrap();
    let listen = |config| Listener::bind_behind(&relay, config);
    Server::start_on(certificates, 4, SessionLimits::default(), PATIENCE, listen)
}

/// The error of a program that connects to `relay`.
fn refusal(relay: SocketAddr, certificates: &Path) -> RelayError {
    match Program::connect(format!("relay://{relay}/room"), certificates, Mode::Pipeline) {
        Err(ConnectError::Relay(error)) => error,
        other => panic!("{:?}", other.err()),
    }
}

/// Copies `bytes` there and back; a second buffer is never touched again and shows that nothing is done twice.
fn exchange(program: &Program, address: u64, round: u32, bytes: usize) {
    let payload: Vec<u8> =
        (0..bytes).map(|at| (at as u32).wrapping_mul(31).wrapping_add(round) as u8).collect();
    assert_eq!(program.copy_in(address, &payload), Ok(Value::None));
    assert_eq!(program.copy_out(address, bytes as u64), payload, "round {round}");
}

#[test]
fn a_program_finishes_whatever_translators_and_relay_do() {
    let certificates = certificates_with_room();
    let mut relay = Running::start(certificates.path());
    let (before_server, before_client) = (Nat::start(relay.address), Nat::start(relay.address));
    let server = serve_behind(before_server.inside, certificates);
    let certificates = server.certificates.path();
    for mode in [Mode::Pipeline, Mode::Replay] {
        let address = format!("relay://{}/room", before_client.inside);
        let program = Program::connect(address, certificates, mode).unwrap();
        let buffer = program.alloc(300_000);
        for round in 0..30 {
            match round {
                5 => assert!(before_client.forget() > 0),
                10 => assert!(before_server.forget() > 0),
                15 => relay = relay.restart(certificates),
                20 => {
                    assert!(before_client.forget() > 0 && before_server.forget() > 0);
                    relay = relay.restart(certificates);
                }
                _ => {}
            }
            exchange(&program, buffer, round, if round % 2 == 0 { 1000 } else { 300_000 });
        }
        assert_eq!(program.link.lost(), None);
    }
}

#[test]
fn programs_side_by_side_have_their_own_and_some_come_directly() {
    let certificates = certificates_with_room();
    let relay = Running::start(certificates.path());
    let server = serve_behind(relay.address, certificates);
    let relayed = format!("relay://{}/room", relay.address);
    std::thread::scope(|scope| {
        for (number, address) in [&relayed, &relayed, &server.address.to_string()].into_iter().enumerate() {
            let certificates = server.certificates.path();
            let address = address.clone();
            scope.spawn(move || {
                let program = Program::connect(address, certificates, Mode::Pipeline).unwrap();
                let buffer = program.alloc(1 << 20);
                for round in 0..8 {
                    exchange(&program, buffer, round * 10 + number as u32, 1 << 20);
                }
            });
        }
    });
}

#[test]
fn what_is_wrong_is_told() {
    let (certificates, others) = (certificates_with_room(), certificates_with_room());
    let relay = Running::start(certificates.path());
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    assert!(matches!(refusal(silent.local_addr().unwrap(), certificates.path()), RelayError::Silent { .. }));
    assert!(matches!(refusal(relay.address, certificates.path()), RelayError::NoServer { .. }));
    let refused = refusal(relay.address, others.path());
    assert!(refused.to_string().contains("no room with this secret"), "{refused}");
    let without = harness::certificates();
    assert!(matches!(refusal(relay.address, without.path()), RelayError::Key(_)));

    // The relay lets in who knows the secret; the server still wants a certificate.
    let server = serve_behind(relay.address, certificates);
    let room = |dir: &Path| rrto_certs::Files::new(dir).room("room");
    std::fs::copy(room(server.certificates.path()), room(others.path())).unwrap();
    let stranger = Program::connect(format!("relay://{}/room", relay.address), others.path(), Mode::Pipeline);
    assert!(matches!(stranger.err(), Some(ConnectError::ServerCertificate { .. })));
}

/// A process of rrto-gpud, its first line on stdout, and the address in it.
fn spawn(arguments: &[&str]) -> (std::process::Child, String, SocketAddr) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rrto-gpud"));
    let mut child = command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let address = line.split("listening on ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
    let address = address.unwrap_or_else(|| panic!("no address in {line:?}"));
    (child, line, address)
}

fn end(mut child: std::process::Child) -> String {
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    assert!(child.wait().unwrap().success());
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    log
}

#[test]
fn the_commands_of_the_help_work_and_their_logs_keep_the_secret() {
    let certificates = certificates_with_room();
    let dir = certificates.path().to_str().unwrap();
    let rooms = format!("{dir}/rooms");
    let common = ["--listen", "127.0.0.1:0", "--log-level", "trace"];
    let (relay, line, at) = spawn(&[&["relay", "--rooms", &rooms], &common[..]].concat());
    assert!(
        line.starts_with("rrto-gpud relay listening on 127.0.0.1:") && line.ends_with(" (rooms 1)\n"),
        "{line}"
    );
    let address = format!("relay://{at}/room");
    let serve = ["--device", "cpu", "--certs", dir, "--relay", &address];
    let (server, _, _) = spawn(&[&serve, &common[..]].concat());
    let program = Program::connect(&address, certificates.path(), Mode::Replay).unwrap();
    let buffer = program.alloc(1000);
    exchange(&program, buffer, 0, 1000);
    drop(program);
    let logs = [end(server), end(relay)];
    assert!(logs[0].contains("clients can connect through the relay"), "{}", logs[0]);
    assert!(logs[1].contains("a server has come") && logs[1].contains("the server has left"), "{}", logs[1]);
    let secret = std::fs::read_to_string(format!("{rooms}/room.key")).unwrap();
    assert!(logs.iter().all(|log| !log.contains(secret.trim())));
}
