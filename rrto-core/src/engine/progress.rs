//! Which work the client knows to have completed, so that a synchronisation with nothing outstanding costs no
//! round trip.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use crate::operator::{Handle, Operator, StreamEffect};

/// `CU_STREAM_NON_BLOCKING`.
const NON_BLOCKING: u32 = 1;

#[derive(Clone, Copy, Debug, Default)]
struct Stream {
    /// Ordered against the legacy default stream.
    blocking: bool,
    /// Number of its latest work.
    last_work: u64,
    /// All its work up to this number has completed.
    completed: u64,
}

impl Stream {
    fn settled(&self) -> bool {
        self.last_work <= self.completed
    }
}

/// An event's latest record.
#[derive(Clone, Copy, Debug)]
struct Recorded {
    stream: Handle,
    number: u64,
    /// It is known to have completed, whatever has become of its stream.
    completed: bool,
}

/// Per stream and event, what was submitted last and what has completed.
#[derive(Debug)]
pub(super) struct Progress {
    streams: HashMap<Handle, Stream, FixedState>,
    /// Events that were recorded.
    events: HashMap<Handle, Recorded, FixedState>,
    /// The latest operator whose completion the program may know of.
    answered: u64,
}

impl Default for Progress {
    fn default() -> Self {
        let legacy = Stream { blocking: true, ..Stream::default() };
        Progress {
            streams: HashMap::from_iter([(Handle::LEGACY_STREAM, legacy)]),
            events: HashMap::default(),
            answered: 0,
        }
    }
}

impl Progress {
    /// Notes that `operator` was submitted under `number`.
    pub(super) fn handle_submitted(&mut self, number: u64, operator: &Operator) {
        match operator {
            Operator::StreamCreate { stream, flags, .. } => {
                let blocking = flags & NON_BLOCKING == 0;
                self.streams.insert(*stream, Stream { blocking, ..Stream::default() });
            }
            // The stream's work goes on after its handle is gone; it counts as the legacy stream's from then on.
            Operator::StreamDestroy { stream } => {
                if self.streams.remove(stream).is_some_and(|gone| !gone.settled()) {
                    self.handle_work(Handle::LEGACY_STREAM, number);
                }
            }
            Operator::EventRecord { event, stream, .. } => {
                self.join(*stream, number);
                self.events.insert(*event, Recorded { stream: *stream, number, completed: false });
            }
            Operator::CopyIn { stream, .. } => self.join(*stream, number),
            Operator::EventDestroy { event } => {
                self.events.remove(event);
            }
            // Not only a completion but work too, until its bytes have been delivered: the program may have submitted
            // it without waiting, and a synchronisation is how it waits.
            Operator::CopyOut { stream, .. } => self.handle_work(*stream, number),
            other => {
                if let StreamEffect::Work(stream) = other.stream_effect() {
                    self.handle_work(stream, number);
                }
            }
        }
    }

    /// Notes what is no work itself, but on the legacy stream comes after that of all blocking ones, and so makes those that
    /// follow it there come after each other.
    fn join(&mut self, stream: Handle, number: u64) {
        if stream == Handle::LEGACY_STREAM && !self.stream_settled(stream) {
            self.handle_work(stream, number);
        }
    }

    /// Notes work of `stream` that was submitted under `number`.
    pub(super) fn handle_work(&mut self, stream: Handle, number: u64) {
        if let Some(stream) = self.streams.get_mut(&stream) {
            stream.last_work = number;
        }
    }

    /// Notes that `operator`, submitted under `number`, was answered with success.
    pub(super) fn handle_completed(&mut self, number: u64, operator: &Operator) {
        self.answered = self.answered.max(number);
        match operator {
            Operator::StreamQuery { stream } => self.complete(*stream, number),
            Operator::EventSynchronize { event } | Operator::EventQuery { event } => {
                let recorded = self.events.get_mut(event).filter(|recorded| recorded.number < number);
                if let Some(recorded) = recorded {
                    recorded.completed = true;
                    let Recorded { stream, number, .. } = *recorded;
                    self.complete(stream, number);
                }
            }
            other => match other.stream_effect() {
                StreamEffect::Completes(stream) => self.complete(stream, number),
                StreamEffect::CompletesAll => {
                    self.streams
                        .values_mut()
                        .for_each(|stream| stream.completed = stream.completed.max(number));
                }
                StreamEffect::None | StreamEffect::Work(_) => {}
            },
        }
    }

    /// All work of `stream` up to `number` has completed. Work on the legacy default stream runs after everything
    /// before it on the blocking streams (CUDA C++ Programming Guide, "Default Stream"), so its completion is theirs.
    fn complete(&mut self, stream: Handle, number: u64) {
        for (handle, state) in &mut self.streams {
            if *handle == stream || (stream == Handle::LEGACY_STREAM && state.blocking) {
                state.completed = state.completed.max(number);
            }
        }
    }

    /// Whether `operator` is a synchronisation with nothing left to wait for. So is a query: were it to travel, the
    /// server might still be at the copies that a synchronisation here has passed over, and answer "not ready" to a
    /// program that was told otherwise.
    pub(super) fn is_settled(&self, operator: &Operator) -> bool {
        match operator {
            Operator::StreamSynchronize { stream } => self.stream_settled(*stream),
            // Its own work is all that a query asks about.
            Operator::StreamQuery { stream } if *stream != Handle::LEGACY_STREAM => {
                self.streams.get(stream).is_some_and(Stream::settled)
            }
            Operator::StreamQuery { stream } => self.stream_settled(*stream),
            Operator::EventSynchronize { event } | Operator::EventQuery { event } => {
                match self.events.get(event) {
                    Some(Recorded { stream, number, completed }) => {
                        *completed
                            || self.stream_settled(*stream)
                            || self.streams.get(stream).is_some_and(|stream| stream.completed >= *number)
                    }
                    // Never recorded: cuEventSynchronize answers at once. An unknown handle is the server's to judge.
                    None => false,
                }
            }
            Operator::ContextSynchronize => self.streams.values().all(Stream::settled),
            _ => false,
        }
    }

    /// The synchronisation that a query can wait for in its stead, and the number that it must come after to answer it.
    /// `None` for what is no query, or is about nothing known.
    ///
    /// Nor is there one if the program has been told of the completion of something later than what it asks about: it may
    /// know, by ways that are not followed here, that the answer must be yes, and only the server can tell.
    pub(super) fn synchronisation(&self, query: &Operator) -> Option<(Operator, u64)> {
        let (synchronisation, after, about) = match query {
            Operator::StreamQuery { stream } => {
                let about = self.streams.get(stream)?.last_work;
                (Operator::StreamSynchronize { stream: *stream }, 0, about)
            }
            Operator::EventQuery { event } => {
                let number = self.events.get(event)?.number;
                (Operator::EventSynchronize { event: *event }, number, number)
            }
            _ => return None,
        };
        (self.answered < about).then_some((synchronisation, after))
    }

    /// A blocking stream may be behind work of the legacy stream, and the other way round.
    fn stream_settled(&self, stream: Handle) -> bool {
        let Some(this) = self.streams.get(&stream) else { return false };
        match (this.blocking, stream == Handle::LEGACY_STREAM) {
            (true, true) => self.streams.values().all(|other| !other.blocking || other.settled()),
            (true, false) => {
                this.settled() && self.streams.get(&Handle::LEGACY_STREAM).is_none_or(Stream::settled)
            }
            (false, _) => this.settled(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_to_the_host_is_outstanding_until_its_bytes_are_delivered() {
        let [stream, event] = [Handle(1), Handle(2)];
        let mut progress = Progress::default();
        progress.handle_submitted(1, &Operator::StreamCreate { stream, flags: NON_BLOCKING, priority: 0 });
        let copy = Operator::CopyOut { src: 0, bytes: 1, stream };
        progress.handle_submitted(2, &copy);
        progress.handle_submitted(3, &Operator::EventRecord { event, stream, flags: 0 });
        let synchronisations = [
            Operator::StreamSynchronize { stream },
            Operator::StreamQuery { stream },
            Operator::EventSynchronize { event },
            Operator::EventQuery { event },
            Operator::ContextSynchronize,
        ];
        for operator in &synchronisations {
            assert!(!progress.is_settled(operator), "{operator:?}");
        }
        progress.handle_completed(2, &copy);
        for operator in &synchronisations {
            assert!(progress.is_settled(operator), "{operator:?}");
        }
    }

    /// Two blocking streams come after each other where something on the legacy stream stands between them, be it no work.
    #[test]
    fn the_legacy_stream_joins_blocking_streams() {
        let [one, other, event] = [Handle(1), Handle(2), Handle(3)];
        let legacy = Handle::LEGACY_STREAM;
        let joins = [
            Operator::CopyIn { dst: 0, bytes: 1, stream: legacy },
            Operator::EventRecord { event, stream: legacy, flags: 0 },
        ];
        for join in joins {
            let mut progress = Progress::default();
            for (number, stream) in (1..).zip([one, other]) {
                progress.handle_submitted(number, &Operator::StreamCreate { stream, flags: 0, priority: 0 });
            }
            let is_over = |progress: &Progress| progress.is_settled(&Operator::EventSynchronize { event });
            progress.handle_submitted(3, &join);
            progress.handle_submitted(4, &Operator::EventRecord { event, stream: other, flags: 0 });
            assert!(is_over(&progress), "{join:?} after nothing");
            let fill = Operator::CopyDevice { dst: 0, src: 8, bytes: 1, stream: one };
            progress.handle_submitted(5, &fill);
            progress.handle_submitted(6, &join);
            progress.handle_submitted(7, &Operator::EventRecord { event, stream: other, flags: 0 });
            assert!(!is_over(&progress), "{join:?} after work");
        }
    }
}
