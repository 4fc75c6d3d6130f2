//! Every reason why there is no link, made to happen, and what it is called: one cause, one thing to do, and never another cause.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code: a failure is a panic")]

mod namespace;

use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, date_time_ymd};
use rrto_core::engine::{ClientLimits, ServerLimits};
use rrto_core::wire::{Hello, Mode, Refusal};
use rrto_quic::{
    Admission, Coding, Congestion, ConnectError, Credentials, Date, Gate, Link, LinkConfig, Listener,
    ProgramMemory, Role, SERVER_NAME, ServeConfig,
};
use tempfile::TempDir;

struct Nothing;

impl ProgramMemory for Nothing {
    fn deliver(&self, _: u64, _: u64, _: &[u8]) {}
}

/// Turns everybody away, once it is let.
struct Closed(Mutex<Receiver<()>>);

impl Gate for Closed {
    fn admit(&self, _: &str, _: SocketAddr, _: &Hello) -> Result<Admission, Refusal> {
        let _ = self.0.lock().unwrap().recv();
        Err(Refusal::Full { limit: 1 })
    }
}

/// One authority's files, and what is made with its key.
struct Certificates(TempDir);

impl Certificates {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        rrto_certs::create_all(dir.path(), &["localhost"], &["robot"]).unwrap();
        Certificates(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn of(&self, role: Role) -> Credentials {
        let files = rrto_certs::Files::new(self.0.path());
        let identity = if role == Role::Server { files.server() } else { files.robot("robot") };
        Credentials {
            ca: files.authority().certificate,
            certificate: identity.certificate,
            key: identity.key,
        }
    }

    /// The same, but valid from 1 January of one year to that of another.
    fn valid(&self, role: Role, (from, until): (i32, i32)) -> Credentials {
        let read = |path: PathBuf| std::fs::read_to_string(path).unwrap();
        let key = KeyPair::from_pem(&read(self.path("ca.key"))).unwrap();
        let issuer = Issuer::from_ca_cert_pem(&read(self.path("ca.pem")), key).unwrap();
        let mut params = CertificateParams::new([SERVER_NAME.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "robot");
        params.extended_key_usages = vec![match role {
            Role::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Role::Robot => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        let [certificate, key_path] =
            ["pem", "key"].map(|end| self.path(&format!("{role:?}-{from}-{until}.{end}")));
        std::fs::write(&certificate, params.signed_by(&key, &issuer).unwrap().pem()).unwrap();
        std::fs::write(&key_path, key.serialize_pem()).unwrap();
        std::fs::set_permissions(&key_path, std::fs::Permissions::from_mode(0o600)).unwrap();
        Credentials { certificate, key: key_path, ..self.of(role) }
    }
}

fn serve(credentials: Credentials) -> Result<(SocketAddr, tokio::runtime::Runtime), String> {
    let (ready, waits) = channel();
    drop(ready);
    serve_with(credentials, Closed(Mutex::new(waits)))
}

fn serve_with(
    credentials: Credentials,
    gate: Closed,
) -> Result<(SocketAddr, tokio::runtime::Runtime), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let config = ServeConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        credentials,
        limits: ServerLimits::default(),
        idle_timeout: Duration::from_secs(5),
        congestion: Congestion::default(),
        grace: Duration::from_secs(10),
        max_waiting: 8,
        max_connections: 16,
        coding: Coding::Off,
    };
    let entered = runtime.enter();
    let listener = Listener::bind(config).map_err(|error| error.to_string())?;
    let address = listener.local_addr();
    runtime.spawn(listener.serve(Arc::new(gate), std::future::pending()));
    drop(entered);
    Ok((address, runtime))
}

fn error(server: impl ToString, credentials: Credentials) -> ConnectError {
    let config = LinkConfig {
        server: server.to_string(),
        credentials,
        mode: Mode::Pipeline,
        program: "test".into(),
        limits: ClientLimits::default(),
        connect_timeout: Duration::from_secs(2),
        silence_timeout: Duration::from_secs(5),
        coding: Coding::Off,
        congestion: Congestion::default(),
        tap: None,
    };
    Link::connect(config, Arc::new(Nothing)).err().unwrap()
}

/// Words each of which belongs to some causes only; a message has those of its own and none besides.
const TELLING: [&str; 15] = [
    "there is no ",
    "is not the key of",
    "is not of the authority of",
    "was made for something else",
    "set the clock",
    "has expired on",
    "is of another authority",
    "no rrto-gpud that",
    "nothing listens",
    "no answer",
    "has no way to",
    "cannot find the address",
    "is no address",
    "has not said in time",
    "the server is full",
];

/// Asserts that `error` says this, names these, and nothing of any other cause; in one line, which its sources do not repeat.
fn says(error: &(dyn std::error::Error + 'static), telling: &str, names: &[&str]) {
    let text = error.to_string();
    let told: Vec<_> = TELLING.into_iter().filter(|words| text.contains(words)).collect();
    assert_eq!(told, [telling], "{text}");
    for name in names {
        assert!(text.contains(name), "{name} is missing: {text}");
    }
    assert!(!text.contains('\n') && text.len() < 500, "{text}");
    let chain: Vec<_> =
        std::iter::successors(error.source(), |error| error.source()).map(ToString::to_string).collect();
    assert!(chain.iter().all(|source| !text.contains(source.as_str())), "{text}: {chain:?}");
}

#[test]
fn files_that_are_not_good_are_told_before_anything_is_sent() {
    let (ours, others) = (Certificates::new(), Certificates::new());
    // Whoever sent something would be told that nothing listens there, or nothing at all.
    let nowhere = "127.0.0.1:9";
    let (robot, other) = (ours.of(Role::Robot), others.of(Role::Robot));
    let missing = ours.path("robots/none.pem");
    let table = [
        (Credentials { certificate: missing, ..robot.clone() }, "there is no ", vec!["none.pem", "bring it"]),
        (
            Credentials { key: other.key.clone(), ..robot.clone() },
            "is not the key of",
            vec!["robot.key", "robot.pem"],
        ),
        (Credentials { ca: other.ca.clone(), ..robot.clone() }, "is not of the authority of", vec!["ca.pem"]),
        (
            Credentials { ca: robot.ca.clone(), ..ours.of(Role::Server) },
            "was made for something else",
            vec!["robots/NAME.pem"],
        ),
        (ours.valid(Role::Robot, (2001, 2002)), "has expired on", vec!["2002-01-01 00:00 UTC", "--add-"]),
        (ours.valid(Role::Robot, (2101, 2102)), "set the clock", vec!["2101-01-01 00:00 UTC"]),
    ];
    for (credentials, telling, names) in table {
        let checked = credentials.check(Role::Robot, Date::now()).unwrap_err();
        says(&checked, telling, &names);
        assert_eq!(error(nowhere, credentials).to_string(), checked.to_string());
    }
    let now = Date::now().to_string();
    let expired =
        ours.valid(Role::Robot, (2001, 2002)).check(Role::Robot, Date::now()).unwrap_err().to_string();
    assert!(expired.contains(now.split(' ').next().unwrap()), "the clock's date is told: {expired}");
    // A damaged file is what it is.
    std::fs::write(ours.path("robots/robot.key"), "nonsense").unwrap();
    let text = robot.check(Role::Robot, Date::now()).unwrap_err().to_string();
    assert!(text.contains("holds no usable private key"), "{text}");
}

#[test]
fn a_server_does_not_start_with_files_that_do_not_fit_each_other() {
    let (ours, others) = (Certificates::new(), Certificates::new());
    let (server, other) = (ours.of(Role::Server), others.of(Role::Server));
    let refusal = |credentials| serve(credentials).err().unwrap();
    assert!(refusal(Credentials { key: other.key.clone(), ..server.clone() }).contains("is not the key of"));
    assert!(refusal(Credentials { ca: other.ca, ..server.clone() }).contains("is not of the authority of"));
    assert!(refusal(Credentials { ca: server.ca, ..ours.of(Role::Robot) }).contains("take server.pem"));
}

#[test]
fn a_server_s_certificate_is_told_with_its_dates() {
    let (ours, others) = (Certificates::new(), Certificates::new());
    for (credentials, telling, name) in [
        (ours.valid(Role::Server, (2001, 2002)), "has expired on", "2002-01-01"),
        (ours.valid(Role::Server, (2101, 2102)), "set the clock", "2101-01-01"),
        (others.of(Role::Server), "is not of the authority of", "ca.pem"),
    ] {
        let (address, _serving) = serve(credentials).unwrap();
        let error = error(address, ours.of(Role::Robot));
        assert!(matches!(error, ConnectError::ServerCertificate { .. }), "{error}");
        says(&error, telling, &[name, &address.to_string()]);
    }
}

#[test]
fn a_robot_that_the_server_s_authority_has_not_signed_is_told_so() {
    let (ours, others) = (Certificates::new(), Certificates::new());
    let (address, _serving) = serve(ours.of(Role::Server)).unwrap();
    // It trusts both, so that its own files fit each other and the server is accepted.
    let robot = others.of(Role::Robot);
    let both =
        [&robot.ca, &ours.of(Role::Robot).ca].map(|path| std::fs::read_to_string(path).unwrap()).concat();
    let ca = others.path("both.pem");
    std::fs::write(&ca, both).unwrap();
    let error = error(address, Credentials { ca, ..robot });
    assert!(matches!(error, ConnectError::RobotCertificate { .. }), "{error}");
    says(&error, "is of another authority", &["robot.pem"]);
}

#[test]
fn who_else_answers_is_told_from_a_server_whose_certificate_is_bad() {
    let ours = Certificates::new();
    let pem = |path: &Path| std::fs::read(path).unwrap();
    let server = ours.of(Role::Server);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _entered = runtime.enter();
    use rustls::pki_types::pem::PemObject;
    let certificate = rustls::pki_types::CertificateDer::from_pem_slice(&pem(&server.certificate)).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::from_pem_slice(&pem(&server.key)).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let crypto = quinn::crypto::rustls::QuicServerConfig::try_from(tls).unwrap();
    let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    let endpoint = quinn::Endpoint::server(config, ([127, 0, 0, 1], 0).into()).unwrap();
    let address = endpoint.local_addr().unwrap();
    runtime.spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            let _ = incoming.await;
        }
    });
    says(&error(address, ours.of(Role::Robot)), "no rrto-gpud that", &[&address.to_string()]);
}

#[test]
fn silence_a_closed_port_and_a_server_that_hesitates_are_three_things() {
    let ours = Certificates::new();
    let robot = || ours.of(Role::Robot);
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    says(&error(address, robot()), "no answer", &[&address.to_string()]);
    drop(silent);
    says(&error(address, robot()), "nothing listens", &[&address.to_string()]);
    let (let_go, hesitates) = channel();
    let (address, _serving) = serve_with(ours.of(Role::Server), Closed(Mutex::new(hesitates))).unwrap();
    says(&error(address, robot()), "has not said in time", &[&address.to_string()]);
    drop(let_go);
    says(&error(address, robot()), "the server is full", &[&address.to_string()]);
}

#[test]
fn an_address_that_means_nothing_is_told() {
    let robot = Certificates::new();
    says(&error("fd00::1:7786", robot.of(Role::Robot)), "is no address", &["in brackets"]);
    says(
        &error("[fe80::1%no-such]:7786", robot.of(Role::Robot)),
        "cannot find the address",
        &["interface no-such"],
    );
}

#[test]
fn a_relay_s_secret_that_is_missing_and_a_relay_that_is_not_there_are_told() {
    let ours = Certificates::new();
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let relay = format!("relay://{closed}/lobby");
    says(&error(&relay, ours.of(Role::Robot)), "there is no ", &["rooms/lobby.key", "bring it"]);
    rrto_certs::add_room(ours.0.path(), "lobby").unwrap();
    says(&error(&relay, ours.of(Role::Robot)), "nothing listens", &["rrto-gpud relay", &relay]);
}

#[test]
fn a_machine_without_a_network_is_told_so() {
    if !namespace::is_inside("a_machine_without_a_network_is_told_so") {
        return;
    }
    let ours = Certificates::new();
    says(&error("10.1.2.3:7786", ours.of(Role::Robot)), "has no way to", &["10.1.2.3:7786", "network"]);
}
