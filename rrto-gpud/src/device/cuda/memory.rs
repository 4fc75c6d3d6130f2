//! Allocations, copies and fills.
//!
//! # Which addresses a session may name
//!
//! A kernel runs in its session's context, whose address space holds nothing of other sessions. But copies and fills
//! are given to the driver as numbers, and there a number may mean more: with unified addressing the driver takes
//! an address of any context of the process, and the address of the process's own host memory, for a "device"
//! address. A client could so read the server. So every range is first looked for among the session's own allocations
//! and module variables, and what is not there is asked of the driver: it must be device memory of this very
//! context (a kernel may have handed out the address of a variable that was never asked for by name).
//!
//! # What freshly allocated memory holds
//!
//! CUDA promises nothing about it, and it is not zeroed here: that would cost every allocation, for a promise that
//! a program on its own GPU does not have either. Contexts have separate address spaces, and the driver documents no
//! more than that. Where clients must not trust each other with what they leave behind in freed memory, give
//! each its own server process.

use std::collections::BTreeMap;

use bytes::Bytes;
use rrto_core::api::CuResult;
use rrto_core::engine::Payload;
use rrto_core::operator::{Handle, MAX_PAYLOAD_BYTES, Value};

use super::context::{CudaContext, Step};
use super::driver::{Answer, Element, Fill, Stream};
use crate::device::Limits;

/// `CU_LIMIT_PRINTF_FIFO_SIZE` and `CU_LIMIT_MALLOC_HEAP_SIZE`: limits that are sizes of device memory.
const MEMORY_LIMITS: [u32; 2] = [1, 2];

/// What a session has allocated, and what it may have.
pub(super) struct Allocations {
    /// Bytes by start.
    live: BTreeMap<u64, u64>,
    /// Module variables that were asked for: bytes and module by start.
    globals: BTreeMap<u64, (u64, Handle)>,
    used_bytes: u64,
    limit_bytes: u64,
    limit_count: usize,
}

impl Allocations {
    pub(super) fn new(limits: &Limits) -> Self {
        Allocations {
            live: BTreeMap::new(),
            globals: BTreeMap::new(),
            used_bytes: 0,
            limit_bytes: limits.memory_bytes,
            limit_count: limits.allocations,
        }
    }

    /// Whether there may be one more, of so many bytes.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    pub(super) fn check(&self, bytes: u64) -> Answer<()> {
        let fits = self.live.len() < self.limit_count && bytes <= self.left_bytes();
        if fits { Ok(()) } else { Err(CuResult::OUT_OF_MEMORY) }
    }

    /// What may still be allocated.
    pub(super) fn left_bytes(&self) -> u64 {
        self.limit_bytes.saturating_sub(self.used_bytes)
    }

    /// What the program is told of the driver's free and total bytes: a device of the size that the session may have, which is
    /// what its properties say too, and never more of it free than may still be allocated.
    pub(super) fn seen(&self, (free_bytes, total_bytes): (u64, u64)) -> (u64, u64) {
        let total_bytes = total_bytes.min(self.limit_bytes);
        (free_bytes.min(self.left_bytes()).min(total_bytes), total_bytes)
    }

    pub(super) fn add(&mut self, address: u64, bytes: u64) {
        if self.live.insert(address, bytes).is_none() {
            self.used_bytes = self.used_bytes.saturating_add(bytes);
        }
    }

    pub(super) fn starts_at(&self, address: u64) -> bool {
        self.live.contains_key(&address)
    }

    pub(super) fn remove(&mut self, address: u64) {
        if let Some(bytes) = self.live.remove(&address) {
            self.used_bytes = self.used_bytes.saturating_sub(bytes);
        }
    }

    /// A variable of a module or library.
    pub(super) fn add_global(&mut self, address: u64, bytes: u64, owner: Handle) {
        self.globals.insert(address, (bytes, owner));
    }

    /// Forgets a module's variables.
    pub(super) fn forget_globals(&mut self, of: Handle) {
        self.globals.retain(|_, (_, owner)| *owner != of);
    }

    /// Whether the range lies in one allocation or variable.
    pub(super) fn contains(&self, address: u64, bytes: u64) -> bool {
        let Some(end) = address.checked_add(bytes) else { return false };
        let within = |start: u64, length: u64| end <= start.saturating_add(length);
        let live = self.live.range(..=address).next_back();
        live.is_some_and(|(start, length)| within(*start, *length)) || {
            let global = self.globals.range(..=address).next_back();
            global.is_some_and(|(start, (length, _))| within(*start, *length))
        }
    }
}

/// Bytes from the first to the last that a fill touches.
///
/// # Errors
/// `INVALID_VALUE`: they are more than there are addresses.
pub(super) fn fill_bytes(pitch_bytes: u64, element_bytes: u8, width: u64, height: u64) -> Answer<u64> {
    span(pitch_bytes, element_bytes, width, height).ok_or(CuResult::INVALID_VALUE)
}

fn span(pitch_bytes: u64, element_bytes: u8, width: u64, height: u64) -> Option<u64> {
    let row = width.checked_mul(u64::from(element_bytes))?;
    if row == 0 || height == 0 {
        return Some(0);
    }
    (height - 1).checked_mul(pitch_bytes)?.checked_add(row)
}

/// A size as the driver takes it.
fn size(bytes: u64) -> Answer<usize> {
    usize::try_from(bytes).map_err(|_| CuResult::INVALID_VALUE)
}

impl CudaContext {
    pub(super) fn mem_alloc(&mut self, bytes: u64) -> Step {
        self.allocations.check(bytes)?;
        let address = self.driver.allocate(usize::try_from(bytes).map_err(|_| CuResult::OUT_OF_MEMORY)?)?;
        self.allocations.add(address, bytes);
        Ok(Some(Value::Address(address)))
    }

    pub(super) fn mem_alloc_pitch(&mut self, width_bytes: u64, height: u64, element_bytes: u32) -> Step {
        self.allocations.check(width_bytes.saturating_mul(height))?;
        let (address, pitch) =
            self.driver.allocate_pitch(size(width_bytes)?, size(height)?, element_bytes)?;
        let pitch_bytes = pitch as u64;
        let bytes = pitch_bytes.saturating_mul(height);
        if let Err(over) = self.allocations.check(bytes) {
            self.driver.free(address)?;
            return Err(over);
        }
        self.allocations.add(address, bytes);
        Ok(Some(Value::Pitched { address, pitch_bytes }))
    }

    /// Waits inside the driver until the context's work is done, as `cuMemFree` does for a program on its own GPU.
    /// This and unloading code are the operators that block the executor; the driver has no other form of them.
    pub(super) fn mem_free(&mut self, address: u64) -> Step {
        if address == 0 {
            // The driver's answer.
            return Ok(Some(Value::None));
        }
        if !self.allocations.starts_at(address) {
            return Err(CuResult::INVALID_VALUE);
        }
        self.driver.free(address)?;
        self.allocations.remove(address);
        Ok(Some(Value::None))
    }

    pub(super) fn mem_get_info(&self) -> Step {
        let (free_bytes, total_bytes) = self.allocations.seen(self.driver.memory_info()?);
        Ok(Some(Value::Memory { free_bytes, total_bytes }))
    }

    pub(super) fn set_limit(&mut self, limit: u32, value: u64) -> Step {
        if MEMORY_LIMITS.contains(&limit) && value > self.allocations.left_bytes() {
            return Err(CuResult::OUT_OF_MEMORY);
        }
        // Graphs may have been made for the limit as it was.
        self.graphs.forget();
        self.driver.set_limit(limit, size(value)?)?;
        Ok(Some(Value::None))
    }

    /// Issues a fill on `stream`.
    pub(super) fn memset(
        &self,
        address: u64,
        pitch_bytes: u64,
        (value, element_bytes): (u32, u8),
        (width, height): (u64, u64),
        stream: &Stream,
    ) -> Answer<()> {
        // The low bytes of the value are meant.
        let element = match element_bytes {
            1 => Element::Byte(value as u8),
            2 => Element::Short(value as u16),
            4 => Element::Word(value),
            _ => return Err(CuResult::INVALID_VALUE),
        };
        self.check_range(address, fill_bytes(pitch_bytes, element_bytes, width, height)?)?;
        let (pitch_bytes, width, height) = (size(pitch_bytes)?, size(width)?, size(height)?);
        let fill = Fill { address, pitch_bytes, width, height, element };
        self.driver.fill(&fill, stream)
    }

    pub(super) fn copy_in(
        &mut self,
        number: u64,
        (dst, bytes): (u64, u64),
        stream: Handle,
        payload: Option<Payload>,
    ) -> Step {
        let payload = payload.filter(|p| p.bytes() == bytes).ok_or(CuResult::INVALID_VALUE)?;
        self.streams.get(stream)?;
        self.check_range(dst, bytes)?;
        if let Payload::Staged(staged) = &payload
            && let Some(shared) = self.shared(staged.place().saturating_mul(MAX_PAYLOAD_BYTES), bytes)
        {
            self.driver.copy_in_shared(dst, &shared, size(bytes)?, self.streams.get(stream)?)?;
            // The place is its sender's again once this operator is over.
            let done = self.mark(stream)?;
            self.completions.push(number, vec![done], None);
            return Ok(None);
        }
        let len = size(bytes)?;
        if len == 0 {
            return Ok(Some(Value::None));
        }
        let mut block = self.take_block(len)?;
        let copied = block.fill(len, |into| payload.copy_to(into));
        let lent = block.lend();
        if !copied {
            return self.lend(stream, lent).and(Err(CuResult::OPERATING_SYSTEM));
        }
        // On an error the block is not taken back: whether the copy has begun is then not known.
        self.driver.copy_in(dst, &lent, len, self.streams.get(stream)?)?;
        self.lend(stream, lent)?;
        Ok(Some(Value::None))
    }

    pub(super) fn copy_out(&mut self, number: u64, src: u64, bytes: u64, stream: Handle) -> Step {
        self.streams.get(stream)?;
        self.check_range(src, bytes)?;
        let len = size(bytes)?;
        if len == 0 {
            return Ok(Some(Value::Payload(Bytes::new())));
        }
        let lent = self.take_block(len)?.lend();
        self.driver.copy_out(&lent, src, len, self.streams.get(stream)?)?;
        let done = self.mark(stream)?;
        self.completions.push(number, vec![done], Some((lent, len)));
        Ok(None)
    }

    /// Issues a copy on `stream`.
    pub(super) fn copy_device(&self, dst: u64, src: u64, bytes: u64, stream: &Stream) -> Answer<()> {
        self.check_range(dst, bytes)?;
        self.check_range(src, bytes)?;
        self.driver.copy_device(dst, src, size(bytes)?, stream)
    }

    /// Refuses a range that is not the session's; see the module's documentation.
    pub(super) fn check_range(&self, address: u64, bytes: u64) -> Answer<()> {
        if bytes == 0 || self.allocations.contains(address, bytes) {
            return Ok(());
        }
        let own = self.driver.is_device_memory_of(&self.context, address, bytes);
        if own { Ok(()) } else { Err(CuResult::INVALID_VALUE) }
    }
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
