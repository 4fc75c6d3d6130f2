//! What an endpoint needs of the operating system: UDP sockets, time and tasks, threads. Everything else in this crate
//! asks for them here, so that tests can run the same code on a network and a clock of their own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::{fmt, io};

use quinn::{AsyncUdpSocket, Runtime, TokioRuntime};
use rustix::net::sockopt;

use crate::routes::Routes;

/// Bursts of a Wi-Fi aggregate overrun the system's default buffers on small boards. The system may give less.
const SOCKET_BUFFER_BYTES: usize = 8 << 20;

/// Headers of IP and UDP, bytes.
const HEADER_BYTES_V4: u32 = 28;
const HEADER_BYTES_V6: u32 = 48;

/// Where an endpoint gets its sockets, its time and its threads.
pub trait System: fmt::Debug + Send + Sync + 'static {
    /// A UDP socket at `address`; port 0 is any free one.
    ///
    /// # Errors
    /// The system's.
    fn bind(&self, address: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>>;

    /// Time and tasks for quinn.
    fn runtime(&self) -> Arc<dyn Runtime>;

    /// What fits into one packet of the interface towards `peer`, bytes of UDP payload.
    ///
    /// # Errors
    /// The system's, for instance where there is no way to `peer`.
    fn datagram_bytes(&self, peer: SocketAddr) -> io::Result<u16>;

    /// Runs `work`, which may block, on a thread of its own.
    ///
    /// # Errors
    /// The system's.
    fn start(&self, name: String, work: Box<dyn FnOnce() + Send>) -> io::Result<()>;

    /// The address that packets to `peer` leave from at present.
    ///
    /// # Errors
    /// The system's, for instance where there is no way to `peer`.
    fn source(&self, peer: SocketAddr) -> io::Result<IpAddr> {
        let _ = peer;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Tells when addresses or routes change, if the system does.
    fn routes(&self) -> Option<Routes> {
        None
    }

    /// What quinn's random choices follow from; `None` for unpredictable ones.
    fn seed(&self) -> Option<[u8; 32]> {
        None
    }
}

/// The machine that this runs on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OperatingSystem;

impl System for OperatingSystem {
    fn bind(&self, address: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let socket = UdpSocket::bind(address)?;
        let options = socket2::SockRef::from(&socket);
        // Best effort: the system caps both, and a small buffer only costs speed.
        let _ = options.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
        let _ = options.set_send_buffer_size(SOCKET_BUFFER_BYTES);
        TokioRuntime.wrap_udp_socket(socket)
    }

    fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::new(TokioRuntime)
    }

    fn datagram_bytes(&self, peer: SocketAddr) -> io::Result<u16> {
        let socket = connected(peer)?;
        let bytes = match peer {
            SocketAddr::V4(_) => sockopt::ip_mtu(&socket)?.saturating_sub(HEADER_BYTES_V4),
            SocketAddr::V6(_) => sockopt::ipv6_mtu(&socket)?.saturating_sub(HEADER_BYTES_V6),
        };
        Ok(u16::try_from(bytes).unwrap_or(u16::MAX))
    }

    fn source(&self, peer: SocketAddr) -> io::Result<IpAddr> {
        Ok(connected(peer)?.local_addr()?.ip())
    }

    fn routes(&self) -> Option<Routes> {
        Routes::watch().ok()
    }

    fn start(&self, name: String, work: Box<dyn FnOnce() + Send>) -> io::Result<()> {
        std::thread::Builder::new().name(name).spawn(work).map(drop)
    }
}

/// A socket for which the system has chosen the way to `peer`. Nothing is sent.
fn connected(peer: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match peer {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(peer)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_carries_more_than_ethernet() {
        for peer in ["127.0.0.1:9", "[::1]:9"] {
            let peer = peer.parse().unwrap();
            // A machine without IPv6 cannot say.
            let Ok(bytes) = OperatingSystem.datagram_bytes(peer) else { continue };
            assert!(bytes > crate::transport::MAX_DATAGRAM_BYTES, "{peer}: {bytes}");
        }
    }

    #[test]
    fn packets_to_this_machine_leave_from_it() {
        let source = OperatingSystem.source("127.0.0.1:9".parse().unwrap()).unwrap();
        assert!(source.is_loopback(), "{source}");
    }
}
