//! A device whose whole state a test can compare.

use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;

use super::Device;
use crate::api::CuResult;
use crate::engine::{Payload, Ready};
use crate::operator::{Handle, Launch, Operator, Outcome, Sequence, Span, Value};

/// A device that is a flat piece of memory, and executes everything at once, in the order in which it comes. Its kernels
/// are made by [`kernel`]; each mixes memory in a way that depends on every byte of its launch.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct FakeDevice {
    /// Device memory, from address 0.
    pub memory: Vec<u8>,
    /// Numbers executed, in order.
    pub executed: Vec<u64>,
    /// A hash of all that had an effect, in order. What only waits or asks has none.
    pub history: u64,
    /// Where the next allocation starts: after all of memory, so that nothing can be done to it.
    allocated: u64,
    /// The error that has corrupted the context.
    corrupted: Option<CuResult>,
}

/// A kernel writes at most so much, so that a test with absurd parameters is short.
const MOST_BYTES: u64 = 256;

/// What a kernel of the fake device does with its memory, besides mixing it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    /// Nothing.
    Mixes,
    /// It fails at the launch, with `CUDA_ERROR_INVALID_VALUE`.
    Fails,
    /// It corrupts the context with `CUDA_ERROR_ILLEGAL_ADDRESS`.
    Faults,
}

const FAILS: u8 = 0xfe;
const FAULTS: u8 = 0xff;

/// The parameter block of a kernel that reads `bytes` bytes from `src` and writes them, mixed, to `dst`. Any further
/// parameter bytes may follow.
pub fn kernel(dst: u64, src: u64, bytes: u32, manner: Manner) -> Vec<u8> {
    let manner = match manner {
        Manner::Mixes => 0,
        Manner::Fails => FAILS,
        Manner::Faults => FAULTS,
    };
    [&dst.to_le_bytes()[..], &src.to_le_bytes(), &bytes.to_le_bytes(), &[manner]].concat()
}

impl FakeDevice {
    /// A device with `bytes` bytes of zeroed memory.
    pub fn new(bytes: usize) -> Self {
        FakeDevice { memory: vec![0; bytes], ..FakeDevice::default() }
    }

    fn run(&mut self, number: u64, operator: &Operator, payload: Option<&[u8]>) -> Outcome {
        self.executed.push(number);
        if let Some(corrupted) = self.corrupted {
            return Err(corrupted);
        }
        if has_effect(operator) {
            let mut hasher = DefaultHasher::new();
            (self.history, operator, payload).hash(&mut hasher);
            self.history = hasher.finish();
        }
        match operator {
            Operator::CopyIn { dst, bytes, .. } => {
                self.range(*dst, *bytes)?.copy_from_slice(payload.unwrap_or_default());
                Ok(Value::None)
            }
            Operator::CopyOut { src, bytes, .. } => {
                Ok(Value::Payload(Bytes::copy_from_slice(self.range(*src, *bytes)?)))
            }
            Operator::CopyDevice { dst, src, bytes, .. } => {
                let copied = self.range(*src, *bytes)?.to_vec();
                self.range(*dst, *bytes)?.copy_from_slice(&copied);
                Ok(Value::None)
            }
            Operator::Memset { address, value, width, .. } => {
                self.range(*address, *width)?.fill(*value as u8);
                Ok(Value::None)
            }
            Operator::MemAlloc { bytes } => {
                let address = (self.memory.len() as u64).max(self.allocated);
                self.allocated = address.saturating_add(*bytes).next_multiple_of(256);
                Ok(Value::Address(address))
            }
            Operator::Launch(launch) => self.launch(launch),
            _ => Ok(Value::None),
        }
    }

    fn launch(&mut self, launch: &Launch) -> Outcome {
        let word = |at: usize, length: usize| {
            let bytes = launch.params.get(at..at + length).unwrap_or_default();
            bytes.iter().rev().fold(0_u64, |word, byte| word << 8 | u64::from(*byte))
        };
        match launch.params.get(20) {
            Some(&FAILS) => return Err(CuResult::INVALID_VALUE),
            Some(&FAULTS) => {
                self.corrupted = Some(CuResult::ILLEGAL_ADDRESS);
                return Err(CuResult::ILLEGAL_ADDRESS);
            }
            _ => {}
        }
        let size = self.memory.len() as u64;
        if size == 0 {
            return Ok(Value::None);
        }
        let mut hasher = DefaultHasher::new();
        launch.hash(&mut hasher);
        let mut state = hasher.finish();
        for index in 0..word(16, 4).min(MOST_BYTES) {
            let place = |start: u64| (start.wrapping_add(index) % size) as usize;
            let (dst, src) = (place(word(0, 8)), place(word(8, 8)));
            let read = self.memory.get(src).copied().unwrap_or_default();
            state = (state ^ u64::from(read)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17);
            if let Some(byte) = self.memory.get_mut(dst) {
                *byte = byte.wrapping_mul(31) ^ state as u8;
            }
        }
        Ok(Value::None)
    }

    fn range(&mut self, address: u64, bytes: u64) -> Result<&mut [u8], CuResult> {
        let start = usize::try_from(address).map_err(|_| CuResult::INVALID_VALUE)?;
        let end = usize::try_from(bytes).ok().and_then(|bytes| start.checked_add(bytes));
        end.and_then(|end| self.memory.get_mut(start..end)).ok_or(CuResult::INVALID_VALUE)
    }
}

impl Device for FakeDevice {
    fn execute(&mut self, ready: &Ready) -> Outcome {
        // Nothing is staged here.
        let payload = ready.payload.clone().and_then(Payload::into_bytes);
        self.run(ready.number, &ready.operator, payload.as_deref())
    }

    fn execute_span(&mut self, first: u64, sequence: &Sequence, span: &Span) -> Vec<(u64, CuResult)> {
        let mut failures = Vec::new();
        for (number, at) in (first..).zip(span.from..span.end()) {
            let Some(operator) = sequence.operator(at, span) else { continue };
            if let Err(error) = self.run(number, &operator, None) {
                failures.push((number, error));
            }
        }
        failures
    }
}

/// Whether a device is not as before when this has been executed.
fn has_effect(operator: &Operator) -> bool {
    !matches!(
        operator,
        Operator::CopyOut { .. }
            | Operator::StreamSynchronize { .. }
            | Operator::StreamQuery { .. }
            | Operator::EventSynchronize { .. }
            | Operator::EventQuery { .. }
            | Operator::EventElapsedTime { .. }
            | Operator::ContextSynchronize
            | Operator::MemGetInfo
    )
}

/// A launch of one of the fake device's kernels: `params` is what [`kernel`] gives, and what follows that.
pub fn launch(function: u64, stream: Handle, params: Vec<u8>) -> Operator {
    Operator::Launch(Launch {
        function: Handle(function),
        geometry: crate::operator::Geometry { grid: [1, 1, 1], block: [32, 1, 1], shared_bytes: 0 },
        stream,
        cooperative: false,
        attributes: Vec::new(),
        params: params.into(),
    })
}
