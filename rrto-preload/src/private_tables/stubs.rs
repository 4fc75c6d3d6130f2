//! What stands in a table's slots where nobody knows what belongs there.
//!
//! Libraries call such functions without a second thought, so a slot is never null: a stub says once which slot of
//! which table was called, and by which library, and answers CUDA_ERROR_NOT_SUPPORTED.

use std::{
    arch::global_asm,
    ffi::{CStr, OsStr, c_void},
    fmt,
    mem::MaybeUninit,
    os::unix::ffi::OsStrExt,
    path::Path,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use rrto_core::api::CuResult;

use super::{Slot, Uuid, served};
use crate::{boundary, log};

/// No table has more slots.
pub(super) const SLOTS_MAX: usize = 128;

/// So many tables of nothing but stubs can be given out. All libraries of CUDA 13 together have asked for twenty tables.
const EMPTY_MAX: usize = 16;

/// Tables that have stubs: those served, in their order, and then those without anything else, in the order in which
/// programs ask for them.
const TABLES_MAX: usize = served::TABLES_COUNT + EMPTY_MAX;

/// Bytes from one stub to the next.
const STUB_BYTES: usize = 16;

// One stub after another. Each hands `called` its number and the address that it returns to, and leaves everything else
// as it was: in the calling conventions of the platforms that CUDA runs on, a callee that reads no argument cannot
// tell how many there are.
#[cfg(target_arch = "x86_64")]
global_asm!(
    ".pushsection .text.rrto_private_table_stubs, \"ax\", @progbits",
    ".p2align 4",
    ".globl rrto_private_table_stubs",
    ".hidden rrto_private_table_stubs",
    "rrto_private_table_stubs:",
    ".set rrto_stub, 0",
    ".rept {stubs}",
    ".p2align 4",
    "mov edi, offset rrto_stub",
    "mov rsi, [rsp]",
    "jmp {called}",
    ".set rrto_stub, rrto_stub + 1",
    ".endr",
    ".popsection",
    stubs = const TABLES_MAX * SLOTS_MAX,
    called = sym called,
);
#[cfg(target_arch = "aarch64")]
global_asm!(
    ".pushsection .text.rrto_private_table_stubs, \"ax\", @progbits",
    ".p2align 4",
    ".globl rrto_private_table_stubs",
    ".hidden rrto_private_table_stubs",
    "rrto_private_table_stubs:",
    ".set rrto_stub, 0",
    ".rept {stubs}",
    ".p2align 4",
    "mov w0, #rrto_stub",
    "mov x1, x30",
    "b {called}",
    ".set rrto_stub, rrto_stub + 1",
    ".endr",
    ".popsection",
    stubs = const TABLES_MAX * SLOTS_MAX,
    called = sym called,
);

unsafe extern "C" {
    #[link_name = "rrto_private_table_stubs"]
    static STUBS: u8;
}

/// The stub of a slot.
const fn stub(table: usize, slot: usize) -> Slot {
    assert!(table < TABLES_MAX && slot < SLOTS_MAX);
    let number = table * SLOTS_MAX + slot;
    Slot((&raw const STUBS).wrapping_add(number * STUB_BYTES).cast())
}

/// The first `N` slots of a table, all stubs.
pub(super) const fn slots<const N: usize>(table: usize) -> [Slot; N] {
    let mut slots = [Slot(std::ptr::null()); N];
    let mut at = 0;
    while at < N {
        slots[at] = stub(table, at);
        at += 1;
    }
    slots
}

/// Whose stubs the tables without anything else are.
static EMPTY: [OnceLock<[u8; 16]>; EMPTY_MAX] = [const { OnceLock::new() }; EMPTY_MAX];

static EMPTY_SLOTS: [[Slot; SLOTS_MAX]; EMPTY_MAX] = {
    let mut tables = [[Slot(std::ptr::null()); SLOTS_MAX]; EMPTY_MAX];
    let mut at = 0;
    while at < EMPTY_MAX {
        tables[at] = slots(served::TABLES_COUNT + at);
        tables[at][0] = super::size_slot::<SLOTS_MAX>();
        at += 1;
    }
    tables
};

/// A table of nothing but stubs, always the same for a UUID; `None` for one too many.
pub(super) fn table(uuid: &[u8; 16]) -> Option<*const c_void> {
    let at = EMPTY.iter().position(|of| of.get_or_init(|| *uuid) == uuid)?;
    EMPTY_SLOTS.get(at).map(|slots| slots.as_ptr().cast())
}

/// What a stub comes to.
extern "C" fn called(number: u32, back: *const c_void) -> u32 {
    boundary::guard_constant(|| {
        static SAID: [AtomicBool; TABLES_MAX * SLOTS_MAX] =
            [const { AtomicBool::new(false) }; TABLES_MAX * SLOTS_MAX];
        let number = number as usize;
        if !SAID.get(number).is_some_and(|said| said.swap(true, Ordering::Relaxed)) {
            let (table, slot) = (TableName(number / SLOTS_MAX), number % SLOTS_MAX);
            let library = library_of(back);
            let library = library.as_deref().map_or("the program".into(), OsStr::to_string_lossy);
            log::error!("{library} called slot {slot} of the private driver table {table}: not offered");
        }
        CuResult::NOT_SUPPORTED
    })
}

/// The file name of the library that an address is in.
fn library_of(address: *const c_void) -> Option<Box<OsStr>> {
    let mut found = MaybeUninit::<libc::Dl_info>::uninit();
    // SAFETY: it takes any address, and writes a Dl_info if it finds a library there.
    if unsafe { libc::dladdr(address, found.as_mut_ptr()) } == 0 {
        return None;
    }
    // SAFETY: it has found one.
    let path = unsafe { found.assume_init().dli_fname };
    if path.is_null() {
        return None;
    }
    // SAFETY: the loader's own text, which lives as long as the library, whose function is just waiting for us.
    let path = Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(path) }.to_bytes()));
    path.file_name().map(Into::into)
}

/// Shows the name of a table, by its place among those that have stubs.
struct TableName(usize);

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(table) = served::TABLES.get(self.0) {
            return f.write_str(table.name);
        }
        match self.0.checked_sub(served::TABLES_COUNT).and_then(|at| EMPTY.get(at)?.get()) {
            Some(uuid) => Uuid(uuid).fmt(f),
            None => f.write_str("?"),
        }
    }
}
