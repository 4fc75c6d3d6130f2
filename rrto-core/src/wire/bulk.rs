//! The header of a bulk stream.

use super::WireError;
use crate::operator::MAX_PAYLOAD_BYTES;

/// Length of [`BulkHeader`] on the wire.
pub const BULK_HEADER_BYTES: usize = 16;

/// Names the operator that a bulk stream's payload belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BulkHeader {
    /// The operator's number.
    pub number: u64,
    /// Length of the payload.
    pub bytes: u64,
    /// Whether the payload follows as coded blocks, which are the transport's, instead of as it is.
    pub coded: bool,
}

/// Marks a coded payload in the length's word, far above any length.
const CODED: u64 = 1 << 63;

impl BulkHeader {
    /// The header's bytes.
    pub fn encode(&self) -> [u8; BULK_HEADER_BYTES] {
        let mut out = [0; BULK_HEADER_BYTES];
        out[..8].copy_from_slice(&self.number.to_le_bytes());
        let coded = if self.coded { CODED } else { 0 };
        out[8..].copy_from_slice(&(self.bytes | coded).to_le_bytes());
        out
    }

    /// Reads a header.
    ///
    /// # Errors
    /// [`WireError::Limit`] if the payload would be longer than [`MAX_PAYLOAD_BYTES`].
    pub fn decode(raw: &[u8; BULK_HEADER_BYTES]) -> Result<Self, WireError> {
        let word =
            |at: usize| raw[at..at + 8].iter().rev().fold(0u64, |acc, byte| acc << 8 | u64::from(*byte));
        let header = BulkHeader { number: word(0), bytes: word(8) & !CODED, coded: word(8) & CODED != 0 };
        if header.bytes > MAX_PAYLOAD_BYTES {
            return Err(WireError::Limit { what: "bulk payload over MAX_PAYLOAD_BYTES" });
        }
        Ok(header)
    }
}
