//! A kernel that faults inside a graph on the real GPU. A program of its own: see `cuda_fault`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "test code: a failure is a panic"
)]

#[path = "cuda_device/harness.rs"]
mod harness;

use std::sync::Arc;

use harness::{ADD, LEGACY, Session, add, gpu};
use rrto_core::api::CuResult;
use rrto_core::operator::{Operator, Patch, Sequence};
use rrto_gpud::device::Limits;

#[test]
fn a_fault_in_a_graph_is_told_at_the_synchronisation_and_stays() {
    let Some((device, _one)) = gpu() else { return };
    let mut session = Session::open(&device, Limits::default());
    session.load();
    session.kernel("add_value", ADD);
    let memory = session.alloc(512);
    let operators: Vec<Operator> = (0..8).map(|value| add(memory, 64, value, LEGACY)).collect();
    let wild = Patch::between(3, &operators[3], &add(16, 64, 3, LEGACY)).unwrap();
    let sequence = Arc::new(Sequence::new(0, operators).unwrap());
    for patches in [vec![], vec![], vec![], vec![wild]] {
        assert_eq!(session.span(1, &sequence, (0, 8), patches), []);
    }
    assert_eq!(session.context.take_span_use().graph_launches, 2);
    session.fails(Operator::StreamSynchronize { stream: LEGACY }, CuResult::ILLEGAL_ADDRESS);
    let all: Vec<_> = (0..8).map(|at| (at, CuResult::ILLEGAL_ADDRESS)).collect();
    assert_eq!(session.span(1, &sequence, (0, 8), Vec::new()), all);
    session.fails(Operator::MemAlloc { bytes: 1 }, CuResult::ILLEGAL_ADDRESS);
}
