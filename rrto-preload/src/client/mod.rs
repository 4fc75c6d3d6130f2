//! What the program's side of a session knows and does, in safe terms.
//!
//! A [`Client`] holds what can be answered without the server: the device's facts, which handles there are, which
//! memory is allocated, what kernels look like, which copies are still to arrive. A [`Call`] is one call of the
//! program that needs the server; its methods, by theme, check what the real driver checks at once, make operators
//! of what is left, and hand them to the [`Remote`].
//!
//! Handles are made here, so making an object waits for nothing. Errors that the real driver finds at once are found
//! here too; what only the server can find comes back at a later call, as CUDA allows.
//!
//! This room must never touch the program's memory except through [`crate::marshal`], and must hold no lock of its own,
//! but for [`fences`]', while it calls the remote.

mod attributes;
mod cache;
mod copy;
mod deliveries;
mod device;
mod event;
mod fences;
mod handles;
mod host_memory;
mod kernel;
mod launch;
mod memory;
mod module;
mod pointer;
mod private;
mod ranges;
mod remote;
mod stream;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rrto_core::api::CuResult;
use rrto_core::operator::{Handle, Operator, Value};
use rrto_core::wire::{DeviceInfo, Mode};
use rrto_quic::Submission;

use crate::context::ContextHandle;
use crate::marshal::Reservations;
use crate::{boundary, log};

pub(crate) use copy::{Fill, Rows, Until};
pub(crate) use deliveries::Deliveries;
pub(crate) use device::Device;
pub(crate) use handles::visible;
pub(crate) use kernel::{Kernel, Owner};
pub(crate) use launch::{Arguments, Manner};
pub(crate) use pointer::{Place, PointerFacts};
pub(crate) use remote::Remote;
pub(crate) use stream::DefaultStream;

/// The program's side of a session.
pub(crate) struct Client {
    remote: Box<dyn Remote>,
    mode: Mode,
    device: Device,
    next_handle: AtomicU64,
    streams: handles::Table<stream::Stream>,
    events: handles::Table<event::Event>,
    modules: handles::Table<module::Module>,
    libraries: handles::Table<module::Library>,
    kernels: handles::Table<Arc<Kernel>>,
    memory: ranges::Ranges<memory::Region>,
    reservations: Reservations,
    pinned: ranges::Ranges<host_memory::Pinned>,
    deliveries: Arc<Deliveries>,
    answers: cache::Answers,
    limits_changed: AtomicBool,
    fences: fences::Fences,
    /// Each lane's own default stream in each context.
    lane_streams: Mutex<HashMap<(ContextHandle, u32), Handle>>,
}

/// A call of the program that needs the server: there is a session, a current context and no sticky error.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    client: &'a Client,
    /// The calling host thread.
    lane: u32,
    /// The context current to it.
    context: ContextHandle,
}

impl Client {
    /// A client on an established session, whose copies to the host arrive in `deliveries`.
    pub(crate) fn new(
        device: DeviceInfo,
        mode: Mode,
        remote: Box<dyn Remote>,
        deliveries: Arc<Deliveries>,
    ) -> Self {
        Client {
            remote,
            mode,
            device: Device::new(device),
            // 0 is the legacy default stream.
            next_handle: AtomicU64::new(1),
            streams: handles::Table::default(),
            events: handles::Table::default(),
            modules: handles::Table::default(),
            libraries: handles::Table::default(),
            kernels: handles::Table::default(),
            memory: ranges::Ranges::default(),
            reservations: Reservations::default(),
            pinned: ranges::Ranges::default(),
            deliveries,
            answers: cache::Answers::default(),
            limits_changed: AtomicBool::new(false),
            fences: fences::Fences::default(),
            lane_streams: Mutex::default(),
        }
    }

    /// What is known of the device.
    #[inline]
    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// The other side.
    pub(crate) fn remote(&self) -> &dyn Remote {
        &*self.remote
    }

    /// A call on `lane` in `context`.
    ///
    /// # Errors
    /// The sticky error, if there is one.
    #[inline]
    pub(crate) fn call(&self, lane: u32, context: ContextHandle) -> Result<Call<'_>, CuResult> {
        self.check_alive().map(|()| Call { client: self, lane, context })
    }

    /// Fails with the sticky error, if there is one: what a program makes then is made for nothing.
    #[inline]
    pub(crate) fn check_alive(&self) -> Result<(), CuResult> {
        match self.remote.sticky() {
            None => Ok(()),
            Some(sticky) => Err(self.explained(sticky)),
        }
    }

    fn new_handle(&self) -> Handle {
        Handle(self.next_handle.fetch_add(1, Ordering::Relaxed))
    }

    /// Says once why nothing works any more, if the reason is that the server is gone.
    #[cold]
    fn explained(&self, error: CuResult) -> CuResult {
        // The connection is gone because the program ends, while this thread was in a call.
        if boundary::is_ending() {
            return CuResult::DEINITIALIZED;
        }
        if error == CuResult::DEVICE_UNAVAILABLE
            && let Some(why) = self.remote.lost()
        {
            log::error!(
                "the server is lost: {why}; every further CUDA call fails with {error}. \
                 Check rrto-gpud and the network, and start the program again"
            );
        }
        error
    }

    fn lane_streams(&self) -> MutexGuard<'_, HashMap<(ContextHandle, u32), Handle>> {
        self.lane_streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> Call<'a> {
    /// What can be answered without the server.
    #[inline]
    pub(crate) fn client(&self) -> &'a Client {
        self.client
    }
}

impl Call<'_> {
    /// Sends an operator, and waits for its outcome if it has one to wait for.
    fn send(&self, operator: Operator) -> Result<Value, CuResult> {
        self.send_with(operator, None)
    }

    fn send_with(&self, operator: Operator, payload: Option<Bytes>) -> Result<Value, CuResult> {
        self.order(operator.work_stream())?;
        self.outcome(self.client.remote.submit(self.lane, operator, payload, &mut |_| {}))
    }

    /// What a submission comes to, once that is known.
    fn outcome(&self, submission: Submission) -> Result<Value, CuResult> {
        match submission {
            Submission::Queued => Ok(Value::None),
            Submission::Awaits(number) => self.wait(number),
            Submission::Answered(outcome) => outcome.map_err(|error| self.client.explained(error)),
        }
    }

    fn wait(&self, number: u64) -> Result<Value, CuResult> {
        self.client.remote.wait(number).map_err(|error| self.client.explained(error))
    }

    /// An answer that makes no sense: the two sides disagree about the protocol.
    fn unexpected(operator: &str, value: &Value) -> CuResult {
        log::error!("the server answered {operator} with {value:?}: use the same RRTO release on both sides");
        CuResult::UNKNOWN
    }
}

/// Sends an operator and takes its answer apart, which must have the one form that the operator has.
macro_rules! answer {
    ($call:expr, $operator:expr, $name:literal, $form:pat => $result:expr) => {
        match $call.send($operator) {
            Ok($form) => Ok($result),
            Ok(other) => Err(Call::unexpected($name, &other)),
            Err(error) => Err(error),
        }
    };
}
use answer;

/// The result of a call that answers nothing.
fn done(_: Value) {}
