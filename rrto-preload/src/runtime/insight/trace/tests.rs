use serde_json::{Value, json};

use super::*;

fn events(trace: &Trace) -> (Value, Vec<Value>) {
    let mut text = Vec::new();
    trace.write_to(&mut text).unwrap();
    let mut trace: Value = serde_json::from_slice(&text).unwrap();
    let Value::Array(events) = trace["traceEvents"].take() else { panic!("{trace}") };
    events.iter().for_each(check);
    (trace["otherData"].take(), events.into_iter().filter(|event| event["ph"] != "M").collect())
}

/// An event of the Trace Event Format, as this room makes them.
fn check(event: &Value) {
    let is_number = |key: &str| event[key].as_f64().is_some_and(|number| number >= 0.0);
    let needed: &[&str] = match event["ph"].as_str() {
        Some("X") => &["pid", "tid", "ts", "dur"],
        Some("C" | "M" | "i") => &["pid", "tid", "ts"],
        other => panic!("{other:?} in {event}"),
    };
    assert!(needed.iter().all(|key| is_number(key)), "{event}");
    assert!(event["name"].is_string(), "{event}");
}

fn us(us: u64) -> Duration {
    Duration::from_micros(us)
}

#[test]
fn a_timeline_has_calls_waits_and_what_the_link_does() {
    let trace = Trace::with_room(100);
    let link = LinkStatistics { operators: 7, ..LinkStatistics::default() };
    trace.call(3, Some(Function::cuLaunchKernel), us(10)..Duration::from_nanos(12_345), 4, 9);
    trace.call(3, None, us(20)..us(21), 0, 0);
    trace.wait(3, us(30)..us(50), 4);
    trace.payload_in(us(40), 4, 4096);
    trace.link(&link, us(50));
    let (other, events) = events(&trace);
    assert_eq!(other, json!({ "events_missing": 0 }));
    let expected = [
        json!({
            "ph": "X", "pid": PROGRAM, "tid": 3, "ts": 10.0, "dur": 2.345, "cat": "call",
            "name": "cuLaunchKernel", "args": { "number": 4, "bytes": 9 },
        }),
        json!({
            "ph": "X", "pid": PROGRAM, "tid": 3, "ts": 20.0, "dur": 1.0, "cat": "call", "name": "rrto",
            "args": { "number": 0, "bytes": 0 },
        }),
        json!({
            "ph": "X", "pid": PROGRAM, "tid": 3, "ts": 30.0, "dur": 20.0, "cat": "wait", "name": "wait",
            "args": { "number": 4, "bytes": 0 },
        }),
        json!({
            "ph": "i", "s": "t", "pid": LINK, "tid": 0, "ts": 40.0, "cat": "link",
            "name": "payload arrives", "args": { "number": 4, "bytes": 4096 },
        }),
        json!({
            "ph": "C", "pid": LINK, "tid": 0, "ts": 50.0, "name": "operators", "args": { "value": 7 },
        }),
    ];
    assert_eq!(events[..5], expected);
    assert_eq!(events.len(), 4 + COUNTERS.len());
}

#[test]
fn a_timeline_has_what_the_client_knows_of_segments() {
    let trace = Trace::with_room(100);
    let span = |from, count| Span { sequence: SequenceId(2), from, count, patches: Vec::new() };
    let call = |number: u64| trace.call(0, None, us(number)..us(number), number, 0);
    (1..=9).for_each(call);
    trace.payload_out(us(11), 1, 5000);
    trace.control_out(us(12), 40);
    trace.operators_out(us(12), 1);
    trace.segment_out(us(13), 3, &span(0, 4));
    trace.segment_out(us(20), 7, &span(4, 3));
    trace.control_in(us(30), 20);
    // An answer that says no more than what was said before.
    trace.issued(us(30), 6);
    trace.issued(us(31), 5);
    trace.answered(us(40), 9);
    let (_, events) = events(&trace);
    let on_link: Vec<_> =
        events.iter().filter(|event| event["pid"] == LINK).map(|event| &event["name"]).collect();
    assert_eq!(on_link, ["payload leaves", "control bytes leave", "control bytes arrive"]);
    let segments: Vec<_> = events
        .iter()
        .filter(|event| event["pid"] == SEGMENTS)
        .map(|event| {
            (event["name"].as_str().unwrap(), event["tid"].clone(), event["ts"].clone(), event["dur"].clone())
        })
        .collect();
    let [called, sent, issued] = segments::PARTS;
    let expected = [
        (format!("operators: {called}"), 0, 1.0, 11.0),
        (format!("operators: {sent}"), 0, 12.0, 18.0),
        (format!("operators: {issued}"), 0, 30.0, 10.0),
        (format!("sequence 2, 0 to 4: {called}"), 1, 3.0, 10.0),
        (format!("sequence 2, 0 to 4: {sent}"), 1, 13.0, 17.0),
        (format!("sequence 2, 0 to 4: {issued}"), 1, 30.0, 10.0),
        (format!("sequence 2, 4 to 7: {called}"), 2, 7.0, 13.0),
        (format!("sequence 2, 4 to 7: {sent}"), 2, 20.0, 20.0),
    ];
    let expected: Vec<_> = expected
        .iter()
        .map(|(name, row, ts, dur)| (name.as_str(), json!(row), json!(ts), json!(dur)))
        .collect();
    assert_eq!(segments, expected);
}

#[test]
fn a_segment_that_was_never_answered_lasts_to_the_end_in_its_row() {
    let trace = Trace::with_room(100);
    for number in 1..=3 {
        trace.operators_out(us(number * 10), number);
    }
    trace.answered(us(15), 1);
    trace.wait(0, us(90)..us(95), 3);
    let (_, events) = events(&trace);
    let sent = events.iter().filter(|event| event["pid"] == SEGMENTS);
    let sent: Vec<_> =
        sent.map(|event| (event["tid"].clone(), event["ts"].clone(), event["dur"].clone())).collect();
    let expected = [(0, 10.0, 5.0), (0, 20.0, 70.0), (1, 30.0, 60.0)];
    let expected: Vec<_> =
        expected.iter().map(|(row, ts, dur)| (json!(row), json!(ts), json!(dur))).collect();
    assert_eq!(sent, expected);
}

#[test]
fn a_full_trace_says_so() {
    let trace = Trace::with_room(2);
    for at in 0..5 {
        trace.wait(0, us(at)..us(at), at);
    }
    let (other, events) = events(&trace);
    assert_eq!(other, json!({ "events_missing": 3 }));
    assert_eq!(events.len(), 3);
    assert_eq!(events[2]["name"], "full: 3 later events are missing");
}

#[test]
fn nothing_noted_is_a_timeline_too() {
    assert_eq!(events(&Trace::with_room(1)).1, Vec::<Value>::new());
}

#[test]
fn tags_are_unpacked_as_they_were_packed() {
    let tag = Tag { kind: Kind::Counter, which: u16::MAX, lane: u32::MAX };
    assert_eq!(Tag::unpack(tag.pack()), Some(tag));
    assert_eq!(Tag::unpack(0), None);
}
