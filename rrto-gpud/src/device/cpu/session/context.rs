//! A session on the software GPU: its memory, its tables, and the dispatch of operators.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use rrto_core::api::CuResult;
use rrto_core::engine::Payload;
use rrto_core::operator::{Handle, Operator, Outcome, Value};

use super::code::Code;
use super::queue::Queue;
use super::streams::{Event, Streams};
use crate::device::cpu::{Budget, Fill, Limits as LaunchLimits, Memory};
use crate::device::{Context, Limits, Progress};

/// What an operator answers at once; `None` if it completes later.
pub(super) type Step = Result<Option<Value>, CuResult>;

/// The multiple that a pitch is rounded up to, as NVIDIA's driver does.
const PITCH_BYTES: u64 = 512;

/// CU_LIMIT_STACK_SIZE, and the most local memory that a thread of an NVIDIA GPU has.
const STACK_SIZE: u32 = 0;
const MAX_STACK_BYTES: u64 = 512 << 10;

/// A session's state. The queue comes first, because dropping it ends whatever uses the rest.
pub(super) struct CpuContext {
    pub(super) queue: Queue,
    /// Operators whose outcome has not been polled yet.
    pub(super) pending: usize,
    pub(super) streams: Streams,
    pub(super) events: HashMap<Handle, Event>,
    pub(super) code: Code,
    pub(super) memory: Arc<Memory>,
    pub(super) limits: Limits,
    pub(super) launch_limits: LaunchLimits,
    context_limits: Vec<Option<u64>>,
    total_bytes: u64,
}

impl CpuContext {
    pub(super) fn new(
        budget: &Arc<Budget>,
        limits: Limits,
        launch_limits: LaunchLimits,
        context_limits: Vec<Option<u64>>,
    ) -> Self {
        Self {
            queue: Queue::new(limits.staging_bytes),
            pending: 0,
            streams: Streams::default(),
            events: HashMap::new(),
            code: Code::default(),
            memory: Arc::new(Memory::within(Arc::clone(budget), limits.memory_bytes)),
            limits,
            launch_limits,
            context_limits,
            total_bytes: limits.seen_bytes(budget.total()),
        }
    }

    /// Whether there may be one more handle, which must be new.
    ///
    /// # Errors
    /// `INVALID_VALUE` for one that exists, `OUT_OF_MEMORY` where the session has as many as it may.
    pub(super) fn check_new(&self, exists: bool) -> Result<(), CuResult> {
        if exists {
            return Err(CuResult::INVALID_VALUE);
        }
        let handles = self.events.len() + self.streams.len() + self.code.len();
        if handles < self.limits.handles { Ok(()) } else { Err(CuResult::OUT_OF_MEMORY) }
    }

    /// The dispatch: one arm an operator.
    fn dispatch(&mut self, number: u64, operator: Operator, payload: Option<Payload>) -> Step {
        use Operator::*;
        match operator {
            MemAlloc { bytes } => self.mem_alloc(bytes).map(|address| Some(Value::Address(address))),
            MemAllocPitch { width_bytes, height, element_bytes } => {
                self.mem_alloc_pitch(width_bytes, height, element_bytes)
            }
            MemFree { address } => self.mem_free(address),
            MemGetInfo => {
                let free_bytes = self.memory.left().min(self.total_bytes);
                Ok(Some(Value::Memory { free_bytes, total_bytes: self.total_bytes }))
            }
            Memset { address, pitch_bytes, value, element_bytes, width, height, stream } => {
                let element_bytes = element_bytes.into();
                self.memset(address, Fill { value, element_bytes, width, rows: height, pitch_bytes }, stream)
            }
            CopyIn { dst, bytes, stream } => self.copy_in(dst, bytes, stream, payload),
            CopyOut { src, bytes, stream } => self.copy_out(number, src, bytes, stream),
            CopyDevice { dst, src, bytes, stream } => self.copy_device(dst, src, bytes, stream),

            StreamCreate { stream, flags, priority: _ } => self.stream_create(stream, flags),
            StreamDestroy { stream } => self.stream_destroy(stream),
            StreamQuery { stream } => self.stream_query(stream),
            StreamSynchronize { stream } => self.stream_synchronize(number, stream),
            StreamWaitEvent { stream, event, flags: _ } => self.stream_wait(stream, event),
            EventCreate { event, flags } => self.event_create(event, flags),
            EventDestroy { event } => self.event_destroy(event),
            EventRecord { event, stream, flags: _ } => self.event_record(event, stream),
            EventQuery { event } => self.event_query(event),
            EventSynchronize { event } => self.event_synchronize(number, event),
            EventElapsedTime { start, end } => self.event_elapsed(start, end),
            ContextSynchronize => self.context_synchronize(number),
            ContextSetLimit { limit, value } => self.set_limit(limit, value),
            ContextGetLimit { limit } => self.limit(limit).map(|limit| Some(Value::Number(*limit))),

            ImageAppend { image, bytes: _ } => self.image_append(image, payload),
            ModuleLoad { module, image } => self.module_load(module, image),
            ModuleUnload { module } => self.module_unload(module),
            LibraryLoad { library, image } => self.library_load(library, image),
            LibraryUnload { library } => self.library_unload(library),
            ModuleGetFunction { module, name, function } => self.get_function(module, &name, function),
            LibraryGetKernel { library, name, function } => self.get_function(library, &name, function),
            LibraryGetModule { library, module } => self.library_module(library, module),
            KernelNames { owner } => self.kernel_names(owner),
            ModuleGetGlobal { module, name } => self.global(module, &name),
            LibraryGetGlobal { library, name } => self.global(library, &name),
            FunctionSetAttribute { function, attribute, value } => {
                self.set_function_attribute(function, attribute, value)
            }
            // There is one cache, the host's.
            FunctionSetCacheConfig { function, config: _ } => {
                self.code.function(function).map(|_| Some(Value::None))
            }

            OccupancyMaxActiveBlocks { function, block_threads, shared_bytes, flags: _ } => {
                self.max_active_blocks(function, block_threads, shared_bytes)
            }
            OccupancyAvailableSharedMemory { function, blocks, block_threads } => {
                self.available_shared_bytes(function, blocks, block_threads)
            }
            // Neither clusters nor tensor maps: the attributes say so. And its multiprocessors, which are threads, are in no place.
            OccupancyClusters { .. } | TpcPlaces | TensorMapTiled(_) | TensorMapIm2col { .. } => {
                Err(CuResult::NOT_SUPPORTED)
            }
            ExportTable { .. } => Err(CuResult::INVALID_VALUE),
            Launch(launch) => self.launch(launch),
        }
    }

    fn mem_alloc(&mut self, bytes: u64) -> Result<u64, CuResult> {
        if self.memory.allocations() >= self.limits.allocations {
            return Err(CuResult::OUT_OF_MEMORY);
        }
        self.memory.alloc(bytes)
    }

    fn mem_alloc_pitch(&mut self, width_bytes: u64, height: u64, element_bytes: u32) -> Step {
        if !matches!(element_bytes, 4 | 8 | 16) || width_bytes == 0 || height == 0 {
            return Err(CuResult::INVALID_VALUE);
        }
        let pitch_bytes = width_bytes.checked_next_multiple_of(PITCH_BYTES).ok_or(CuResult::OUT_OF_MEMORY)?;
        let bytes = pitch_bytes.checked_mul(height).ok_or(CuResult::OUT_OF_MEMORY)?;
        let address = self.mem_alloc(bytes)?;
        Ok(Some(Value::Pitched { address, pitch_bytes }))
    }

    /// What has been issued before still finds the memory; see [`Memory::view`] and [`Memory::span`].
    fn mem_free(&mut self, address: u64) -> Step {
        if address != 0 {
            if self.code.owns_global(address) {
                return Err(CuResult::INVALID_VALUE);
            }
            self.memory.free(address)?;
        }
        Ok(Some(Value::None))
    }

    fn memset(&mut self, address: u64, fill: Fill, stream: Handle) -> Step {
        self.check_stream(stream)?;
        if let Some(span) = fill.span(&self.memory, address)? {
            self.enqueue(stream, move |shared| {
                if shared.fault().is_none() {
                    span.fill(&fill);
                }
            })?;
        }
        Ok(Some(Value::None))
    }

    fn copy_in(&mut self, dst: u64, bytes: u64, stream: Handle, payload: Option<Payload>) -> Step {
        let payload = payload.and_then(Payload::into_bytes).filter(|p| p.len() as u64 == bytes);
        let payload = payload.ok_or(CuResult::INVALID_VALUE)?;
        self.check_stream(stream)?;
        if payload.is_empty() {
            return Ok(Some(Value::None));
        }
        let span = self.memory.span(dst, bytes)?;
        self.queue.hold_bytes(bytes);
        let enqueued = self.enqueue(stream, move |shared| {
            if shared.fault().is_none() {
                span.write(&payload);
            }
            shared.release_bytes(bytes);
        });
        enqueued.inspect_err(|_| self.queue.shared().release_bytes(bytes))?;
        Ok(Some(Value::None))
    }

    fn copy_out(&mut self, number: u64, src: u64, bytes: u64, stream: Handle) -> Step {
        self.check_stream(stream)?;
        if bytes == 0 {
            return Ok(Some(Value::Payload(Bytes::new())));
        }
        let span = self.memory.span(src, bytes)?;
        self.enqueue(stream, move |shared| {
            let outcome = match shared.fault() {
                Some(fault) => Err(fault),
                None => zeros(bytes).map(|mut payload| {
                    span.read(&mut payload);
                    Value::Payload(payload.into())
                }),
            };
            shared.finish(number, outcome);
        })?;
        self.pending += 1;
        Ok(None)
    }

    fn copy_device(&mut self, dst: u64, src: u64, bytes: u64, stream: Handle) -> Step {
        self.check_stream(stream)?;
        if bytes > 0 {
            let (to, from) = (self.memory.span(dst, bytes)?, self.memory.span(src, bytes)?);
            self.enqueue(stream, move |shared| {
                if shared.fault().is_none() {
                    to.copy_from(&from);
                }
            })?;
        }
        Ok(Some(Value::None))
    }

    fn limit(&mut self, limit: u32) -> Result<&mut u64, CuResult> {
        let slot = self.context_limits.get_mut(limit as usize).and_then(Option::as_mut);
        slot.ok_or(CuResult::UNSUPPORTED_LIMIT)
    }

    /// The limits concern nothing that is here: stacks grow as they must, and there is no printf, no malloc and no launch
    /// in a kernel. They are remembered, so that a program reads what it wrote.
    fn set_limit(&mut self, limit: u32, value: u64) -> Step {
        let slot = self.limit(limit)?;
        if limit == STACK_SIZE && value > MAX_STACK_BYTES {
            return Err(CuResult::INVALID_VALUE);
        }
        *slot = value;
        Ok(Some(Value::None))
    }
}

/// So many zeros.
///
/// # Errors
/// `OUT_OF_MEMORY`: the machine has not so much memory.
fn zeros(bytes: u64) -> Result<Vec<u8>, CuResult> {
    let none = |_| CuResult::OUT_OF_MEMORY;
    let bytes = usize::try_from(bytes).map_err(|_| CuResult::OUT_OF_MEMORY)?;
    let mut zeros = Vec::new();
    zeros.try_reserve_exact(bytes).map_err(none)?;
    zeros.resize(bytes, 0);
    Ok(zeros)
}

impl Context for CpuContext {
    fn execute(&mut self, number: u64, operator: Operator, payload: Option<Payload>) -> Progress {
        if let Some(fault) = self.queue.shared().fault() {
            return Progress::Done(Err(fault));
        }
        match self.dispatch(number, operator, payload).transpose() {
            Some(outcome) => Progress::Done(outcome),
            None => Progress::Pending,
        }
    }

    fn poll(&mut self, finished: &mut Vec<(u64, Outcome)>) {
        let count = self.queue.shared().take_outcomes(finished);
        self.pending = self.pending.saturating_sub(count);
    }

    fn pending(&self) -> usize {
        self.pending
    }
}
