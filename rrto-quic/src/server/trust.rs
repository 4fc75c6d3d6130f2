//! Whom the server is and whom it takes: read from the files when it starts, and again when it is told to.

use std::sync::{Arc, PoisonError, RwLock};

use quinn::ServerConfig;
use rrto_core::wire::Refusal;

use super::registry::Registry;
use crate::tls::{Credentials, CredentialsError, Revoked, peer_certificate};

/// What new connections are made with and checked by.
#[derive(Debug)]
pub(super) struct Trust {
    credentials: Credentials,
    connections: u32,
    state: RwLock<State>,
}

#[derive(Clone, Debug)]
struct State {
    /// Without what depends on the peer.
    server: ServerConfig,
    revoked: Arc<Revoked>,
}

impl State {
    fn load(credentials: &Credentials, connections: u32) -> Result<Self, CredentialsError> {
        let server = credentials.server_config(connections)?;
        Ok(State { server, revoked: Arc::new(Revoked::read(&credentials.ca)?) })
    }
}

impl Trust {
    /// # Errors
    /// The files cannot be used.
    pub(super) fn load(credentials: Credentials, connections: u32) -> Result<Self, CredentialsError> {
        let state = RwLock::new(State::load(&credentials, connections)?);
        Ok(Trust { credentials, connections, state })
    }

    fn state(&self) -> State {
        // It is replaced as a whole.
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the next connection is made with.
    pub(super) fn server(&self) -> ServerConfig {
        self.state().server
    }

    /// Whether the certificate of this connection is revoked. A resumed session has the one that it began with.
    pub(super) fn is_revoked(&self, connection: &quinn::Connection) -> bool {
        let revoked = self.state().revoked;
        peer_certificate(connection).is_none_or(|certificate| revoked.holds(&certificate))
    }
}

/// Has a listener read its certificates again while it serves.
#[derive(Clone, Debug)]
pub struct Reloader {
    pub(super) trust: Arc<Trust>,
    pub(super) registry: Arc<Registry>,
}

impl Reloader {
    /// Reads certificates, key and revocation lists again. From then on new connections are made with these, and none resumes a TLS
    /// session that was made with the ones before. Sessions go on, but for those whose certificate is now revoked: they
    /// end, and it gives how many they are.
    ///
    /// # Errors
    /// The files cannot be used; everything is as before.
    pub fn reload(&self) -> Result<usize, CredentialsError> {
        let Trust { credentials, connections, state } = &*self.trust;
        let new = State::load(credentials, *connections)?;
        let revoked = new.revoked.clone();
        *state.write().unwrap_or_else(PoisonError::into_inner) = new;
        let of_revoked =
            self.registry.all().into_iter().filter(|session| revoked.holds(&session.certificate));
        let reason = Refusal::Revoked.to_string();
        Ok(of_revoked.map(|session| session.end(&reason)).count())
    }
}
