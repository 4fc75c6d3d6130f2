//! A session on the real GPU, and the kernels that the tests load.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rrto_core::api::CuResult;
use rrto_core::engine::Payload;
use rrto_core::operator::{
    Geometry, Handle, KernelInfo, Launch, Operator, Outcome, Patch, Sequence, SequenceId, Span, Value,
};
use rrto_gpud::device::cuda::CudaDevice;
use rrto_gpud::device::{Context, Device, Limits, Progress};

/// `add_value` adds to n words; `wait_for` spins until a word is set, or for some seconds; `write_wild` writes to an
/// address that no one has.
pub(crate) const KERNELS: &str = r"
.version 7.0
.target sm_52
.address_size 64
.visible .global .align 4 .u32 counter = 41;
.visible .entry add_value(.param .u64 out, .param .u32 n, .param .u32 value)
{
    .reg .pred %p<2>; .reg .b32 %r<6>; .reg .b64 %d<4>;
    mov.u32 %r1, %ctaid.x;
    mov.u32 %r2, %ntid.x;
    mov.u32 %r3, %tid.x;
    mad.lo.s32 %r1, %r1, %r2, %r3;
    ld.param.u32 %r2, [n];
    setp.ge.u32 %p1, %r1, %r2;
    @%p1 bra done;
    ld.param.u64 %d1, [out];
    cvta.to.global.u64 %d1, %d1;
    mul.wide.u32 %d2, %r1, 4;
    add.s64 %d1, %d1, %d2;
    ld.global.u32 %r3, [%d1];
    ld.param.u32 %r4, [value];
    add.u32 %r3, %r3, %r4;
    st.global.u32 [%d1], %r3;
done:
    ret;
}
.visible .entry wait_for(.param .u64 flag)
{
    .reg .pred %p<3>; .reg .b32 %r<2>; .reg .b64 %d<5>;
    ld.param.u64 %d1, [flag];
    cvta.to.global.u64 %d1, %d1;
    mov.u64 %d2, %clock64;
again:
    ld.volatile.global.u32 %r1, [%d1];
    setp.ne.u32 %p1, %r1, 0;
    @%p1 bra done;
    mov.u64 %d3, %clock64;
    sub.s64 %d4, %d3, %d2;
    setp.lt.u64 %p2, %d4, 20000000000;
    @%p2 bra again;
done:
    ret;
}
.visible .entry write_wild()
{
    .reg .b32 %r<2>; .reg .b64 %d<2>;
    mov.u64 %d1, 16;
    mov.u32 %r1, 1;
    st.global.u32 [%d1], %r1;
    ret;
}
";

pub(crate) const LEGACY: Handle = Handle::LEGACY_STREAM;
pub(crate) const IMAGE: Handle = Handle(1);
pub(crate) const CODE: Handle = Handle(2);
pub(crate) const ADD: Handle = Handle(3);
pub(crate) const WAIT: Handle = Handle(4);
pub(crate) const WILD: Handle = Handle(5);

/// Longer than any of this takes on any GPU; a hang becomes a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The GPU, one test at a time, so that what one test measures of its memory is its own; `None` where there is none.
pub(crate) fn gpu() -> Option<(CudaDevice, MutexGuard<'static, ()>)> {
    static ONE: Mutex<()> = Mutex::new(());
    match CudaDevice::new(0) {
        Ok(device) => Some((device, ONE.lock().unwrap_or_else(PoisonError::into_inner))),
        Err(error) => {
            assert!(!error.to_string().is_empty());
            println!("SKIPPED, no GPU to test: {error}");
            None
        }
    }
}

pub(crate) struct Session {
    pub(crate) context: Box<dyn Context>,
    next: u64,
    finished: Vec<(u64, Outcome)>,
}

impl Session {
    pub(crate) fn open(device: &CudaDevice, limits: Limits) -> Session {
        Session { context: device.open(limits).unwrap(), next: 0, finished: Vec::new() }
    }

    /// Issues it; its number if it is pending.
    pub(crate) fn issue(&mut self, operator: Operator, payload: Option<Bytes>) -> Result<u64, Outcome> {
        self.issue_with(operator, payload.map(Into::into))
    }

    pub(crate) fn issue_with(
        &mut self,
        operator: Operator,
        payload: Option<Payload>,
    ) -> Result<u64, Outcome> {
        assert_eq!(operator.check_limits(), Ok(()));
        self.next += 1;
        match self.context.execute(self.next, operator, payload) {
            Progress::Done(outcome) => Err(outcome),
            Progress::Pending => Ok(self.next),
        }
    }

    pub(crate) fn pending(&mut self, operator: Operator) -> u64 {
        self.issue(operator, None).unwrap()
    }

    /// Executes a span; gives the places that failed, and why.
    pub(crate) fn span(
        &mut self,
        id: u32,
        sequence: &Arc<Sequence>,
        (from, count): (u32, u32),
        patches: Vec<Patch>,
    ) -> Vec<(u32, CuResult)> {
        let span = Span { sequence: SequenceId(id), from, count, patches };
        assert_eq!(sequence.check(&span), Ok(()));
        let first = self.next + 1;
        self.next += u64::from(count);
        let failures = self.context.execute_span(first, sequence, &span);
        failures.into_iter().map(|(number, error)| (from + (number - first) as u32, error)).collect()
    }

    pub(crate) fn take(&mut self, number: u64) -> Option<Outcome> {
        self.context.poll(&mut self.finished);
        let at = self.finished.iter().position(|(finished, _)| *finished == number)?;
        Some(self.finished.swap_remove(at).1)
    }

    pub(crate) fn wait(&mut self, number: u64) -> Outcome {
        let start = Instant::now();
        loop {
            if let Some(outcome) = self.take(number) {
                return outcome;
            }
            assert!(start.elapsed() < PATIENCE, "operator {number} never ends");
            std::thread::yield_now();
        }
    }

    pub(crate) fn call(&mut self, operator: Operator) -> Outcome {
        self.issue(operator, None).map_or_else(|outcome| outcome, |number| self.wait(number))
    }

    pub(crate) fn done(&mut self, operator: Operator) {
        assert_eq!(self.call(operator), Ok(Value::None));
    }

    pub(crate) fn fails(&mut self, operator: Operator, error: CuResult) {
        assert_eq!(self.call(operator.clone()), Err(error), "{operator:?}");
    }

    pub(crate) fn alloc(&mut self, bytes: u64) -> u64 {
        match self.call(Operator::MemAlloc { bytes }) {
            Ok(Value::Address(address)) => address,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn copy_in(&mut self, dst: u64, bytes: &[u8], stream: Handle) -> Outcome {
        let operator = Operator::CopyIn { dst, bytes: bytes.len() as u64, stream };
        self.issue(operator, Some(Bytes::copy_from_slice(bytes))).unwrap_err()
    }

    pub(crate) fn copy_out(&mut self, src: u64, bytes: u64, stream: Handle) -> Bytes {
        match self.call(Operator::CopyOut { src, bytes, stream }) {
            Ok(Value::Payload(bytes)) => bytes,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn load(&mut self) {
        for piece in KERNELS.as_bytes().chunks(700) {
            let operator = Operator::ImageAppend { image: IMAGE, bytes: piece.len() as u64 };
            let outcome = self.issue(operator, Some(Bytes::copy_from_slice(piece))).unwrap_err();
            assert_eq!(outcome, Ok(Value::None));
        }
        self.done(Operator::LibraryLoad { library: CODE, image: IMAGE });
    }

    pub(crate) fn kernel(&mut self, name: &str, function: Handle) -> KernelInfo {
        let name = name.into();
        match self.call(Operator::LibraryGetKernel { library: CODE, name, function }) {
            Ok(Value::Kernel(info)) => info,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn launch(&mut self, function: Handle, blocks: u32, params: &[u8], stream: Handle) -> Outcome {
        let geometry = Geometry { grid: [blocks, 1, 1], block: [128, 1, 1], shared_bytes: 0 };
        let params = Bytes::copy_from_slice(params);
        let (cooperative, attributes) = (false, Vec::new());
        self.call(Operator::Launch(Launch { function, geometry, stream, cooperative, attributes, params }))
    }

    pub(crate) fn stream(&mut self, stream: Handle) -> Handle {
        self.done(Operator::StreamCreate { stream, flags: 1, priority: 0 });
        stream
    }
}

/// A launch of `add_value` for all that one block has threads for.
pub(crate) fn add(out: u64, n: u32, value: u32, stream: Handle) -> Operator {
    Operator::Launch(Launch {
        function: ADD,
        geometry: Geometry { grid: [1, 1, 1], block: [128, 1, 1], shared_bytes: 0 },
        stream,
        cooperative: false,
        attributes: Vec::new(),
        params: Bytes::from(add_params(out, n, value)),
    })
}

pub(crate) fn add_params(out: u64, n: u32, value: u32) -> Vec<u8> {
    [&out.to_ne_bytes()[..], &n.to_ne_bytes(), &value.to_ne_bytes()].concat()
}

pub(crate) fn pattern(bytes: usize, seed: usize) -> Vec<u8> {
    (0..bytes).map(|n| ((n * 31 + seed * 7) >> 3) as u8).collect()
}
