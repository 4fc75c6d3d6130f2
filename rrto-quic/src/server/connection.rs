//! One connection, from its handshake to its end. Its session may have others, and goes on without it for a while.
//!
//! Early data (0-RTT) can be repeated by anybody who has seen it (RFC 8446, section 8), so what comes early is taken only as
//! far as it may be taken twice. It begins with a resumption, which says what has come; the operators in it have numbers, and
//! are executed at once, each once however often it comes. What has no number, a goodbye or the word that this is now the
//! session's connection, counts when the handshake is over, and a hello is not taken early at all: so a repetition
//! neither begins nor ends a session, and takes no connection away from the client. Its answers reach nobody: they are
//! encrypted for whoever made the flight.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use quinn::{Connection, ConnectionError, Incoming, RecvStream, SendStream, ServerConfig, ZeroRttAccepted};
use rrto_core::engine::server::{Channel, Greeting};
use rrto_core::engine::{Payload, ServerLimits};
use rrto_core::wire::{BulkHeader, Hello, Refusal, Resume, ServerFrame, WireError, put_frame};
use tokio::sync::{Notify, mpsc};
use tracing::{debug, info, warn};

use super::places::Place;
use super::registry::{Registry, new_token};
use super::trust::Trust;
use super::{Admission, Gate, Path, Session, Shared, look, unheard};
use crate::close;
use crate::coding::{Coder, Coding};
use crate::credit::write_ahead;
use crate::hot::Hot;
use crate::streams::{StreamError, read_bulk, read_bulk_header, read_control, send_bulk, take_bulk};
use crate::system::System;
use crate::tls::{peer_certificate, peer_name};
use crate::transport::CONTROL_PRIORITY;

/// How long a client may take from its first packet to its hello, and to the end of its handshake: some round trips of the slowest
/// link, with repetitions. One that takes longer may try again.
const HELLO_LIMIT: Duration = Duration::from_secs(4);

/// How long the last words to a client may take.
const FAREWELL_LIMIT: Duration = Duration::from_secs(1);

/// Connections of one session at a time that are not known to be its client's. A client that has lost its link makes some
/// six before it gives the first of them up.
const MOST_UNCONFIRMED: usize = 16;

/// What a connection is let into.
pub(super) struct House {
    pub(super) gate: Arc<dyn Gate>,
    pub(super) limits: ServerLimits,
    pub(super) coding: Coding,
    pub(super) registry: Arc<Registry>,
    pub(super) system: Arc<dyn System>,
    pub(super) hot: Arc<Hot>,
    pub(super) trust: Arc<Trust>,
    pub(super) place: Place,
}

pub(super) async fn serve(id: u64, (incoming, config): (Incoming, Arc<ServerConfig>), house: House) {
    let peer = incoming.remote_address();
    let gives_way = house.place.gives_way();
    let accepted = tokio::select! {
        accepted = tokio::time::timeout(HELLO_LIMIT, accept(incoming, config)) => accepted,
        () = gives_way.notified() => {
            info!(%peer, "connection refused: its handshake has given way to another one");
            return;
        }
    };
    let accepted = match accepted {
        Ok(Ok(accepted)) => accepted,
        Ok(Err(error)) => {
            info!(%peer, "connection refused: {}", unheard::meaning(&error));
            return;
        }
        Err(_) => {
            info!(%peer, "connection refused: no hello within {HELLO_LIMIT:?}");
            return;
        }
    };
    let Accepted { connection, greeting, channel, confirmed, mut send, recv } = accepted;
    let robot = peer_name(&connection);
    if confirmed.is_none() && !house.place.prove(robot.as_deref().unwrap_or_default()) {
        connection.close(close::SUPERSEDED, b"");
        return;
    }
    let path = match (&robot, &greeting) {
        // Robots without a name would all be the same one, and could take over each other's sessions.
        (None, _) => Err(Refusal::Nameless),
        (Some(_), _) if house.trust.is_revoked(&connection) => Err(Refusal::Revoked),
        (Some(robot), Greeting::Hello(hello)) => {
            welcome(id, &house, robot, hello, (&connection, channel)).await
        }
        (Some(robot), Greeting::Resume(resume)) => {
            let is_confirmed = confirmed.is_none();
            go_on(&house.registry, robot, resume, (&connection, channel, is_confirmed))
        }
    };
    let attached = match path {
        Ok(attached) => attached,
        Err(refusal) => {
            info!(connection = id, robot = robot.as_deref(), %peer, "client refused: {refusal}");
            refuse(&mut send, refusal).await;
            connection.close(close::DONE, b"");
            return;
        }
    };
    let session = attached.shared.id;
    debug!(session, connection = id, %peer, early = confirmed.is_some(), "connected");
    let outcome = tokio::select! {
        outcome = run(&attached, &connection, (confirmed, &house), (send, recv)) => outcome,
        () = gives_way.notified() => {
            connection.close(close::SUPERSEDED, b"");
            Err(StreamError::Superseded)
        }
    };
    let reason = match &outcome {
        Ok(()) => "the session has ended".to_owned(),
        Err(error) => error.to_string(),
    };
    debug!(session, connection = id, "connection over: {reason}");
    let gave_up = matches!(
        connection.close_reason(),
        Some(ConnectionError::ApplicationClosed(closed)) if closed.error_code == close::DONE
    );
    connection.close(close::DONE, b"");
    attached.leave(&house.registry, (gave_up || outcome.is_ok()).then_some(reason));
}

struct Accepted {
    connection: Connection,
    greeting: Greeting,
    channel: Channel,
    /// Until when it is early; `None` if it is not.
    confirmed: Option<ZeroRttAccepted>,
    send: SendStream,
    recv: RecvStream,
}

/// Waits for the greeting, which may come before the handshake is over.
async fn accept(incoming: Incoming, config: Arc<ServerConfig>) -> Result<Accepted, StreamError> {
    // A server's connection can always be used before the handshake is over (0.5-RTT). A stream that is not early has come
    // after the client's certificate was checked: before that nothing can be decrypted but early data.
    let (connection, confirmed) = match incoming.accept_with(config)?.into_0rtt() {
        Ok((connection, confirmed)) => (connection, Some(confirmed)),
        Err(connecting) => (connecting.await?, None),
    };
    let (send, mut recv) = connection.accept_bi().await?;
    let _ = send.set_priority(CONTROL_PRIORITY);
    let confirmed = confirmed.filter(|_| recv.is_0rtt());
    let mut channel = Channel::new(confirmed.is_some());
    loop {
        let bytes = read_control(&mut recv).await?;
        if let Some(greeting) = channel.handle_greeting(&bytes)? {
            return Ok(Accepted { connection, greeting, channel, confirmed, send, recv });
        }
    }
}

/// A session's hold on a connection.
struct Attached {
    shared: Arc<Shared>,
    number: u64,
    transmit: Arc<Notify>,
}

impl Attached {
    fn new(shared: Arc<Shared>, connection: &Connection, channel: Channel, is_confirmed: bool) -> Self {
        let transmit = Arc::new(Notify::new());
        let mut state = shared.lock();
        state.paths_opened += 1;
        let number = state.paths_opened;
        state.paths.push(Path {
            number,
            channel,
            connection: connection.clone(),
            is_confirmed: false,
            reports: 0,
            is_looked_at: false,
            writer_idle: false,
            transmit: transmit.clone(),
        });
        drop(state);
        let attached = Attached { shared, number, transmit };
        if is_confirmed {
            attached.confirm();
        }
        attached
    }

    /// The handshake is over: the client is there, and whoever repeats what it said is not.
    fn confirm(&self) {
        let mut state = self.shared.lock();
        state.connections += 1;
        let super::State { engine, paths, .. } = &mut *state;
        if let Some(path) = paths.iter_mut().find(|path| path.number == self.number) {
            path.is_confirmed = true;
            engine.handle_confirmed(&mut path.channel);
        }
        self.supersede(&mut state);
        drop(state);
        self.shared.announce_arrival();
    }

    /// If the client keeps this connection, the others are over.
    fn supersede(&self, state: &mut super::State) {
        if state.path(self.number).is_some_and(|path| path.channel.is_kept()) {
            for other in state.paths.extract_if(.., |path| path.number != self.number) {
                other.connection.close(close::SUPERSEDED, b"");
            }
        }
    }

    /// Takes what came on the control stream.
    fn handle_control(&self, bytes: &[u8]) -> Result<(), StreamError> {
        let mut state = self.shared.lock();
        let super::State { engine, paths, .. } = &mut *state;
        let Some(path) = paths.iter_mut().find(|path| path.number == self.number) else {
            return Err(StreamError::Superseded);
        };
        let taken = engine.handle_control(&mut path.channel, bytes);
        self.supersede(&mut state);
        self.shared.wake_writer(&mut state);
        drop(state);
        self.shared.announce_arrival();
        Ok(taken?)
    }

    /// The connection is over, and with it, if there is a reason, the session. Otherwise that waits for another one.
    fn leave(self, registry: &Arc<Registry>, over: Option<String>) {
        let mut state = self.shared.lock();
        let was_confirmed = state.path(self.number).is_some_and(|path| path.is_confirmed);
        state.paths.retain(|path| path.number != self.number);
        let is_alone = was_confirmed && !state.paths.iter().any(|path| path.is_confirmed);
        let time = state.connections;
        drop(state);
        match over {
            Some(reason) if was_confirmed => self.shared.set_over(reason),
            _ if is_alone => registry.wait_for_connection(&self.shared, time),
            _ => {}
        }
    }
}

/// Begins a session. What the robot has left behind gives way to it: programs that are gone, and, where there is no room otherwise,
/// those that are waited for.
async fn welcome(
    id: u64,
    house: &House,
    robot: &str,
    hello: &Hello,
    (connection, mut channel): (&Connection, Channel),
) -> Result<Attached, Refusal> {
    hello.check()?;
    let peer = connection.remote_address();
    look::look_after(&house.registry, robot, peer).await;
    house.registry.wait_for_freed(robot).await;
    let Admission { mut welcome, run } = loop {
        // Either may have come about while room was made.
        if house.registry.is_draining() {
            return Err(Refusal::Ending);
        }
        if house.trust.is_revoked(connection) {
            return Err(Refusal::Revoked);
        }
        match house.gate.admit(robot, peer, hello) {
            Err(refusal) if refusal.is_for_room() && house.registry.make_room(robot).await => {}
            decided => break decided?,
        }
    };
    welcome.session = id;
    let certificate = peer_certificate(connection).unwrap_or_else(|| Vec::new().into()).to_vec();
    let of = (robot.to_owned(), peer, certificate);
    let shared = Arc::new(Shared::new(id, of, new_token()?, house.limits, house.hot.clone()));
    house.registry.insert(shared.clone());
    let session = Session::new(shared.clone(), house.registry.clone());
    // The list may have been replaced since it was asked, and its sessions ended before this one was among them.
    if house.trust.is_revoked(connection) {
        return Err(Refusal::Revoked);
    }
    house
        .system
        .start(format!("rrto-session-{id}"), Box::new(move || run(session)))
        .map_err(|error| Refusal::Device { reason: format!("no thread for the session: {error}") })?;
    shared.lock().engine.handle_welcome(&mut channel, welcome, shared.token);
    let attached = Attached::new(shared, connection, channel, true);
    Ok(attached)
}

/// Goes on with a session.
fn go_on(
    registry: &Registry,
    robot: &str,
    resume: &Resume,
    (connection, mut channel, is_confirmed): (&Connection, Channel, bool),
) -> Result<Attached, Refusal> {
    let shared = registry.find(&resume.token, robot)?;
    let mut state = shared.lock();
    if state.over.is_some() && !state.engine.is_ended() {
        return Err(Refusal::Unknown);
    }
    // The client has given the oldest of them up, if they are its own.
    let mut unconfirmed = state.paths.iter().filter(|path| !path.is_confirmed);
    let oldest = unconfirmed.next().map(|path| path.number);
    if unconfirmed.count() + 1 >= MOST_UNCONFIRMED {
        for given_up in state.paths.extract_if(.., |path| Some(path.number) == oldest) {
            given_up.connection.close(close::SUPERSEDED, b"");
        }
    }
    state.engine.handle_resume(&mut channel, resume);
    drop(state);
    Ok(Attached::new(shared, connection, channel, is_confirmed))
}

async fn refuse(send: &mut SendStream, refusal: Refusal) {
    let mut out = Vec::new();
    // It is short, and if the client is gone it needs no telling.
    let _ = put_frame(&ServerFrame::Refused(refusal), &mut out);
    let told = async {
        send.write_all(&out).await.ok()?;
        send.finish().ok()?;
        send.stopped().await.ok()
    };
    let _ = tokio::time::timeout(FAREWELL_LIMIT, told).await;
}

/// Carries the session until one side has nothing more to say.
async fn run(
    attached: &Attached,
    connection: &Connection,
    (confirmed, house): (Option<ZeroRttAccepted>, &House),
    (send, recv): (SendStream, RecvStream),
) -> Result<(), StreamError> {
    let shared = &attached.shared;
    let (bulk_queue, bulk) = mpsc::unbounded_channel();
    let incoming = async {
        tokio::select! {
            ended = take_control(attached, connection, recv) => ended,
            ended = take_bulk(connection, |stream| take_payload(shared.clone(), connection.clone(), stream)) => ended,
        }
    };
    let outgoing = async {
        tokio::select! {
            ended = write_control(attached, connection, send, bulk_queue) => ended,
            ended = send_payloads(shared, connection, house.coding, bulk) => ended,
            never = confirm(attached, connection, confirmed, &house.place) => never,
        }
    };
    tokio::pin!(outgoing);
    tokio::select! {
        ended = &mut outgoing => ended,
        ended = incoming => {
            let is_confirmed =
                shared.lock().path(attached.number).is_some_and(|path| path.is_confirmed);
            if let Err(error @ StreamError::Wire(_)) = &ended && is_confirmed {
                warn!(session = shared.id, robot = %shared.robot, "{error}");
                shared.end(&error.to_string());
                let _ = tokio::time::timeout(FAREWELL_LIMIT, outgoing).await;
            }
            ended
        }
    }
}

/// Waits for the end of the handshake, and then for ever.
async fn confirm(
    attached: &Attached,
    connection: &Connection,
    confirmed: Option<ZeroRttAccepted>,
    place: &Place,
) -> Result<(), StreamError> {
    if let Some(confirmed) = confirmed {
        // What it gives means something for clients only; a connection that is lost makes it ready too.
        let is_over = tokio::time::timeout(HELLO_LIMIT, confirmed).await.is_ok();
        if !is_over || !place.prove(&attached.shared.robot) {
            return Err(StreamError::Superseded);
        }
        if connection.close_reason().is_none() {
            attached.confirm();
        }
    }
    std::future::pending().await
}

async fn write_control(
    attached: &Attached,
    connection: &Connection,
    mut send: SendStream,
    bulk_queue: mpsc::UnboundedSender<(u64, Bytes)>,
) -> Result<(), StreamError> {
    let shared = &attached.shared;
    let mut out = Vec::new();
    loop {
        out.clear();
        let ended = {
            let mut state = shared.lock();
            let super::State { engine, paths, .. } = &mut *state;
            let Some(path) = paths.iter_mut().find(|path| path.number == attached.number) else {
                return Err(StreamError::Superseded);
            };
            engine.poll_control(&mut path.channel, &mut out)?;
            while let Some(payload) = engine.poll_bulk(&mut path.channel) {
                // The receiver lives as long as this future does.
                let _ = bulk_queue.send(payload);
            }
            path.writer_idle = out.is_empty();
            engine.is_ended()
        };
        if !out.is_empty() {
            write_ahead(connection, &mut send, &out).await?;
            shared.bytes_down.fetch_add(out.len() as u64, Ordering::Relaxed);
        } else if ended {
            let _ = send.finish();
            let _ = tokio::time::timeout(FAREWELL_LIMIT, send.stopped()).await;
            return Ok(());
        } else {
            attached.transmit.notified().await;
        }
    }
}

async fn send_payloads(
    shared: &Shared,
    connection: &Connection,
    coding: Coding,
    mut bulk: mpsc::UnboundedReceiver<(u64, Bytes)>,
) -> Result<(), StreamError> {
    let mut coder = Coder::new(coding);
    while let Some((number, payload)) = bulk.recv().await {
        let bytes = payload.len() as u64;
        send_bulk(connection, &mut coder, number, payload).await?;
        shared.bytes_down.fetch_add(bytes, Ordering::Relaxed);
    }
    std::future::pending().await
}

async fn take_control(
    attached: &Attached,
    connection: &Connection,
    mut recv: RecvStream,
) -> Result<(), StreamError> {
    let shared = &attached.shared;
    // What came together with the greeting.
    attached.handle_control(&[])?;
    loop {
        if !shared.lock().engine.wants_control() {
            while !shared.lock().engine.wants_control() {
                shared.room.notified().await;
            }
            // Another connection of the session may have waited for the same.
            shared.room.notify_waiters();
        }
        let bytes = read_control(&mut recv).await?;
        shared.hot.touch(connection.rtt());
        shared.bytes_up.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        attached.handle_control(&bytes)?;
    }
}

async fn take_payload(
    shared: Arc<Shared>,
    connection: Connection,
    mut stream: RecvStream,
) -> Result<(), StreamError> {
    let header = read_bulk_header(&mut stream).await?;
    {
        let state = shared.lock();
        if state.engine.has_payload(header.number) {
            // It has come by way of another connection.
            let _ = stream.stop(close::SUPERSEDED);
            return Ok(());
        }
        if !state.engine.wants_payload(header.number, header.bytes) {
            return Err(WireError::Limit { what: "payload bytes of a session" }.into());
        }
    }
    let payload = match shared.staging.get().and_then(|staging| staging.take(header.bytes)) {
        Some(place) => {
            let stage = |offset, pieces: &[Bytes]| place.write(offset, pieces).map_err(StreamError::Staging);
            read_bulk(&mut stream, &header, stage).await?;
            Payload::Staged(place)
        }
        None => keep_payload(&mut stream, &header).await?.into(),
    };
    shared.hot.touch(connection.rtt());
    shared.bytes_up.fetch_add(header.bytes, Ordering::Relaxed);
    shared.lock().engine.handle_payload(header.number, payload)?;
    shared.announce_arrival();
    Ok(())
}

async fn keep_payload(stream: &mut RecvStream, header: &BulkHeader) -> Result<Bytes, StreamError> {
    // BulkHeader::decode has bounded the length by MAX_PAYLOAD_BYTES, and BULK_STREAMS bounds how many there are.
    let mut payload = Vec::new();
    payload.try_reserve_exact(header.bytes as usize).map_err(|error| StreamError::Staging(error.into()))?;
    let keep = |_, pieces: &[Bytes]| {
        pieces.iter().for_each(|piece| payload.extend_from_slice(piece));
        Ok(())
    };
    read_bulk(stream, header, keep).await?;
    Ok(payload.into())
}
