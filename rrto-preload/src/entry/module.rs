//! Modules and libraries.

use std::ffi::c_void;
use std::fs::File;
use std::io::Read;

use rrto_core::api::CuResult;
use rrto_core::image::MAX_IMAGE_BYTES;

use super::{check, exports};
use crate::client::visible;
use crate::log;
use crate::marshal::{Image, In, JitOptions, Out, Text, file_image};
use crate::runtime;

fn load_module(module: &Out<usize>, image: &[u8], options: JitOptions) -> Result<(), CuResult> {
    module.set(visible(runtime::call()?.load_module(image, options.chooses_target)?))
}

/// What is wrong with the image, those learn who use the library.
fn load_library(
    library: &Out<usize>,
    image: Result<&[u8], CuResult>,
    options: JitOptions,
) -> Result<(), CuResult> {
    library.set(visible(runtime::contextless_call()?.load_library(image, options.chooses_target)?))
}

/// The image in a file.
fn read_file(path: &str) -> Result<Vec<u8>, CuResult> {
    let mut content = Vec::new();
    // One byte more than is accepted shows that there is more.
    let read = File::open(path).and_then(|file| file.take(MAX_IMAGE_BYTES + 1).read_to_end(&mut content));
    if let Err(error) = read {
        log::info!("cannot read the module image {path}: {error}");
        return Err(CuResult::FILE_NOT_FOUND);
    }
    file_image(content)
}

exports! {
    fn cuModuleLoad(module: Out<usize>, path: Text) {
        runtime::call()?;
        module.require()?;
        load_module(&module, &read_file(&path.get()?)?, JitOptions::default())
    }

    fn cuModuleLoadData(module: Out<usize>, image: Image) {
        runtime::call()?;
        module.require()?;
        load_module(&module, image.bytes()?, JitOptions::default())
    }

    fn cuModuleLoadDataEx(
        module: Out<usize>,
        image: Image,
        count: u32,
        options: In<i32>,
        values: Out<*mut c_void>,
    ) {
        runtime::call()?;
        module.require()?;
        let options = JitOptions::read(count, options, values)?;
        load_module(&module, image.bytes()?, options)
    }

    fn cuModuleLoadFatBinary(module: Out<usize>, image: Image) {
        runtime::call()?;
        module.require()?;
        load_module(&module, image.bytes()?, JitOptions::default())
    }

    fn cuModuleUnload(module: usize) {
        runtime::object_call()?.unload_module(module)
    }

    fn cuModuleGetFunction(function: Out<usize>, module: usize, name: Text) {
        let call = runtime::object_call()?;
        function.require()?;
        let name = name.get()?;
        check(!name.is_empty())?;
        function.set(visible(call.module_function(module, &name)?))
    }

    fn cuModuleGetFunctionCount(count: Out<u32>, module: usize) {
        let call = runtime::object_call()?;
        count.require()?;
        count.set(call.module_function_count(module)?)
    }

    fn cuModuleEnumerateFunctions(functions: Out<usize>, count: u32, module: usize) {
        let call = runtime::object_call()?;
        functions.require()?;
        functions.set_all(call.module_functions(module, count)?.into_iter().map(visible))
    }

    fn cuModuleGetGlobal_v2(address: Out<u64>, bytes: Out<usize>, module: usize, name: Text) {
        let call = runtime::object_call()?;
        check(!address.is_null() || !bytes.is_null())?;
        let (start, length) = call.module_global(module, &name.get()?)?;
        address.set_if_wanted(start);
        bytes.set_if_wanted(length as usize);
        Ok(())
    }

    fn cuModuleGetLoadingMode(mode: Out<u32>) {
        runtime::client()?;
        // CU_MODULE_LAZY_LOADING, the default: kernels are looked up when they are asked for.
        mode.set(2)
    }

    // Libraries are the process's: what follows needs cuInit only, up to cuLibraryGetModule, which names the module that a
    // library is in the current context.

    fn cuLibraryLoadData(
        library: Out<usize>,
        image: Image,
        options: In<i32>,
        values: Out<*mut c_void>,
        count: u32,
        _library_options: usize,
        _library_values: usize,
        _library_count: u32,
    ) {
        runtime::contextless_call()?;
        library.require()?;
        let options = JitOptions::read(count, options, values)?;
        image.require()?;
        load_library(&library, image.bytes(), options)
    }

    fn cuLibraryLoadFromFile(
        library: Out<usize>,
        path: Text,
        options: In<i32>,
        values: Out<*mut c_void>,
        count: u32,
        _library_options: usize,
        _library_values: usize,
        _library_count: u32,
    ) {
        runtime::contextless_call()?;
        library.require()?;
        let options = JitOptions::read(count, options, values)?;
        match read_file(&path.get()?) {
            Err(CuResult::FILE_NOT_FOUND) => Err(CuResult::FILE_NOT_FOUND),
            image => load_library(&library, image.as_deref().map_err(|error| *error), options),
        }
    }

    fn cuLibraryUnload(library: usize) {
        runtime::contextless_call()?.unload_library(library)
    }

    fn cuLibraryGetKernel(kernel: Out<usize>, library: usize, name: Text) {
        let call = runtime::contextless_call()?;
        kernel.require()?;
        kernel.set(visible(call.library_kernel(library, &name.get()?)?))
    }

    fn cuLibraryGetKernelCount(count: Out<u32>, library: usize) {
        let call = runtime::contextless_call()?;
        count.require()?;
        count.set(call.library_kernel_count(library)?)
    }

    fn cuLibraryEnumerateKernels(kernels: Out<usize>, count: u32, library: usize) {
        let call = runtime::contextless_call()?;
        kernels.require()?;
        kernels.set_all(call.library_kernels(library, count)?.into_iter().map(visible))
    }

    fn cuLibraryGetModule(module: Out<usize>, library: usize) {
        let call = runtime::call()?;
        module.require()?;
        module.set(visible(call.library_module(library)?))
    }

    fn cuLibraryGetGlobal(address: Out<u64>, bytes: Out<usize>, library: usize, name: Text) {
        let call = runtime::call()?;
        check(!address.is_null() || !bytes.is_null())?;
        let (start, length) = call.library_global(library, &name.get()?)?;
        address.set_if_wanted(start);
        bytes.set_if_wanted(length as usize);
        Ok(())
    }
}
