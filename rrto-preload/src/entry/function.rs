//! Functions and kernels, which are the same here, and their occupancy.

use std::ffi::c_char;

use rrto_core::api::CuResult;

use super::{check, check_device, exports};
use crate::client::{Owner, visible};
use crate::marshal::{In, LaunchConfig, Out};
use crate::runtime;

/// CU_FUNC_CACHE_PREFER_EQUAL.
const LAST_CACHE_PREFERENCE: u32 = 3;
/// CU_SHARED_MEM_CONFIG_EIGHT_BYTE_BANK_SIZE.
const LAST_SHARED_MEMORY_PREFERENCE: u32 = 2;
/// CU_FUNCTION_LOADING_STATE_LOADED.
const LOADED: u32 = 1;

fn name(name: &Out<*const c_char>, function: usize) -> Result<(), CuResult> {
    let client = runtime::client()?;
    check(function != 0)?;
    let (_, kernel) = client.kernel(function)?;
    // The table keeps the kernel, and so the text, until its module is unloaded.
    name.set_static(kernel.name())
}

fn param_info(
    function: usize,
    index: usize,
    offset: &Out<usize>,
    bytes: &Out<usize>,
) -> Result<(), CuResult> {
    let call = runtime::call()?;
    check(function != 0)?;
    let (_, kernel) = call.client().kernel(function)?;
    offset.require()?;
    let &(at, length) = kernel.params().get(index).ok_or(CuResult::INVALID_VALUE)?;
    offset.set(at as usize)?;
    bytes.set_if_wanted(length as usize);
    Ok(())
}

/// A preference that changes how fast a kernel runs, if anything.
fn prefer(function: usize, preference: u32, last: u32) -> Result<(), CuResult> {
    runtime::object_call()?.client().kernel(function)?;
    check(preference <= last)
}

fn max_blocks(
    blocks: &Out<i32>,
    function: usize,
    threads: i32,
    shared_bytes: usize,
    flags: u32,
) -> Result<(), CuResult> {
    let call = runtime::call()?;
    blocks.require()?;
    blocks.set(call.max_active_blocks(function, threads, shared_bytes as u64, flags)?)
}

fn clusters(
    count: &Out<i32>,
    function: usize,
    config: In<LaunchConfig>,
    potential: bool,
) -> Result<(), CuResult> {
    let call = runtime::call()?;
    count.require()?;
    check(function != 0)?;
    let config = config.get()?;
    count.set(call.clusters(potential, function, config.geometry(), config.attributes()?)?)
}

exports! {
    fn cuFuncGetAttribute(value: Out<i32>, attribute: i32, function: usize) {
        let call = runtime::object_call()?;
        value.require()?;
        value.set(call.client().kernel_attribute(function, attribute)?)
    }

    fn cuKernelGetAttribute(value: Out<i32>, attribute: i32, kernel: usize, device: i32) {
        let client = runtime::client()?;
        value.require()?;
        check_device(device)?;
        value.set(client.kernel_attribute(kernel, attribute)?)
    }

    fn cuFuncSetAttribute(function: usize, attribute: i32, value: i32) {
        runtime::object_call()?.set_kernel_attribute(function, attribute, value)
    }

    fn cuKernelSetAttribute(attribute: i32, value: i32, kernel: usize, device: i32) {
        let call = runtime::contextless_call()?;
        check_device(device)?;
        call.set_kernel_attribute(kernel, attribute, value)
    }

    fn cuFuncSetCacheConfig(function: usize, config: u32) {
        prefer(function, config, LAST_CACHE_PREFERENCE)
    }

    fn cuKernelSetCacheConfig(kernel: usize, config: u32, device: i32) {
        let client = runtime::client()?;
        check_device(device)?;
        client.kernel(kernel)?;
        check(config <= LAST_CACHE_PREFERENCE)
    }

    fn cuFuncSetSharedMemConfig(function: usize, config: u32) {
        prefer(function, config, LAST_SHARED_MEMORY_PREFERENCE)
    }

    fn cuFuncGetModule(module: Out<usize>, function: usize) {
        let call = runtime::object_call()?;
        module.require()?;
        check(function != 0)?;
        module.set(visible(call.kernel_module(function)?))
    }

    fn cuKernelGetLibrary(library: Out<usize>, kernel: usize) {
        let (_, kernel) = runtime::client()?.kernel(kernel)?;
        match kernel.owner() {
            Owner::Library(owner) => library.set(visible(owner)),
            Owner::Module(_) => Err(CuResult::INVALID_HANDLE),
        }
    }

    fn cuKernelGetFunction(function: Out<usize>, kernel: usize) {
        // The function is the kernel's in the current context.
        let (handle, _) = runtime::call()?.client().kernel(kernel)?;
        function.set(visible(handle))
    }

    fn cuFuncGetName(text: Out<*const c_char>, function: usize) { name(&text, function) }
    fn cuKernelGetName(text: Out<*const c_char>, kernel: usize) { name(&text, kernel) }

    fn cuFuncGetParamInfo(function: usize, index: usize, offset: Out<usize>, bytes: Out<usize>) {
        param_info(function, index, &offset, &bytes)
    }

    fn cuKernelGetParamInfo(kernel: usize, index: usize, offset: Out<usize>, bytes: Out<usize>) {
        param_info(kernel, index, &offset, &bytes)
    }

    fn cuFuncIsLoaded(state: Out<u32>, function: usize) {
        let client = runtime::client()?;
        state.require()?;
        client.kernel(function)?;
        state.set(LOADED)
    }

    fn cuFuncLoad(function: usize) {
        runtime::client()?.kernel(function).map(|_| ())
    }

    fn cuOccupancyMaxActiveBlocksPerMultiprocessor(
        blocks: Out<i32>,
        function: usize,
        threads: i32,
        shared_bytes: usize,
    ) {
        max_blocks(&blocks, function, threads, shared_bytes, 0)
    }

    fn cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
        blocks: Out<i32>,
        function: usize,
        threads: i32,
        shared_bytes: usize,
        flags: u32,
    ) {
        max_blocks(&blocks, function, threads, shared_bytes, flags)
    }

    fn cuOccupancyAvailableDynamicSMemPerBlock(bytes: Out<usize>, function: usize, blocks: i32, threads: i32) {
        let call = runtime::call()?;
        bytes.require()?;
        bytes.set(call.available_shared_bytes(function, blocks, threads)?)
    }

    fn cuOccupancyMaxActiveClusters(count: Out<i32>, function: usize, config: In<LaunchConfig>) {
        clusters(&count, function, config, false)
    }

    fn cuOccupancyMaxPotentialClusterSize(size: Out<i32>, function: usize, config: In<LaunchConfig>) {
        clusters(&size, function, config, true)
    }
}
