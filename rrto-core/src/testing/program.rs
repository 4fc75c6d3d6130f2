//! Programs, and what they see.

use bytes::Bytes;

use super::{FakeDevice, Pair};
use crate::api::CuResult;
use crate::engine::{ClientLimits, Submitted};
use crate::operator::{Operator, Outcome, Value};
use crate::wire::Mode;

/// A call of a program.
#[derive(Clone, PartialEq, Debug)]
pub struct Call {
    /// The host thread.
    pub lane: u32,
    /// The call.
    pub operator: Operator,
    /// Its payload.
    pub payload: Option<Bytes>,
    /// Whether the program goes on before it has the outcome, as it does with a copy into pinned memory.
    pub later: bool,
}

impl Call {
    /// A call that is over when the program goes on.
    pub fn new(lane: u32, operator: Operator) -> Self {
        Call { lane, operator, payload: None, later: false }
    }
}

/// What a program has seen, and left behind.
#[derive(Clone, PartialEq, Debug)]
pub struct Trace {
    /// What each call returned, in the end.
    pub outcomes: Vec<Outcome>,
    /// Each call's bytes for the program's memory.
    pub delivered: Vec<Option<Bytes>>,
    /// Device memory.
    pub memory: Vec<u8>,
    /// [`FakeDevice::history`].
    pub history: u64,
}

/// How a program's launches are given to the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Launches {
    /// Each may be the next of a run; as an operator if it is not.
    Asked,
    /// As operators.
    Submitted,
    /// One like this, one like that.
    #[default]
    InTurns,
}

/// A program that runs on a pair of engines. Nothing moves over the link but when the program waits.
#[derive(Debug)]
pub struct Script {
    /// The engines.
    pub pair: Pair,
    /// How launches are given to the client.
    pub launches: Launches,
    /// Waits for an answer that was not there yet.
    pub round_trips: u64,
    /// The number of each call, if it has one, and what it returned if that is known.
    calls: Vec<(Option<u64>, Option<Outcome>)>,
}

impl Script {
    /// A program that has yet to call, on a device with so much memory.
    pub fn new(mode: Mode, device_bytes: usize) -> Self {
        let pair = Pair::new(mode, ClientLimits::default(), FakeDevice::new(device_bytes));
        Script { pair, launches: Launches::default(), round_trips: 0, calls: Vec::new() }
    }

    /// Runs all of `calls` and ends; gives what there was to see.
    pub fn run(mode: Mode, device_bytes: usize, calls: &[Call]) -> Trace {
        let mut script = Script::new(mode, device_bytes);
        calls.iter().for_each(|call| script.call(call));
        script.end()
    }

    /// Makes one call, and waits for its outcome unless it is there already. A query is repeated until what it asks about
    /// is ready.
    pub fn call(&mut self, call: &Call) {
        loop {
            let (number, outcome) = self.submit(call);
            let is_query =
                matches!(call.operator, Operator::StreamQuery { .. } | Operator::EventQuery { .. });
            if is_query && outcome == Some(Err(CuResult::NOT_READY)) {
                self.wait();
                continue;
            }
            self.calls.push((number, outcome));
            return;
        }
    }

    fn submit(&mut self, call: &Call) -> (Option<u64>, Option<Outcome>) {
        let client = &mut self.pair.client;
        let is_asked = match self.launches {
            Launches::Asked => true,
            Launches::Submitted => false,
            Launches::InTurns => self.calls.len().is_multiple_of(2),
        };
        if let (Operator::Launch(launch), true) = (&call.operator, is_asked)
            && client.handle_next_launch(call.lane, &launch.as_call()).is_some()
        {
            return (None, Some(Ok(Value::None)));
        }
        match client.handle_submit(call.lane, call.operator.clone(), call.payload.clone()) {
            Submitted::Answered(outcome) => (None, Some(outcome)),
            Submitted::Queued(_) => (None, Some(Ok(Value::None))),
            Submitted::Awaits(number) => {
                self.pair.take_deliveries();
                if call.later {
                    return (Some(number), None);
                }
                let there = self.pair.client.poll_outcome(number);
                let outcome = there.or_else(|| {
                    self.wait();
                    self.pair.client.poll_outcome(number)
                });
                (Some(number), outcome)
            }
            Submitted::Full(..) => {
                self.wait();
                self.submit(call)
            }
        }
    }

    /// Everything moves, as far as it has left the client.
    fn wait(&mut self) {
        self.round_trips += 1;
        while self.pair.client.poll_search() {}
        self.pair.settle();
    }

    /// Ends the program, wherever it is; gives what there was to see.
    pub fn end(mut self) -> Trace {
        self.pair.client.handle_goodbye();
        self.pair.settle();
        let mut trace = Trace {
            outcomes: Vec::new(),
            delivered: Vec::new(),
            memory: self.pair.device.memory,
            history: self.pair.device.history,
        };
        for (number, outcome) in self.calls {
            let late = number.and_then(|number| self.pair.client.poll_outcome(number));
            trace.outcomes.push(outcome.or(late).unwrap_or(Err(CuResult::NOT_FOUND)));
            trace.delivered.push(number.and_then(|number| self.pair.delivered.get(&number).cloned()));
        }
        trace
    }
}
