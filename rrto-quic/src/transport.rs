//! QUIC transport parameters, and endpoints.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::{
    AckFrequencyConfig, AsyncUdpSocket, Endpoint, EndpointConfig, IdleTimeout, MtuDiscoveryConfig,
    ServerConfig, TransportConfig, VarInt,
};
use rrto_core::operator::MAX_PAYLOAD_BYTES;

use crate::coding::rate;
use crate::congestion::Congestion;
use crate::system::System;

/// Before the first sample. quinn's 333 ms makes the first probe of a lost handshake packet wait a second, on links
/// whose round trip is a few milliseconds.
const INITIAL_RTT: Duration = Duration::from_millis(30);

/// What one side may have received and not read: all that the other may have on its way, and half as much again, because
/// the window is opened in steps. Bounds the preload library's memory too.
pub(crate) const RECEIVE_WINDOW_BYTES: u32 = 8 << 20;

/// One payload fits, so that a sender never waits for a window update in its middle.
const STREAM_WINDOW_BYTES: u32 = MAX_PAYLOAD_BYTES as u32 + (64 << 10);

/// What one side may have written to bulk streams and not had acknowledged: 450 Mbit/s over 50 ms, and a queue.
pub(crate) const SEND_WINDOW_BYTES: u64 = 4 << 20;

/// Packets that may come without being acknowledged at once. Every second one is, as without the extension: on a radio an
/// acknowledgement costs about as much time as a packet.
const ACK_THRESHOLD: u32 = 1;

/// What comes alone is acknowledged after this. QUIC's usual 25 ms, which the sender adds to its probe timeout, makes the
/// last packet of a message that is lost cost several round trips.
const ACK_DELAY: Duration = Duration::from_millis(1);

/// Payloads on their way at a time.
const BULK_STREAMS: u32 = 64;

/// The longest datagram, bytes of UDP payload. A path that carries more than Ethernet's (jumbo frames, or a server on the
/// same machine) costs fewer packets: half the time of an image on the loopback interface. quinn gives the system ten
/// datagrams at a time, which must fit one UDP send of 65,507 bytes: of more the system takes nothing, and quinn takes
/// that for a loss.
pub(crate) const MAX_DATAGRAM_BYTES: u16 = 6500;

/// The control stream goes before all bulk.
pub(crate) const CONTROL_PRIORITY: i32 = i32::MAX;

/// Transport parameters of one side of a connection with `peer`. A peer that is silent for `silence` is gone; the side that keeps the connection
/// alive makes sure that a healthy peer is never silent for so long.
pub(crate) fn parameters(
    system: &dyn System,
    peer: SocketAddr,
    silence: Duration,
    keeps_alive: bool,
    accepts_control: bool,
    congestion: Congestion,
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
        .ack_frequency_config(Some(ack_frequency()))
        .congestion_controller_factory(rate::metered(congestion.factory()))
        .mtu_discovery_config(Some(mtu_discovery(system, peer)))
        .max_idle_timeout(IdleTimeout::try_from(silence).ok())
        .keep_alive_interval(keeps_alive.then_some(silence / 4));
    Arc::new(config)
}

/// When the other side is to acknowledge (draft-ietf-quic-ack-frequency).
fn ack_frequency() -> AckFrequencyConfig {
    let mut config = AckFrequencyConfig::default();
    config.ack_eliciting_threshold(VarInt::from_u32(ACK_THRESHOLD)).max_ack_delay(Some(ACK_DELAY));
    config
}

/// Looks for what the path carries, up to what the interface towards `peer` does: a probe beyond that is lost for sure.
fn mtu_discovery(system: &dyn System, peer: SocketAddr) -> MtuDiscoveryConfig {
    let mut discovery = MtuDiscoveryConfig::default();
    // Where the system does not say, quinn's own bound stays, which is Ethernet's.
    if let Ok(bytes) = system.datagram_bytes(peer) {
        discovery.upper_bound(bytes.min(MAX_DATAGRAM_BYTES));
    }
    discovery
}

/// An endpoint with a socket at `address`, which takes datagrams up to the longest. quinn reserves memory for them, and
/// touches what it needs.
pub(crate) fn endpoint(
    system: &dyn System,
    address: SocketAddr,
    server: Option<ServerConfig>,
) -> io::Result<Endpoint> {
    endpoint_on(system, system.bind(address)?, server)
}

/// The same on a socket that is bound already.
pub(crate) fn endpoint_on(
    system: &dyn System,
    socket: Arc<dyn AsyncUdpSocket>,
    server: Option<ServerConfig>,
) -> io::Result<Endpoint> {
    let mut config = EndpointConfig::default();
    config.rng_seed(system.seed());
    // It refuses only what is shorter than any datagram may be.
    let _ = config.max_udp_payload_size(MAX_DATAGRAM_BYTES);
    Endpoint::new_with_abstract_socket(config, server, socket, system.runtime())
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, UdpSocket};

    use super::*;

    #[test]
    fn what_the_system_gets_at_a_time_fits_a_send() {
        const DATAGRAMS: usize = 10;
        let [receiver, sender] = [(); 2].map(|()| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        let all = vec![0; DATAGRAMS * usize::from(MAX_DATAGRAM_BYTES)];
        assert_eq!(sender.send_to(&all, receiver.local_addr().unwrap()).unwrap(), all.len());
    }
}
