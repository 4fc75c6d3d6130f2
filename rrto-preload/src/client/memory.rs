//! Device memory.

use rrto_core::api::CuResult;
use rrto_core::operator::{Handle, Operator, Value};

use super::{Call, answer, done};
use crate::context::ContextHandle;
use crate::log;

/// So many allocations are passed over because they lie where the program has something of its own. The first is rare
/// already: both have chosen the same out of 2^47 addresses.
const PASSED_OVER_MAX: usize = 8;

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
        let allocate = || answer!(self, Operator::MemAlloc { bytes }, "MemAlloc", Value::Address(address) => (address, bytes));
        let (address, bytes) = self.apart(allocate)?;
        self.note_region(address, bytes, None);
        Ok(address)
    }

    /// Allocates, address and length, where the program has nothing of its own.
    fn apart(&self, allocate: impl Fn() -> Result<(u64, u64), CuResult>) -> Result<(u64, u64), CuResult> {
        let mut passed_over = Vec::new();
        let allocated = loop {
            let (address, bytes) = match (allocate(), passed_over.pop()) {
                (Ok(new), last) => {
                    passed_over.extend(last);
                    new
                }
                // There is no room for both; what there is has to do.
                (Err(CuResult::OUT_OF_MEMORY), Some(last)) => {
                    log::error!(
                        "device memory and the program's own have the same addresses: start it again"
                    );
                    break Ok(last);
                }
                (Err(error), last) => {
                    passed_over.extend(last);
                    break Err(error);
                }
            };
            if self.client.reservations.reserve(address, bytes).is_ok()
                || passed_over.len() == PASSED_OVER_MAX
            {
                break Ok((address, bytes));
            }
            passed_over.push((address, bytes));
        };
        // Kept until now, so that the driver did not give them again.
        for (address, _) in passed_over {
            self.send(Operator::MemFree { address })?;
        }
        allocated
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
        width_bytes.checked_mul(height).ok_or(CuResult::INVALID_VALUE)?;
        let allocate = || {
            let operator = Operator::MemAllocPitch { width_bytes, height, element_bytes };
            answer!(self, operator, "MemAllocPitch",
                Value::Pitched { address, pitch_bytes } => (address, pitch_bytes.saturating_mul(height)))
        };
        let (address, bytes) = self.apart(allocate)?;
        self.note_region(address, bytes, None);
        Ok((address, bytes / height))
    }

    /// Device memory that the program may use from now on.
    pub(super) fn note_region(&self, address: u64, bytes: u64, variable_of: Option<Handle>) {
        // Variables of modules come with their modules, and there is no other place to be had for them.
        let _ = self.client.reservations.reserve(address, bytes);
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
            self.pass_fence_on(stream)?;
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
