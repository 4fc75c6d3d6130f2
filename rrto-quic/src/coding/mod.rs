//! Lossless coding of bulk payloads, where the link is slower than the coding.
//!
//! A robot's payloads are tensors. The sign and exponent of random floats carry two or three bits in nine, while their
//! mantissas carry all that they can: splitting a tensor into planes, one for each byte of an element, and coding those
//! that compress saves 16 to 20 % of random `f32`, a third of `bf16` and three quarters of token numbers. Whole
//! compressors find nothing in interleaved bytes. Only the frequency of bytes is used (Huffman codes, by zstd): searching for
//! repetitions too takes four times as long on such planes, and saves less.
//!
//! A coded payload travels as blocks, each of [`BLOCK_BYTES`] of the payload, the last one of what is left:
//!
//! ```text
//! block:    u8 form, u24 LE length of the body, body
//! form 0    raw: the body is the block's bytes
//! form 1-4  planes of elements of 1, 2, 4 or 8 bytes: u8 mask, plane*, tail
//! form 6-8  palette of elements of 2, 4 or 8 bytes, see [`palette`]
//! plane     where the mask's bit is set: u24 LE length, that many bytes of a zstd frame; otherwise the plane's bytes
//! tail      what is left of the block's bytes when they are not a multiple of the element's
//! ```
//!
//! A form other than raw is shorter than the block's bytes. The first block leaves as soon as it is coded, and the
//! sender yields between blocks, so that control never waits for more than one.
//!
//! Whether a payload is coded is decided by [`Coder`] for each, from a sample of it, from what a byte costs on the link
//! ([`rate`]) and from what coding has cost on this machine. On a fast link nothing is looked at, and a payload that is not
//! coded is not copied.

mod block;
mod coder;
mod decoder;
mod palette;
mod plan;
pub(crate) mod rate;
#[cfg(test)]
mod tests;

pub(crate) use coder::Coder;
pub(crate) use decoder::Decoder;

/// Bytes of a payload in one block: what the first byte waits for on its way out and the last one on its way in, 40 us a
/// side at 1.2 ns a byte. Twice as long a block saves 0.1 % more.
pub(crate) const BLOCK_BYTES: usize = 32 << 10;

/// Whether bulk payloads are coded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Coding {
    /// Where it saves more time on the link than it takes.
    #[default]
    Auto,
    /// Wherever it saves bytes: for tests and measurements.
    Always,
    /// Nowhere.
    Off,
}

/// `text` is no [`Coding`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("auto, always or off")]
pub struct UnknownCoding;

impl std::str::FromStr for Coding {
    type Err = UnknownCoding;

    fn from_str(text: &str) -> Result<Self, UnknownCoding> {
        match text {
            "auto" => Ok(Coding::Auto),
            "always" => Ok(Coding::Always),
            "off" => Ok(Coding::Off),
            _ => Err(UnknownCoding),
        }
    }
}
