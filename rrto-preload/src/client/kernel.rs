//! Kernels: their attributes, parameters and occupancy.

use std::ffi::{CStr, CString};
use std::sync::Arc;

use rrto_core::api::{CuResult, FunctionAttribute};
use rrto_core::image::unread::Leftovers;
use rrto_core::operator::{Geometry, Handle, KernelInfo, LaunchAttribute, Operator, Value};
use smallvec::SmallVec;

use super::{Call, Client, answer, device, handles};

/// Where a kernel's code is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Owner {
    /// It came from cuModuleGetFunction.
    Module(Handle),
    /// It came from cuLibraryGetKernel.
    Library(Handle),
}

impl Owner {
    /// The module's or library's handle.
    pub(crate) fn handle(self) -> Handle {
        match self {
            Owner::Module(handle) | Owner::Library(handle) => handle,
        }
    }
}

/// A kernel, which is a `CUfunction` and, if it is a library's, a `CUkernel`.
#[derive(Debug)]
pub(crate) struct Kernel {
    owner: Owner,
    /// The program is given its address, so it lives as long as any version of the kernel.
    name: Arc<CStr>,
    /// Every launch looks at them, and finds them where the kernel is.
    params: SmallVec<[(u32, u32); PARAMS_INLINE]>,
    launch_limits: LaunchLimits,
    attributes: Vec<Option<i32>>,
    unread: Leftovers,
}

/// An elementwise kernel of PyTorch has a number, a functor and an array of pointers, others a few more.
const PARAMS_INLINE: usize = 6;

/// What every launch of a kernel is held against.
#[derive(Debug)]
pub(super) struct LaunchLimits {
    /// Threads of a block.
    pub(super) block_threads: u64,
    /// Dynamic shared memory of a block.
    pub(super) shared_bytes: u64,
}

impl Kernel {
    fn new(owner: Owner, name: Arc<CStr>, info: KernelInfo) -> Self {
        let KernelInfo { params, attributes, unread } = info;
        let limit = |attribute| device::limit(value(&attributes, attribute));
        let launch_limits = LaunchLimits {
            block_threads: limit(FunctionAttribute::MAX_THREADS_PER_BLOCK),
            shared_bytes: limit(FunctionAttribute::MAX_DYNAMIC_SHARED_SIZE_BYTES),
        };
        Kernel { owner, name, params: params.into(), launch_limits, attributes, unread }
    }

    /// Where its code is.
    pub(crate) fn owner(&self) -> Owner {
        self.owner
    }

    /// cuFuncGetName.
    pub(crate) fn name(&self) -> &CStr {
        &self.name
    }

    /// Its name, for whoever may outlive the kernel.
    pub(super) fn shared_name(&self) -> Arc<CStr> {
        Arc::clone(&self.name)
    }

    /// Offset and size in bytes of each parameter.
    pub(crate) fn params(&self) -> &[(u32, u32)] {
        &self.params
    }

    /// What it does not read of its parameter block.
    pub(crate) fn unread(&self) -> &Leftovers {
        &self.unread
    }

    /// cuFuncGetAttribute.
    pub(crate) fn attribute(&self, attribute: FunctionAttribute) -> Result<i32, CuResult> {
        value(&self.attributes, attribute).ok_or(CuResult::INVALID_VALUE)
    }

    /// What every launch is held against.
    #[inline]
    pub(super) fn launch_limits(&self) -> &LaunchLimits {
        &self.launch_limits
    }
}

/// CU_LIMIT_CIG_SHMEM_FALLBACK_ENABLED, the last that CUDA 13 has.
const LAST_LIMIT: u32 = 9;

/// What is no limit is a wrong value, what is one and not this device's is unsupported.
fn check_limit(limit: u32) -> Result<(), CuResult> {
    if limit <= LAST_LIMIT { Ok(()) } else { Err(CuResult::INVALID_VALUE) }
}

fn value(attributes: &[Option<i32>], attribute: FunctionAttribute) -> Option<i32> {
    attributes.get(usize::try_from(attribute.0).ok()?).copied().flatten()
}

impl Client {
    /// The kernel under a `CUfunction` or `CUkernel`.
    pub(crate) fn kernel(&self, function: usize) -> Result<(Handle, Arc<Kernel>), CuResult> {
        let function = handles::handle(function)?;
        Ok((function, self.kernels.look(function, Arc::clone)?))
    }

    /// cuFuncGetAttribute, without more work than that.
    #[inline]
    pub(crate) fn kernel_attribute(&self, function: usize, attribute: i32) -> Result<i32, CuResult> {
        self.kernels
            .look(handles::handle(function)?, |kernel| kernel.attribute(FunctionAttribute(attribute)))?
    }
}

impl Call<'_> {
    pub(super) fn note_kernel(
        &self,
        function: Handle,
        name: &str,
        owner: Owner,
        info: KernelInfo,
    ) -> Result<(), CuResult> {
        let name = CString::new(name).map_err(|_| CuResult::INVALID_VALUE)?.into();
        self.client.kernels.insert(function, Arc::new(Kernel::new(owner, name, info)));
        Ok(())
    }

    /// cuFuncSetAttribute. Setting what is set already costs nothing.
    pub(crate) fn set_kernel_attribute(
        &self,
        function: usize,
        attribute: i32,
        value: i32,
    ) -> Result<(), CuResult> {
        let (function, kernel) = self.client.kernel(function)?;
        let number = FunctionAttribute(attribute);
        if !number.is_settable() {
            return Err(CuResult::INVALID_VALUE);
        }
        if kernel.attribute(number) == Ok(value) {
            return Ok(());
        }
        let attribute = u32::try_from(attribute).map_err(|_| CuResult::INVALID_VALUE)?;
        let operator = Operator::FunctionSetAttribute { function, attribute, value };
        let info = answer!(self, operator, "FunctionSetAttribute", Value::Kernel(info) => info)?;
        let changed = Kernel::new(kernel.owner, kernel.name.clone(), info);
        self.client.kernels.alter(function, |kernel| *kernel = Arc::new(changed))?;
        // Occupancy depends on it.
        self.client.answers.forget();
        Ok(())
    }

    /// cuFuncGetModule.
    pub(crate) fn kernel_module(&self, function: usize) -> Result<Handle, CuResult> {
        match self.client.kernel(function)?.1.owner {
            Owner::Module(module) => Ok(module),
            Owner::Library(library) => self.library_module(handles::visible(library)),
        }
    }

    /// cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags.
    pub(crate) fn max_active_blocks(
        &self,
        function: usize,
        block_threads: i32,
        shared_bytes: u64,
        flags: u32,
    ) -> Result<i32, CuResult> {
        let (function, _) = self.client.kernel(function)?;
        // CU_OCCUPANCY_DISABLE_CACHING_OVERRIDE is the only flag.
        if block_threads <= 0 || flags > 1 {
            return Err(CuResult::INVALID_VALUE);
        }
        self.ask_number(Operator::OccupancyMaxActiveBlocks { function, block_threads, shared_bytes, flags })
    }

    /// cuOccupancyAvailableDynamicSMemPerBlock, bytes.
    pub(crate) fn available_shared_bytes(
        &self,
        function: usize,
        blocks: i32,
        block_threads: i32,
    ) -> Result<usize, CuResult> {
        let (function, _) = self.client.kernel(function)?;
        if blocks <= 0 || block_threads <= 0 {
            return Err(CuResult::INVALID_VALUE);
        }
        self.ask_number(Operator::OccupancyAvailableSharedMemory { function, blocks, block_threads })
    }

    /// cuOccupancyMaxActiveClusters, or with `potential` cuOccupancyMaxPotentialClusterSize.
    pub(crate) fn clusters(
        &self,
        potential: bool,
        function: usize,
        geometry: Geometry,
        attributes: Vec<LaunchAttribute>,
    ) -> Result<i32, CuResult> {
        let (function, _) = self.client.kernel(function)?;
        self.ask_number(Operator::OccupancyClusters { potential, function, geometry, attributes })
    }

    fn ask_number<N: TryFrom<u64>>(&self, question: Operator) -> Result<N, CuResult> {
        self.ask(question, |answer| match answer {
            Value::Number(number) => N::try_from(*number).ok(),
            _ => None,
        })
    }

    /// cuTensorMapEncode: the opaque descriptor, for which there is an operator of either form.
    pub(crate) fn tensor_map(&self, question: Operator) -> Result<[u8; 128], CuResult> {
        question.check_limits().map_err(|_| CuResult::INVALID_VALUE)?;
        self.ask(question, |answer| match answer {
            Value::Payload(descriptor) => descriptor.as_ref().try_into().ok(),
            _ => None,
        })
    }

    /// cuCtxGetLimit.
    pub(crate) fn limit(&self, limit: u32) -> Result<u64, CuResult> {
        check_limit(limit)?;
        use std::sync::atomic::Ordering;
        // The driver may have rounded what was set, and limits depend on each other.
        if !self.client.limits_changed.load(Ordering::Acquire) {
            return self.client.device.context_limit(limit);
        }
        self.ask_number(Operator::ContextGetLimit { limit })
    }

    /// cuCtxSetLimit.
    pub(crate) fn set_limit(&self, limit: u32, value: u64) -> Result<(), CuResult> {
        use std::sync::atomic::Ordering;
        check_limit(limit)?;
        self.send(Operator::ContextSetLimit { limit, value })?;
        self.client.limits_changed.store(true, Ordering::Release);
        self.client.answers.forget();
        Ok(())
    }
}
