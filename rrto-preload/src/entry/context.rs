//! Contexts.

use rrto_core::api::CuResult;

use super::{check, check_device, exports};
use crate::client::Client;
use crate::context::{ContextHandle, Preference, contexts};
use crate::marshal::{In, Out};
use crate::runtime;

/// CU_FUNC_CACHE_PREFER_EQUAL.
const LAST_CACHE_PREFERENCE: u32 = 3;
/// CU_SHARED_MEM_CONFIG_EIGHT_BYTE_BANK_SIZE.
const LAST_SHARED_MEMORY_PREFERENCE: u32 = 2;

/// `CUctxCreateParams`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct CreateParams {
    affinities: usize,
    affinity_count: i32,
    graphics: usize,
}

fn create(context: &Out<usize>, flags: u32, device: i32) -> Result<(), CuResult> {
    let client = runtime::client()?;
    context.require()?;
    check_device(device)?;
    client.check_alive()?;
    context.set(contexts().create(flags)?.as_raw())
}

/// A handle that must be one.
fn given(context: usize) -> Result<ContextHandle, CuResult> {
    ContextHandle::from_raw(context).ok_or(CuResult::INVALID_VALUE)
}

fn destroy(context: usize) -> Result<(), CuResult> {
    let context = given(context)?;
    let client = runtime::client()?;
    contexts().destroy(context)?;
    end(client, context)
}

fn end(client: &'static Client, context: ContextHandle) -> Result<(), CuResult> {
    runtime::call_in(client, context)?.end_context(context)
}

fn pop(context: &Out<usize>) -> Result<(), CuResult> {
    runtime::client()?;
    context.set_if_wanted(contexts().pop()?.as_raw());
    Ok(())
}

fn push(context: usize) -> Result<(), CuResult> {
    runtime::client()?;
    contexts().push(given(context)?)
}

exports! {
    fn cuCtxCreate(context: Out<usize>, flags: u32, device: i32) { create(&context, flags, device) }
    fn cuCtxCreate_v2(context: Out<usize>, flags: u32, device: i32) { create(&context, flags, device) }

    fn cuCtxCreate_v3(context: Out<usize>, _affinities: usize, affinity_count: i32, flags: u32, device: i32) {
        if affinity_count != 0 {
            return Err(CuResult::UNSUPPORTED_EXEC_AFFINITY);
        }
        create(&context, flags, device)
    }

    fn cuCtxCreate_v4(context: Out<usize>, params: In<CreateParams>, flags: u32, device: i32) {
        if !params.is_null() {
            let params = params.get()?;
            if params.affinity_count != 0 || params.affinities != 0 {
                return Err(CuResult::UNSUPPORTED_EXEC_AFFINITY);
            }
            if params.graphics != 0 {
                return Err(CuResult::NOT_SUPPORTED);
            }
        }
        create(&context, flags, device)
    }

    fn cuCtxDestroy(context: usize) { destroy(context) }
    fn cuCtxDestroy_v2(context: usize) { destroy(context) }

    fn cuCtxAttach(context: Out<usize>, flags: u32) {
        runtime::client()?;
        check(flags == 0 && !context.is_null())?;
        context.set(contexts().attach()?.as_raw())
    }

    fn cuCtxDetach(context: usize) {
        let client = runtime::client()?;
        let context = ContextHandle::from_raw(context).ok_or(CuResult::INVALID_CONTEXT)?;
        contexts().detach(context)?;
        // The last detachment ends it.
        if contexts().id(Some(context)).is_err() { end(client, context) } else { Ok(()) }
    }

    fn cuCtxPushCurrent(context: usize) { push(context) }
    fn cuCtxPushCurrent_v2(context: usize) { push(context) }
    fn cuCtxPopCurrent(context: Out<usize>) { pop(&context) }
    fn cuCtxPopCurrent_v2(context: Out<usize>) { pop(&context) }

    fn cuCtxSetCurrent(context: usize) {
        runtime::client()?;
        contexts().set_current(ContextHandle::from_raw(context))
    }

    fn cuCtxGetCurrent(context: Out<usize>) {
        runtime::client()?;
        context.set(contexts().current().map_or(0, ContextHandle::as_raw))
    }

    fn cuCtxGetDevice(device: Out<i32>) {
        runtime::client()?;
        device.require()?;
        // Also of one that has been destroyed.
        contexts().current().ok_or(CuResult::INVALID_CONTEXT)?;
        device.set(0)
    }

    fn cuCtxGetDevice_v2(device: Out<i32>, context: usize) {
        runtime::client()?;
        device.require()?;
        contexts().id(ContextHandle::from_raw(context))?;
        device.set(0)
    }

    fn cuCtxGetId(context: usize, id: Out<u64>) {
        runtime::client()?;
        id.require()?;
        id.set(contexts().id(ContextHandle::from_raw(context))?)
    }

    fn cuCtxGetFlags(flags: Out<u32>) {
        runtime::client()?;
        flags.require()?;
        flags.set(contexts().flags(None)?)
    }

    fn cuCtxGetApiVersion(context: usize, version: Out<u32>) {
        runtime::client()?;
        version.require()?;
        version.set(contexts().api_version(ContextHandle::from_raw(context))?)
    }

    fn cuCtxGetCacheConfig(config: Out<u32>) {
        runtime::client()?;
        config.require()?;
        config.set(contexts().preference(Preference::Cache)?)
    }

    fn cuCtxSetCacheConfig(config: u32) {
        runtime::client()?;
        check(config <= LAST_CACHE_PREFERENCE)?;
        contexts().set_preference(Preference::Cache, config)
    }

    fn cuCtxGetSharedMemConfig(config: Out<u32>) {
        runtime::client()?;
        config.require()?;
        config.set(contexts().preference(Preference::SharedMemory)?)
    }

    fn cuCtxSetSharedMemConfig(config: u32) {
        runtime::client()?;
        check(config <= LAST_SHARED_MEMORY_PREFERENCE)?;
        contexts().set_preference(Preference::SharedMemory, config)
    }

    fn cuCtxGetStreamPriorityRange(least: Out<i32>, greatest: Out<i32>) {
        let call = runtime::call()?;
        let (lowest, highest) = call.client().device().stream_priorities();
        least.set_if_wanted(lowest);
        greatest.set_if_wanted(highest);
        Ok(())
    }

    fn cuCtxGetLimit(value: Out<usize>, limit: u32) {
        let call = runtime::call()?;
        value.require()?;
        value.set(usize::try_from(call.limit(limit)?).unwrap_or(usize::MAX))
    }

    fn cuCtxSetLimit(limit: u32, value: usize) {
        runtime::call()?.set_limit(limit, value as u64)
    }

    fn cuCtxSynchronize() {
        runtime::call()?.context_synchronize()
    }

    fn cuCtxSynchronize_v2(context: usize) {
        let client = runtime::client()?;
        let context = match ContextHandle::from_raw(context) {
            Some(context) => contexts().id(Some(context)).map(|_| context)?,
            None => contexts().require_current()?,
        };
        runtime::call_in(client, context)?.context_synchronize()
    }
}
