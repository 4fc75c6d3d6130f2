//! A host of the network, and its sockets.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Runtime, TokioRuntime, UdpPoller};
use rrto_core::testing::link::HEADER_BYTES;

use super::network::{Datagram, Network, Path};
use crate::names;
use crate::system::{Later, System};

/// What Linux takes at a time from quinn, as one send.
const SEGMENTS: usize = 10;

/// A robot or a server. Clones are the same host.
#[derive(Clone, Debug)]
pub struct Host {
    network: Network,
    number: usize,
}

impl Host {
    pub(super) fn new(network: Network, number: usize) -> Self {
        Host { network, number }
    }

    /// A server's address, or the public one of a robot's NAT.
    pub fn address(&self) -> IpAddr {
        self.network.address(self.number).unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED))
    }

    /// A robot's NAT gives it new ports, and knows the old ones no longer.
    pub fn change_ports(&self) {
        self.network.rebind(self.number);
    }

    /// A robot or a server comes back with a new address, and, if one is given, on another path. What is on its way to it is lost.
    pub fn change_address(&self, path: Option<Path>) {
        self.network.relocate(self.number, path);
    }
}

impl System for Host {
    fn bind(&self, address: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let (number, address) = self.network.open(self.number, address)?;
        Ok(Arc::new(Socket { network: self.network.clone(), number, address }))
    }

    fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::new(TokioRuntime)
    }

    fn datagram_bytes(&self, _: SocketAddr) -> io::Result<u16> {
        let bytes = self.network.mtu_bytes(self.number).saturating_sub(HEADER_BYTES as u64);
        Ok(u16::try_from(bytes).unwrap_or(u16::MAX))
    }

    fn resolve(&self, host_and_port: String) -> Later<io::Result<Vec<SocketAddr>>> {
        let named = self.network.resolve(&host_and_port).filter(|addresses| !addresses.is_empty());
        let unknown = || Err(io::Error::other("nobody knows this name"));
        let answer = named.map(Ok).or_else(|| names::written(&host_and_port)).unwrap_or_else(unknown);
        Box::pin(std::future::ready(answer))
    }

    /// In no time.
    fn objection(&self, peer: SocketAddr) -> Later<io::Error> {
        let is_closed = self.network.is_closed(peer);
        Box::pin(async move {
            if is_closed { io::ErrorKind::ConnectionRefused.into() } else { std::future::pending().await }
        })
    }

    /// Runs `work` here and now: there is one thread, which must not wait.
    fn start(&self, _: String, work: Box<dyn FnOnce() + Send>) -> io::Result<()> {
        work();
        Ok(())
    }

    fn seed(&self) -> Option<[u8; 32]> {
        Some(self.network.seed())
    }
}

#[derive(Debug)]
struct Socket {
    network: Network,
    number: usize,
    address: SocketAddr,
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.network.close(self.number);
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let segment = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        for contents in transmit.contents.chunks(segment) {
            self.network.send(self.number, transmit.destination, contents, transmit.ecn);
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut next = Some(ready!(self.network.poll_receive(self.number, cx)));
        let room = bufs.len().min(meta.len());
        let mut count = 0;
        for (buffer, meta) in bufs.iter_mut().zip(meta) {
            let Some(Datagram { from, contents, ecn }) = next.take() else { break };
            let len = contents.len().min(buffer.len());
            buffer.iter_mut().zip(&contents).for_each(|(to, from)| *to = *from);
            *meta = RecvMeta { addr: from, len, stride: len, ecn, dst_ip: None };
            count += 1;
            if count < room {
                next = self.network.try_receive(self.number);
            }
        }
        Poll::Ready(Ok(count))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }

    fn max_transmit_segments(&self) -> usize {
        SEGMENTS
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

/// The path's queue drops what it cannot hold.
#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
