//! The relay's UDP socket: one, from which everything is answered.

use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::ops::Range;
use std::time::{Duration, Instant};

use metrics::{counter, gauge};
use quinn_udp::{BATCH_SIZE, EcnCodepoint, RecvMeta, Transmit, UdpSocketState};
use tokio::io::Interest;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::MissedTickBehavior;

use super::rooms::RoomConfig;
use super::state::{Place, Relay, Verdict};
use crate::metrics::{
    RELAY_BYTES, RELAY_CLIENTS, RELAY_DATAGRAMS, RELAY_DROPPED, RELAY_REGISTRATIONS, RELAY_SERVERS,
};

/// How often the relay forgets whom it has not heard of, and tells the metrics.
const TICK: Duration = Duration::from_secs(1);

/// The system's buffers of the socket: a burst waits here while the ones before it go out. The system may give less.
const SOCKET_BUFFER_BYTES: usize = 8 << 20;

/// A socket that fails is asked again after this.
const RECEIVE_RETRY: Duration = Duration::from_millis(10);

/// A batch that the system gives or takes is no longer than an IP packet.
const BATCH_BYTES: usize = 64 << 10;

/// A bound socket and the relay behind it.
pub struct RelayServer {
    socket: tokio::net::UdpSocket,
    system: UdpSocketState,
    relay: Relay,
    started: Instant,
    reloads: Option<UnboundedReceiver<Vec<RoomConfig>>>,
}

impl RelayServer {
    /// Binds the socket. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// The address cannot be had.
    pub fn bind(listen: SocketAddr, relay: Relay) -> io::Result<Self> {
        let socket = UdpSocket::bind(listen)?;
        let system = UdpSocketState::new((&socket).into())?;
        // Best effort: a small buffer only costs speed.
        let _ = system.set_recv_buffer_size((&socket).into(), SOCKET_BUFFER_BYTES);
        let _ = system.set_send_buffer_size((&socket).into(), SOCKET_BUFFER_BYTES);
        let socket = tokio::net::UdpSocket::from_std(socket)?;
        Ok(RelayServer { socket, system, relay, started: Instant::now(), reloads: None })
    }

    /// The bound address.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// What is sent there are its rooms from then on.
    pub fn reloads(&mut self) -> UnboundedSender<Vec<RoomConfig>> {
        let (sender, reloads) = unbounded_channel();
        self.reloads = Some(reloads);
        sender
    }

    /// Forwards until `shutdown` is ready.
    ///
    /// # Errors
    /// The socket fails for good.
    pub async fn serve(mut self, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut memory = vec![0; BATCH_BYTES * BATCH_SIZE];
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => return Ok(()),
                _ = tick.tick() => {
                    self.relay.expire(self.started.elapsed());
                    self.publish();
                }
                Some(rooms) = next_of(&mut self.reloads) => self.relay.set_rooms(rooms),
                ready = self.socket.readable() => {
                    ready?;
                    self.take(&mut memory).await;
                }
            }
        }
    }

    /// Receives what is there, and sends what becomes of it.
    async fn take(&mut self, memory: &mut [u8]) {
        let mut metas = [RecvMeta::default(); BATCH_SIZE];
        let received = {
            let mut bufs: Vec<_> = memory.chunks_mut(BATCH_BYTES).map(IoSliceMut::new).collect();
            let receive = || self.system.recv((&self.socket).into(), &mut bufs, &mut metas);
            match self.socket.try_io(Interest::READABLE, receive) {
                Ok(received) => received,
                // Nothing there after all, or an earlier datagram was not wanted where it went.
                Err(error) if is_passing(&error) => return,
                // Whatever it is, it may pass (memory, a network that goes down), and nobody else forwards.
                Err(error) => {
                    tracing::warn!("nothing received: {error}");
                    tokio::time::sleep(RECEIVE_RETRY).await;
                    return;
                }
            }
        };
        let now = self.started.elapsed();
        for (buf, meta) in memory.chunks(BATCH_BYTES).zip(metas).take(received) {
            self.take_batch(now, buf.get(..meta.len).unwrap_or_default(), &meta).await;
        }
    }

    /// Datagrams that came from one address as one batch leave as one, as far as they go to one.
    async fn take_batch(&mut self, now: Duration, batch: &[u8], meta: &RecvMeta) {
        let from = Place { address: meta.addr, local_ip: meta.dst_ip };
        let stride = meta.stride.max(1);
        let mut run: Option<(Place, Range<usize>)> = None;
        for start in (0..batch.len()).step_by(stride) {
            let range = start..batch.len().min(start + stride);
            let verdict = self.relay.handle(now, from, batch.get(range.clone()).unwrap_or_default());
            match (&verdict, &mut run) {
                (Verdict::Forward(to), Some((place, run))) if to == place && run.end == start => {
                    run.end = range.end;
                    continue;
                }
                _ => {}
            }
            if let Some((to, run)) = run.take() {
                self.send(to, batch.get(run).unwrap_or_default(), stride, meta.ecn).await;
            }
            match verdict {
                Verdict::Forward(to) => run = Some((to, range)),
                Verdict::Answer(answer) => self.send(from, &answer, answer.len(), None).await,
                Verdict::Drop => {}
            }
        }
        if let Some((to, run)) = run {
            self.send(to, batch.get(run).unwrap_or_default(), stride, meta.ecn).await;
        }
    }

    /// Waits while the system's buffer is full; meanwhile what arrives waits in the other one, and where that is full is
    /// lost, as in any router.
    async fn send(&self, to: Place, batch: &[u8], stride: usize, ecn: Option<EcnCodepoint>) {
        let at_once = self.system.max_gso_segments().saturating_mul(stride).max(1);
        for contents in batch.chunks(at_once) {
            let transmit = Transmit {
                destination: to.address,
                ecn,
                contents,
                segment_size: (contents.len() > stride).then_some(stride),
                src_ip: to.local_ip,
            };
            loop {
                let send = || self.system.send((&self.socket).into(), &transmit);
                match self.socket.try_io(Interest::WRITABLE, send) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        if self.socket.writable().await.is_err() {
                            return;
                        }
                    }
                    // What cannot be sent is lost.
                    _ => break,
                }
            }
        }
    }

    fn publish(&self) {
        let statistics = self.relay.statistics();
        gauge!(RELAY_CLIENTS).set(self.relay.clients() as f64);
        gauge!(RELAY_SERVERS).set(self.relay.servers() as f64);
        counter!(RELAY_DATAGRAMS).absolute(statistics.forwarded);
        counter!(RELAY_BYTES).absolute(statistics.forwarded_bytes);
        for (why, count) in [
            ("over_rate", statistics.over_rate),
            ("no_server", statistics.no_server),
            ("stray", statistics.strays),
            ("malformed", statistics.malformed),
            ("unanswered", statistics.unanswered),
        ] {
            counter!(RELAY_DROPPED, "why" => why).absolute(count);
        }
        for (outcome, count) in [
            ("taken", statistics.registrations),
            ("challenged", statistics.challenges),
            ("refused", statistics.refusals),
        ] {
            counter!(RELAY_REGISTRATIONS, "outcome" => outcome).absolute(count);
        }
    }
}

async fn next_of(reloads: &mut Option<UnboundedReceiver<Vec<RoomConfig>>>) -> Option<Vec<RoomConfig>> {
    reloads.as_mut()?.recv().await
}

fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    matches!(error.kind(), WouldBlock | Interrupted | ConnectionReset | ConnectionRefused)
}
