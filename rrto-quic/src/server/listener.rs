//! Takes connections in.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::{Endpoint, Incoming};
use rrto_core::engine::ServerLimits;

use super::places::{Denied, Place, Places};
use super::registry::Registry;
use super::trust::{Reloader, Trust};
use super::{Gate, ServeConfig, ServeError, connection, look};
use crate::coding::Coding;
use crate::congestion::Congestion;
use crate::hot::{Hot, SERVER_REACH};
use crate::relay::{RelayAddress, Relayed};
use crate::reports::ClosedPorts;
use crate::source::source_of;
use crate::system::{OperatingSystem, System};
use crate::transport;

/// A bound UDP socket that is ready to serve.
pub struct Listener {
    system: Arc<dyn System>,
    endpoint: Endpoint,
    reports: ClosedPorts,
    trust: Arc<Trust>,
    drain: Duration,
    idle_timeout: Duration,
    limits: ServerLimits,
    coding: Coding,
    congestion: Congestion,
    registry: Arc<Registry>,
    max_connections: u32,
    address: SocketAddr,
}

impl Listener {
    /// Binds the socket and loads the credentials. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// Unusable credentials or address.
    pub fn bind(config: ServeConfig) -> Result<Listener, ServeError> {
        Listener::bind_on(Arc::new(OperatingSystem), config)
    }

    /// As [`Listener::bind`]; clients reach it through `relay` too, from when on that answers.
    ///
    /// # Errors
    /// Unusable credentials, room's secret or address.
    pub fn bind_behind(relay: &RelayAddress, config: ServeConfig) -> Result<Listener, ServeError> {
        let relayed = Relayed::server(Arc::new(OperatingSystem), relay, &config.credentials)?;
        Listener::bind_on(Arc::new(relayed), config)
    }

    /// As [`Listener::bind`], with `system`'s socket and threads.
    ///
    /// # Errors
    /// Unusable credentials or address.
    pub fn bind_on(system: Arc<dyn System>, config: ServeConfig) -> Result<Listener, ServeError> {
        let trust = Trust::load(config.credentials, config.max_connections)?;
        let failed = |cause| ServeError::Listen { address: config.listen, cause };
        let (socket, reports) = system.bind_watched(config.listen).map_err(failed)?;
        let endpoint = transport::endpoint_on(&*system, socket, Some(trust.server())).map_err(failed)?;
        let address = endpoint.local_addr().map_err(failed)?;
        Ok(Listener {
            system,
            endpoint,
            reports,
            trust: Arc::new(trust),
            drain: Duration::ZERO,
            idle_timeout: config.idle_timeout,
            limits: config.limits,
            coding: config.coding,
            congestion: config.congestion,
            registry: Arc::new(Registry::new(config.grace, config.max_waiting as usize)),
            max_connections: config.max_connections,
            address,
        })
    }

    /// The bound address.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// What is running when it is to end may go on for so long. Not at all, unless this says otherwise.
    #[must_use]
    pub fn with_drain(self, drain: Duration) -> Self {
        Listener { drain, ..self }
    }

    /// For reading the certificates again.
    pub fn reloader(&self) -> Reloader {
        Reloader { trust: self.trust.clone(), registry: self.registry.clone() }
    }

    /// Serves until `shutdown` is ready. Then it takes no new sessions, and lets those that it has end what they are at, as
    /// long as its [drain](Self::with_drain) allows; what is left is told, and it waits a moment for them to be told.
    pub async fn serve(self, gate: Arc<dyn Gate>, shutdown: impl Future<Output = ()>) {
        let counting = || {
            let gate = gate.clone();
            Box::new(move |what| gate.count(what))
        };
        let places = Arc::new(Places::new(self.max_connections, counting()));
        self.registry.set_count(counting());
        let looking = tokio::spawn(look::follow(self.registry.clone(), self.reports));
        let hot = Arc::new(Hot::new(SERVER_REACH));
        let awake = hot.clone();
        let awake = tokio::spawn(async move { awake.keep_awake().await });
        let mut next_id = 0;
        let drained = async {
            shutdown.await;
            self.registry.drain();
            // It is over when the time is, too.
            let _ = tokio::time::timeout(self.drain, self.registry.empty()).await;
        };
        tokio::pin!(drained);
        loop {
            let incoming = tokio::select! {
                () = &mut drained => break,
                incoming = self.endpoint.accept() => incoming,
            };
            let Some(incoming) = incoming else { break };
            let Some((incoming, place)) = admit(&places, incoming) else { continue };
            next_id += 1;
            let mut server = self.trust.server();
            server.transport_config(transport::parameters(
                &*self.system,
                incoming.remote_address(),
                self.idle_timeout,
                // A program that is gone shows when something is sent to it.
                true,
                true,
                self.congestion,
            ));
            let incoming = (incoming, Arc::new(server));
            let house = connection::House {
                gate: gate.clone(),
                limits: self.limits,
                coding: self.coding,
                registry: self.registry.clone(),
                system: self.system.clone(),
                hot: hot.clone(),
                trust: self.trust.clone(),
                place,
            };
            tokio::spawn(connection::serve(next_id, incoming, house));
        }
        for shared in self.registry.all() {
            shared.end("the server is shutting down");
        }
        let _ = tokio::time::timeout(Duration::from_secs(1), self.endpoint.wait_idle()).await;
        awake.abort();
        looking.abort();
        self.endpoint.close(0u32.into(), b"the server is shutting down");
    }
}

/// A place for a connection, unless there is none, or its client has to show first that it is where it says.
fn admit(places: &Arc<Places>, incoming: Incoming) -> Option<(Incoming, Place)> {
    let source = source_of(incoming.remote_address());
    match places.take(source, incoming.remote_address_validated()) {
        Ok(place) => Some((incoming, place)),
        Err(Denied::Unshown) => {
            // It cannot fail where the address is not validated. Nothing of it is kept; who is there comes again with the token,
            // after a round trip, and also with its early data (RFC 9000, section 8.1.2).
            let _ = incoming.retry();
            None
        }
        Err(Denied::Full) => {
            incoming.refuse();
            None
        }
    }
}
