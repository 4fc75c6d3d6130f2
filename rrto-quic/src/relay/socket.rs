//! The UDP socket of a QUIC endpoint some of whose peers, or all, are behind a relay.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Instant;

use quinn::udp::{EcnCodepoint, RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::sync::{Notify, watch};

use super::batch::{Unwrapped, wrap};
use super::registration::{Registration, Standing};
use super::wire::{FlowId, Role};

/// What is kept until the relay forwards: the first flight of a connection, and its repetitions until then.
const MAX_HELD_BATCHES: usize = 16;

/// A UDP socket that reaches flows of a relay beside ordinary addresses. For QUIC, a flow is an address like others
/// ([`FlowId::address`]); what is sent there goes to the relay with the flow's header before it. A client sees its
/// server at the address of [`FlowId::SERVER`], whatever its own flow is, so that it may change its socket.
///
/// A task keeps the registration alive for as long as the socket lives; dropping the socket ends it at the relay too. Answers of the
/// relay are taken in [`AsyncUdpSocket::poll_recv`], so an endpoint has to be running on the socket.
pub(super) struct RelaySocket {
    inner: Arc<dyn AsyncUdpSocket>,
    /// A client's.
    own_flow: Option<FlowId>,
    state: Mutex<State>,
    unwrapped: Mutex<Unwrapped>,
    standing: watch::Sender<Standing>,
    /// The registration has changed, or the socket is gone.
    changed: Arc<Notify>,
}

struct State {
    /// Where the relay is, as this socket sees it.
    relay: Option<SocketAddr>,
    registration: Registration,
    /// The relay has once said that it forwards to a server.
    open: bool,
    /// What was to be sent before that.
    held: Vec<Batch>,
    /// A batch with its headers; kept for its memory.
    batch: Vec<u8>,
}

/// Datagrams with their headers, one behind the other.
struct Batch {
    bytes: Vec<u8>,
    segment_size: Option<usize>,
    ecn: Option<EcnCodepoint>,
}

impl RelaySocket {
    /// A socket on `inner` that registers with the relay, once it is said where that is ([`Self::set_relay`]), and
    /// tells `standing` what comes of it. Must be called in a tokio runtime.
    pub(super) fn new(
        inner: Arc<dyn AsyncUdpSocket>,
        registration: Registration,
        standing: watch::Sender<Standing>,
    ) -> Arc<Self> {
        let socket = Arc::new(RelaySocket {
            inner,
            standing,
            own_flow: (registration.role() == Role::Client).then(|| registration.flow()),
            state: Mutex::new(State {
                relay: None,
                registration,
                open: false,
                held: Vec::new(),
                batch: Vec::new(),
            }),
            unwrapped: Mutex::default(),
            changed: Arc::default(),
        });
        tokio::spawn(keep_registered(Arc::downgrade(&socket), Arc::clone(&socket.changed)));
        socket
    }

    /// From now on the relay is there.
    ///
    /// # Errors
    /// This socket is of IPv4 and the relay is not.
    pub(super) fn set_relay(&self, relay: SocketAddr) -> io::Result<()> {
        let relay = match (relay, self.inner.local_addr()?) {
            (SocketAddr::V4(v4), SocketAddr::V6(_)) => mapped(v4),
            (SocketAddr::V6(_), SocketAddr::V4(_)) => return Err(io::ErrorKind::AddrNotAvailable.into()),
            _ => relay,
        };
        let mut state = self.lock();
        state.relay = Some(relay);
        state.registration.restart(now());
        self.announce(state.registration.standing());
        self.changed.notify_one();
        Ok(())
    }

    /// No state is half changed where a panic could come from.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what the registration has to say; when it has more.
    fn register(&self, now: Instant) -> Option<Instant> {
        let mut state = self.lock();
        let relay = state.relay?;
        while let Some(message) = state.registration.poll_transmit(now) {
            // A full socket is a lost datagram: it is sent again in a while.
            let _ = self.send_to_relay(Some(relay), &message, None, None);
        }
        let standing = state.registration.standing();
        self.announce(standing);
        Some(state.registration.timeout())
    }

    /// Where no relay is known, what is sent is lost.
    fn send_to_relay(
        &self,
        relay: Option<SocketAddr>,
        contents: &[u8],
        segment_size: Option<usize>,
        ecn: Option<EcnCodepoint>,
    ) -> io::Result<()> {
        let Some(destination) = relay else { return Ok(()) };
        self.inner.try_send(&Transmit { destination, ecn, contents, segment_size, src_ip: None })
    }

    fn announce(&self, standing: Standing) {
        self.standing.send_if_modified(|before| std::mem::replace(before, standing) != standing);
    }

    fn take_answer(&self, datagram: &[u8]) {
        let mut state = self.lock();
        let before = state.registration.timeout();
        state.registration.handle_answer(now(), datagram);
        let standing = state.registration.standing();
        self.announce(standing);
        if standing == (Standing::Registered { server_present: true }) && !state.open {
            state.open = true;
            let held = std::mem::take(&mut state.held);
            for batch in held {
                // A full socket is a lost datagram, which QUIC sends again.
                let _ = self.send_to_relay(state.relay, &batch.bytes, batch.segment_size, batch.ecn);
            }
        }
        if state.registration.timeout() != before {
            self.changed.notify_one();
        }
    }
}

impl Drop for RelaySocket {
    fn drop(&mut self) {
        let state = self.lock();
        // Nobody waits for it: without it the relay forgets the party a little later.
        let _ = self.send_to_relay(state.relay, &state.registration.farewell(), None, None);
        self.changed.notify_one();
    }
}

impl fmt::Debug for RelaySocket {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        let standing = state.registration.standing();
        out.debug_struct("RelaySocket").field("relay", &state.relay).field("standing", &standing).finish()
    }
}

/// How a socket of both families names an IPv4 address.
fn mapped(v4: SocketAddrV4) -> SocketAddr {
    SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0).into()
}

/// As tokio has it, which in tests may not be the system's.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Registers whenever it is due.
async fn keep_registered(socket: Weak<RelaySocket>, changed: Arc<Notify>) {
    while let Some(living) = socket.upgrade() {
        let due = living.register(now());
        drop(living);
        match due {
            Some(due) => {
                let _ = tokio::time::timeout_at(due.into(), changed.notified()).await;
            }
            None => changed.notified().await,
        }
    }
}

impl AsyncUdpSocket for RelaySocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let Some(flow) = FlowId::of_address(transmit.destination) else {
            return self.inner.try_send(transmit);
        };
        let flow = self.own_flow.unwrap_or(flow);
        let mut state = self.lock();
        let State { relay, batch, open, held, .. } = &mut *state;
        let segment_size = wrap(flow, transmit.contents, transmit.segment_size, batch);
        if *open {
            return self.send_to_relay(*relay, batch, segment_size, transmit.ecn);
        }
        // What does not fit is lost, and QUIC sends it again.
        if held.len() < MAX_HELD_BATCHES {
            held.push(Batch { bytes: batch.clone(), segment_size, ecn: transmit.ecn });
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut unwrapped = self.unwrapped.lock().unwrap_or_else(PoisonError::into_inner);
        let given = unwrapped.give(bufs, metas);
        if given > 0 {
            return Poll::Ready(Ok(given));
        }
        let received = match self.inner.poll_recv(context, bufs, metas) {
            Poll::Ready(Ok(received)) => received,
            other => return other,
        };
        let relay = self.lock().relay;
        let bufs = bufs.get_mut(..received).unwrap_or_default();
        let metas = metas.get_mut(..received).unwrap_or_default();
        let peer = |flow: FlowId| match self.own_flow {
            Some(own) => (flow == own).then(|| FlowId::SERVER.address()),
            None => Some(flow.address()),
        };
        let control = |datagram: &[u8]| self.take_answer(datagram);
        Poll::Ready(Ok(unwrapped.take(bufs, metas, relay, peer, control)))
    }

    /// A client's as an IPv6 address, for flows have such ones, and an endpoint connects only within its own family.
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(match self.inner.local_addr()? {
            SocketAddr::V4(v4) if self.own_flow.is_some() => mapped(v4),
            address => address,
        })
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}
