//! Cutting a byte stream into frames.

use bytes::{Buf, Bytes, BytesMut};
use serde::{Serialize, de::DeserializeOwned};

use super::{MAX_FRAME_BYTES, WireError};

const LENGTH_BYTES: usize = 4;

/// Appends `message` to `out` as one frame.
///
/// # Errors
/// [`WireError::FrameTooLong`] if it would not fit; `out` is then as before.
pub fn put_frame<T: Serialize>(message: &T, out: &mut Vec<u8>) -> Result<(), WireError> {
    let start = out.len();
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    // A Vec takes every byte, so postcard can fail here only on a type that it cannot code at all.
    let coded = postcard::to_extend(message, std::mem::take(out))
        .map_err(|_| WireError::Malformed { what: "message" })?;
    *out = coded;
    let bytes = out.len() - start - LENGTH_BYTES;
    match u32::try_from(bytes) {
        Ok(length) if bytes <= MAX_FRAME_BYTES => {
            out[start..start + LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
            Ok(())
        }
        _ => {
            out.truncate(start);
            Err(WireError::FrameTooLong { bytes: bytes as u64 })
        }
    }
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
        let Some(head) = self.buffer.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = u32::from_le_bytes(*head) as usize;
        if length > MAX_FRAME_BYTES {
            return Err(WireError::FrameTooLong { bytes: length as u64 });
        }
        if self.buffer.len() < LENGTH_BYTES + length {
            return Ok(None);
        }
        self.buffer.advance(LENGTH_BYTES);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }
}
