//! What travels on the control stream, and its bounds.
//!
//! ```text
//! control stream, each direction:   frame*
//! frame:                            varint length (at most MAX_FRAME_BYTES; 7 bits a byte, low first), then that many
//!                                   bytes: a postcard-coded ClientFrame (robot to server) or ServerFrame (server to robot)
//! ClientFrame::Operators.coded:     entry* , see [`repeat`]
//! ClientFrame::Define.coded:        entry* without payloads
//! ClientFrame::Advance.payloads:    the inline payloads of the span's slots, in their order, end to end
//! bulk stream (one payload each):   u64 LE operator number, u64 LE length, then that many bytes; or, where the length's
//!                                   highest bit is set, blocks that the transport has coded them into
//! ```
//!
//! The first frame up is [`Hello`], and the first frame down [`Welcome`] or [`Refusal`]; or, on a connection that continues a
//! session, [`Resume`] and [`Resumed`] or [`Refusal`]. With a hello both sides compare the protocol version and
//! [`schema_hash`], so that two builds that number functions or code operators differently never talk past each other.
//! Everything that the server executes once carries a number: operators from 1 on, whether they
//! come by themselves or in the span of an Advance, and the definitions and retirements of sequences between them.
//! Numbers are consecutive and implied by the order.

mod bulk;
mod device;
mod frame;
mod release;
pub mod repeat;
mod resume;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use bulk::{BULK_HEADER_BYTES, BulkHeader};
pub use device::{ATTRIBUTE_SLOTS, DeviceInfo, MAX_LIMIT_SLOTS, PciAddress};
pub use frame::{FrameReader, put_frame};
pub use release::{RELEASE, RELEASE_BYTES, RELEASE_SYMBOL, release_text};
pub use resume::{MAX_RESUME_PAYLOADS, Resume, Resumed, SessionToken, TOKEN_BYTES};

use crate::api::{self, CuResult};
use crate::operator::{
    MAX_PATCH_EDITS, MAX_PAYLOAD_BYTES, MAX_SEQUENCE_BYTES, MAX_SEQUENCE_OPERATORS, MAX_SEQUENCES,
    MAX_SEQUENCES_BYTES, MAX_SPAN_PATCHES, SequenceId, Span, Value,
};

/// The protocol's version; a change of any message's meaning raises it.
pub const PROTOCOL_VERSION: u32 = 4;

/// The longest frame, bytes: room for the names of a large library's kernels, far above any launch.
pub const MAX_FRAME_BYTES: usize = 4 << 20;

/// A payload up to this many bytes travels in the control stream; a longer one on a stream of its own. Small copies
/// gain nothing from a stream, and would pay its frame headers.
pub const INLINE_PAYLOAD_BYTES: u64 = 4 << 10;

/// Longest text (program name, reason) in a message, bytes.
pub const MAX_TEXT_BYTES: usize = 1 << 10;

/// How a client travels its calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Mode {
    /// Every call that travels waits for its answer: the baseline that the papers measure.
    Percall,
    /// Calls wait only where the program needs their answer.
    Pipeline,
    /// As pipeline; and what a program repeats travels as the word that it was repeated.
    #[default]
    Replay,
}

impl Mode {
    /// All modes, by name.
    pub const NAMES: [(Mode, &'static str); 3] =
        [(Mode::Percall, "percall"), (Mode::Pipeline, "pipeline"), (Mode::Replay, "replay")];
}

impl std::str::FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Mode::NAMES.iter().find(|(_, name)| *name == text);
        known
            .map(|(mode, _)| *mode)
            .ok_or_else(|| format!("unknown mode {text:?}: expected percall, pipeline or replay"))
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let known = Mode::NAMES.iter().find(|(mode, _)| mode == self);
        f.write_str(known.map_or("", |(_, name)| name))
    }
}

/// The client's first frame.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL_VERSION`] of the client.
    pub version: u32,
    /// [`schema_hash`] of the client.
    pub schema: [u8; 32],
    /// For the server's log and limits only.
    pub mode: Mode,
    /// The program's name, for the server's log, at most [`MAX_TEXT_BYTES`].
    pub program: String,
}

impl Hello {
    /// A hello of this build.
    pub fn new(mode: Mode, program: &str) -> Self {
        Hello { version: PROTOCOL_VERSION, schema: schema_hash(), mode, program: truncated(program) }
    }

    /// Whether a server of this build can serve the client.
    ///
    /// # Errors
    /// The refusal to send.
    pub fn check(&self) -> Result<(), Refusal> {
        if self.version != PROTOCOL_VERSION || self.schema != schema_hash() {
            return Err(Refusal::Version { server: PROTOCOL_VERSION });
        }
        Ok(())
    }
}

/// The server's first frame if it takes the client.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Welcome {
    /// Names the session in both logs.
    pub session: u64,
    /// Version of the server's package, for people.
    pub server_version: String,
    /// Everything about the device that a program can ask without doing work on it.
    pub device: DeviceInfo,
}

/// The server's first frame if it does not take the client.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// Client and server were not built from the same protocol.
    #[error("the server speaks {}: use the same RRTO release on both sides", other_protocol(*server))]
    Version {
        /// The server's.
        server: u32,
    },
    /// No session is free.
    #[error("the server is full ({limit} sessions): try again later, or raise rrto-gpud --max-sessions")]
    Full {
        /// The server's limit.
        limit: u32,
    },
    /// The device cannot be used.
    #[error("the server cannot use its device: {reason}")]
    Device {
        /// In words, at most [`MAX_TEXT_BYTES`].
        reason: String,
    },
    /// There is no such session to continue.
    #[error(
        "the server does not know this session any more: it was restarted, or the program was away for longer than rrto-gpud --grace"
    )]
    Unknown,
    /// The robot's certificate has no common name.
    #[error(
        "the robot's certificate has no name (subject common name), by which the server knows robots: make one with rrto certs DIR --add-robot NAME"
    )]
    Nameless,
    /// The robot's certificate is on the server's list of those that are good no longer.
    #[error(
        "the robot's certificate has been revoked: make it another one with rrto certs DIR --add-robot NAME"
    )]
    Revoked,
    /// The server takes no new sessions, and waits for those that it has.
    #[error("the server is shutting down: try again when it has been started anew")]
    Ending,
    /// The robot has as many sessions as one may have.
    #[error(
        "this robot has {sessions} sessions, and the server keeps its last places for robots that have none: end one of its programs, or raise rrto-gpud --sessions-per-robot"
    )]
    Share {
        /// The robot's.
        sessions: u32,
    },
}

impl Refusal {
    /// Whether it is for lack of room, which others may make.
    pub fn is_for_room(&self) -> bool {
        matches!(self, Refusal::Full { .. } | Refusal::Share { .. })
    }
}

/// Everything that a client sends on the control stream.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ClientFrame {
    /// Once, first.
    Hello(Hello),
    /// Operators with consecutive numbers.
    Operators {
        /// The first one's number.
        first: u64,
        /// Coded by [`repeat::Encoder`].
        coded: Bytes,
    },
    /// The program has ended; the session can be freed at once.
    Goodbye,
    /// From now on `id` names this sequence.
    Define {
        /// Its place among the operators.
        number: u64,
        /// Its name.
        id: SequenceId,
        /// Of which host thread.
        lane: u32,
        /// Its operators: coded by [`repeat::Encoder::encode_record`], as records of this lane that want an answer
        /// exactly if they need one.
        coded: Bytes,
    },
    /// Operators with consecutive numbers: those of a span.
    Advance {
        /// The first one's number.
        first: u64,
        /// Which operators.
        span: Span,
        /// Their inline payloads, end to end.
        payloads: Bytes,
    },
    /// There will be no span of this sequence any more.
    Retire {
        /// Its place among the operators.
        number: u64,
        /// Which.
        id: SequenceId,
    },
    /// Once, first, on a connection that continues a session.
    Resume(Resume),
    /// The client goes on with the session on this connection, and with no other: the server can close the others. Not on
    /// a connection that greets with a hello, which has no others.
    Kept,
    /// All answers before this one have come, and their payloads; the server can forget them.
    Received {
        /// How many.
        answers: u64,
    },
}

/// Everything that a server sends on the control stream.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum ServerFrame {
    /// Once, first, to a hello; with what names the session from now on.
    Welcome(Box<Welcome>, SessionToken),
    /// Once, first, and then nothing more.
    Refused(Refusal),
    /// The answer to an operator that wanted one.
    Reply {
        /// The operator's number.
        number: u64,
        /// The outcome; a payload over [`INLINE_PAYLOAD_BYTES`] comes on a bulk stream of the same number.
        outcome: Result<Answer, CuResult>,
    },
    /// An operator that wanted no answer has failed.
    Failed {
        /// The operator's number.
        number: u64,
        /// Why.
        result: CuResult,
    },
    /// All operators up to this one have been issued; the client can forget them.
    Executed {
        /// The last number.
        through: u64,
    },
    /// The server ends the session: nothing more will be executed.
    Ended {
        /// In words, at most [`MAX_TEXT_BYTES`].
        reason: String,
    },
    /// Once, first, to a resumption.
    Resumed(Resumed),
    /// The next answer on this connection is this one: those before it have been confirmed by way of another.
    AnswersFrom {
        /// How many there were before it.
        answers: u64,
    },
}

/// A value, or where it comes.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// Here it is.
    Value(Value),
    /// This many bytes follow on a bulk stream.
    Bulk(u64),
}

/// The protocol's constants that both sides must agree on.
const SCHEMA_NUMBERS: [u64; 10] = [
    MAX_FRAME_BYTES as u64,
    INLINE_PAYLOAD_BYTES,
    MAX_PAYLOAD_BYTES,
    MAX_SEQUENCE_OPERATORS as u64,
    MAX_SEQUENCE_BYTES,
    MAX_SEQUENCES as u64,
    MAX_SEQUENCES_BYTES,
    MAX_SPAN_PATCHES as u64,
    MAX_PATCH_EDITS as u64,
    repeat::SCHEMA,
];

/// What both sides must agree on beyond the version: the function table and the protocol's constants.
pub fn schema_hash() -> [u8; 32] {
    let mut hash = blake3::Hasher::new();
    hash.update(&api::table_hash());
    for number in SCHEMA_NUMBERS {
        hash.update(&number.to_le_bytes());
    }
    *hash.finalize().as_bytes()
}

/// What a server of this version speaks that refuses this side's.
fn other_protocol(server: u32) -> String {
    if server == PROTOCOL_VERSION {
        format!("protocol version {server} with other tables or limits")
    } else {
        format!("another protocol version ({server}; this side speaks {PROTOCOL_VERSION})")
    }
}

/// `text`, cut to [`MAX_TEXT_BYTES`] at a character's edge.
pub fn truncated(text: &str) -> String {
    let mut end = text.len().min(MAX_TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

/// Why bytes from the other side make no sense. It always ends the connection, and nothing else.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WireError {
    /// A frame announced more bytes than allowed.
    #[error("a frame of {bytes} bytes is over the limit of {MAX_FRAME_BYTES}")]
    FrameTooLong {
        /// As announced.
        bytes: u64,
    },
    /// Bytes that no encoder of this version makes.
    #[error("malformed {what}")]
    Malformed {
        /// Which part.
        what: &'static str,
    },
    /// A value over its limit.
    #[error("over a limit: {what}")]
    Limit {
        /// Which limit.
        what: &'static str,
    },
    /// A message that is not expected at this point.
    #[error("unexpected {what}")]
    Unexpected {
        /// Which message.
        what: &'static str,
    },
}
