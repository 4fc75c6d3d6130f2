//! `RRTO_TRACE`: a timeline of the run in the Chrome trace format ("Trace Event Format", JSON object form), for
//! <https://ui.perfetto.dev> and `chrome://tracing`.
//!
//! | process in the timeline | tracks |
//! |---|---|
//! | program | a thread a lane: calls that travel, by the driver function's name, and waits |
//! | link | what leaves and arrives, at the time when it is handed to QUIC or taken from it; counters, read whenever a wait has ended |
//! | segments | what left in one message: see [`segments`] |
//!
//! All times are of this machine's clock. The server's are not known here.
//!
//! Events are noted without a lock, in memory of a fixed size. When that is full no more are noted, and the timeline ends
//! with an event that says so.

mod segments;

use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use rrto_core::api::Function;
use rrto_core::operator::{SequenceId, Span};
use rrto_quic::LinkStatistics;

use segments::{Segment, Segments};

use crate::boundary::Output;

/// Events that are kept: some hundred inferences of a large model, in 10 MiB.
const EVENTS_MAX: usize = 256 << 10;

/// Processes of the timeline.
const PROGRAM: u32 = 1;
const LINK: u32 = 2;
const SEGMENTS: u32 = 3;
const PROCESSES: [(u32, &str); 3] = [(PROGRAM, "program"), (LINK, "link"), (SEGMENTS, "segments")];

type Counter = fn(&LinkStatistics) -> u64;

/// What of the link is shown as counters.
const COUNTERS: [(&str, Counter); 6] = [
    ("operators", |link| link.operators),
    ("round trips", |link| link.round_trips),
    ("control bytes up", |link| link.control_bytes_up),
    ("control bytes down", |link| link.control_bytes_down),
    ("payload bytes up", |link| link.bulk_bytes_up),
    ("payload bytes down", |link| link.bulk_bytes_down),
];

/// Events of a run.
pub(super) struct Trace {
    slots: Box<[Slot]>,
    /// How many events there were, also those that found no slot.
    noted: AtomicUsize,
}

/// An event as five numbers, so that threads can write without a lock and the end of the process can read at any time.
#[derive(Default)]
struct Slot {
    start_ns: AtomicU64,
    duration_ns: AtomicU64,
    /// The operator's.
    number: AtomicU64,
    /// Bytes, a counter's value, or a segment's place.
    amount: AtomicU64,
    /// [`Tag`]; written last. 0 while there is no event.
    tag: AtomicU64,
}

/// What a slot is about, and of whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Tag {
    kind: Kind,
    /// A call's [`Function`], or a counter's place in [`COUNTERS`].
    which: u16,
    /// Of a segment, the number of its sequence.
    lane: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum Kind {
    Call = 1,
    Wait = 2,
    Counter = 3,
    /// Control bytes were handed to QUIC.
    ControlOut = 4,
    /// Control bytes have come.
    ControlIn = 5,
    /// A payload was handed to QUIC.
    PayloadOut = 6,
    /// Bytes of a payload have come.
    PayloadIn = 7,
    /// Operators left, one by one.
    Operators = 8,
    /// A piece of a sequence left.
    Segment = 9,
    /// All up to this number have been issued on the server, as its message says.
    Issued = 10,
    /// The operator of this number was answered.
    Answered = 11,
}

impl Kind {
    const ALL: [Kind; 11] = [
        Kind::Call,
        Kind::Wait,
        Kind::Counter,
        Kind::ControlOut,
        Kind::ControlIn,
        Kind::PayloadOut,
        Kind::PayloadIn,
        Kind::Operators,
        Kind::Segment,
        Kind::Issued,
        Kind::Answered,
    ];

    /// What is said of something that happens on the link.
    fn on_link(self) -> Option<&'static str> {
        match self {
            Kind::ControlOut => Some("control bytes leave"),
            Kind::ControlIn => Some("control bytes arrive"),
            Kind::PayloadOut => Some("payload leaves"),
            Kind::PayloadIn => Some("payload arrives"),
            _ => None,
        }
    }
}

impl Tag {
    fn pack(self) -> u64 {
        u64::from(self.kind as u8) << 48 | u64::from(self.which) << 32 | u64::from(self.lane)
    }

    /// `None` for 0.
    fn unpack(packed: u64) -> Option<Self> {
        let kind = Kind::ALL.into_iter().find(|kind| *kind as u64 == packed >> 48)?;
        Some(Tag { kind, which: (packed >> 32) as u16, lane: packed as u32 })
    }
}

impl Default for Trace {
    fn default() -> Self {
        Self::with_room(EVENTS_MAX)
    }
}

impl Trace {
    fn with_room(events: usize) -> Self {
        Trace {
            slots: std::iter::repeat_with(Slot::default).take(events).collect(),
            noted: AtomicUsize::new(0),
        }
    }

    /// A call has become an operator. `number` 0: it was answered without one.
    pub(super) fn call(
        &self,
        lane: u32,
        function: Option<Function>,
        span: Range<Duration>,
        number: u64,
        bytes: u64,
    ) {
        // The library itself sends something when a thread ends.
        let which = function.map_or(u16::MAX, Function::index);
        self.note(Tag { kind: Kind::Call, which, lane }, span, number, bytes);
    }

    /// A thread has waited.
    pub(super) fn wait(&self, lane: u32, span: Range<Duration>, number: u64) {
        self.note(Tag { kind: Kind::Wait, which: 0, lane }, span, number, 0);
    }

    /// Control bytes were handed to QUIC.
    pub(super) fn control_out(&self, at: Duration, bytes: u64) {
        self.happened(Kind::ControlOut, at, 0, bytes);
    }

    /// Control bytes have come.
    pub(super) fn control_in(&self, at: Duration, bytes: u64) {
        self.happened(Kind::ControlIn, at, 0, bytes);
    }

    /// A payload that travels by itself was handed to QUIC.
    pub(super) fn payload_out(&self, at: Duration, number: u64, bytes: u64) {
        self.happened(Kind::PayloadOut, at, number, bytes);
    }

    /// Bytes of a copy have come.
    pub(super) fn payload_in(&self, at: Duration, number: u64, bytes: u64) {
        self.happened(Kind::PayloadIn, at, number, bytes);
    }

    /// Operators from the number `first` on were handed to QUIC.
    pub(super) fn operators_out(&self, at: Duration, first: u64) {
        self.happened(Kind::Operators, at, first, 0);
    }

    /// A piece of a sequence was handed to QUIC.
    pub(super) fn segment_out(&self, at: Duration, first: u64, span: &Span) {
        let SequenceId(sequence) = span.sequence;
        let amount = u64::from(span.from) << 32 | u64::from(span.count);
        self.note(Tag { kind: Kind::Segment, which: 0, lane: sequence }, at..at, first, amount);
    }

    /// The server's word has come that all up to this number have been issued.
    pub(super) fn issued(&self, at: Duration, through: u64) {
        self.happened(Kind::Issued, at, through, 0);
    }

    /// The server's answer to this operator has come.
    pub(super) fn answered(&self, at: Duration, number: u64) {
        self.happened(Kind::Answered, at, number, 0);
    }

    fn happened(&self, kind: Kind, at: Duration, number: u64, amount: u64) {
        self.note(Tag { kind, which: 0, lane: 0 }, at..at, number, amount);
    }

    /// What the link has carried.
    pub(super) fn link(&self, statistics: &LinkStatistics, at: Duration) {
        for (which, (_, value)) in (0..).zip(COUNTERS) {
            self.note(Tag { kind: Kind::Counter, which, lane: 0 }, at..at, 0, value(statistics));
        }
    }

    fn note(&self, tag: Tag, span: Range<Duration>, number: u64, amount: u64) {
        let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        // The count would have to go around for a slot to be written twice, which takes centuries.
        let Some(slot) = self.slots.get(self.noted.fetch_add(1, Ordering::Relaxed)) else { return };
        slot.start_ns.store(ns(span.start), Ordering::Relaxed);
        slot.duration_ns.store(ns(span.end.saturating_sub(span.start)), Ordering::Relaxed);
        slot.number.store(number, Ordering::Relaxed);
        slot.amount.store(amount, Ordering::Relaxed);
        slot.tag.store(tag.pack(), Ordering::Release);
    }

    /// Writes the timeline.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let mut out = BufWriter::new(Output::create(path)?);
        self.write_to(&mut out)?;
        out.flush()
    }

    fn write_to(&self, out: &mut impl Write) -> io::Result<()> {
        let noted = self.noted.load(Ordering::Relaxed);
        let missing = noted.saturating_sub(self.slots.len());
        write!(
            out,
            "{{\"displayTimeUnit\":\"ms\",\"otherData\":{{\"events_missing\":{missing}}},\"traceEvents\":["
        )?;
        let name = r#""tid":0,"ts":0,"ph":"M","name":"process_name","args""#;
        for (at, (process, text)) in PROCESSES.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            write!(out, "{comma}\n{{\"pid\":{process},{name}:{{\"name\":\"{text}\"}}}}")?;
        }
        let mut end_ns = 0;
        let mut segments = Segments::default();
        for slot in self.slots.iter().take(noted) {
            end_ns = end_ns.max(slot.start_ns.load(Ordering::Relaxed));
            slot.write_to(out)?;
            slot.tell(&mut segments);
        }
        segments.write_to(end_ns, out)?;
        if missing > 0 {
            let ts = Microseconds(end_ns);
            write!(
                out,
                ",\n{{\"ph\":\"i\",\"s\":\"g\",\"pid\":{PROGRAM},\"tid\":0,\"ts\":{ts},\
                 \"name\":\"full: {missing} later events are missing\"}}"
            )?;
        }
        writeln!(out, "\n]}}")
    }
}

impl Slot {
    fn write_to(&self, out: &mut impl Write) -> io::Result<()> {
        let Some(Tag { kind, which, lane }) = Tag::unpack(self.tag.load(Ordering::Acquire)) else {
            return Ok(());
        };
        let get = |value: &AtomicU64| value.load(Ordering::Relaxed);
        let (ts, dur) = (Microseconds(get(&self.start_ns)), Microseconds(get(&self.duration_ns)));
        let (number, amount) = (get(&self.number), get(&self.amount));
        match kind {
            Kind::Call | Kind::Wait => {
                let function = Function::from_index(which).map_or("rrto", Function::symbol);
                let (name, category) = if kind == Kind::Call { (function, "call") } else { ("wait", "wait") };
                write!(
                    out,
                    ",\n{{\"ph\":\"X\",\"pid\":{PROGRAM},\"tid\":{lane},\"ts\":{ts},\"dur\":{dur},\
                     \"cat\":\"{category}\",\"name\":\"{name}\",\"args\":{{\"number\":{number},\"bytes\":{amount}}}}}"
                )
            }
            Kind::Counter => {
                let name = COUNTERS.get(usize::from(which)).map_or("", |(name, _)| name);
                write!(
                    out,
                    ",\n{{\"ph\":\"C\",\"pid\":{LINK},\"tid\":0,\"ts\":{ts},\"name\":\"{name}\",\
                     \"args\":{{\"value\":{amount}}}}}"
                )
            }
            other => {
                let Some(name) = other.on_link() else { return Ok(()) };
                write!(
                    out,
                    ",\n{{\"ph\":\"i\",\"s\":\"t\",\"pid\":{LINK},\"tid\":0,\"ts\":{ts},\"cat\":\"link\",\
                     \"name\":\"{name}\",\"args\":{{\"number\":{number},\"bytes\":{amount}}}}}"
                )
            }
        }
    }

    /// Tells what segments are made of.
    fn tell(&self, segments: &mut Segments) {
        let Some(tag) = Tag::unpack(self.tag.load(Ordering::Acquire)) else { return };
        let [at_ns, number, amount] =
            [&self.start_ns, &self.number, &self.amount].map(|value| value.load(Ordering::Relaxed));
        match tag.kind {
            Kind::Call if number > 0 => segments.called(number, at_ns),
            Kind::Operators => segments.sent(Segment { first: number, left_ns: at_ns, piece: None }),
            Kind::Segment => {
                let (from, count) = ((amount >> 32) as u32, amount as u32);
                let piece = Some(Span { sequence: SequenceId(tag.lane), from, count, patches: Vec::new() });
                segments.sent(Segment { first: number, left_ns: at_ns, piece });
            }
            Kind::Issued => segments.issued(number, at_ns),
            Kind::Answered => segments.answered(number, at_ns),
            _ => {}
        }
    }
}

/// Nanoseconds, shown in the format's unit.
struct Microseconds(u64);

impl std::fmt::Display for Microseconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

#[cfg(test)]
mod tests;
