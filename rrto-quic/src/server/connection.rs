//! One connection, from its handshake to its end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quinn::{Connection, Incoming, RecvStream, SendStream, ServerConfig};
use rrto_core::engine::{Payload, Server, ServerLimits};
use rrto_core::wire::{Hello, Refusal, WireError};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use super::{Admission, Gate, Session, Sessions, Shared, State, lock_sessions};
use crate::credit::write_ahead;
use crate::hot::Hot;
use crate::signal::Signal;
use crate::streams::{StreamError, read_bulk, read_bulk_header, read_control, send_bulk};
use crate::system::System;
use crate::tls::peer_name;
use crate::transport::CONTROL_PRIORITY;

/// How long a client may take from its first packet to its hello.
const HELLO_LIMIT: Duration = Duration::from_secs(10);

/// How long the last words to a client may take.
const FAREWELL_LIMIT: Duration = Duration::from_secs(1);

pub(super) async fn serve(
    id: u64,
    (incoming, config): (Incoming, Arc<ServerConfig>),
    gate: Arc<dyn Gate>,
    limits: ServerLimits,
    (sessions, hot): (Sessions, Arc<Hot>),
    system: Arc<dyn System>,
) {
    let peer = incoming.remote_address();
    let accepted = tokio::time::timeout(HELLO_LIMIT, accept(id, incoming, config, limits, hot)).await;
    let (connection, shared, hello, send, recv) = match accepted {
        Ok(Ok(accepted)) => accepted,
        Ok(Err(error)) => {
            info!(%peer, "connection refused: {error}");
            return;
        }
        Err(_) => {
            info!(%peer, "connection refused: no hello within {HELLO_LIMIT:?}");
            return;
        }
    };
    let admission = hello.check().and_then(|()| gate.admit(&shared.robot, peer, &hello));
    let started = match admission {
        Ok(admission) => start(&*system, &shared, admission),
        Err(refusal) => Err(refusal),
    };
    if let Err(refusal) = started {
        info!(session = id, robot = %shared.robot, %peer, "client refused: {refusal}");
        shared.lock().engine.handle_refusal(refusal);
    }
    lock_sessions(&sessions).insert(id, shared.clone());
    let reason = match run(&shared, &connection, send, recv).await {
        Ok(()) => "the session has ended".to_owned(),
        Err(error) => error.to_string(),
    };
    lock_sessions(&sessions).remove(&id);
    debug!(session = id, "connection over: {reason}");
    shared.set_over(reason);
    connection.close(0u32.into(), b"");
}

type Accepted = (Connection, Arc<Shared>, Hello, SendStream, RecvStream);

/// Completes the handshake and reads the hello.
async fn accept(
    id: u64,
    incoming: Incoming,
    config: Arc<ServerConfig>,
    limits: ServerLimits,
    hot: Arc<Hot>,
) -> Result<Accepted, StreamError> {
    let connection = incoming.accept_with(config)?.await?;
    let (send, mut recv) = connection.accept_bi().await?;
    let _ = send.set_priority(CONTROL_PRIORITY);
    let shared = Arc::new(Shared {
        id,
        robot: peer_name(&connection).unwrap_or_default(),
        peer: connection.remote_address(),
        state: Mutex::new(State { engine: Server::new(limits), writer_idle: false, over: None }),
        arrived: Signal::default(),
        arrivals: AtomicU64::new(0),
        transmit: Notify::new(),
        room: Notify::new(),
        operators: AtomicU64::new(0),
        bytes_up: AtomicU64::new(0),
        bytes_down: AtomicU64::new(0),
        staging: OnceLock::new(),
        hot,
    });
    loop {
        let bytes = read_control(&mut recv).await?;
        let hello = {
            let mut state = shared.lock();
            state.engine.handle_control(&bytes)?;
            state.engine.hello().cloned()
        };
        if let Some(hello) = hello {
            return Ok((connection, shared, hello, send, recv));
        }
    }
}

/// Starts the executor's thread.
fn start(system: &dyn System, shared: &Arc<Shared>, admission: Admission) -> Result<(), Refusal> {
    let Admission { mut welcome, run } = admission;
    welcome.session = shared.id;
    shared.lock().engine.handle_welcome(welcome);
    let session = Session::new(shared.clone());
    system
        .start(format!("rrto-session-{}", shared.id), Box::new(move || run(session)))
        .map_err(|error| Refusal::Device { reason: format!("no thread for the session: {error}") })
}

/// Carries the session until one side has nothing more to say.
async fn run(
    shared: &Arc<Shared>,
    connection: &Connection,
    send: SendStream,
    recv: RecvStream,
) -> Result<(), StreamError> {
    let (bulk_queue, bulk) = mpsc::unbounded_channel();
    let incoming = async {
        tokio::select! {
            ended = take_control(shared, connection, recv) => ended,
            ended = take_payloads(shared, connection) => ended,
        }
    };
    let outgoing = async {
        tokio::select! {
            ended = write_control(shared, connection, send, bulk_queue) => ended,
            ended = send_payloads(shared, connection, bulk) => ended,
        }
    };
    tokio::pin!(outgoing);
    tokio::select! {
        ended = &mut outgoing => ended,
        ended = incoming => {
            if let Err(error @ (StreamError::Wire(_) | StreamError::Short)) = &ended {
                warn!(session = shared.id, robot = %shared.robot, "{error}");
                shared.end(&error.to_string());
                let _ = tokio::time::timeout(FAREWELL_LIMIT, outgoing).await;
            }
            ended
        }
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
        let ended = {
            let mut state = shared.lock();
            state.engine.poll_control(&mut out)?;
            while let Some(payload) = state.engine.poll_bulk() {
                // The receiver lives as long as this future does.
                let _ = bulk_queue.send(payload);
            }
            state.writer_idle = out.is_empty();
            state.engine.is_ended()
        };
        if !out.is_empty() {
            write_ahead(connection, &mut send, &out).await?;
            shared.bytes_down.fetch_add(out.len() as u64, Ordering::Relaxed);
        } else if ended {
            let _ = send.finish();
            let _ = tokio::time::timeout(FAREWELL_LIMIT, send.stopped()).await;
            return Ok(());
        } else {
            shared.transmit.notified().await;
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
        shared.bytes_down.fetch_add(bytes, Ordering::Relaxed);
    }
    std::future::pending().await
}

async fn take_control(
    shared: &Shared,
    connection: &Connection,
    mut recv: RecvStream,
) -> Result<(), StreamError> {
    loop {
        while !shared.lock().engine.wants_control() {
            shared.room.notified().await;
        }
        let bytes = read_control(&mut recv).await?;
        shared.hot.touch(connection.rtt());
        shared.bytes_up.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        shared.lock().engine.handle_control(&bytes)?;
        shared.announce_arrival();
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
    if !shared.lock().engine.wants_payload(header.number, header.bytes) {
        return Err(WireError::Limit { what: "payload bytes of a session" }.into());
    }
    let payload = match shared.staging.get().and_then(|staging| staging.take(header.bytes)) {
        Some(place) => {
            let stage = |offset, pieces: &[Bytes]| place.write(offset, pieces).map_err(StreamError::Staging);
            read_bulk(&mut stream, header.bytes, stage).await?;
            Payload::Staged(place)
        }
        None => keep_payload(&mut stream, header.bytes).await?.into(),
    };
    shared.bytes_up.fetch_add(header.bytes, Ordering::Relaxed);
    shared.lock().engine.handle_payload(header.number, payload)?;
    shared.announce_arrival();
    Ok(())
}

async fn keep_payload(stream: &mut RecvStream, bytes: u64) -> Result<Bytes, StreamError> {
    // BulkHeader::decode has bounded the length by MAX_PAYLOAD_BYTES, and BULK_STREAMS bounds how many there are.
    let mut payload = BytesMut::with_capacity(bytes as usize);
    let keep = |_, pieces: &[Bytes]| {
        pieces.iter().for_each(|piece| payload.extend_from_slice(piece));
        Ok(())
    };
    read_bulk(stream, bytes, keep).await?;
    Ok(payload.freeze())
}
