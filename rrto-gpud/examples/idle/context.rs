//! The device and its sessions: addresses without memory behind them, and a clock instead of kernels.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rrto_core::api::CuResult;
use rrto_core::engine::Payload;
use rrto_core::operator::{Handle, Operator, Outcome, Sequence, Span, Value};
use rrto_core::wire::DeviceInfo;
use rrto_gpud::device::{Context, Device, DeviceError, Limits, Progress};

use crate::code::Code;
use crate::info::{self, TOTAL_BYTES};

/// Where allocations begin, and the multiple of bytes that they are rounded up to.
const FIRST_ADDRESS: u64 = 0x7f00_0000_0000;
const ALIGN_BYTES: u64 = 2 << 20;

/// Shorter outputs are zero, as numbers of things are that a program then counts with; longer ones are floats.
const LEAST_FLOATS_BYTES: u64 = 4096;

/// A GPU that computes nothing.
pub(crate) struct IdleDevice {
    info: DeviceInfo,
    kernel_time: Duration,
    output: Bytes,
}

impl IdleDevice {
    pub(crate) fn new(kernel_time: Duration) -> Self {
        IdleDevice { info: info::info(), kernel_time, output: floats() }
    }
}

/// Floats about as random as a tensor's, so that they code alike: sums of four uniform ones.
fn floats() -> Bytes {
    let mut state = 1u64;
    let mut uniform = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    let float = |_| ((0..4).map(|_| uniform()).sum::<f32>()).to_le_bytes();
    (0..(1 << 20) / 4).flat_map(float).collect()
}

impl Device for IdleDevice {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn open(&self, _limits: Limits) -> Result<Box<dyn Context>, DeviceError> {
        Ok(Box::new(IdleContext {
            kernel_time: self.kernel_time,
            busy_until: Instant::now(),
            output: self.output.clone(),
            next_address: FIRST_ADDRESS,
            code: Code::default(),
            events: HashMap::new(),
            pending: VecDeque::new(),
        }))
    }
}

struct IdleContext {
    kernel_time: Duration,
    /// When all that has been issued is over; there is one queue for all streams.
    busy_until: Instant,
    output: Bytes,
    next_address: u64,
    code: Code,
    /// When each event's latest record is over.
    events: HashMap<Handle, Instant>,
    /// Operators that complete at a time, the earliest first.
    pending: VecDeque<(Instant, u64, Value)>,
}

impl IdleContext {
    /// Issues so many kernels.
    fn work(&mut self, kernels: u32) {
        self.busy_until = self.busy_until.max(Instant::now()) + self.kernel_time * kernels;
    }

    fn is_over(&self) -> Outcome {
        if Instant::now() < self.busy_until { Err(CuResult::NOT_READY) } else { Ok(Value::None) }
    }

    /// Answers when everything so far is over.
    fn later(&mut self, number: u64, value: Value) -> Progress {
        self.pending.push_back((self.busy_until, number, value));
        Progress::Pending
    }

    fn allocate(&mut self, bytes: u64) -> u64 {
        let address = self.next_address;
        self.next_address += bytes.next_multiple_of(ALIGN_BYTES);
        address
    }

    fn copy_out(&self, bytes: u64) -> Value {
        let bytes = bytes as usize;
        let output = self.output.get(..bytes).filter(|_| bytes as u64 >= LEAST_FLOATS_BYTES);
        Value::Payload(output.map_or_else(|| vec![0; bytes].into(), |output| self.output.slice_ref(output)))
    }

    fn event(&self, event: Handle) -> Instant {
        self.events.get(&event).copied().unwrap_or(self.busy_until)
    }

    fn answer(&mut self, operator: Operator, payload: Option<Payload>) -> Outcome {
        use Operator::*;
        match operator {
            MemAlloc { bytes } => Ok(Value::Address(self.allocate(bytes))),
            MemAllocPitch { width_bytes, height, .. } => {
                let pitch_bytes = width_bytes.next_multiple_of(512);
                Ok(Value::Pitched { address: self.allocate(pitch_bytes * height), pitch_bytes })
            }
            MemGetInfo => Ok(Value::Memory { free_bytes: TOTAL_BYTES, total_bytes: TOTAL_BYTES }),
            StreamQuery { .. } => self.is_over(),
            EventQuery { event } if Instant::now() < self.event(event) => Err(CuResult::NOT_READY),
            EventRecord { event, .. } => {
                self.events.insert(event, self.busy_until);
                Ok(Value::None)
            }
            EventElapsedTime { start, end } => {
                let elapsed = self.event(end).saturating_duration_since(self.event(start));
                Ok(Value::Milliseconds(elapsed.as_secs_f32() * 1e3))
            }
            ContextGetLimit { .. } => Ok(Value::Number(0)),
            ImageAppend { image, .. } => self.code.append(image, payload),
            ModuleLoad { module: handle, image } | LibraryLoad { library: handle, image } => {
                self.code.load(handle, image)
            }
            ModuleUnload { module: handle } | LibraryUnload { library: handle } => self.code.unload(handle),
            ModuleGetFunction { module: owner, name, function }
            | LibraryGetKernel { library: owner, name, function } => {
                self.code.function(owner, &name, function)
            }
            LibraryGetModule { library, module } => self.code.module_of(library, module),
            KernelNames { owner } => self.code.kernels(owner),
            // Nothing says how long it is.
            ModuleGetGlobal { .. } | LibraryGetGlobal { .. } => {
                Ok(Value::Global { address: self.allocate(ALIGN_BYTES), bytes: 4 })
            }
            FunctionSetAttribute { function, attribute, value } => {
                self.code.set_attribute(function, attribute, value)
            }
            OccupancyMaxActiveBlocks { block_threads, .. } => {
                Ok(Value::Number((2048 / u64::from(block_threads.max(32).unsigned_abs())).clamp(1, 32)))
            }
            OccupancyAvailableSharedMemory { .. } => Ok(Value::Number(32 << 10)),
            OccupancyClusters { .. } => Ok(Value::Number(8)),
            ExportTable { .. } => Err(CuResult::INVALID_VALUE),
            TpcPlaces => Err(CuResult::NOT_SUPPORTED),
            TensorMapTiled(_) | TensorMapIm2col { .. } => Ok(Value::Payload(Bytes::from_static(&[0; 128]))),
            Launch(_) | Memset { .. } | CopyDevice { .. } => {
                self.work(1);
                Ok(Value::None)
            }
            _ => Ok(Value::None),
        }
    }
}

impl Context for IdleContext {
    fn execute(&mut self, number: u64, operator: Operator, payload: Option<Payload>) -> Progress {
        use Operator::*;
        match operator {
            CopyOut { bytes, .. } => {
                let value = self.copy_out(bytes);
                self.later(number, value)
            }
            StreamSynchronize { .. } | EventSynchronize { .. } | ContextSynchronize => {
                self.later(number, Value::None)
            }
            operator => Progress::Done(self.answer(operator, payload)),
        }
    }

    /// As one graph: it takes what its kernels take, and nothing to issue.
    fn execute_span(&mut self, _first: u64, sequence: &Arc<Sequence>, span: &Span) -> Vec<(u64, CuResult)> {
        let operators = sequence.operators().get(span.from as usize..span.end() as usize).unwrap_or_default();
        let is_work = |operator: &&Operator| operator.work_stream().is_some();
        self.work(operators.iter().filter(is_work).count() as u32);
        for operator in operators {
            if let Operator::EventRecord { event, .. } = operator {
                self.events.insert(*event, self.busy_until);
            }
        }
        Vec::new()
    }

    fn poll(&mut self, finished: &mut Vec<(u64, Outcome)>) {
        let now = Instant::now();
        while self.pending.front().is_some_and(|(at, ..)| *at <= now)
            && let Some((_, number, value)) = self.pending.pop_front()
        {
            finished.push((number, Ok(value)));
        }
    }

    fn pending(&self) -> usize {
        self.pending.len()
    }
}
