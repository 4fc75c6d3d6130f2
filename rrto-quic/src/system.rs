//! What an endpoint needs of the operating system: UDP sockets, time and tasks, threads. Everything else in this crate
//! asks for them here, so that tests can run the same code on a network and a clock of their own.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use quinn::{AsyncUdpSocket, Runtime, TokioRuntime};
use rustix::net::sockopt;

use crate::names;
use crate::reports::{self, ClosedPorts};
use crate::routes::Routes;

/// Bursts of a Wi-Fi aggregate overrun the system's default buffers on small boards. The system may give less.
const SOCKET_BUFFER_BYTES: usize = 8 << 20;

/// Headers of IP and UDP, bytes.
const HEADER_BYTES_V4: u32 = 28;
const HEADER_BYTES_V6: u32 = 48;

/// What comes when there is something to say.
pub type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// How often a datagram is sent that is to be objected to: it may be lost as any other.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// No QUIC endpoint and no relay answers this: it is too short for a packet (RFC 9000, section 10.3), and the bit is not set that all
/// of QUIC's have.
const UNANSWERED: [u8; 1] = [0];

/// Where an endpoint gets its sockets, its time and its threads.
pub trait System: fmt::Debug + Send + Sync + 'static {
    /// A UDP socket at `address`; port 0 is any free one.
    ///
    /// # Errors
    /// The system's.
    fn bind(&self, address: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>>;

    /// The same, and what hosts report of what was sent from it. Without such reports, unless the system has them.
    ///
    /// # Errors
    /// The system's.
    fn bind_watched(&self, address: SocketAddr) -> io::Result<(Arc<dyn AsyncUdpSocket>, ClosedPorts)> {
        Ok((self.bind(address)?, ClosedPorts::none()))
    }

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

    /// All addresses of HOST:PORT; the task may take as long as the name service does. Must be called in a tokio runtime.
    fn resolve(&self, host_and_port: String) -> Later<io::Result<Vec<SocketAddr>>> {
        if let Some(written) = names::written(&host_and_port) {
            return Box::pin(std::future::ready(written));
        }
        let looked_up = tokio::task::spawn_blocking(move || names::resolve(&host_and_port));
        Box::pin(async move { looked_up.await.map_err(io::Error::other)? })
    }

    /// Says why `peer` does not answer, if the network tells (`ECONNREFUSED`: an ICMP message says that nothing listens on the port),
    /// and never where it does not. Anybody on the way can make such messages up, so it is a hint and no more.
    fn objection(&self, peer: SocketAddr) -> Later<io::Error> {
        let _ = peer;
        Box::pin(std::future::pending())
    }

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

/// Wakes the transport thread, from any other; costs a system call, needs no descriptor, waits for nothing.
pub type Ring = Box<dyn Fn() + Send + Sync>;

/// How the transport thread is woken that has descriptors of its own.
pub struct Bell {
    /// Makes `rung` readable, also before anybody looks there.
    pub ring: Ring,
    /// A descriptor of the transport thread's, which does not block.
    pub rung: OwnedFd,
}

/// A process that is not ours, in which the transport thread is a guest: the program may close any descriptor and open another
/// one under the same number, for itself.
pub trait Host: fmt::Debug + Send + Sync + 'static {
    /// Runs `start`, which starts the transport thread, so that the thread never runs what is the program's, such as a handler
    /// of its signals.
    ///
    /// # Errors
    /// What `start` gives.
    fn start(&self, start: Box<dyn FnOnce() -> io::Result<()> + '_>) -> io::Result<()>;

    /// Called first on the transport thread, before it opens anything: makes its table of descriptors its own, so that the program
    /// cannot close what is in it, and nothing in it keeps the program's files open.
    ///
    /// # Errors
    /// The system's.
    fn enter(&self) -> io::Result<Bell>;

    /// Called first on every thread that the transport thread starts, which share its table.
    fn enter_helper(&self);
}

/// The machine that this runs on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OperatingSystem;

impl System for OperatingSystem {
    fn bind(&self, address: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        TokioRuntime.wrap_udp_socket(bound(address)?)
    }

    fn bind_watched(&self, address: SocketAddr) -> io::Result<(Arc<dyn AsyncUdpSocket>, ClosedPorts)> {
        let socket = bound(address)?;
        socket.set_nonblocking(true)?;
        reports::watched(socket)
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

    /// A socket that is connected is told of ICMP messages, and of those only that are about its own datagrams.
    fn objection(&self, peer: SocketAddr) -> Later<io::Error> {
        Box::pin(async move {
            match object(peer).await {
                Ok(never) => match never {},
                Err(error) => error,
            }
        })
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

async fn object(peer: SocketAddr) -> io::Result<Infallible> {
    let socket = connected(peer)?;
    socket.set_nonblocking(true)?;
    let socket = tokio::net::UdpSocket::from_std(socket)?;
    loop {
        socket.send(&UNANSWERED).await?;
        let again = tokio::time::sleep(ASK_AGAIN);
        // Whoever answers, against all rules, is no objection.
        if let Ok(objection) = tokio::time::timeout(ASK_AGAIN, socket.recv(&mut [0; 1])).await {
            objection?;
            again.await;
        }
    }
}

/// A socket at `address`.
fn bound(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    let options = socket2::SockRef::from(&socket);
    // Best effort: the system caps both, and a small buffer only costs speed.
    let _ = options.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    let _ = options.set_send_buffer_size(SOCKET_BUFFER_BYTES);
    Ok(socket)
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

    #[tokio::test]
    async fn a_closed_port_objects_and_an_open_one_does_not() {
        let open = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let closed = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = closed.local_addr().unwrap();
        drop(closed);
        tokio::select! {
            error = OperatingSystem.objection(address) => assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused),
            error = OperatingSystem.objection(open.local_addr().unwrap()) => panic!("{error}"),
        }
    }

    #[test]
    fn packets_to_this_machine_leave_from_it() {
        let source = OperatingSystem.source("127.0.0.1:9".parse().unwrap()).unwrap();
        assert!(source.is_loopback(), "{source}");
    }
}
