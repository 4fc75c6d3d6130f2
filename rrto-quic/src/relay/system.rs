//! The system of an endpoint that is behind a relay, or that reaches one which is.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::Duration;

use quinn::{AsyncUdpSocket, Runtime};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::watch;

use super::address::{RelayAddress, ServerAddress};
use super::key::{RoomKey, RoomKeyError};
use super::registration::{Registration, Standing};
use super::socket::RelaySocket;
use super::wire::{FlowId, HEADER_BYTES, Party, RefusedReason, Role};
use crate::reports::ClosedPorts;
use crate::routes::Routes;
use crate::system::{Later, System};
use crate::tls::Credentials;

/// How soon the name service is asked again that did not say where the relay is.
const RESOLVE_RETRY: Duration = Duration::from_secs(5);

/// How long a client waits for a server that is not in the room: it may have to come back after a restart of the relay.
const SERVER_PATIENCE: Duration = Duration::from_secs(3);

/// The longest datagram that is sent through a relay, bytes of UDP payload without the relay's header. What Ethernet carries with
/// either version of IP: nobody can say what the interface on the other side of the relay does.
const RELAYED_DATAGRAM_BYTES: u16 = 1452 - HEADER_BYTES as u16;

/// Why there is no way through a relay.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The room's secret cannot be used.
    #[error(transparent)]
    Key(#[from] RoomKeyError),
    /// The relay does not answer.
    #[error(
        "no answer from the relay of {address}: is that its address, is rrto-gpud relay running there, and does no firewall stop UDP?"
    )]
    Silent {
        /// As configured.
        address: RelayAddress,
    },
    /// Nothing listens on the relay's port.
    #[error(
        "the machine of the relay of {address} is there, and nothing listens on that UDP port: is rrto-gpud relay running there, and is \
         this its port?"
    )]
    Closed {
        /// As configured.
        address: RelayAddress,
    },
    /// It does not want this party.
    #[error("the relay of {address} refuses: {}", reason.text())]
    Refused {
        /// As configured.
        address: RelayAddress,
        /// Why.
        reason: RefusedReason,
    },
    /// It forwards, but to nobody.
    #[error("there is no server in the room of {address}: is rrto-gpud running with --relay {address}?")]
    NoServer {
        /// As configured.
        address: RelayAddress,
    },
}

/// A way to a server.
#[derive(Debug)]
pub(crate) struct Way {
    /// What sockets to bind for it are at.
    pub(crate) local: SocketAddr,
    /// The server's address, on such a socket.
    pub(crate) server: SocketAddr,
    /// Whose sockets to take.
    pub(crate) system: Arc<dyn System>,
    relay: Option<Arc<Relayed>>,
}

impl Way {
    /// The way to `server` by one of the addresses that its [`ServerAddress::host_and_port`] has.
    ///
    /// # Errors
    /// The secret of a relay's room cannot be used.
    pub(crate) fn to(
        server: &ServerAddress,
        address: SocketAddr,
        system: &Arc<dyn System>,
        credentials: &Credentials,
    ) -> Result<Way, RelayError> {
        let local = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        Ok(match server {
            ServerAddress::Direct(_) => Way { local, server: address, system: system.clone(), relay: None },
            ServerAddress::Relayed(room) => {
                let key = RoomKey::read(&room.key_path(credentials))?;
                let relayed = Relayed::new(system.clone(), room.clone(), key, Some(address));
                let relayed = Arc::new(relayed);
                let server = FlowId::SERVER.address();
                Way { local, server, system: relayed.clone(), relay: Some(relayed) }
            }
        })
    }

    /// Waits until the relay says that it forwards to the server, if there is one on this way: to know what is wrong if not. An
    /// endpoint must be running on a socket of [`Self::system`].
    ///
    /// # Errors
    /// Why it does not.
    pub(crate) async fn ready(&self) -> Result<(), RelayError> {
        match &self.relay {
            Some(relay) => relay.ready().await,
            None => Ok(()),
        }
    }
}

/// A system whose sockets reach a room of a relay.
#[derive(Debug)]
pub(crate) struct Relayed {
    below: Arc<dyn System>,
    address: RelayAddress,
    key: RoomKey,
    /// Where the relay is. A client knows it; a server finds it out, and finds it again.
    relay: Option<SocketAddr>,
    /// Of the socket that last learned something.
    standing: watch::Sender<Standing>,
}

impl Relayed {
    fn new(below: Arc<dyn System>, address: RelayAddress, key: RoomKey, relay: Option<SocketAddr>) -> Self {
        Relayed { below, address, key, relay, standing: watch::Sender::new(Standing::Unknown) }
    }

    /// For a server: it is reached directly as before, and through the relay too, from when on that answers. A relay that does
    /// not is tried until it does, and the log is told.
    ///
    /// # Errors
    /// The room's secret cannot be used.
    pub(crate) fn server(
        below: Arc<dyn System>,
        address: &RelayAddress,
        credentials: &Credentials,
    ) -> Result<Self, RoomKeyError> {
        let key = RoomKey::read(&address.key_path(credentials))?;
        Ok(Relayed::new(below, address.clone(), key, None))
    }

    /// A socket on `below` that is registered with the relay.
    fn registered(&self, below: Arc<dyn AsyncUdpSocket>) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let role = if self.relay.is_some() { Role::Client } else { Role::Server };
        let now = tokio::time::Instant::now().into_std();
        let registration = Registration::new(self.key.clone(), role, random_party()?, now);
        let socket = RelaySocket::new(below, registration, self.standing.clone());
        match self.relay {
            Some(relay) => socket.set_relay(relay)?,
            None => {
                let standing = self.standing.subscribe();
                let system = self.below.clone();
                tokio::spawn(follow(system, Arc::downgrade(&socket), standing, self.address.clone()));
            }
        }
        Ok(socket)
    }

    async fn ready(&self) -> Result<(), RelayError> {
        let mut standing = self.standing.subscribe();
        let heard = standing.wait_for(|standing| *standing != Standing::Unknown).await.map(|heard| *heard);
        let decided = |standing: &Standing| *standing != Standing::Registered { server_present: false };
        let last = match heard {
            Ok(heard) if !decided(&heard) => {
                let _ = tokio::time::timeout(SERVER_PATIENCE, standing.wait_for(decided)).await;
                *standing.borrow()
            }
            Ok(heard) => heard,
            // The sender lives as long as this does.
            Err(_) => Standing::Silent,
        };
        let address = self.address.clone();
        match last {
            Standing::Registered { server_present: true } => Ok(()),
            Standing::Registered { server_present: false } => Err(RelayError::NoServer { address }),
            Standing::Refused(reason) => Err(RelayError::Refused { address, reason }),
            Standing::Unknown | Standing::Silent => Err(RelayError::Silent { address }),
        }
    }
}

impl System for Relayed {
    fn bind(&self, local: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        self.registered(self.below.bind(local)?)
    }

    fn bind_watched(&self, local: SocketAddr) -> io::Result<(Arc<dyn AsyncUdpSocket>, ClosedPorts)> {
        // What is reported of those who are reached directly; a relay's host knows nothing of its clients' programs.
        let (socket, reports) = self.below.bind_watched(local)?;
        Ok((self.registered(socket)?, reports))
    }

    fn runtime(&self) -> Arc<dyn Runtime> {
        self.below.runtime()
    }

    fn datagram_bytes(&self, peer: SocketAddr) -> io::Result<u16> {
        match FlowId::of_address(peer) {
            Some(_) => Ok(RELAYED_DATAGRAM_BYTES),
            None => self.below.datagram_bytes(peer),
        }
    }

    fn resolve(&self, host_and_port: String) -> Later<io::Result<Vec<SocketAddr>>> {
        self.below.resolve(host_and_port)
    }

    fn objection(&self, peer: SocketAddr) -> Later<io::Error> {
        self.below.objection(FlowId::of_address(peer).and(self.relay).unwrap_or(peer))
    }

    fn source(&self, peer: SocketAddr) -> io::Result<IpAddr> {
        // Packets to a flow go to the relay.
        self.below.source(FlowId::of_address(peer).and(self.relay).unwrap_or(peer))
    }

    fn routes(&self) -> Option<Routes> {
        self.below.routes()
    }

    fn start(&self, name: String, work: Box<dyn FnOnce() + Send>) -> io::Result<()> {
        self.below.start(name, work)
    }

    fn seed(&self) -> Option<[u8; 32]> {
        self.below.seed()
    }
}

/// Tries the relay's addresses in turn, asking for them again each time, and tells the log what comes of it.
async fn follow(
    below: Arc<dyn System>,
    socket: Weak<RelaySocket>,
    mut standing: watch::Receiver<Standing>,
    address: RelayAddress,
) {
    let mut told = Standing::Unknown;
    loop {
        let mut tried = false;
        match below.resolve(address.relay.clone()).await {
            Ok(relays) => {
                for relay in relays {
                    let Some(living) = socket.upgrade() else { return };
                    if living.set_relay(relay).is_err() {
                        continue;
                    }
                    drop(living);
                    tried = true;
                    if until_silent(&mut standing, &address, &mut told).await.is_err() {
                        return;
                    }
                }
            }
            Err(error) => tracing::warn!(%address, %error, "cannot find the relay"),
        }
        if !tried {
            tokio::time::sleep(RESOLVE_RETRY).await;
        }
    }
}

/// An error if the socket is gone.
async fn until_silent(
    standing: &mut watch::Receiver<Standing>,
    address: &RelayAddress,
    told: &mut Standing,
) -> Result<(), watch::error::RecvError> {
    loop {
        let now = *standing.borrow_and_update();
        if now != Standing::Unknown && std::mem::replace(told, now) != now {
            tell(now, address);
        }
        if now == Standing::Silent {
            return Ok(());
        }
        standing.changed().await?;
    }
}

fn tell(standing: Standing, address: &RelayAddress) {
    match standing {
        Standing::Registered { .. } => tracing::info!(%address, "clients can connect through the relay"),
        Standing::Refused(reason) => tracing::warn!(%address, "the relay refuses: {}", reason.text()),
        Standing::Silent | Standing::Unknown => {
            tracing::warn!(%address, "the relay does not answer; trying on")
        }
    }
}

fn random_party() -> io::Result<Party> {
    let mut party = [0; 16];
    let failed = |_| io::Error::other("the system gives no random bytes");
    SystemRandom::new().fill(&mut party).map_err(failed)?;
    Ok(Party(party))
}
