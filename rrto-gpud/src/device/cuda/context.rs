//! A session on the GPU: its tables, the dispatch of operators to the rooms that know them, and its end.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::sync::Arc;

use rrto_core::api::CuResult;
use rrto_core::engine::Payload;
use rrto_core::operator::{Handle, Launch, Operator, Outcome, Sequence, SequenceId, Span, Value};

use super::completions::{Completions, Event};
use super::driver::{self, Answer, Driver, Im2col, Library, Stream};
use super::graphs::Graphs;
use super::memory::Allocations;
use super::modules::Code;
use super::staging::{Block, Lent, Pin, Shared, Slab, Staging};
use super::streams::{ProgramEvent, Streams};
use crate::device::{Context, Limits, Progress, SpanUse};

/// What an operator answers at once; `None` if it completes later.
pub(super) type Step = Answer<Option<Value>>;

/// Blocks that one event brings back: so many copies that an event each would cost more than the memory.
const FENCED_BLOCKS: usize = 16;

/// Bytes of blocks that one event brings back, for the same reason.
const FENCED_BYTES: usize = 1 << 20;

/// Page-locks staging memory for the current context.
pub(super) struct DriverPin(&'static Driver);

impl Pin for DriverPin {
    fn pin(&self, slab: &Slab) -> Answer<()> {
        self.0.pin(slab)
    }

    fn unpin(&self, slab: &Slab) -> Answer<()> {
        self.0.unpin(slab)
    }
}

/// A session's state. The order of the fields is the order in which they are dropped: whatever belongs to the
/// context before it, staging memory after it.
pub(super) struct CudaContext {
    pub(super) driver: &'static Driver,
    pub(super) limits: Limits,
    multiprocessors: usize,
    pub(super) allocations: Allocations,
    pub(super) completions: Completions,
    pub(super) events: HashMap<Handle, ProgramEvent>,
    pub(super) graphs: Graphs,
    pub(super) streams: Streams,
    pub(super) code: Code,
    /// Outcomes that were found while looking for staging memory, for the next poll.
    ready: Vec<(u64, Outcome)>,
    /// Blocks of copies to the device that no event has been recorded after yet, by stream.
    unfenced: HashMap<Handle, Vec<Lent>>,
    /// Blocks that are free again when their event completes, oldest first.
    fenced: VecDeque<(Rc<Event>, Vec<Lent>)>,
    /// The error that has made the context unusable.
    fault: Option<CuResult>,
    pub(super) context: driver::Context,
    /// Libraries that the driver would not unload so far.
    pub(super) leftover: Leftover,
    staging: Staging<DriverPin>,
}

/// Libraries that are unloaded once the context is gone, since they belong to the process and not to it.
pub(super) struct Leftover(&'static Driver, Vec<Library>);

impl Leftover {
    pub(super) fn push(&mut self, library: Library) {
        self.1.push(library);
    }
}

impl Drop for Leftover {
    fn drop(&mut self) {
        for library in self.1.drain(..) {
            if let Err((error, _)) = self.0.library_unload(library) {
                tracing::warn!(%error, "a library of a session that has ended stays loaded");
            }
        }
    }
}

impl CudaContext {
    pub(super) fn new(
        driver: &'static Driver,
        context: driver::Context,
        limits: &Limits,
        multiprocessors: usize,
    ) -> Self {
        CudaContext {
            driver,
            limits: *limits,
            multiprocessors,
            allocations: Allocations::new(limits),
            completions: Completions::new(driver),
            events: HashMap::new(),
            graphs: Graphs::new(driver),
            streams: Streams::new(),
            code: Code::default(),
            ready: Vec::new(),
            unfenced: HashMap::new(),
            fenced: VecDeque::new(),
            fault: None,
            context,
            leftover: Leftover(driver, Vec::new()),
            staging: Staging::new(DriverPin(driver), limits.staging_bytes),
        }
    }

    /// Whether there may be one more handle, which must be new.
    ///
    /// # Errors
    /// `INVALID_VALUE` for one that exists, `OUT_OF_MEMORY` where the session has as many as it may.
    pub(super) fn check_new(&self, exists: bool) -> Answer<()> {
        if exists {
            return Err(CuResult::INVALID_VALUE);
        }
        let handles = self.events.len() + self.streams.len() + self.code.len();
        if handles < self.limits.handles { Ok(()) } else { Err(CuResult::OUT_OF_MEMORY) }
    }

    /// A block for a copy of `len` bytes. Where the limit is reached, waits for the oldest copy on the device: copies
    /// wait only for earlier operators, which have all been issued, so this ends.
    pub(super) fn take_block(&mut self, len: usize) -> Answer<Block> {
        if let Some(block) = self.staging.take(len) {
            return Ok(block);
        }
        self.reclaim();
        loop {
            if let Some(block) = self.staging.take(len) {
                return Ok(block);
            }
            if self.staging.grow(len)? {
                continue;
            }
            let streams: Vec<Handle> = self.unfenced.keys().copied().collect();
            streams.into_iter().try_for_each(|stream| self.fence(stream))?;
            let fence = self.fenced.iter().find(|(_, blocks)| blocks.iter().any(|block| block.fits(len)));
            let oldest = fence.map(|(event, _)| event.clone()).or_else(|| self.completions.oldest_copy(len));
            oldest.ok_or(CuResult::OUT_OF_MEMORY)?.wait()?;
            self.reclaim();
            let finished = self.collect();
            self.ready.extend(finished);
        }
    }

    /// What another process has put into memory that the device can copy from.
    pub(super) fn shared(&self, offset: u64, bytes: u64) -> Option<Shared<'_>> {
        self.staging.shared(offset, bytes)
    }

    /// Takes note of a block that a copy on the stream reads from.
    pub(super) fn lend(&mut self, stream: Handle, block: Lent) -> Answer<()> {
        let blocks = self.unfenced.entry(stream).or_default();
        blocks.push(block);
        let bytes: usize = blocks.iter().map(Lent::bytes).sum();
        if blocks.len() >= FENCED_BLOCKS || bytes >= FENCED_BYTES { self.fence(stream) } else { Ok(()) }
    }

    /// Records the event that brings back the blocks lent so far on the stream.
    pub(super) fn fence(&mut self, stream: Handle) -> Answer<()> {
        let Some(blocks) = self.unfenced.remove(&stream) else { return Ok(()) };
        // If that fails the context has failed, and the blocks are not used again.
        let event = self.completions.record(self.streams.get(stream)?)?;
        self.fenced.push_back((event, blocks));
        Ok(())
    }

    /// Takes back the blocks whose event has completed.
    fn reclaim(&mut self) {
        for _ in 0..self.fenced.len() {
            let Some((event, blocks)) = self.fenced.pop_front() else { return };
            match event.query() {
                Ok(()) => {
                    for block in blocks {
                        // SAFETY: the event was recorded on the block's stream after the copy, and has completed.
                        self.staging.give(unsafe { block.take_back() });
                    }
                }
                Err(_) => self.fenced.push_back((event, blocks)),
            }
        }
    }

    /// The outcomes of operators that are over by now.
    fn collect(&mut self) -> Vec<(u64, Outcome)> {
        let finished = self.completions.collect();
        let mut outcomes = Vec::with_capacity(finished.len());
        for finished in finished {
            let staging = &mut self.staging;
            let outcome = finished.outcome(|lent, len| {
                // SAFETY: called only if the operator succeeded, which is when the event that was recorded on the
                // stream after the copy has completed.
                let block = unsafe { lent.take_back() };
                staging.payload(block, len)
            });
            self.note_fault(&outcome.1);
            outcomes.push(outcome);
        }
        outcomes
    }

    pub(super) fn note_fault<T>(&mut self, outcome: &Result<T, CuResult>) {
        if let Err(error) = outcome
            && error.is_sticky()
        {
            self.fault = Some(*error);
        }
    }

    /// The dispatch: one arm an operator.
    fn dispatch(&mut self, number: u64, operator: Operator, payload: Option<Payload>) -> Step {
        use Operator::*;
        match operator {
            MemAlloc { bytes } => self.mem_alloc(bytes),
            MemAllocPitch { width_bytes, height, element_bytes } => {
                self.mem_alloc_pitch(width_bytes, height, element_bytes)
            }
            MemFree { address } => self.mem_free(address),
            MemGetInfo => self.mem_get_info(),
            Memset { .. }
            | CopyDevice { .. }
            | Operator::Launch(_)
            | StreamWaitEvent { .. }
            | EventRecord { .. } => self.issue(&operator).map(|()| Some(Value::None)),
            CopyIn { dst, bytes, stream } => self.copy_in(number, (dst, bytes), stream, payload),
            CopyOut { src, bytes, stream } => self.copy_out(number, src, bytes, stream),

            StreamCreate { stream, flags, priority } => self.stream_create(stream, flags, priority),
            StreamDestroy { stream } => self.stream_destroy(stream),
            StreamQuery { stream } => self.stream_query(stream),
            StreamSynchronize { stream } => self.stream_synchronize(number, stream),
            EventCreate { event, flags } => self.event_create(event, flags),
            EventDestroy { event } => self.event_destroy(event),
            EventQuery { event } => self.event_query(event),
            EventSynchronize { event } => self.event_synchronize(number, event),
            EventElapsedTime { start, end } => self.event_elapsed(start, end),
            ContextSynchronize => self.context_synchronize(number),
            ContextSetLimit { limit, value } => self.set_limit(limit, value),
            ContextGetLimit { limit } => Ok(Some(Value::Number(self.driver.limit(limit)?))),

            ImageAppend { image, bytes: _ } => self.image_append(image, payload),
            ModuleLoad { module, image } => self.module_load(module, image),
            ModuleUnload { module } => self.module_unload(module),
            LibraryLoad { library, image } => self.library_load(library, image),
            LibraryUnload { library } => self.library_unload(library),
            ModuleGetFunction { module, name, function } => self.module_function(module, name, function),
            LibraryGetKernel { library, name, function } => self.library_function(library, name, function),
            LibraryGetModule { library, module } => self.library_module(library, module),
            KernelNames { owner } => self.kernel_names(owner),
            ModuleGetGlobal { module, name } => self.module_global(module, name),
            LibraryGetGlobal { library, name } => self.library_global(library, name),
            FunctionSetAttribute { function, attribute, value } => {
                self.set_function_attribute(function, attribute, value)
            }
            FunctionSetCacheConfig { function, config } => self.set_function_cache(function, config),

            OccupancyMaxActiveBlocks { function, block_threads, shared_bytes, flags } => {
                self.max_active_blocks(function, block_threads, shared_bytes, flags)
            }
            OccupancyAvailableSharedMemory { function, blocks, block_threads } => {
                self.available_shared_bytes(function, blocks, block_threads)
            }
            OccupancyClusters { potential, function, geometry, attributes } => {
                self.clusters(potential, function, &geometry, &attributes)
            }
            ExportTable { uuid } => self.driver.export_table(&uuid).map(|()| Some(Value::None)),
            TpcPlaces => Ok(Some(Value::TpcPlaces(self.driver.tpc_places(self.multiprocessors)?))),
            TensorMapTiled(map) => self.tensor_map_tiled(&map),
            TensorMapIm2col { map, lower_corner, upper_corner, channels_per_pixel, pixels_per_column } => {
                let (lower_corner, upper_corner) = (&lower_corner, &upper_corner);
                let im2col = Im2col { lower_corner, upper_corner, channels_per_pixel, pixels_per_column };
                self.tensor_map_im2col(&map, &im2col)
            }
        }
    }

    /// Issues an operator that can be part of a span.
    pub(super) fn issue(&mut self, operator: &Operator) -> Answer<()> {
        match *operator {
            Operator::EventRecord { event, stream, flags } => self.event_record(event, stream, flags),
            Operator::StreamWaitEvent { stream, event, flags } => self.stream_wait(stream, event, flags),
            Operator::Memset { stream, .. }
            | Operator::CopyDevice { stream, .. }
            | Operator::Launch(Launch { stream, .. }) => self.issue_on(operator, self.streams.get(stream)?),
            _ => Err(CuResult::NOT_SUPPORTED),
        }
    }

    /// Issues work on `stream`, which need not be the stream that it names.
    pub(super) fn issue_on(&self, operator: &Operator, stream: &Stream) -> Answer<()> {
        match *operator {
            Operator::Memset { address, pitch_bytes, value, element_bytes, width, height, .. } => {
                self.memset(address, pitch_bytes, (value, element_bytes), (width, height), stream)
            }
            Operator::CopyDevice { dst, src, bytes, .. } => self.copy_device(dst, src, bytes, stream),
            Operator::Launch(ref launch) => self.launch(launch, stream),
            _ => Err(CuResult::NOT_SUPPORTED),
        }
    }

    /// The error that everything answers once the context is unusable.
    pub(super) fn check_usable(&self) -> Answer<()> {
        self.fault.map_or(Ok(()), Err)
    }
}

impl Context for CudaContext {
    fn execute(&mut self, number: u64, operator: Operator, payload: Option<Payload>) -> Progress {
        if let Err(fault) = self.check_usable() {
            return Progress::Done(Err(fault));
        }
        let step = self.context.make_current().and_then(|()| self.dispatch(number, operator, payload));
        let Some(outcome) = step.transpose() else { return Progress::Pending };
        self.note_fault(&outcome);
        Progress::Done(outcome)
    }

    fn execute_span(&mut self, first: u64, sequence: &Arc<Sequence>, span: &Span) -> Vec<(u64, CuResult)> {
        self.run_span(first, sequence, span)
    }

    fn share(&mut self, file: BorrowedFd<'_>) {
        let shared = self.context.make_current().map_err(io::Error::other);
        if let Err(error) = shared.and_then(|()| self.staging.share(file)) {
            // Payloads are then copied once more.
            tracing::debug!(%error, "the device cannot copy from the server's memory");
        }
    }

    fn retire(&mut self, sequence: SequenceId) {
        if self.context.make_current().is_ok() {
            self.graphs.retire(sequence);
        }
    }

    fn take_span_use(&mut self) -> SpanUse {
        std::mem::take(&mut self.graphs.used)
    }

    fn poll(&mut self, finished: &mut Vec<(u64, Outcome)>) {
        finished.append(&mut self.ready);
        if self.completions.len() > 0 && self.context.make_current().is_ok() {
            let outcomes = self.collect();
            finished.extend(outcomes);
        }
    }

    fn pending(&self) -> usize {
        self.completions.len() + self.ready.len()
    }
}

impl Drop for CudaContext {
    /// Waits until the device has finished with the session's work, and frees everything of it.
    fn drop(&mut self) {
        if let Err(error) = self.context.synchronize() {
            // The device has stopped working for this context; what follows then fails or not, and destroying the
            // context frees all the same.
            tracing::debug!(%error, "a session ends with a fault");
        }
        self.completions.clear();
        self.fenced.clear();
        self.unfenced.clear();
        self.events.clear();
        self.graphs.clear();
        self.streams.clear(self.driver);
        self.leftover.1.extend(self.code.clear(self.driver));
        self.staging.unpin();
    }
}
