//! One session's part in the metrics.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use rrto_core::api::CuResult;
use rrto_core::operator::{Operator, Sequence, Span};

use super::{
    ERRORS, EXECUTE, GRAPH_BUILDS, GRAPH_LAUNCHES, GRAPH_PATCHES, Kind, MEMORY, OPERATORS, PAYLOAD, PENDING,
    SPAN_OPERATORS, SPANS,
};
use crate::device::SpanUse;

/// Counts what one session does. Looks its metrics up once, so that counting an operator costs nanoseconds; takes
/// what the session held out of the gauges when it is dropped.
pub struct SessionMeter {
    operators: [Counter; Kind::ALL.len()],
    up: Counter,
    down: Counter,
    spans: Counter,
    graph_operators: Counter,
    single_operators: Counter,
    graph_builds: Counter,
    graph_launches: Counter,
    graph_patches: Counter,
    execute: Histogram,
    memory: Gauge,
    pending: Gauge,
    shown_memory_bytes: u64,
    shown_pending: usize,
}

impl SessionMeter {
    /// A meter on the current recorder.
    pub fn new() -> Self {
        SessionMeter {
            operators: Kind::ALL.map(|kind| counter!(OPERATORS, "kind" => kind.label())),
            up: counter!(PAYLOAD, "direction" => "up"),
            down: counter!(PAYLOAD, "direction" => "down"),
            spans: counter!(SPANS),
            graph_operators: counter!(SPAN_OPERATORS, "manner" => "graph"),
            single_operators: counter!(SPAN_OPERATORS, "manner" => "single"),
            graph_builds: counter!(GRAPH_BUILDS),
            graph_launches: counter!(GRAPH_LAUNCHES),
            graph_patches: counter!(GRAPH_PATCHES),
            execute: histogram!(EXECUTE),
            memory: gauge!(MEMORY),
            pending: gauge!(PENDING),
            shown_memory_bytes: 0,
            shown_pending: 0,
        }
    }

    /// Counts an operator with a payload of `payload_bytes` bytes.
    pub fn count_operator(&self, operator: &Operator, payload_bytes: u64) {
        if let Some(counter) = self.operators.get(Kind::from(operator) as usize) {
            counter.increment(1);
        }
        self.up.increment(payload_bytes);
    }

    /// Counts a span and its operators.
    pub fn count_span(&self, sequence: &Sequence, span: &Span) {
        self.spans.increment(1);
        let mut counts = [0; Kind::ALL.len()];
        let operators = sequence.operators().get(span.from as usize..span.end() as usize);
        for operator in operators.unwrap_or_default() {
            if let Some(count) = counts.get_mut(Kind::from(operator) as usize) {
                *count += 1;
            }
        }
        for (counter, count) in self.operators.iter().zip(counts).filter(|(_, count)| *count > 0) {
            counter.increment(count);
        }
    }

    /// Counts what has become of spans.
    pub fn count_span_use(&self, used: &SpanUse) {
        if *used == SpanUse::default() {
            return;
        }
        self.graph_operators.increment(used.graph_operators);
        self.single_operators.increment(used.single_operators);
        self.graph_builds.increment(used.graph_builds);
        self.graph_launches.increment(used.graph_launches);
        self.graph_patches.increment(used.patched_nodes);
    }

    /// Notes how long it took to issue an operator.
    pub fn record_execution(&self, duration: Duration) {
        self.execute.record(duration);
    }

    /// Counts a payload that goes to the program.
    pub fn count_payload_down(&self, bytes: u64) {
        self.down.increment(bytes);
    }

    /// Counts an error.
    pub fn count_error(&self, result: CuResult) {
        // What cuStreamQuery and cuEventQuery answer while work is outstanding: no error.
        if result != CuResult::NOT_READY {
            counter!(ERRORS, "result" => result.name()).increment(1);
        }
    }

    /// Shows what the session holds now.
    pub fn show(&mut self, memory_bytes: u64, pending: usize) {
        if memory_bytes != self.shown_memory_bytes {
            self.memory.increment(memory_bytes as f64 - self.shown_memory_bytes as f64);
            self.shown_memory_bytes = memory_bytes;
        }
        if pending != self.shown_pending {
            self.pending.increment(pending as f64 - self.shown_pending as f64);
            self.shown_pending = pending;
        }
    }
}

impl Default for SessionMeter {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for SessionMeter {
    fn drop(&mut self) {
        self.show(0, 0);
    }
}
