//! Cutting what arrives into frames.

use std::io;
use std::os::fd::AsFd;

use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::io::{Errno, read, retry_on_intr};
use serde::de::DeserializeOwned;

use super::message::{MAX_BODY_BYTES, MAX_HEAD_BYTES};

/// Both lengths of a frame.
pub(super) const PREFIX_BYTES: usize = 8;

/// Bytes asked for at once: some hundred calls. A body that is longer is read to where it stays.
const READ_BYTES: usize = 64 << 10;

/// What a read found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Filled {
    /// As much as there was room for; there may be more.
    More,
    /// All there was, which may be nothing.
    Drained,
    /// The end of the stream.
    End,
}

/// Bytes that have arrived. Holds [`READ_BYTES`], or one frame if that is longer.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    buffer: Vec<u8>,
    /// The part of the buffer that has been taken.
    taken: usize,
    /// A frame whose body is not all there. Its bytes go straight to where they stay, past the buffer.
    partial: Option<Partial>,
}

#[derive(Debug)]
struct Partial {
    head: Vec<u8>,
    body: Vec<u8>,
    body_bytes: usize,
}

impl Inbox {
    /// Reads once, without blocking.
    ///
    /// # Errors
    /// The socket's.
    pub(super) fn fill(&mut self, socket: impl AsFd) -> io::Result<Filled> {
        let into = match &mut self.partial {
            Some(partial) if partial.body.len() < partial.body_bytes => {
                partial.body.try_reserve_exact(partial.body_bytes - partial.body.len())?;
                &mut partial.body
            }
            _ => {
                self.buffer.drain(..std::mem::take(&mut self.taken));
                self.buffer.reserve(READ_BYTES.saturating_sub(self.buffer.len()).max(READ_BYTES / 4));
                &mut self.buffer
            }
        };
        let room = into.capacity() - into.len();
        let filled = match retry_on_intr(|| read(&socket, spare_capacity(into))) {
            Ok(0) => Filled::End,
            Ok(count) if count == room => Filled::More,
            Ok(_) | Err(Errno::AGAIN) => Filled::Drained,
            Err(error) => return Err(error.into()),
        };
        if let Some(partial) = &mut self.partial
            && partial.body.len() > partial.body_bytes
        {
            // A vector may have more room than was asked for. The buffer is empty as long as a body is not whole.
            self.buffer.extend(partial.body.drain(partial.body_bytes..));
        }
        Ok(filled)
    }

    /// The next whole frame, with its body.
    ///
    /// # Errors
    /// A length over its limit, or a head that is no message; the stream is then of no more use.
    pub(super) fn next<H: DeserializeOwned>(&mut self) -> io::Result<Option<(H, Bytes)>> {
        if let Some(partial) = self.partial.take_if(|partial| partial.body.len() == partial.body_bytes) {
            return Ok(Some((decode(&partial.head)?, partial.body.into())));
        }
        if self.partial.is_some() {
            return Ok(None);
        }
        let rest = self.buffer.get(self.taken..).unwrap_or_default();
        let Some((prefix, rest)) = rest.split_first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
        let [h0, h1, h2, h3, b0, b1, b2, b3] = *prefix;
        let head_bytes = bounded(u32::from_le_bytes([h0, h1, h2, h3]), MAX_HEAD_BYTES)?;
        let body_bytes = bounded(u32::from_le_bytes([b0, b1, b2, b3]), MAX_BODY_BYTES)?;
        let Some((head, rest)) = rest.split_at_checked(head_bytes) else { return Ok(None) };
        self.taken += PREFIX_BYTES + head_bytes;
        if let Some(body) = rest.get(..body_bytes) {
            self.taken += body_bytes;
            return Ok(Some((decode(head)?, Bytes::copy_from_slice(body))));
        }
        let mut body = Vec::new();
        body.try_reserve_exact(body_bytes)?;
        body.extend_from_slice(rest);
        self.partial = Some(Partial { head: head.to_vec(), body, body_bytes });
        self.buffer.clear();
        self.taken = 0;
        Ok(None)
    }
}

fn bounded(length: u32, most: usize) -> io::Result<usize> {
    let length = length as usize;
    if length <= most {
        Ok(length)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, "too long a frame"))
    }
}

fn decode<H: DeserializeOwned>(head: &[u8]) -> io::Result<H> {
    match postcard::take_from_bytes(head) {
        Ok((message, [])) => Ok(message),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "not a message")),
    }
}
