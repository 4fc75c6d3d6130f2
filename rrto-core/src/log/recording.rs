//! Recordings: what a program asked of the server and what it was answered, as bytes that can be kept. The search is
//! tested on recordings of real models, and `rrto recording` shows what is in one.
//!
//! ```text
//! recording: MAGIC, u32 LE VERSION, schema hash (32 bytes), event*
//! event:     postcard of Head; after Queued, Awaits and Answered a record in repeat coding
//! ```
//!
//! Lengths of payloads are in it, never their bytes. Numbers count from 1 and are implied by the order; where one is
//! passed over, a head says so. An operator that came before costs two bytes, and a compressor sees a repeated
//! inference as the same bytes again.
//!
//! A recording may end anywhere: a program that was killed leaves a part of an event behind.

use bytes::{Buf, Bytes};
use serde::{Deserialize, Serialize};

use crate::api::CuResult;
use crate::operator::{Outcome, Value};
use crate::wire::repeat::{Decoder, Encoder, Record};
use crate::wire::{Answer, MAX_FRAME_BYTES, WireError, schema_hash};

/// The first bytes of every recording.
pub const MAGIC: [u8; 8] = *b"RRTOREC\0";

/// Changes whenever the form of a recording does.
pub const VERSION: u32 = 1;

/// Bytes before the first event.
pub const HEADER_BYTES: usize = MAGIC.len() + size_of::<u32>() + 32;

/// An outcome without the bytes of a payload: [`Answer::Bulk`] is one's length.
pub type Summary = Result<Answer, CuResult>;

/// What happened between a program and its server, in the order in which it happened.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// A call of the program became an operator.
    Submit {
        /// Which.
        record: Record,
        /// What became of it.
        became: Became,
    },
    /// A thread of the program asked for an outcome.
    Wait {
        /// The thread.
        lane: u32,
        /// The operator's number.
        number: u64,
        /// There was no outcome yet, so it had to wait.
        blocks: bool,
    },
    /// A thread of the program got an outcome.
    Outcome {
        /// The operator's number.
        number: u64,
        /// What it was.
        outcome: Summary,
    },
}

/// What became of a submitted operator.
#[derive(Clone, PartialEq, Debug)]
pub enum Became {
    /// It was sent under this number, and nobody waits for it.
    Queued(u64),
    /// It was sent under this number, and the program needs the outcome.
    Awaits(u64),
    /// The client knew the answer. It has no number.
    Answered(Summary),
}

/// `outcome` without the bytes of its payload.
pub fn summary(outcome: &Outcome) -> Summary {
    match outcome {
        Ok(Value::Payload(bytes)) => Ok(Answer::Bulk(bytes.len() as u64)),
        Ok(value) => Ok(Answer::Value(value.clone())),
        Err(error) => Err(*error),
    }
}

/// The head of an event. Numbers are given as their distance back from the next one, which is small and the same in
/// every repetition.
#[derive(Serialize, Deserialize)]
enum Head {
    Queued,
    Awaits,
    Answered(Summary),
    Wait {
        back: u64,
        lane: u32,
        blocks: bool,
    },
    Outcome {
        back: u64,
        outcome: Summary,
    },
    /// The next operator's number is so many more than the successor of the one before. No event of its own.
    Skip {
        numbers: u64,
    },
}

/// Bytes of the repeat coding's window. Not a connection's, which may change while recordings are kept.
const WINDOW_BYTES: usize = 1 << 20;

/// The number of the first operator.
const FIRST_NUMBER: u64 = 1;

/// Makes a recording.
#[derive(Debug)]
pub struct Writer {
    encoder: Encoder,
    next_number: u64,
    bytes: Vec<u8>,
}

impl Default for Writer {
    /// The same as [`Writer::new`].
    fn default() -> Self {
        Self::new()
    }
}

impl Writer {
    /// A recording without events.
    pub fn new() -> Self {
        let mut bytes = Vec::from(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&schema_hash());
        Writer { encoder: Encoder::new(WINDOW_BYTES), next_number: FIRST_NUMBER, bytes }
    }

    /// Adds an event.
    ///
    /// # Errors
    /// An operator over the wire's limits, of which nothing can be recorded; the recording is then of no more use.
    pub fn append(&mut self, event: &Event) -> Result<(), WireError> {
        match event {
            Event::Submit { record, became } => {
                match became {
                    Became::Queued(number) => self.put_numbered(*number, &Head::Queued)?,
                    Became::Awaits(number) => self.put_numbered(*number, &Head::Awaits)?,
                    Became::Answered(summary) => self.put(&Head::Answered(summary.clone()))?,
                }
                self.encoder.encode(record, None, &mut self.bytes)
            }
            Event::Wait { lane, number, blocks } => {
                self.put(&Head::Wait { back: self.back(*number), lane: *lane, blocks: *blocks })
            }
            Event::Outcome { number, outcome } => {
                self.put(&Head::Outcome { back: self.back(*number), outcome: outcome.clone() })
            }
        }
    }

    /// The bytes that have come about since the last time, the header first.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes have been taken; begins anew behind them.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    fn back(&self, number: u64) -> u64 {
        self.next_number.wrapping_sub(number)
    }

    fn put_numbered(&mut self, number: u64, head: &Head) -> Result<(), WireError> {
        if number != self.next_number {
            self.put(&Head::Skip { numbers: number.wrapping_sub(self.next_number) })?;
        }
        self.next_number = number.wrapping_add(1);
        self.put(head)
    }

    fn put(&mut self, head: &Head) -> Result<(), WireError> {
        // A Vec takes every byte, so postcard can fail here only on a type that it cannot code at all.
        self.bytes = postcard::to_extend(head, std::mem::take(&mut self.bytes))
            .map_err(|_| WireError::Malformed { what: "recorded event" })?;
        Ok(())
    }
}

/// Why bytes are no recording.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RecordingError {
    /// Something else.
    #[error("it is not a recording: it does not begin as RRTO_RECORD makes them")]
    NotOne,
    /// Of a version that this build does not know.
    #[error("the recording is of version {found}, and this build reads version {VERSION}")]
    Version {
        /// Its version.
        found: u32,
    },
    /// An event makes no sense, or ends before its end.
    #[error("the recording is damaged or cut off {at} bytes from its start: {error}")]
    Event {
        /// Where the event begins.
        at: u64,
        /// What is wrong.
        error: WireError,
    },
}

/// Gives a recording's events in order. Bytes of any kind are safe; after an error there are no more events.
#[derive(Debug)]
pub struct Reader {
    decoder: Decoder,
    next_number: u64,
    length: usize,
    rest: Bytes,
    has_same_schema: bool,
}

impl Reader {
    /// Reads the header.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(mut recording: Bytes) -> Result<Self, RecordingError> {
        let length = recording.len();
        if length < HEADER_BYTES || !recording.starts_with(&MAGIC) {
            return Err(RecordingError::NotOne);
        }
        recording.advance(MAGIC.len());
        let found = recording.get_u32_le();
        if found != VERSION {
            return Err(RecordingError::Version { found });
        }
        let schema = recording.split_to(HEADER_BYTES - MAGIC.len() - size_of::<u32>());
        Ok(Reader {
            decoder: Decoder::new(WINDOW_BYTES),
            next_number: FIRST_NUMBER,
            length,
            rest: recording,
            has_same_schema: schema[..] == schema_hash()[..],
        })
    }

    /// Whether this build's protocol is the one that it was made with. One of another schema is read all the same,
    /// because most changes of the protocol do not change operators; if it makes no sense, this is why.
    pub fn has_same_schema(&self) -> bool {
        self.has_same_schema
    }

    fn read(&mut self) -> Result<Event, WireError> {
        loop {
            let event = match self.take_head()? {
                Head::Queued => {
                    let became = Became::Queued(self.take_number());
                    Event::Submit { record: self.decoder.decode_record(&mut self.rest)?, became }
                }
                Head::Awaits => {
                    let became = Became::Awaits(self.take_number());
                    Event::Submit { record: self.decoder.decode_record(&mut self.rest)?, became }
                }
                Head::Answered(outcome) => {
                    let became = Became::Answered(outcome);
                    Event::Submit { record: self.decoder.decode_record(&mut self.rest)?, became }
                }
                Head::Wait { back, lane, blocks } => {
                    Event::Wait { lane, number: self.next_number.wrapping_sub(back), blocks }
                }
                Head::Outcome { back, outcome } => {
                    Event::Outcome { number: self.next_number.wrapping_sub(back), outcome }
                }
                Head::Skip { numbers } => {
                    self.next_number = self.next_number.wrapping_add(numbers);
                    continue;
                }
            };
            return Ok(event);
        }
    }

    fn take_number(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number = number.wrapping_add(1);
        number
    }

    fn take_head(&mut self) -> Result<Head, WireError> {
        // No outcome is longer than the frame that it came in, so what lengths in it can promise is bounded.
        let bounded = self.rest.get(..MAX_FRAME_BYTES).unwrap_or(&self.rest);
        let (head, after) = postcard::take_from_bytes(bounded)
            .map_err(|_| WireError::Malformed { what: "recorded event" })?;
        let taken = bounded.len() - after.len();
        self.rest.advance(taken);
        Ok(head)
    }
}

impl Iterator for Reader {
    type Item = Result<Event, RecordingError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let at = (self.length - self.rest.len()) as u64;
        Some(self.read().map_err(|error| {
            self.rest.clear();
            RecordingError::Event { at, error }
        }))
    }
}

#[cfg(test)]
mod tests;
