//! The client engine: decides what of a call travels, numbers it, keeps it until it is acknowledged, and matches answers
//! to calls.

mod answers;
mod channel;
mod early;
mod outbox;
mod types;
mod watches;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::progress::Progress;
use crate::api::CuResult;
use crate::operator::{LaunchCall, Operator, Outcome, Value};
use crate::replay::{Change, Divergence, Replay, ReplayStatistics, Step};
use crate::wire::repeat::Record;
use crate::wire::{
    ClientFrame, Hello, Mode, Resume, Resumed, ServerFrame, SessionToken, Welcome, WireError, put_frame,
};
use answers::Answers;
pub use channel::Channel;
use early::Early;
use outbox::Outbox;
pub use types::{ClientLimits, Delivery, Lost, Submitted};
use watches::Watches;

/// The client's side of a session.
#[derive(Debug)]
pub struct Client {
    mode: Mode,
    outbox: Outbox,
    hello: Hello,
    goodbye: bool,
    welcome: Option<Welcome>,
    token: Option<SessionToken>,
    answers: Answers,
    watches: Watches,
    early: Early,
    deliveries: VecDeque<Delivery>,
    progress: Progress,
    /// Idle in the other modes.
    replay: Replay,
    deferred: Option<CuResult>,
    sticky: Option<CuResult>,
    lost: Option<Lost>,
}

impl Client {
    /// A client that has yet to say hello as `program`.
    pub fn new(mode: Mode, program: &str, limits: ClientLimits) -> Self {
        Client {
            mode,
            outbox: Outbox::new(limits),
            hello: Hello::new(mode, program),
            goodbye: false,
            welcome: None,
            token: None,
            answers: Answers::default(),
            watches: Watches::default(),
            early: Early::default(),
            deliveries: VecDeque::new(),
            progress: Progress::default(),
            replay: Replay::default(),
            deferred: None,
            sticky: None,
            lost: None,
        }
    }

    /// The server's welcome, once it has come.
    pub fn welcome(&self) -> Option<&Welcome> {
        self.welcome.as_ref()
    }

    /// The mode that it was made with.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Why nothing works any more, if so.
    pub fn lost(&self) -> Option<&Lost> {
        self.lost.as_ref()
    }

    /// The error that every call gets from now on, if the context is corrupted or the server is gone.
    pub fn sticky(&self) -> Option<CuResult> {
        self.sticky
    }

    /// The number that comes next.
    pub fn next_number(&self) -> u64 {
        self.outbox.next_number()
    }

    /// A place for a new connection: the session's first, or one to continue it on, beside those that there are or in
    /// their stead. Everything that is not acknowledged leaves on each of them, under the same numbers.
    pub fn open(&self) -> Channel {
        Channel::new(self.token.is_some())
    }

    /// Whether nothing is left to send on `channel`, nor will be without another call.
    pub fn is_drained(&self, channel: &Channel) -> bool {
        self.outbox.is_sent(&channel.sent) && !self.has_output(channel)
    }

    /// Whether something is unacknowledged, or unanswered: then the server should be there. What was checked of a segment that is
    /// not over does not count.
    pub fn is_outstanding(&self) -> bool {
        !self.outbox.is_acknowledged() || self.answers.are_awaited()
    }

    /// Whether [`Client::poll_control`] or [`Client::poll_bulk`] has something to give. What was checked of a segment
    /// that is not over has still time.
    pub fn has_output(&self, channel: &Channel) -> bool {
        if !channel.opened {
            return true;
        }
        let has_frames = self.outbox.has_frames(&channel.sent) && channel.budget(1) > 0;
        let has_bulk = channel.is_free() && self.outbox.has_bulk(&channel.sent);
        let has_goodbye = self.goodbye && !channel.said_goodbye && channel.is_free();
        has_frames || has_bulk || has_goodbye || channel.due_confirmation(&self.answers, false).is_some()
    }

    /// What replay has done; nothing in the other modes.
    pub fn replay_statistics(&self) -> ReplayStatistics {
        self.replay.statistics()
    }

    /// A run of a sequence that was given up and has not been told yet.
    pub fn poll_divergence(&mut self) -> Option<Divergence> {
        self.replay.poll_divergence()
    }

    /// Takes a call of the program. `payload` is there exactly if the operator takes one.
    ///
    /// Synchronisations with nothing outstanding are answered at once, and so are queries, and so is every call once the
    /// session has a sticky error. An error of an earlier asynchronous operator is given by the first call that waits,
    /// as CUDA allows.
    pub fn handle_submit(&mut self, lane: u32, operator: Operator, payload: Option<Bytes>) -> Submitted {
        if let Some(sticky) = self.sticky {
            return Submitted::Answered(Err(sticky));
        }
        let wants_answer = self.mode == Mode::Percall || operator.needs_answer();
        if wants_answer && let Some(outcome) = self.answer_here(lane, &operator) {
            return Submitted::Answered(outcome);
        }
        if let Some(number) = self.take_early(lane, &operator) {
            return Submitted::Awaits(number);
        }
        let payload_bytes = payload.as_ref().map_or(0, |payload| payload.len() as u64);
        if self.outbox.is_full(payload_bytes) {
            // What has to be acknowledged has to leave first.
            self.outbox.close_span();
            return Submitted::Full(operator, payload);
        }
        if self.mode != Mode::Percall
            && let Some((synchronisation, _)) = self.progress.synchronisation(&operator)
        {
            let number = self.send(lane, synchronisation.clone(), None);
            self.watches.handle_submitted(number, synchronisation);
            return Submitted::Answered(Err(CuResult::NOT_READY));
        }
        let number = match self.mode {
            Mode::Replay => self.replay_or_send(lane, operator, payload),
            Mode::Percall | Mode::Pipeline => self.send(lane, operator, payload),
        };
        if wants_answer { Submitted::Awaits(number) } else { Submitted::Queued(number) }
    }

    /// Takes a launch of the program that is the next one of a run of a sequence, which is what it mostly is; gives its
    /// number. Otherwise it does nothing, and [`Client::handle_submit`] is to be called.
    pub fn handle_next_launch(&mut self, lane: u32, launch: &LaunchCall<'_>) -> Option<u64> {
        let may_run = self.mode == Mode::Replay && self.sticky.is_none();
        if !may_run || self.early.is_asked() || self.outbox.is_full(0) {
            return None;
        }
        let checked = self.replay.handle_next_launch(lane, launch)?;
        let is_copy_near = checked.next_copy_bytes.is_some_and(early::is_short);
        let number = self.outbox.extend_span(checked, None);
        self.progress.handle_work(launch.stream, number);
        if is_copy_near {
            self.ask_early(lane);
        }
        Some(number)
    }

    /// The outcome of a call that wants an answer, if nothing has to travel for it.
    fn answer_here(&mut self, lane: u32, operator: &Operator) -> Option<Outcome> {
        if self.mode == Mode::Percall {
            return None;
        }
        if let Some(deferred) = self.deferred.take() {
            if self.mode == Mode::Replay {
                self.replay.handle_error(lane);
                self.give_up_early(lane);
            }
            return Some(Err(deferred));
        }
        if self.progress.is_settled(operator) {
            if self.mode == Mode::Replay && self.replay.handle_settled(lane, operator) {
                self.outbox.close_span();
            }
            return Some(Ok(Value::None));
        }
        let (synchronisation, after) = self.progress.synchronisation(operator)?;
        let is_watched = self.watches.is_outstanding(&synchronisation, after);
        is_watched.then_some(Err(CuResult::NOT_READY))
    }

    fn replay_or_send(&mut self, lane: u32, operator: Operator, payload: Option<Bytes>) -> u64 {
        match self.replay.handle_operator(lane, &operator) {
            Step::Checked(checked) => {
                let is_copy_near = checked.next_copy_bytes.is_some_and(early::is_short);
                let number = self.outbox.extend_span(checked, payload);
                self.note_submitted(number, operator.needs_answer(), &operator);
                if is_copy_near {
                    self.ask_early(lane);
                }
                number
            }
            Step::Recorded => {
                self.push_retired();
                self.send(lane, operator, payload)
            }
        }
    }

    fn push_retired(&mut self) {
        while let Some(id) = self.replay.poll_retired() {
            self.outbox.push_retire(id);
        }
    }

    /// Sends an operator by itself; gives its number.
    fn send(&mut self, lane: u32, operator: Operator, payload: Option<Bytes>) -> u64 {
        let wants_answer = self.mode == Mode::Percall || operator.needs_answer();
        self.note_submitted(self.next_number(), wants_answer, &operator);
        self.outbox.push_operator(Record { lane, wants_answer, operator }, payload)
    }

    fn note_submitted(&mut self, number: u64, wants_answer: bool, operator: &Operator) {
        self.progress.handle_submitted(number, operator);
        if wants_answer {
            self.answers.ask(number, operator.clone());
        }
    }

    /// A message and its answer take so long at present. May be told at any time, and need not be.
    pub fn handle_round_trip(&mut self, round_trip: Duration) {
        self.replay.handle_round_trip(round_trip);
    }

    /// Looks for sequences among what the program did, and takes up what it finds. A bounded piece of work, for when a
    /// thread is about to wait. Whether there is more to do.
    pub fn poll_search(&mut self) -> bool {
        if self.mode != Mode::Replay || self.sticky.is_some() || self.outbox.is_full(0) {
            return false;
        }
        match self.replay.poll_change() {
            Some(Change::Define(id, sequence)) => self.outbox.push_define(id, sequence),
            Some(Change::Retire(id)) => self.outbox.push_retire(id),
            None => return false,
        }
        true
    }

    /// The program has ended.
    pub fn handle_goodbye(&mut self) {
        self.outbox.close_span();
        self.goodbye = true;
    }

    /// Takes bytes of the control stream.
    ///
    /// # Errors
    /// What is wrong with them; the session is then of no more use.
    pub fn handle_control(&mut self, channel: &mut Channel, bytes: &[u8]) -> Result<(), WireError> {
        channel.reader.handle_bytes(bytes);
        while let Some(frame) = channel.reader.poll_frame()? {
            self.handle_frame(channel, frame)?;
        }
        Ok(())
    }

    fn handle_frame(&mut self, channel: &mut Channel, frame: ServerFrame) -> Result<(), WireError> {
        match (frame, channel.answered) {
            (ServerFrame::Welcome(welcome, token), false) if !channel.resumes => {
                channel.answered = true;
                self.welcome = Some(*welcome);
                self.token = Some(token);
            }
            (ServerFrame::Resumed(resumed), false) if channel.resumes => {
                channel.answered = true;
                self.handle_resumed(channel, &resumed)?;
            }
            (ServerFrame::Refused(refusal), false) => self.handle_lost(Lost(refusal.to_string())),
            (ServerFrame::Reply { number, outcome }, true) => {
                if self.is_new_answer(channel) {
                    self.answers.handle_reply(number, outcome)?;
                    self.show_answers();
                }
            }
            (ServerFrame::Failed { number, result }, true) => {
                if self.is_new_answer(channel) {
                    self.answers.handle_failed();
                    self.handle_failed(number, result)?;
                }
            }
            (ServerFrame::AnswersFrom { answers }, true) if answers <= self.answers.count() => {
                channel.next_answer = answers;
            }
            (ServerFrame::Executed { through }, true) => self.handle_executed(through)?,
            (ServerFrame::Ended { reason }, _) => {
                self.handle_lost(Lost(format!("the server ended the session: {reason}")))
            }
            _ => return Err(WireError::Unexpected { what: "frame for the session's state" }),
        }
        Ok(())
    }

    fn handle_resumed(&mut self, channel: &mut Channel, resumed: &Resumed) -> Result<(), WireError> {
        if resumed.expected > self.next_number() {
            return Err(WireError::Unexpected { what: "resumption with operators that were never sent" });
        }
        self.handle_executed(resumed.executed)?;
        self.outbox.handle_resumed(&mut channel.sent, resumed.expected, &resumed.payloads);
        Ok(())
    }

    /// Whether the answer that comes now on `channel` has not come on another one before.
    fn is_new_answer(&self, channel: &mut Channel) -> bool {
        channel.next_answer += 1;
        // None is left out: a channel begins with the one after those that had come, and others only add to them.
        channel.next_answer > self.answers.count()
    }

    /// The bulk payload of a CopyOut has been written to the program's memory. That it had been before, by way of another
    /// connection, is no harm as long as the payload is awaited.
    pub fn handle_payload_delivered(&mut self, number: u64) {
        if self.awaited_payload(number).is_some() {
            self.answers.handle_payload_delivered(number);
            self.show_answers();
        }
    }

    /// Whether a bulk payload may come under this number: awaited or, by way of another connection, for a second time. Then
    /// it must not be written.
    pub fn may_come(&self, number: u64) -> bool {
        number < self.next_number()
    }

    /// The length that the bulk payload of `number` must have, if one is awaited.
    pub fn awaited_payload(&self, number: u64) -> Option<u64> {
        self.answers.awaited_payload(number)
    }

    fn show_answers(&mut self) {
        while let Some((number, operator, outcome)) = self.answers.poll() {
            let is_watch = self.watches.handle_answered(number, &operator);
            let is_unasked = is_watch || self.early.is_unwanted(number);
            match &outcome {
                Ok(value) => {
                    self.progress.handle_completed(number, &operator);
                    self.replay.handle_answer(&operator, value);
                }
                Err(result) => self.note_failure(*result, is_unasked),
            }
            if is_unasked {
                continue;
            }
            if let Some(outcome) = self.early.keep(number, outcome) {
                self.show(number, &operator, outcome);
            }
        }
    }

    /// The call of this operator gets its outcome.
    fn show(&mut self, number: u64, operator: &Operator, mut outcome: Outcome) {
        if let Some(bytes) = Answers::payload(operator, &mut outcome) {
            self.deliveries.push_back(Delivery { number, bytes });
        }
        self.answers.show(number, outcome);
    }

    /// Keeps an error for the calls to come; one that nobody waits for, for the next call that waits.
    fn note_failure(&mut self, result: CuResult, is_unasked: bool) {
        if result.is_sticky() {
            self.sticky.get_or_insert(result);
        } else if is_unasked {
            self.deferred.get_or_insert(result);
        }
    }

    fn handle_failed(&mut self, number: u64, result: CuResult) -> Result<(), WireError> {
        if number >= self.next_number() {
            return Err(WireError::Unexpected { what: "failure of an operator that was never sent" });
        }
        self.note_failure(result, true);
        Ok(())
    }

    fn handle_executed(&mut self, through: u64) -> Result<(), WireError> {
        if through >= self.next_number() {
            return Err(WireError::Unexpected { what: "acknowledgement of an operator that was never sent" });
        }
        self.outbox.handle_executed(through, |id| self.replay.handle_retired(id));
        Ok(())
    }

    /// The connection is gone for good: every call, waiting or to come, fails with
    /// [`CuResult::DEVICE_UNAVAILABLE`].
    pub fn handle_lost(&mut self, lost: Lost) {
        self.lost.get_or_insert(lost);
        let sticky = *self.sticky.get_or_insert(CuResult::DEVICE_UNAVAILABLE);
        self.replay.handle_lost();
        self.outbox.clear();
        self.early = Early::default();
        self.answers.fail(sticky);
    }

    /// Nothing has been heard on `channel` for a while although something is awaited: a sign of life is asked for.
    pub fn handle_silence(&mut self, channel: &mut Channel) {
        channel.probes = channel.answered;
    }

    /// The outcome of an operator that [`Submitted::Awaits`], once it is there; gives it once.
    pub fn poll_outcome(&mut self, number: u64) -> Option<Outcome> {
        self.answers.take(number)
    }

    /// Whether an answer is still to come for `number`.
    pub fn is_awaited(&self, number: u64) -> bool {
        self.answers.is_awaited(number)
    }

    /// The next payload to write to the program's memory. Drain it before waiting threads are woken, and after
    /// [`Submitted::Awaits`], once its destination is known: the bytes may be there already.
    pub fn poll_delivery(&mut self) -> Option<Delivery> {
        self.deliveries.pop_front()
    }

    /// Appends the next frames of the control stream to `out`, until there are no more or `out` has `limit` bytes.
    ///
    /// # Errors
    /// An operator that cannot be coded: one over the wire's limits.
    pub fn poll_control(
        &mut self,
        channel: &mut Channel,
        out: &mut Vec<u8>,
        limit: usize,
    ) -> Result<(), WireError> {
        if !std::mem::replace(&mut channel.opened, true) {
            put_frame(&self.first_frame(channel), out)?;
        }
        if std::mem::take(&mut channel.keeps) {
            put_frame(&ClientFrame::Kept, out)?;
        }
        let limit = channel.budget(limit);
        let before = out.len();
        self.outbox.put_frames(&mut channel.sent, out, limit)?;
        channel.count_flight(out.len() - before);
        if let Some(come) = channel.due_confirmation(&self.answers, !out.is_empty()) {
            put_frame(&ClientFrame::Received { answers: come.answers }, out)?;
            channel.handle_confirmed(come);
        }
        let may_leave = self.goodbye && !channel.said_goodbye && channel.is_free();
        if may_leave && self.outbox.is_sent(&channel.sent) {
            put_frame(&ClientFrame::Goodbye, out)?;
            channel.said_goodbye = true;
        }
        Ok(())
    }

    fn first_frame(&self, channel: &mut Channel) -> ClientFrame {
        match (channel.resumes, self.token) {
            (true, Some(token)) => {
                channel.next_answer = self.answers.count();
                ClientFrame::Resume(Resume {
                    token,
                    answers: self.answers.count(),
                    missing: self.answers.missing_payloads(),
                    early: self.answers.early_payloads(),
                })
            }
            _ => ClientFrame::Hello(self.hello.clone()),
        }
    }

    /// The next payload for a bulk stream of its own.
    pub fn poll_bulk(&self, channel: &mut Channel) -> Option<(u64, Bytes)> {
        if channel.is_free() { self.outbox.poll_bulk(&mut channel.sent) } else { None }
    }
}
