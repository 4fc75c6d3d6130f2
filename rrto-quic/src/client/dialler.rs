//! Makes connections to the server: one socket, however many are tried.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use quinn::{Connecting, Connection, Endpoint};

use super::{ConnectError, LinkConfig, resolve};
use crate::routes::Routes;
use crate::system::System;
use crate::tls::SERVER_NAME;
use crate::transport;

/// The way to the server.
pub(super) struct Dialler {
    endpoint: Endpoint,
    server: SocketAddr,
    /// With the tickets of earlier connections.
    client: quinn::ClientConfig,
    config: LinkConfig,
    system: Arc<dyn System>,
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
        let mut failure = ConnectError::Timeout { server: config.server.clone() };
        for server in resolve(&config.server)? {
            let dialler = Dialler {
                endpoint: transport::endpoint(&**system, any_address(server), None)?,
                server,
                client: client.clone(),
                config: config.clone(),
                system: system.clone(),
                routes: system.routes(),
                source: system.source(server).ok(),
            };
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
            &*self.system,
            self.server,
            silence_timeout,
            true,
            false,
            congestion,
        ));
        self.endpoint.connect_with(client, self.server, SERVER_NAME).map_err(|error| ConnectError::Address {
            server: self.config.server.clone(),
            reason: error.to_string(),
        })
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
        let source = self.system.source(self.server).ok();
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
        self.endpoint.rebind_abstract(self.system.bind(any_address(self.server))?)
    }
}

fn any_address(server: SocketAddr) -> SocketAddr {
    match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}
