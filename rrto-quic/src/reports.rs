//! What a host says of datagrams that nobody there takes.
//!
//! When a program is killed, its socket is gone, and its host answers what still comes for it with an ICMP message: port unreachable
//! (RFC 792; RFC 4443, section 3.1). The system keeps such messages on the socket's error queue (ip(7), `IP_RECVERR`), and tells
//! the next call on the socket too, whomever that is about. So this is a socket whose error queue is emptied by a task of its own, and
//! whose sends are not disturbed.
//!
//! Nobody signs these messages: whoever knows both addresses can make one. They are no more than a reason to look (RFC 9000,
//! section 14.2.1).

use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use nix::libc;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt,
    sockopt::{Ipv4RecvErr, Ipv6RecvErr},
};
use quinn::udp::{RecvMeta, Transmit, UdpSocketState};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::io::Interest;
use tokio::sync::mpsc;

/// Reports that wait to be looked at. One that finds no room is no loss: there will be another.
const QUEUED: usize = 64;

/// Ancillary data of a report: some hundred bytes.
const ANCILLARY_BYTES: usize = 512;

/// A send that fails because of an earlier one is tried again so often: reports that come in the meantime are told too.
const SEND_TRIES: usize = 4;

/// Addresses to which something was sent and where nobody takes it.
#[derive(Debug)]
pub struct ClosedPorts(mpsc::Receiver<SocketAddr>);

impl ClosedPorts {
    /// None are ever told.
    pub fn none() -> Self {
        ClosedPorts(mpsc::channel(1).1)
    }

    /// Those that somebody sends.
    pub fn from_channel(reports: mpsc::Receiver<SocketAddr>) -> Self {
        ClosedPorts(reports)
    }

    /// The next one; never, if there will be none.
    pub(crate) async fn next(&mut self) -> SocketAddr {
        match self.0.recv().await {
            Some(address) => address,
            None => std::future::pending().await,
        }
    }
}

/// A socket for quinn from `socket`, and what hosts report to it. Must be called in a tokio runtime.
///
/// # Errors
/// The system's.
pub(crate) fn watched(socket: UdpSocket) -> io::Result<(Arc<dyn AsyncUdpSocket>, ClosedPorts)> {
    // A system without them reports nothing. A socket of IPv6 may carry IPv4 too.
    let _ = setsockopt(&socket, Ipv4RecvErr, &true);
    let _ = setsockopt(&socket, Ipv6RecvErr, &true);
    let state = UdpSocketState::new((&socket).into())?;
    let io = tokio::net::UdpSocket::from_std(socket)?;
    let watched = Arc::new(Watched { io, state });
    let (told, reports) = mpsc::channel(QUEUED);
    tokio::spawn(take_reports(watched.clone(), told));
    Ok((watched, ClosedPorts(reports)))
}

/// Empties the error queue whenever there is something in it, as long as somebody listens.
async fn take_reports(socket: Arc<Watched>, told: mpsc::Sender<SocketAddr>) {
    loop {
        let ready = tokio::select! {
            ready = socket.io.ready(Interest::ERROR) => ready,
            () = told.closed() => return,
        };
        match ready.and_then(|_| socket.io.try_io(Interest::ERROR, || poll_report(&socket.io))) {
            Ok(Some(address)) => drop(told.try_send(address)),
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // Of no use: what has no reports is a socket all the same.
            Err(_) => return,
        }
        // Many of them keep nothing else from running.
        tokio::task::yield_now().await;
    }
}

/// The next of the error queue, if it says that a port is closed.
fn poll_report(socket: &tokio::net::UdpSocket) -> io::Result<Option<SocketAddr>> {
    let mut ancillary = vec![0; ANCILLARY_BYTES];
    let mut start = [0; 1];
    let mut buffers = [IoSliceMut::new(&mut start)];
    let report = recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        &mut buffers,
        Some(&mut ancillary),
        MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT,
    )?;
    // One that was cut says nothing.
    let Ok(mut messages) = report.cmsgs() else { return Ok(None) };
    let is_closed = messages.any(|message| {
        let (ControlMessageOwned::Ipv4RecvErr(error, _) | ControlMessageOwned::Ipv6RecvErr(error, _)) =
            message
        else {
            return false;
        };
        // What the system itself had to say of a send is of another origin.
        let is_icmp = [libc::SO_EE_ORIGIN_ICMP, libc::SO_EE_ORIGIN_ICMP6].contains(&error.ee_origin);
        is_icmp && error.ee_errno == libc::ECONNREFUSED as u32
    });
    Ok(report.address.filter(|_| is_closed).and_then(|address| to_std(&address)))
}

fn to_std(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| SocketAddr::from((v4.ip(), v4.port())));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| SocketAddr::from((v6.ip(), v6.port()))))
}

/// As quinn's own socket for tokio, but that a send takes no harm from what is reported of another one.
#[derive(Debug)]
struct Watched {
    io: tokio::net::UdpSocket,
    state: UdpSocketState,
}

impl AsyncUdpSocket for Watched {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Poller { socket: self, writable: None })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        for _ in 0..SEND_TRIES {
            let send = || self.state.try_send((&self.io).into(), transmit);
            match self.io.try_io(Interest::WRITABLE, send) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
                // A probe that is longer than what the interface carries.
                Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => return Ok(()),
                Err(_) => {}
                Ok(()) => return Ok(()),
            }
        }
        // It counts as lost, as any datagram may be.
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.io.poll_recv_ready(cx))?;
            let receive = || self.state.recv((&self.io).into(), bufs, meta);
            // An error is of an earlier send: it is told once.
            if let Ok(received) = self.io.try_io(Interest::READABLE, receive) {
                return Poll::Ready(Ok(received));
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.local_addr()
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }

    fn max_transmit_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.state.gro_segments()
    }
}

type Writable = Pin<Box<dyn Future<Output = io::Result<()>> + Send + Sync>>;

/// One connection's wait for room in the socket.
struct Poller {
    socket: Arc<Watched>,
    writable: Option<Writable>,
}

impl std::fmt::Debug for Poller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Poller").finish_non_exhaustive()
    }
}

impl UdpPoller for Poller {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = self.socket.clone();
        let writable =
            self.writable.get_or_insert_with(|| Box::pin(async move { socket.io.writable().await }));
        let outcome = ready!(writable.as_mut().poll(cx));
        self.writable = None;
        Poll::Ready(outcome)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_closed_port_is_reported_and_others_get_what_they_are_sent() {
        let local = (Ipv4Addr::LOCALHOST, 0);
        let (socket, mut closed) = watched(UdpSocket::bind(local).unwrap()).unwrap();
        let gone = UdpSocket::bind(local).unwrap().local_addr().unwrap();
        let living = UdpSocket::bind(local).unwrap();
        living.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut poller = socket.clone().create_io_poller();
        for round in 0..100_u8 {
            for destination in [gone, living.local_addr().unwrap()] {
                poll_fn(|cx| poller.as_mut().poll_writable(cx)).await.unwrap();
                let transmit =
                    Transmit { destination, ecn: None, contents: &[round], segment_size: None, src_ip: None };
                socket.try_send(&transmit).unwrap();
            }
            let mut received = [0];
            living.recv(&mut received).unwrap();
            assert_eq!(received, [round], "each is sent, whatever is reported of the others");
        }
        // The system may leave some of them out.
        let reported = tokio::time::timeout(Duration::from_secs(60), closed.next()).await.unwrap();
        assert_eq!(reported, gone);
    }
}
