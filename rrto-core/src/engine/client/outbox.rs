//! What is sent up, in the order of its numbers, and kept until it is acknowledged.
//!
//! Numbers are given here and nowhere else. Checked operators of a replay are gathered in one open span; whatever else
//! takes a number closes it first, so numbers are in the order of the calls however lanes take turns.

use std::collections::VecDeque;
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
    /// Oldest first; the first `sent` of them have been put into frames.
    retained: VecDeque<Retained>,
    sent: usize,
    /// Of all payloads.
    retained_bytes: u64,
    open: Option<Open>,
    bulk: VecDeque<(u64, Bytes)>,
    encoder: Encoder,
}

impl Outbox {
    pub(super) fn new(limits: ClientLimits) -> Self {
        Outbox {
            limits,
            next_number: 1,
            retained: VecDeque::new(),
            sent: 0,
            retained_bytes: 0,
            open: None,
            bulk: VecDeque::new(),
            encoder: Encoder::default(),
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

    /// Whether there is something to send.
    pub(super) fn has_output(&self) -> bool {
        self.sent < self.retained.len() || !self.bulk.is_empty()
    }

    /// Whether all that takes a number has been put into frames.
    pub(super) fn is_sent(&self) -> bool {
        self.sent == self.retained.len() && self.open.is_none()
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
        let Checked { id, sequence, at, patch, ends_segment } = checked;
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
            self.retained_bytes -= done.payloads.iter().map(|(_, payload)| payload.len() as u64).sum::<u64>();
            // On a new connection an acknowledgement can overtake the second sending.
            self.sent = self.sent.saturating_sub(1);
            if let Item::Retire(id) = done.item {
                retired(id);
            }
        }
    }

    /// All that is not acknowledged is sent again, on a new connection.
    pub(super) fn handle_reconnected(&mut self) {
        self.encoder = Encoder::default();
        self.sent = 0;
        let open = self.open.iter().flat_map(|open| &open.payloads);
        let payloads = self.retained.iter().flat_map(|retained| &retained.payloads).chain(open);
        self.bulk = payloads.filter(|(_, payload)| is_bulk(payload)).cloned().collect();
    }

    /// Nothing will be sent any more.
    pub(super) fn clear(&mut self) {
        self.retained.clear();
        self.bulk.clear();
        self.open = None;
        self.sent = 0;
        self.retained_bytes = 0;
    }

    /// Appends frames to `out`, until there are no more or `out` has `limit` bytes.
    pub(super) fn put_frames(&mut self, out: &mut Vec<u8>, limit: usize) -> Result<(), WireError> {
        while out.len() < limit
            && let Some(Retained { first: number, item, payloads, .. }) = self.retained.get(self.sent)
        {
            let number = *number;
            let frame = match item {
                Item::Operator(_) => {
                    self.put_operators(number, out)?;
                    continue;
                }
                Item::Define { id, sequence } => {
                    let coded = coded(&mut self.encoder, sequence)?;
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
            self.sent += 1;
        }
        Ok(())
    }

    fn put_operators(&mut self, first: u64, out: &mut Vec<u8>) -> Result<(), WireError> {
        let mut coded = Vec::new();
        for next in self.retained.iter().skip(self.sent).take(OPERATORS_PER_FRAME) {
            let Item::Operator(record) = &next.item else { break };
            let payload = next.payloads.first().map(|(_, payload)| &payload[..]);
            self.encoder.encode(record, payload, &mut coded)?;
            self.sent += 1;
            if coded.len() >= INLINE_PAYLOAD_BYTES as usize {
                break;
            }
        }
        put_frame(&ClientFrame::Operators { first, coded: coded.into() }, out)
    }

    /// The next payload for a bulk stream of its own.
    pub(super) fn poll_bulk(&mut self) -> Option<(u64, Bytes)> {
        self.bulk.pop_front()
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
