//! Connections with RRTO's certificates, sockets and transport parameters, and nothing else of it.
//!
//! An experiment that asks what RRTO adds to a link compares it with a client and a server that are written for one purpose:
//! these have to run over the very same transport.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quinn::{Connection, Endpoint, ServerConfig, TransportConfig};

use crate::congestion::Congestion;
use crate::system::OperatingSystem;
use crate::tls::{Credentials, CredentialsError, SERVER_NAME};
use crate::transport;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum BareError {
    /// The certificate files cannot be used.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// No socket.
    #[error("cannot open a UDP socket: {0}")]
    Socket(#[from] io::Error),
    /// The address is none to connect to.
    #[error("cannot connect: {0}")]
    Address(#[from] quinn::ConnectError),
    /// The handshake failed.
    #[error("cannot connect: {0}")]
    Connection(#[from] quinn::ConnectionError),
}

/// Takes connections from those who have a certificate of the same authority.
#[derive(Debug)]
pub struct Listener {
    endpoint: Endpoint,
    server: ServerConfig,
    silence: Duration,
}

/// Connections that are resumed: none is.
const CONNECTIONS: u32 = 1;

impl Listener {
    /// Listens; a client that is silent for `silence` is gone. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// Unusable credentials or address.
    pub fn bind(
        address: SocketAddr,
        credentials: &Credentials,
        silence: Duration,
    ) -> Result<Self, BareError> {
        let server = credentials.server_config(CONNECTIONS)?;
        let endpoint = transport::endpoint(&OperatingSystem, address, Some(server.clone()))?;
        Ok(Self { endpoint, server, silence })
    }

    /// The bound address.
    ///
    /// # Errors
    /// The system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// The next connection.
    ///
    /// # Errors
    /// Its handshake failed; there may be others.
    pub async fn accept(&self) -> Result<Connection, BareError> {
        let closed = || io::Error::from(io::ErrorKind::NotConnected);
        let incoming = self.endpoint.accept().await.ok_or_else(closed)?;
        let mut server = self.server.clone();
        let peer = incoming.remote_address();
        server.transport_config(parameters(peer, self.silence, false));
        Ok(incoming.accept_with(Arc::new(server))?.await?)
    }
}

/// Connects to a [`Listener`]; it is gone if it is silent for `silence`. Must be called in a tokio runtime.
///
/// # Errors
/// Unusable credentials, or there is no such server.
pub async fn connect(
    server: SocketAddr,
    credentials: &Credentials,
    silence: Duration,
) -> Result<Connection, BareError> {
    let mut client = credentials.robot()?.config;
    client.transport_config(parameters(server, silence, true));
    let local: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let endpoint = transport::endpoint(&OperatingSystem, local, None)?;
    Ok(endpoint.connect_with(client, server, SERVER_NAME)?.await?)
}

/// Those of a session's connection.
fn parameters(peer: SocketAddr, silence: Duration, is_client: bool) -> Arc<TransportConfig> {
    transport::parameters(&OperatingSystem, peer, silence, is_client, !is_client, Congestion::default())
}
