//! Devices and contexts.

use std::cell::Cell;
use std::ffi::{CStr, c_int};
use std::ptr;

use cudarc::driver::sys::CUcontext;

use super::{Answer, Driver, check, out};

/// `CU_CTX_SCHED_AUTO`. It decides only how a thread waits inside the driver, which an executor does rarely: when a
/// program frees memory or unloads code, and when staging memory is exhausted. The driver spins while there are fewer
/// contexts than processors and yields otherwise, which is right for a server of few or of many sessions.
const CONTEXT_FLAGS: u32 = 0;

/// Room for a device's name; the driver cuts it to fit.
const NAME_BYTES: usize = 256;

/// A `CUdevice`.
#[derive(Clone, Copy)]
pub(in crate::device::cuda) struct DeviceId(c_int);

/// A context of its own for one session, current on the thread that works for it.
pub(in crate::device::cuda) struct Context {
    raw: CUcontext,
    driver: &'static Driver,
}

thread_local! {
    /// What this thread made current last, so that making it current again costs nothing. Nothing else in the
    /// process sets a current context.
    static CURRENT: Cell<CUcontext> = const { Cell::new(ptr::null_mut()) };
}

impl Driver {
    /// How many devices there are.
    pub(in crate::device::cuda) fn device_count(&self) -> Answer<i32> {
        // SAFETY: writes one int.
        out(0, |count| unsafe { (self.functions.cuDeviceGetCount)(count) })
    }

    /// The device of this number.
    pub(in crate::device::cuda) fn device(&self, ordinal: i32) -> Answer<DeviceId> {
        // SAFETY: writes one int.
        out(0, |device| unsafe { (self.functions.cuDeviceGet)(device, ordinal) }).map(DeviceId)
    }

    /// Its name.
    pub(in crate::device::cuda) fn device_name(&self, device: DeviceId) -> Answer<String> {
        let mut name = [0_u8; NAME_BYTES];
        // SAFETY: writes at most as many bytes as it is told there are, the last of which is a zero.
        check(unsafe {
            (self.functions.cuDeviceGetName)(name.as_mut_ptr().cast(), NAME_BYTES as c_int, device.0)
        })?;
        Ok(CStr::from_bytes_until_nul(&name).unwrap_or_default().to_string_lossy().into_owned())
    }

    /// Its UUID (that of the MIG instance, where it is one).
    pub(in crate::device::cuda) fn device_uuid(&self, device: DeviceId) -> Answer<[u8; 16]> {
        // SAFETY: a `CUuuid` is 16 bytes.
        out([0; 16], |uuid| unsafe { (self.functions.cuDeviceGetUuid_v2)(uuid, device.0) })
    }

    /// Its memory, bytes.
    pub(in crate::device::cuda) fn device_total_bytes(&self, device: DeviceId) -> Answer<u64> {
        // SAFETY: writes one size_t.
        out(0, |bytes| unsafe { (self.functions.cuDeviceTotalMem_v2)(bytes, device.0) }).map(|b| b as u64)
    }

    /// One of its attributes.
    pub(in crate::device::cuda) fn device_attribute(&self, device: DeviceId, number: i32) -> Answer<i32> {
        // SAFETY: writes one int; the driver checks the number.
        out(0, |value| unsafe { (self.functions.cuDeviceGetAttribute)(value, number, device.0) })
    }

    /// Makes a context on the device. It is not current yet.
    pub(in crate::device::cuda) fn context(&'static self, device: DeviceId) -> Answer<Context> {
        let raw = out(ptr::null_mut(), |context| {
            // SAFETY: writes one handle; the device number came from the driver.
            unsafe { (self.functions.cuCtxCreate_v2)(context, CONTEXT_FLAGS, device.0) }
        })?;
        let context = Context { raw, driver: self };
        // A new context is pushed on the thread's stack of contexts. It is taken off again, so that the stack never
        // has more than the one entry that `make_current` replaces.
        CURRENT.set(ptr::null_mut());
        // SAFETY: writes one handle.
        out(ptr::null_mut(), |popped| unsafe { (self.functions.cuCtxPopCurrent_v2)(popped) })?;
        Ok(context)
    }
}

impl Context {
    /// Makes it the thread's current context.
    pub(in crate::device::cuda) fn make_current(&self) -> Answer<()> {
        if CURRENT.get() == self.raw {
            return Ok(());
        }
        // SAFETY: the context exists as long as this value does.
        check(unsafe { (self.driver.functions.cuCtxSetCurrent)(self.raw) })?;
        CURRENT.set(self.raw);
        Ok(())
    }

    /// Waits for everything in the current context.
    pub(in crate::device::cuda) fn synchronize(&self) -> Answer<()> {
        self.make_current()?;
        // SAFETY: takes nothing.
        check(unsafe { (self.driver.functions.cuCtxSynchronize)() })
    }

    /// Whether this is the context.
    pub(super) fn is(&self, raw: CUcontext) -> bool {
        self.raw == raw
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        CURRENT.set(ptr::null_mut());
        // SAFETY: the context exists and is destroyed once, here. By this room's rules nothing that belongs to it is
        // used any more. If it is current it is popped, which `CURRENT` reflects; if another one is, the next
        // `make_current` sets that anew.
        let result = check(unsafe { (self.driver.functions.cuCtxDestroy_v2)(self.raw) });
        if let Err(error) = result {
            tracing::debug!(%error, "destroying a context");
        }
    }
}

impl Driver {
    /// A `CUlimit` of the current context.
    pub(in crate::device::cuda) fn limit(&self, limit: u32) -> Answer<u64> {
        // SAFETY: writes one size_t; the driver checks the number.
        out(0, |value| unsafe { (self.functions.cuCtxGetLimit)(value, limit) }).map(|value| value as u64)
    }

    /// Sets a `CUlimit` of the current context.
    pub(in crate::device::cuda) fn set_limit(&self, limit: u32, value: usize) -> Answer<()> {
        // SAFETY: takes numbers, which the driver checks.
        check(unsafe { (self.functions.cuCtxSetLimit)(limit, value) })
    }

    /// The current context's least and greatest stream priority.
    pub(in crate::device::cuda) fn stream_priorities(&self) -> Answer<(i32, i32)> {
        let (mut least, mut greatest) = (0, 0);
        // SAFETY: writes two ints.
        check(unsafe { (self.functions.cuCtxGetStreamPriorityRange)(&raw mut least, &raw mut greatest) })?;
        Ok((least, greatest))
    }
}
