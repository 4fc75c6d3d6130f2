//! A robot and a server of this crate on a simulated network, with the fake device behind the server.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rrto_core::engine::{ClientLimits, ServerLimits, Work};
use rrto_core::testing::link::{Params, Timeline};
use rrto_core::testing::{Device, FakeDevice};
use rrto_core::wire::{DeviceInfo, Hello, Mode, Refusal, Welcome};
use rrto_quic::testing::{Host, Network, Path};
use rrto_quic::{
    Admission, AsyncLink, Coding, Congestion, ConnectError, Gate, LinkConfig, Listener, Next, ProgramMemory,
    ServeConfig, Session,
};
use tokio::sync::mpsc;

use crate::certificates::credentials;

/// The address space of a fake device, bytes.
const DEVICE_BYTES: usize = 4 << 20;

/// A link whose two directions are alike.
pub(crate) fn symmetric(network: &Network, params: Params) -> Path {
    let timeline = Timeline::constant(params).unwrap();
    network.path(timeline.clone(), timeline)
}

/// Hands its sessions on to tasks, which execute them on fake devices.
struct FakeGate(mpsc::UnboundedSender<Session>);

impl Gate for FakeGate {
    fn admit(&self, _: &str, _: SocketAddr, _: &Hello) -> Result<Admission, Refusal> {
        let device = DeviceInfo { name: "fake".into(), ..DeviceInfo::default() };
        let welcome = Welcome { session: 0, server_version: "test".into(), device };
        let sessions = self.0.clone();
        Ok(Admission {
            welcome,
            run: Box::new(move |session| {
                let _ = sessions.send(session);
            }),
        })
    }
}

async fn execute(session: Session) {
    let mut device = FakeDevice::new(DEVICE_BYTES);
    loop {
        match session.next_async(Duration::from_secs(60)).await {
            Next::Ready(Work::Operator(ready)) => session.finish(ready.number, device.execute(&ready)),
            Next::Ready(Work::Span { first, sequence, span }) => {
                for (number, error) in device.execute_span(first, &sequence, &span) {
                    session.finish(number, Err(error));
                }
            }
            Next::Ready(Work::Retire(_)) | Next::Idle => {}
            Next::Over(_) => return,
        }
    }
}

/// Starts a server that admits everybody; gives its address.
pub(crate) fn serve(network: &Network) -> SocketAddr {
    let config = ServeConfig {
        listen: ([0, 0, 0, 0], 4433).into(),
        credentials: credentials(true),
        limits: ServerLimits::default(),
        idle_timeout: Duration::from_secs(30),
        congestion: Congestion::default(),
        grace: Duration::from_secs(10),
        max_waiting: 8,
        max_connections: 1000,
        // What payloads take on the link is what is looked at.
        coding: Coding::Off,
    };
    let listener = Listener::bind_on(Arc::new(network.server()), config).unwrap();
    let address = listener.local_addr();
    let (sessions, mut admitted) = mpsc::unbounded_channel();
    tokio::spawn(listener.serve(Arc::new(FakeGate(sessions)), std::future::pending()));
    tokio::spawn(async move {
        while let Some(session) = admitted.recv().await {
            tokio::spawn(execute(session));
        }
    });
    address
}

/// Keeps what is delivered, by operator number.
#[derive(Default)]
pub(crate) struct Memory(Mutex<HashMap<u64, Vec<u8>>>);

impl ProgramMemory for Memory {
    fn deliver(&self, number: u64, offset: u64, bytes: &[u8]) {
        let mut memory = self.0.lock().unwrap();
        let buffer = memory.entry(number).or_default();
        assert_eq!(buffer.len() as u64, offset);
        buffer.extend_from_slice(bytes);
    }
}

pub(crate) fn config(server: SocketAddr) -> LinkConfig {
    LinkConfig {
        server: server.to_string(),
        credentials: credentials(false),
        mode: Mode::Pipeline,
        program: "test".into(),
        limits: ClientLimits::default(),
        connect_timeout: Duration::from_secs(20),
        silence_timeout: Duration::from_secs(30),
        coding: Coding::Off,
        congestion: Congestion::default(),
        tap: None,
    }
}

pub(crate) async fn connect(robot: &Host, server: SocketAddr) -> Result<AsyncLink, ConnectError> {
    AsyncLink::connect(Arc::new(robot.clone()), config(server), Arc::new(Memory::default())).await
}
