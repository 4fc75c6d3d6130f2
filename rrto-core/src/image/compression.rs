//! Decompression of entry payloads, never beyond the declared length.

use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::ImageError;

/// The longest uncompressed payload that is accepted: well above the largest
/// cubin in use (some tens of MB), and what one decompression may cost at most.
pub const MAX_UNCOMPRESSED_BYTES: u64 = 256 << 20;

/// An LZ4 block cannot grow by more than this: a byte of a run's length adds 255.
const LZ4_MAX_RATIO: u64 = 255;

/// How much zstd output is made at a time. Also the format's largest block, so
/// that one step makes at most twice as much.
const ZSTD_STEP_BYTES: usize = 128 << 10;

/// How an entry's payload is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// One LZ4 block, without a frame (`nvcc --compress-mode=speed`, older toolkits).
    Lz4,
    /// A zstd frame (nvcc 13's default for PTX).
    Zstd,
    /// Compressed, in a way that the flags known here do not name.
    Unknown,
}

impl Compression {
    /// The compression that an entry's flags name.
    pub(super) fn from_flags(flags: u64) -> Self {
        const LZ4: u64 = 0x2000;
        const ZSTD: u64 = 0x8000;
        match (flags & LZ4 != 0, flags & ZSTD != 0) {
            (true, false) => Self::Lz4,
            (false, true) => Self::Zstd,
            _ => Self::Unknown,
        }
    }
}

/// The payload's `declared` bytes.
pub(super) fn decompress(
    compression: Compression,
    flags: u64,
    payload: &[u8],
    declared: u64,
) -> Result<Vec<u8>, ImageError> {
    let limit = MAX_UNCOMPRESSED_BYTES;
    let declared = match usize::try_from(declared) {
        Ok(bytes) if declared <= limit => bytes,
        _ => {
            let what = "uncompressed payload";
            return Err(ImageError::TooLarge { what, bytes: declared, limit });
        }
    };
    let (algorithm, result) = match compression {
        Compression::None | Compression::Unknown => {
            return Err(ImageError::UnknownCompression { flags });
        }
        Compression::Lz4 => ("LZ4", lz4(payload, declared)),
        Compression::Zstd => ("zstd", zstd(payload, declared)),
    };
    let corrupt = |reason| ImageError::Corrupt { algorithm, declared: declared as u64, reason };
    let bytes = result.map_err(corrupt)?;
    if bytes.len() != declared {
        return Err(corrupt(format!("it gives {} bytes", bytes.len())));
    }
    Ok(bytes)
}

/// One LZ4 block. The output is allocated before the block is read, so a
/// length that the block cannot reach is refused first.
fn lz4(block: &[u8], declared: usize) -> Result<Vec<u8>, String> {
    if declared as u64 > LZ4_MAX_RATIO.saturating_mul(block.len() as u64) {
        return Err(format!("{} bytes cannot hold that much", block.len()));
    }
    let mut output = Vec::new();
    output.try_reserve_exact(declared).map_err(|error| error.to_string())?;
    output.resize(declared, 0);
    let written = lz4_flex::block::decompress_into(block, &mut output).map_err(|error| error.to_string())?;
    output.truncate(written);
    Ok(output)
}

/// One zstd frame, in steps: a frame may describe gigabytes in a few bytes, and
/// the decoder keeps a window whose size the frame chooses, so what has been
/// made is counted and compared with what was declared while it is being made.
fn zstd(frame: &[u8], declared: usize) -> Result<Vec<u8>, String> {
    let mut source = frame;
    let mut decoder = FrameDecoder::new();
    decoder.reset(&mut source).map_err(|error| error.to_string())?;

    let mut output = Vec::new();
    // Every step but the last makes at least a step's bytes.
    for _ in 0..=declared / ZSTD_STEP_BYTES {
        let step = BlockDecodingStrategy::UptoBytes(ZSTD_STEP_BYTES);
        let finished = decoder.decode_blocks(&mut source, step).map_err(|error| error.to_string())?;
        let step = decoder.collect().unwrap_or_default();
        output.try_reserve(step.len()).map_err(|error| error.to_string())?;
        output.extend_from_slice(&step);
        if finished {
            return Ok(output);
        }
    }
    Err("it gives more bytes".to_owned())
}
