//! The tables that are served, and the functions in them.
//!
//! Every function takes pointers from cudart or a CUDA library, checks them for null, and is guarded as an
//! exported function is.

use std::{
    cell::UnsafeCell,
    ffi::{c_int, c_void},
};

use rrto_core::api::CuResult;

use super::{
    Slot, Table, integrity,
    libraries::{each_function, free_places, make_places},
    size_slot, source, stubs,
};
use crate::{
    boundary::guard,
    context::{ContextHandle, Destructor, contexts},
};

/// How many tables are served.
pub(super) const TABLES_COUNT: usize = 9;

/// Every table served, in the order of the `TABLE` numbers below.
pub(super) static TABLES: [Table; TABLES_COUNT] = [
    Table {
        uuid: 0x6bd5fb6c_5bf4_e74a_8987_d93912fd9df9_u128.to_be_bytes(),
        name: "CUDART_INTERFACE",
        slots: &CUDART_INTERFACE,
    },
    Table {
        uuid: 0xa094798c_2e74_2e74_93f2_0800200c0a66_u128.to_be_bytes(),
        name: "TOOLS_RUNTIME_CALLBACK_HOOKS",
        slots: &TOOLS_RUNTIME_CALLBACK_HOOKS,
    },
    Table {
        uuid: 0x42d85a81_23f6_cb47_8298_f6e78a3aecdc_u128.to_be_bytes(),
        name: "TOOLS_TLS",
        slots: &TOOLS_TLS,
    },
    Table {
        uuid: 0xc693336e_1121_df11_a8c3_68f355d89593_u128.to_be_bytes(),
        name: "CONTEXT_LOCAL_STORAGE",
        slots: &CONTEXT_LOCAL_STORAGE,
    },
    Table {
        uuid: 0x263e8860_7cd2_6143_92f6_bbd5006dfa7e_u128.to_be_bytes(),
        name: "CONTEXT_CHECKS",
        slots: &CONTEXT_CHECKS,
    },
    Table {
        uuid: 0xd4082055_bde6_704b_8d34_ba123c66e1f2_u128.to_be_bytes(),
        name: "INTEGRITY_CHECK",
        slots: &INTEGRITY_CHECK,
    },
    Table {
        uuid: 0x21318c60_9714_3248_8ca6_41ff7324c8f2_u128.to_be_bytes(),
        name: "TOOLS_CONTEXT",
        slots: &TOOLS_CONTEXT,
    },
    Table {
        uuid: 0x1734dc26_800d_4745_8726_c0f1e7dd8bca_u128.to_be_bytes(),
        name: "TPC_PLACES",
        slots: &TPC_PLACES,
    },
    Table {
        uuid: 0x6e163fbe_b958_444d_835c_e182aff1991e_u128.to_be_bytes(),
        name: "MODULE_FUNCTIONS",
        slots: &MODULE_FUNCTIONS,
    },
];

/// A table of `$size` slots: not offered, except its size in slot 0 and the functions given.
macro_rules! table {
    ($table:literal, [$size:literal], $($slot:literal => $function:ident),*) => {{
        let mut slots = stubs::slots::<$size>($table);
        slots[0] = size_slot::<$size>();
        $(slots[$slot] = Slot($function as *const c_void);)*
        slots
    }};
}

static CUDART_INTERFACE: [Slot; 13] = table!(0, [13], 2 => primary_context);
static TOOLS_RUNTIME_CALLBACK_HOOKS: [Slot; 7] = table!(1, [7], 2 => hooks_buffer, 6 => flags_buffer);
static TOOLS_TLS: [Slot; 3] = table!(2, [3], 2 => thread_context);
/// The one table without a size: slot 0 is a function.
static CONTEXT_LOCAL_STORAGE: [Slot; 3] =
    table!(3, [3], 0 => storage_put, 1 => storage_delete, 2 => storage_get);
static CONTEXT_CHECKS: [Slot; 15] = table!(4, [15], 2 => check_context, 3 => check_nothing);
static INTEGRITY_CHECK: [Slot; 3] = table!(5, [3], 1 => check_integrity);
static TOOLS_CONTEXT: [Slot; 93] =
    table!(6, [93], 4 => context_number, 39 => cublas_number, 51 => cublas_object);
static TPC_PLACES: [Slot; 17] = table!(7, [17], 4 => make_places, 13 => free_places);
static MODULE_FUNCTIONS: [Slot; 99] = table!(8, [99], 7 => each_function);

/// Writes an answer where the caller wants it.
///
/// # Safety
/// `to` must be null or writable.
unsafe fn answer<T>(to: *mut T, value: Result<T, CuResult>) -> CuResult {
    match value {
        Err(error) => error,
        Ok(_) if to.is_null() => CuResult::INVALID_VALUE,
        Ok(value) => {
            // SAFETY: not null, so writable by this function's contract.
            unsafe { to.write(value) };
            CuResult::SUCCESS
        }
    }
}

fn status(result: Result<(), CuResult>) -> CuResult {
    result.err().unwrap_or(CuResult::SUCCESS)
}

fn handle(context: *mut c_void) -> Option<ContextHandle> {
    ContextHandle::from_raw(context.addr())
}

fn pointer(context: Option<ContextHandle>) -> *mut c_void {
    std::ptr::without_provenance_mut(context.map_or(0, ContextHandle::as_raw))
}

// CUDART_INTERFACE

/// The handle of a device's primary context, without retaining it.
unsafe extern "C" fn primary_context(context: *mut *mut c_void, device: c_int) -> u32 {
    guard(|| {
        // A session has one device.
        let primary =
            if device == 0 { Ok(pointer(Some(contexts().primary()))) } else { Err(CuResult::INVALID_DEVICE) };
        // SAFETY: the caller passes a place for a handle, or null.
        unsafe { answer(context, primary) }
    })
}

// TOOLS_RUNTIME_CALLBACK_HOOKS

/// Zeroes that tools would find non-zero. Only cudart reads or writes them.
struct Buffer<T, const N: usize>(UnsafeCell<[T; N]>);

// SAFETY: nothing in this library reads or writes the contents; it only gives out the address.
unsafe impl<T, const N: usize> Sync for Buffer<T, N> {}

static HOOKS: Buffer<usize, 1024> = Buffer(UnsafeCell::new([0; 1024]));
static FLAGS: Buffer<u8, 14> = Buffer(UnsafeCell::new([0; 14]));

unsafe extern "C" fn hooks_buffer(buffer: *mut *mut c_void, length: *mut usize) -> u32 {
    // SAFETY: the caller passes a place for a pointer and one for a length, or null.
    unsafe { give_buffer(&HOOKS, buffer, length) }
}

unsafe extern "C" fn flags_buffer(buffer: *mut *mut c_void, length: *mut usize) -> u32 {
    // SAFETY: the caller passes a place for a pointer and one for a length, or null.
    unsafe { give_buffer(&FLAGS, buffer, length) }
}

/// Gives out a buffer and its length in elements, as the projects do that work with cudart.
///
/// # Safety
/// `buffer` and `length` must be null or writable.
unsafe fn give_buffer<T, const N: usize>(
    from: &'static Buffer<T, N>,
    buffer: *mut *mut c_void,
    length: *mut usize,
) -> u32 {
    guard(|| {
        // SAFETY: null or writable, by this function's contract.
        let results = unsafe { [answer(buffer, Ok(from.0.get().cast())), answer(length, Ok(N))] };
        results.into_iter().find(|result| !result.is_success()).unwrap_or(CuResult::SUCCESS)
    })
}

// TOOLS_TLS

/// The current context, null where there is none. cuBLASLt asks some 50 times an inference.
unsafe extern "C" fn thread_context(context: *mut *mut c_void) -> u32 {
    // SAFETY: the caller passes a place for a handle, or null.
    guard(|| unsafe { answer(context, Ok(pointer(contexts().current()))) })
}

// CONTEXT_LOCAL_STORAGE: a null context means the current one.

type ForeignDestructor = unsafe extern "C" fn(*mut c_void, *mut c_void, *mut c_void);

unsafe extern "C" fn storage_put(
    context: *mut c_void,
    key: *mut c_void,
    value: *mut c_void,
    destructor: Option<ForeignDestructor>,
) -> u32 {
    let destructor = destructor.map(|destructor| -> Destructor {
        Box::new(move |context, key, value| {
            let (key, value) =
                (std::ptr::with_exposed_provenance_mut(key), std::ptr::with_exposed_provenance_mut(value));
            // SAFETY: cudart gave us this function to be called with just these, once, when the context ends.
            unsafe { destructor(pointer(Some(context)), key, value) }
        })
    });
    // The two are cudart's pointers: kept as addresses, and given back as they were.
    let (key, value) = (key.expose_provenance(), value.expose_provenance());
    guard(|| status(contexts().put(handle(context), key, value, destructor)))
}

unsafe extern "C" fn storage_delete(context: *mut c_void, key: *mut c_void) -> u32 {
    guard(|| status(contexts().delete(handle(context), key.addr())))
}

unsafe extern "C" fn storage_get(value: *mut *mut c_void, context: *mut c_void, key: *mut c_void) -> u32 {
    guard(|| {
        let kept = contexts().get(handle(context), key.addr());
        // SAFETY: the caller passes a place for a value, or null.
        unsafe { answer(value, kept.map(std::ptr::with_exposed_provenance_mut)) }
    })
}

// CONTEXT_CHECKS

/// Answers that there is nothing special about a context. What else the real one may write to the third
/// argument is not known, and not written.
unsafe extern "C" fn check_context(_context: *mut c_void, special: *mut u32, _: *mut *mut c_void) -> u32 {
    // SAFETY: the caller passes a place for a number, or null.
    guard(|| unsafe { answer(special, Ok(0)) })
}

unsafe extern "C" fn check_nothing() -> u32 {
    guard(|| CuResult::SUCCESS)
}

// INTEGRITY_CHECK

unsafe extern "C" fn check_integrity(version: u32, unix_seconds: u64, hash: *mut [u8; 16]) -> u32 {
    // SAFETY: the caller passes a place for 16 bytes, or null.
    guard(|| unsafe { answer(hash, integrity_of(version, unix_seconds)) })
}

fn integrity_of(version: u32, unix_seconds: u64) -> Result<[u8; 16], CuResult> {
    if let Some(constant) = integrity::constant(version) {
        return Ok(constant);
    }
    let facts = (source()?.facts)()?;
    let [_, function, _] = &INTEGRITY_CHECK;
    integrity::hash(&integrity::Seen {
        driver_version: facts.driver_version,
        version,
        process: std::process::id(),
        // SAFETY: it has no preconditions.
        thread: unsafe { libc::pthread_self() } as u32,
        cudart_interface: CUDART_INTERFACE.as_ptr().addr() as u64,
        integrity_check: INTEGRITY_CHECK.as_ptr().addr() as u64,
        function: function.0.addr() as u64,
        unix_seconds,
        devices: &facts.devices,
    })
}

// TOOLS_CONTEXT

/// The number that cuCtxGetId gives, and zero where there is no context. cuBLASLt keys its kernels by it, and
/// asks as often as for the context itself.
unsafe extern "C" fn context_number(context: *mut c_void, number: *mut u64) -> u32 {
    // SAFETY: the caller passes a place for a number, or null.
    guard(|| unsafe { answer(number, Ok(contexts().id(handle(context)).unwrap_or(0))) })
}

unsafe extern "C" fn cublas_number(_context: *mut c_void, _: *mut c_void, number: *mut u64) -> u32 {
    // SAFETY: the caller passes a place for a number, or null.
    guard(|| unsafe { answer(number, Ok(0)) })
}

/// Zeroes for whatever cuBLAS takes the object to be.
static OBJECT: Buffer<u64, 64> = Buffer(UnsafeCell::new([0; 64]));

unsafe extern "C" fn cublas_object(_context: *mut c_void, key: usize, object: *mut *mut c_void) -> u32 {
    let found = if key == usize::MAX { Err(CuResult::INVALID_HANDLE) } else { Ok(OBJECT.0.get().cast()) };
    // SAFETY: the caller passes a place for a pointer, or null.
    guard(|| unsafe { answer(object, found) })
}
