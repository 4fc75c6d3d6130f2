//! A bare connection with this crate's certificates and transport parameters, for what concerns QUIC alone.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quinn::{Connection, Endpoint, SendStream, TransportConfig, WriteError};

use super::Host;
use crate::congestion::Congestion;
use crate::credit::write_ahead;
use crate::system::System;
use crate::tls::{Credentials, SERVER_NAME};
use crate::transport;

/// A silent peer is gone after this.
const SILENCE: Duration = Duration::from_secs(30);

/// What bare connections are made of.
#[derive(Clone, Debug)]
pub struct PairConfig {
    /// The server's credentials.
    pub server: Credentials,
    /// The robot's credentials.
    pub robot: Credentials,
    /// Both sides' congestion controller.
    pub congestion: Congestion,
    /// Changes the transport parameters of both sides, to see what each is good for.
    pub adjust: fn(&mut TransportConfig),
}

/// A server that accepts bare connections.
#[derive(Debug)]
pub struct PairServer {
    endpoint: Endpoint,
    address: SocketAddr,
}

impl PairConfig {
    /// A server on `host`.
    ///
    /// # Errors
    /// Unusable credentials or address.
    pub fn serve(&self, host: &Host) -> Result<PairServer, Box<dyn std::error::Error>> {
        let mut config = self.server.server_config(1)?;
        let any = (Ipv4Addr::UNSPECIFIED, 0).into();
        config.transport_config(self.parameters(host, any, false));
        let endpoint = transport::endpoint(host, any, Some(config))?;
        let address = SocketAddr::new(host.address(), endpoint.local_addr()?.port());
        Ok(PairServer { endpoint, address })
    }

    fn parameters(&self, system: &dyn System, peer: SocketAddr, is_robot: bool) -> Arc<TransportConfig> {
        let mut parameters =
            transport::parameters(system, peer, SILENCE, is_robot, !is_robot, self.congestion);
        // It was just made, so nobody else has it.
        Arc::get_mut(&mut parameters).into_iter().for_each(self.adjust);
        parameters
    }

    /// A connection from `robot` to `server`: the robot's end and the server's.
    ///
    /// # Errors
    /// The connection's.
    pub async fn connect(
        &self,
        robot: &Host,
        server: &PairServer,
    ) -> Result<(Connection, Connection), Box<dyn std::error::Error>> {
        let mut config = self.robot.robot()?.config;
        config.transport_config(self.parameters(robot, server.address, true));
        let endpoint = transport::endpoint(robot, (Ipv4Addr::UNSPECIFIED, 0).into(), None)?;
        let connecting = endpoint.connect_with(config, server.address, SERVER_NAME)?;
        let accepted = async { Ok(server.endpoint.accept().await.ok_or("the endpoint is closed")?.await?) };
        tokio::try_join!(async { Ok(connecting.await?) }, accepted)
    }
}

/// Writes a control message as sessions do: ahead of all bulk.
///
/// # Errors
/// The stream's.
pub async fn write_control(
    connection: &Connection,
    stream: &mut SendStream,
    bytes: &[u8],
) -> Result<(), WriteError> {
    write_ahead(connection, stream, bytes).await
}
