//! Why a link did not come about, each with what to do about it.

use quinn::{ConnectionError, TransportErrorCode};

use crate::relay::RelayError;
use crate::tls::CredentialsError;

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// This robot's certificate files cannot be used.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The server's name means nothing.
    #[error("cannot find the server {server}: {reason} (expected HOST:PORT, or relay://HOST:PORT/ROOM)")]
    Address {
        /// As configured.
        server: String,
        /// Why.
        reason: String,
    },
    /// This machine gave no socket or thread.
    #[error("cannot open a UDP socket or start a thread: {0}")]
    System(#[from] std::io::Error),
    /// Nobody answers.
    #[error("no answer from {server}: is rrto-gpud running there, and does UDP get through?")]
    Timeout {
        /// As configured.
        server: String,
    },
    /// There is no way through the relay.
    #[error(transparent)]
    Relay(#[from] RelayError),
    /// One side does not accept the other's certificate.
    #[error(
        "{server} and this robot do not accept each other's certificates ({reason}): use certificates of the same authority on both sides"
    )]
    Certificate {
        /// As configured.
        server: String,
        /// What TLS said.
        reason: String,
    },
    /// The server has no room for a connection at present.
    #[error("{server} has no room for another connection at present: try again later")]
    Busy {
        /// As configured.
        server: String,
    },
    /// The server answered and does not take this client.
    #[error("{server} does not take this client: {reason}")]
    Refused {
        /// As configured.
        server: String,
        /// What it said.
        reason: String,
    },
}

impl ConnectError {
    /// What a connection's end before the welcome means.
    pub(super) fn of(server: &str, error: &ConnectionError) -> Self {
        let server = server.to_owned();
        let reason = error.to_string();
        // Codes 0x100 to 0x1ff carry a TLS alert (RFC 9001, section 4.8).
        let is_tls = |code: u64| (0x100..0x200).contains(&code);
        match error {
            ConnectionError::TimedOut => ConnectError::Timeout { server },
            ConnectionError::TransportError(error) if is_tls(error.code.into()) => {
                ConnectError::Certificate { server, reason: error.reason.clone() }
            }
            ConnectionError::ConnectionClosed(close) if is_tls(close.error_code.into()) => {
                let reason = String::from_utf8_lossy(&close.reason).into_owned();
                ConnectError::Certificate { server, reason: format!("the server says: {reason}") }
            }
            // Not "never" but "not now" (RFC 9000, section 20.1), and not authenticated, so nothing to rely on. The second is what a
            // server says that gives up a handshake for another one.
            ConnectionError::ConnectionClosed(close)
                if [TransportErrorCode::CONNECTION_REFUSED, TransportErrorCode::APPLICATION_ERROR]
                    .contains(&close.error_code) =>
            {
                ConnectError::Busy { server }
            }
            ConnectionError::ApplicationClosed(close) => {
                ConnectError::Refused { server, reason: String::from_utf8_lossy(&close.reason).into_owned() }
            }
            _ => ConnectError::Refused { server, reason },
        }
    }
}
