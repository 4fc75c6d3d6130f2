//! What belongs to one connection of a session, on the client's side.

use super::Answers;
use super::outbox::Sent;
use crate::wire::FrameReader;

/// Answers after which the server is told that they have come. Telling takes some four bytes, so most inferences do
/// without; the server can keep far more.
const CONFIRM_ANSWERS: u64 = 64;

/// Payload bytes after which it is told.
const CONFIRM_BYTES: u64 = 1 << 20;

/// What may leave on a connection that continues a session before the server has said what it has: about what the first
/// flight of a connection carries. Connections may be tried often on a link that is down, and each says the same.
const FLIGHT_BYTES: usize = 8 << 10;

/// One connection's place in a session: its codecs, and how far it has got. Several may be there at a time.
#[derive(Debug)]
pub struct Channel {
    pub(super) reader: FrameReader,
    pub(super) sent: Sent,
    /// It continues a session.
    pub(super) resumes: bool,
    /// The first frame has been given out.
    pub(super) opened: bool,
    /// The server's first frame has come.
    pub(super) answered: bool,
    pub(super) said_goodbye: bool,
    /// The server is to be told that the session goes on here.
    pub(super) keeps: bool,
    /// The answer that comes next, as the server counts them.
    pub(super) next_answer: u64,
    /// What the server has been told that has come.
    confirmed: Confirmed,
    /// It is to be told again, for a sign of life.
    pub(super) probes: bool,
    flight_bytes: usize,
}

/// What has come for good.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Confirmed {
    /// All answers before this one, and their payloads.
    pub(super) answers: u64,
    /// Bytes of payloads.
    pub(super) bytes: u64,
}

impl Channel {
    /// One to continue a session on, if `resumes`; or the session's first.
    pub(super) fn new(resumes: bool) -> Self {
        Channel {
            reader: FrameReader::default(),
            sent: Sent::default(),
            resumes,
            opened: false,
            answered: false,
            said_goodbye: false,
            keeps: false,
            next_answer: 0,
            confirmed: Confirmed::default(),
            probes: false,
            flight_bytes: 0,
        }
    }

    /// Whether the server has taken the connection for the session's.
    pub fn is_answered(&self) -> bool {
        self.answered
    }

    /// Whether the goodbye has been given to the driver: nothing more will come.
    pub fn said_goodbye(&self) -> bool {
        self.said_goodbye
    }

    /// The session goes on here: every other connection of it is, or is about to be, given up.
    pub fn handle_kept(&mut self) {
        self.keeps = self.resumes;
    }

    /// How many bytes of frames may be given out, of `limit`.
    pub(super) fn budget(&self, limit: usize) -> usize {
        if self.is_free() { limit } else { limit.min(FLIGHT_BYTES.saturating_sub(self.flight_bytes)) }
    }

    pub(super) fn count_flight(&mut self, bytes: usize) {
        self.flight_bytes += bytes;
    }

    /// Whether everything may leave.
    pub(super) fn is_free(&self) -> bool {
        self.answered || !self.resumes
    }

    /// What the server is to be told that has come, if that is due. Beside other frames it is, earlier: they share a packet.
    pub(super) fn due_confirmation(&self, answers: &Answers, rides: bool) -> Option<Confirmed> {
        let come = answers.confirmed();
        let parts = if rides { 2 } else { 1 };
        let is_due = come.answers - self.confirmed.answers >= CONFIRM_ANSWERS / parts
            || (come.bytes - self.confirmed.bytes >= CONFIRM_BYTES / parts
                && come.answers > self.confirmed.answers);
        (self.answered && (is_due || self.probes)).then_some(come)
    }

    pub(super) fn handle_confirmed(&mut self, confirmed: Confirmed) {
        self.confirmed = confirmed;
        self.probes = false;
    }
}
