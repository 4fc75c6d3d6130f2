//! Repeat coding: an operator that was sent before is named, not sent again.
//!
//! An inference launches the same kernels with the same arguments as the one before it, so almost every operator
//! of the control stream equals one that the other side has seen. Both sides keep the same *window* of recent
//! operators; one that is in it travels as its place.
//!
//! ```text
//! entry:    varint 0, varint length, operator record   a record that joins the window
//!           varint p (p > 0)                           the record p - 1 places after the one last coded
//! then, outside of a Define, if the operator takes a payload of at most INLINE_PAYLOAD_BYTES: that payload
//! record:   postcard of (lane, wants an answer, Operator)
//! ```
//!
//! Places count forward and around from the last coded record: repeating a whole inference in its order makes every
//! entry the single byte 1, whatever the window's size. Encoder and decoder evict in the same order (oldest first,
//! by count and by bytes), and both start empty with a connection.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};

use bytes::{Buf, Bytes};
use serde::{Deserialize, Serialize};

use super::{INLINE_PAYLOAD_BYTES, WireError};
use crate::operator::Operator;

/// Changes whenever the coding does.
pub(super) const SCHEMA: u64 = 4;

/// Records in the window: several inferences of a large detection model, or thirty tokens of a language model, each of which has
/// shapes of its own.
pub const WINDOW_RECORDS: usize = 8192;

/// Bytes of all records in a connection's window: of that many a language model's have 2 to 3 MB.
pub const WINDOW_BYTES: usize = 4 << 20;

/// A longer record is always sent whole: images' names and huge parameter blocks seldom repeat.
pub const MAX_REPEATED_BYTES: usize = 8 << 10;

/// The longest record: a parameter block with attributes, or a name.
const MAX_RECORD_BYTES: usize = 128 << 10;

/// What travels of an operator, besides its number and its payload.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// The host thread that made the call.
    pub lane: u32,
    /// Whether a reply is wanted.
    pub wants_answer: bool,
    /// The call.
    pub operator: Operator,
}

/// The records that both sides remember, oldest first. A record's *serial* counts from the connection's start.
#[derive(Debug)]
struct Window<T> {
    records: VecDeque<(usize, T)>,
    bytes: usize,
    most_bytes: usize,
    first_serial: u64,
    last_coded: u64,
}

impl<T> Window<T> {
    fn new(most_bytes: usize) -> Self {
        Window { records: VecDeque::new(), bytes: 0, most_bytes, first_serial: 0, last_coded: 0 }
    }

    /// Adds a record and gives its serial; evicted ones go to `evicted`.
    fn push(&mut self, bytes: usize, record: T, mut evicted: impl FnMut(u64, T)) -> u64 {
        self.bytes += bytes;
        self.records.push_back((bytes, record));
        while self.records.len() > WINDOW_RECORDS || self.bytes > self.most_bytes {
            let Some((old_bytes, old)) = self.records.pop_front() else { break };
            self.bytes -= old_bytes;
            evicted(self.first_serial, old);
            self.first_serial += 1;
        }
        let serial = self.first_serial + self.records.len() as u64 - 1;
        self.last_coded = serial;
        serial
    }

    /// How far `serial` is ahead of the last coded record, going around; 0 for its successor.
    fn place_of(&self, serial: u64) -> u64 {
        let len = self.records.len() as u64;
        let next = self.next_index();
        (serial - self.first_serial + len - next) % len
    }

    /// The serial at `place`.
    fn serial_at(&self, place: u64) -> Option<u64> {
        let len = self.records.len() as u64;
        (place < len).then(|| self.first_serial + (self.next_index() + place) % len)
    }

    /// Index of the record after the last coded one. That one may have been evicted since.
    fn next_index(&self) -> u64 {
        let len = self.records.len() as u64;
        (self.last_coded + 1).saturating_sub(self.first_serial) % len
    }

    fn get(&self, serial: u64) -> Option<&T> {
        let index = usize::try_from(serial.checked_sub(self.first_serial)?).ok()?;
        self.records.get(index).map(|(_, record)| record)
    }
}

/// The sending side.
#[derive(Debug)]
pub struct Encoder {
    window: Window<Bytes>,
    /// Serials by a hash of the record's bytes; a collision only costs a repeat not found.
    serials: HashMap<u64, u64>,
    hasher: RandomState,
    scratch: Vec<u8>,
}

impl Default for Encoder {
    /// A connection's.
    fn default() -> Self {
        Self::new(WINDOW_BYTES)
    }
}

impl Encoder {
    /// One with a window of at most so many bytes, as the decoder's has to be.
    pub fn new(window_bytes: usize) -> Self {
        Encoder {
            window: Window::new(window_bytes),
            serials: HashMap::new(),
            hasher: RandomState::new(),
            scratch: Vec::new(),
        }
    }

    /// Appends `record` and its inline payload to `out`.
    ///
    /// # Errors
    /// A record over the limits, of which nothing is then appended.
    pub fn encode(
        &mut self,
        record: &Record,
        payload: Option<&[u8]>,
        out: &mut Vec<u8>,
    ) -> Result<(), WireError> {
        self.encode_record(record, out)?;
        if let Some(payload) = payload.filter(|_| takes_inline_payload(&record.operator)) {
            out.extend_from_slice(payload);
        }
        Ok(())
    }

    /// Appends `record` alone, as a Define has it.
    ///
    /// # Errors
    /// A record over the limits, of which nothing is then appended.
    pub fn encode_record(&mut self, record: &Record, out: &mut Vec<u8>) -> Result<(), WireError> {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        self.scratch = postcard::to_extend(record, scratch)
            .map_err(|_| WireError::Malformed { what: "operator record" })?;
        if self.scratch.len() > MAX_RECORD_BYTES {
            return Err(WireError::Limit { what: "operator record too long" });
        }
        let key = self.hasher.hash_one(self.scratch.as_slice());
        let known = self.serials.get(&key).copied();
        match known.filter(|serial| self.window.get(*serial).is_some_and(|old| old[..] == self.scratch[..])) {
            Some(serial) => {
                put_varint(self.window.place_of(serial) + 1, out);
                self.window.last_coded = serial;
            }
            None => {
                put_varint(0, out);
                put_varint(self.scratch.len() as u64, out);
                out.extend_from_slice(&self.scratch);
                self.remember(key);
            }
        }
        Ok(())
    }

    fn remember(&mut self, key: u64) {
        if self.scratch.len() > MAX_REPEATED_BYTES {
            return;
        }
        let Encoder { window, serials, hasher, scratch } = self;
        let serial = window.push(scratch.len(), Bytes::copy_from_slice(scratch), |old_serial, old| {
            let old_key = hasher.hash_one(&old[..]);
            if serials.get(&old_key) == Some(&old_serial) {
                serials.remove(&old_key);
            }
        });
        serials.insert(key, serial);
    }
}

/// The receiving side.
#[derive(Debug)]
pub struct Decoder {
    window: Window<Record>,
}

impl Default for Decoder {
    /// A connection's.
    fn default() -> Self {
        Self::new(WINDOW_BYTES)
    }
}

impl Decoder {
    /// One with a window of at most so many bytes, as the encoder's has to be.
    pub fn new(window_bytes: usize) -> Self {
        Decoder { window: Window::new(window_bytes) }
    }

    /// Takes the next entry off `coded`; gives the record and, if it takes one, its inline payload.
    ///
    /// # Errors
    /// Bytes that no encoder makes, or a value over its limit. The decoder is then of no more use.
    pub fn decode(&mut self, coded: &mut Bytes) -> Result<(Record, Option<Bytes>), WireError> {
        let record = self.decode_record(coded)?;
        let payload = match record.operator.payload_bytes() {
            Some(bytes) if bytes <= INLINE_PAYLOAD_BYTES => {
                Some(take(coded, bytes as usize, "inline payload")?)
            }
            _ => None,
        };
        Ok((record, payload))
    }

    /// Takes the next entry off `coded`, as a Define has it: without a payload.
    ///
    /// # Errors
    /// As [`Decoder::decode`].
    pub fn decode_record(&mut self, coded: &mut Bytes) -> Result<Record, WireError> {
        match take_varint(coded)? {
            0 => self.take_literal(coded),
            place_plus_one => self.take_repeat(place_plus_one - 1),
        }
    }

    fn take_literal(&mut self, coded: &mut Bytes) -> Result<Record, WireError> {
        let length = usize::try_from(take_varint(coded)?).unwrap_or(usize::MAX);
        if length > MAX_RECORD_BYTES {
            return Err(WireError::Limit { what: "operator record too long" });
        }
        let body = take(coded, length, "operator record")?;
        let (record, rest): (Record, _) =
            postcard::take_from_bytes(&body).map_err(|_| WireError::Malformed { what: "operator record" })?;
        if !rest.is_empty() {
            return Err(WireError::Malformed { what: "operator record: bytes after its end" });
        }
        record.operator.check_limits().map_err(|what| WireError::Limit { what })?;
        if length <= MAX_REPEATED_BYTES {
            self.window.push(length, record.clone(), |_, _| {});
        }
        Ok(record)
    }

    fn take_repeat(&mut self, place: u64) -> Result<Record, WireError> {
        let unknown = WireError::Malformed { what: "operator repeat: no such place in the window" };
        if self.window.records.is_empty() {
            return Err(unknown);
        }
        let serial = self.window.serial_at(place).ok_or(unknown.clone())?;
        let record = self.window.get(serial).ok_or(unknown)?.clone();
        self.window.last_coded = serial;
        Ok(record)
    }
}

fn takes_inline_payload(operator: &Operator) -> bool {
    operator.payload_bytes().is_some_and(|bytes| bytes <= INLINE_PAYLOAD_BYTES)
}

fn take(coded: &mut Bytes, bytes: usize, what: &'static str) -> Result<Bytes, WireError> {
    if coded.len() < bytes {
        return Err(WireError::Malformed { what });
    }
    Ok(coded.split_to(bytes))
}

/// LEB128: seven bits a byte, low first.
pub(super) fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn take_varint(coded: &mut Bytes) -> Result<u64, WireError> {
    let mut value = 0u64;
    for shift in (0..63).step_by(7) {
        if !coded.has_remaining() {
            break;
        }
        let byte = coded.get_u8();
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(WireError::Malformed { what: "varint" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::{Geometry, Handle, Launch};

    fn launch(id: u64, size: usize) -> Record {
        let launch = Launch {
            function: Handle(id),
            geometry: Geometry { grid: [1, 2, 3], block: [32, 1, 1], shared_bytes: 0 },
            stream: Handle(0),
            cooperative: false,
            attributes: Vec::new(),
            params: Bytes::from(vec![id as u8; size]),
        };
        Record { lane: 0, wants_answer: false, operator: Operator::Launch(launch) }
    }

    #[test]
    fn an_inference_sent_again_costs_a_byte_an_operator() {
        // A model for images, and a text of a language model.
        for (operators, size) in [(300, 200), (7_000, 400)] {
            let mut encoder = Encoder::default();
            let mut first = Vec::new();
            let records: Vec<_> = (0..operators).map(|id| launch(id, size)).collect();
            records.iter().for_each(|r| encoder.encode(r, None, &mut first).unwrap());
            for _ in 0..3 {
                let mut again = Vec::new();
                records.iter().for_each(|r| encoder.encode(r, None, &mut again).unwrap());
                // The first entry leads back from the end to the start, which is one place further around.
                assert_eq!(again, vec![1; records.len()]);
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn decoding_gives_what_was_encoded(
            ids in proptest::collection::vec((0u64..5000, 0usize..3), 1..2000),
            payload in 0usize..100,
        ) {
            let mut encoder = Encoder::default();
            let mut decoder = Decoder::default();
            for (id, kind) in ids {
                let record = match kind {
                    0 => launch(id, 40),
                    1 => launch(id % 7, 9000),
                    _ => Record { lane: id as u32 % 3, wants_answer: true,
                        operator: Operator::CopyIn { dst: id, bytes: payload as u64, stream: Handle(1) } },
                };
                let bytes = vec![id as u8; payload];
                let payload = (kind == 2).then_some(&bytes[..]);
                let mut out = Vec::new();
                encoder.encode(&record, payload, &mut out).unwrap();
                let mut coded = Bytes::from(out);
                let (decoded, got) = decoder.decode(&mut coded).unwrap();
                proptest::prop_assert_eq!(decoded, record);
                proptest::prop_assert_eq!(got.as_deref(), payload);
                proptest::prop_assert!(coded.is_empty());
            }
        }

        #[test]
        fn random_bytes_are_refused_or_decoded_never_a_panic(raw in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
            let mut decoder = Decoder::default();
            let mut coded = Bytes::from(raw);
            while !coded.is_empty() && decoder.decode(&mut coded).is_ok() {}
        }
    }
}
