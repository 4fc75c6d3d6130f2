//! A UDP socket that moves datagrams in batches.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use quinn_udp::{BATCH_SIZE, EcnCodepoint, RecvMeta, Transmit, UdpSocketState};

/// Socket buffers are as large as the system permits, up to this: 140 ms at 450 Mbit/s. A burst must never be lost here,
/// where no model decides.
const SOCKET_BUFFER_BYTES: usize = 8 << 20;

/// The largest UDP payload, and so the largest batch that GRO hands over.
const MAX_RECEIVE_BYTES: usize = 65_535;

/// The largest GSO batch: what one IPv4 packet may carry.
const MAX_BATCH_BYTES: usize = 65_507;

/// Buffers to receive into, shared by all sockets of a thread.
pub(super) struct Inbox {
    bytes: Vec<u8>,
    metas: [RecvMeta; BATCH_SIZE],
}

impl Inbox {
    pub(super) fn new() -> Self {
        Self { bytes: vec![0; BATCH_SIZE * MAX_RECEIVE_BYTES], metas: [RecvMeta::default(); BATCH_SIZE] }
    }
}

/// Where a datagram came from and how it was marked.
#[derive(Clone, Copy)]
pub(super) struct Origin {
    pub(super) from: SocketAddr,
    /// The address it was sent to, if the system tells: answers come from there.
    pub(super) to_ip: Option<IpAddr>,
    pub(super) ecn: Option<EcnCodepoint>,
}

/// A UDP socket.
pub(super) struct Port {
    socket: UdpSocket,
    state: UdpSocketState,
}

impl Port {
    pub(super) fn new(socket: UdpSocket) -> io::Result<Self> {
        let state = UdpSocketState::new((&socket).into())?;
        // The system clamps what it does not permit; a refusal leaves its default, which works at lower rates.
        let _ = state.set_recv_buffer_size((&socket).into(), SOCKET_BUFFER_BYTES);
        let _ = state.set_send_buffer_size((&socket).into(), SOCKET_BUFFER_BYTES);
        Ok(Self { socket, state })
    }

    /// Nobody will receive from it: the system need not keep much.
    pub(super) fn neglect(&self) {
        let _ = self.state.set_recv_buffer_size((&self.socket).into(), 1);
    }

    /// Receives what is there, up to a batch, and hands each datagram to `take`. Returns false if nothing was there.
    pub(super) fn receive(&self, inbox: &mut Inbox, mut take: impl FnMut(&Origin, &[u8])) -> bool {
        let Inbox { bytes, metas } = inbox;
        let mut buffers: Vec<_> = bytes.chunks_mut(MAX_RECEIVE_BYTES).map(IoSliceMut::new).collect();
        // An error here is an echo of an earlier send (ICMP), and concerns no datagram that is to be received.
        let Ok(count) = self.state.recv((&self.socket).into(), &mut buffers, metas) else { return false };
        for (meta, buffer) in metas.iter().zip(&buffers).take(count) {
            let origin = Origin { from: meta.addr, to_ip: meta.dst_ip, ecn: meta.ecn };
            let received = buffer.get(..meta.len).unwrap_or_default();
            if received.is_empty() {
                take(&origin, received);
            }
            received.chunks(meta.stride.max(1)).for_each(|datagram| take(&origin, datagram));
        }
        count > 0
    }

    /// Whether a batch that holds datagrams of `first` bytes, `count` of them, may grow by one.
    pub(super) fn batches(&self, first: usize, count: usize) -> bool {
        first > 0 && count < self.state.max_gso_segments() && (count + 1) * first <= MAX_BATCH_BYTES
    }

    /// Sends datagrams of `size` bytes each (the last may be shorter) that lie one behind the other in `bytes`.
    pub(super) fn send(&self, bytes: &[u8], size: usize, origin: &Origin, to: SocketAddr) -> io::Result<()> {
        let transmit = |contents, segment_size| {
            let transmit =
                Transmit { destination: to, ecn: origin.ecn, contents, segment_size, src_ip: origin.to_ip };
            self.state.try_send((&self.socket).into(), &transmit)
        };
        if bytes.len() <= size {
            return transmit(bytes, None);
        }
        // Some devices refuse batches; `max_gso_segments` is 1 from then on, and this batch goes one by one.
        transmit(bytes, Some(size))
            .or_else(|_| bytes.chunks(size).try_for_each(|datagram| transmit(datagram, None)))
    }
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
