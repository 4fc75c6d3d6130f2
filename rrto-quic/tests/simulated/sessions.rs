//! Servers whose devices can be looked at, robots whose datagrams can, and a program whose results show every operator that was
//! lost or executed twice.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use std::{fmt, io};

use bytes::Bytes;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Runtime, UdpPoller};
use rrto_core::engine::{Ready, ServerLimits, Work};
use rrto_core::operator::{Handle, Operator, Value};
use rrto_core::testing::{Device, FakeDevice, Manner, kernel, launch};
use rrto_core::wire::{DeviceInfo, Hello, Mode, Refusal, Welcome};
use rrto_quic::testing::{Host, Network};
use rrto_quic::{
    Admission, AsyncLink, ClosedPorts, Coding, Congestion, Gate, LinkConfig, Listener, Next, ProgramMemory,
    ServeConfig, Session, Submission, System,
};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::certificates::credentials;
use crate::harness::config;

const DEVICE_BYTES: usize = 256 << 10;
const STREAM: Handle = Handle::LEGACY_STREAM;

/// A server that was started.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// Sessions that are over: why, and their devices.
    pub(crate) over: Arc<Mutex<Vec<(String, FakeDevice)>>>,
    /// Numbers that were executed, of all sessions, as they were.
    pub(crate) executed: Arc<Mutex<Vec<u64>>>,
    /// Sessions that began.
    pub(crate) begun: Arc<Mutex<u32>>,
    /// Where the robots of those were.
    pub(crate) peers: Arc<Mutex<Vec<SocketAddr>>>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
    pub(crate) system: Wiretap,
}

struct DeviceGate(mpsc::UnboundedSender<Session>);

impl Gate for DeviceGate {
    fn admit(&self, _: &str, _: SocketAddr, _: &Hello) -> Result<Admission, Refusal> {
        let device = DeviceInfo { name: "fake".into(), ..DeviceInfo::default() };
        let welcome = Welcome { session: 0, server_version: "test".into(), device };
        let sessions = self.0.clone();
        let run = Box::new(move |session| drop(sessions.send(session)));
        Ok(Admission { welcome, run })
    }
}

impl Server {
    pub(crate) fn start(host: &Host) -> Server {
        Server::start_with(host, Duration::from_secs(10), 100)
    }

    pub(crate) fn start_with(host: &Host, grace: Duration, max_connections: u32) -> Server {
        Server::start_on(host, (grace, max_connections), DEVICE_BYTES)
    }

    /// Its devices have so much memory.
    pub(crate) fn start_with_device(host: &Host, device_bytes: usize) -> Server {
        Server::start_on(host, (Duration::from_secs(10), 100), device_bytes)
    }

    fn start_on(host: &Host, (grace, max_connections): (Duration, u32), device_bytes: usize) -> Server {
        let config = ServeConfig {
            listen: ([0, 0, 0, 0], 4433).into(),
            credentials: credentials(true),
            limits: ServerLimits::default(),
            idle_timeout: Duration::from_secs(10),
            congestion: Congestion::default(),
            grace,
            max_waiting: 2,
            max_connections,
            coding: Coding::Off,
        };
        let system = Wiretap::new(host.clone());
        let listener = Listener::bind_on(Arc::new(system.clone()), config).unwrap();
        let address = listener.local_addr();
        let (sessions, mut admitted) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel();
        let shutdown = async {
            let _ = stopped.await;
        };
        let task = tokio::spawn(listener.serve(Arc::new(DeviceGate(sessions)), shutdown));
        let server = Server {
            address,
            over: Arc::default(),
            executed: Arc::default(),
            begun: Arc::default(),
            peers: Arc::default(),
            stop: Some(stop),
            task,
            system,
        };
        let (over, executed, begun) = (server.over.clone(), server.executed.clone(), server.begun.clone());
        let peers = server.peers.clone();
        tokio::spawn(async move {
            while let Some(session) = admitted.recv().await {
                *begun.lock().unwrap() += 1;
                peers.lock().unwrap().push(session.peer());
                let device = FakeDevice::new(device_bytes);
                tokio::spawn(execute((session, device), over.clone(), executed.clone()));
            }
        });
        server
    }

    /// It ends as a process does that is killed: nobody is told.
    pub(crate) fn kill(self) {
        self.task.abort();
        self.system.kill();
    }

    /// It ends as one should.
    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        let _ = self.task.await;
    }
}

async fn execute(
    (session, mut device): (Session, FakeDevice),
    over: Arc<Mutex<Vec<(String, FakeDevice)>>>,
    executed: Arc<Mutex<Vec<u64>>>,
) {
    loop {
        match session.next_async(Duration::from_secs(60)).await {
            Next::Ready(Work::Operator(ready)) => {
                executed.lock().unwrap().push(ready.number);
                session.finish(ready.number, device.execute(&ready));
            }
            Next::Ready(Work::Span { first, sequence, span }) => {
                executed.lock().unwrap().extend(first..first + u64::from(span.count));
                for (number, error) in device.execute_span(first, &sequence, &span) {
                    session.finish(number, Err(error));
                }
            }
            Next::Ready(Work::Retire(_)) | Next::Idle => {}
            Next::Over(reason) => {
                over.lock().unwrap().push((reason, device));
                return;
            }
        }
    }
}

/// What is delivered, by operator number and offset.
#[derive(Default)]
pub(crate) struct Memory(Mutex<HashMap<u64, Vec<u8>>>);

impl Memory {
    pub(crate) fn take(&self, number: u64) -> Vec<u8> {
        self.0.lock().unwrap().remove(&number).unwrap()
    }
}

impl ProgramMemory for Memory {
    fn deliver(&self, number: u64, offset: u64, bytes: &[u8]) {
        let mut memory = self.0.lock().unwrap();
        let buffer = memory.entry(number).or_default();
        let (start, end) = (offset as usize, offset as usize + bytes.len());
        buffer.resize(buffer.len().max(end), 0);
        buffer[start..end].copy_from_slice(bytes);
    }
}

/// A program, and the device that it would have if it were alone with it.
pub(crate) struct Program {
    pub(crate) link: AsyncLink,
    memory: Arc<Memory>,
    expected: FakeDevice,
    round: u8,
}

impl Program {
    pub(crate) async fn start(system: Arc<dyn System>, config: LinkConfig) -> Program {
        let memory = Arc::new(Memory::default());
        let link = AsyncLink::connect(system, config, memory.clone()).await.unwrap();
        Program { link, memory, expected: FakeDevice::new(DEVICE_BYTES), round: 0 }
    }

    /// A bulk input, some kernels, and a bulk output, which depends on everything before. Gives how long it took.
    pub(crate) async fn infer(&mut self) -> Duration {
        self.round = self.round.wrapping_add(1);
        let start = Instant::now();
        let copy = Operator::CopyIn { dst: 0, bytes: 20_000, stream: STREAM };
        self.submit(copy, Some(vec![self.round; 20_000].into())).await;
        for at in 0..12 {
            let mixes = kernel(at * 300, 100_000 - at * 500, 100, Manner::Mixes);
            self.submit(launch(at % 5, STREAM, mixes), None).await;
        }
        self.submit(launch(7, STREAM, kernel(100_000, 0, 250, Manner::Mixes)), None).await;
        let out = Operator::CopyOut { src: 95_000, bytes: 6000, stream: STREAM };
        let expected = self.expected.execute(&ready(0, &out, None));
        let Submission::Awaits(number) = self.link.submit(0, out, None, |_| {}).await else {
            panic!("a copy out is awaited: {:?}", self.link.lost())
        };
        assert_eq!(self.link.wait(number).await, Ok(Value::None), "{:?}", self.link.lost());
        let took = start.elapsed();
        assert_eq!(expected, Ok(Value::Payload(self.memory.take(number).into())));
        took
    }

    /// Some kernels, and a wait for them: all of it fits into the first flight of a connection.
    pub(crate) async fn compute(&mut self) -> Duration {
        let start = Instant::now();
        for at in 0..4 {
            self.submit(launch(at, STREAM, kernel(at * 900, 100_000, 200, Manner::Mixes)), None).await;
        }
        self.ask().await;
        start.elapsed()
    }

    async fn submit(&mut self, operator: Operator, payload: Option<Bytes>) {
        assert!(self.expected.execute(&ready(0, &operator, payload.as_ref())).is_ok());
        let submission = self.link.submit(0, operator, payload, |_| {}).await;
        assert_eq!(submission, Submission::Queued, "{:?}", self.link.lost());
    }

    /// Asks the server something and waits for its answer.
    pub(crate) async fn ask(&self) -> Duration {
        let start = Instant::now();
        assert_eq!(
            self.link.call(0, Operator::MemGetInfo, None).await,
            Ok(Value::None),
            "{:?}",
            self.link.lost()
        );
        start.elapsed()
    }

    /// Ends, and compares everything with what should have come of it.
    pub(crate) async fn end(self, server: &Server) {
        self.link.close(Duration::from_secs(5)).await;
        while server.over.lock().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let executed = server.executed.lock().unwrap();
        let unique: Vec<u64> = (1..=executed.len() as u64).collect();
        let operators = self.link.statistics().operators;
        if operators == executed.len() as u64 {
            assert_eq!(*executed, unique, "each once, in order");
        } else {
            // Definitions of sequences have numbers and are not executed.
            assert!(executed.is_sorted_by(|one, next| one < next), "each once, in order");
        }
        assert!(server.over.lock().unwrap()[0].1.memory == self.expected.memory, "device memory");
    }
}

fn ready(number: u64, operator: &Operator, payload: Option<&Bytes>) -> Ready {
    let payload = payload.cloned().map(Into::into);
    Ready { number, lane: 0, wants_answer: true, operator: operator.clone(), payload }
}

/// A config that waits long.
pub(crate) fn patient(server: SocketAddr, mode: Mode) -> LinkConfig {
    LinkConfig { mode, silence_timeout: Duration::from_secs(10), ..config(server) }
}

/// A robot whose datagrams are kept.
#[derive(Clone, Debug)]
pub(crate) struct Wiretap {
    pub(crate) host: Host,
    sent: Arc<Mutex<Vec<(Instant, Bytes)>>>,
    muted: Arc<AtomicBool>,
    sockets: Arc<Mutex<Vec<Arc<Tapped>>>>,
    /// Takes what hosts report, of the latest socket.
    reports: Arc<Mutex<Option<mpsc::Sender<SocketAddr>>>>,
}

/// While it lives, nothing of connections gets through but what begins them, and what comes together with it.
pub(crate) struct Mute(Arc<AtomicBool>);

impl Drop for Mute {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Wiretap {
    pub(crate) fn new(host: Host) -> Self {
        Wiretap {
            host,
            sent: Arc::default(),
            muted: Arc::default(),
            sockets: Arc::default(),
            reports: Arc::default(),
        }
    }

    /// The connection that there is gets nothing through any more, and neither does any other, until it is dropped, once its
    /// handshake is over: they have short headers then.
    pub(crate) fn mute_short_headers(&self) -> Mute {
        self.muted.store(true, Ordering::Relaxed);
        Mute(self.muted.clone())
    }

    /// Somebody says that nobody is at `address`.
    pub(crate) fn report(&self, address: SocketAddr) {
        // One too many is no loss.
        let _ = self.reports.lock().unwrap().as_ref().map(|reports| reports.try_send(address));
    }

    /// Its sockets are gone, as those of a process are that was killed; what has them does not know.
    pub(crate) fn kill(&self) {
        self.sockets.lock().unwrap().drain(..).for_each(|tapped| drop(tapped.socket.lock().unwrap().take()));
    }

    /// Those since then.
    pub(crate) fn since(&self, start: Instant) -> Vec<(Instant, Bytes)> {
        self.sent.lock().unwrap().iter().filter(|(at, _)| *at >= start).cloned().collect()
    }
}

/// Whether a datagram begins a connection: a long header of the type Initial (RFC 9000, section 17.2; RFC 9287
/// lets the second bit be anything).
pub(crate) fn is_initial(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|byte| byte & 0xb0 == 0x80)
}

impl System for Wiretap {
    fn bind(&self, address: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let socket = self.host.bind(address)?;
        let address = socket.local_addr()?;
        let tapped = Arc::new(Tapped { socket: Mutex::new(Some(socket)), address, tap: self.clone() });
        self.sockets.lock().unwrap().push(tapped.clone());
        Ok(tapped)
    }

    fn bind_watched(&self, address: SocketAddr) -> io::Result<(Arc<dyn AsyncUdpSocket>, ClosedPorts)> {
        let (reports, closed) = mpsc::channel(16);
        *self.reports.lock().unwrap() = Some(reports);
        Ok((self.bind(address)?, ClosedPorts::from_channel(closed)))
    }

    fn runtime(&self) -> Arc<dyn Runtime> {
        self.host.runtime()
    }

    fn datagram_bytes(&self, peer: SocketAddr) -> io::Result<u16> {
        self.host.datagram_bytes(peer)
    }

    fn start(&self, name: String, work: Box<dyn FnOnce() + Send>) -> io::Result<()> {
        self.host.start(name, work)
    }

    fn seed(&self) -> Option<[u8; 32]> {
        self.host.seed()
    }
}

struct Tapped {
    socket: Mutex<Option<Arc<dyn AsyncUdpSocket>>>,
    address: SocketAddr,
    tap: Wiretap,
}

impl fmt::Debug for Tapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tapped").finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncUdpSocket for Tapped {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let segment = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        let datagrams = transmit.contents.chunks(segment).map(Bytes::copy_from_slice);
        self.tap.sent.lock().unwrap().extend(datagrams.map(|datagram| (Instant::now(), datagram)));
        let is_short = transmit.contents.first().is_some_and(|byte| byte & 0x80 == 0);
        if is_short && self.tap.muted.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.socket.lock().unwrap().as_ref().map_or(Ok(()), |socket| socket.try_send(transmit))
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [io::IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let socket = self.socket.lock().unwrap();
        socket.as_ref().map_or(Poll::Pending, |socket| socket.poll_recv(cx, bufs, meta))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }

    fn max_transmit_segments(&self) -> usize {
        10
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

/// Sends datagrams from an address of its own, in their order.
pub(crate) async fn replay(attacker: &Host, server: SocketAddr, datagrams: &[Bytes]) {
    let socket = attacker.bind(([0, 0, 0, 0], 0).into()).unwrap();
    for datagram in datagrams {
        let transmit =
            Transmit { destination: server, ecn: None, contents: datagram, segment_size: None, src_ip: None };
        socket.try_send(&transmit).unwrap();
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
}

/// Runs `work` while `beside` runs.
pub(crate) async fn beside<T>(work: impl Future<Output = T>, beside: impl Future<Output = ()>) -> T {
    let forever = async {
        beside.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        done = work => done,
        () = forever => panic!("it never ends"),
    }
}

/// A robot on a network of its own.
pub(crate) fn robot(network: &Network, params: rrto_core::testing::link::Params) -> Host {
    network.robot(crate::harness::symmetric(network, params))
}
