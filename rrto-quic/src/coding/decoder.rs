//! Puts a coded payload together again.

use bytes::Bytes;
use rrto_core::wire::WireError;

use super::BLOCK_BYTES;
use super::block::{BlockDecoder, HEADER_BYTES, Header};

/// One payload's. Holds at most one block, and what it is decoded into.
pub(crate) struct Decoder {
    /// Bytes of the payload whose blocks have still to come.
    left: u64,
    /// The block that is coming.
    block: Vec<u8>,
    blocks: BlockDecoder,
}

impl Decoder {
    /// For a payload of so many bytes.
    pub(crate) fn new(bytes: u64) -> Self {
        Decoder { left: bytes, block: Vec::new(), blocks: BlockDecoder::default() }
    }

    /// Whether all of it has been given.
    pub(crate) fn is_complete(&self) -> bool {
        self.left == 0
    }

    /// Takes what it needs from `piece`, and gives the payload's next bytes when a block is complete. `None` if it wants
    /// another piece.
    ///
    /// # Errors
    /// [`WireError`] for what no encoder makes.
    pub(crate) fn poll(&mut self, piece: &mut Bytes) -> Result<Option<Bytes>, WireError> {
        if self.is_complete() {
            return Ok(None);
        }
        let raw_bytes = BLOCK_BYTES.min(usize::try_from(self.left).unwrap_or(BLOCK_BYTES));
        if !self.fill(HEADER_BYTES, piece) {
            return Ok(None);
        }
        let header = Header::read(&self.block, raw_bytes)?;
        if !self.fill(HEADER_BYTES + header.body_bytes, piece) {
            return Ok(None);
        }
        let raw =
            self.blocks.decode(header, self.block.get(HEADER_BYTES..).unwrap_or_default(), raw_bytes)?;
        self.block.clear();
        self.left -= raw_bytes as u64;
        Ok(Some(raw))
    }

    /// Whether the block now has `bytes`. Header::read has bounded them.
    fn fill(&mut self, bytes: usize, piece: &mut Bytes) -> bool {
        let missing = bytes.saturating_sub(self.block.len());
        let part = piece.split_to(missing.min(piece.len()));
        self.block.extend_from_slice(&part);
        part.len() == missing
    }
}
