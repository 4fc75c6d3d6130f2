//! How much device memory a session holds, read off its operators.

use std::collections::HashMap;

use rrto_core::operator::{Operator, Outcome, Value};

/// What a session holds, for the metrics only: its limit is the context's to keep.
#[derive(Debug, Default)]
pub(super) struct Footprint {
    /// Bytes asked for (rows, for a pitched allocation), by operator number, until the outcome is known.
    asked: HashMap<u64, Asked>,
    /// Bytes of each allocation, by address.
    held: HashMap<u64, u64>,
    bytes: u64,
}

#[derive(Debug)]
enum Asked {
    Bytes(u64),
    Rows(u64),
}

impl Footprint {
    /// Bytes held.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Notes that an operator is about to be executed. A free counts from here on: its address may be given to the
    /// next allocation before its own outcome is known.
    pub(super) fn handle_issued(&mut self, number: u64, operator: &Operator) {
        match operator {
            Operator::MemAlloc { bytes } => {
                self.asked.insert(number, Asked::Bytes(*bytes));
            }
            Operator::MemAllocPitch { height, .. } => {
                self.asked.insert(number, Asked::Rows(*height));
            }
            Operator::MemFree { address } => self.release(*address),
            _ => {}
        }
    }

    /// Notes how an operator ended.
    pub(super) fn handle_outcome(&mut self, number: u64, outcome: &Outcome) {
        let (address, bytes) = match (self.asked.remove(&number), outcome) {
            (Some(Asked::Bytes(bytes)), Ok(Value::Address(address))) => (*address, bytes),
            (Some(Asked::Rows(rows)), Ok(Value::Pitched { address, pitch_bytes })) => {
                (*address, rows.saturating_mul(*pitch_bytes))
            }
            _ => return,
        };
        self.release(address);
        self.held.insert(address, bytes);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    fn release(&mut self, address: u64) {
        if let Some(bytes) = self.held.remove(&address) {
            self.bytes = self.bytes.saturating_sub(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use rrto_core::api::CuResult;

    use super::*;

    #[test]
    fn counts_what_is_held() {
        let mut footprint = Footprint::default();
        let mut step = |number, operator, outcome: Outcome| {
            footprint.handle_issued(number, &operator);
            footprint.handle_outcome(number, &outcome);
            footprint.bytes()
        };
        let alloc = |bytes| Operator::MemAlloc { bytes };
        let free = |address| Operator::MemFree { address };
        let pitched = Operator::MemAllocPitch { width_bytes: 100, height: 3, element_bytes: 4 };
        assert_eq!(step(1, alloc(10), Ok(Value::Address(0x100))), 10);
        assert_eq!(step(2, alloc(99), Err(CuResult::OUT_OF_MEMORY)), 10);
        assert_eq!(step(3, pitched, Ok(Value::Pitched { address: 0x200, pitch_bytes: 512 })), 10 + 3 * 512);
        assert_eq!(step(4, free(0x300), Err(CuResult::INVALID_VALUE)), 10 + 3 * 512);
        assert_eq!(step(5, free(0x100), Ok(Value::None)), 3 * 512);
        assert_eq!(step(6, alloc(7), Ok(Value::Address(0x100))), 3 * 512 + 7);
    }

    #[test]
    fn a_free_that_completes_late_does_not_take_the_next_owner_of_its_address() {
        let mut footprint = Footprint::default();
        footprint.handle_issued(1, &Operator::MemAlloc { bytes: 10 });
        footprint.handle_outcome(1, &Ok(Value::Address(0x100)));
        footprint.handle_issued(2, &Operator::MemFree { address: 0x100 });
        footprint.handle_issued(3, &Operator::MemAlloc { bytes: 20 });
        footprint.handle_outcome(3, &Ok(Value::Address(0x100)));
        footprint.handle_outcome(2, &Ok(Value::None));
        assert_eq!(footprint.bytes(), 20);
    }
}
