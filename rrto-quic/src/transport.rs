//! QUIC transport parameters, and the UDP sockets below.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use quinn::{IdleTimeout, TransportConfig, VarInt};
use rrto_core::operator::MAX_PAYLOAD_BYTES;

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

/// The control stream goes before all bulk.
pub(crate) const CONTROL_PRIORITY: i32 = i32::MAX;

/// Transport parameters of one side. A peer that is silent for `silence` is gone; the side that keeps the connection
/// alive makes sure that a healthy peer is never silent for so long.
pub(crate) fn parameters(
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
        .max_idle_timeout(IdleTimeout::try_from(silence).ok())
        .keep_alive_interval(keeps_alive.then_some(silence / 4));
    Arc::new(config)
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
