//! Device memory.

use rrto_core::api::CuResult;
use rrto_core::operator::{Handle, Operator, Value};

use super::{Call, answer, done};
use crate::context::ContextHandle;

/// A range of device memory that the program may use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Region {
    /// Whose it is.
    pub(super) context: ContextHandle,
    /// CU_POINTER_ATTRIBUTE_BUFFER_ID: never the same for two regions.
    pub(super) id: u64,
    /// The module or library whose variable it is; `None` for what was allocated.
    pub(super) variable_of: Option<Handle>,
}

impl Call<'_> {
    /// cuMemAlloc: the address.
    pub(crate) fn allocate(&self, bytes: u64) -> Result<u64, CuResult> {
        if bytes == 0 {
            return Err(CuResult::INVALID_VALUE);
        }
        let address =
            answer!(self, Operator::MemAlloc { bytes }, "MemAlloc", Value::Address(address) => address)?;
        self.note_region(address, bytes, None);
        Ok(address)
    }

    /// cuMemAllocPitch: the address, and bytes from row to row.
    pub(crate) fn allocate_pitched(
        &self,
        width_bytes: u64,
        height: u64,
        element_bytes: u32,
    ) -> Result<(u64, u64), CuResult> {
        if width_bytes == 0 || height == 0 || ![4, 8, 16].contains(&element_bytes) {
            return Err(CuResult::INVALID_VALUE);
        }
        let operator = Operator::MemAllocPitch { width_bytes, height, element_bytes };
        let (address, pitch) = answer!(self, operator, "MemAllocPitch",
            Value::Pitched { address, pitch_bytes } => (address, pitch_bytes))?;
        self.note_region(address, pitch.saturating_mul(height), None);
        Ok((address, pitch))
    }

    /// Device memory that the program may use from now on.
    pub(super) fn note_region(&self, address: u64, bytes: u64, variable_of: Option<Handle>) {
        let region = Region { context: self.context, id: self.client.new_handle().0, variable_of };
        self.client.memory.insert(address, bytes, region);
    }

    /// cuMemFree. Null is nothing to free.
    pub(crate) fn free(&self, address: u64) -> Result<(), CuResult> {
        if address == 0 {
            return Ok(());
        }
        // Out of the table first: once the operator is sent, another thread may be given the same address.
        let freed = self.client.memory.remove(address, |region| region.variable_of.is_none());
        freed.ok_or(CuResult::INVALID_VALUE)?;
        self.send(Operator::MemFree { address }).map(done)
    }

    /// cuMemGetInfo: free and all bytes of the session.
    pub(crate) fn memory_info(&self) -> Result<(u64, u64), CuResult> {
        answer!(self, Operator::MemGetInfo, "MemGetInfo",
            Value::Memory { free_bytes, total_bytes } => (free_bytes, total_bytes))
    }

    /// A context has ended: what was made in it goes. Libraries and their kernels belong to none, and stay.
    pub(crate) fn end_context(&self, context: ContextHandle) -> Result<(), CuResult> {
        let client = self.client;
        self.context_synchronize()?;
        client.lane_streams().retain(|(owner, _), _| *owner != context);
        for (stream, _) in client.streams.remove_all(|stream| stream.context == context) {
            self.send(Operator::StreamDestroy { stream })?;
        }
        for (event, _) in client.events.remove_all(|event| event.context == context) {
            self.send(Operator::EventDestroy { event })?;
        }
        for (module, _) in
            client.modules.remove_all(|module| module.context == context && !module.is_of_library())
        {
            self.forget_code(module);
            self.send(Operator::ModuleUnload { module })?;
        }
        let is_allocation = |region: &Region| region.context == context && region.variable_of.is_none();
        for (address, _) in client.memory.remove_all(is_allocation) {
            self.send(Operator::MemFree { address })?;
        }
        for (_, pinned) in client.pinned.remove_all(|pinned| pinned.context == context) {
            self.release(pinned)?;
        }
        Ok(())
    }
}
