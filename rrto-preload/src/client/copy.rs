//! Copies between the program's memory and the device's, and fills.

use std::collections::VecDeque;

use rrto_core::api::CuResult;
use rrto_core::operator::{Handle, MAX_PAYLOAD_BYTES, Operator};
use rrto_core::wire::Mode;
use rrto_quic::Submission;

use super::deliveries::Claim;
use super::fences::{Position, Waited};
use super::{Call, done};
use crate::log;
use crate::marshal::{Destination, HostAddress};

/// So many pieces of one copy to the host are asked for ahead: enough to fill any link, and a bound on what the
/// server has to stage.
const PIECES_AHEAD: usize = 32;

/// Whether a copy must be over when its call returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Until {
    /// The call returns when the copy is over, or when nobody can tell that it is not.
    Done,
    /// The call may return earlier; to the host only if the memory is pinned.
    Queued,
}

/// A fill of rows of elements.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fill {
    /// First byte.
    pub(crate) address: u64,
    /// Bytes from row to row; any, if there is one row.
    pub(crate) pitch_bytes: u64,
    /// In the low `element_bytes` bytes.
    pub(crate) value: u32,
    /// 1, 2 or 4.
    pub(crate) element_bytes: u8,
    /// Elements of a row.
    pub(crate) width: u64,
    /// Rows.
    pub(crate) height: u64,
}

/// A copy of rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows {
    /// First byte of the first row.
    pub(crate) dst: u64,
    /// Bytes from row to row.
    pub(crate) dst_pitch_bytes: u64,
    /// First byte of the first row.
    pub(crate) src: u64,
    /// Bytes from row to row.
    pub(crate) src_pitch_bytes: u64,
    /// Bytes of a row.
    pub(crate) width_bytes: u64,
    /// Rows. More than one have pitches of at least their width.
    pub(crate) height: u64,
}

impl Call<'_> {
    /// cuMemcpyHtoD. The program may reuse its buffer when this returns.
    pub(crate) fn copy_in(
        &self,
        dst: u64,
        from: HostAddress,
        bytes: u64,
        stream: Handle,
        until: Until,
    ) -> Result<(), CuResult> {
        if bytes == 0 {
            return Ok(());
        }
        if let Err(error) = self.check_device(dst, bytes) {
            // Pinned memory is a device address too, with unified addressing.
            return if self.is_pinned(dst, bytes) {
                self.copy_unified(dst, from.address() as u64, bytes, stream, until)
            } else {
                Err(error)
            };
        }
        if self.is_device(from.address() as u64) {
            return self.copy_device(dst, from.address() as u64, bytes, stream);
        }
        let source = from.source(bytes)?;
        // What an earlier copy has yet to write there is what this one has to read.
        self.settle(self.client.deliveries.overlapping(&source.range()));
        for (offset, bytes) in pieces(bytes) {
            let payload = source.piece(offset as usize, bytes as usize);
            self.send_with(Operator::CopyIn { dst: dst + offset, bytes, stream }, Some(payload))?;
        }
        self.note_copied(stream);
        // From pinned memory cuMemcpyHtoD is "synchronous with respect to the host" (CUDA driver API, "API synchronization
        // behavior"), and programs rely on it from any.
        if until == Until::Done {
            self.pass_over(Waited::Stream(stream));
        }
        Ok(())
    }

    /// cuMemcpyDtoH.
    pub(crate) fn copy_out(
        &self,
        to: HostAddress,
        src: u64,
        bytes: u64,
        stream: Handle,
        until: Until,
    ) -> Result<(), CuResult> {
        if bytes == 0 {
            return Ok(());
        }
        if let Err(error) = self.check_device(src, bytes) {
            return if self.is_pinned(src, bytes) {
                self.copy_unified(to.address() as u64, src, bytes, stream, until)
            } else {
                Err(error)
            };
        }
        if self.is_device(to.address() as u64) {
            return self.copy_device(to.address() as u64, src, bytes, stream);
        }
        let destination = to.destination(bytes)?;
        // Large copies come on streams of their own, which do not keep their order. The later one has to win.
        self.settle(self.client.deliveries.overlapping(&destination.range()));
        let is_pinned = || self.is_pinned(to.address() as u64, bytes);
        if until == Until::Queued && self.client.mode != Mode::Percall && is_pinned() {
            self.copy_out_later(&destination, src, stream)
        } else {
            self.copy_out_and_wait(&destination, src, stream)
        }
    }

    fn copy_out_later(&self, destination: &Destination, src: u64, stream: Handle) -> Result<(), CuResult> {
        for piece in pieces(destination.range().len() as u64) {
            if let Some(oldest) = self.client.deliveries.excess() {
                self.settle(vec![oldest]);
            }
            self.ask_piece(destination, src, piece, stream, false)?;
        }
        Ok(())
    }

    fn copy_out_and_wait(&self, destination: &Destination, src: u64, stream: Handle) -> Result<(), CuResult> {
        let from = self.client.fences.position();
        let mut asked = Asked { call: self, numbers: VecDeque::new() };
        let sent = pieces(destination.range().len() as u64).try_for_each(|piece| {
            asked.numbers.extend(self.ask_piece(destination, src, piece, stream, true)?);
            asked.wait_down_to(PIECES_AHEAD)
        });
        // Also after an error: nothing may be written to the program's memory after the call.
        let arrived = asked.wait_down_to(0);
        sent.and(arrived)?;
        self.client.fences.handle_done(Waited::Stream(stream), from);
        Ok(())
    }

    /// Asks for a piece of a copy, whose destination is known to the deliveries before its bytes can come. Gives its
    /// number; `None` if it was answered at once.
    fn ask_piece(
        &self,
        destination: &Destination,
        src: u64,
        (offset, bytes): (u64, u64),
        stream: Handle,
        claimed: bool,
    ) -> Result<Option<u64>, CuResult> {
        let operator = Operator::CopyOut { src: src + offset, bytes, stream };
        self.order(operator.work_stream())?;
        let to = destination.piece(offset as usize, bytes as usize);
        let deliveries = &self.client.deliveries;
        let mut expect = |number| deliveries.expect(number, to.clone(), stream, claimed);
        match self.client.remote.submit(self.lane, operator, None, &mut expect) {
            Submission::Awaits(number) => Ok(Some(number)),
            Submission::Queued => Ok(None),
            Submission::Answered(outcome) => {
                outcome.map(|_| None).map_err(|error| self.client.explained(error))
            }
        }
    }

    /// cuMemcpyDtoD.
    pub(crate) fn copy_device(&self, dst: u64, src: u64, bytes: u64, stream: Handle) -> Result<(), CuResult> {
        if bytes == 0 {
            return Ok(());
        }
        let is_known = |address| self.client.memory.holds(address, bytes);
        match (is_known(dst), is_known(src)) {
            (true, true) => {}
            // Pinned memory is a device address too, with unified addressing.
            (is_dst, is_src)
                if (is_dst || self.is_pinned(dst, bytes)) && (is_src || self.is_pinned(src, bytes)) =>
            {
                return self.copy_unified(dst, src, bytes, stream, Until::Done);
            }
            _ => return Err(CuResult::INVALID_VALUE),
        }
        self.send(Operator::CopyDevice { dst, src, bytes, stream }).map(done)
    }

    /// cuMemcpy: what is not the device's is the program's.
    pub(crate) fn copy_unified(
        &self,
        dst: u64,
        src: u64,
        bytes: u64,
        stream: Handle,
        until: Until,
    ) -> Result<(), CuResult> {
        match (self.is_device(dst), self.is_device(src)) {
            (true, true) => self.copy_device(dst, src, bytes, stream),
            (true, false) => self.copy_in(dst, HostAddress::of(src)?, bytes, stream, until),
            (false, true) => self.copy_out(HostAddress::of(dst)?, src, bytes, stream, until),
            (false, false) if bytes == 0 => Ok(()),
            (false, false) => self.copy_host(HostAddress::of(dst)?, HostAddress::of(src)?, bytes, stream),
        }
    }

    /// cuMemcpy2D. Rows that lie end to end are one copy, and those of the program's memory are copied here; others are
    /// not offered.
    pub(crate) fn copy_rows(&self, rows: Rows, stream: Handle, until: Until) -> Result<(), CuResult> {
        let Rows { dst, dst_pitch_bytes, src, src_pitch_bytes, width_bytes, height } = rows;
        let pitches = [dst_pitch_bytes, src_pitch_bytes];
        if height == 1 || pitches == [width_bytes; 2] {
            let bytes = width_bytes.checked_mul(height).ok_or(CuResult::INVALID_VALUE)?;
            return self.copy_unified(dst, src, bytes, stream, until);
        }
        if self.is_device(dst) || self.is_device(src) {
            log::error!(
                "the program copies rows that do not lie end to end from or to the device: not offered"
            );
            return Err(CuResult::NOT_SUPPORTED);
        }
        for row in 0..height {
            let at = |start: u64, pitch: u64| {
                pitch.checked_mul(row).and_then(|skipped| start.checked_add(skipped))
            };
            let (to, from) = (at(dst, dst_pitch_bytes), at(src, src_pitch_bytes));
            let (to, from) = to.zip(from).ok_or(CuResult::INVALID_VALUE)?;
            self.copy_unified(to, from, width_bytes, stream, until)?;
        }
        Ok(())
    }

    /// A copy within the program's memory.
    fn copy_host(
        &self,
        to: HostAddress,
        from: HostAddress,
        bytes: u64,
        stream: Handle,
    ) -> Result<(), CuResult> {
        let (destination, source) = (to.destination(bytes)?, from.source(bytes)?);
        // In the stream's order, after what it has still to write.
        self.stream_synchronize(stream)?;
        self.settle(self.client.deliveries.overlapping(&source.range()));
        self.settle(self.client.deliveries.overlapping(&destination.range()));
        destination.copy_from(&source);
        Ok(())
    }

    /// cuMemset.
    pub(crate) fn fill(&self, fill: Fill, stream: Handle) -> Result<(), CuResult> {
        let Fill { address, pitch_bytes, value, element_bytes, width, height } = fill;
        let element = u64::from(element_bytes);
        if width == 0 || height == 0 {
            return Ok(());
        }
        let row = width.checked_mul(element).ok_or(CuResult::INVALID_VALUE)?;
        let pitch_bytes = if height == 1 { 0 } else { pitch_bytes };
        let is_aligned = address.is_multiple_of(element) && pitch_bytes.is_multiple_of(element);
        if !is_aligned || (height > 1 && pitch_bytes < row) {
            return Err(CuResult::INVALID_VALUE);
        }
        let last_row = pitch_bytes.checked_mul(height - 1);
        let span = last_row.and_then(|last| last.checked_add(row)).ok_or(CuResult::INVALID_VALUE)?;
        if let Err(error) = self.check_device(address, span) {
            return if self.is_pinned(address, span) {
                self.fill_host(fill, span, stream)
            } else {
                Err(error)
            };
        }
        self.send(Operator::Memset { address, pitch_bytes, value, element_bytes, width, height, stream })
            .map(done)
    }

    /// A fill of pinned memory, which is a device address too.
    fn fill_host(&self, fill: Fill, span: u64, stream: Handle) -> Result<(), CuResult> {
        let destination = HostAddress::of(fill.address)?.destination(span)?;
        // In the stream's order, after what it has still to write and to read.
        self.stream_synchronize(stream)?;
        self.settle(self.client.deliveries.overlapping(&destination.range()));
        let value = fill.value.to_le_bytes();
        let element = value.get(..usize::from(fill.element_bytes)).unwrap_or_default();
        let row = element.repeat(fill.width as usize);
        for at in 0..fill.height {
            destination.write((at * fill.pitch_bytes) as usize, &row);
        }
        Ok(())
    }

    /// Waits for copies into pinned memory. An error of one is given by the next call that waits.
    pub(super) fn settle(&self, numbers: Vec<u64>) {
        let deliveries = &self.client.deliveries;
        for number in numbers {
            if deliveries.claim(number) == Claim::Mine {
                let outcome = self.wait(number);
                deliveries.forget(number);
                if let Err(error) = outcome {
                    deliveries.fail(error);
                }
            }
        }
    }

    /// Sends an operator by which the program waits for `stream`, and makes sure that all bytes have arrived that
    /// are visible to the program after it.
    pub(super) fn synchronise(&self, operator: Operator, stream: Handle) -> Result<(), CuResult> {
        let last = self.client.deliveries.latest();
        self.await_work(operator, Waited::Stream(stream), self.client.fences.position())?;
        self.arrived(stream, last)
    }

    /// Sends an operator by which the program waits for work that was there at `from`, unless it is answered here.
    pub(super) fn await_work(
        &self,
        operator: Operator,
        waited: Waited,
        from: Position,
    ) -> Result<(), CuResult> {
        let client = self.client;
        match client.remote.submit(self.lane, operator, None, &mut |_| {}) {
            Submission::Awaits(number) => {
                self.wait(number)?;
                client.fences.handle_done(waited, from);
            }
            Submission::Answered(outcome) => {
                outcome.map_err(|error| client.explained(error))?;
                self.pass_over(waited);
            }
            Submission::Queued => {}
        }
        Ok(())
    }

    /// Copies on `stream` up to `last` have completed: their bytes are there when this returns.
    pub(super) fn arrived(&self, stream: Handle, last: Option<u64>) -> Result<(), CuResult> {
        if let Some(last) = last {
            self.settle(self.client.deliveries.on_stream(stream, last));
        }
        self.client.deliveries.take_failure().map_or(Ok(()), Err)
    }

    /// Whether an address is the device's, whatever the program calls it: with unified addressing the driver copies
    /// where the addresses say, and so a mistaken direction works there.
    fn is_device(&self, address: u64) -> bool {
        self.client.memory.holds(address, 0)
    }

    /// Whether a range is pinned host memory.
    fn is_pinned(&self, address: u64, bytes: u64) -> bool {
        self.client.pinned.holds(address, bytes)
    }

    /// The driver's own check of a device range.
    fn check_device(&self, address: u64, bytes: u64) -> Result<(), CuResult> {
        if self.client.memory.holds(address, bytes) { Ok(()) } else { Err(CuResult::INVALID_VALUE) }
    }
}

/// Pieces of a copy that its call waits for.
struct Asked<'a> {
    call: &'a Call<'a>,
    numbers: VecDeque<u64>,
}

impl Asked<'_> {
    /// Waits for the oldest until only so many are left; gives the first error.
    fn wait_down_to(&mut self, left: usize) -> Result<(), CuResult> {
        let mut result = Ok(());
        while self.numbers.len() > left
            && let Some(number) = self.numbers.pop_front()
        {
            let outcome = self.call.wait(number).map(done);
            self.call.client.deliveries.forget(number);
            result = result.and(outcome);
        }
        result
    }
}

impl Drop for Asked<'_> {
    /// Only a panic leaves any.
    fn drop(&mut self) {
        self.numbers.iter().for_each(|&number| self.call.client.deliveries.forget(number));
    }
}

/// How a copy is cut into operators: offset and length of each.
fn pieces(bytes: u64) -> impl Iterator<Item = (u64, u64)> {
    let count = bytes.div_ceil(MAX_PAYLOAD_BYTES);
    (0..count).map(move |at| {
        let offset = at * MAX_PAYLOAD_BYTES;
        (offset, MAX_PAYLOAD_BYTES.min(bytes - offset))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pieces_cover_a_copy_once_in_order(bytes in 0..=8 * MAX_PAYLOAD_BYTES) {
            let mut end = 0;
            for (offset, length) in pieces(bytes) {
                prop_assert_eq!(offset, end);
                prop_assert!((1..=MAX_PAYLOAD_BYTES).contains(&length));
                end += length;
            }
            prop_assert_eq!(end, bytes);
        }
    }
}
