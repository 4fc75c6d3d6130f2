//! What a session executes on: a real GPU, or the software GPU.
//!
//! A [`Device`] is one per process; it opens a [`Context`] for each session, on that session's executor thread, which
//! is the only one that ever uses it. An operator that completes later is [`Progress::Pending`], and its outcome comes
//! out of [`Context::poll`]; so one lane's wait never holds up another's work. A context does block its thread where
//! the driver gives no other choice (freeing memory, unloading code), where the session's staging memory is exhausted,
//! and at the session's end.
//!
//! With [`process`], each session's context is in a process of its own.

pub mod cpu;
pub mod cuda;
pub mod process;

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use rrto_core::api::CuResult;
use rrto_core::engine::Payload;
use rrto_core::operator::{Operator, Outcome, Sequence, SequenceId, Span};
use rrto_core::wire::DeviceInfo;
use rrto_quic::Staging;
use serde::{Deserialize, Serialize};

/// What a session may hold on the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Limits {
    /// Device memory, bytes; past it an allocation is `CUDA_ERROR_OUT_OF_MEMORY`.
    pub memory_bytes: u64,
    /// Live allocations; past it likewise.
    pub allocations: usize,
    /// Live handles of all kinds; past it `CUDA_ERROR_OUT_OF_MEMORY`.
    pub handles: usize,
    /// Bytes of images that are being put together or are loaded; past it likewise.
    pub image_bytes: u64,
    /// Bytes of staging memory for copies in flight; past it the executor waits for the oldest.
    pub staging_bytes: u64,
}

impl Limits {
    /// How large a program sees a device of `device_bytes`: what it may have of it.
    pub fn seen_bytes(&self, device_bytes: u64) -> u64 {
        device_bytes.min(self.memory_bytes)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            memory_bytes: u64::MAX,
            // PyTorch's caching allocator makes a few hundred; a plain program with one allocation an object, more.
            allocations: 1 << 20,
            handles: 1 << 20,
            // All libraries of a PyTorch inference are 43 MB.
            image_bytes: 4 << 30,
            staging_bytes: 256 << 20,
        }
    }
}

/// A device that cannot be used, in words for the server's operator.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct DeviceError(pub String);

/// What has become of spans.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SpanUse {
    /// Operators of spans that were issued one by one.
    pub single_operators: u64,
    /// CUDA graphs that were built.
    pub graph_builds: u64,
    /// CUDA graphs that were launched.
    pub graph_launches: u64,
    /// Operators that these launches were of.
    pub graph_operators: u64,
    /// Kernel nodes whose parameters were changed before a launch.
    pub patched_nodes: u64,
}

impl SpanUse {
    /// Adds another count.
    pub fn add(&mut self, other: SpanUse) {
        self.single_operators += other.single_operators;
        self.graph_builds += other.graph_builds;
        self.graph_launches += other.graph_launches;
        self.graph_operators += other.graph_operators;
        self.patched_nodes += other.patched_nodes;
    }
}

/// How far an operator got when [`Context::execute`] returned.
#[derive(Debug)]
pub enum Progress {
    /// It is over.
    Done(Outcome),
    /// Its outcome will come out of [`Context::poll`].
    Pending,
}

/// A GPU, real or not.
pub trait Device: Send + Sync {
    /// Everything about it that a client is told at the start.
    fn info(&self) -> &DeviceInfo;

    /// Opens a session's context. Called on the thread that will use it.
    ///
    /// # Errors
    /// The device has no room for another context, or is lost.
    fn open(&self, limits: Limits) -> Result<Box<dyn Context>, DeviceError>;
}

/// One session's state on the device; dropping it frees everything of the session there.
pub trait Context {
    /// Executes the operator of this number. Operators come in their order; `payload` has exactly the bytes that
    /// the operator takes.
    fn execute(&mut self, number: u64, operator: Operator, payload: Option<Payload>) -> Progress;

    /// Executes a span of a sequence, which fits it and has no slots: nothing of it takes a payload or answers. Its first
    /// operator has the number `first`, and the others follow. Gives the failures that show at once, with their numbers.
    fn execute_span(&mut self, first: u64, sequence: &Arc<Sequence>, span: &Span) -> Vec<(u64, CuResult)> {
        let mut failures = Vec::new();
        for (number, at) in (first..).zip(span.from..span.end()) {
            let Some(operator) = sequence.operator(at, span) else { continue };
            if let Progress::Done(Err(error)) = self.execute(number, operator.into_owned(), None) {
                failures.push((number, error));
            }
        }
        failures
    }

    /// Where payloads are best put before they are given to [`Context::execute`], if anywhere.
    fn staging(&self) -> Option<Arc<dyn Staging>> {
        None
    }

    /// Staged payloads are in this file, a [`MAX_PAYLOAD_BYTES`](rrto_core::operator::MAX_PAYLOAD_BYTES) for each place,
    /// and stay there until their operators are over.
    fn share(&mut self, _file: BorrowedFd<'_>) {}

    /// There will be no more spans of this sequence.
    fn retire(&mut self, _sequence: SequenceId) {}

    /// What has become of spans since this was asked last.
    fn take_span_use(&mut self) -> SpanUse {
        SpanUse::default()
    }

    /// Waits until there is room for more operators, at most `limit`; gives whether there is. Whoever asks this before
    /// each operator or span never waits for room in [`Context::execute`], and can so look in between whether
    /// the session is over.
    fn has_room(&mut self, _limit: Duration) -> bool {
        true
    }

    /// Appends the outcomes of pending operators that have completed by now. Does not block.
    fn poll(&mut self, finished: &mut Vec<(u64, Outcome)>);

    /// How many operators are pending.
    fn pending(&self) -> usize;
}
