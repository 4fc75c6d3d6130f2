//! Coding without a connection, for benches and fuzzing.

use bytes::Bytes;
use rrto_core::wire::WireError;

use crate::coding::rate::Pace;
use crate::coding::{Coder, Coding, Decoder};

/// Codes payloads as one connection does, wherever it saves bytes.
pub struct Codec(Coder);

impl Default for Codec {
    fn default() -> Self {
        Codec(Coder::new(Coding::Always))
    }
}

impl Codec {
    /// A payload as it travels, in the pieces that are handed to its stream.
    pub fn encode(&mut self, payload: &Bytes) -> Vec<Bytes> {
        let unknown = || Pace { ns_per_byte: None, rtt: Default::default() };
        match self.0.begin(payload.clone(), unknown) {
            Some(mut coded) => std::iter::from_fn(|| coded.next()).flatten().collect(),
            None => vec![payload.clone()],
        }
    }

    /// The blocks of a coded payload of so many bytes.
    ///
    /// # Errors
    /// What is wrong with `coded`.
    pub fn decode(coded: &Bytes, bytes: u64) -> Result<Vec<Bytes>, WireError> {
        Self::decode_pieces([coded.clone()], bytes)
    }

    /// Likewise, where it comes in pieces.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn decode_pieces(
        pieces: impl IntoIterator<Item = Bytes>,
        bytes: u64,
    ) -> Result<Vec<Bytes>, WireError> {
        let mut decoder = Decoder::new(bytes);
        let mut blocks = Vec::new();
        for mut piece in pieces {
            while let Some(block) = decoder.poll(&mut piece)? {
                blocks.push(block);
            }
        }
        Ok(blocks)
    }
}
