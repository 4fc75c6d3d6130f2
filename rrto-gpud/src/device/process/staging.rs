//! Memory that the server and a session's worker both have, through which bulk payloads go: the server writes each there
//! piece by piece while it arrives, and the worker reads it to where the device takes it from. So when the last piece is
//! there, the payload is copied once more and not four times.
//!
//! It is a file in memory (`memfd_create(2)`) that neither maps: with reads and writes no process sees bytes change that
//! it holds a reference to, whatever the other does. The worker gets it with the first byte that it is sent (`SCM_RIGHTS`
//! in `unix(7)`).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rrto_core::engine::Staged;
use rrto_core::operator::MAX_PAYLOAD_BYTES;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::{pread, pwritev, retry_on_intr};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

/// Payloads that it has places for, each for the longest one. Of more, the rest goes with its operators.
const PLACES: u64 = 8;

/// The server's side.
#[derive(Debug)]
pub(super) struct Staging {
    file: Arc<OwnedFd>,
    free: Arc<Mutex<Vec<u64>>>,
}

impl Staging {
    /// Makes the memory; it takes up what is written to it. `stream`'s other end gets it through [`receive`].
    ///
    /// # Errors
    /// The system's.
    pub(super) fn share(stream: &UnixStream) -> io::Result<Self> {
        let file = memfd_create("rrto-staging", MemfdFlags::CLOEXEC)?;
        // Where no file may be so large (RLIMIT_FSIZE, getrlimit(2)), payloads go with their operators.
        let places = ftruncate(&file, PLACES * MAX_PAYLOAD_BYTES).map_or(0, |()| PLACES);
        let files = [file.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !ancillary.push(SendAncillaryMessage::ScmRights(&files)) {
            return Err(io::Error::other("no room for a file in a message"));
        }
        retry_on_intr(|| sendmsg(stream, &[IoSlice::new(&[0])], &mut ancillary, SendFlags::empty()))?;
        Ok(Staging { file: Arc::new(file), free: Arc::new(Mutex::new((0..places).rev().collect())) })
    }
}

impl rrto_quic::Staging for Staging {
    fn take(&self, bytes: u64) -> Option<Arc<dyn rrto_quic::Place>> {
        if bytes > MAX_PAYLOAD_BYTES {
            return None;
        }
        let place = lock(&self.free).pop()?;
        let view = View { file: self.file.clone(), place, bytes };
        Some(Arc::new(Place { view, free: self.free.clone() }))
    }
}

fn lock(free: &Mutex<Vec<u64>>) -> MutexGuard<'_, Vec<u64>> {
    // A push or a pop happens or does not.
    free.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A place that the server writes to; given back on drop.
#[derive(Debug)]
struct Place {
    view: View,
    free: Arc<Mutex<Vec<u64>>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.free).push(self.view.place);
    }
}

impl rrto_quic::Place for Place {
    fn write(&self, offset: u64, pieces: &[Bytes]) -> io::Result<()> {
        let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        let mut left = &mut slices[..];
        let mut at = self.view.start() + offset;
        IoSlice::advance_slices(&mut left, 0); // empty ones at the front
        while !left.is_empty() {
            match retry_on_intr(|| pwritev(&self.view.file, left, at))? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => {
                    at += count as u64;
                    IoSlice::advance_slices(&mut left, count);
                }
            }
        }
        Ok(())
    }
}

impl Staged for Place {
    fn place(&self) -> u64 {
        self.view.place
    }

    fn bytes(&self) -> u64 {
        self.view.bytes
    }

    fn copy_to(&self, into: &mut [u8]) -> bool {
        self.view.copy_to(into)
    }
}

/// The first so many bytes of a place.
#[derive(Debug)]
pub(super) struct View {
    pub(super) file: Arc<OwnedFd>,
    pub(super) place: u64,
    pub(super) bytes: u64,
}

impl View {
    fn start(&self) -> u64 {
        // A place that there is not lies beyond the file's end, where nothing is read.
        self.place.saturating_mul(MAX_PAYLOAD_BYTES)
    }
}

impl Staged for View {
    fn place(&self) -> u64 {
        self.place
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn copy_to(&self, mut into: &mut [u8]) -> bool {
        let mut at = self.start();
        while !into.is_empty() {
            match retry_on_intr(|| pread(&self.file, &mut *into, at)) {
                Ok(count @ 1..) => {
                    at += count as u64;
                    into = into.get_mut(count..).unwrap_or_default();
                }
                Ok(0) | Err(_) => return false,
            }
        }
        true
    }
}

/// Waits for the memory that the other end of `stream` shares.
///
/// # Errors
/// The other end is gone, or sent something else.
pub(super) fn receive(stream: &UnixStream) -> io::Result<Arc<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let flags = RecvFlags::CMSG_CLOEXEC;
    retry_on_intr(|| recvmsg(stream, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, flags))?;
    let file = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut files) => files.next(),
        _ => None,
    });
    file.map(Arc::new).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

#[cfg(test)]
mod tests {
    use rrto_quic::Staging as _;

    use super::*;

    #[test]
    fn the_worker_reads_what_the_server_writes() {
        let (server, worker) = UnixStream::pair().unwrap();
        let staging = Staging::share(&server).unwrap();
        let file = receive(&worker).unwrap();
        let places: Vec<_> = (0..PLACES).map(|_| staging.take(MAX_PAYLOAD_BYTES).unwrap()).collect();
        assert!(staging.take(1).is_none(), "all are taken");
        for (at, place) in (1..).zip(&places) {
            let pieces = [vec![], vec![at; 3], vec![], vec![at + 100; 4]].map(Bytes::from);
            place.write(2, &pieces).unwrap();
        }
        for (at, place) in (1..).zip(&places) {
            let mut read = [9; 10];
            assert!(View { file: file.clone(), place: place.place(), bytes: 10 }.copy_to(&mut read));
            let high = at + 100;
            assert_eq!(read, [0, 0, at, at, at, high, high, high, high, 0]);
        }
        drop(places);
        assert!(staging.take(MAX_PAYLOAD_BYTES + 1).is_none());
        assert!(staging.take(MAX_PAYLOAD_BYTES).is_some());
    }

    #[test]
    fn what_is_not_there_is_not_read() {
        let (server, worker) = UnixStream::pair().unwrap();
        let _staging = Staging::share(&server).unwrap();
        let file = receive(&worker).unwrap();
        for place in [PLACES, u64::MAX] {
            assert!(!View { file: file.clone(), place, bytes: 1 }.copy_to(&mut [0]));
        }
    }

    #[test]
    fn a_server_that_is_gone_shares_nothing() {
        let (server, worker) = UnixStream::pair().unwrap();
        drop(server);
        assert!(receive(&worker).is_err());
    }
}
