//! One session, from its context's opening to its last byte of device memory.
//!
//! A session has a thread of its own, and everything that can go wrong there ends this session and no other: a device
//! that has no room, a lost connection, and even a panic in a device, which is a bug of ours.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use metrics::counter;
use rrto_quic::Session;

use crate::device::{Device, DeviceError, Limits};
use crate::executor::{self, Calls};
use crate::metrics::{SESSION_PANICS, SessionMeter};

/// What a client is told when its session ends by a bug in the server.
const BUG: &str = "a bug in rrto-gpud ended this session; the server's log says more";

/// Why a session ended.
#[derive(Debug)]
pub enum Ending {
    /// The client or its connection ended it, or the server is shutting down.
    Over(String),
    /// The device has no room for it, or is lost.
    Device(DeviceError),
    /// A panic.
    Panic(String),
}

/// Serves an admitted session until it is over. Called on its own thread; logs one line at each end.
pub fn serve(session: &Session, program: &str, device: &dyn Device, limits: Limits) {
    let started = Instant::now();
    let (id, robot, peer) = (session.id(), session.robot(), session.peer());
    tracing::info!(session = id, robot, %peer, program, "session started");
    let ending = execute(session, device, limits);
    let done = session.statistics();
    let seconds = started.elapsed().as_secs_f64();
    macro_rules! log {
        ($level:ident, $reason:expr) => {
            tracing::$level!(
                session = id,
                robot,
                reason = %$reason,
                operators = done.operators,
                bytes_up = done.bytes_up,
                bytes_down = done.bytes_down,
                seconds,
                "session ended"
            )
        };
    }
    match ending {
        Ending::Over(reason) => log!(info, reason),
        Ending::Device(error) => log!(warn, error),
        Ending::Panic(message) => log!(error, format_args!("panic: {message}")),
    }
}

/// Opens a context, executes all that `calls` gives, and frees everything; never panics.
pub fn execute(calls: &impl Calls, device: &dyn Device, limits: Limits) -> Ending {
    let ending = execute_on(calls, device, limits).unwrap_or_else(Ending::Panic);
    match &ending {
        Ending::Over(_) => {}
        Ending::Device(error) => calls.end(&format!("the server cannot use its device: {error}")),
        Ending::Panic(_) => {
            counter!(SESSION_PANICS).increment(1);
            calls.end(BUG);
        }
    }
    ending
}

/// # Errors
/// The message of a panic.
fn execute_on(calls: &impl Calls, device: &dyn Device, limits: Limits) -> Result<Ending, String> {
    let mut context = loop {
        match isolated(|| device.open(limits))? {
            Ok(context) => break context,
            // A dead program of the same robot may hold what is missing.
            Err(_) if calls.make_room() => {}
            Err(error) => return Ok(Ending::Device(error)),
        }
    };
    if let Some(staging) = context.staging() {
        calls.stage_in(staging);
    }
    let ended = isolated(|| {
        let mut meter = SessionMeter::new();
        executor::run(calls, context.as_mut(), &mut meter)
    });
    // Dropped here and not in an unwinding, where a second panic would abort the process and end all sessions.
    let freed = isolated(move || drop(context));
    let reason = ended?;
    freed?;
    Ok(Ending::Over(reason))
}

/// Runs `work`, and gives a panic's message as the error.
fn isolated<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    // What a panic may leave half done is the session's context, which is only dropped afterwards.
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| match panic.downcast::<String>() {
        Ok(message) => *message,
        Err(panic) => panic.downcast_ref::<&str>().map_or("without a message", |text| *text).to_owned(),
    })
}

#[cfg(test)]
mod tests;
