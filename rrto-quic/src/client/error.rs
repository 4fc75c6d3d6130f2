//! Why a link did not come about: one cause, in one sentence, with one thing to do. What QUIC, TLS and the system say is evidence
//! for that, and not the message.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use quinn::{ConnectionError, TransportErrorCode};
use rustls::CertificateError;

use crate::relay::{RelayAddress, RelayError};
use crate::tls::{
    CredentialsError, Date, RobotTls, Validity, alert, is_for_something_else, is_of_another_authority,
};

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// This robot's certificate files cannot be used.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The server's address means nothing.
    #[error("{server} is no address of a server: {reason}")]
    Address {
        /// As configured.
        server: String,
        /// Why.
        reason: String,
    },
    /// The name service does not know the server, or does not answer.
    #[error(
        "cannot find the address of {server} ({reason}): is the name spelt right, and does this machine's network know it?"
    )]
    Unresolved {
        /// As configured.
        server: String,
        /// What the system said.
        reason: String,
    },
    /// This machine gave no socket or thread.
    #[error("cannot open a UDP socket or start a thread: {0}")]
    System(io::Error),
    /// This machine has no way to the server.
    #[error("this machine has no way to {server} ({address}): is its network up?")]
    NoRoute {
        /// As configured.
        server: String,
        /// The address that was tried.
        address: SocketAddr,
    },
    /// Nobody answers.
    #[error(
        "no answer from {server}: is that its address, is rrto-gpud running there, and does no firewall stop UDP?"
    )]
    Timeout {
        /// As configured.
        server: String,
    },
    /// The server's machine says that nothing listens there.
    #[error(
        "the machine of {server} is there ({address}), and nothing listens on that UDP port: is rrto-gpud running there, and is this its port?"
    )]
    Closed {
        /// As configured.
        server: String,
        /// The address that was tried.
        address: SocketAddr,
    },
    /// There is no way through the relay.
    #[error(transparent)]
    Relay(#[from] RelayError),
    /// Something else is there.
    #[error(
        "what answers at {server} is no rrto-gpud that this robot could talk to ({reason}): is it the right address, and is RRTO of the same \
         release on both sides?"
    )]
    Stranger {
        /// As configured.
        server: String,
        /// How it showed.
        reason: String,
    },
    /// This robot does not accept the server's certificate.
    #[error("the certificate of {server} {fault}")]
    ServerCertificate {
        /// As configured.
        server: String,
        /// What is wrong with it.
        fault: ServerFault,
    },
    /// The server does not accept this robot's certificate.
    #[error("{server} does not accept {}: {fault}", path.display())]
    RobotCertificate {
        /// As configured.
        server: String,
        /// The certificate.
        path: PathBuf,
        /// What is wrong with it.
        fault: RobotFault,
    },
    /// The server has no room for a connection at present.
    #[error("{server} has no room for another connection at present: try again later")]
    Busy {
        /// As configured.
        server: String,
    },
    /// The server has accepted the connection, and says nothing.
    #[error(
        "{server} is there, and has not said in time whether it takes this program: is its device busy? RRTO_CONNECT_TIMEOUT_MS is how \
         long to wait"
    )]
    NoWelcome {
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

/// What is wrong with the certificate that a server has shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ServerFault {
    /// It is not good yet, and this robot's own is: so it is newer, and this machine's clock may be behind it.
    NotYetValid {
        /// From when it is.
        from: Date,
        /// What this machine's clock says.
        now: Date,
    },
    /// It is no longer good.
    Expired {
        /// Until when it was.
        until: Date,
        /// What this machine's clock says.
        now: Date,
    },
    /// It is not of the authority that this robot trusts.
    OtherAuthority {
        /// The authority's certificate.
        ca: PathBuf,
    },
    /// It was not made for a server.
    OtherRole,
    /// Something that `rrto certs` does not do.
    Other(String),
}

impl fmt::Display for ServerFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServerFault::NotYetValid { from, now } => write!(
                out,
                "is valid only from {from}, and the clock of this machine says {now}: set the clock that is wrong"
            ),
            ServerFault::Expired { until, now } => write!(
                out,
                "has expired on {until} (the clock of this machine says {now}): make another one, with `rrto certs DIR --add-server` \
                 where its ca.key is, and start rrto-gpud with it"
            ),
            ServerFault::OtherAuthority { ca } => write!(
                out,
                "is not of the authority of {}: give the server and this robot files that one `rrto certs` has made together",
                ca.display()
            ),
            ServerFault::OtherRole => out
                .write_str("is not a server's: start rrto-gpud with server.pem, as `rrto certs` has made it"),
            ServerFault::Other(reason) => write!(
                out,
                "cannot be used ({reason}): start rrto-gpud with server.pem, as `rrto certs` has made it"
            ),
        }
    }
}

/// What a server finds wrong with a robot's certificate, by its TLS alert (RFC 8446, section 6.2).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RobotFault {
    /// It is not good by the server's clock, though it is by this machine's.
    OtherClock {
        /// When it is good.
        validity: Validity,
        /// What this machine's clock says.
        now: Date,
    },
    /// It has been revoked.
    Revoked,
    /// The server trusts another authority.
    OtherAuthority,
    /// The server does not say what.
    Other {
        /// The alert's number.
        alert: u8,
    },
}

impl RobotFault {
    fn of(alert: u8, validity: Validity) -> Self {
        match alert {
            alert::EXPIRED => RobotFault::OtherClock { validity, now: Date::now() },
            alert::REVOKED => RobotFault::Revoked,
            alert if alert::is_of_another_authority(alert) => RobotFault::OtherAuthority,
            alert => RobotFault::Other { alert },
        }
    }
}

impl fmt::Display for RobotFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RobotFault::OtherClock { validity: Validity { from, until }, now } => write!(
                out,
                "by its clock that is not valid now; it is from {from} until {until}, and the clock of this machine says {now}: set \
                 the clock that is wrong"
            ),
            RobotFault::Revoked => {
                out.write_str("it is revoked there: ask whoever runs the server for another certificate")
            }
            RobotFault::OtherAuthority => out.write_str(
                "its ca.pem is of another authority: give the server and this robot files that one `rrto certs` has made together",
            ),
            RobotFault::Other { alert } => {
                write!(out, "TLS alert {alert}; its log says more. Take a certificate that `rrto certs` has made for this robot")
            }
        }
    }
}

impl ConnectError {
    /// What a connection's end before the welcome means.
    pub(super) fn of(server: &str, error: &ConnectionError, tls: &RobotTls) -> Self {
        let server = server.to_owned();
        let stranger = |server, reason: &str| ConnectError::Stranger { server, reason: reason.to_owned() };
        match error {
            ConnectionError::TimedOut => ConnectError::Timeout { server },
            ConnectionError::VersionMismatch => stranger(server, "it speaks another version of QUIC"),
            ConnectionError::TransportError(error) => match alert::of_code(error.code.into()) {
                Some(alert) if alert::is_about_certificates(alert) => {
                    let fault = ServerFault::of(tls, &error.reason);
                    ConnectError::ServerCertificate { server, fault }
                }
                _ => stranger(server, &error.to_string()),
            },
            // Not "never" but "not now" (RFC 9000, section 20.1), and not authenticated, so nothing to rely on. The second, or a
            // close without a word, is what a server says that gives up a handshake for another one.
            ConnectionError::ConnectionClosed(close)
                if [TransportErrorCode::CONNECTION_REFUSED, TransportErrorCode::APPLICATION_ERROR]
                    .contains(&close.error_code) =>
            {
                ConnectError::Busy { server }
            }
            ConnectionError::ConnectionClosed(close) => match alert::of_code(close.error_code.into()) {
                Some(alert) if alert::is_about_certificates(alert) => ConnectError::RobotCertificate {
                    server,
                    path: tls.files.certificate.clone(),
                    fault: RobotFault::of(alert, tls.validity),
                },
                Some(alert) => stranger(server, &format!("TLS alert {alert}")),
                None => stranger(server, &close.to_string()),
            },
            ConnectionError::ApplicationClosed(close) if close.reason.is_empty() => {
                ConnectError::Busy { server }
            }
            ConnectionError::ApplicationClosed(close) => {
                ConnectError::Refused { server, reason: String::from_utf8_lossy(&close.reason).into_owned() }
            }
            error => ConnectError::Refused { server, reason: error.to_string() },
        }
    }

    /// What an objection of the network against datagrams to `address` means, where that is the server's or, if it is behind one, the
    /// relay's; `None` for one that says nothing.
    pub(super) fn of_objection(
        server: &str,
        relay: Option<&RelayAddress>,
        address: SocketAddr,
        objection: &io::Error,
    ) -> Option<Self> {
        use io::ErrorKind as Kind;
        let server = server.to_owned();
        match (objection.kind(), relay) {
            (Kind::ConnectionRefused, None) => Some(ConnectError::Closed { server, address }),
            (Kind::ConnectionRefused, Some(relay)) => {
                Some(RelayError::Closed { address: relay.clone() }.into())
            }
            (Kind::NetworkUnreachable | Kind::HostUnreachable | Kind::AddrNotAvailable, _) => {
                Some(ConnectError::NoRoute { server, address })
            }
            _ => None,
        }
    }

    /// How much it says about what is wrong. Of several addresses the one that says most is told, and what was found out while
    /// waiting is told instead of that nothing came.
    pub(super) fn weight(&self) -> u8 {
        match self {
            ConnectError::System(_) => 0,
            ConnectError::NoRoute { .. } | ConnectError::Unresolved { .. } => 1,
            ConnectError::Timeout { .. } | ConnectError::Relay(RelayError::Silent { .. }) => 2,
            ConnectError::Closed { .. }
            | ConnectError::NoWelcome { .. }
            | ConnectError::Relay(RelayError::Closed { .. }) => 3,
            ConnectError::Busy { .. } | ConnectError::Relay(_) => 4,
            ConnectError::Stranger { .. } => 5,
            ConnectError::Address { .. }
            | ConnectError::Credentials(_)
            | ConnectError::ServerCertificate { .. }
            | ConnectError::RobotCertificate { .. }
            | ConnectError::Refused { .. } => 6,
        }
    }

    /// The one of the two that says more.
    pub(super) fn or(self, other: Option<Self>) -> Self {
        match other {
            Some(other) if other.weight() > self.weight() => other,
            _ => self,
        }
    }

    /// Whether it may be gone in a moment.
    pub(super) fn may_pass(&self) -> bool {
        matches!(
            self,
            ConnectError::Busy { .. }
                | ConnectError::NoRoute { .. }
                | ConnectError::Unresolved { .. }
                | ConnectError::Timeout { .. }
        )
    }
}

impl ServerFault {
    /// What the certificate was refused for, which the connection's error says only in words of its own.
    fn of(tls: &RobotTls, reason: &str) -> Self {
        use CertificateError as E;
        let Some(refused) = tls.witness.refused() else { return ServerFault::Other(reason.to_owned()) };
        let now = Date::now();
        match (&refused.error, refused.validity) {
            (E::NotValidYet | E::NotValidYetContext { .. }, Some(validity)) => {
                ServerFault::NotYetValid { from: validity.from, now }
            }
            (E::Expired | E::ExpiredContext { .. }, Some(validity)) => {
                ServerFault::Expired { until: validity.until, now }
            }
            (error, _) if is_of_another_authority(error) => {
                ServerFault::OtherAuthority { ca: tls.files.ca.clone() }
            }
            (error, _) if is_for_something_else(error) => ServerFault::OtherRole,
            _ => ServerFault::Other(reason.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_are_told_apart() {
        let validity = Validity { from: Date::from_unix(0), until: Date::from_unix(86_400) };
        for (alert, words) in [
            (alert::EXPIRED, "from 1970-01-01 00:00 UTC until 1970-01-02 00:00 UTC"),
            (alert::REVOKED, "is revoked"),
            (alert::UNKNOWN_CA, "of another authority"),
            (alert::DECRYPT_ERROR, "of another authority"),
            (116, "TLS alert 116"),
        ] {
            let said = RobotFault::of(alert, validity).to_string();
            assert!(said.contains(words), "{alert}: {said}");
        }
    }

    #[test]
    fn what_says_more_is_told() {
        let server = || String::from("gpu:1");
        let address = ([10, 0, 0, 1], 1).into();
        let closed = || ConnectError::Closed { server: server(), address };
        let silent = || ConnectError::Timeout { server: server() };
        let unwelcome = || ConnectError::NoWelcome { server: server() };
        let busy = || ConnectError::Busy { server: server() };
        let away = || ConnectError::NoRoute { server: server(), address };
        for (one, other, told) in [
            (silent(), Some(closed()), closed()),
            (closed(), Some(silent()), closed()),
            (away(), Some(silent()), silent()),
            (away(), None, away()),
            (busy(), Some(closed()), busy()),
            (busy(), Some(unwelcome()), busy()),
            (silent(), Some(unwelcome()), unwelcome()),
        ] {
            assert_eq!(one.or(other).to_string(), told.to_string());
        }
    }
}
