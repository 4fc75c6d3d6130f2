//! What the server and a worker say to each other.
//!
//! ```text
//! frame:  u32 LE length of the head, u32 LE length of the body, head, body
//! head:   a postcard-coded ToWorker or ToServer
//! body:   the raw bytes of a payload, so that they are never coded; empty where the head has none
//! ```
//!
//! Both ends are the same program, so there is neither a version nor a negotiation. The worker starts with
//! [`ToServer::Ready`] or [`ToServer::Refused`] and waits for [`ToWorker::Open`], to which it answers
//! [`ToServer::Opened`] or [`ToServer::Refused`]; from there on calls go one way and outcomes the other. Closing the
//! socket is how either side ends it.

use rrto_core::api::CuResult;
use rrto_core::operator::{MAX_PAYLOAD_BYTES, Operator, SequenceId, Span, Value};
use rrto_core::wire::{DeviceInfo, MAX_FRAME_BYTES};
use serde::{Deserialize, Serialize};

use crate::device::{Limits, SpanUse};

/// The longest head: like the wire's frames, room for the kernel names of a large library.
pub(super) const MAX_HEAD_BYTES: usize = MAX_FRAME_BYTES;

/// The longest body.
pub(super) const MAX_BODY_BYTES: usize = MAX_PAYLOAD_BYTES as usize;

/// The server speaks.
#[derive(Serialize, Deserialize, PartialEq, Debug)]
pub(super) enum ToWorker {
    /// Open the session's context.
    Open(Limits),
    /// Execute this.
    Call {
        /// The operator's number.
        number: u64,
        /// Where its payload is.
        payload: Carried,
        /// The operator.
        operator: Operator,
    },
    /// The body has the next operators of a sequence, coded one behind the other.
    Define {
        /// Which sequence. The pieces of one are not mixed with those of another.
        sequence: SequenceId,
        /// Whose calls they are.
        lane: u32,
        /// Whether these are the last ones: the sequence is then whole.
        is_last: bool,
    },
    /// Execute a span of a sequence that is whole.
    Span {
        /// The number of its first operator.
        first: u64,
        /// Which.
        span: Span,
    },
    /// There will be no more spans of this sequence.
    Retire(SequenceId),
}

/// Where the payload of a call is.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Debug)]
pub(super) enum Carried {
    /// It takes none.
    Nowhere,
    /// It is the body, which may be empty.
    Body,
    /// In the memory that both have.
    Staged {
        /// The place.
        place: u64,
        /// Its length.
        bytes: u64,
    },
}

/// The worker speaks.
#[derive(Serialize, Deserialize, PartialEq, Debug)]
pub(super) enum ToServer {
    /// The device is open.
    Ready(DeviceInfo),
    /// The context is open, and the worker is confined but for what the kernel lacks, in words for the server's log.
    Opened {
        /// What it lacks.
        lacking: Vec<String>,
    },
    /// What was to be opened cannot be, for this reason.
    Refused(String),
    /// What has become of spans since this was told last.
    Used(SpanUse),
    /// This many operators from this number on have succeeded and answer nothing more. The outcomes of one span are told
    /// in order.
    Succeeded {
        /// The first one's number.
        first: u64,
        /// How many.
        count: u64,
    },
    /// An operator has failed.
    Failed {
        /// Its number.
        number: u64,
        /// Why.
        error: CuResult,
    },
    /// An operator has succeeded, and this is its answer: no payload.
    Answered {
        /// Its number.
        number: u64,
        /// The answer.
        value: Value,
    },
    /// An operator has succeeded, and the body is its answer.
    Payload {
        /// Its number.
        number: u64,
    },
}
