//! What left in one message: a piece of a sequence, or operators one by one.
//!
//! ```text
//! | called by the program | sent; not known to be issued | issued on the server; no later answer yet |
//! ^ its first call        ^ handed to QUIC               ^ an acknowledgement or an answer has come  ^ an answer to its last
//!                                                                                                     operator or a later
//!                                                                                                     one has come
//! ```
//!
//! What the server does is in the second and third part, and the link's delay is in both: they are bounds of when the work
//! was begun and over, and nowhere near a GPU's times. What is issued and answered by one message has no third part.

use std::collections::HashMap;
use std::io::{self, Write};
use std::ops::Range;

use rrto_core::operator::{SequenceId, Span};

use super::{Microseconds, SEGMENTS};

pub(super) const PARTS: [&str; 3] =
    ["called by the program", "sent; not known to be issued", "issued on the server; no later answer yet"];

/// What left in one message.
#[derive(Debug)]
pub(super) struct Segment {
    /// The number of its first operator.
    pub(super) first: u64,
    pub(super) left_ns: u64,
    /// Of which sequence; without its patches.
    pub(super) piece: Option<Span>,
}

/// All of a run.
#[derive(Debug, Default)]
pub(super) struct Segments {
    /// When each operator was called, by its number.
    called: HashMap<u64, u64>,
    sent: Vec<Segment>,
    issued: Heard,
    answered: Heard,
}

/// Up to which number something was known, and when.
#[derive(Debug, Default)]
struct Heard(Vec<(u64, u64)>);

impl Heard {
    /// Leaves only what says more than all before it, so that it can be searched.
    fn sort(&mut self) {
        self.0.sort_by_key(|(_, at_ns)| *at_ns);
        let mut most = 0;
        self.0.retain(|(through, _)| {
            let says_more = *through > most;
            most = most.max(*through);
            says_more
        });
    }

    /// When it was known of this number.
    fn when(&self, number: u64) -> Option<u64> {
        let first = self.0.partition_point(|(through, _)| *through < number);
        self.0.get(first).map(|(_, at_ns)| *at_ns)
    }
}

impl Segments {
    pub(super) fn called(&mut self, number: u64, at_ns: u64) {
        self.called.insert(number, at_ns);
    }

    pub(super) fn sent(&mut self, segment: Segment) {
        self.sent.push(segment);
    }

    /// The server has issued all up to this number.
    pub(super) fn issued(&mut self, through: u64, at_ns: u64) {
        self.issued.0.push((through, at_ns));
    }

    /// The server has answered this operator, and so issued all up to it.
    pub(super) fn answered(&mut self, number: u64, at_ns: u64) {
        self.issued(number, at_ns);
        self.answered.0.push((number, at_ns));
    }

    /// Writes them, each in a row in which no other is. `end_ns`: the timeline's end.
    pub(super) fn write_to(mut self, end_ns: u64, out: &mut impl Write) -> io::Result<()> {
        self.sent.sort_by_key(|segment| segment.first);
        self.issued.sort();
        self.answered.sort();
        // When the row's last one was over.
        let mut rows: Vec<u64> = Vec::new();
        let nexts = self.sent.iter().skip(1).map(|next| next.first).chain([u64::MAX]);
        for (segment, next) in self.sent.iter().zip(nexts) {
            let last = segment.last(next);
            let left = segment.left_ns;
            let called = self.called.get(&segment.first).map_or(left, |called_ns| left.min(*called_ns));
            let issued = self.issued.when(last).unwrap_or(end_ns).max(left);
            let answered = self.answered.when(last).unwrap_or(end_ns).max(issued);
            let row = rows.iter().position(|row_ns| *row_ns <= called).unwrap_or(rows.len());
            rows.resize(rows.len().max(row + 1), 0);
            if let Some(row_ns) = rows.get_mut(row) {
                *row_ns = answered;
            }
            let parts = PARTS.into_iter().zip([called..left, left..issued, issued..answered]);
            for (what, time_ns) in parts.filter(|(_, time_ns)| !time_ns.is_empty()) {
                segment.write_to(row, what, time_ns, out)?;
            }
        }
        Ok(())
    }
}

impl Segment {
    /// The number of its last operator, if the next segment begins with `next`; its first if that is not known.
    fn last(&self, next: u64) -> u64 {
        match &self.piece {
            Some(piece) => self.first.saturating_add(u64::from(piece.count.saturating_sub(1))),
            None if next == u64::MAX => self.first,
            None => self.first.max(next - 1),
        }
    }

    fn write_to(&self, row: usize, what: &str, time_ns: Range<u64>, out: &mut impl Write) -> io::Result<()> {
        let (ts, dur) = (Microseconds(time_ns.start), Microseconds(time_ns.end - time_ns.start));
        write!(
            out,
            ",\n{{\"ph\":\"X\",\"pid\":{SEGMENTS},\"tid\":{row},\"ts\":{ts},\"dur\":{dur},\
             \"cat\":\"segment\",\"name\":\""
        )?;
        match &self.piece {
            Some(piece @ Span { sequence: SequenceId(id), from, .. }) => {
                write!(out, "sequence {id}, {from} to {}: ", piece.end())?
            }
            None => write!(out, "operators: ")?,
        }
        write!(out, "{what}\",\"args\":{{\"first_number\":{}}}}}", self.first)
    }
}
