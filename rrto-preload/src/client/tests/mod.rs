//! The client on stand-ins for the server: one that records and answers as told, and the real engines in one thread.

mod calls;
mod copies;
mod objects;
mod order;
mod recorder;

use std::sync::Arc;

use rrto_core::api::{CuResult, DeviceAttribute, FunctionAttribute};
use rrto_core::image::unread::Leftovers;
use rrto_core::operator::KernelInfo;
use rrto_core::wire::{ATTRIBUTE_SLOTS, DeviceInfo, Mode};

use super::*;
use recorder::Recorder;

/// Where device memory is in tests: beyond what any machine can map, so that tests in one process do not get into each
/// other's reservations.
const NOWHERE: u64 = 1 << 60;

/// Multiprocessors of the test's GPU.
const MULTIPROCESSORS: i32 = 4;

/// Any context will do: the client only keeps handles.
fn context(raw: usize) -> ContextHandle {
    ContextHandle::from_raw(raw).unwrap()
}

/// A GPU with the limits that matter here.
fn device() -> DeviceInfo {
    use DeviceAttribute as A;
    let mut attributes = vec![None; ATTRIBUTE_SLOTS];
    for (attribute, value) in [
        (A::MAX_GRID_DIM_X, i32::MAX),
        (A::MAX_GRID_DIM_Y, 65535),
        (A::MAX_GRID_DIM_Z, 65535),
        (A::MAX_BLOCK_DIM_X, 1024),
        (A::MAX_BLOCK_DIM_Y, 1024),
        (A::MAX_BLOCK_DIM_Z, 64),
        (A::MAX_THREADS_PER_BLOCK, 1024),
        (A::COMPUTE_CAPABILITY_MAJOR, 9),
        (A::COMPUTE_CAPABILITY_MINOR, 0),
        (A::MANAGED_MEMORY, 1),
        (A::MULTIPROCESSOR_COUNT, MULTIPROCESSORS),
    ] {
        attributes[attribute.0 as usize] = Some(value);
    }
    let limits = vec![Some(1024), Some(8 << 20)];
    DeviceInfo { attributes, limits, stream_priorities: (0, -5), ..DeviceInfo::default() }
}

/// A kernel with a pointer and an int.
fn kernel_info(max_threads: i32, max_shared_bytes: i32) -> KernelInfo {
    let mut attributes = vec![None; FunctionAttribute::ALL.len()];
    attributes[FunctionAttribute::MAX_THREADS_PER_BLOCK.0 as usize] = Some(max_threads);
    attributes[FunctionAttribute::MAX_DYNAMIC_SHARED_SIZE_BYTES.0 as usize] = Some(max_shared_bytes);
    KernelInfo { params: vec![(0, 8), (8, 4)], attributes, unread: Leftovers::default() }
}

/// A client, and what it sends.
fn recorded() -> (Client, Arc<Recorder>) {
    let recorder = Arc::new(Recorder::default());
    (Client::new(device(), Mode::Pipeline, Box::new(recorder.clone()), Arc::default()), recorder)
}

fn call(client: &Client) -> Call<'_> {
    client.call(0, context(16)).unwrap()
}
