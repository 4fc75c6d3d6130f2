//! The real GPU behind the `Device` trait. What a real driver answers is the expectation, so these run only where
//! there is one, and otherwise say that they were skipped.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "test code: a failure is a panic"
)]

mod execution;
mod graphs;
mod harness;
mod memory;

use harness::gpu;
use rrto_core::api::DeviceAttribute;
use rrto_gpud::device::Device;
use rrto_gpud::device::cuda::CudaDevice;

#[test]
fn without_a_driver_the_error_says_what_is_missing() {
    if let Err(error) = CudaDevice::new(0) {
        let text = error.to_string();
        assert!(text.contains("driver") || text.contains("GPU"), "{text}");
    }
}

#[test]
fn the_device_is_described() {
    let Some((device, _one)) = gpu() else { return };
    let info = device.info();
    println!("{info:?}");
    assert!(!info.name.is_empty() && info.total_bytes > 0 && info.driver_version >= 12_000);
    assert!(info.compute_capability().0 >= 5);
    assert_eq!(info.attribute(10), Some(32), "threads of a warp");
    assert_eq!(info.attribute(0), None);
    assert_eq!(info.attribute(DeviceAttribute::MANAGED_MEMORY.0), Some(0), "not offered");
    assert!(info.limits.first().copied().flatten().is_some_and(|stack_bytes| stack_bytes > 0));
    assert!(info.stream_priorities.0 >= info.stream_priorities.1);
    assert!(CudaDevice::new(usize::MAX).is_err());
}
