//! What the program has waited for comes, on the server too, before all that it does afterwards.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use proptest::prelude::*;

use super::copies::{Engines, Heard, engines};
use super::*;
use crate::marshal::HostAddress;

const LEGACY: Handle = Handle::LEGACY_STREAM;
const BYTES: usize = 64;
const FILL: Fill = Fill { address: 0, pitch_bytes: 0, value: 0, element_bytes: 1, width: 8, height: 1 };

/// What the server makes of the operators that it gets: which come after which, by CUDA's rules for streams and events.
#[derive(Debug, Default)]
struct Server {
    /// What each operator comes after, itself included.
    before: Vec<BTreeSet<usize>>,
    operators: Vec<Operator>,
    /// Those that touch memory: no other makes a difference.
    works: BTreeSet<usize>,
    /// The latest operator of each stream.
    latest: BTreeMap<Handle, usize>,
    is_blocking: HashMap<Handle, bool>,
    records: HashMap<Handle, usize>,
    by_number: HashMap<u64, usize>,
    /// What was answered, so that all that is sent from then on comes after it.
    answered: BTreeSet<usize>,
}

impl Server {
    /// All that is over when a stream's work is.
    fn through(&self, stream: Handle) -> BTreeSet<usize> {
        let blocks = |stream: Handle| stream == LEGACY || self.is_blocking.get(&stream) == Some(&true);
        let waits_for = |other: Handle| {
            other == stream || (blocks(stream) && blocks(other) && [stream, other].contains(&LEGACY))
        };
        let latest = self.latest.iter().filter(|(other, _)| waits_for(**other));
        latest.flat_map(|(_, at)| self.before[*at].iter().copied()).collect()
    }

    /// All that is over when a program has waited for a stream: what is on it, and for the legacy one what blocking ones have.
    fn over(&self, stream: Handle) -> BTreeSet<usize> {
        match stream {
            LEGACY => self.through(LEGACY),
            other => self.latest.get(&other).map_or(BTreeSet::new(), |at| self.before[*at].clone()),
        }
    }

    /// All that is over when a program has waited for an event.
    fn through_record(&self, event: Handle) -> BTreeSet<usize> {
        self.records.get(&event).map_or(BTreeSet::new(), |at| self.before[*at].clone())
    }

    fn handle_operator(&mut self, number: u64, operator: &Operator) {
        let at = self.before.len();
        let mut before = self.answered.clone();
        before.insert(at);
        match operator {
            Operator::StreamCreate { stream, flags, .. } => {
                self.is_blocking.insert(*stream, *flags == 0);
            }
            // Its work goes on, and nothing names it any more.
            Operator::StreamDestroy { stream } => {
                self.latest.remove(stream);
            }
            Operator::EventRecord { event, stream, .. } => {
                before.extend(self.through(*stream));
                self.records.insert(*event, at);
                self.latest.insert(*stream, at);
            }
            Operator::StreamWaitEvent { stream, event, .. } => {
                before.extend(self.through(*stream));
                before.extend(self.through_record(*event));
                self.latest.insert(*stream, at);
            }
            Operator::StreamSynchronize { stream } => before.extend(self.through(*stream)),
            Operator::EventSynchronize { event } => {
                before.extend(self.through_record(*event));
            }
            Operator::ContextSynchronize => {
                before.extend(self.latest.values().flat_map(|latest| self.before[*latest].clone()));
            }
            other => {
                if let Some(stream) = other.work_stream() {
                    before.extend(self.through(stream));
                    self.latest.insert(stream, at);
                    self.works.insert(at);
                }
            }
        }
        self.before.push(before);
        self.operators.push(operator.clone());
        self.by_number.insert(number, at);
    }

    /// Goes on with what has passed since the last time.
    fn update(&mut self, engines: &Engines) {
        for heard in engines.heard() {
            match heard {
                Heard::Sent(number, operator) => self.handle_operator(number, &operator),
                Heard::Answered(number) => self.handle_answered(number),
            }
        }
    }

    fn handle_answered(&mut self, number: u64) {
        if let Some(at) = self.by_number.get(&number) {
            self.answered.extend(self.before[*at].clone());
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    In { stream: usize, until: Until },
    Out { stream: usize },
    Fill { stream: usize },
    Synchronise { stream: usize },
    SynchroniseAll,
    Record { event: usize, stream: usize },
    Wait { stream: usize, event: usize },
    SynchroniseEvent { event: usize },
    Recreate { stream: usize },
}

const STREAMS: usize = 5;
const EVENTS: usize = 2;

fn step() -> impl Strategy<Value = Step> {
    let (stream, event) = (0..STREAMS, 0..EVENTS);
    prop_oneof![
        3 => stream.clone().prop_map(|stream| Step::In { stream, until: Until::Queued }),
        1 => Just(Step::In { stream: 0, until: Until::Done }),
        1 => stream.clone().prop_map(|stream| Step::Out { stream }),
        4 => stream.clone().prop_map(|stream| Step::Fill { stream }),
        3 => stream.clone().prop_map(|stream| Step::Synchronise { stream }),
        1 => Just(Step::SynchroniseAll),
        1 => (event.clone(), stream.clone()).prop_map(|(event, stream)| Step::Record { event, stream }),
        1 => (stream, event.clone()).prop_map(|(stream, event)| Step::Wait { stream, event }),
        1 => event.prop_map(|event| Step::SynchroniseEvent { event }),
        1 => (1..STREAMS).prop_map(|stream| Step::Recreate { stream }),
    ]
}

proptest! {
    #[test]
    fn what_was_waited_for_comes_before_all_later_work(
        steps in prop::collection::vec(step(), 1..60),
        (mode, _) in prop::sample::select(&Mode::NAMES),
        rounds in 1..5_usize,
    ) {
        let (client, engines) = engines(mode, BYTES);
        let call = call(&client);
        // Two blocking streams, two others.
        let flags = |stream| u32::from(stream > 2);
        let mut streams = vec![LEGACY];
        streams.extend((1..STREAMS).map(|stream| call.create_stream(flags(stream), 0).unwrap()));
        let events: Vec<_> = (0..EVENTS).map(|_| call.create_event(0).unwrap()).collect();
        let (mut server, mut known) = (Server::default(), BTreeSet::new());
        server.update(&engines);
        for step in (0..rounds).flat_map(|_| steps.iter()) {
            if let Step::Recreate { stream } = *step {
                call.destroy_stream(handles::visible(streams[stream])).unwrap();
                streams[stream] = call.create_stream(flags(stream), 0).unwrap();
            } else {
                perform(&call, step, &streams, &events);
            }
            let works = server.works.len();
            server.update(&engines);
            if server.works.len() > works {
                let work = server.works.last().map(|at| &server.before[*at]).unwrap();
                let missing: Vec<_> = known.difference(work).collect();
                prop_assert!(missing.is_empty(), "{step:?} does not come after {missing:?} of {:?}", server.operators);
            }
            let over = match *step {
                Step::In { stream, until: Until::Done } | Step::Out { stream } | Step::Synchronise { stream } => {
                    server.over(streams[stream])
                }
                Step::SynchroniseAll => streams.iter().flat_map(|stream| server.over(*stream)).collect(),
                Step::SynchroniseEvent { event } => server.through_record(events[event]),
                _ => BTreeSet::new(),
            };
            // What the program knows to be over.
            known.extend(over.intersection(&server.works));
        }
    }
}

fn perform(call: &Call<'_>, step: &Step, streams: &[Handle], events: &[Handle]) {
    let event_of = |event: usize| handles::visible(events[event]);
    let mut host = [0; BYTES];
    let bytes = BYTES as u64;
    match *step {
        Step::In { stream, until } => {
            call.copy_in(0, HostAddress::from(&host), bytes, streams[stream], until).unwrap();
        }
        Step::Out { stream } => {
            call.copy_out(HostAddress::to(&mut host), 0, bytes, streams[stream], Until::Done).unwrap();
        }
        Step::Fill { stream } => call.fill(FILL, streams[stream]).unwrap(),
        Step::Synchronise { stream } => call.stream_synchronize(streams[stream]).unwrap(),
        Step::SynchroniseAll => call.context_synchronize().unwrap(),
        Step::Record { event, stream } => call.record_event(event_of(event), streams[stream], 0).unwrap(),
        Step::Wait { stream, event } => call.wait_event(streams[stream], event_of(event), 0).unwrap(),
        Step::SynchroniseEvent { event } => call.event_synchronize(event_of(event)).unwrap(),
        Step::Recreate { .. } => {}
    }
}

/// A program with one stream, and others that it never uses, as PyTorch's are, sends nothing more than it called.
#[test]
fn a_program_that_works_on_one_stream_sends_no_orders() {
    let (client, recorder) = recorded();
    client.memory.insert(0, 64, memory::Region { context: context(16), id: 1, variable_of: None });
    let call = call(&client);
    for _ in 0..17 {
        call.create_stream(1, 0).unwrap();
    }
    recorder.sent();
    let host = [0; 64];
    for _ in 0..3 {
        call.copy_in(0, HostAddress::from(&host), 64, LEGACY, Until::Done).unwrap();
        call.fill(FILL, LEGACY).unwrap();
    }
    assert_eq!(recorder.operators().len(), 6);
}
