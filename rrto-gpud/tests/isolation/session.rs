//! A session, on whichever device.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use rrto_core::operator::{Geometry, Handle, Launch, Operator, Outcome, Sequence, Span, Value};
use rrto_gpud::device::process::ProcessDevice;
use rrto_gpud::device::{Context, Device, Limits, Progress};

use crate::{FUNCTION, MODULE, PTX, STREAM};

/// A session that numbers its operators and keeps outcomes until they are asked for.
pub(crate) struct Session {
    pub(crate) context: Box<dyn Context>,
    pub(crate) number: u64,
    finished: Vec<(u64, Outcome)>,
    pub(crate) outcomes: BTreeMap<u64, Outcome>,
}

impl Session {
    pub(crate) fn on(device: &dyn Device, limits: Limits) -> Self {
        let context = device.open(limits).unwrap();
        Session { context, number: 0, finished: Vec::new(), outcomes: BTreeMap::new() }
    }

    /// With the worker that executes it.
    pub(crate) fn with_worker(device: &ProcessDevice) -> (Self, u32) {
        // The spare one, as soon as it is there.
        let before = loop {
            if let Some(spare) = device.processes().last() {
                break *spare;
            }
            std::thread::yield_now();
        };
        let session = Session::on(device, Limits::default());
        (session, before)
    }

    pub(crate) fn issue(&mut self, operator: Operator, payload: Option<Bytes>) -> u64 {
        self.number += 1;
        match self.context.execute(self.number, operator, payload.map(Into::into)) {
            Progress::Done(outcome) => drop(self.outcomes.insert(self.number, outcome)),
            Progress::Pending => assert!(self.context.pending() > 0),
        }
        self.number
    }

    /// Issues a span; its operators have the next numbers.
    pub(crate) fn issue_span(&mut self, sequence: &Arc<Sequence>, span: &Span) {
        assert_eq!(sequence.check(span), Ok(()));
        let first = self.number + 1;
        self.number += u64::from(span.count);
        for (number, error) in self.context.execute_span(first, sequence, span) {
            assert!((first..=self.number).contains(&number));
            assert_eq!(self.outcomes.insert(number, Err(error)), None, "{number} has two outcomes");
        }
    }

    pub(crate) fn poll(&mut self) {
        self.context.poll(&mut self.finished);
        for (number, outcome) in self.finished.drain(..) {
            assert_eq!(self.outcomes.insert(number, outcome), None, "{number} has two outcomes");
        }
    }

    pub(crate) fn wait(&mut self, number: u64) -> Outcome {
        loop {
            if let Some(outcome) = self.outcomes.remove(&number) {
                return outcome;
            }
            self.poll();
            std::thread::yield_now();
        }
    }

    /// Of operators of spans there are only failures.
    pub(crate) fn wait_for_all(&mut self) -> BTreeMap<u64, Outcome> {
        while self.context.pending() > 0 {
            self.poll();
            std::thread::yield_now();
        }
        std::mem::take(&mut self.outcomes)
    }

    pub(crate) fn call(&mut self, operator: Operator) -> Outcome {
        let number = self.issue(operator, None);
        self.wait(number)
    }

    pub(crate) fn alloc(&mut self, bytes: u64) -> u64 {
        match self.call(Operator::MemAlloc { bytes }) {
            Ok(Value::Address(address)) => address,
            other => panic!("cuMemAlloc answered {other:?}"),
        }
    }

    pub(crate) fn load(&mut self, name: &str) {
        let image = Handle(99);
        let append = Operator::ImageAppend { image, bytes: PTX.len() as u64 };
        self.issue(append, Some(Bytes::from_static(PTX.as_bytes())));
        self.call(Operator::ModuleLoad { module: MODULE, image }).unwrap();
        let name = name.to_owned();
        self.call(Operator::ModuleGetFunction { module: MODULE, name, function: FUNCTION }).unwrap();
    }

    /// Issues a launch that never ends.
    pub(crate) fn spin(&mut self) {
        self.load("forever");
        let launch = Operator::Launch(Launch {
            function: FUNCTION,
            geometry: Geometry { grid: [1, 1, 1], block: [1, 1, 1], shared_bytes: 0 },
            stream: STREAM,
            cooperative: false,
            attributes: Vec::new(),
            params: Bytes::new(),
        });
        self.call(launch).unwrap();
    }

    /// Allocates, fills and reads back.
    pub(crate) fn assert_works(&mut self) {
        let address = self.alloc(64);
        let bytes = Bytes::from_static(&[7; 64]);
        self.issue(Operator::CopyIn { dst: address, bytes: 64, stream: STREAM }, Some(bytes.clone()));
        let read = self.call(Operator::CopyOut { src: address, bytes: 64, stream: STREAM });
        assert_eq!(read, Ok(Value::Payload(bytes)));
        assert_eq!(self.call(Operator::MemFree { address }), Ok(Value::None));
    }
}
