//! `RRTO_RECORD`: what the program asks of the server, and what it is answered, written to a file.
//!
//! The file is made when the session begins, so a process that never uses CUDA makes none. A forked child does not
//! write to it, as it has no session, and neither does a process that ends in a way that runs no exit handlers: what
//! was recorded since the last writing is then missing.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use rrto_core::api::CuResult;
use rrto_core::log::recording::{Became, Event, Writer, summary};
use rrto_core::operator::{Operator, Outcome};
use rrto_core::replay::{Divergence, ReplayStatistics};
use rrto_core::wire::repeat::Record;
use rrto_quic::{LinkStatistics, Submission};

use crate::boundary::Output;
use crate::client::Remote;
use crate::{lane, log};

/// A recording ends here: an hour of a model's calls, and no disk full of them.
const RECORDING_MAX_BYTES: u64 = 256 << 20;

/// So much is gathered before it is written.
const BUFFER_BYTES: usize = 256 << 10;

/// How often, and how long each time, the process's end waits for a thread that is just recording. That thread may
/// be waiting for a server that does not answer.
const LAST_TRIES: usize = 10;
const LAST_PAUSE: Duration = Duration::from_millis(10);

/// Records what passes on its way to another remote.
pub(super) struct Recording<R> {
    remote: R,
    path: PathBuf,
    /// `None` once the recording has ended.
    tape: Mutex<Option<Tape>>,
}

struct Tape {
    path: PathBuf,
    writer: Writer,
    written_bytes: u64,
}

/// Why a recording ends before the program does.
#[derive(Debug, thiserror::Error)]
enum TapeError {
    #[error(transparent)]
    File(#[from] std::io::Error),
    #[error(transparent)]
    Operator(#[from] rrto_core::wire::WireError),
    #[error("it has reached its limit of {RECORDING_MAX_BYTES} bytes")]
    Full,
}

impl Tape {
    fn create(path: &Path) -> Result<Self, TapeError> {
        Output::create(path)?;
        Ok(Tape { path: path.to_owned(), writer: Writer::new(), written_bytes: 0 })
    }

    fn append(&mut self, event: &Event) -> Result<(), TapeError> {
        self.writer.append(event)?;
        if self.writer.bytes().len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), TapeError> {
        let bytes = self.writer.bytes();
        if self.written_bytes + bytes.len() as u64 > RECORDING_MAX_BYTES {
            return Err(TapeError::Full);
        }
        // The program may change its directory, but not what it has closed: no descriptor is kept.
        Output::append(&self.path)?.write_all(bytes)?;
        self.written_bytes += bytes.len() as u64;
        self.writer.clear();
        Ok(())
    }
}

impl<R: Remote> Recording<R> {
    /// Records from now on. A file that cannot be made is said, and nothing is recorded.
    pub(super) fn new(remote: R, path: &Path) -> Self {
        let tape = Tape::create(path).map_err(|error| over(path, &error)).ok();
        Recording { remote, path: path.to_owned(), tape: Mutex::new(tape) }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Tape>> {
        self.tape.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(&self, tape: &mut Option<Tape>, event: &Event) {
        if let Some(recording) = tape
            && let Err(error) = recording.append(event)
        {
            over(&self.path, &error);
            *tape = None;
        }
    }

    /// Writes what is left, as far as that can be done soon.
    fn end(&self) {
        for _ in 0..LAST_TRIES {
            let mut tape = match self.tape.try_lock() {
                Ok(tape) => tape,
                Err(TryLockError::Poisoned(tape)) => tape.into_inner(),
                Err(TryLockError::WouldBlock) => {
                    thread::sleep(LAST_PAUSE);
                    continue;
                }
            };
            if let Some(Err(error)) = tape.take().map(|mut tape| tape.flush()) {
                over(&self.path, &error);
            }
            return;
        }
        log::error!("the end of the recording {} is missing: a call was still going on", self.path.display());
    }
}

fn over(path: &Path, error: &TapeError) {
    log::error!("nothing more is recorded in {}: {error}", path.display());
}

/// What the program sees is what the inner remote does.
impl<R: Remote> Remote for Recording<R> {
    fn sticky(&self) -> Option<CuResult> {
        self.remote.sticky()
    }

    fn submit(
        &self,
        lane: u32,
        operator: Operator,
        payload: Option<Bytes>,
        register: &mut dyn FnMut(u64),
    ) -> Submission {
        // Held while the operator gets its number, so that the recording has the order of the numbers.
        let mut tape = self.lock();
        if tape.is_none() {
            drop(tape);
            return self.remote.submit(lane, operator, payload, register);
        }
        let mut number = 0;
        let submission = self.remote.submit(lane, operator.clone(), payload, &mut |registered| {
            number = registered;
            register(registered);
        });
        let (became, wants_answer) = match &submission {
            Submission::Queued => (Became::Queued(number), false),
            Submission::Awaits(number) => (Became::Awaits(*number), true),
            Submission::Answered(outcome) => (Became::Answered(summary(outcome)), operator.needs_answer()),
        };
        let record = Record { lane, wants_answer, operator };
        self.append(&mut tape, &Event::Submit { record, became });
        submission
    }

    fn wait(&self, number: u64) -> Outcome {
        let wait = Event::Wait { lane: lane::lane(), number, blocks: self.remote.is_awaited(number) };
        self.append(&mut self.lock(), &wait);
        let outcome = self.remote.wait(number);
        self.append(&mut self.lock(), &Event::Outcome { number, outcome: summary(&outcome) });
        outcome
    }

    fn is_awaited(&self, number: u64) -> bool {
        self.remote.is_awaited(number)
    }

    fn lost(&self) -> Option<String> {
        self.remote.lost()
    }

    fn statistics(&self) -> LinkStatistics {
        self.remote.statistics()
    }

    fn replay_statistics(&self) -> ReplayStatistics {
        self.remote.replay_statistics()
    }

    fn poll_divergence(&self) -> Option<Divergence> {
        self.remote.poll_divergence()
    }

    fn close(&self, limit: Duration) {
        self.end();
        self.remote.close(limit);
    }
}

#[cfg(test)]
mod tests;
