//! The thread that owns the connection. It drains the engine and feeds it; nothing else touches the network.
//!
//! It lives in a process that may be somebody else's. Nothing that happens there ends more than the session: a panic on this
//! thread becomes a lost connection, and then what it had open stays as it is, because where it has no table of descriptors of its
//! own ([`Host`]) the program may have closed that already, and its numbers be the program's.

use std::mem::ManuallyDrop;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;

use tokio::net::unix::pipe;
use tokio::runtime::Builder;

use super::supervisor::{self, Failure};
use super::{ConnectError, LinkConfig, Shared};
use crate::system::{Host, System};
use crate::tls::RobotTls;

pub(super) fn spawn(
    shared: Arc<Shared>,
    config: LinkConfig,
    system: Arc<dyn System>,
    host: Option<Arc<dyn Host>>,
) -> Result<(), ConnectError> {
    let (starter, home) = (system.clone(), host.clone());
    let thread = move || {
        let _ended = Ended(shared.clone());
        let serve = || serve(&shared, config, system, host);
        match panic::catch_unwind(AssertUnwindSafe(serve)) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => shared.lock().connect_error = Some(error),
            Err(payload) => {
                // Its destructor may panic as well.
                std::mem::forget(payload);
                shared.lose("internal error on the transport thread".into());
            }
        }
    };
    let start = || starter.start("rrto-transport".into(), Box::new(thread));
    let started = match home {
        Some(home) => home.start(Box::new(start)),
        None => start(),
    };
    started.map_err(ConnectError::System)
}

fn serve(
    shared: &Arc<Shared>,
    config: LinkConfig,
    system: Arc<dyn System>,
    host: Option<Arc<dyn Host>>,
) -> Result<(), ConnectError> {
    let mut builder = Builder::new_current_thread();
    let bell = host.as_deref().map(Host::enter).transpose().map_err(ConnectError::System)?;
    // Here, where the program may have no descriptor left.
    let tls = config.credentials.robot()?;
    if let Some(host) = host {
        builder.on_thread_start(move || host.enter_helper());
    }
    // After a panic neither is dropped.
    let runtime = ManuallyDrop::new(builder.enable_all().build().map_err(ConnectError::System)?);
    let mut transport = ManuallyDrop::new(Box::pin(async move {
        if let Some(bell) = bell {
            // It need not be a pipe: for reading any descriptor does that can be waited for.
            let rung = pipe::Receiver::from_owned_fd_unchecked(bell.rung).map_err(ConnectError::System)?;
            let listening = shared.clone();
            tokio::spawn(async move { listening.hot.listen(bell.ring, rung).await });
        }
        carry(shared.clone(), config, tls, system).await;
        Ok(())
    }));
    let outcome = runtime.block_on(transport.as_mut());
    drop(ManuallyDrop::into_inner(transport));
    // A look at the name service may still be going on.
    ManuallyDrop::into_inner(runtime).shutdown_background();
    outcome
}

/// Connects, and carries the session to its end.
pub(super) async fn carry(shared: Arc<Shared>, config: LinkConfig, tls: RobotTls, system: Arc<dyn System>) {
    let _ended = Ended(shared.clone());
    let outcome = supervisor::run(&shared, config, tls, &system).await;
    let mut state = shared.lock();
    match outcome {
        Ok(()) => {}
        Err(Failure::Connect(error)) => {
            let suspicion = state.suspicion.take();
            state.connect_error = Some(error.or(suspicion));
        }
        Err(Failure::Stream(error)) => state.engine.handle_lost(rrto_core::engine::Lost(error.to_string())),
    }
}

/// However the transport thread ends, also by a panic, nobody waits for it any longer.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.hot.end();
        self.0.lose("the transport thread has ended".into());
        let mut state = self.0.lock();
        state.before = state.before.and(state.connection.as_ref());
        // The last who has a connection closes it, for which it wakes this thread's runtime: nobody else shall.
        state.connection = None;
        state.paths.clear();
        state.closed = true;
        self.0.changed.notify_all();
    }
}
