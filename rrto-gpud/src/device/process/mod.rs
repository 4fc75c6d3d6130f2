//! A device whose sessions each run in a process of their own.
//!
//! | room | what it knows |
//! |---|---|
//! | `message` | what the two processes say to each other |
//! | `channel`, `inbox`, `outbox` | a socket that carries messages and payloads, and never blocks |
//! | `child` | a worker's process: its start, its end, its remains |
//! | `context`, `pending` | the server's side of a session |
//! | `staging` | memory that both have, for payloads |
//! | [`worker`] | the session's side: the whole worker process |
//!
//! Why processes: a fault of a kernel makes more than its own context unusable. After
//! `CUDA_ERROR_ILLEGAL_ADDRESS` in one context, every other context of the same process answers that error too, and
//! so does every new one. And a driver that aborts takes its process along, as the software GPU does its own when the machine
//! has no memory. So the server itself never opens the device; each session has a *worker*, which is this same program,
//! started with a socket as its standard input, and which [keeps nothing else](crate::confine).
//!
//! One worker is always kept ready, with the driver started and no context open, so that a session need not wait for
//! that; it holds next to nothing of the device.

mod channel;
mod child;
mod context;
pub mod fuzzing;
mod inbox;
mod message;
mod outbox;
mod pending;
mod staging;
pub mod worker;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Once, PoisonError};

use rrto_core::wire::DeviceInfo;

use super::{Context, Device, DeviceError, Limits};
use child::Worker;
use context::ProcessContext;

/// How a worker is started.
#[derive(Clone, Debug)]
pub struct WorkerCommand {
    /// A program that calls [`worker::serve`] on its standard input.
    pub program: PathBuf,
    /// What tells it to.
    pub arguments: Vec<OsString>,
}

/// A device that a process of its own opens for each session.
pub struct ProcessDevice {
    info: DeviceInfo,
    workers: Arc<Workers>,
    /// It was told what workers cannot be confined by.
    lacking: Once,
}

impl ProcessDevice {
    /// The device that workers started so open. Waits for the first of them.
    ///
    /// # Errors
    /// A worker cannot be started, or cannot open the device.
    pub fn new(command: WorkerCommand) -> Result<Self, DeviceError> {
        let workers = Arc::new(Workers {
            command,
            spare: Mutex::default(),
            arrived: Condvar::new(),
            processes: Processes::default(),
        });
        let (spare, info) = workers.start()?;
        workers.lock().worker = Some((spare, info.clone()));
        Ok(ProcessDevice { info, workers, lacking: Once::new() })
    }

    /// The process ids of all workers that are there, the spare one included.
    pub fn processes(&self) -> Vec<u32> {
        self.workers.processes.lock().iter().copied().collect()
    }
}

impl Device for ProcessDevice {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn open(&self, limits: Limits) -> Result<Box<dyn Context>, DeviceError> {
        let spare = self.workers.take_spare();
        self.workers.replenish();
        if let Some(spare) = spare {
            match self.open_in(spare, limits) {
                Ok(context) => return Ok(context),
                // It may have died while nobody looked, which is no fault of this session's.
                Err(error) => tracing::warn!(%error, "the spare worker is of no use, another is started"),
            }
        }
        self.open_in(self.workers.start()?, limits)
    }
}

impl ProcessDevice {
    fn open_in(
        &self,
        (worker, info): (Worker, DeviceInfo),
        limits: Limits,
    ) -> Result<Box<dyn Context>, DeviceError> {
        if info != self.info {
            return Err(DeviceError("the device is not the one it was; restart rrto-gpud".to_owned()));
        }
        let (context, lacking) = ProcessContext::open(worker, limits)?;
        // The first session's are every session's.
        self.lacking.call_once(|| {
            if !lacking.is_empty() {
                let lacking = lacking.join(", ");
                tracing::warn!(
                    "sessions' processes are less confined than they could be, for lack of: {lacking}"
                );
            }
        });
        Ok(Box::new(context))
    }
}

/// Starts workers, and keeps one ready.
struct Workers {
    command: WorkerCommand,
    spare: Mutex<Spare>,
    /// A spare worker is there, or is not to come.
    arrived: Condvar,
    processes: Processes,
}

#[derive(Default)]
struct Spare {
    worker: Option<(Worker, DeviceInfo)>,
    /// A thread is about to put one there.
    on_its_way: bool,
    /// A session waits for that.
    is_awaited: bool,
}

impl Workers {
    fn lock(&self) -> MutexGuard<'_, Spare> {
        // Both fields are set at once, each for itself.
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self) -> Result<(Worker, DeviceInfo), DeviceError> {
        Worker::start(&self.command, &self.processes)
    }

    /// The worker that was kept ready, which may have ended since. If one is on its way it is waited for, by one session:
    /// to start another would take longer.
    fn take_spare(&self) -> Option<(Worker, DeviceInfo)> {
        let mut spare = self.lock();
        if spare.worker.is_none() && spare.on_its_way && !std::mem::replace(&mut spare.is_awaited, true) {
            let waited = self.arrived.wait_while(spare, |spare| spare.on_its_way);
            spare = waited.unwrap_or_else(PoisonError::into_inner);
            spare.is_awaited = false;
        }
        spare.worker.take()
    }

    /// Sees to it that there is a spare worker soon.
    fn replenish(self: &Arc<Self>) {
        {
            let mut spare = self.lock();
            if spare.worker.is_some() || std::mem::replace(&mut spare.on_its_way, true) {
                return;
            }
        }
        let workers = Arc::clone(self);
        let put = move || {
            let started = workers.start();
            let mut spare = workers.lock();
            spare.on_its_way = false;
            workers.arrived.notify_all();
            match started {
                Ok(started) => spare.worker = Some(started),
                // The next session tries again, and its client is told if that fails too.
                Err(error) => tracing::warn!(%error, "no spare worker"),
            }
        };
        if let Err(error) = std::thread::Builder::new().name("rrto-spare".to_owned()).spawn(put) {
            self.lock().on_its_way = false;
            self.arrived.notify_all();
            tracing::warn!(%error, "no thread for starting a spare worker");
        }
    }
}

/// The process ids of live workers.
#[derive(Clone, Default, Debug)]
struct Processes(Arc<Mutex<BTreeSet<u32>>>);

impl Processes {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
