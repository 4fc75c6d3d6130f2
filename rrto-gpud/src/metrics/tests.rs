use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use rrto_core::api::CuResult;
use rrto_core::operator::{Handle, Operator};

use super::*;

#[test]
fn names_are_distinct_and_follow_prometheus() {
    for (i, name) in NAMES.iter().enumerate() {
        assert!(name.starts_with("rrto_"), "{name}");
        assert!(name.bytes().all(|b| b == b'_' || b.is_ascii_lowercase()), "{name}");
        assert!(!NAMES[..i].contains(name), "{name} stands twice");
    }
}

#[test]
fn kinds_are_their_own_index() {
    for (i, kind) in Kind::ALL.into_iter().enumerate() {
        assert_eq!(kind as usize, i);
    }
}

#[test]
fn a_meter_counts_and_takes_back_what_it_held() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    metrics::with_local_recorder(&recorder, || {
        describe();
        let mut meter = SessionMeter::new();
        meter.count_operator(&Operator::CopyIn { dst: 0, bytes: 5, stream: Handle::LEGACY_STREAM }, 5);
        meter.count_operator(&Operator::ContextSynchronize, 0);
        meter.count_error(CuResult::NOT_READY);
        meter.count_error(CuResult::ILLEGAL_ADDRESS);
        meter.count_payload_down(7);
        meter.record_execution(Duration::from_micros(2));
        meter.show(100, 3);
        meter.show(60, 1);
        let text = handle.render();
        for line in [
            "rrto_operators_total{kind=\"copy_in\"} 1",
            "rrto_operators_total{kind=\"synchronize\"} 1",
            "rrto_operator_errors_total{result=\"CUDA_ERROR_ILLEGAL_ADDRESS\"} 1",
            "rrto_payload_bytes_total{direction=\"up\"} 5",
            "rrto_payload_bytes_total{direction=\"down\"} 7",
            "rrto_memory_bytes 60",
            "rrto_pending_operators 1",
            "# HELP rrto_memory_bytes Device memory that sessions have allocated.",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in:\n{text}");
        }
        assert!(!text.contains("NOT_READY"));
        drop(meter);
    });
    let text = handle.render();
    assert!(text.contains("rrto_memory_bytes 0\n") && text.contains("rrto_pending_operators 0\n"), "{text}");
}

/// A free port of this machine. Another process may take it before it is used, so callers try again.
fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr()).unwrap()
}

fn get(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_endpoint_answers() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let _inside = runtime.enter();
    let (address, (recorder, serving)) = (0..100)
        .find_map(|_| {
            let address = free_address();
            exporter(address).ok().map(|made| (address, made))
        })
        .expect("no free port in 100 tries");
    runtime.spawn(serving);
    metrics::with_local_recorder(&recorder, || {
        describe();
        metrics::counter!(SESSIONS_ADMITTED).increment(2);
        SessionMeter::new().record_execution(Duration::from_micros(2));
    });
    let answer = get(address);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("rrto_sessions_admitted_total 2"), "{answer}");
    assert!(answer.contains("rrto_execute_seconds_bucket{le=\"0.000003\"} 1"), "{answer}");
}

#[test]
fn an_address_in_use_is_an_error() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    assert!(exporter(taken.local_addr().unwrap()).is_err());
}
