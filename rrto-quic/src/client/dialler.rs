//! Makes connections to the server, wherever its name leads: to the address at which it was found, and, where that is silent, to the
//! others that the name has or has got since.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quinn::{Connecting, Connection};
use tokio::time::Instant;

use super::race::{self, Plan, Reach};
use super::{ConnectError, LinkConfig, Shared};
use crate::names::Names;
use crate::relay::{AddressError, ServerAddress};
use crate::routes::Routes;
use crate::system::System;
use crate::tls::RobotTls;

/// How often another address is tried beside the one where the server was: less often, because it is there most of the time.
const OTHERS_EVERY: Duration = Duration::from_millis(250);

/// The way to the server.
pub(super) struct Dialler {
    plan: Arc<Plan>,
    names: Names,
    /// Where the session is carried, or was.
    home: Reach,
    /// Other addresses, as they are tried.
    others: Vec<Reach>,
    /// Which of them is next, counted on for ever.
    turn: usize,
    next_other: Instant,
    routes: Option<Routes>,
    /// The address that packets left from when it was looked at.
    source: Option<IpAddr>,
}

impl Dialler {
    /// Looks the server's name up, and tries all of its addresses.
    pub(super) async fn connect(
        shared: &Arc<Shared>,
        config: &LinkConfig,
        tls: &RobotTls,
        system: &Arc<dyn System>,
    ) -> Result<(Dialler, Connection), ConnectError> {
        let name = &config.server;
        let unusable =
            |error: AddressError| ConnectError::Address { server: name.clone(), reason: error.to_string() };
        let server: ServerAddress = name.parse().map_err(unusable)?;
        let names = Names::new(system.clone(), server.host_and_port());
        let addresses = names
            .look_up()
            .await
            .map_err(|error| ConnectError::Unresolved { server: name.clone(), reason: error.to_string() })?;
        let plan =
            Arc::new(Plan { server, config: config.clone(), tls: tls.clone(), system: system.clone() });
        let (home, connection) = race::first(shared, &plan, addresses).await?;
        let dialler = Dialler {
            names,
            others: Vec::new(),
            turn: 0,
            next_other: Instant::now(),
            routes: home.way.system.routes(),
            source: home.way.system.source(home.way.server).ok(),
            plan,
            home,
        };
        Ok((dialler, connection))
    }

    /// Where the session is carried, or was.
    pub(super) fn home(&self) -> SocketAddr {
        self.home.address
    }

    /// Begins a connection to where the server was. It may have moved, so its name is looked up again meanwhile.
    pub(super) fn dial(&self) -> Result<Connecting, ConnectError> {
        self.names.ask();
        self.home.dial(&self.plan)
    }

    /// Begins one to another address that the server's name has or had, if it is time; they take turns.
    pub(super) fn dial_other(&mut self, now: Instant) -> Option<(SocketAddr, Connecting)> {
        let mut addresses = self.names.addresses();
        addresses.retain(|address| *address != self.home.address);
        if addresses.is_empty() || now < self.next_other {
            return None;
        }
        self.next_other = now + OTHERS_EVERY;
        self.turn = self.turn.wrapping_add(1);
        let address = *addresses.get(self.turn % addresses.len())?;
        if !self.others.iter().any(|other| other.address == address) {
            // Where there is no way, there may be one the next time.
            self.others.push(Reach::new(&self.plan, address).ok()?);
        }
        let reach = self.others.iter().find(|other| other.address == address)?;
        Some((address, reach.dial(&self.plan).ok()?))
    }

    /// What the network says about the server's silence, if it says anything.
    pub(super) fn objection(&self) -> impl Future<Output = Option<ConnectError>> + Send + 'static {
        let (plan, address) = (self.plan.clone(), self.home.address);
        async move {
            let objection = plan.system.objection(address).await;
            plan.objected(address, &objection)
        }
    }

    /// The session is carried from now on at this address.
    pub(super) fn settle(&mut self, address: SocketAddr) {
        if let Some(at) = self.others.iter().position(|other| other.address == address) {
            self.home = self.others.swap_remove(at);
            self.source = self.home.way.system.source(self.home.way.server).ok();
        }
        // Connections that are still under way there keep their sockets.
        self.others.clear();
    }

    /// Waits until there may be another way to the server, if the system says so.
    pub(super) async fn routes_changed(&self) {
        match &self.routes {
            Some(routes) => routes.changed().await,
            None => std::future::pending().await,
        }
    }

    /// If packets leave from another address by now, all connections go on from there; whether that is so.
    pub(super) fn follow_source(&mut self) -> bool {
        let source = self.home.way.system.source(self.home.way.server).ok();
        let has_moved = source.is_some() && source != self.source;
        if has_moved {
            self.source = source;
            self.names.forget_when();
            // Without a new socket the old one goes on: it is bound to no address.
            let _ = self.rebind();
        }
        has_moved
    }

    /// Goes on with all connections from another port, and by the way that the system now knows. Each tells the server, which
    /// checks the address and goes on too (RFC 9000, section 9).
    pub(super) fn rebind(&mut self) -> io::Result<()> {
        self.others.clear();
        self.home.endpoint.rebind_abstract(self.home.way.system.bind(self.home.way.local)?)
    }
}
