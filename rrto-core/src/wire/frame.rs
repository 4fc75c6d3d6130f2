//! Cutting a byte stream into frames.

use bytes::{Buf, Bytes, BytesMut};
use serde::{Serialize, de::DeserializeOwned};

use super::repeat::put_varint;
use super::{MAX_FRAME_BYTES, WireError};

/// A length takes at most so many bytes, each with seven bits of it.
const MAX_LENGTH_BYTES: usize = 4;

const _: () = assert!(MAX_FRAME_BYTES < 1 << (7 * MAX_LENGTH_BYTES));

/// Appends `message` to `out` as one frame.
///
/// # Errors
/// [`WireError::FrameTooLong`] if it would not fit; `out` is then as before.
pub fn put_frame<T: Serialize>(message: &T, out: &mut Vec<u8>) -> Result<(), WireError> {
    let start = out.len();
    // Most frames are short: one byte is kept free for the length, and more are made room for where they are needed.
    out.push(0);
    // A Vec takes every byte, so postcard can fail here only on a type that it cannot code at all.
    let coded = postcard::to_extend(message, std::mem::take(out))
        .map_err(|_| WireError::Malformed { what: "message" })?;
    *out = coded;
    let bytes = out.len() - start - 1;
    if bytes > MAX_FRAME_BYTES {
        out.truncate(start);
        return Err(WireError::FrameTooLong { bytes: bytes as u64 });
    }
    let mut length = Vec::with_capacity(MAX_LENGTH_BYTES);
    put_varint(bytes as u64, &mut length);
    out.splice(start..=start, length);
    Ok(())
}

/// Collects a stream's bytes and gives its frames. Holds at most one frame and what came with it.
#[derive(Debug, Default)]
pub struct FrameReader {
    buffer: BytesMut,
}

impl FrameReader {
    /// Takes more bytes of the stream.
    pub fn handle_bytes(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, decoded.
    ///
    /// # Errors
    /// A length over the limit, or bytes that are no message; the stream is then of no more use.
    pub fn poll_frame<T: DeserializeOwned>(&mut self) -> Result<Option<T>, WireError> {
        let Some(body) = self.poll_body()? else { return Ok(None) };
        let (message, rest) =
            postcard::take_from_bytes(&body).map_err(|_| WireError::Malformed { what: "frame" })?;
        if rest.is_empty() {
            Ok(Some(message))
        } else {
            Err(WireError::Malformed { what: "frame: bytes after its end" })
        }
    }

    fn poll_body(&mut self) -> Result<Option<Bytes>, WireError> {
        let mut length = 0;
        for (at, byte) in self.buffer.iter().take(MAX_LENGTH_BYTES).enumerate() {
            length |= usize::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                return self.split_body(at + 1, length);
            }
        }
        if self.buffer.len() < MAX_LENGTH_BYTES {
            return Ok(None);
        }
        Err(WireError::Malformed { what: "frame length" })
    }

    fn split_body(&mut self, length_bytes: usize, length: usize) -> Result<Option<Bytes>, WireError> {
        if length > MAX_FRAME_BYTES {
            return Err(WireError::FrameTooLong { bytes: length as u64 });
        }
        if self.buffer.len() < length_bytes + length {
            return Ok(None);
        }
        self.buffer.advance(length_bytes);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }
}
