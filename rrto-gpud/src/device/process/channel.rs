//! A socket that carries messages and payloads between the server and a worker.
//!
//! Nothing but [`Channel::wait`] blocks, and that ends as soon as there is something to read or, if something waits to
//! be written, room for it. So neither side can block in writing while the other one does.

use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use rustix::net::sockopt;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::inbox::{Filled, Inbox};
use super::outbox::{Outbox, TooLong};

/// What the kernel is to hold of what has been written and not read: a camera's image or a batch of them, so that it
/// passes in one go. The system may allow less, and it then passes in several.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;

/// One end.
#[derive(Debug)]
pub(super) struct Channel {
    stream: UnixStream,
    inbox: Inbox,
    outbox: Outbox,
}

impl Channel {
    /// # Errors
    /// The socket cannot be made non-blocking.
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        // Beyond the system's usual limit only root may go.
        if sockopt::set_socket_send_buffer_size_force(&stream, SOCKET_BUFFER_BYTES).is_err() {
            let _ = sockopt::set_socket_send_buffer_size(&stream, SOCKET_BUFFER_BYTES);
        }
        Ok(Channel { stream, inbox: Inbox::default(), outbox: Outbox::default() })
    }

    /// Queues a message and its body; gives the bytes of both.
    ///
    /// # Errors
    /// It is too long; nothing has been queued then.
    pub(super) fn send<H: Serialize>(&mut self, message: &H, body: Bytes) -> Result<usize, TooLong> {
        self.outbox.push(message, body)
    }

    /// Bytes that are queued.
    pub(super) fn unsent_bytes(&self) -> usize {
        self.outbox.bytes()
    }

    /// Writes as much of the queue as goes without blocking.
    ///
    /// # Errors
    /// The other side is gone.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.outbox.flush(&self.stream)
    }

    /// Reads once, without blocking.
    ///
    /// # Errors
    /// The other side is gone, with data unread.
    pub(super) fn fill(&mut self) -> io::Result<Filled> {
        self.inbox.fill(&self.stream)
    }

    /// The next message that has been read, with its body.
    ///
    /// # Errors
    /// What has been read is no message.
    pub(super) fn next<H: DeserializeOwned>(&mut self) -> io::Result<Option<(H, Bytes)>> {
        self.inbox.next()
    }

    /// Waits until something can be done, at most `limit`, or for ever.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn wait(&self, limit: Option<Duration>) -> io::Result<()> {
        let flags = if self.outbox.bytes() > 0 { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
        // A limit too long to be told is as good as none.
        let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
        retry_on_intr(|| poll(&mut [PollFd::new(&self.stream, flags)], limit.as_ref()))?;
        Ok(())
    }

    /// Sends what is queued and waits for the next message, at most `limit`, or for ever.
    ///
    /// # Errors
    /// The other side is gone, says nothing in time, or says what is no message.
    pub(super) fn converse<H: DeserializeOwned>(
        &mut self,
        limit: Option<Duration>,
    ) -> io::Result<(H, Bytes)> {
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        loop {
            self.flush()?;
            let filled = self.fill()?;
            if let Some(received) = self.next()? {
                return Ok(received);
            }
            if filled == Filled::End {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.wait(left)?;
        }
    }

    /// Tells the other side that this is the end.
    pub(super) fn close(&self) {
        // It fails only if the other side has done so already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// The socket, for watching it from another thread.
    ///
    /// # Errors
    /// No descriptor is left.
    pub(super) fn stream(&self) -> io::Result<UnixStream> {
        self.stream.try_clone()
    }
}
