//! Copies and fills, word by word where they are aligned.

use std::sync::atomic::Ordering::Relaxed;

use rrto_core::api::CuResult;

use super::{Allocation, Memory, Result, Span};

/// How much of a device-to-device copy is on its way at a time, on the thread's stack.
const COPY_CHUNK_BYTES: usize = 64 << 10;

/// A `cuMemsetD*`: `rows` rows of `width` elements, `pitch_bytes` apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// The value of an element; its low `element_bytes` bytes count.
    pub value: u32,
    /// 1, 2 or 4.
    pub element_bytes: u32,
    /// Elements in a row.
    pub width: u64,
    /// Rows; 1 for a plain fill.
    pub rows: u64,
    /// Bytes from one row's start to the next one's.
    pub pitch_bytes: u64,
}

impl Fill {
    /// A fill of `count` elements in a row.
    pub fn linear(value: u32, element_bytes: u32, count: u64) -> Self {
        Self { value, element_bytes, width: count, rows: 1, pitch_bytes: 0 }
    }
}

impl Allocation {
    fn read_bytes(&self, offset: u64, out: &mut [u8]) {
        let (head, rest) = out.split_at_mut(out.len().min(to_word(offset)));
        for (i, byte) in (offset..).zip(head.iter_mut()) {
            *byte = self.load(i, 1) as u8;
        }
        let first = ((offset + head.len() as u64) / 8) as usize;
        let (body, tail) = rest.split_at_mut(rest.len() / 8 * 8);
        let words = self.words().get(first..first + body.len() / 8).unwrap_or(&[]);
        for (chunk, w) in body.chunks_exact_mut(8).zip(words) {
            chunk.copy_from_slice(&w.load(Relaxed).to_le_bytes());
        }
        for (i, byte) in ((first + words.len()) as u64 * 8..).zip(tail.iter_mut()) {
            *byte = self.load(i, 1) as u8;
        }
    }

    fn write_bytes(&self, offset: u64, data: &[u8]) {
        let (head, rest) = data.split_at(data.len().min(to_word(offset)));
        for (i, &byte) in (offset..).zip(head) {
            self.store(i, 1, u64::from(byte));
        }
        let first = ((offset + head.len() as u64) / 8) as usize;
        let (body, tail) = rest.split_at(rest.len() / 8 * 8);
        let words = self.words().get(first..first + body.len() / 8).unwrap_or(&[]);
        for (chunk, w) in body.chunks_exact(8).zip(words) {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(chunk);
            w.store(u64::from_le_bytes(bytes), Relaxed);
        }
        for (i, &byte) in ((first + words.len()) as u64 * 8..).zip(tail) {
            self.store(i, 1, u64::from(byte));
        }
    }

    fn fill_elements(&self, offset: u64, value: u32, element_bytes: u32, count: u64) {
        let bytes = value.to_le_bytes();
        let wide = match element_bytes {
            1 => u64::from_le_bytes([bytes[0]; 8]),
            2 => u64::from(value & 0xffff) * 0x0001_0001_0001_0001,
            _ => u64::from(value) << 32 | u64::from(value),
        };
        let (mut at, end) = (offset, offset + count * u64::from(element_bytes));
        while at < end {
            if at.is_multiple_of(8) && end - at >= 8 {
                self.set_word(at, wide);
                at += 8;
            } else {
                self.store(at, element_bytes, u64::from(value));
                at += u64::from(element_bytes);
            }
        }
    }
}

/// Bytes from the offset to the next word.
fn to_word(offset: u64) -> usize {
    (offset.next_multiple_of(8) - offset) as usize
}

impl Span {
    /// Reads from the start of the range, as much as it holds.
    pub(crate) fn read(&self, out: &mut [u8]) {
        let len = out.len().min(self.len as usize);
        if let Some(out) = out.get_mut(..len) {
            self.allocation.read_bytes(self.offset, out);
        }
    }

    /// Writes from the start of the range, as much as it holds.
    pub(crate) fn write(&self, data: &[u8]) {
        let len = data.len().min(self.len as usize);
        self.allocation.write_bytes(self.offset, data.get(..len).unwrap_or(&[]));
    }

    /// Copies from another range, as much as both hold. Ranges that overlap give an unspecified result, as in
    /// CUDA.
    pub(crate) fn copy_from(&self, source: &Span) {
        let len = self.len.min(source.len);
        let mut buffer = [0; COPY_CHUNK_BYTES];
        let mut done = 0;
        while done < len {
            let chunk = (len - done).min(COPY_CHUNK_BYTES as u64) as usize;
            let Some(part) = buffer.get_mut(..chunk) else { break };
            source.allocation.read_bytes(source.offset + done, part);
            self.allocation.write_bytes(self.offset + done, part);
            done += chunk as u64;
        }
    }

    /// Fills a range that came from [`Fill::span`] of the same fill.
    pub(crate) fn fill(&self, fill: &Fill) {
        for row in 0..fill.rows {
            let start = self.offset + row * fill.pitch_bytes;
            self.allocation.fill_elements(start, fill.value, fill.element_bytes, fill.width);
        }
    }
}

impl Fill {
    /// The range that the fill would touch; nothing if it is empty.
    ///
    /// # Errors
    /// `INVALID_VALUE` for a bad element size, an address or pitch that is no multiple of it, a pitch shorter
    /// than a row, or a range that does not lie in one live allocation.
    pub(crate) fn span(&self, memory: &Memory, address: u64) -> Result<Option<Span>> {
        let invalid = CuResult::INVALID_VALUE;
        let element = u64::from(self.element_bytes);
        if !matches!(element, 1 | 2 | 4) || !address.is_multiple_of(element) {
            return Err(invalid);
        }
        if self.width == 0 || self.rows == 0 {
            return Ok(None);
        }
        let row = self.width.checked_mul(element).ok_or(invalid)?;
        if self.rows > 1 && (self.pitch_bytes < row || !self.pitch_bytes.is_multiple_of(element)) {
            return Err(invalid);
        }
        let last = (self.rows - 1).checked_mul(self.pitch_bytes).ok_or(invalid)?;
        memory.span(address, last.checked_add(row).ok_or(invalid)?).map(Some)
    }
}

impl Memory {
    /// Copies device memory to the host.
    ///
    /// # Errors
    /// `INVALID_VALUE` unless the whole range lies in one live allocation.
    pub fn read(&self, address: u64, out: &mut [u8]) -> Result<()> {
        if !out.is_empty() {
            self.span(address, out.len() as u64)?.read(out);
        }
        Ok(())
    }

    /// Copies host memory to the device.
    ///
    /// # Errors
    /// `INVALID_VALUE` unless the whole range lies in one live allocation.
    pub fn write(&self, address: u64, data: &[u8]) -> Result<()> {
        if !data.is_empty() {
            self.span(address, data.len() as u64)?.write(data);
        }
        Ok(())
    }

    /// Copies within the device. Ranges that overlap give an unspecified result, as in CUDA.
    ///
    /// # Errors
    /// `INVALID_VALUE` unless each range lies in one live allocation.
    pub fn copy(&self, to: u64, from: u64, len: u64) -> Result<()> {
        if len > 0 {
            self.span(to, len)?.copy_from(&self.span(from, len)?);
        }
        Ok(())
    }

    /// Sets memory as `cuMemsetD8`, `D16`, `D32` and their `D2D` forms do.
    ///
    /// # Errors
    /// `INVALID_VALUE`, as for the driver's: a bad element size, an address or pitch that is no multiple of
    /// it, a pitch shorter than a row, or a range that does not lie in one live allocation.
    pub fn fill(&self, address: u64, fill: Fill) -> Result<()> {
        if let Some(span) = fill.span(self, address)? {
            span.fill(&fill);
        }
        Ok(())
    }
}
