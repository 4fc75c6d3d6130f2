//! Programs made up for the search: what real ones do, on a small scale.

use bytes::Bytes;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rrto_core::operator::{Geometry, Handle, Launch, Operator};
use rrto_core::verify::{Found, Recorder};

/// What a program does, as the recorder gets to know of it.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Call { lane: u32, operator: Operator, waits: bool },
    Allocated { address: u64 },
}

/// Bytes of every buffer.
pub(crate) const BUFFER_BYTES: u64 = 4096;

pub(crate) fn launch(function: u64, stream: u64, words: &[u64]) -> Operator {
    Operator::Launch(Launch {
        function: Handle(function),
        geometry: Geometry { grid: [words.len() as u32, 1, 1], block: [32, 1, 1], shared_bytes: 0 },
        stream: Handle(stream),
        cooperative: false,
        attributes: Vec::new(),
        params: Bytes::from_iter(words.iter().flat_map(|word| word.to_le_bytes())),
    })
}

/// A program in the making.
#[derive(Default)]
pub(crate) struct Program {
    pub(crate) events: Vec<Event>,
    buffers: u64,
}

impl Program {
    /// A new allocation's address.
    pub(crate) fn allocate(&mut self, lane: u32) -> u64 {
        let address = 0x7f00_0000_0000 + self.buffers * 2 * BUFFER_BYTES;
        self.buffers += 1;
        self.call(lane, Operator::MemAlloc { bytes: BUFFER_BYTES });
        self.events.push(Event::Allocated { address });
        address
    }

    pub(crate) fn call(&mut self, lane: u32, operator: Operator) {
        let waits = operator.needs_answer();
        self.events.push(Event::Call { lane, operator, waits });
    }

    pub(crate) fn run(&mut self, lane: u32, operators: &[Operator]) {
        operators.iter().for_each(|operator| self.call(lane, operator.clone()));
    }

    /// Loads a model: weights that come once, and work that never comes again.
    pub(crate) fn noise(&mut self, lane: u32, random: &mut ChaCha8Rng) {
        for _ in 0..random.random_range(0..60) {
            let unique = random.random();
            match random.random_range(0..6) {
                0 | 1 => {
                    let dst = self.allocate(lane);
                    self.call(lane, Operator::CopyIn { dst, bytes: BUFFER_BYTES, stream: Handle(0) });
                }
                2 => self.call(lane, Operator::StreamSynchronize { stream: Handle(0) }),
                _ => self.call(lane, launch(random.random_range(1000..1010), 0, &[unique])),
            }
        }
        self.call(lane, Operator::MemGetInfo);
    }

    /// A model in `parts` parts, at the end of each of which the program waits.
    pub(crate) fn model(&mut self, lane: u32, parts: usize, random: &mut ChaCha8Rng) -> Vec<Operator> {
        let input = self.allocate(lane);
        let mut operators = Vec::new();
        let mut last = input;
        for _ in 0..parts {
            operators.push(Operator::CopyIn { dst: input, bytes: 512, stream: Handle(0) });
            for _ in 0..random.random_range(7..90) {
                let output = if random.random_bool(0.5) { self.allocate(lane) } else { last };
                self.layer(lane, last, output, random, &mut operators);
                last = output;
            }
            if random.random_bool(0.5) {
                operators.push(Operator::StreamSynchronize { stream: Handle(0) });
            }
            operators.push(Operator::CopyOut { src: last, bytes: 64, stream: Handle(0) });
        }
        operators
    }

    fn layer(
        &mut self,
        lane: u32,
        input: u64,
        output: u64,
        random: &mut ChaCha8Rng,
        operators: &mut Vec<Operator>,
    ) {
        let function = 100 + random.random_range(0..20);
        match random.random_range(0..12) {
            0 => operators.push(Operator::Memset {
                address: self.allocate(lane),
                pitch_bytes: 0,
                value: 0,
                element_bytes: 1,
                width: BUFFER_BYTES,
                height: 1,
                stream: Handle(0),
            }),
            1 => {
                let event = Handle(50 + random.random_range(0..3));
                let side = Handle(2);
                operators.push(Operator::EventRecord { event, stream: Handle(0), flags: 0 });
                operators.push(Operator::StreamWaitEvent { stream: side, event, flags: 0 });
                operators.push(launch(function, 2, &[input, output]));
                operators.push(Operator::EventRecord { event, stream: side, flags: 0 });
                operators.push(Operator::StreamWaitEvent { stream: Handle(0), event, flags: 0 });
            }
            _ => operators.push(launch(function, 0, &[input, output, random.random_range(0..100)])),
        }
    }
}

/// What a recorder finds in `events`, when it is asked whenever the program waits.
pub(crate) fn search(recorder: &mut Recorder, events: &[Event]) -> Vec<Found> {
    let mut found = Vec::new();
    for event in events {
        match event {
            Event::Call { lane, operator, waits } => {
                recorder.handle_operator(*lane, operator, *waits);
                if *waits {
                    found.extend(std::iter::from_fn(|| recorder.poll_sequence()));
                }
            }
            Event::Allocated { address } => recorder.handle_allocated(*address, BUFFER_BYTES),
        }
    }
    found
}

/// All that `lane` does and that repeats.
pub(crate) fn history(events: &[Event], lane: u32) -> Vec<Operator> {
    let calls = events.iter().filter_map(|event| match event {
        Event::Call { lane: whose, operator, .. } if *whose == lane && operator.repeats() => Some(operator),
        _ => None,
    });
    calls.cloned().collect()
}
