//! What left in one message: a piece of a sequence, or operators one by one.
//!
//! ```text
//! | called by the program | sent; the server has not answered yet        |
//! ^ its first call        ^ handed to QUIC                               ^ an answer or acknowledgement has come that
//!                                                                          proves that all of it has been issued
//! ```
//!
//! The second part is the link both ways, the server's work, and the time until the server had a reason to say
//! something: an upper bound of how long the work took, and nowhere near a GPU's time.

use std::collections::HashMap;
use std::io::{self, Write};

use rrto_core::operator::{SequenceId, Span};

use super::{Microseconds, SEGMENTS};

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
    /// Until which number operators were known to be issued, and when.
    issued: Vec<(u64, u64)>,
}

impl Segments {
    pub(super) fn called(&mut self, number: u64, at_ns: u64) {
        self.called.insert(number, at_ns);
    }

    pub(super) fn sent(&mut self, segment: Segment) {
        self.sent.push(segment);
    }

    pub(super) fn issued(&mut self, through: u64, at_ns: u64) {
        self.issued.push((through, at_ns));
    }

    /// Writes them, each in a row in which no other is. `end_ns`: the timeline's end.
    pub(super) fn write_to(mut self, end_ns: u64, out: &mut impl Write) -> io::Result<()> {
        self.sent.sort_by_key(|segment| segment.first);
        self.issued.sort_by_key(|(_, at_ns)| *at_ns);
        // Only what says more than all before it, so that it can be searched.
        let mut most = 0;
        self.issued.retain(|(through, _)| {
            let says_more = *through > most;
            most = most.max(*through);
            says_more
        });
        // When the row's last one was over.
        let mut rows: Vec<u64> = Vec::new();
        let nexts = self.sent.iter().skip(1).map(|next| next.first).chain([u64::MAX]);
        for (segment, next) in self.sent.iter().zip(nexts) {
            let last = segment.last(next);
            let proof = self.issued.partition_point(|(through, _)| *through < last);
            let over_ns = self.issued.get(proof).map_or(end_ns, |(_, at_ns)| *at_ns).max(segment.left_ns);
            let called_ns = self.called.get(&segment.first).map_or(segment.left_ns, |at| *at);
            let called_ns = called_ns.min(segment.left_ns);
            let row = rows.iter().position(|row_ns| *row_ns <= called_ns).unwrap_or(rows.len());
            if row == rows.len() {
                rows.push(over_ns);
            }
            if let Some(row_ns) = rows.get_mut(row) {
                *row_ns = over_ns;
            }
            segment.write_to(row, "called by the program", called_ns..segment.left_ns, out)?;
            segment.write_to(row, "sent; the server has not answered yet", segment.left_ns..over_ns, out)?;
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

    fn write_to(
        &self,
        row: usize,
        what: &str,
        time_ns: std::ops::Range<u64>,
        out: &mut impl Write,
    ) -> io::Result<()> {
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
