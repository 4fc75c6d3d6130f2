//! What both sides do alike on a connection: send payloads on streams of their own, and read them.

use std::time::Duration;

use bytes::Bytes;
use quinn::{Connection, ConnectionError, ReadError, RecvStream, SendStream, WriteError};
use rrto_core::wire::{BULK_HEADER_BYTES, BulkHeader, WireError};
use tokio::task::JoinSet;

use crate::coding::{Coder, Decoder, rate};

/// Why a connection ends, in words that reach the log or the program's user.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamError {
    #[error("{0}")]
    Connection(#[from] quinn::ConnectionError),
    #[error("{0}")]
    Write(#[from] quinn::WriteError),
    #[error("{0}")]
    Read(#[from] quinn::ReadError),
    #[error("protocol error: {0}")]
    Wire(#[from] WireError),
    #[error("the control stream was closed")]
    ControlClosed,
    #[error("nothing was heard of the server for {0:?}")]
    Silent(Duration),
    #[error("nothing was heard of the server for {0:?}: {1}")]
    Unreachable(Duration, String),
    #[error("another connection has taken over")]
    Superseded,
    #[error("a bulk stream ended before its payload did")]
    Short,
    #[error("a payload cannot be kept: {0}")]
    Staging(std::io::Error),
}

impl StreamError {
    /// The connection's own error, if it is that.
    pub(crate) fn of_connection(&self) -> Option<&ConnectionError> {
        match self {
            StreamError::Connection(error)
            | StreamError::Read(ReadError::ConnectionLost(error))
            | StreamError::Write(WriteError::ConnectionLost(error)) => Some(error),
            _ => None,
        }
    }

    /// Whether it is that early data was refused.
    pub(crate) fn is_refused_early(&self) -> bool {
        matches!(
            self,
            StreamError::Read(ReadError::ZeroRttRejected) | StreamError::Write(WriteError::ZeroRttRejected)
        )
    }
}

/// Bytes taken from a stream at a time.
const READ_CHUNK_BYTES: usize = 256 << 10;

/// Pieces of a bulk stream taken at a time; each is what one packet brought.
const READ_PIECES: usize = 32;

/// Sends one payload on a stream of its own, coded where that saves time; returns when all of it is in the send buffer, and
/// how many bytes that were.
pub(crate) async fn send_bulk(
    connection: &Connection,
    coder: &mut Coder,
    number: u64,
    payload: Bytes,
) -> Result<u64, StreamError> {
    let mut stream: SendStream = connection.open_uni().await?;
    let bytes = payload.len() as u64;
    let coded = coder.begin(payload.clone(), || rate::pace(connection));
    let header = BulkHeader { number, bytes, coded: coded.is_some() }.encode();
    let header = Bytes::copy_from_slice(&header);
    let mut sent = header.len() as u64;
    match coded {
        None => {
            sent += bytes;
            stream.write_all_chunks(&mut [header, payload]).await?;
        }
        Some(mut coded) => {
            stream.write_chunk(header).await?;
            while let Some(mut block) = coded.next() {
                sent += block.iter().map(|piece| piece.len() as u64).sum::<u64>();
                stream.write_all_chunks(&mut block).await?;
                // The block leaves, and control before it, while the next one is coded.
                tokio::task::yield_now().await;
            }
        }
    }
    // A peer that has already reset the stream needs no end of it.
    let _ = stream.finish();
    Ok(sent)
}

/// Has every stream of a payload that comes taken, each in a task of its own, until one fails.
pub(crate) async fn take_bulk<F>(
    connection: &Connection,
    take: impl Fn(RecvStream) -> F,
) -> Result<(), StreamError>
where
    F: Future<Output = Result<(), StreamError>> + Send + 'static,
{
    let mut readers = JoinSet::new();
    loop {
        tokio::select! {
            stream = connection.accept_uni() => {
                readers.spawn(take(stream?));
            }
            Some(ended) = readers.join_next() => {
                // A reader does not panic, and is not cancelled while the set lives.
                ended.unwrap_or(Ok(()))?;
            }
        }
    }
}

/// Reads a bulk stream's header.
pub(crate) async fn read_bulk_header(stream: &mut RecvStream) -> Result<BulkHeader, StreamError> {
    let mut raw = [0; BULK_HEADER_BYTES];
    stream.read_exact(&mut raw).await.map_err(|error| match error {
        quinn::ReadExactError::FinishedEarly(_) => StreamError::Short,
        quinn::ReadExactError::ReadError(error) => StreamError::Read(error),
    })?;
    Ok(BulkHeader::decode(&raw)?)
}

/// Gives the pieces of a bulk stream's payload that have arrived, and where in it the first of them belongs, to `take`.
/// What a peer sends beyond the payload is left out. Returns how many bytes came, with the header.
pub(crate) async fn read_bulk(
    stream: &mut RecvStream,
    header: &BulkHeader,
    take: impl FnMut(u64, &[Bytes]) -> Result<(), StreamError>,
) -> Result<u64, StreamError> {
    let came = if header.coded {
        read_coded(stream, header.bytes, take).await?
    } else {
        read_plain(stream, header.bytes, take).await?;
        header.bytes
    };
    Ok(BULK_HEADER_BYTES as u64 + came)
}

async fn read_coded(
    stream: &mut RecvStream,
    bytes: u64,
    mut take: impl FnMut(u64, &[Bytes]) -> Result<(), StreamError>,
) -> Result<u64, StreamError> {
    let mut decoder = Decoder::new(bytes);
    let (mut offset, mut came) = (0, 0);
    while !decoder.is_complete() {
        let Some(chunk) = stream.read_chunk(READ_CHUNK_BYTES, true).await? else {
            return Err(StreamError::Short);
        };
        let mut piece = chunk.bytes;
        came += piece.len() as u64;
        while let Some(block) = decoder.poll(&mut piece)? {
            let bytes = block.len() as u64;
            take(offset, &[block])?;
            offset += bytes;
            // Control is read, and packets are acknowledged, before the next block.
            tokio::task::yield_now().await;
        }
    }
    Ok(came)
}

async fn read_plain(
    stream: &mut RecvStream,
    bytes: u64,
    mut take: impl FnMut(u64, &[Bytes]) -> Result<(), StreamError>,
) -> Result<(), StreamError> {
    let mut pieces = [const { Bytes::new() }; READ_PIECES];
    let mut offset = 0;
    while offset < bytes {
        let Some(count) = stream.read_chunks(&mut pieces).await? else { return Err(StreamError::Short) };
        let Some(pieces) = pieces.get_mut(..count) else { return Err(StreamError::Short) };
        let start = offset;
        for piece in &mut *pieces {
            piece.truncate(usize::try_from(bytes - offset).unwrap_or(usize::MAX));
            offset += piece.len() as u64;
        }
        take(start, pieces)?;
    }
    Ok(())
}

/// The next piece of a control stream.
pub(crate) async fn read_control(stream: &mut RecvStream) -> Result<Bytes, StreamError> {
    match stream.read_chunk(READ_CHUNK_BYTES, true).await? {
        Some(chunk) => Ok(chunk.bytes),
        None => Err(StreamError::ControlClosed),
    }
}
