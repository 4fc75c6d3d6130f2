//! Modules and libraries: code on the device.

use std::collections::HashMap;

use bytes::Bytes;
use rrto_core::api::CuResult;
use rrto_core::image::{self, Target};
use rrto_core::operator::{Handle, MAX_PAYLOAD_BYTES, Operator, Value};

use super::kernel::Owner;
use super::{Call, answer, done, handles};
use crate::context::ContextHandle;
use crate::log;

#[derive(Debug)]
pub(super) struct Module {
    pub(super) context: ContextHandle,
    /// Whose module it is, if it came with a library.
    library: Option<Handle>,
    /// By name.
    kernels: HashMap<String, Handle>,
}

impl Module {
    pub(super) fn is_of_library(&self) -> bool {
        self.library.is_some()
    }
}

#[derive(Debug, Default)]
pub(super) struct Library {
    /// Why there is nothing in it, where that is known here.
    refused: Option<CuResult>,
    module: Option<Handle>,
    /// By name.
    kernels: HashMap<String, Handle>,
}

impl Call<'_> {
    /// cuModuleLoadData. `whole` if nothing may be left out of the image.
    pub(crate) fn load_module(&self, image: &[u8], whole: bool) -> Result<Handle, CuResult> {
        let image = self.send_image(image, whole)?;
        let module = self.client.new_handle();
        self.send(Operator::ModuleLoad { module, image })?;
        self.client
            .modules
            .insert(module, Module { context: self.context, library: None, kernels: HashMap::new() });
        Ok(module)
    }

    /// cuLibraryLoadData. Says nothing of an image in which there is nothing for the device, nor does the driver, which loads
    /// libraries late: whoever asks for something of the library is told, each time. So this waits for nothing.
    pub(crate) fn load_library(
        &self,
        image: Result<&[u8], CuResult>,
        whole: bool,
    ) -> Result<Handle, CuResult> {
        let library = self.client.new_handle();
        let refused = match image.and_then(|image| self.send_image(image, whole)) {
            Ok(image) => self.send(Operator::LibraryLoad { library, image }).err(),
            Err(error) => Some(error),
        };
        if let Some(sticky) = self.client.remote.sticky() {
            return Err(sticky);
        }
        self.client.libraries.insert(library, Library { refused, ..Library::default() });
        Ok(library)
    }

    /// A library that the program passed, in which there is something.
    fn library(&self, library: usize) -> Result<Handle, CuResult> {
        let library = handles::handle(library)?;
        self.client.libraries.look(library, |library| library.refused.map_or(Ok(()), Err))??;
        Ok(library)
    }

    /// Sends what the device can use of an image.
    fn send_image(&self, bytes: &[u8], whole: bool) -> Result<Handle, CuResult> {
        let target = self.client.device.target();
        if !whole && !image::has_binary_for(bytes, target) {
            return Err(no_binary(target));
        }
        if target == Target::software() && calls_printf(bytes) {
            log::error!(
                "a kernel of the program calls printf: not offered by the software GPU, so its module is refused"
            );
            return Err(CuResult::INVALID_PTX);
        }
        let selected = if whole { bytes.into() } else { image::select(bytes, target) };
        log::debug!("a module image of {} bytes, {} of them for this device", bytes.len(), selected.len());
        let image = self.client.new_handle();
        for piece in selected.chunks(MAX_PAYLOAD_BYTES as usize) {
            let operator = Operator::ImageAppend { image, bytes: piece.len() as u64 };
            self.send_with(operator, Some(Bytes::copy_from_slice(piece)))?;
        }
        Ok(image)
    }

    /// cuModuleUnload.
    pub(crate) fn unload_module(&self, module: usize) -> Result<(), CuResult> {
        let module = handles::handle(module)?;
        // A library's module goes with the library.
        if self.client.modules.look(module, Module::is_of_library)? {
            return Err(CuResult::NOT_PERMITTED);
        }
        self.client.modules.remove(module)?;
        self.forget_code(module);
        self.send(Operator::ModuleUnload { module }).map(done)
    }

    /// cuLibraryUnload.
    pub(crate) fn unload_library(&self, library: usize) -> Result<(), CuResult> {
        let library = handles::handle(library)?;
        let removed = self.client.libraries.remove(library)?;
        self.forget_code(library);
        if let Some(module) = removed.module {
            let _ = self.client.modules.remove(module);
            self.forget_code(module);
        }
        if removed.refused.is_some() {
            return Ok(());
        }
        self.send(Operator::LibraryUnload { library }).map(done)
    }

    /// The kernels and variables of a module or library are gone.
    pub(super) fn forget_code(&self, owner: Handle) {
        self.client.kernels.remove_all(|kernel| kernel.owner().handle() == owner);
        self.client.memory.remove_all(|region| region.variable_of == Some(owner));
        self.client.answers.forget();
    }

    /// cuModuleGetFunction. The same kernel has the same handle every time.
    pub(crate) fn module_function(&self, module: usize, name: &str) -> Result<Handle, CuResult> {
        let module = handles::handle(module)?;
        let modules = &self.client.modules;
        if let Some(known) = modules.look(module, |module| module.kernels.get(name).copied())? {
            return Ok(known);
        }
        let function = self.client.new_handle();
        let operator = Operator::ModuleGetFunction { module, name: name.to_owned(), function };
        let info = answer!(self, operator, "ModuleGetFunction", Value::Kernel(info) => info)?;
        self.note_kernel(function, name, Owner::Module(module), info)?;
        modules.alter(module, |module| *module.kernels.entry(name.to_owned()).or_insert(function))
    }

    /// cuLibraryGetKernel. The same kernel has the same handle every time.
    pub(crate) fn library_kernel(&self, library: usize, name: &str) -> Result<Handle, CuResult> {
        let library = self.library(library)?;
        let libraries = &self.client.libraries;
        if let Some(known) = libraries.look(library, |library| library.kernels.get(name).copied())? {
            return Ok(known);
        }
        let function = self.client.new_handle();
        let operator = Operator::LibraryGetKernel { library, name: name.to_owned(), function };
        let info = answer!(self, operator, "LibraryGetKernel", Value::Kernel(info) => info)?;
        self.note_kernel(function, name, Owner::Library(library), info)?;
        libraries.alter(library, |library| *library.kernels.entry(name.to_owned()).or_insert(function))
    }

    /// Names of the kernels of a module or library.
    fn kernel_names(&self, owner: Handle) -> Result<Vec<String>, CuResult> {
        self.ask(Operator::KernelNames { owner }, |answer| match answer {
            Value::Names(names) => Some(names.clone()),
            _ => None,
        })
    }

    /// cuLibraryGetKernelCount.
    pub(crate) fn library_kernel_count(&self, library: usize) -> Result<u32, CuResult> {
        let library = self.library(library)?;
        u32::try_from(self.kernel_names(library)?.len()).map_err(|_| CuResult::UNKNOWN)
    }

    /// cuLibraryEnumerateKernels: the first `limit`.
    pub(crate) fn library_kernels(&self, library: usize, limit: u32) -> Result<Vec<Handle>, CuResult> {
        let known = self.library(library)?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let names = self.kernel_names(known)?;
        names.iter().take(limit).map(|name| self.library_kernel(library, name)).collect()
    }

    /// cuModuleGetFunctionCount.
    pub(crate) fn module_function_count(&self, module: usize) -> Result<u32, CuResult> {
        let module = handles::handle(module)?;
        self.client.modules.check(module)?;
        u32::try_from(self.kernel_names(module)?.len()).map_err(|_| CuResult::UNKNOWN)
    }

    /// cuModuleEnumerateFunctions: the first `limit`, each as cuModuleGetFunction gives it.
    pub(crate) fn module_functions(&self, module: usize, limit: u32) -> Result<Vec<Handle>, CuResult> {
        let known = handles::handle(module)?;
        self.client.modules.check(known)?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let names = self.kernel_names(known)?;
        names.iter().take(limit).map(|name| self.module_function(module, name)).collect()
    }

    /// cuLibraryGetModule.
    pub(crate) fn library_module(&self, library: usize) -> Result<Handle, CuResult> {
        let library = self.library(library)?;
        if let Some(known) = self.client.libraries.look(library, |library| library.module)? {
            return Ok(known);
        }
        let module = self.client.new_handle();
        self.send(Operator::LibraryGetModule { library, module })?;
        let entry = Module { context: self.context, library: Some(library), kernels: HashMap::new() };
        self.client.modules.insert(module, entry);
        self.client.libraries.alter(library, |library| *library.module.get_or_insert(module))
    }

    /// cuModuleGetGlobal: address and length.
    pub(crate) fn module_global(&self, module: usize, name: &str) -> Result<(u64, u64), CuResult> {
        let module = handles::handle(module)?;
        self.client.modules.check(module)?;
        self.global(module, Operator::ModuleGetGlobal { module, name: name.to_owned() })
    }

    /// cuLibraryGetGlobal: address and length.
    pub(crate) fn library_global(&self, library: usize, name: &str) -> Result<(u64, u64), CuResult> {
        let library = self.library(library)?;
        self.global(library, Operator::LibraryGetGlobal { library, name: name.to_owned() })
    }

    fn global(&self, owner: Handle, question: Operator) -> Result<(u64, u64), CuResult> {
        let (address, bytes) = self.ask(question, |answer| match answer {
            Value::Global { address, bytes } => Some((*address, *bytes)),
            _ => None,
        })?;
        // Known already if it was asked for through the library's module, or before.
        if !self.client.memory.holds(address, bytes) {
            self.note_region(address, bytes, Some(owner));
        }
        Ok((address, bytes))
    }
}

/// Whether the PTX of an image calls printf, which is a function of the driver's there: declared, and called. The software
/// GPU says of such a call what it says of each that it does not know, and the program is to be told which.
fn calls_printf(image: &[u8]) -> bool {
    matches!(image::best_ptx(image), Ok(Some(text)) if text.matches("vprintf").nth(1).is_some())
}

fn no_binary(target: Target) -> CuResult {
    if target == Target::software() {
        log::info!("a module holds only machine code, and the software GPU executes PTX");
    }
    CuResult::NO_BINARY_FOR_GPU
}
