//! QUIC transport parameters, and the UDP sockets below.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use quinn::{EndpointConfig, IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};
use rrto_core::operator::MAX_PAYLOAD_BYTES;
use rustix::net::sockopt;

/// Before the first sample. quinn's 333 ms makes the first probe of a lost handshake packet wait a second, on links
/// whose round trip is a few milliseconds.
const INITIAL_RTT: Duration = Duration::from_millis(30);

/// What one side may have received and not read: a few payloads. Bounds the preload library's memory too.
const RECEIVE_WINDOW_BYTES: u32 = 4 << 20;

/// One payload fits, so that a sender never waits for a window update in its middle.
const STREAM_WINDOW_BYTES: u32 = MAX_PAYLOAD_BYTES as u32 + (64 << 10);

/// What one side may have sent and not had acknowledged.
const SEND_WINDOW_BYTES: u64 = 4 << 20;

/// Payloads on their way at a time.
const BULK_STREAMS: u32 = 64;

/// Bursts of a Wi-Fi aggregate overrun the system's default buffers on small boards. The system may give less.
const SOCKET_BUFFER_BYTES: usize = 8 << 20;

/// The longest datagram, bytes of UDP payload. A path that carries more than Ethernet's (jumbo frames, or a server on the
/// same machine) costs fewer packets: half the time of an image on the loopback interface. quinn gives the system ten
/// datagrams at a time, which must fit one UDP send of 65,507 bytes: of more the system takes nothing, and quinn takes
/// that for a loss.
const MAX_DATAGRAM_BYTES: u16 = 6500;

/// Headers of IP and UDP, bytes.
const HEADER_BYTES_V4: u32 = 28;
const HEADER_BYTES_V6: u32 = 48;

/// The control stream goes before all bulk.
pub(crate) const CONTROL_PRIORITY: i32 = i32::MAX;

/// Transport parameters of one side of a connection with `peer`. A peer that is silent for `silence` is gone; the side that keeps the connection
/// alive makes sure that a healthy peer is never silent for so long.
pub(crate) fn parameters(
    peer: SocketAddr,
    silence: Duration,
    keeps_alive: bool,
    accepts_control: bool,
) -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    config
        .initial_rtt(INITIAL_RTT)
        .receive_window(VarInt::from_u32(RECEIVE_WINDOW_BYTES))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .send_window(SEND_WINDOW_BYTES)
        .max_concurrent_uni_streams(VarInt::from_u32(BULK_STREAMS))
        .max_concurrent_bidi_streams(VarInt::from_u32(u32::from(accepts_control)))
        .datagram_receive_buffer_size(None)
        .mtu_discovery_config(Some(mtu_discovery(peer)))
        .max_idle_timeout(IdleTimeout::try_from(silence).ok())
        .keep_alive_interval(keeps_alive.then_some(silence / 4));
    Arc::new(config)
}

/// Looks for what the path carries, up to what the interface towards `peer` does: a probe beyond that is lost for sure.
fn mtu_discovery(peer: SocketAddr) -> MtuDiscoveryConfig {
    let mut discovery = MtuDiscoveryConfig::default();
    // Where the system does not say, quinn's own bound stays, which is Ethernet's.
    if let Ok(bytes) = interface_datagram_bytes(peer) {
        discovery.upper_bound(bytes.min(MAX_DATAGRAM_BYTES));
    }
    discovery
}

/// What fits into one packet of the interface towards `peer`, bytes of UDP payload.
fn interface_datagram_bytes(peer: SocketAddr) -> io::Result<u16> {
    let any: SocketAddr = match peer {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    // Sends nothing.
    socket.connect(peer)?;
    let bytes = match peer {
        SocketAddr::V4(_) => sockopt::ip_mtu(&socket)?.saturating_sub(HEADER_BYTES_V4),
        SocketAddr::V6(_) => sockopt::ipv6_mtu(&socket)?.saturating_sub(HEADER_BYTES_V6),
    };
    Ok(u16::try_from(bytes).unwrap_or(u16::MAX))
}

/// What an endpoint takes from any peer. quinn reserves memory for the longest datagrams, and touches what it needs.
pub(crate) fn endpoint() -> EndpointConfig {
    let mut config = EndpointConfig::default();
    // It refuses only what is shorter than any datagram may be.
    let _ = config.max_udp_payload_size(MAX_DATAGRAM_BYTES);
    config
}

/// A UDP socket for an endpoint, with large buffers where the system allows it.
pub(crate) fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    let options = socket2::SockRef::from(&socket);
    // Best effort: the system caps both, and a small buffer only costs speed.
    let _ = options.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    let _ = options.set_send_buffer_size(SOCKET_BUFFER_BYTES);
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
            let Ok(bytes) = interface_datagram_bytes(peer) else { continue };
            assert!(bytes > MAX_DATAGRAM_BYTES, "{peer}: {bytes}");
        }
    }

    #[test]
    fn what_the_system_gets_at_a_time_fits_a_send() {
        const DATAGRAMS: usize = 10;
        let [receiver, sender] = [(); 2].map(|()| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        let all = vec![0; DATAGRAMS * usize::from(MAX_DATAGRAM_BYTES)];
        assert_eq!(sender.send_to(&all, receiver.local_addr().unwrap()).unwrap(), all.len());
    }
}
