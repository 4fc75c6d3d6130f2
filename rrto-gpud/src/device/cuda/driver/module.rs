//! Modules, libraries and functions, in the current context.

use std::ffi::{CStr, c_char, c_int, c_uint};
use std::ptr;

use cudarc::driver::sys::{CUfunction, CUlibrary, CUmodule};
use rrto_core::api::CuResult;

use super::{Answer, Driver, check, out};

/// `CU_MODULE_EAGER_LOADING`.
const LOADING_EAGER: u32 = 1;

/// A `CUmodule`.
pub(in crate::device::cuda) struct Module(CUmodule);

/// A `CUlibrary`. Libraries belong to the process, not to a context, so they are unloaded one by one.
pub(in crate::device::cuda) struct Library(CUlibrary);

/// A `CUfunction`: a kernel in the current context.
pub(in crate::device::cuda) struct Function(CUfunction);

impl Function {
    pub(super) fn raw(&self) -> CUfunction {
        self.0
    }
}

impl Driver {
    /// Whether `CUDA_MODULE_LOADING` is set to `EAGER`, with which a library is loaded into every context of the
    /// process, and so every session would pay for every other one's.
    pub(in crate::device::cuda) fn loads_eagerly(&self) -> bool {
        // SAFETY: writes one C enumeration.
        out(0, |mode| unsafe { (self.functions.cuModuleGetLoadingMode)(mode) }) == Ok(LOADING_EAGER)
    }

    /// `cuModuleLoadData`. The image has been checked to be as long as its headers say, or to end in a zero.
    pub(in crate::device::cuda) fn module_load(&self, image: &[u8]) -> Answer<Module> {
        out(ptr::null_mut(), |module| {
            // SAFETY: writes one handle. The driver works out the image's length from its headers, or from the zero
            // that ends its text; the caller has seen to it that this is no longer than the slice. It keeps a copy.
            unsafe { (self.functions.cuModuleLoadData)(module, image.as_ptr().cast()) }
        })
        .map(Module)
    }

    /// `cuModuleUnload`.
    pub(in crate::device::cuda) fn module_unload(&self, module: Module) -> Answer<()> {
        // SAFETY: the module exists and its handle ends here; its functions are forgotten (this room's rules).
        check(unsafe { (self.functions.cuModuleUnload)(module.0) })
    }

    /// `cuModuleGetFunction`.
    pub(in crate::device::cuda) fn module_function(&self, module: &Module, name: &CStr) -> Answer<Function> {
        out(ptr::null_mut(), |function| {
            // SAFETY: writes one handle; the module exists and the name ends in a zero.
            unsafe { (self.functions.cuModuleGetFunction)(function, module.0, name.as_ptr()) }
        })
        .map(Function)
    }

    /// `cuModuleGetGlobal`: address and bytes.
    pub(in crate::device::cuda) fn module_global(&self, module: &Module, name: &CStr) -> Answer<(u64, u64)> {
        let mut bytes = 0;
        let address = out(0, |address| {
            // SAFETY: writes an address and a size_t; the module exists and the name ends in a zero.
            unsafe { (self.functions.cuModuleGetGlobal_v2)(address, &raw mut bytes, module.0, name.as_ptr()) }
        })?;
        Ok((address, bytes as u64))
    }

    /// `cuLibraryLoadData`, without options. The image has been checked as for [`Driver::module_load`].
    pub(in crate::device::cuda) fn library_load(&self, image: &[u8]) -> Answer<Library> {
        let (numbers, values) = (ptr::null_mut(), ptr::null_mut());
        out(ptr::null_mut(), |library| {
            // SAFETY: writes one handle; no options, so their arrays may be null. For the image see `module_load`;
            // the driver keeps a copy unless CU_LIBRARY_BINARY_IS_PRESERVED says that it need not.
            unsafe {
                (self.functions.cuLibraryLoadData)(
                    library,
                    image.as_ptr().cast(),
                    numbers,
                    values,
                    0,
                    numbers,
                    values,
                    0,
                )
            }
        })
        .map(Library)
    }

    /// `cuLibraryUnload`; gives the library back if that failed.
    pub(in crate::device::cuda) fn library_unload(
        &self,
        library: Library,
    ) -> Result<(), (CuResult, Library)> {
        // SAFETY: the library exists, and its handle ends here if it is gone; its functions and modules are
        // forgotten (this room's rules).
        check(unsafe { (self.functions.cuLibraryUnload)(library.0) }).map_err(|error| (error, library))
    }

    /// `cuLibraryGetKernel` and `cuKernelGetFunction`: the kernel in the current context.
    pub(in crate::device::cuda) fn library_function(
        &self,
        library: &Library,
        name: &CStr,
    ) -> Answer<Function> {
        let kernel = out(ptr::null_mut(), |kernel| {
            // SAFETY: writes one handle; the library exists and the name ends in a zero.
            unsafe { (self.functions.cuLibraryGetKernel)(kernel, library.0, name.as_ptr()) }
        })?;
        out(ptr::null_mut(), |function| {
            // SAFETY: writes one handle; the kernel is from this moment.
            unsafe { (self.functions.cuKernelGetFunction)(function, kernel) }
        })
        .map(Function)
    }

    /// `cuLibraryGetModule`. The module belongs to the library and is not to be unloaded.
    pub(in crate::device::cuda) fn library_module(&self, library: &Library) -> Answer<Module> {
        out(ptr::null_mut(), |module| {
            // SAFETY: writes one handle; the library exists.
            unsafe { (self.functions.cuLibraryGetModule)(module, library.0) }
        })
        .map(Module)
    }

    /// `cuLibraryGetGlobal`: address and bytes.
    pub(in crate::device::cuda) fn library_global(
        &self,
        library: &Library,
        name: &CStr,
    ) -> Answer<(u64, u64)> {
        let mut bytes = 0;
        let address = out(0, |address| {
            // SAFETY: writes an address and a size_t; the library exists and the name ends in a zero.
            unsafe { (self.functions.cuLibraryGetGlobal)(address, &raw mut bytes, library.0, name.as_ptr()) }
        })?;
        Ok((address, bytes as u64))
    }

    /// The names of a library's kernels; `CUDA_ERROR_NOT_SUPPORTED` with a driver older than CUDA 12.4.
    pub(in crate::device::cuda) fn library_kernels(&self, library: &Library) -> Answer<Vec<String>> {
        let f = &self.functions;
        let (Some(count), Some(enumerate), Some(name)) =
            (f.cuLibraryGetKernelCount, f.cuLibraryEnumerateKernels, f.cuKernelGetName)
        else {
            return Err(CuResult::NOT_SUPPORTED);
        };
        // SAFETY: the three are the driver's for libraries, and the library exists.
        unsafe { names(library.0, count, enumerate, name) }
    }

    /// The names of a module's kernels; `CUDA_ERROR_NOT_SUPPORTED` with a driver older than CUDA 12.4.
    pub(in crate::device::cuda) fn module_kernels(&self, module: &Module) -> Answer<Vec<String>> {
        let f = &self.functions;
        let (Some(count), Some(enumerate), Some(name)) =
            (f.cuModuleGetFunctionCount, f.cuModuleEnumerateFunctions, f.cuFuncGetName)
        else {
            return Err(CuResult::NOT_SUPPORTED);
        };
        // SAFETY: the three are the driver's for modules, and the module exists.
        unsafe { names(module.0, count, enumerate, name) }
    }

    /// Whether the driver tells parameter layouts (CUDA 12.4).
    pub(in crate::device::cuda) fn tells_params(&self) -> bool {
        self.functions.cuFuncGetParamInfo.is_some()
    }

    /// `cuFuncGetParamInfo`: offset and bytes of a parameter; `INVALID_VALUE` after the last.
    pub(in crate::device::cuda) fn function_param(
        &self,
        function: &Function,
        index: usize,
    ) -> Answer<(usize, usize)> {
        let ask = self.functions.cuFuncGetParamInfo.ok_or(CuResult::NOT_SUPPORTED)?;
        let mut bytes = 0;
        let offset = out(0, |offset| {
            // SAFETY: writes two size_t; the function exists, and the driver checks the index.
            unsafe { ask(function.0, index, offset, &raw mut bytes) }
        })?;
        Ok((offset, bytes))
    }

    /// `cuFuncGetAttribute`.
    pub(in crate::device::cuda) fn function_attribute(
        &self,
        function: &Function,
        number: c_int,
    ) -> Answer<i32> {
        // SAFETY: writes one int; the function exists, and the driver checks the number.
        out(0, |value| unsafe { (self.functions.cuFuncGetAttribute)(value, number, function.0) })
    }

    /// `cuFuncSetAttribute`.
    pub(in crate::device::cuda) fn set_function_attribute(
        &self,
        function: &Function,
        number: c_int,
        value: i32,
    ) -> Answer<()> {
        // SAFETY: the function exists, and the driver checks the numbers.
        check(unsafe { (self.functions.cuFuncSetAttribute)(function.0, number, value) })
    }

    /// `cuFuncSetCacheConfig`.
    pub(in crate::device::cuda) fn set_function_cache(&self, function: &Function, config: u32) -> Answer<()> {
        // SAFETY: the function exists, and the driver checks the number.
        check(unsafe { (self.functions.cuFuncSetCacheConfig)(function.0, config) })
    }
}

/// The names of all that is in `owner`, in the driver's order.
///
/// # Safety
/// `owner` must exist, and the functions must be those that the driver has for such owners: how many are in it, their
/// handles, and the name of one.
unsafe fn names<O: Copy, K>(
    owner: O,
    count: unsafe extern "C" fn(*mut c_uint, O) -> c_uint,
    enumerate: unsafe extern "C" fn(*mut *mut K, c_uint, O) -> c_uint,
    name_of: unsafe extern "C" fn(*mut *const c_char, *mut K) -> c_uint,
) -> Answer<Vec<String>> {
    // SAFETY: writes one unsigned int; the owner exists.
    let count = out(0, |number| unsafe { count(number, owner) })?;
    let mut kernels: Vec<*mut K> = vec![ptr::null_mut(); count as usize];
    // SAFETY: writes at most `count` handles, for which there is room.
    check(unsafe { enumerate(kernels.as_mut_ptr(), count, owner) })?;
    let name = |kernel| {
        // SAFETY: writes one address; the kernel belongs to the owner, which exists.
        let name = out(ptr::null(), |name| unsafe { name_of(name, kernel) })?;
        if name.is_null() {
            return Err(CuResult::UNKNOWN);
        }
        // SAFETY: the driver's own text, which ends in a zero and lives as long as the owner.
        Ok(unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned())
    };
    kernels.into_iter().filter(|kernel| !kernel.is_null()).map(name).collect()
}
