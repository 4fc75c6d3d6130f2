//! `RRTO_TRACE`: a timeline of the run in the Chrome trace format ("Trace Event Format", JSON object form), for
//! <https://ui.perfetto.dev> and `chrome://tracing`.
//!
//! | process in the timeline | tracks |
//! |---|---|
//! | program | a thread a lane: calls that travel, by the driver function's name, and waits |
//! | link | payloads that arrive; counters, read whenever a wait has ended |
//!
//! Events are noted without a lock, in memory of a fixed size. When that is full no more are noted, and the timeline ends
//! with an event that says so.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use rrto_core::api::Function;
use rrto_quic::LinkStatistics;

/// Events that are kept: some hundred inferences of a large model, in 10 MiB.
const EVENTS_MAX: usize = 256 << 10;

/// Processes of the timeline.
const PROGRAM: u32 = 1;
const LINK: u32 = 2;
const PROCESSES: [(u32, &str); 2] = [(PROGRAM, "program"), (LINK, "link")];

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
    /// Bytes, or a counter's value.
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
    lane: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum Kind {
    Call = 1,
    Wait = 2,
    Arrival = 3,
    Counter = 4,
}

impl Tag {
    fn pack(self) -> u64 {
        u64::from(self.kind as u8) << 48 | u64::from(self.which) << 32 | u64::from(self.lane)
    }

    /// `None` for 0.
    fn unpack(packed: u64) -> Option<Self> {
        let kind = [Kind::Call, Kind::Wait, Kind::Arrival, Kind::Counter];
        let kind = kind.into_iter().find(|kind| *kind as u64 == packed >> 48)?;
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

    /// Bytes of a copy have come.
    pub(super) fn arrival(&self, at: Duration, number: u64, bytes: u64) {
        self.note(Tag { kind: Kind::Arrival, which: 0, lane: 0 }, at..at, number, bytes);
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
        let mut out = BufWriter::new(File::create(path)?);
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
        let name = r#""ph":"M","name":"process_name","args""#;
        for (at, (process, text)) in PROCESSES.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            write!(out, "{comma}\n{{\"pid\":{process},{name}:{{\"name\":\"{text}\"}}}}")?;
        }
        let mut end_ns = 0;
        for slot in self.slots.iter().take(noted) {
            end_ns = end_ns.max(slot.start_ns.load(Ordering::Relaxed));
            slot.write_to(out)?;
        }
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
            Kind::Arrival => write!(
                out,
                ",\n{{\"ph\":\"i\",\"s\":\"p\",\"pid\":{LINK},\"tid\":0,\"ts\":{ts},\"cat\":\"link\",\
                 \"name\":\"payload arrives\",\"args\":{{\"number\":{number},\"bytes\":{amount}}}}}"
            ),
            Kind::Counter => {
                let name = COUNTERS.get(usize::from(which)).map_or("", |(name, _)| name);
                write!(
                    out,
                    ",\n{{\"ph\":\"C\",\"pid\":{LINK},\"tid\":0,\"ts\":{ts},\"name\":\"{name}\",\
                     \"args\":{{\"value\":{amount}}}}}"
                )
            }
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
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn events(trace: &Trace) -> (Value, Vec<Value>) {
        let mut text = Vec::new();
        trace.write_to(&mut text).unwrap();
        let mut trace: Value = serde_json::from_slice(&text).unwrap();
        let Value::Array(events) = trace["traceEvents"].take() else { panic!("{trace}") };
        (trace["otherData"].take(), events.into_iter().filter(|event| event["ph"] != "M").collect())
    }

    fn us(us: u64) -> Duration {
        Duration::from_micros(us)
    }

    #[test]
    fn a_timeline_has_calls_waits_and_what_the_link_does() {
        let trace = Trace::with_room(100);
        let link = LinkStatistics { operators: 7, ..LinkStatistics::default() };
        trace.call(3, Some(Function::cuLaunchKernel), us(10)..Duration::from_nanos(12_345), 4, 9);
        trace.call(3, None, us(20)..us(21), 0, 0);
        trace.wait(3, us(30)..us(50), 4);
        trace.arrival(us(40), 4, 4096);
        trace.link(&link, us(50));
        let (other, events) = events(&trace);
        assert_eq!(other, json!({ "events_missing": 0 }));
        let expected = [
            json!({
                "ph": "X", "pid": PROGRAM, "tid": 3, "ts": 10.0, "dur": 2.345, "cat": "call",
                "name": "cuLaunchKernel", "args": { "number": 4, "bytes": 9 },
            }),
            json!({
                "ph": "X", "pid": PROGRAM, "tid": 3, "ts": 20.0, "dur": 1.0, "cat": "call", "name": "rrto",
                "args": { "number": 0, "bytes": 0 },
            }),
            json!({
                "ph": "X", "pid": PROGRAM, "tid": 3, "ts": 30.0, "dur": 20.0, "cat": "wait", "name": "wait",
                "args": { "number": 4, "bytes": 0 },
            }),
            json!({
                "ph": "i", "s": "p", "pid": LINK, "tid": 0, "ts": 40.0, "cat": "link",
                "name": "payload arrives", "args": { "number": 4, "bytes": 4096 },
            }),
            json!({
                "ph": "C", "pid": LINK, "tid": 0, "ts": 50.0, "name": "operators", "args": { "value": 7 },
            }),
        ];
        assert_eq!(events[..5], expected);
        assert_eq!(events.len(), 4 + COUNTERS.len());
    }

    #[test]
    fn a_full_trace_says_so() {
        let trace = Trace::with_room(2);
        for at in 0..5 {
            trace.wait(0, us(at)..us(at), at);
        }
        let (other, events) = events(&trace);
        assert_eq!(other, json!({ "events_missing": 3 }));
        assert_eq!(events.len(), 3);
        assert_eq!(events[2]["name"], "full: 3 later events are missing");
    }

    #[test]
    fn nothing_noted_is_a_timeline_too() {
        assert_eq!(events(&Trace::with_room(1)).1, Vec::<Value>::new());
    }

    #[test]
    fn tags_are_unpacked_as_they_were_packed() {
        let tag = Tag { kind: Kind::Counter, which: u16::MAX, lane: u32::MAX };
        assert_eq!(Tag::unpack(tag.pack()), Some(tag));
        assert_eq!(Tag::unpack(0), None);
    }
}
