//! Module images, modules, libraries and functions.

use std::collections::HashMap;
use std::ffi::CString;
use std::thread;

use rrto_core::api::{CuResult, FunctionAttribute};
use rrto_core::engine::Payload;
use rrto_core::image::unread::{self, Leftovers};
use rrto_core::image::{self, Kind};
use rrto_core::operator::{Handle, KernelInfo, Launch, MAX_PARAM_BYTES, Value};

use super::context::{CudaContext, Step};
use super::driver::{Answer, Driver, Function, Library, Module};

/// Offset and bytes of each parameter of a kernel.
type Params = Vec<(u32, u32)>;

/// Parameter layouts by kernel, read from the image; only where the driver does not tell them.
type Layouts = Option<HashMap<String, Params>>;

/// Bytes of code that are kept of a session's images, because what a kernel leaves unread is found when it is looked up; kernels
/// beyond get no guards. All code for one architecture of what PyTorch loads for a dozen models is less.
const MAX_CODE_BYTES: usize = 256 << 20;

/// What an image itself says about its kernels; by default, nothing.
#[derive(Default)]
struct Facts {
    layouts: Layouts,
    /// What of their parameter blocks they do not read.
    unread: unread::Kernels,
}

impl Facts {
    fn of(image: &[u8], driver_tells_params: bool, room: usize) -> Self {
        let layouts = (!driver_tells_params).then(|| layouts(image));
        Facts { layouts, unread: unread::Kernels::of(image, room) }
    }

    /// The names of the kernels, where the driver does not tell them either.
    fn names(&self) -> Answer<Vec<String>> {
        let layouts = self.layouts.as_ref().ok_or(CuResult::NOT_SUPPORTED)?;
        let mut names: Vec<_> = layouts.keys().cloned().collect();
        names.sort_unstable();
        Ok(names)
    }
}

/// A session's code, and the images it is being put together from.
#[derive(Default)]
pub(super) struct Code {
    images: HashMap<Handle, Vec<u8>>,
    modules: HashMap<Handle, LoadedModule>,
    libraries: HashMap<Handle, LoadedLibrary>,
    /// Libraries that cannot be loaded, and why. cuLibraryLoadData says nothing of it, whoever uses the library is told:
    /// so does the driver itself, which loads late.
    refused: HashMap<Handle, CuResult>,
    functions: HashMap<Handle, Kernel>,
    /// Bytes of all images, put together or loaded.
    image_bytes: u64,
}

/// A module, and whose it is.
struct LoadedModule {
    module: Module,
    origin: Origin,
}

enum Origin {
    /// Loaded from an image of so many bytes.
    Image { bytes: u64, facts: Facts },
    /// The module of a library, which it goes with.
    Library(Handle),
}

struct LoadedLibrary {
    library: Library,
    bytes: u64,
    facts: Facts,
}

/// A kernel that was looked up.
pub(super) struct Kernel {
    pub(super) function: Function,
    /// How long a parameter block must be.
    param_bytes: usize,
    params: Params,
    unread: Leftovers,
    /// The module or library that it is gone with.
    owner: Handle,
}

impl Kernel {
    /// The part of a launch's parameter block that is the kernel's.
    ///
    /// # Errors
    /// `INVALID_VALUE`: it is too short, and the driver would read past it. What is past the last parameter means
    /// nothing.
    pub(super) fn params_of<'a>(&self, launch: &'a Launch) -> Answer<&'a [u8]> {
        launch.params.get(..self.param_bytes).ok_or(CuResult::INVALID_VALUE)
    }
}

impl Code {
    /// The kernel of this handle.
    ///
    /// # Errors
    /// `INVALID_HANDLE`: there is none.
    pub(super) fn kernel(&self, handle: Handle) -> Answer<&Kernel> {
        self.functions.get(&handle).ok_or(CuResult::INVALID_HANDLE)
    }

    /// Live handles.
    pub(super) fn len(&self) -> usize {
        let loaded = self.modules.len() + self.libraries.len() + self.refused.len();
        self.images.len() + loaded + self.functions.len()
    }

    fn module(&self, handle: Handle) -> Answer<&LoadedModule> {
        self.modules.get(&handle).ok_or(CuResult::INVALID_HANDLE)
    }

    fn library(&self, handle: Handle) -> Answer<&LoadedLibrary> {
        let missing = || self.refused.get(&handle).copied().unwrap_or(CuResult::INVALID_HANDLE);
        self.libraries.get(&handle).ok_or_else(missing)
    }

    /// Takes an image out, to load it. Its bytes stay counted.
    fn take_image(&mut self, handle: Handle) -> Answer<(Vec<u8>, u64)> {
        let mut image = self.images.remove(&handle).ok_or(CuResult::INVALID_IMAGE)?;
        let bytes = image.len() as u64;
        if let Err(error) = complete(&mut image) {
            self.release(bytes);
            return Err(error);
        }
        Ok((image, bytes))
    }

    /// Bytes of code that are kept.
    fn code_bytes(&self) -> usize {
        let of_modules = self.modules.values().filter_map(|loaded| match &loaded.origin {
            Origin::Image { facts, .. } => Some(facts),
            Origin::Library(_) => None,
        });
        let all = of_modules.chain(self.libraries.values().map(|loaded| &loaded.facts));
        all.map(|facts| facts.unread.code_bytes()).sum()
    }

    fn release(&mut self, bytes: u64) {
        self.image_bytes = self.image_bytes.saturating_sub(bytes);
    }

    fn forget_functions(&mut self, of: Handle) {
        self.functions.retain(|_, kernel| kernel.owner != of);
    }

    /// Unloads everything, because the session ends. Answers the libraries that the driver would not unload, which
    /// it does once the context is gone.
    pub(super) fn clear(&mut self, driver: &Driver) -> Vec<Library> {
        self.functions.clear();
        for (_, LoadedModule { module, origin }) in self.modules.drain() {
            if let Origin::Image { .. } = origin {
                // Destroying the context unloads what this does not.
                if let Err(error) = driver.module_unload(module) {
                    tracing::debug!(%error, "unloading a module");
                }
            }
        }
        let refused =
            |loaded: LoadedLibrary| driver.library_unload(loaded.library).err().map(|(_, library)| library);
        self.libraries.drain().filter_map(|(_, loaded)| refused(loaded)).collect()
    }
}

/// Checks that an image is as long as its headers say, because the driver goes by these alone; text gets the zero
/// that ends it.
fn complete(image: &mut Vec<u8>) -> Answer<()> {
    if Kind::of(image) == Kind::Ptx {
        image.push(0);
    }
    let read = |at: u64, len: u64| {
        let at = usize::try_from(at).ok()?;
        image.get(at..at.checked_add(usize::try_from(len).ok()?)?)
    };
    match image::image_bytes(read) {
        Ok(bytes) if bytes <= image.len() => Ok(()),
        _ => Err(CuResult::INVALID_IMAGE),
    }
}

/// The parameter layouts of an image's cubins. They are part of a kernel's interface and so the same for every
/// architecture; of what cannot be read there is none.
fn layouts(image: &[u8]) -> HashMap<String, Params> {
    let mut layouts = HashMap::new();
    image::cubin::each(image, |cubin| {
        for kernel in image::cubin::kernels(cubin).unwrap_or_default() {
            let params = kernel.params.iter().map(|param| (param.offset, param.bytes)).collect();
            layouts.insert(kernel.name.to_owned(), params);
        }
    });
    layouts
}

/// A kernel's parameters: from the driver, or else as read from the image.
fn params(driver: &Driver, function: &Function, name: &str, facts: &Facts) -> Answer<Params> {
    if let Some(layouts) = &facts.layouts {
        return layouts.get(name).cloned().ok_or(CuResult::NOT_SUPPORTED);
    }
    let mut params = Params::new();
    // Every parameter has a byte at least, so there cannot be more.
    while params.len() <= MAX_PARAM_BYTES {
        match driver.function_param(function, params.len()) {
            Ok((offset, bytes)) => {
                let part = |number: usize| u32::try_from(number).map_err(|_| CuResult::UNKNOWN);
                params.push((part(offset)?, part(bytes)?));
            }
            Err(CuResult::INVALID_VALUE) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(params)
}

/// All that is known of a kernel that was looked up.
fn kernel(driver: &Driver, function: Function, name: &str, facts: &Facts, owner: Handle) -> Answer<Kernel> {
    let params = params(driver, &function, name, facts)?;
    let ends = params.iter().map(|(offset, bytes)| *offset as usize + *bytes as usize);
    let param_bytes = ends.max().unwrap_or(0);
    let unread = facts.unread.leftovers(name);
    Ok(Kernel { function, param_bytes, params, unread, owner })
}

/// All that a client is told about a kernel.
fn info(driver: &Driver, kernel: &Kernel) -> KernelInfo {
    let attribute =
        |attribute: &FunctionAttribute| driver.function_attribute(&kernel.function, attribute.0).ok();
    KernelInfo {
        params: kernel.params.clone(),
        attributes: FunctionAttribute::ALL.iter().map(attribute).collect(),
        unread: kernel.unread.clone(),
    }
}

fn c_string(name: String) -> Answer<CString> {
    CString::new(name).map_err(|_| CuResult::INVALID_VALUE)
}

impl CudaContext {
    pub(super) fn image_append(&mut self, handle: Handle, payload: Option<Payload>) -> Step {
        let payload = payload.and_then(Payload::into_bytes).ok_or(CuResult::INVALID_VALUE)?;
        if !self.code.images.contains_key(&handle) {
            self.check_new(false)?;
        }
        let image_bytes = self.code.image_bytes.saturating_add(payload.len() as u64);
        if image_bytes > self.limits.image_bytes {
            return Err(CuResult::OUT_OF_MEMORY);
        }
        self.code.image_bytes = image_bytes;
        self.code.images.entry(handle).or_default().extend_from_slice(&payload);
        Ok(Some(Value::None))
    }

    /// Has the driver load an image, and meanwhile reads what the image says, which takes about as long as to
    /// decompress it.
    fn load<T>(&self, image: &[u8], load: impl FnOnce(&Driver, &[u8]) -> Answer<T>) -> Answer<(T, Facts)> {
        let room = MAX_CODE_BYTES.saturating_sub(self.code.code_bytes());
        let read = || Facts::of(image, self.driver.tells_params(), room);
        thread::scope(|scope| {
            let reading = thread::Builder::new().name("rrto-image".to_owned()).spawn_scoped(scope, read);
            let loaded = load(self.driver, image)?;
            let facts = match reading {
                Ok(reading) => reading.join().unwrap_or_default(),
                Err(_) => read(),
            };
            Ok((loaded, facts))
        })
    }

    pub(super) fn module_load(&mut self, handle: Handle, image: Handle) -> Step {
        self.check_new(self.code.modules.contains_key(&handle))?;
        let (image, bytes) = self.code.take_image(image)?;
        let loaded = self.load(&image, Driver::module_load);
        let (module, facts) = loaded.inspect_err(|_| self.code.release(bytes))?;
        let origin = Origin::Image { bytes, facts };
        self.code.modules.insert(handle, LoadedModule { module, origin });
        Ok(Some(Value::None))
    }

    pub(super) fn module_unload(&mut self, handle: Handle) -> Step {
        if let Origin::Library(_) = self.code.module(handle)?.origin {
            return Err(CuResult::NOT_PERMITTED);
        }
        let loaded = self.code.modules.remove(&handle).ok_or(CuResult::INVALID_HANDLE)?;
        self.graphs.forget();
        self.code.forget_functions(handle);
        self.allocations.forget_globals(handle);
        if let Origin::Image { bytes, .. } = loaded.origin {
            self.code.release(bytes);
        }
        self.driver.module_unload(loaded.module)?;
        Ok(Some(Value::None))
    }

    pub(super) fn library_load(&mut self, handle: Handle, image: Handle) -> Step {
        self.check_new(self.code.libraries.contains_key(&handle) || self.code.refused.contains_key(&handle))?;
        match self.load_library(image) {
            Ok(library) => drop(self.code.libraries.insert(handle, library)),
            Err(error) => drop(self.code.refused.insert(handle, error)),
        }
        Ok(Some(Value::None))
    }

    fn load_library(&mut self, image: Handle) -> Answer<LoadedLibrary> {
        let (image, bytes) = self.code.take_image(image)?;
        let loaded = self.load(&image, Driver::library_load);
        let (library, facts) = loaded.inspect_err(|_| self.code.release(bytes))?;
        Ok(LoadedLibrary { library, bytes, facts })
    }

    pub(super) fn library_unload(&mut self, handle: Handle) -> Step {
        if self.code.refused.remove(&handle).is_some() {
            return Ok(Some(Value::None));
        }
        let loaded = self.code.libraries.remove(&handle).ok_or(CuResult::INVALID_HANDLE)?;
        self.graphs.forget();
        let is_of_it = |module: &LoadedModule| matches!(module.origin, Origin::Library(of) if of == handle);
        let modules: Vec<Handle> =
            self.code.modules.iter().filter(|(_, m)| is_of_it(m)).map(|(handle, _)| *handle).collect();
        for owner in modules.into_iter().chain([handle]) {
            self.code.forget_functions(owner);
            self.allocations.forget_globals(owner);
        }
        self.code.modules.retain(|_, module| !is_of_it(module));
        self.code.release(loaded.bytes);
        self.driver.library_unload(loaded.library).map_err(|(error, library)| {
            self.leftover.push(library);
            error
        })?;
        Ok(Some(Value::None))
    }

    pub(super) fn module_function(&mut self, module: Handle, name: String, handle: Handle) -> Step {
        self.check_new(self.code.functions.contains_key(&handle))?;
        let loaded = self.code.module(module)?;
        let function = self.driver.module_function(&loaded.module, &c_string(name.clone())?)?;
        let facts = match &loaded.origin {
            Origin::Image { facts, .. } => facts,
            Origin::Library(library) => &self.code.library(*library)?.facts,
        };
        let kernel = kernel(self.driver, function, &name, facts, module)?;
        Ok(Some(self.keep(handle, kernel)))
    }

    pub(super) fn library_function(&mut self, library: Handle, name: String, handle: Handle) -> Step {
        self.check_new(self.code.functions.contains_key(&handle))?;
        let loaded = self.code.library(library)?;
        let function = self.driver.library_function(&loaded.library, &c_string(name.clone())?)?;
        let kernel = kernel(self.driver, function, &name, &loaded.facts, library)?;
        Ok(Some(self.keep(handle, kernel)))
    }

    fn keep(&mut self, handle: Handle, kernel: Kernel) -> Value {
        let info = info(self.driver, &kernel);
        self.code.functions.insert(handle, kernel);
        Value::Kernel(info)
    }

    pub(super) fn library_module(&mut self, library: Handle, handle: Handle) -> Step {
        self.check_new(self.code.modules.contains_key(&handle))?;
        let module = self.driver.library_module(&self.code.library(library)?.library)?;
        self.code.modules.insert(handle, LoadedModule { module, origin: Origin::Library(library) });
        Ok(Some(Value::None))
    }

    pub(super) fn kernel_names(&self, owner: Handle) -> Step {
        let (names, facts) = match self.code.modules.get(&owner) {
            Some(LoadedModule { module, origin: Origin::Image { facts, .. } }) => {
                (self.driver.module_kernels(module), facts)
            }
            other => {
                let library = match other {
                    Some(LoadedModule { origin: Origin::Library(library), .. }) => *library,
                    _ => owner,
                };
                let loaded = self.code.library(library)?;
                (self.driver.library_kernels(&loaded.library), &loaded.facts)
            }
        };
        Ok(Some(Value::Names(match names {
            Err(CuResult::NOT_SUPPORTED) => facts.names()?,
            names => names?,
        })))
    }

    pub(super) fn module_global(&mut self, module: Handle, name: String) -> Step {
        let found = self.driver.module_global(&self.code.module(module)?.module, &c_string(name)?)?;
        Ok(Some(self.keep_global(found, module)))
    }

    pub(super) fn library_global(&mut self, library: Handle, name: String) -> Step {
        let found = self.driver.library_global(&self.code.library(library)?.library, &c_string(name)?)?;
        Ok(Some(self.keep_global(found, library)))
    }

    fn keep_global(&mut self, (address, bytes): (u64, u64), owner: Handle) -> Value {
        self.allocations.add_global(address, bytes, owner);
        Value::Global { address, bytes }
    }

    pub(super) fn set_function_attribute(&mut self, handle: Handle, attribute: u32, value: i32) -> Step {
        let kernel = self.code.kernel(handle)?;
        let number = i32::try_from(attribute).map_err(|_| CuResult::INVALID_VALUE)?;
        if self.driver.function_attribute(&kernel.function, number) != Ok(value) {
            // Graphs have launches as they were allowed before.
            self.graphs.forget();
        }
        self.driver.set_function_attribute(&kernel.function, number, value)?;
        Ok(Some(Value::Kernel(info(self.driver, kernel))))
    }

    pub(super) fn set_function_cache(&self, handle: Handle, config: u32) -> Step {
        self.driver.set_function_cache(&self.code.kernel(handle)?.function, config)?;
        Ok(Some(Value::None))
    }
}

#[cfg(test)]
#[path = "modules_tests.rs"]
mod tests;
