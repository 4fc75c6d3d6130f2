//! Makes a recorded program's calls again.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use rrto_core::api::CuResult;
use rrto_core::engine::{ClientLimits, Payload, Ready, Submitted};
use rrto_core::log::recording::{Became, Event, Summary};
use rrto_core::operator::{MAX_PAYLOAD_BYTES, Operator, Outcome, Sequence, Span, Value};
use rrto_core::testing::{Carried, Device, Pair};
use rrto_core::wire::repeat::Record;
use rrto_core::wire::{Answer, INLINE_PAYLOAD_BYTES, Mode};

/// What a payload is taken from: a recording has their lengths only.
static ZEROS: [u8; MAX_PAYLOAD_BYTES as usize] = [0; MAX_PAYLOAD_BYTES as usize];

fn zeros(bytes: u64) -> Bytes {
    Bytes::from_static(&ZEROS[..bytes as usize])
}

/// An operator as it arrives where it is executed.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Arrived {
    pub(crate) number: u64,
    pub(crate) lane: u32,
    pub(crate) operator: Operator,
    pub(crate) payload_bytes: Option<u64>,
}

/// Executes nothing, and answers what was answered when the recording was made.
#[derive(Debug, Default)]
pub(crate) struct Answering {
    answers: HashMap<u64, Outcome>,
    pub(crate) arrived: Vec<Arrived>,
    /// Bytes of payloads that travelled on the control stream, up and down.
    inline: (u64, u64),
}

impl Device for Answering {
    fn execute(&mut self, ready: &Ready) -> Outcome {
        self.arrived.push(Arrived {
            number: ready.number,
            lane: ready.lane,
            operator: ready.operator.clone(),
            payload_bytes: ready.payload.as_ref().map(Payload::bytes),
        });
        let is_inline = |bytes: &u64| *bytes <= INLINE_PAYLOAD_BYTES;
        self.inline.0 += ready.operator.payload_bytes().filter(is_inline).unwrap_or(0);
        if let Operator::CopyOut { bytes, .. } = ready.operator {
            self.inline.1 += Some(bytes).filter(is_inline).unwrap_or(0);
        }
        self.answers.remove(&ready.number).unwrap_or(Ok(Value::None))
    }

    fn execute_span(&mut self, first: u64, sequence: &Sequence, span: &Span) -> Vec<(u64, CuResult)> {
        for (number, at) in (first..).zip(span.from..span.end()) {
            let operator = sequence.operator(at, span).unwrap().into_owned();
            self.arrived.push(Arrived { number, lane: sequence.lane(), operator, payload_bytes: None });
        }
        Vec::new()
    }
}

/// What a stretch of a program has cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Costs {
    /// Waits for something that was not there yet.
    pub(crate) round_trips: u64,
    /// Of the control stream, without inputs and outputs that travelled on it.
    pub(crate) control_up: u64,
    pub(crate) control_down: u64,
}

impl Costs {
    /// The costs since then.
    pub(crate) fn since(self, earlier: Costs) -> Costs {
        Costs {
            round_trips: self.round_trips - earlier.round_trips,
            control_up: self.control_up - earlier.control_up,
            control_down: self.control_down - earlier.control_down,
        }
    }
}

/// A recorded program on a pair of engines. Nothing moves over the link but when the program waits.
#[derive(Debug)]
pub(crate) struct Player {
    pub(crate) pair: Pair<Answering>,
    /// What the program was told when it was recorded, by the number that an operator then had.
    outcomes: BTreeMap<u64, Summary>,
    /// The numbers that operators have now, by those that they had.
    numbers: HashMap<u64, u64>,
    /// What has to arrive.
    pub(crate) issued: Vec<Arrived>,
    /// Synchronisations that travel in place of queries.
    watches: BTreeSet<u64>,
    round_trips: u64,
}

impl Player {
    /// Plays all of a recording. `mark` is called with each operator before it is submitted, and what the program has
    /// cost up to there.
    pub(crate) fn play(mode: Mode, events: &[Event], mut mark: impl FnMut(&Operator, Costs)) -> Player {
        let outcomes = events.iter().filter_map(|event| match event {
            Event::Outcome { number, outcome } => Some((*number, outcome.clone())),
            _ => None,
        });
        let mut player = Player {
            pair: Pair::new(mode, ClientLimits::default(), Answering::default()),
            outcomes: outcomes.collect(),
            numbers: HashMap::new(),
            issued: Vec::new(),
            watches: BTreeSet::new(),
            round_trips: 0,
        };
        for event in events {
            match event {
                Event::Submit { record, became } => {
                    mark(&record.operator, player.costs());
                    player.submit(record, became);
                }
                Event::Wait { number, .. } => player.wait(*number),
                Event::Outcome { .. } => {}
            }
        }
        player.pair.client.handle_goodbye();
        player.settle();
        player
    }

    /// What it has cost so far.
    pub(crate) fn costs(&self) -> Costs {
        let Carried { control_up, control_down, .. } = self.pair.carried;
        let (inline_up, inline_down) = self.pair.device.inline;
        Costs {
            round_trips: self.round_trips,
            control_up: control_up - inline_up,
            control_down: control_down - inline_down,
        }
    }

    fn submit(&mut self, record: &Record, became: &Became) {
        let Record { lane, operator, .. } = record;
        let payload = operator.payload_bytes().map(zeros);
        let next = self.pair.client.next_number();
        match self.pair.client.handle_submit(*lane, operator.clone(), payload) {
            Submitted::Answered(_) => {
                self.watches.extend(next..self.pair.client.next_number());
            }
            Submitted::Queued(number) => self.issue(number, record, became),
            Submitted::Awaits(number) => {
                self.issue(number, record, became);
                if let Became::Answered(_) = became {
                    // It then was, and the program went on.
                    self.wait_for(number);
                }
            }
            Submitted::Full(..) => {
                self.settle();
                self.submit(record, became);
            }
        }
    }

    fn issue(&mut self, number: u64, Record { lane, operator, .. }: &Record, became: &Became) {
        let payload_bytes = operator.payload_bytes();
        self.issued.push(Arrived { number, lane: *lane, operator: operator.clone(), payload_bytes });
        if let Became::Queued(recorded) | Became::Awaits(recorded) = became {
            self.numbers.insert(*recorded, number);
            if let Some(summary) = self.outcomes.get(recorded) {
                let outcome = summary.clone().map(|answer| match (answer, operator) {
                    (_, Operator::CopyOut { bytes, .. }) => Value::Payload(zeros(*bytes)),
                    (Answer::Value(value), _) => value,
                    (Answer::Bulk(bytes), _) => Value::Payload(zeros(bytes)),
                });
                self.pair.device.answers.insert(number, outcome);
            }
        }
    }

    fn wait(&mut self, recorded: u64) {
        if let Some(number) = self.numbers.get(&recorded) {
            self.wait_for(*number);
        }
    }

    fn wait_for(&mut self, number: u64) {
        if self.pair.client.poll_outcome(number).is_none() {
            self.round_trips += 1;
            self.settle();
            assert!(self.pair.client.poll_outcome(number).is_some(), "no outcome of {number}");
        }
    }

    fn settle(&mut self) {
        while self.pair.client.poll_search() {}
        self.pair.settle();
        assert_eq!(self.pair.client.lost(), None);
    }
}
