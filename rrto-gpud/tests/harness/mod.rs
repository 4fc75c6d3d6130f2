//! A server in this process, and programs that use it.
#![allow(dead_code, reason = "each test program uses its part")]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use rrto_core::engine::{ClientLimits, ServerLimits};
use rrto_core::operator::{Handle, Operator, Outcome, Value};
use rrto_core::wire::Mode;
use rrto_gpud::device::Limits;
use rrto_gpud::device::cpu::CpuDevice;
use rrto_gpud::gate::{Gate, Quota};
use rrto_quic::{
    Coding, Congestion, ConnectError, Credentials, Link, LinkConfig, Listener, ProgramMemory, ServeConfig,
    ServeError, Submission,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Everything here is done in milliseconds; a machine that is busy with other things gets this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// An authority with a server and a robot named `robot`.
pub(crate) fn certificates() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    rrto_certs::create_all(dir.path(), &["localhost"], &["robot"]).unwrap();
    dir
}

pub(crate) fn robot_credentials(certificates: &Path) -> Credentials {
    credentials_of("robot", certificates)
}

fn credentials_of(robot: &str, certificates: &Path) -> Credentials {
    let files = rrto_certs::Files::new(certificates);
    let robot = files.robot(robot);
    Credentials { ca: files.authority().certificate, certificate: robot.certificate, key: robot.key }
}

/// A server of the software GPU on a free port of loopback.
pub(crate) struct Server {
    pub(crate) gate: Arc<Gate>,
    pub(crate) address: SocketAddr,
    pub(crate) certificates: TempDir,
    _runtime: Runtime,
}

impl Server {
    pub(crate) fn start(max_sessions: u32, limits: Limits, idle_timeout: Duration) -> Self {
        Self::start_on(certificates(), max_sessions, limits, idle_timeout, Listener::bind)
    }

    /// With these certificates, and listening as `listen` says.
    pub(crate) fn start_on(
        certificates: TempDir,
        max_sessions: u32,
        limits: Limits,
        idle_timeout: Duration,
        listen: impl FnOnce(ServeConfig) -> Result<Listener, ServeError>,
    ) -> Self {
        let files = rrto_certs::Files::new(certificates.path());
        let server = files.server();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let _inside = runtime.enter();
        let listener = listen(ServeConfig {
            listen: ([127, 0, 0, 1], 0).into(),
            credentials: Credentials {
                ca: files.authority().certificate,
                certificate: server.certificate,
                key: server.key,
            },
            limits: ServerLimits::default(),
            idle_timeout,
            congestion: Congestion::default(),
            grace: idle_timeout,
            max_waiting: 8,
            max_connections: 64,
            coding: Coding::Auto,
        })
        .unwrap();
        let address = listener.local_addr();
        // There is one robot.
        let quota = Quota { sessions: max_sessions, of_a_robot: Some(max_sessions) };
        let gate = Arc::new(Gate::new(Arc::new(CpuDevice::new().unwrap()), limits, quota));
        runtime.spawn(listener.serve(Arc::clone(&gate) as Arc<dyn rrto_quic::Gate>, std::future::pending()));
        drop(_inside);
        Server { gate, address, certificates, _runtime: runtime }
    }

    pub(crate) fn with_sessions(max_sessions: u32) -> Self {
        Self::start(max_sessions, Limits::default(), PATIENCE)
    }

    pub(crate) fn connect(&self) -> Result<Program, ConnectError> {
        Program::connect(self.address, self.certificates.path(), Mode::Pipeline)
    }
}

/// A connected program.
pub(crate) struct Program {
    pub(crate) link: Link,
    delivered: Arc<Delivered>,
}

/// Bytes that copies out brought, by operator number.
#[derive(Default)]
struct Delivered(Mutex<HashMap<u64, Vec<u8>>>);

impl ProgramMemory for Delivered {
    fn deliver(&self, number: u64, offset: u64, bytes: &[u8]) {
        let mut delivered = self.0.lock().unwrap();
        let buffer = delivered.entry(number).or_default();
        assert_eq!(buffer.len() as u64, offset);
        buffer.extend_from_slice(bytes);
    }
}

impl Program {
    pub(crate) fn connect(
        server: impl ToString,
        certificates: &Path,
        mode: Mode,
    ) -> Result<Self, ConnectError> {
        Self::connect_as("robot", server, certificates, mode)
    }

    pub(crate) fn connect_as(
        robot: &str,
        server: impl ToString,
        certificates: &Path,
        mode: Mode,
    ) -> Result<Self, ConnectError> {
        let config = LinkConfig {
            server: server.to_string(),
            credentials: credentials_of(robot, certificates),
            mode,
            program: "test".to_owned(),
            limits: ClientLimits::default(),
            connect_timeout: PATIENCE,
            silence_timeout: PATIENCE,
            coding: Coding::Auto,
            congestion: Congestion::default(),
            tap: None,
        };
        let delivered = Arc::new(Delivered::default());
        Link::connect(config, Arc::clone(&delivered) as Arc<dyn ProgramMemory>)
            .map(|link| Program { link, delivered })
    }

    pub(crate) fn call(&self, operator: Operator) -> Outcome {
        self.link.call(0, operator, None)
    }

    pub(crate) fn alloc(&self, bytes: u64) -> u64 {
        match self.call(Operator::MemAlloc { bytes }) {
            Ok(Value::Address(address)) => address,
            other => panic!("cuMemAlloc answered {other:?}"),
        }
    }

    pub(crate) fn copy_in(&self, dst: u64, data: &[u8]) -> Outcome {
        let operator = Operator::CopyIn { dst, bytes: data.len() as u64, stream: Handle::LEGACY_STREAM };
        self.link.call(0, operator, Some(Bytes::copy_from_slice(data)))
    }

    pub(crate) fn copy_out(&self, src: u64, bytes: u64) -> Vec<u8> {
        let operator = Operator::CopyOut { src, bytes, stream: Handle::LEGACY_STREAM };
        match self.link.submit(0, operator, None, |_| {}) {
            Submission::Awaits(number) => {
                assert_eq!(self.link.wait(number), Ok(Value::None));
                self.delivered.0.lock().unwrap().remove(&number).unwrap_or_default()
            }
            other => panic!("a copy out was {other:?}"),
        }
    }
}
