//! Makes connections to the server: one socket, however many are tried.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use quinn::{Connecting, Connection, Endpoint};

use super::{ConnectError, LinkConfig, resolve};
use crate::relay::{AddressError, ServerAddress, Way};
use crate::routes::Routes;
use crate::system::System;
use crate::tls::SERVER_NAME;
use crate::transport;

/// The way to the server.
pub(super) struct Dialler {
    endpoint: Endpoint,
    way: Way,
    /// With the tickets of earlier connections.
    client: quinn::ClientConfig,
    config: LinkConfig,
    routes: Option<Routes>,
    /// The address that packets left from when it was looked at.
    source: Option<IpAddr>,
}

impl Dialler {
    /// Tries the server's addresses one after the other, until one answers.
    pub(super) async fn connect(
        config: &LinkConfig,
        client: &quinn::ClientConfig,
        system: &Arc<dyn System>,
    ) -> Result<(Dialler, Connection), ConnectError> {
        let name = &config.server;
        let unusable = |error: AddressError| unusable(name, &error.to_string());
        let server: ServerAddress = name.parse().map_err(unusable)?;
        let mut failure = ConnectError::Timeout { server: name.clone() };
        for address in resolve(server.host_and_port())? {
            let way = Way::to(&server, address, system, &config.credentials)?;
            let dialler = Dialler {
                endpoint: transport::endpoint(&*way.system, way.local, None)?,
                client: client.clone(),
                config: config.clone(),
                routes: way.system.routes(),
                source: way.system.source(way.server).ok(),
                way,
            };
            // Later it need not be asked: a relay that was restarted keeps nobody waiting for this.
            if let Err(error) = dialler.way.ready().await {
                failure = error.into();
                continue;
            }
            match dialler.dial()?.await {
                Ok(connection) => return Ok((dialler, connection)),
                Err(error) => failure = ConnectError::of(&config.server, &error),
            }
        }
        Err(failure)
    }

    /// Begins a connection.
    pub(super) fn dial(&self) -> Result<Connecting, ConnectError> {
        let mut client = self.client.clone();
        // What the interface carries may have changed with it.
        let LinkConfig { silence_timeout, congestion, .. } = self.config;
        client.transport_config(transport::parameters(
            &*self.way.system,
            self.way.server,
            silence_timeout,
            true,
            false,
            congestion,
        ));
        let connecting = self.endpoint.connect_with(client, self.way.server, SERVER_NAME);
        connecting.map_err(|error| unusable(&self.config.server, &error.to_string()))
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
        let source = self.way.system.source(self.way.server).ok();
        let has_moved = source.is_some() && source != self.source;
        if has_moved {
            self.source = source;
            // Without a new socket the old one goes on: it is bound to no address.
            let _ = self.rebind();
        }
        has_moved
    }

    /// Goes on with all connections from another port, and by the way that the system now knows. Each tells the server, which
    /// checks the address and goes on too (RFC 9000, section 9).
    pub(super) fn rebind(&self) -> io::Result<()> {
        self.endpoint.rebind_abstract(self.way.system.bind(self.way.local)?)
    }
}

fn unusable(server: &str, reason: &str) -> ConnectError {
    ConnectError::Address { server: server.to_owned(), reason: reason.to_owned() }
}
