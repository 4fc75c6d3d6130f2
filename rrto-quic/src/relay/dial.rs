//! How both sides of a QUIC connection get behind a relay.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use quinn::{Endpoint, Runtime, TokioRuntime};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::watch;

use super::address::RelayAddress;
use super::key::{RoomKey, RoomKeyError};
use super::registration::{Registration, Standing};
use super::socket::RelaySocket;
use super::wire::{Party, RefusedReason, Role};
use crate::transport;

/// How soon the name service is asked again that did not say where the relay is.
const RESOLVE_RETRY: Duration = Duration::from_secs(5);

/// Why there is no way through a relay.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The room's secret cannot be used.
    #[error(transparent)]
    Key(#[from] RoomKeyError),
    /// The relay does not answer.
    #[error(
        "no answer from the relay of {address}: is rrto-gpud relay running there, and does UDP get through?"
    )]
    Silent {
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
    #[error("the relay of {address} has no server in that room: is rrto-gpud --relay {address} running?")]
    NoServer {
        /// As configured.
        address: RelayAddress,
    },
    /// This machine gave no socket or no random bytes.
    #[error("cannot open a UDP socket: {0}")]
    System(#[from] io::Error),
}

/// An endpoint that is registered as a client at `relay`, one of the addresses of `address`, and the server's address for it. Takes
/// at most `patience`, for the server may be on its way to the relay too.
///
/// # Errors
/// Why there is none.
pub(crate) async fn dial(
    address: &RelayAddress,
    key: &Path,
    relay: SocketAddr,
    patience: Duration,
) -> Result<(Endpoint, SocketAddr), RelayError> {
    let key = RoomKey::read(key)?;
    let local: SocketAddr = match relay {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let registration = Registration::new(key, Role::Client, random_party()?, Instant::now());
    let server = registration.flow().address();
    let socket = RelaySocket::new(TokioRuntime.wrap_udp_socket(transport::bind(local)?)?, registration);
    let mut standing = socket.standing();
    socket.set_relay(relay)?;
    // Before waiting: it is what receives the relay's answers.
    let endpoint =
        Endpoint::new_with_abstract_socket(transport::endpoint(), None, socket, Arc::new(TokioRuntime))?;
    let decided = |standing: &Standing| match standing {
        Standing::Registered { server_present } => *server_present,
        Standing::Refused(_) | Standing::Silent => true,
        Standing::Unknown => false,
    };
    let _ = tokio::time::timeout(patience, standing.wait_for(decided)).await;
    let address = address.clone();
    let standing = *standing.borrow();
    match standing {
        Standing::Registered { server_present: true } => Ok((endpoint, server)),
        Standing::Registered { server_present: false } => Err(RelayError::NoServer { address }),
        Standing::Refused(reason) => Err(RelayError::Refused { address, reason }),
        Standing::Unknown | Standing::Silent => Err(RelayError::Silent { address }),
    }
}

/// A server's socket that is reached directly as before, and through the relay too, from when on that answers. Must be called in
/// a tokio runtime.
///
/// # Errors
/// The secret or the socket cannot be used. A relay that does not answer is no error: it is tried until it does.
pub(crate) fn serve(
    address: &RelayAddress,
    key: &Path,
    socket: UdpSocket,
) -> Result<Arc<RelaySocket>, RelayError> {
    let registration = Registration::new(RoomKey::read(key)?, Role::Server, random_party()?, Instant::now());
    let socket = RelaySocket::new(TokioRuntime.wrap_udp_socket(socket)?, registration);
    tokio::spawn(follow(Arc::downgrade(&socket), socket.standing(), address.clone()));
    Ok(socket)
}

/// Tries the relay's addresses in turn, asking for them again each time, and tells the log what comes of it.
async fn follow(socket: Weak<RelaySocket>, mut standing: watch::Receiver<Standing>, address: RelayAddress) {
    let mut told = Standing::Unknown;
    loop {
        let mut tried = false;
        match tokio::net::lookup_host(&address.relay).await {
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
            Err(error) => tracing::warn!(relay = address.relay, %error, "cannot find the relay"),
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
