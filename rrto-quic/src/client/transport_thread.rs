//! The thread that owns the connection. It drains the engine and feeds it; nothing else touches the network.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use quinn::{Connection, RecvStream, SendStream};
use rrto_core::wire::WireError;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{ConnectError, LinkConfig, Shared, resolve};
use crate::credit::write_ahead;
use crate::streams::{StreamError, read_bulk, read_bulk_header, read_control, send_bulk};
use crate::system::System;
use crate::tls::SERVER_NAME;
use crate::transport::{self, CONTROL_PRIORITY};

/// Control bytes taken from the engine at a time. Small, so that the first operators of a burst leave at once.
const CONTROL_BATCH_BYTES: usize = 32 << 10;

/// How long the goodbye may take to arrive before the connection is closed over its head.
const GOODBYE_LIMIT: Duration = Duration::from_millis(500);

pub(super) fn spawn(
    shared: Arc<Shared>,
    config: LinkConfig,
    client_config: quinn::ClientConfig,
    system: Arc<dyn System>,
) -> Result<(), ConnectError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let transport = carry(shared, config, client_config, system.clone());
    Ok(system.start("rrto-transport".into(), Box::new(move || runtime.block_on(transport)))?)
}

/// Connects, and carries the session to its end.
pub(super) async fn carry(
    shared: Arc<Shared>,
    config: LinkConfig,
    client_config: quinn::ClientConfig,
    system: Arc<dyn System>,
) {
    let _ended = Ended(shared.clone());
    let outcome = run(&shared, config, client_config, &*system).await;
    let mut state = shared.lock();
    match outcome {
        Ok(()) => {}
        Err(Failure::Connect(error)) => state.connect_error = Some(error),
        Err(Failure::Stream(error)) => state.engine.handle_lost(rrto_core::engine::Lost(error.to_string())),
    }
}

/// However the transport thread ends, also by a panic, nobody waits for it any longer.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.lose("the transport thread has ended".into());
        let mut state = self.0.lock();
        state.closed = true;
        self.0.changed.notify_all();
    }
}

enum Failure {
    Connect(ConnectError),
    Stream(StreamError),
}

async fn run(
    shared: &Arc<Shared>,
    config: LinkConfig,
    client: quinn::ClientConfig,
    system: &dyn System,
) -> Result<(), Failure> {
    let connection = connect(&config, client, system).await.map_err(Failure::Connect)?;
    let _ = shared.connection.set(connection.clone());
    let awake = shared.clone();
    // Ends with the runtime.
    tokio::spawn(async move { awake.hot.keep_awake().await });
    let outcome = serve(shared, &connection).await;
    let welcomed = shared.lock().engine.welcome().is_some();
    connection.close(0u32.into(), b"");
    match outcome {
        Err(StreamError::Connection(error) | StreamError::Read(quinn::ReadError::ConnectionLost(error)))
            if !welcomed =>
        {
            Err(Failure::Connect(ConnectError::of(&config.server, &error)))
        }
        Err(StreamError::Write(quinn::WriteError::ConnectionLost(error))) if !welcomed => {
            Err(Failure::Connect(ConnectError::of(&config.server, &error)))
        }
        other => other.map_err(Failure::Stream),
    }
}

/// Tries the server's addresses one after the other.
async fn connect(
    config: &LinkConfig,
    mut client: quinn::ClientConfig,
    system: &dyn System,
) -> Result<Connection, ConnectError> {
    let mut failure = ConnectError::Timeout { server: config.server.clone() };
    for address in resolve(&config.server)? {
        let local: SocketAddr = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let endpoint = transport::endpoint(system, local, None)?;
        client.transport_config(transport::parameters(
            system,
            address,
            config.silence_timeout,
            true,
            false,
            config.congestion,
        ));
        let connecting = endpoint.connect_with(client.clone(), address, SERVER_NAME).map_err(|error| {
            ConnectError::Address { server: config.server.clone(), reason: error.to_string() }
        })?;
        match connecting.await {
            Ok(connection) => return Ok(connection),
            Err(error) => failure = ConnectError::of(&config.server, &error),
        }
    }
    Err(failure)
}

/// Runs the session until the goodbye has gone out, or until the connection is of no more use.
async fn serve(shared: &Arc<Shared>, connection: &Connection) -> Result<(), StreamError> {
    let (send, recv) = connection.open_bi().await?;
    let _ = send.set_priority(CONTROL_PRIORITY);
    // Bounded by the engine's limit on unacknowledged bytes, which all payloads count against.
    let (bulk_queue, bulk) = mpsc::unbounded_channel();
    tokio::select! {
        // Control first: the server's reason for ending the session may have arrived together with the connection's
        // end, which the others report too.
        biased;
        ended = take_control(shared, recv) => ended,
        ended = take_payloads(shared, connection) => ended,
        ended = write_control(shared, connection, send, bulk_queue) => ended,
        ended = send_payloads(shared, connection, bulk) => ended,
    }
}

async fn write_control(
    shared: &Shared,
    connection: &Connection,
    mut send: SendStream,
    bulk_queue: mpsc::UnboundedSender<(u64, Bytes)>,
) -> Result<(), StreamError> {
    let mut out = Vec::new();
    loop {
        out.clear();
        let finished = {
            let mut state = shared.lock();
            state.engine.poll_control(&mut out, CONTROL_BATCH_BYTES)?;
            while let Some(payload) = state.engine.poll_bulk() {
                // The receiver lives as long as this future does.
                let _ = bulk_queue.send(payload);
            }
            // With nothing to send there is time to look for what the program repeats.
            if out.is_empty() {
                state.engine.handle_round_trip(connection.rtt());
                if state.engine.poll_search() {
                    continue;
                }
            }
            state.writer_idle = out.is_empty();
            state.engine.said_goodbye() || state.engine.lost().is_some()
        };
        if !out.is_empty() {
            shared.hot.touch(connection.rtt());
            write_ahead(connection, &mut send, &out).await?;
            shared.counters.control_up.fetch_add(out.len() as u64, Ordering::Relaxed);
            if let Some(tap) = &shared.tap {
                tap.control_sent(&out);
            }
        } else if !finished {
            shared.transmit.notified().await;
        }
        if finished {
            let _ = send.finish();
            let _ = tokio::time::timeout(GOODBYE_LIMIT, send.stopped()).await;
            return Ok(());
        }
    }
}

async fn send_payloads(
    shared: &Shared,
    connection: &Connection,
    mut bulk: mpsc::UnboundedReceiver<(u64, Bytes)>,
) -> Result<(), StreamError> {
    while let Some((number, payload)) = bulk.recv().await {
        let bytes = payload.len() as u64;
        send_bulk(connection, number, payload).await?;
        shared.counters.bulk_up.fetch_add(bytes, Ordering::Relaxed);
        if let Some(tap) = &shared.tap {
            tap.payload_sent(number, bytes);
        }
    }
    std::future::pending().await
}

async fn take_control(shared: &Shared, mut recv: RecvStream) -> Result<(), StreamError> {
    loop {
        let bytes = match read_control(&mut recv).await {
            // The server ends its stream after saying why it ends the session.
            Err(StreamError::ControlClosed) if shared.lock().engine.lost().is_some() => return Ok(()),
            other => other?,
        };
        shared.counters.control_down.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if let Some(tap) = &shared.tap {
            tap.control_received(&bytes);
        }
        let mut state = shared.lock();
        let outcome = state.engine.handle_control(&bytes);
        deliver(shared, &mut state);
        shared.announce(&state);
        outcome?;
    }
}

fn deliver(shared: &Shared, state: &mut super::State) {
    while let Some(delivery) = state.engine.poll_delivery() {
        shared.memory.deliver(delivery.number, 0, &delivery.bytes);
    }
}

async fn take_payloads(shared: &Arc<Shared>, connection: &Connection) -> Result<(), StreamError> {
    let mut readers = JoinSet::new();
    loop {
        tokio::select! {
            stream = connection.accept_uni() => {
                readers.spawn(take_payload(shared.clone(), stream?));
            }
            Some(ended) = readers.join_next() => {
                // A reader does not panic, and is not cancelled while the set lives.
                ended.unwrap_or(Ok(()))?;
            }
        }
    }
}

async fn take_payload(shared: Arc<Shared>, mut stream: RecvStream) -> Result<(), StreamError> {
    let header = read_bulk_header(&mut stream).await?;
    if shared.lock().engine.awaited_payload(header.number) != Some(header.bytes) {
        return Err(WireError::Unexpected { what: "bulk payload" }.into());
    }
    let deliver_pieces = |mut offset, pieces: &[Bytes]| {
        for piece in pieces {
            shared.memory.deliver(header.number, offset, piece);
            offset += piece.len() as u64;
        }
        Ok(())
    };
    read_bulk(&mut stream, header.bytes, deliver_pieces).await?;
    shared.counters.bulk_down.fetch_add(header.bytes, Ordering::Relaxed);
    let mut state = shared.lock();
    let outcome = state.engine.handle_payload_delivered(header.number);
    deliver(&shared, &mut state);
    shared.announce(&state);
    Ok(outcome?)
}
