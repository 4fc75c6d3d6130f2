//! Tries all addresses of a server (RFC 8305): the next one is begun before the one before it has been given up, and the first that
//! answers is taken.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::{Connecting, Connection, Endpoint};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::{ConnectError, LinkConfig, Shared};
use crate::relay::{ServerAddress, Way};
use crate::system::System;
use crate::tls::{RobotTls, SERVER_NAME};
use crate::transport;

/// The Connection Attempt Delay (RFC 8305, section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// After this long without an answer the network is asked whether something is wrong: by then most servers have answered.
const DOUBT_AFTER: Duration = Duration::from_millis(300);

/// What connections to a server are made of.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) server: ServerAddress,
    pub(super) config: LinkConfig,
    /// With the tickets of earlier connections.
    pub(super) tls: RobotTls,
    pub(super) system: Arc<dyn System>,
}

/// One of the server's addresses, or its relay's, and a socket to reach it by.
#[derive(Debug)]
pub(super) struct Reach {
    pub(super) address: SocketAddr,
    pub(super) endpoint: Endpoint,
    pub(super) way: Way,
}

impl Reach {
    pub(super) fn new(plan: &Plan, address: SocketAddr) -> Result<Self, ConnectError> {
        let way = Way::to(&plan.server, address, &plan.system, &plan.config.credentials)?;
        if let Err(error) = way.system.source(way.server)
            && let Some(error) = plan.objected(address, &error)
        {
            return Err(error);
        }
        let endpoint = transport::endpoint(&*way.system, way.local, None).map_err(ConnectError::System)?;
        Ok(Reach { address, endpoint, way })
    }

    /// Begins a connection.
    pub(super) fn dial(&self, plan: &Plan) -> Result<Connecting, ConnectError> {
        let mut client = plan.tls.config.clone();
        // What the interface carries may have changed with it.
        let LinkConfig { silence_timeout, congestion, .. } = plan.config;
        client.transport_config(transport::parameters(
            &*self.way.system,
            self.way.server,
            silence_timeout,
            true,
            false,
            congestion,
        ));
        let connecting = self.endpoint.connect_with(client, self.way.server, SERVER_NAME);
        // It is of a family that the socket is not of, or the endpoint has ended.
        connecting
            .map_err(|_| ConnectError::NoRoute { server: plan.config.server.clone(), address: self.address })
    }

    async fn connect(&self, plan: &Plan) -> Result<Connection, ConnectError> {
        // Later it need not be asked: a relay that was restarted keeps nobody waiting for this.
        self.way.ready().await?;
        let connected = self.dial(plan)?.await;
        connected.map_err(|error| ConnectError::of(&plan.config.server, &error, &plan.tls))
    }
}

impl Plan {
    /// What an objection of the network against datagrams to `address` means.
    pub(super) fn objected(&self, address: SocketAddr, objection: &std::io::Error) -> Option<ConnectError> {
        let relay = match &self.server {
            ServerAddress::Direct(_) => None,
            ServerAddress::Relayed(relay) => Some(relay),
        };
        ConnectError::of_objection(&self.config.server, relay, address, objection)
    }
}

/// A connection to the first of `addresses` that answers.
///
/// # Errors
/// What says most about why none does.
pub(super) async fn first(
    shared: &Arc<Shared>,
    plan: &Arc<Plan>,
    addresses: Vec<SocketAddr>,
) -> Result<(Reach, Connection), ConnectError> {
    let mut waiting = addresses.into_iter().peekable();
    let mut tried: JoinSet<Result<_, ConnectError>> = JoinSet::new();
    let mut failure: Option<ConnectError> = None;
    let mut next = Instant::now();
    loop {
        tokio::select! {
            biased;
            Some(ended) = tried.join_next() => match ended {
                Ok(Ok(connected)) => return Ok(connected),
                Ok(Err(error)) => {
                    failure = Some(error.or(failure));
                    next = Instant::now();
                }
                // It was given up, or has panicked, which is told where it happened.
                Err(_) => next = Instant::now(),
            },
            () = sleep_until(next), if waiting.peek().is_some() => {
                if let Some(address) = waiting.next() {
                    tried.spawn(attempt(shared.clone(), plan.clone(), address));
                }
                next = Instant::now() + ATTEMPT_DELAY;
            }
            else => {
                let server = plan.config.server.clone();
                return Err(failure.unwrap_or(ConnectError::Timeout { server }));
            }
        }
    }
}

async fn attempt(
    shared: Arc<Shared>,
    plan: Arc<Plan>,
    address: SocketAddr,
) -> Result<(Reach, Connection), ConnectError> {
    let reach = Reach::new(&plan, address)?;
    let doubt = async {
        sleep(DOUBT_AFTER).await;
        let objection = plan.system.objection(address).await;
        if let Some(error) = plan.objected(address, &objection) {
            shared.suspect(error);
        }
        std::future::pending().await
    };
    let connected = tokio::select! {
        connected = reach.connect(&plan) => connected,
        never = doubt => never,
    };
    connected.map(|connection| (reach, connection))
}
