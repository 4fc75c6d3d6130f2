//! What both sides do alike on a connection: send payloads on streams of their own, and read them.

use bytes::Bytes;
use quinn::{Connection, RecvStream, SendStream};
use rrto_core::wire::{BULK_HEADER_BYTES, BulkHeader, WireError};

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
    #[error("a bulk stream ended before its payload did")]
    Short,
}

/// Bytes taken from a stream at a time.
const READ_CHUNK_BYTES: usize = 256 << 10;

/// Sends one payload on a stream of its own; returns when all of it is in the send buffer.
pub(crate) async fn send_bulk(
    connection: &Connection,
    number: u64,
    payload: Bytes,
) -> Result<(), StreamError> {
    let mut stream: SendStream = connection.open_uni().await?;
    let header = BulkHeader { number, bytes: payload.len() as u64 }.encode();
    stream.write_all_chunks(&mut [Bytes::copy_from_slice(&header), payload]).await?;
    // A peer that has already reset the stream needs no end of it.
    let _ = stream.finish();
    Ok(())
}

/// Reads a bulk stream's header.
pub(crate) async fn read_bulk_header(stream: &mut RecvStream) -> Result<BulkHeader, StreamError> {
    let mut raw = [0; BULK_HEADER_BYTES];
    stream.read_exact(&mut raw).await.map_err(|_| StreamError::Short)?;
    Ok(BulkHeader::decode(&raw)?)
}

/// Gives each piece of a bulk stream's payload, and where in it that is, to `take`.
pub(crate) async fn read_bulk(
    stream: &mut RecvStream,
    bytes: u64,
    mut take: impl FnMut(u64, &[u8]),
) -> Result<(), StreamError> {
    let mut offset = 0;
    while offset < bytes {
        let limit = READ_CHUNK_BYTES.min((bytes - offset) as usize);
        let Some(chunk) = stream.read_chunk(limit, true).await? else { return Err(StreamError::Short) };
        take(offset, &chunk.bytes);
        offset += chunk.bytes.len() as u64;
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
