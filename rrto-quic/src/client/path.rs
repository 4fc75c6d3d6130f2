//! One connection's part in carrying the session.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use quinn::{Connecting, Connection, RecvStream, SendStream, VarInt, ZeroRttAccepted};
use rrto_core::engine::client::Channel;
use rrto_core::wire::WireError;
use tokio::sync::{Notify, mpsc};

use super::{Path, Shared, State};
use crate::close;
use crate::coding::Coder;
use crate::credit::write_ahead;
use crate::streams::{StreamError, read_bulk, read_bulk_header, read_control, send_bulk, take_bulk};
use crate::transport::CONTROL_PRIORITY;

/// Control bytes taken from the engine at a time. Small, so that the first operators of a burst leave at once.
const CONTROL_BATCH_BYTES: usize = 32 << 10;

/// How long the goodbye may take to arrive before the connection is closed over its head.
const GOODBYE_LIMIT: Duration = Duration::from_millis(500);

impl Path {
    pub(super) fn new(number: u64, channel: Channel) -> Self {
        let transmit = Arc::new(Notify::new());
        Path {
            number,
            channel,
            connection: None,
            is_connected: false,
            is_early: false,
            writer_idle: false,
            transmit,
        }
    }

    pub(super) fn close(&self, code: VarInt) {
        if let Some(connection) = &self.connection {
            connection.close(code, b"");
        }
    }
}

/// Carries the session on a connection until that is over; without an error, until the session is.
pub(super) async fn carry(
    shared: Arc<Shared>,
    connection: Connection,
    number: u64,
) -> Result<(), StreamError> {
    carry_from(&shared, &connection, None, number).await
}

/// Goes on with the session on a connection that is being made: before its handshake is over, if the server has given this
/// side the means to (0-RTT).
pub(super) async fn resume(
    shared: Arc<Shared>,
    connecting: Connecting,
    number: u64,
) -> Result<(), StreamError> {
    match connecting.into_0rtt() {
        Ok((connection, accepted)) => carry_from(&shared, &connection, Some(accepted), number).await,
        Err(connecting) => {
            let connection = connecting.await?;
            carry_from(&shared, &connection, None, number).await
        }
    }
}

async fn carry_from(
    shared: &Arc<Shared>,
    connection: &Connection,
    early: Option<ZeroRttAccepted>,
    number: u64,
) -> Result<(), StreamError> {
    let transmit = {
        let mut state = shared.lock();
        let Some(path) = state.path(number) else {
            connection.close(close::SUPERSEDED, b"");
            return Err(StreamError::Superseded);
        };
        path.connection = Some(connection.clone());
        path.is_connected = early.is_none();
        path.is_early = early.is_some();
        path.transmit.clone()
    };
    let line = Line { shared, connection, number, transmit };
    let outcome = match early {
        Some(accepted) => line.serve_early(accepted).await,
        None => line.serve().await,
    };
    let is_over = matches!(outcome, Ok(()) | Err(StreamError::Wire(_)));
    connection.close(if is_over { close::DONE } else { close::SUPERSEDED }, b"");
    outcome
}

struct Line<'a> {
    shared: &'a Arc<Shared>,
    connection: &'a Connection,
    number: u64,
    transmit: Arc<Notify>,
}

impl Line<'_> {
    /// Serves with early data; and from the start again if the server refuses it, as one that was restarted does, or that has
    /// seen it before.
    async fn serve_early(&self, accepted: ZeroRttAccepted) -> Result<(), StreamError> {
        tokio::pin!(accepted);
        {
            let early = self.serve();
            tokio::pin!(early);
            let is_accepted = tokio::select! {
                biased;
                is_accepted = &mut accepted => is_accepted,
                ended = &mut early => match ended {
                    Err(error) if error.is_refused_early() => accepted.await,
                    other => return other,
                },
            };
            self.set_connected();
            if is_accepted {
                return early.await;
            }
        }
        if let Some(reason) = self.connection.close_reason() {
            return Err(reason.into());
        }
        self.shared.counters.refused_early.fetch_add(1, Ordering::Relaxed);
        {
            let mut state = self.shared.lock();
            let channel = state.engine.open();
            let Some(path) = state.path(self.number) else { return Err(StreamError::Superseded) };
            path.channel = channel;
            path.is_early = false;
        }
        self.serve().await
    }

    fn set_connected(&self) {
        if let Some(path) = self.shared.lock().path(self.number) {
            path.is_connected = true;
        }
    }

    /// Runs until the goodbye has gone out, or until the connection is of no more use.
    async fn serve(&self) -> Result<(), StreamError> {
        let (send, recv) = self.connection.open_bi().await?;
        let _ = send.set_priority(CONTROL_PRIORITY);
        // Bounded by the engine's limit on unacknowledged bytes, which all payloads count against.
        let (bulk_queue, bulk) = mpsc::unbounded_channel();
        tokio::select! {
            // Control first: the server's reason for ending the session may have arrived together with the connection's
            // end, which the others report too.
            biased;
            ended = self.take_control(recv) => ended,
            ended = take_bulk(self.connection, |stream| take_payload(self.shared.clone(), stream)) => ended,
            ended = self.write_control(send, bulk_queue) => ended,
            ended = send_payloads(self.shared, self.connection, bulk) => ended,
        }
    }

    async fn write_control(
        &self,
        mut send: SendStream,
        bulk_queue: mpsc::UnboundedSender<(u64, Bytes)>,
    ) -> Result<(), StreamError> {
        let shared = self.shared;
        let mut out = Vec::new();
        loop {
            out.clear();
            let (finished, is_current) = {
                let mut state = shared.lock();
                // The first connection is the only one.
                let is_current = state.current.is_none_or(|current| current == self.number);
                let State { engine, paths, .. } = &mut *state;
                let Some(path) = paths.iter_mut().find(|path| path.number == self.number) else {
                    return Err(StreamError::Superseded);
                };
                engine.poll_control(&mut path.channel, &mut out, CONTROL_BATCH_BYTES)?;
                while let Some(payload) = engine.poll_bulk(&mut path.channel) {
                    // The receiver lives as long as this future does.
                    let _ = bulk_queue.send(payload);
                }
                // With nothing to send there is time to look for what the program repeats.
                if out.is_empty() && is_current {
                    engine.handle_round_trip(self.connection.rtt());
                    if engine.poll_search() {
                        continue;
                    }
                }
                path.writer_idle = out.is_empty();
                (path.channel.said_goodbye() || engine.lost().is_some(), is_current)
            };
            if !out.is_empty() {
                shared.hot.touch(self.connection.rtt());
                write_ahead(self.connection, &mut send, &out).await?;
                if is_current {
                    shared.counters.control_up.fetch_add(out.len() as u64, Ordering::Relaxed);
                    shared.tap.iter().for_each(|tap| tap.control_sent(&out));
                }
            } else if !finished {
                self.transmit.notified().await;
            }
            if finished {
                let _ = send.finish();
                let _ = tokio::time::timeout(GOODBYE_LIMIT, send.stopped()).await;
                return Ok(());
            }
        }
    }

    async fn take_control(&self, mut recv: RecvStream) -> Result<(), StreamError> {
        let shared = self.shared;
        loop {
            let bytes = match read_control(&mut recv).await {
                // The server ends its stream after saying why it ends the session.
                Err(StreamError::ControlClosed) if shared.lock().engine.lost().is_some() => return Ok(()),
                other => other?,
            };
            let mut state = shared.lock();
            let State { engine, paths, .. } = &mut *state;
            let Some(path) = paths.iter_mut().find(|path| path.number == self.number) else {
                return Err(StreamError::Superseded);
            };
            let was_answered = path.channel.is_answered();
            let outcome = engine.handle_control(&mut path.channel, &bytes);
            if path.channel.is_answered() && !was_answered {
                self.keep(&mut state);
            }
            let is_current = state.current == Some(self.number);
            if is_current {
                state.answers += 1;
                shared.counters.control_down.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                shared.tap.iter().for_each(|tap| tap.control_received(&bytes));
            }
            shared.deliver(&mut state);
            shared.announce(&state);
            shared.wake_writer_for_output(&mut state);
            if state.engine.lost().is_some() {
                shared.wake_writer(&mut state);
            }
            outcome?;
        }
    }

    /// The server has answered here first: the session goes on here.
    fn keep(&self, state: &mut State) {
        for other in state.paths.extract_if(.., |path| path.number != self.number) {
            other.close(close::SUPERSEDED);
        }
        if let Some(path) = state.path(self.number) {
            path.channel.handle_kept();
            self.shared.counters.early_connections.fetch_add(path.is_early.into(), Ordering::Relaxed);
        }
        state.before = state.before.and(state.connection.as_ref());
        state.connection = Some(self.connection.clone());
        state.current = Some(self.number);
        if self.shared.counters.connections.fetch_add(1, Ordering::Relaxed) > 0
            && let Some(tap) = &self.shared.tap
        {
            tap.reconnected();
        }
        self.shared.news.notify_one();
    }
}

async fn send_payloads(
    shared: &Shared,
    connection: &Connection,
    mut bulk: mpsc::UnboundedReceiver<(u64, Bytes)>,
) -> Result<(), StreamError> {
    let mut coder = Coder::new(shared.coding);
    while let Some((number, payload)) = bulk.recv().await {
        let bytes = payload.len() as u64;
        let sent = send_bulk(connection, &mut coder, number, payload).await?;
        shared.counters.bulk_up.fetch_add(bytes, Ordering::Relaxed);
        shared.counters.bulk_wire_up.fetch_add(sent, Ordering::Relaxed);
        if let Some(tap) = &shared.tap {
            tap.payload_sent(number, bytes);
        }
    }
    std::future::pending().await
}

async fn take_payload(shared: Arc<Shared>, mut stream: RecvStream) -> Result<(), StreamError> {
    let header = read_bulk_header(&mut stream).await?;
    {
        let state = shared.lock();
        match state.engine.awaited_payload(header.number) {
            Some(bytes) if bytes == header.bytes => {}
            // It has come by way of another connection.
            None if state.engine.may_come(header.number) => {
                let _ = stream.stop(close::SUPERSEDED);
                return Ok(());
            }
            _ => return Err(WireError::Unexpected { what: "bulk payload" }.into()),
        }
    }
    let deliver_pieces = |mut offset, pieces: &[Bytes]| {
        // Once it has come by way of another connection, its place is the program's again.
        if shared.lock().engine.awaited_payload(header.number).is_none() {
            return Ok(());
        }
        for piece in pieces {
            shared.memory.deliver(header.number, offset, piece);
            offset += piece.len() as u64;
        }
        Ok(())
    };
    let came = read_bulk(&mut stream, &header, deliver_pieces).await?;
    shared.counters.bulk_wire_down.fetch_add(came, Ordering::Relaxed);
    shared.counters.bulk_down.fetch_add(header.bytes, Ordering::Relaxed);
    let mut state = shared.lock();
    state.engine.handle_payload_delivered(header.number);
    shared.deliver(&mut state);
    shared.announce(&state);
    shared.wake_writer_for_output(&mut state);
    Ok(())
}
