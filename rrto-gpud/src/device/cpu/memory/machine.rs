//! What the machine has left to give.
//!
//! Linux lets a process take more address space than there is memory, and kills one when that shows. So an allocation is
//! granted only if all that this process has taken could be written; what several processes take at once can still be too
//! much together, and then [the system ends a worker](crate::confine), not the server.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What is left to the rest of the machine.
const SPARE_BYTES: u64 = 64 << 20;

/// The machine is asked when so much has been taken since the last time, so that small allocations stay cheap.
const UNASKED_BYTES: u64 = 16 << 20;

/// Longer than either file.
const FILE_BYTES: usize = 8 << 10;

/// The machine's memory, by files that stay open: a confined process opens none.
#[derive(Debug)]
pub(super) struct Machine {
    /// `/proc/meminfo` and `/proc/self/status`, if this system has them.
    files: Option<(File, File)>,
    unasked: AtomicU64,
}

impl Machine {
    pub(super) fn new() -> Self {
        let files = File::open("/proc/meminfo").ok().zip(File::open("/proc/self/status").ok());
        Self { files, unasked: AtomicU64::new(0) }
    }

    /// Whether it has room for this process to write `used` bytes in all, `more` of which it has not had before.
    pub(super) fn has_room(&self, used: u64, more: u64) -> bool {
        let unasked = self.unasked.fetch_add(more, Relaxed).saturating_add(more);
        if unasked < UNASKED_BYTES {
            return true;
        }
        self.unasked.store(0, Relaxed);
        let Some((machine, process)) = &self.files else { return true };
        let (Some(available), Some(written)) = (field(machine, "MemAvailable:"), field(process, "VmRSS:"))
        else {
            return true;
        };
        available.saturating_add(written) >= used.saturating_add(SPARE_BYTES)
    }
}

/// The number of bytes behind a name, as `proc(5)` writes it: in kB, a line each.
fn field(file: &File, name: &str) -> Option<u64> {
    let mut buffer = [0; FILE_BYTES];
    let bytes = file.read_at(&mut buffer, 0).ok()?;
    let text = std::str::from_utf8(buffer.get(..bytes)?).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1 << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_has_not_all_the_memory_there_could_be() {
        let machine = Machine::new();
        assert!(machine.has_room(1, 1));
        assert!(machine.has_room(UNASKED_BYTES, UNASKED_BYTES), "a few megabytes are there");
        let (meminfo, status) = machine.files.as_ref().unwrap();
        assert!(field(meminfo, "MemAvailable:") > field(status, "VmRSS:"));
        assert!(!machine.has_room(1 << 60, 1 << 60));
    }
}
