//! The thread that owns the connection. It drains the engine and feeds it; nothing else touches the network.

use std::sync::Arc;

use super::supervisor::{self, Failure};
use super::{ConnectError, LinkConfig, Shared};
use crate::system::System;
use crate::tls::RobotTls;

pub(super) fn spawn(
    shared: Arc<Shared>,
    config: LinkConfig,
    tls: RobotTls,
    system: Arc<dyn System>,
) -> Result<(), ConnectError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ConnectError::System)?;
    let transport = carry(shared, config, tls, system.clone());
    let thread = Box::new(move || runtime.block_on(transport));
    system.start("rrto-transport".into(), thread).map_err(ConnectError::System)
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
        self.0.lose("the transport thread has ended".into());
        let mut state = self.0.lock();
        state.closed = true;
        self.0.changed.notify_all();
    }
}
