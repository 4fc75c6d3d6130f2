use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

use rrto_core::log::recording::Reader;
use rrto_core::operator::{Handle, Value};
use rrto_core::replay::ReplayStatistics;
use rrto_core::wire::Answer;

use super::*;

/// Gives numbers, answers an allocation with its number as the address, and synchronisations at once.
#[derive(Default)]
struct Numbers(AtomicU64);

impl Remote for Numbers {
    fn sticky(&self) -> Option<CuResult> {
        None
    }

    fn submit(
        &self,
        _: u32,
        operator: Operator,
        _: Option<Bytes>,
        register: &mut dyn FnMut(u64),
    ) -> Submission {
        if operator == Operator::ContextSynchronize {
            return Submission::Answered(Ok(Value::None));
        }
        let number = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        register(number);
        if operator.needs_answer() { Submission::Awaits(number) } else { Submission::Queued }
    }

    fn wait(&self, number: u64) -> Outcome {
        Ok(Value::Address(number))
    }

    fn is_awaited(&self, _: u64) -> bool {
        true
    }

    fn lost(&self) -> Option<String> {
        None
    }

    fn statistics(&self) -> LinkStatistics {
        LinkStatistics::default()
    }

    fn replay_statistics(&self) -> ReplayStatistics {
        ReplayStatistics::default()
    }

    fn close(&self, _: Duration) {}
}

fn copy_in(bytes: u64) -> Operator {
    Operator::CopyIn { dst: 0, bytes, stream: Handle(0) }
}

fn read(path: &Path) -> Vec<Event> {
    Reader::new(fs::read(path).unwrap().into()).unwrap().map(Result::unwrap).collect()
}

#[test]
fn what_passes_is_recorded_without_payload_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("calls");
    let recording = Recording::new(Numbers::default(), &path);
    let mut registered = Vec::new();
    let mut submit =
        |operator, payload| recording.submit(7, operator, payload, &mut |number| registered.push(number));
    let secret = Bytes::from_static(b"not to be kept");
    assert_eq!(submit(copy_in(14), Some(secret.clone())), Submission::Queued);
    assert_eq!(submit(Operator::MemAlloc { bytes: 8 }, None), Submission::Awaits(2));
    assert_eq!(submit(Operator::ContextSynchronize, None), Submission::Answered(Ok(Value::None)));
    assert_eq!(recording.wait(2), Ok(Value::Address(2)));
    assert_eq!(registered, [1, 2]);
    recording.close(Duration::ZERO);
    assert_eq!(recording.submit(7, copy_in(1), None, &mut |_| {}), Submission::Queued);

    let record = |wants_answer, operator| Record { lane: 7, wants_answer, operator };
    let expected = [
        Event::Submit { record: record(false, copy_in(14)), became: Became::Queued(1) },
        Event::Submit { record: record(true, Operator::MemAlloc { bytes: 8 }), became: Became::Awaits(2) },
        Event::Submit {
            record: record(true, Operator::ContextSynchronize),
            became: Became::Answered(Ok(Answer::Value(Value::None))),
        },
        Event::Wait { lane: lane::lane(), number: 2, blocks: true },
        Event::Outcome { number: 2, outcome: Ok(Answer::Value(Value::Address(2))) },
    ];
    assert_eq!(read(&path), expected);
    assert!(!fs::read(&path).unwrap().windows(secret.len()).any(|bytes| bytes == secret));
}

#[test]
fn threads_are_recorded_in_the_order_of_their_numbers() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("calls");
    let recording = Recording::new(Numbers::default(), &path);
    thread::scope(|scope| {
        for lane in 0..4 {
            let recording = &recording;
            scope.spawn(move || {
                for bytes in 0..500 {
                    recording.submit(lane, copy_in(bytes), None, &mut |_| {});
                }
            });
        }
    });
    recording.close(Duration::ZERO);
    let numbers = read(&path).into_iter().map(|event| match event {
        Event::Submit { became: Became::Queued(number), .. } => number,
        other => panic!("{other:?}"),
    });
    assert!(numbers.eq(1..=2000));
}

#[test]
fn a_file_that_cannot_be_made_changes_nothing() {
    let recording = Recording::new(Numbers::default(), Path::new("/proc/no/such/file"));
    assert_eq!(recording.submit(0, copy_in(1), None, &mut |_| {}), Submission::Queued);
    assert_eq!(recording.wait(1), Ok(Value::Address(1)));
    recording.close(Duration::ZERO);
}

#[test]
fn a_recording_has_a_limit() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("calls");
    let mut tape = Tape::create(&path).unwrap();
    tape.written_bytes = RECORDING_MAX_BYTES;
    assert!(matches!(tape.flush(), Err(TapeError::Full)));
}
