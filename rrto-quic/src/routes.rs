//! When the machine's addresses and routes change, as they do when a robot gets to another network.

use std::io;
use std::os::unix::net::UnixDatagram as StdDatagram;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};
use tokio::net::UnixDatagram;

/// Groups that tell of interfaces, addresses and routes (`RTMGRP_LINK`, `RTMGRP_IPV4_IFADDR`, `RTMGRP_IPV4_ROUTE`,
/// `RTMGRP_IPV6_IFADDR`, `RTMGRP_IPV6_ROUTE`; rtnetlink(7)).
const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;

/// What the messages say is not read, so a part of each is enough.
const MESSAGE_BYTES: usize = 64;

/// A socket on which Linux tells of them (rtnetlink).
#[derive(Debug)]
pub struct Routes {
    /// It is a netlink socket; for waiting and receiving any type that has datagrams does.
    socket: UnixDatagram,
}

impl Routes {
    /// Listens from now on. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// The system's, for instance where a sandbox forbids such sockets.
    pub fn watch() -> io::Result<Routes> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // NETLINK_ROUTE is protocol 0.
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
        Ok(Routes { socket: UnixDatagram::from_std(StdDatagram::from(socket))? })
    }

    /// Waits for a change. Those that have come by then are one.
    pub async fn changed(&self) {
        let mut message = [0; MESSAGE_BYTES];
        // An error says that more came than the socket holds; one that stays is no news.
        if self.socket.readable().await.is_err() {
            return std::future::pending().await;
        }
        while self.socket.try_recv(&mut message).is_ok() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nothing_is_told_while_nothing_changes() {
        // A sandbox may forbid it.
        let Ok(routes) = Routes::watch() else { return };
        // One that is wrongly ready stays ready.
        for _ in 0..3 {
            tokio::select! {
                biased;
                () = routes.changed() => {}
                () = tokio::task::yield_now() => return,
            }
        }
        panic!("changes without end");
    }
}
