//! A kernel that faults on the real GPU. A program of its own: from then on the driver refuses everything to the whole
//! process, other contexts and new ones too (seen with driver 580.159.04), which is why each session has a process.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "test code: a failure is a panic"
)]

#[path = "cuda_device/harness.rs"]
mod harness;

use harness::{LEGACY, Session, WILD, gpu};
use rrto_core::api::CuResult;
use rrto_core::operator::{Handle, Operator, Value};
use rrto_gpud::device::Limits;

#[test]
fn a_fault_is_told_at_the_synchronisation_and_stays() {
    let Some((device, _one)) = gpu() else { return };
    let mut faulty = Session::open(&device, Limits::default());
    faulty.load();
    faulty.kernel("write_wild", WILD);
    let memory = faulty.alloc(64);
    assert_eq!(faulty.launch(WILD, 1, &[], LEGACY), Ok(Value::None));
    faulty.fails(Operator::StreamSynchronize { stream: LEGACY }, CuResult::ILLEGAL_ADDRESS);
    for operator in [
        Operator::MemAlloc { bytes: 1 },
        Operator::MemFree { address: memory },
        Operator::ContextSynchronize,
        Operator::StreamCreate { stream: Handle(50), flags: 0, priority: 0 },
        Operator::CopyOut { src: memory, bytes: 4, stream: LEGACY },
    ] {
        faulty.fails(operator, CuResult::ILLEGAL_ADDRESS);
    }
}
