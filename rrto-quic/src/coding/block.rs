//! One block: its header, and its bytes as planes.

use bytes::Bytes;
use rrto_core::wire::WireError;
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::{CParameter, ParamSwitch, Strategy};

use super::palette::Palette;
use super::plan::{MAX_STRIDE, Plan, Planes};
use super::{BLOCK_BYTES, palette};

/// Length of a block's header, and of the length in it and before a coded plane.
pub(super) const HEADER_BYTES: usize = 1 + LENGTH_BYTES;
const LENGTH_BYTES: usize = 3;

pub(super) const MALFORMED: WireError = WireError::Malformed { what: "coded payload" };

/// What a block's body is. The elements have 1, 2, 4 or 8 bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Form {
    Raw,
    Planes { stride: usize },
    Palette { stride: usize },
}

impl Form {
    const ALL: [Form; 9] = [
        Form::Raw,
        Form::Planes { stride: 1 },
        Form::Planes { stride: 2 },
        Form::Planes { stride: 4 },
        Form::Planes { stride: 8 },
        Form::Palette { stride: 1 },
        Form::Palette { stride: 2 },
        Form::Palette { stride: 4 },
        Form::Palette { stride: 8 },
    ];
}

/// What precedes a block's body.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Header {
    pub(super) form: Form,
    pub(super) body_bytes: usize,
}

impl Header {
    fn encode(self) -> [u8; HEADER_BYTES] {
        let code = Form::ALL.iter().position(|form| *form == self.form).unwrap_or_default();
        let [low, middle, high] = length(self.body_bytes);
        [code as u8, low, middle, high]
    }

    /// The header of a block that stands for `raw_bytes`: of as many, or fewer if they are coded.
    pub(super) fn read(block: &[u8], raw_bytes: usize) -> Result<Header, WireError> {
        let &[code, low, middle, high] = block.first_chunk().ok_or(MALFORMED)?;
        let form = *Form::ALL.get(usize::from(code)).ok_or(MALFORMED)?;
        let body_bytes = usize::from(low) | usize::from(middle) << 8 | usize::from(high) << 16;
        let fits = if form == Form::Raw { body_bytes == raw_bytes } else { body_bytes < raw_bytes };
        if fits { Ok(Header { form, body_bytes }) } else { Err(MALFORMED) }
    }
}

/// A length under 2^24, of which there are no others in a block.
fn length(bytes: usize) -> [u8; LENGTH_BYTES] {
    [bytes as u8, (bytes >> 8) as u8, (bytes >> 16) as u8]
}

/// Codes blocks.
pub(super) struct Encoder {
    planes: PlanesEncoder,
    numbers: palette::Encoder,
}

impl Encoder {
    /// `None` if there is no memory for one.
    pub(super) fn new() -> Option<Self> {
        Some(Encoder { planes: PlanesEncoder::new().ok()?, numbers: palette::Encoder::default() })
    }

    /// A block's header and body. Leaves out of `plan` what turns out not to suit the payload.
    pub(super) fn encode(&mut self, raw: &Bytes, plan: &mut Plan) -> [Bytes; 2] {
        let mut body = Vec::with_capacity(raw.len());
        if let Some(palette) = plan.palette {
            if self.numbers.encode(raw, palette, &mut self.planes, &mut body) && body.len() < raw.len() {
                return coded(Form::Palette { stride: palette.stride }, body);
            }
            plan.palette = None;
            body.clear();
        }
        if let Some(planes) = plan.planes {
            self.planes.encode(raw, planes, &mut body);
            if body.len() < raw.len() {
                return coded(Form::Planes { stride: planes.stride }, body);
            }
        }
        [Bytes::copy_from_slice(&Header { form: Form::Raw, body_bytes: raw.len() }.encode()), raw.clone()]
    }
}

fn coded(form: Form, body: Vec<u8>) -> [Bytes; 2] {
    let header = Header { form, body_bytes: body.len() };
    [Bytes::copy_from_slice(&header.encode()), body.into()]
}

/// Codes planes.
pub(super) struct PlanesEncoder {
    huffman: Compressor<'static>,
    plane: Vec<u8>,
}

/// zstd as a Huffman coder: it looks for repetitions in a few places only, and hardly ever finds one.
const LEVEL: i32 = -100_000;
const HUFFMAN: [CParameter; 6] = [
    CParameter::LiteralCompressionMode(ParamSwitch::Enable),
    CParameter::Strategy(Strategy::ZSTD_fast),
    CParameter::MinMatch(7),
    CParameter::HashLog(6),
    CParameter::ContentSizeFlag(false),
    CParameter::ChecksumFlag(false),
];

impl PlanesEncoder {
    fn new() -> std::io::Result<Self> {
        let mut huffman = Compressor::new(LEVEL)?;
        HUFFMAN.into_iter().try_for_each(|parameter| huffman.set_parameter(parameter))?;
        Ok(PlanesEncoder { huffman, plane: Vec::new() })
    }

    /// Appends the mask, the planes and the tail of `raw`.
    pub(super) fn encode(&mut self, raw: &[u8], planes: Planes, body: &mut Vec<u8>) {
        let mask_at = body.len();
        body.push(0);
        let mut mask = 0;
        for plane in 0..planes.stride {
            let bit = 1 << plane;
            if planes.mask & bit != 0 {
                let mut bytes = std::mem::take(&mut self.plane);
                bytes.clear();
                extract(raw, planes.stride, plane, &mut bytes);
                mask |= if self.compress(&bytes, body) { bit } else { 0 };
                self.plane = bytes;
            } else {
                extract(raw, planes.stride, plane, body);
            }
        }
        body.extend_from_slice(&raw[raw.len() - raw.len() % planes.stride..]);
        body[mask_at] = mask;
    }

    /// Appends a plane, and says whether it is coded.
    fn compress(&mut self, plane: &[u8], body: &mut Vec<u8>) -> bool {
        let start = body.len();
        let frame = start + LENGTH_BYTES;
        // Room for less than the plane: what does not fit is not worth coding.
        body.resize(start + plane.len(), 0);
        let room = body.get_mut(frame..).unwrap_or_default();
        match self.huffman.compress_to_buffer(plane, room) {
            Ok(bytes) => {
                body.truncate(frame + bytes);
                body[start..frame].copy_from_slice(&length(bytes));
                true
            }
            Err(_) => {
                body.truncate(start);
                body.extend_from_slice(plane);
                false
            }
        }
    }
}

/// Appends one byte of each whole element.
fn extract(raw: &[u8], stride: usize, plane: usize, into: &mut Vec<u8>) {
    // Shifts of whole elements: the compiler makes vectors of them.
    let shift = 8 * plane;
    match stride {
        2 => {
            into.extend(raw.as_chunks().0.iter().map(|element| (u16::from_le_bytes(*element) >> shift) as u8))
        }
        4 => {
            into.extend(raw.as_chunks().0.iter().map(|element| (u32::from_le_bytes(*element) >> shift) as u8))
        }
        8 => {
            into.extend(raw.as_chunks().0.iter().map(|element| (u64::from_le_bytes(*element) >> shift) as u8))
        }
        _ => into.extend_from_slice(raw),
    }
}

/// Decodes blocks.
#[derive(Default)]
pub(super) struct BlockDecoder {
    planes: PlanesDecoder,
}

impl BlockDecoder {
    /// The block's `raw_bytes`, at most [`BLOCK_BYTES`].
    pub(super) fn decode(
        &mut self,
        header: Header,
        body: &[u8],
        raw_bytes: usize,
    ) -> Result<Bytes, WireError> {
        Ok(match header.form {
            Form::Raw => Bytes::copy_from_slice(body),
            Form::Planes { stride } => self.planes.decode(body, stride, raw_bytes)?.into(),
            Form::Palette { stride } => {
                let (palette, numbers) = Palette::read(body, stride, raw_bytes)?;
                let numbers = self.planes.decode(numbers, palette.number_bytes(), palette.numbers_bytes())?;
                palette.decode(&numbers)?.into()
            }
        })
    }
}

/// Decodes planes. What zstd needs is made for the first plane.
#[derive(Default)]
pub(super) struct PlanesDecoder {
    huffman: Option<Decompressor<'static>>,
    /// Planes that were coded, each in its place.
    decoded: Vec<u8>,
}

impl PlanesDecoder {
    fn decode(&mut self, body: &[u8], stride: usize, raw_bytes: usize) -> Result<Vec<u8>, WireError> {
        debug_assert!(raw_bytes <= BLOCK_BYTES);
        let count = raw_bytes / stride;
        let (&mask, mut rest) = body.split_first().ok_or(MALFORMED)?;
        self.decoded.resize(BLOCK_BYTES, 0);
        let mut room = self.decoded.as_mut_slice();
        let mut planes: [&[u8]; MAX_STRIDE] = [&[]; MAX_STRIDE];
        for (at, plane) in planes.iter_mut().enumerate().take(stride) {
            let (into, left) = std::mem::take(&mut room).split_at_mut_checked(count).ok_or(MALFORMED)?;
            room = left;
            if mask & 1 << at == 0 {
                (*plane, rest) = rest.split_at_checked(count).ok_or(MALFORMED)?;
                continue;
            }
            let (&[low, middle, high], after) = rest.split_first_chunk().ok_or(MALFORMED)?;
            let bytes = usize::from(low) | usize::from(middle) << 8 | usize::from(high) << 16;
            let (frame, after) = after.split_at_checked(bytes).ok_or(MALFORMED)?;
            rest = after;
            decompress(&mut self.huffman, frame, into)?;
            *plane = into;
        }
        if rest.len() != raw_bytes % stride {
            return Err(MALFORMED);
        }
        let mut raw = vec![0; raw_bytes];
        join(&planes[..stride], &mut raw);
        raw[count * stride..].copy_from_slice(rest);
        Ok(raw)
    }
}

/// Fills `into` from a frame.
fn decompress(
    huffman: &mut Option<Decompressor<'static>>,
    frame: &[u8],
    into: &mut [u8],
) -> Result<(), WireError> {
    if huffman.is_none() {
        *huffman = Decompressor::new().ok();
    }
    let huffman = huffman.as_mut().ok_or(WireError::Limit { what: "memory for decoding" })?;
    let bytes = into.len();
    match huffman.decompress_to_buffer(frame, into) {
        Ok(decoded) if decoded == bytes => Ok(()),
        _ => Err(MALFORMED),
    }
}

/// Puts elements together from their bytes.
fn join(planes: &[&[u8]], raw: &mut [u8]) {
    match planes {
        [bytes] => raw[..bytes.len()].copy_from_slice(bytes),
        [a, b, c, d] => {
            let elements = raw.as_chunks_mut::<4>().0.iter_mut();
            for ((((element, a), b), c), d) in elements.zip(*a).zip(*b).zip(*c).zip(*d) {
                *element = [*a, *b, *c, *d];
            }
        }
        _ => {
            for (at, plane) in planes.iter().enumerate() {
                let bytes = raw.iter_mut().skip(at).step_by(planes.len());
                bytes.zip(*plane).for_each(|(into, byte)| *into = *byte);
            }
        }
    }
}
