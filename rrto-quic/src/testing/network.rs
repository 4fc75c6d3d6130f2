//! Who reaches whom, and when: paths, NATs and datagrams on their way.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use quinn::udp::EcnCodepoint;
use rrto_core::testing::link::{Direction, DropReason, HEADER_BYTES, Timeline, Verdict, Way};
use tokio::time::Instant;

use super::clock::{self, Clock};
use super::host::Host;

/// The first address of this network: of those set aside for tests of network devices (RFC 2544).
const FIRST_ADDRESS: u32 = u32::from_be_bytes([198, 18, 0, 1]);

/// The first port that a host or a NAT gives by itself.
const FIRST_PORT: u16 = 1024;

/// What a host without a path has: Ethernet.
const WIRED_MTU_BYTES: u64 = 1500;

/// A network of hosts. Clones are the same network.
#[derive(Clone, Debug)]
pub struct Network {
    pub(super) clock: Arc<Clock>,
    beginning: Arc<OnceLock<Instant>>,
    state: Arc<Mutex<State>>,
    seed: u64,
}

/// A link between one or more robots and everybody else; they share its rate and its queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path(usize);

/// What one direction of a path has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Datagrams sent into it.
    pub sent: u64,
    /// Bytes of them, IP and UDP headers included.
    pub sent_bytes: u64,
    /// Those of them that the queue had no room for.
    pub queue_full: u64,
    /// Those of them that were lost otherwise.
    pub lost: u64,
    /// Bytes of those that arrive, IP and UDP headers included.
    pub bytes: u64,
}

/// One datagram as a socket gets it.
#[derive(Clone, Debug)]
pub(super) struct Datagram {
    pub(super) from: SocketAddr,
    pub(super) contents: Bytes,
    pub(super) ecn: Option<EcnCodepoint>,
}

#[derive(Debug, Default)]
struct State {
    arrivals: BinaryHeap<Reverse<Arrival>>,
    /// Arrivals so far; those of the same time come in this order.
    scheduled: u64,
    paths: Vec<(Direction, Direction, [Counts; 2])>,
    hosts: Vec<HostState>,
    sockets: BTreeMap<usize, SocketState>,
    next_socket: usize,
    /// Where datagrams to an address go.
    inward: HashMap<SocketAddr, Mapping>,
    /// What a robot's socket is seen as by a peer.
    outward: HashMap<(usize, SocketAddr), SocketAddr>,
    next_address: u32,
    next_port: u16,
    nat_timeout: Option<Duration>,
    /// Addresses by HOST:PORT.
    names: HashMap<String, Vec<SocketAddr>>,
}

#[derive(Debug)]
struct HostState {
    address: IpAddr,
    path: Option<Path>,
    /// Moves so far; what was on its way to the host before one is lost.
    moves: u32,
}

#[derive(Debug)]
struct SocketState {
    host: usize,
    address: SocketAddr,
    inbox: VecDeque<Datagram>,
    reader: Option<Waker>,
}

#[derive(Debug)]
struct Mapping {
    socket: usize,
    /// Who alone may send there; `None` for a public address.
    peer: Option<SocketAddr>,
    used: Duration,
}

#[derive(Debug)]
struct Arrival {
    at: Duration,
    order: u64,
    place: Place,
    datagram: Datagram,
}

/// Where a datagram arrives.
#[derive(Debug)]
enum Place {
    /// At the far end of a robot's path, on its way there.
    Far(SocketAddr),
    /// At a socket, if its host has not moved more often.
    Socket(usize, u32),
}

impl Ord for Arrival {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

impl PartialOrd for Arrival {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Arrival {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Arrival {}

impl Network {
    pub(super) fn new(seed: u64) -> Self {
        let state = State { next_address: FIRST_ADDRESS, next_port: FIRST_PORT, ..State::default() };
        Network { clock: Arc::default(), beginning: Arc::default(), state: Arc::new(Mutex::new(state)), seed }
    }

    /// Time begins. Called in the runtime, before anything has moved its clock.
    pub(super) fn start(&self) {
        let _ = self.beginning.set(clock::beginning());
    }

    pub(super) fn beginning(&self) -> Instant {
        *self.beginning.get_or_init(clock::beginning)
    }

    /// The time since the beginning.
    pub fn now(&self) -> Duration {
        Instant::now() - self.beginning()
    }

    /// A path whose directions do what the timelines say.
    pub fn path(&self, up: Timeline, down: Timeline) -> Path {
        let mut state = self.lock();
        // Neighbouring seeds give unrelated randomness.
        let seed = self.seed.wrapping_add((state.paths.len() as u64) << 32);
        let directions = (Direction::new(up, seed, Way::Up), Direction::new(down, seed, Way::Down));
        state.paths.push((directions.0, directions.1, [Counts::default(); 2]));
        Path(state.paths.len() - 1)
    }

    /// A robot: a host behind `path`, and behind a symmetric NAT with a public address of its own.
    pub fn robot(&self, path: Path) -> Host {
        self.host(Some(path))
    }

    /// A host with a public address that everybody reaches in no time, but for their own paths.
    pub fn server(&self) -> Host {
        self.host(None)
    }

    /// From now on NATs forget what has not been used for `timeout`.
    pub fn forget_mappings_after(&self, timeout: Duration) {
        self.lock().nat_timeout = Some(timeout);
    }

    /// From now on `name`, HOST:PORT, means these addresses; none is a name that is not known.
    pub fn name(&self, name: &str, addresses: &[SocketAddr]) {
        self.lock().names.insert(name.to_owned(), addresses.to_owned());
    }

    pub(super) fn resolve(&self, name: &str) -> Option<Vec<SocketAddr>> {
        self.lock().names.get(name).cloned()
    }

    /// Whether `address` is a host's that everybody reaches, and nothing of it listens there.
    pub(super) fn is_closed(&self, address: SocketAddr) -> bool {
        let state = self.lock();
        let is_host = state.hosts.iter().any(|host| host.path.is_none() && host.address == address.ip());
        is_host && !state.inward.contains_key(&address)
    }

    /// What a direction of `path` has done.
    pub fn counts(&self, path: Path, way: Way) -> Counts {
        self.lock().paths.get(path.0).map(|(_, _, counts)| counts[way as usize]).unwrap_or_default()
    }

    /// What waits in a direction's queue, bytes.
    pub fn queued_bytes(&self, path: Path, way: Way) -> u64 {
        let now = self.now();
        let mut state = self.lock();
        let directions = state.paths.get_mut(path.0);
        directions.map_or(0, |(up, down, _)| if way == Way::Up { up } else { down }.queued_bytes(now))
    }

    fn host(&self, path: Option<Path>) -> Host {
        let mut state = self.lock();
        let address = state.new_address();
        state.hosts.push(HostState { address, path, moves: 0 });
        Host::new(self.clone(), state.hosts.len() - 1)
    }

    /// When the next datagram arrives.
    pub(super) fn next_arrival(&self) -> Option<Duration> {
        self.lock().arrivals.peek().map(|Reverse(arrival)| arrival.at)
    }

    /// Hands on what has arrived by now.
    pub(super) fn deliver_due(&self) {
        let now = self.now();
        let mut state = self.lock();
        while state.arrivals.peek().is_some_and(|Reverse(arrival)| arrival.at <= now) {
            let Some(Reverse(arrival)) = state.arrivals.pop() else { return };
            match arrival.place {
                Place::Far(to) => state.cross(now, to, arrival.datagram),
                Place::Socket(socket, moves) => state.receive(socket, moves, arrival.datagram),
            }
        }
    }

    pub(super) fn send(&self, socket: usize, to: SocketAddr, contents: &[u8], ecn: Option<EcnCodepoint>) {
        let now = self.now();
        let mut state = self.lock();
        let earliest = state.arrivals.peek().map(|Reverse(arrival)| arrival.at);
        state.send(now, socket, to, contents, ecn);
        if state.arrivals.peek().map(|Reverse(arrival)| arrival.at) != earliest {
            self.clock.handle_scheduled();
        }
    }

    pub(super) fn poll_receive(&self, socket: usize, cx: &Context<'_>) -> Poll<Datagram> {
        let mut state = self.lock();
        let Some(socket) = state.sockets.get_mut(&socket) else { return Poll::Pending };
        match socket.inbox.pop_front() {
            Some(datagram) => Poll::Ready(datagram),
            None => {
                socket.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// What is already there, without waiting.
    pub(super) fn try_receive(&self, socket: usize) -> Option<Datagram> {
        self.lock().sockets.get_mut(&socket)?.inbox.pop_front()
    }

    pub(super) fn open(&self, host: usize, address: SocketAddr) -> io::Result<(usize, SocketAddr)> {
        let mut state = self.lock();
        let state = &mut *state;
        let Some(place) = state.hosts.get(host) else { return Err(io::ErrorKind::NotFound.into()) };
        let (public, wired) = (place.address, place.path.is_none());
        let port = if address.port() == 0 { state.new_port() } else { address.port() };
        let bound = SocketAddr::new(if address.ip().is_unspecified() { public } else { address.ip() }, port);
        if state.sockets.values().any(|socket| socket.host == host && socket.address.port() == port) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let socket = state.next_socket;
        state.next_socket += 1;
        if wired {
            state.inward.insert(bound, Mapping { socket, peer: None, used: Duration::ZERO });
        }
        let opened = SocketState { host, address: bound, inbox: VecDeque::new(), reader: None };
        state.sockets.insert(socket, opened);
        Ok((socket, bound))
    }

    pub(super) fn close(&self, socket: usize) {
        let mut state = self.lock();
        state.sockets.remove(&socket);
        state.forget(|of| of == socket);
    }

    /// The host's NAT takes new ports for what the host sends from now on, and knows the old ones no longer.
    pub(super) fn rebind(&self, host: usize) {
        let mut state = self.lock();
        state.forget_host(host);
    }

    /// The host comes back elsewhere: on `path` if one is given, with a new public address. What is on its way to the old
    /// one is lost. Sockets of a server listen there.
    pub(super) fn relocate(&self, host: usize, path: Option<Path>) {
        let mut state = self.lock();
        let address = state.new_address();
        state.forget_host(host);
        if let Some(place) = state.hosts.get_mut(host) {
            place.moves += 1;
            place.address = address;
            place.path = path.or(place.path);
            if place.path.is_none() {
                state.listen_at(host, address);
            }
        }
    }

    pub(super) fn address(&self, host: usize) -> Option<IpAddr> {
        self.lock().hosts.get(host).map(|place| place.address)
    }

    /// The longest packet that the host's interface takes, IP header included.
    pub(super) fn mtu_bytes(&self, host: usize) -> u64 {
        let now = self.now();
        let state = self.lock();
        let path = state.hosts.get(host).and_then(|place| state.paths.get(place.path?.0));
        path.map_or(WIRED_MTU_BYTES, |(up, _, _)| up.params(now).mtu_bytes)
    }

    /// For quinn: a seed of its own for the next who asks.
    pub(super) fn seed(&self) -> [u8; 32] {
        let mut seed = [0; 32];
        let mut state = self.lock();
        state.scheduled += 1;
        for (to, from) in
            seed.iter_mut().zip(self.seed.to_le_bytes().into_iter().chain(state.scheduled.to_le_bytes()))
        {
            *to = from;
        }
        seed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn send(
        &mut self,
        now: Duration,
        socket: usize,
        to: SocketAddr,
        contents: &[u8],
        ecn: Option<EcnCodepoint>,
    ) {
        let Some(from) = self.seen_as(now, socket, to) else { return };
        let datagram = Datagram { from, contents: Bytes::copy_from_slice(contents), ecn };
        let path = self.sockets.get(&socket).and_then(|socket| self.hosts.get(socket.host)?.path);
        match path {
            None => self.cross(now, to, datagram),
            Some(path) => {
                if let Some(at) = self.travel(now, path, Way::Up, contents.len()) {
                    self.schedule(at, Place::Far(to), datagram);
                }
            }
        }
    }

    /// The address that `to` sees datagrams of `socket` come from.
    fn seen_as(&mut self, now: Duration, socket: usize, to: SocketAddr) -> Option<SocketAddr> {
        let SocketState { host, address, .. } = self.sockets.get(&socket)?;
        let place = self.hosts.get(*host)?;
        if place.path.is_none() {
            return Some(*address);
        }
        let public = place.address;
        let known = self.outward.get(&(socket, to)).copied().filter(|seen| !self.is_forgotten(now, seen));
        let seen = known.unwrap_or_else(|| SocketAddr::new(public, self.new_port()));
        self.outward.insert((socket, to), seen);
        self.inward.insert(seen, Mapping { socket, peer: Some(to), used: now });
        Some(seen)
    }

    fn is_forgotten(&self, now: Duration, seen: &SocketAddr) -> bool {
        let used = self.inward.get(seen).map(|mapping| mapping.used);
        used.is_none_or(|used| self.nat_timeout.is_some_and(|limit| now - used > limit))
    }

    /// A datagram has reached the place from which everybody can be reached.
    fn cross(&mut self, now: Duration, to: SocketAddr, datagram: Datagram) {
        let Some(mapping) = self.inward.get(&to) else { return };
        let is_public = mapping.peer.is_none();
        if !is_public && (mapping.peer != Some(datagram.from) || self.is_forgotten(now, &to)) {
            return;
        }
        let socket = mapping.socket;
        let Some(place) = self.sockets.get(&socket).and_then(|socket| self.hosts.get(socket.host)) else {
            return;
        };
        let moves = place.moves;
        match place.path {
            None => self.receive(socket, moves, datagram),
            Some(path) => {
                if let Some(at) = self.travel(now, path, Way::Down, datagram.contents.len()) {
                    self.schedule(at, Place::Socket(socket, moves), datagram);
                }
            }
        }
    }

    /// When a datagram that enters `path` now leaves it, if it does.
    fn travel(&mut self, now: Duration, path: Path, way: Way, bytes: usize) -> Option<Duration> {
        let (up, down, counts) = self.paths.get_mut(path.0)?;
        let counts = &mut counts[way as usize];
        counts.sent += 1;
        counts.sent_bytes += (bytes + HEADER_BYTES) as u64;
        match if way == Way::Up { up } else { down }.enqueue(now, bytes) {
            Verdict::Deliver { at } => {
                counts.bytes += (bytes + HEADER_BYTES) as u64;
                return Some(at);
            }
            Verdict::Dropped(DropReason::QueueFull) => counts.queue_full += 1,
            Verdict::Dropped(_) => counts.lost += 1,
        }
        None
    }

    fn schedule(&mut self, at: Duration, place: Place, datagram: Datagram) {
        self.scheduled += 1;
        self.arrivals.push(Reverse(Arrival { at, order: self.scheduled, place, datagram }));
    }

    fn receive(&mut self, socket: usize, moves: u32, datagram: Datagram) {
        let Some(socket) = self.sockets.get_mut(&socket) else { return };
        if self.hosts.get(socket.host).is_none_or(|place| place.moves != moves) {
            return;
        }
        socket.inbox.push_back(datagram);
        if let Some(reader) = socket.reader.take() {
            reader.wake();
        }
    }

    fn forget_host(&mut self, host: usize) {
        let sockets: Vec<_> = self
            .sockets
            .iter()
            .filter(|(_, socket)| socket.host == host)
            .map(|(number, _)| *number)
            .collect();
        self.forget(|socket| sockets.contains(&socket));
    }

    /// All sockets of a host that everybody reaches are at `address` from now on.
    fn listen_at(&mut self, host: usize, address: IpAddr) {
        for (number, socket) in self.sockets.iter_mut().filter(|(_, socket)| socket.host == host) {
            socket.address.set_ip(address);
            let mapping = Mapping { socket: *number, peer: None, used: Duration::ZERO };
            self.inward.insert(socket.address, mapping);
        }
    }

    fn forget(&mut self, whose: impl Fn(usize) -> bool) {
        self.outward.retain(|(socket, _), _| !whose(*socket));
        self.inward.retain(|_, mapping| !whose(mapping.socket));
    }

    fn new_address(&mut self) -> IpAddr {
        self.next_address += 1;
        Ipv4Addr::from_bits(self.next_address - 1).into()
    }

    fn new_port(&mut self) -> u16 {
        let port = self.next_port;
        self.next_port = port.checked_add(1).unwrap_or(FIRST_PORT);
        port
    }
}
