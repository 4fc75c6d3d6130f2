//! What is sent up, in the order of its numbers, and kept until it is acknowledged.
//!
//! Numbers are given here and nowhere else. Checked operators of a replay are gathered in one open span; whatever else
//! takes a number closes it first, so numbers are in the order of the calls however lanes take turns.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::ClientLimits;
use crate::operator::{MAX_SPAN_PATCHES, Sequence, SequenceId, Span};
use crate::replay::Checked;
use crate::wire::repeat::{Encoder, Record};
use crate::wire::{ClientFrame, INLINE_PAYLOAD_BYTES, WireError, put_frame};

/// Operators coded into one frame: enough to spread the frame's cost, few enough that the first does not wait.
const OPERATORS_PER_FRAME: usize = 256;

/// Inline payloads of one Advance, bytes; past it the Advance leaves. One more of them is still far below a frame.
const ADVANCE_PAYLOAD_BYTES: u64 = 64 << 10;

/// A span of so few operators travels as operators: a byte each in repeat coding, in a frame that they share with
/// others. So lanes that take turns at every call cost no more than they do without replay.
const FEW_OPERATORS: u32 = 6;

/// Something that takes a number, or several.
#[derive(Debug)]
enum Item {
    Operator(Record),
    Define { id: SequenceId, sequence: Arc<Sequence> },
    Span(Span),
    Retire(SequenceId),
}

#[derive(Debug)]
struct Retained {
    first: u64,
    count: u64,
    item: Item,
    /// With their operators' numbers.
    payloads: Vec<(u64, Bytes)>,
}

/// Checked operators that have not left.
#[derive(Debug)]
struct Open {
    first: u64,
    sequence: Arc<Sequence>,
    span: Span,
    payloads: Vec<(u64, Bytes)>,
    inline_bytes: u64,
}

/// Everything that is not acknowledged.
#[derive(Debug)]
pub(super) struct Outbox {
    limits: ClientLimits,
    next_number: u64,
    /// Oldest first.
    retained: VecDeque<Retained>,
    /// How many were retained before the oldest of them: its *place*.
    forgotten: u64,
    /// Of all payloads.
    retained_bytes: u64,
    open: Option<Open>,
    /// Those of the payloads that travel by themselves, also of `open`, with their operators' numbers, in their order.
    bulk: VecDeque<(u64, Bytes)>,
}

/// How far one connection has got with it. What is sent again is cut as it was: an item leaves whole, or not at all.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// The place of the next item.
    place: u64,
    /// The number that the next payload has at least.
    bulk: u64,
    /// Payloads that the other side has had from elsewhere.
    had: HashSet<u64>,
    encoder: Encoder,
}

impl Outbox {
    pub(super) fn new(limits: ClientLimits) -> Self {
        Outbox {
            limits,
            next_number: 1,
            retained: VecDeque::new(),
            forgotten: 0,
            retained_bytes: 0,
            open: None,
            bulk: VecDeque::new(),
        }
    }

    /// The number that comes next.
    pub(super) fn next_number(&self) -> u64 {
        self.next_number
    }

    /// Whether an operator with so much payload has to wait for acknowledgements.
    pub(super) fn is_full(&self, payload_bytes: u64) -> bool {
        let first = self.retained.front().map(|oldest| oldest.first);
        let oldest = first.or(self.open.as_ref().map(|open| open.first)).unwrap_or(self.next_number);
        let over_bytes = self.retained_bytes + payload_bytes > self.limits.bulk_bytes;
        (over_bytes && self.retained_bytes > 0) || self.next_number - oldest >= self.limits.operators as u64
    }

    /// Whether there is an item to send.
    pub(super) fn has_frames(&self, sent: &Sent) -> bool {
        sent.place.max(self.forgotten) < self.forgotten + self.retained.len() as u64
    }

    /// Whether there is a payload to send.
    pub(super) fn has_bulk(&self, sent: &Sent) -> bool {
        self.bulk.back().is_some_and(|(number, _)| *number >= sent.bulk)
    }

    /// Whether all that takes a number has been put into frames.
    pub(super) fn is_sent(&self, sent: &Sent) -> bool {
        !self.has_frames(sent) && self.open.is_none()
    }

    /// Whether nothing that may have left is unacknowledged.
    pub(super) fn is_acknowledged(&self) -> bool {
        self.retained.is_empty()
    }

    /// Takes an operator that travels by itself; gives its number.
    pub(super) fn push_operator(&mut self, record: Record, payload: Option<Bytes>) -> u64 {
        self.close_span();
        let number = self.take_number();
        let payloads: Vec<_> = payload.map(|payload| (number, payload)).into_iter().collect();
        payloads.iter().for_each(|payload| self.take_payload(payload));
        self.retain(number, 1, Item::Operator(record), payloads);
        number
    }

    pub(super) fn push_define(&mut self, id: SequenceId, sequence: Arc<Sequence>) {
        self.close_span();
        let number = self.take_number();
        self.retain(number, 1, Item::Define { id, sequence }, Vec::new());
    }

    pub(super) fn push_retire(&mut self, id: SequenceId) {
        self.close_span();
        let number = self.take_number();
        self.retain(number, 1, Item::Retire(id), Vec::new());
    }

    /// Takes an operator that was checked against a sequence; gives its number. It leaves when the span is closed; a
    /// bulk payload leaves at once.
    pub(super) fn extend_span(&mut self, checked: Checked<'_>, payload: Option<Bytes>) -> u64 {
        let Checked { id, sequence, at, patch, ends_segment, .. } = checked;
        let follows = |open: &Open| open.span.sequence == id && open.span.end() == at;
        if !self.open.as_ref().is_some_and(follows) {
            self.close_span();
        }
        let number = self.take_number();
        let payload = payload.map(|payload| (number, payload)).inspect(|payload| self.take_payload(payload));
        let open = self.open.get_or_insert_with(|| Open {
            first: number,
            sequence: sequence.clone(),
            span: Span { sequence: id, from: at, count: 0, patches: Vec::new() },
            payloads: Vec::new(),
            inline_bytes: 0,
        });
        open.span.count += 1;
        open.span.patches.extend(patch);
        if let Some((_, bytes)) = &payload
            && !is_bulk(bytes)
        {
            open.inline_bytes += bytes.len() as u64;
        }
        open.payloads.extend(payload);
        let is_long =
            open.span.patches.len() >= MAX_SPAN_PATCHES || open.inline_bytes >= ADVANCE_PAYLOAD_BYTES;
        if ends_segment || is_long {
            self.close_span();
        }
        number
    }

    /// What was checked is to leave.
    pub(super) fn close_span(&mut self) {
        let Some(Open { first, sequence, span, payloads, .. }) = self.open.take() else { return };
        if span.count > FEW_OPERATORS || !span.patches.is_empty() {
            self.retain(first, span.count.into(), Item::Span(span), payloads);
            return;
        }
        let mut payloads = payloads.into_iter().peekable();
        for (number, at) in (first..).zip(span.from..span.end()) {
            let Some(operator) = sequence.operators().get(at as usize).cloned() else { break };
            let (lane, wants_answer) = (sequence.lane(), operator.needs_answer());
            let own = payloads.next_if(|(of, _)| *of == number);
            let record = Record { lane, wants_answer, operator };
            self.retain(number, 1, Item::Operator(record), own.into_iter().collect());
        }
    }

    fn take_number(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        number
    }

    fn take_payload(&mut self, (number, payload): &(u64, Bytes)) {
        self.retained_bytes += payload.len() as u64;
        if is_bulk(payload) {
            self.bulk.push_back((*number, payload.clone()));
        }
    }

    fn retain(&mut self, first: u64, count: u64, item: Item, payloads: Vec<(u64, Bytes)>) {
        self.retained.push_back(Retained { first, count, item, payloads });
    }

    /// All up to this number has been executed. Retirements among it go to `retired`.
    pub(super) fn handle_executed(&mut self, through: u64, mut retired: impl FnMut(SequenceId)) {
        let is_done = |oldest: &Retained| oldest.first + oldest.count - 1 <= through;
        while self.retained.front().is_some_and(is_done)
            && let Some(done) = self.retained.pop_front()
        {
            self.forgotten += 1;
            for (number, payload) in &done.payloads {
                self.retained_bytes -= payload.len() as u64;
                if self.bulk.front().is_some_and(|(oldest, _)| oldest <= number) {
                    self.bulk.pop_front();
                }
            }
            if let Item::Retire(id) = done.item {
                retired(id);
            }
        }
    }

    /// On this connection all before `expected` has come from elsewhere, and so have `payloads`.
    pub(super) fn handle_resumed(&self, sent: &mut Sent, expected: u64, payloads: &[u64]) {
        let come = self.retained.partition_point(|retained| retained.first < expected);
        sent.place = sent.place.max(self.forgotten + come as u64);
        sent.had = payloads.iter().copied().collect();
    }

    /// Nothing will be sent any more.
    pub(super) fn clear(&mut self) {
        self.forgotten += self.retained.len() as u64;
        self.retained.clear();
        self.bulk.clear();
        self.open = None;
        self.retained_bytes = 0;
    }

    /// Appends frames to `out`, until there are no more or `out` has `limit` bytes.
    pub(super) fn put_frames(
        &self,
        sent: &mut Sent,
        out: &mut Vec<u8>,
        limit: usize,
    ) -> Result<(), WireError> {
        // What this connection had yet to send may have been executed by way of another one.
        sent.place = sent.place.max(self.forgotten);
        while out.len() < limit
            && let Some(Retained { first: number, item, payloads, .. }) = self.at(sent.place)
        {
            let number = *number;
            let frame = match item {
                Item::Operator(_) => {
                    self.put_operators(sent, number, out)?;
                    continue;
                }
                Item::Define { id, sequence } => {
                    let coded = coded(&mut sent.encoder, sequence)?;
                    ClientFrame::Define { number, id: *id, lane: sequence.lane(), coded }
                }
                Item::Span(span) => {
                    let inline = payloads.iter().filter(|(_, payload)| !is_bulk(payload));
                    let mut all = BytesMut::new();
                    inline.for_each(|(_, payload)| all.extend_from_slice(payload));
                    ClientFrame::Advance { first: number, span: span.clone(), payloads: all.freeze() }
                }
                Item::Retire(id) => ClientFrame::Retire { number, id: *id },
            };
            put_frame(&frame, out)?;
            sent.place += 1;
        }
        Ok(())
    }

    fn at(&self, place: u64) -> Option<&Retained> {
        self.retained.get(usize::try_from(place.checked_sub(self.forgotten)?).ok()?)
    }

    fn put_operators(&self, sent: &mut Sent, first: u64, out: &mut Vec<u8>) -> Result<(), WireError> {
        let mut coded = Vec::new();
        for _ in 0..OPERATORS_PER_FRAME {
            let Some(Retained { item: Item::Operator(record), payloads, .. }) = self.at(sent.place) else {
                break;
            };
            let payload = payloads.first().map(|(_, payload)| &payload[..]);
            sent.encoder.encode(record, payload, &mut coded)?;
            sent.place += 1;
            if coded.len() >= INLINE_PAYLOAD_BYTES as usize {
                break;
            }
        }
        put_frame(&ClientFrame::Operators { first, coded: coded.into() }, out)
    }

    /// The next payload for a bulk stream of its own.
    pub(super) fn poll_bulk(&self, sent: &mut Sent) -> Option<(u64, Bytes)> {
        loop {
            let next = self.bulk.partition_point(|(number, _)| *number < sent.bulk);
            let (number, payload) = self.bulk.get(next)?;
            sent.bulk = number + 1;
            if !sent.had.remove(number) {
                return Some((*number, payload.clone()));
            }
        }
    }
}

fn is_bulk(payload: &Bytes) -> bool {
    payload.len() as u64 > INLINE_PAYLOAD_BYTES
}

fn coded(encoder: &mut Encoder, sequence: &Sequence) -> Result<Bytes, WireError> {
    let mut coded = Vec::new();
    for operator in sequence.operators() {
        let (lane, wants_answer) = (sequence.lane(), operator.needs_answer());
        encoder.encode_record(&Record { lane, wants_answer, operator: operator.clone() }, &mut coded)?;
    }
    Ok(coded.into())
}
