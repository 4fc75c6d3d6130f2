//! The software GPU as a [`Device`]: sessions with streams, events, modules and errors.
//!
//! Operators are checked and take hold of what they need when they are issued, so that an error of the call
//! itself is known at once and memory that is freed later is still there for them; the work is done by
//! threads of the session's own queue. Nothing here waits on the executor's thread, but for room when too
//! much is outstanding.

mod code;
mod context;
mod info;
mod launch;
mod queue;
mod streams;
#[cfg(test)]
mod tests;

use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use rrto_core::wire::DeviceInfo;

use super::{Budget, Limits as LaunchLimits, MAX_STATIC_SHARED_BYTES};
use crate::device::{Context, Device, DeviceError, Limits};
use context::CpuContext;

pub use info::{COMPUTE_CAPABILITY, NAME, UUID};

/// What a software GPU is made of.
#[derive(Clone, Copy, Debug)]
pub struct CpuSettings {
    /// Device memory in bytes, for all sessions in this process together; committed only as it is written.
    pub memory_bytes: u64,
    /// Processors that a kernel's blocks are spread over.
    pub workers: NonZero<usize>,
    /// How long a kernel may run; past it the context is lost to `CUDA_ERROR_LAUNCH_TIMEOUT`.
    pub kernel_time: Duration,
}

impl Default for CpuSettings {
    /// 4 GiB, all processors of the machine, and five minutes: an interpreter takes a thousand times a GPU's
    /// time.
    fn default() -> Self {
        Self {
            memory_bytes: 4 << 30,
            workers: std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN),
            kernel_time: Duration::from_secs(300),
        }
    }
}

/// The software GPU.
#[derive(Debug)]
pub struct CpuDevice {
    info: DeviceInfo,
    budget: Arc<Budget>,
    limits: LaunchLimits,
}

impl CpuDevice {
    /// A software GPU with the usual settings.
    ///
    /// # Errors
    /// None so far; a machine may come that cannot.
    pub fn new() -> Result<Self, DeviceError> {
        Ok(Self::with(CpuSettings::default()))
    }

    /// A software GPU.
    pub fn with(settings: CpuSettings) -> Self {
        let CpuSettings { memory_bytes, workers, kernel_time } = settings;
        let limits = LaunchLimits { time: kernel_time, workers, shared_bytes: MAX_STATIC_SHARED_BYTES };
        let budget = Arc::new(Budget::new(memory_bytes));
        Self { info: info::info(memory_bytes, workers.get()), budget, limits }
    }
}

impl Device for CpuDevice {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn open(&self, limits: Limits) -> Result<Box<dyn Context>, DeviceError> {
        Ok(Box::new(CpuContext::new(&self.budget, limits, self.limits, self.info.limits.clone())))
    }
}
