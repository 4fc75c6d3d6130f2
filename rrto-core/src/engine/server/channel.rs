//! What belongs to one connection of a session, on the server's side.

use std::collections::{HashSet, VecDeque};

use crate::wire::repeat::Decoder;
use crate::wire::{ClientFrame, FrameReader, Hello, Resume, ServerFrame, WireError};

/// A client's first words on a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Greeting {
    /// It wants a session.
    Hello(Hello),
    /// It wants to go on with one.
    Resume(Resume),
}

/// One connection's place in a session: its codecs, and how far it has got. Several may be there at a time; each is told
/// everything.
#[derive(Debug, Default)]
pub struct Channel {
    pub(super) reader: FrameReader,
    pub(super) decoder: Decoder,
    /// The answer to the greeting, until it is sent.
    pub(super) opening: Option<ServerFrame>,
    /// That answer has been decided on; before it nothing else is taken or given.
    pub(super) is_open: bool,
    /// The handshake is not over: whoever is there may be repeating what the client once said.
    pub(super) is_early: bool,
    /// A goodbye has come.
    pub(super) goodbye: bool,
    /// The client has said that it keeps this connection.
    pub(super) kept: bool,
    pub(super) told_end: bool,
    /// Place of the answer that is sent next.
    pub(super) next_answer: u64,
    /// Payloads that the client has although their answers are still to be sent.
    pub(super) had: HashSet<u64>,
    /// Operators whose payload is to be sent.
    pub(super) bulk: VecDeque<u64>,
    /// What has been acknowledged on it.
    pub(super) acknowledged: u64,
    pub(super) acknowledged_bytes: u64,
}

impl Channel {
    /// A connection on which nobody has said anything. What has no number waits until it is confirmed, if it `is_early`:
    /// if it may be a repetition of what the client said once (RFC 8446, section 8).
    pub fn new(is_early: bool) -> Self {
        Channel { is_early, ..Channel::default() }
    }

    /// Whether the session is this connection's alone: every other one of it can be closed.
    pub fn is_kept(&self) -> bool {
        self.kept && !self.is_early
    }

    /// Takes bytes of the control stream until the greeting is there, and gives it. What came behind it waits for
    /// [`Server::handle_control`](super::Server::handle_control).
    ///
    /// # Errors
    /// What is no greeting; the connection is then of no more use.
    pub fn handle_greeting(&mut self, bytes: &[u8]) -> Result<Option<Greeting>, WireError> {
        self.reader.handle_bytes(bytes);
        match self.reader.poll_frame()? {
            None => Ok(None),
            Some(ClientFrame::Hello(_)) if self.is_early => {
                Err(WireError::Unexpected { what: "hello in early data" })
            }
            Some(ClientFrame::Hello(hello)) => Ok(Some(Greeting::Hello(hello))),
            Some(ClientFrame::Resume(resume)) => Ok(Some(Greeting::Resume(resume))),
            Some(_) => Err(WireError::Unexpected { what: "frame before the greeting" }),
        }
    }
}
