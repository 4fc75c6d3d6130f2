//! The real GPU, through its driver opened at run time.
//!
//! | room | what it knows |
//! |---|---|
//! | `driver` | the raw calls: the only place that makes them |
//! | `info` | what a client is told about the device |
//! | `context` | a session: its tables, the dispatch of operators, its end |
//! | `completions` | events, and the operators that wait for them |
//! | `staging` | page-locked memory that copies pass through |
//! | `graphs` | spans of sequences as CUDA graphs |
//! | `memory`, `streams`, `modules`, `launch` | the operators |
//!
//! Each session has a driver context of its own (`cuCtxCreate`), never the primary one: destroying it frees everything
//! of a session at once. That does not keep faults apart: after a kernel's fault the driver refuses everything to the
//! whole process, other contexts and new ones too (seen with 580.159.04), so the daemon gives each session a process
//! of its own (see [`super::process`]), and only `--in-process` has several contexts here.
//!
//! What contexts of one process share besides, and where they are kept apart: addresses named in copies (see `memory`);
//! libraries (`cuLibraryLoadData`), which belong to the process, so that `CUDA_MODULE_LOADING=EAGER` would load every
//! session's into all contexts: a server must not set it, and a warning says so; and the host's memory, where
//! the system lets a GPU reach all of it (`CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS`: HMM, Grace): a kernel can then
//! read the server process. The last is a setting of the machine (`uvm_disable_hmm=1` of the `nvidia-uvm` kernel
//! module); a warning says where it is on.

mod completions;
mod context;
mod driver;
mod graphs;
mod info;
mod launch;
mod memory;
mod modules;
mod staging;
mod streams;

use rrto_core::api::DeviceAttribute;
use rrto_core::wire::DeviceInfo;

use super::{Context, Device, DeviceError, Limits};
use context::CudaContext;
use driver::{DeviceId, Driver};

/// A GPU of this machine.
pub struct CudaDevice {
    driver: &'static Driver,
    device: DeviceId,
    info: DeviceInfo,
}

impl CudaDevice {
    /// The GPU with this number, in the order of `CUDA_VISIBLE_DEVICES` and `CUDA_DEVICE_ORDER`. Opens and starts
    /// the driver if this is the first.
    ///
    /// # Errors
    /// There is no driver or it is older than CUDA 12.0, there is no such GPU, it does not work, or what was found as
    /// `libcuda.so.1` is our own preload library.
    pub fn new(ordinal: usize) -> Result<Self, DeviceError> {
        let driver = Driver::get()?;
        let (device, info) = info::query(driver, ordinal)?;
        if driver.loads_eagerly() {
            tracing::warn!(
                "CUDA_MODULE_LOADING is EAGER: every session's code is loaded for all sessions; unset it"
            );
        }
        if driver.device_attribute(device, DeviceAttribute::PAGEABLE_MEMORY_ACCESS.0) == Ok(1) {
            tracing::warn!(
                "this GPU can reach all host memory (HMM or Grace): kernels can read this process, so serve only \
                 clients that you trust, or load nvidia-uvm with uvm_disable_hmm=1"
            );
        }
        Ok(CudaDevice { driver, device, info })
    }
}

impl Device for CudaDevice {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn open(&self, limits: Limits) -> Result<Box<dyn Context>, DeviceError> {
        let context = self
            .driver
            .context(self.device)
            .map_err(|error| DeviceError(format!("no context on {}: {error}", self.info.name)))?;
        let multiprocessors = self.info.attribute(DeviceAttribute::MULTIPROCESSOR_COUNT.0);
        let multiprocessors = multiprocessors.and_then(|number| number.try_into().ok()).unwrap_or(0);
        Ok(Box::new(CudaContext::new(self.driver, context, &limits, multiprocessors)))
    }
}
