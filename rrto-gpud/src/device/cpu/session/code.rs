//! Module images, modules, libraries and kernels.
//!
//! A library is a module here: its image is loaded at once. What is looked up keeps its code alive until it
//! has been executed, even if the module is unloaded meanwhile.

use std::collections::HashMap;
use std::sync::Arc;

use rrto_core::api::{CuResult, FunctionAttribute};
use rrto_core::engine::Payload;
use rrto_core::image;
use rrto_core::image::unread::Leftovers;
use rrto_core::operator::{Handle, KernelInfo, Value};

use super::context::{CpuContext, Step};
use crate::device::cpu::{Kernel, MAX_SHARED_BYTES, MAX_STATIC_SHARED_BYTES, Module};

/// What PTX_VERSION and BINARY_VERSION say: compute capability 9.0, as the device's attributes do.
const CODE_VERSION: i32 = 90;
/// No preference, in PREFERRED_SHARED_MEMORY_CARVEOUT.
const NO_CARVEOUT: i32 = -1;

/// A session's code, and the images it is being put together from.
#[derive(Default)]
pub(super) struct Code {
    images: HashMap<Handle, Vec<u8>>,
    /// Modules and libraries.
    modules: HashMap<Handle, Loaded>,
    /// Libraries that cannot be loaded, and why. cuLibraryLoadData says nothing of it, whoever uses the library is told:
    /// so does the driver, which loads them late.
    refused: HashMap<Handle, CuResult>,
    functions: HashMap<Handle, Function>,
    /// Bytes of all images, put together or loaded.
    image_bytes: u64,
}

struct Loaded {
    module: Arc<Module>,
    image_bytes: u64,
    kind: LoadedKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum LoadedKind {
    Module,
    Library,
    /// The module of a library, which it goes with.
    ModuleOf(Handle),
}

/// A kernel that was looked up.
#[derive(Clone)]
pub(super) struct Function {
    pub(super) module: Arc<Module>,
    pub(super) kernel: Arc<Kernel>,
    /// The most dynamic shared memory that it may be launched with, bytes.
    pub(super) max_dynamic_bytes: u32,
    carveout: i32,
    owner: Handle,
}

impl Function {
    /// All that a client is told about it.
    fn info(&self) -> KernelInfo {
        let kernel = &self.kernel;
        let number = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
        let attribute = |attribute: &FunctionAttribute| match *attribute {
            FunctionAttribute::MAX_THREADS_PER_BLOCK => number(kernel.max_threads()),
            FunctionAttribute::SHARED_SIZE_BYTES => number(kernel.shared_bytes()),
            FunctionAttribute::CONST_SIZE_BYTES => i32::try_from(kernel.const_bytes()).unwrap_or(i32::MAX),
            FunctionAttribute::LOCAL_SIZE_BYTES => number(kernel.local_bytes()),
            FunctionAttribute::NUM_REGS => number(kernel.registers()),
            FunctionAttribute::PTX_VERSION | FunctionAttribute::BINARY_VERSION => CODE_VERSION,
            FunctionAttribute::MAX_DYNAMIC_SHARED_SIZE_BYTES => number(self.max_dynamic_bytes),
            FunctionAttribute::PREFERRED_SHARED_MEMORY_CARVEOUT => self.carveout,
            _ => 0,
        };
        KernelInfo {
            params: kernel.params().iter().map(|param| (param.offset, param.bytes)).collect(),
            attributes: FunctionAttribute::ALL.iter().map(|a| Some(attribute(a))).collect(),
            // Nobody has looked.
            unread: Leftovers::default(),
        }
    }

    /// Bytes of shared memory that a launch may use in all.
    pub(super) fn max_shared_bytes(&self) -> u32 {
        self.kernel.shared_bytes().saturating_add(self.max_dynamic_bytes)
    }
}

impl Code {
    /// The kernel of this handle.
    ///
    /// # Errors
    /// `INVALID_HANDLE`: there is none.
    pub(super) fn function(&self, handle: Handle) -> Result<&Function, CuResult> {
        self.functions.get(&handle).ok_or(CuResult::INVALID_HANDLE)
    }

    /// Live handles.
    pub(super) fn len(&self) -> usize {
        self.images.len() + self.modules.len() + self.refused.len() + self.functions.len()
    }

    /// Whether the address is a module variable's, which is not the program's to free.
    pub(super) fn owns_global(&self, address: u64) -> bool {
        self.modules.values().any(|loaded| loaded.module.has_global_at(address))
    }

    fn loaded(&self, handle: Handle) -> Result<&Loaded, CuResult> {
        self.modules.get(&handle).ok_or_else(|| self.missing(handle))
    }

    fn of_kind(&self, handle: Handle, library: bool) -> Result<&Loaded, CuResult> {
        let loaded = self.loaded(handle)?;
        if (loaded.kind == LoadedKind::Library) == library {
            Ok(loaded)
        } else {
            Err(CuResult::INVALID_HANDLE)
        }
    }

    /// Why there is no such module or library.
    fn missing(&self, handle: Handle) -> CuResult {
        self.refused.get(&handle).copied().unwrap_or(CuResult::INVALID_HANDLE)
    }

    /// Unloads a module or library and what belongs to it.
    fn unload(&mut self, handle: Handle) {
        if let Some(loaded) = self.modules.remove(&handle) {
            self.image_bytes = self.image_bytes.saturating_sub(loaded.image_bytes);
        }
        self.functions.retain(|_, function| function.owner != handle);
    }
}

/// The PTX of an image.
///
/// # Errors
/// `NO_BINARY_FOR_GPU` where it has only machine code, `INVALID_IMAGE` where it cannot be read.
fn ptx_of(image: &[u8]) -> Result<String, CuResult> {
    match image::best_ptx(image) {
        Ok(Some(text)) => Ok(text),
        Ok(None) => {
            tracing::warn!("a module has only machine code; the software GPU executes PTX");
            Err(CuResult::NO_BINARY_FOR_GPU)
        }
        Err(error) => {
            tracing::warn!(%error, "a module's image cannot be read");
            Err(CuResult::INVALID_IMAGE)
        }
    }
}

impl CpuContext {
    pub(super) fn image_append(&mut self, handle: Handle, payload: Option<Payload>) -> Step {
        let payload = payload.and_then(Payload::into_bytes).ok_or(CuResult::INVALID_VALUE)?;
        if !self.code.images.contains_key(&handle) {
            self.check_new(false)?;
        }
        let image_bytes = self.code.image_bytes.saturating_add(payload.len() as u64);
        if image_bytes > self.limits.image_bytes {
            return Err(CuResult::OUT_OF_MEMORY);
        }
        let image = self.code.images.entry(handle).or_default();
        image.try_reserve(payload.len()).map_err(|_| CuResult::OUT_OF_MEMORY)?;
        image.extend_from_slice(&payload);
        self.code.image_bytes = image_bytes;
        Ok(Some(Value::None))
    }

    fn load(&mut self, handle: Handle, image: Handle, kind: LoadedKind) -> Step {
        self.check_new(self.code.modules.contains_key(&handle) || self.code.refused.contains_key(&handle))?;
        let image = self.code.images.remove(&image).ok_or(CuResult::INVALID_IMAGE)?;
        let image_bytes = image.len() as u64;
        let loaded = ptx_of(&image).and_then(|text| {
            Module::load(&text, &self.memory).map_err(|error| {
                tracing::warn!(%error, "a module is refused");
                error.status
            })
        });
        match loaded {
            Ok(module) => {
                self.code.modules.insert(handle, Loaded { module: Arc::new(module), image_bytes, kind });
                Ok(Some(Value::None))
            }
            Err(error) => {
                self.code.image_bytes = self.code.image_bytes.saturating_sub(image_bytes);
                if kind == LoadedKind::Module {
                    return Err(error);
                }
                self.code.refused.insert(handle, error);
                Ok(Some(Value::None))
            }
        }
    }

    pub(super) fn module_load(&mut self, handle: Handle, image: Handle) -> Step {
        self.load(handle, image, LoadedKind::Module)
    }

    pub(super) fn library_load(&mut self, handle: Handle, image: Handle) -> Step {
        self.load(handle, image, LoadedKind::Library)
    }

    pub(super) fn module_unload(&mut self, handle: Handle) -> Step {
        if let LoadedKind::ModuleOf(_) = self.code.of_kind(handle, false)?.kind {
            return Err(CuResult::NOT_PERMITTED);
        }
        self.code.unload(handle);
        Ok(Some(Value::None))
    }

    pub(super) fn library_unload(&mut self, handle: Handle) -> Step {
        if self.code.refused.remove(&handle).is_some() {
            return Ok(Some(Value::None));
        }
        self.code.of_kind(handle, true)?;
        let of_it = |loaded: &Loaded| loaded.kind == LoadedKind::ModuleOf(handle);
        let modules: Vec<Handle> =
            self.code.modules.iter().filter(|(_, loaded)| of_it(loaded)).map(|(handle, _)| *handle).collect();
        modules.into_iter().chain([handle]).for_each(|handle| self.code.unload(handle));
        Ok(Some(Value::None))
    }

    pub(super) fn library_module(&mut self, library: Handle, handle: Handle) -> Step {
        self.check_new(self.code.modules.contains_key(&handle))?;
        let module = Arc::clone(&self.code.of_kind(library, true)?.module);
        let kind = LoadedKind::ModuleOf(library);
        self.code.modules.insert(handle, Loaded { module, image_bytes: 0, kind });
        Ok(Some(Value::None))
    }

    pub(super) fn get_function(&mut self, owner: Handle, name: &str, handle: Handle) -> Step {
        self.check_new(self.code.functions.contains_key(&handle))?;
        let module = Arc::clone(&self.code.loaded(owner)?.module);
        let kernel = Arc::new(module.kernel(name).ok_or(CuResult::NOT_FOUND)?.clone());
        // Without asking, static and dynamic shared memory together may be what static alone may.
        let max_dynamic_bytes = MAX_STATIC_SHARED_BYTES.saturating_sub(kernel.shared_bytes());
        let function = Function { module, kernel, max_dynamic_bytes, carveout: NO_CARVEOUT, owner };
        let info = function.info();
        self.code.functions.insert(handle, function);
        Ok(Some(Value::Kernel(info)))
    }

    pub(super) fn kernel_names(&self, owner: Handle) -> Step {
        let module = &self.code.loaded(owner)?.module;
        let mut names: Vec<String> = module.kernel_names().map(str::to_owned).collect();
        names.sort_unstable();
        Ok(Some(Value::Names(names)))
    }

    pub(super) fn global(&self, owner: Handle, name: &str) -> Step {
        let (address, bytes) = self.code.loaded(owner)?.module.global(name).ok_or(CuResult::NOT_FOUND)?;
        Ok(Some(Value::Global { address, bytes }))
    }

    pub(super) fn set_function_attribute(&mut self, handle: Handle, attribute: u32, value: i32) -> Step {
        let function = self.code.functions.get_mut(&handle).ok_or(CuResult::INVALID_HANDLE)?;
        let number = i32::try_from(attribute).map_err(|_| CuResult::INVALID_VALUE)?;
        match FunctionAttribute(number) {
            FunctionAttribute::MAX_DYNAMIC_SHARED_SIZE_BYTES => {
                let most = MAX_SHARED_BYTES.saturating_sub(function.kernel.shared_bytes());
                let bytes = u32::try_from(value).ok().filter(|bytes| *bytes <= most);
                function.max_dynamic_bytes = bytes.ok_or(CuResult::INVALID_VALUE)?;
            }
            FunctionAttribute::PREFERRED_SHARED_MEMORY_CARVEOUT if (-1..=100).contains(&value) => {
                function.carveout = value;
            }
            // Clusters are not offered: what asks for none is accepted, what no device has is refused as such.
            FunctionAttribute::CLUSTER_SCHEDULING_POLICY_PREFERENCE if value > 2 => {
                return Err(CuResult::INVALID_VALUE);
            }
            FunctionAttribute::NON_PORTABLE_CLUSTER_SIZE_ALLOWED if value != 0 => {
                return Err(CuResult::NOT_SUPPORTED);
            }
            FunctionAttribute::PREFERRED_SHARED_MEMORY_CARVEOUT => return Err(CuResult::INVALID_VALUE),
            other if other.is_settable() && value > 0 => return Err(CuResult::NOT_SUPPORTED),
            other if other.is_settable() && value == 0 => {}
            _ => return Err(CuResult::INVALID_VALUE),
        }
        Ok(Some(Value::Kernel(function.info())))
    }
}
