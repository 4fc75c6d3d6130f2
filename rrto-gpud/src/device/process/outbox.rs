//! Frames on their way out.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};

use bytes::{Buf, Bytes};
use serde::Serialize;

use super::inbox::PREFIX_BYTES;
use super::message::{MAX_BODY_BYTES, MAX_HEAD_BYTES};

/// A body up to this many bytes is copied behind its head; a longer one is a piece of its own in a vectored write.
const COPIED_BODY_BYTES: usize = 4 << 10;

/// Pieces of one vectored write; the system takes up to 1024.
const PIECES: usize = 64;

/// A head or a body is longer than a frame can have.
#[derive(Debug)]
pub(super) struct TooLong;

/// Frames that have not been written. Bounded by those who put them there: see [`super::context`].
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pieces: VecDeque<Bytes>,
    /// The last piece, which heads are added to.
    tail: Vec<u8>,
    bytes: usize,
}

impl Outbox {
    /// How many bytes wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a frame; gives its length in bytes.
    ///
    /// # Errors
    /// It would be too long; nothing has been added then.
    pub(super) fn push<H: Serialize>(&mut self, head: &H, body: Bytes) -> Result<usize, TooLong> {
        let start = self.tail.len();
        let result = self.push_head(head, start, body.len());
        if result.is_err() {
            self.tail.truncate(start);
            return Err(TooLong);
        }
        let bytes = self.tail.len() - start + body.len();
        self.bytes += bytes;
        if body.len() <= COPIED_BODY_BYTES {
            self.tail.extend_from_slice(&body);
        } else {
            self.seal();
            self.pieces.push_back(body);
        }
        Ok(bytes)
    }

    fn push_head<H: Serialize>(&mut self, head: &H, start: usize, body_bytes: usize) -> Result<(), TooLong> {
        self.tail.extend_from_slice(&[0; PREFIX_BYTES]);
        // A Vec takes every byte, so postcard can fail here only on a type that it cannot code at all.
        self.tail = postcard::to_extend(head, std::mem::take(&mut self.tail)).map_err(|_| TooLong)?;
        let head_bytes = self.tail.len() - start - PREFIX_BYTES;
        if head_bytes > MAX_HEAD_BYTES || body_bytes > MAX_BODY_BYTES {
            return Err(TooLong);
        }
        let lengths = (head_bytes as u64) | ((body_bytes as u64) << u32::BITS);
        if let Some(prefix) = self.tail.get_mut(start..start + PREFIX_BYTES) {
            prefix.copy_from_slice(&lengths.to_le_bytes());
        }
        Ok(())
    }

    fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.pieces.push_back(std::mem::take(&mut self.tail).into());
        }
    }

    /// Writes as much as the socket takes without blocking.
    ///
    /// # Errors
    /// The socket's.
    pub(super) fn flush(&mut self, mut socket: impl Write) -> io::Result<()> {
        self.seal();
        while self.bytes > 0 {
            let slices: Vec<IoSlice<'_>> = self.pieces.iter().take(PIECES).map(|p| IoSlice::new(p)).collect();
            match socket.write_vectored(&slices) {
                Ok(count) => self.advance(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn advance(&mut self, mut count: usize) {
        self.bytes = self.bytes.saturating_sub(count);
        while let Some(piece) = self.pieces.front_mut() {
            if count < piece.len() {
                return piece.advance(count);
            }
            count -= piece.len();
            self.pieces.pop_front();
        }
    }
}
