//! Certificates from PEM files, and the TLS configurations of both sides.

pub(crate) mod alert;
mod checks;
mod revoked;
mod tickets;
mod validity;
mod witness;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use checks::Role;
pub(crate) use checks::{is_for_something_else, is_of_another_authority};
use rustls::RootCertStore;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ServerSessionMemoryCache, WebPkiClientVerifier};
use tickets::Tickets;
pub use validity::{Date, Standing, Validity};
pub(crate) use witness::Witness;
use x509_parser::prelude::{FromDer, X509Certificate};

pub(crate) use revoked::Revoked;

use crate::secret::{self, SecretError};

/// The name that every server certificate carries and every robot asks for.
pub const SERVER_NAME: &str = "rrto-gpud";

/// The application protocol in the TLS handshake.
const ALPN: &[u8] = b"rrto/1";

/// Tickets that a server gives with a handshake, of some 90 bytes each. A robot whose link is down tries connections several
/// times a second, each with a ticket of its own, so that the one that gets through is answered in one round trip.
const TICKETS: usize = 64;

/// Resumable sessions that a server keeps for each connection that there may be, of about a kilobyte each: all tickets of
/// two handshakes.
const STORED_SESSIONS: usize = 2 * TICKETS;

/// A party's certificate, its key, and the authority that the other party's certificate must come from: three PEM
/// files, as `rrto certs` makes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The authority's certificate.
    pub ca: PathBuf,
    /// This party's certificate.
    pub certificate: PathBuf,
    /// This party's private key.
    pub key: PathBuf,
}

/// Why credentials cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A file is not there.
    #[error(
        "there is no {}: bring it from where `rrto certs DIR` has made it, or name the directory where it is (--certs, RRTO_CERTS)",
        path.display()
    )]
    Missing {
        /// Which.
        path: PathBuf,
    },
    /// A file is not readable.
    #[error("cannot read {}: {cause}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// A private key is not private.
    #[error("{} can be read or changed by others (mode {mode:03o}), and a key is its owner's alone: chmod 600 {}", path.display(), path.display())]
    Exposed {
        /// Which.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A file does not hold what it should.
    #[error("{} holds no usable {what}: {reason}", path.display())]
    Unusable {
        /// Which.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// The key belongs to another certificate.
    #[error("{} is not the key of {}: bring both from where `rrto certs` has made them", key.display(), certificate.display())]
    OtherKey {
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// The certificate is not of the authority beside it.
    #[error(
        "{} is not of the authority of {}: take files that one `rrto certs` has made together",
        certificate.display(),
        ca.display()
    )]
    OtherAuthority {
        /// The certificate.
        certificate: PathBuf,
        /// The authority's.
        ca: PathBuf,
    },
    /// The certificate is for the other party, or for something else.
    #[error("{} was made for something else: take {}, as `rrto certs` has made it", certificate.display(), checks::file_of(*role))]
    OtherRole {
        /// The certificate.
        certificate: PathBuf,
        /// What it would have to be good for.
        role: Role,
    },
    /// Either the clock is behind, or the one that the certificate was made by was ahead; and clocks without a battery are behind.
    #[error(
        "the clock of this machine says {now}, and {} is valid only from {from}: set the clock",
        path.display()
    )]
    NotYetValid {
        /// The certificate.
        path: PathBuf,
        /// From when.
        from: Date,
        /// What the clock says.
        now: Date,
    },
    /// The certificate has expired.
    #[error(
        "{} has expired on {until} (the clock of this machine says {now}): {}",
        path.display(),
        checks::renewal(path)
    )]
    Expired {
        /// The certificate.
        path: PathBuf,
        /// When.
        until: Date,
        /// What the clock says.
        now: Date,
    },
}

/// The robot's side of TLS, and what is needed to say why a handshake has failed.
#[derive(Clone, Debug)]
pub(crate) struct RobotTls {
    pub(crate) config: quinn::ClientConfig,
    pub(crate) files: Credentials,
    pub(crate) validity: Validity,
    pub(crate) witness: Arc<Witness>,
}

struct Loaded {
    roots: RootCertStore,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Credentials {
    fn load(&self) -> Result<Loaded, CredentialsError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&self.ca)? {
            roots.add(certificate).map_err(|error| unusable(&self.ca, "authority certificate", error))?;
        }
        let pem = secret::read(&self.key).map_err(|error| match error {
            SecretError::Unreadable(cause) => unreadable(&self.key, cause),
            SecretError::Exposed(mode) => CredentialsError::Exposed { path: self.key.clone(), mode },
        })?;
        let key =
            PrivateKeyDer::from_pem_slice(&pem).map_err(|error| unusable(&self.key, "private key", error))?;
        Ok(Loaded { roots, chain: certificates(&self.certificate)?, key })
    }

    /// A robot's side.
    ///
    /// # Errors
    /// The files are not good, do not fit each other, or not at this time.
    pub(crate) fn robot(&self) -> Result<RobotTls, CredentialsError> {
        let loaded = self.load()?;
        self.check_fit(&loaded, Role::Robot)?;
        let validity = self.check_date(Date::now())?;
        let roots = Arc::new(loaded.roots);
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider())
            .build()
            .map_err(|error| unusable(&self.ca, "authority certificate", error))?;
        let witness = Witness::new(verifier);
        let failed = |error: rustls::Error| self.unfit(&error);
        let mut tls = rustls::ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(failed)?
            // It only looks on while rustls' own verifier decides.
            .dangerous()
            .with_custom_certificate_verifier(witness.clone())
            .with_client_auth_cert(loaded.chain, loaded.key)
            .map_err(failed)?;
        tls.alpn_protocols = vec![ALPN.to_vec()];
        tls.resumption = Resumption::store(Arc::new(Tickets::default()));
        tls.enable_early_data = true;
        let quic = quinn::crypto::rustls::QuicClientConfig::try_from(tls)
            .map_err(|error| unusable(&self.certificate, "QUIC cipher suite", error))?;
        let config = quinn::ClientConfig::new(Arc::new(quic));
        Ok(RobotTls { config, files: self.clone(), validity, witness })
    }

    /// The server's side, for so many `connections` at a time.
    pub(crate) fn server_config(&self, connections: u32) -> Result<quinn::ServerConfig, CredentialsError> {
        let loaded = self.load()?;
        // Dates are no reason not to start: the clock may be set meanwhile. Whoever starts the server tells of them.
        self.check_fit(&loaded, Role::Server)?;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(loaded.roots), provider())
            .build()
            .map_err(|error| unusable(&self.ca, "authority certificate", error))?;
        let failed = |error: rustls::Error| self.unfit(&error);
        let mut tls = rustls::ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(failed)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(loaded.chain, loaded.key)
            .map_err(failed)?;
        tls.alpn_protocols = vec![ALPN.to_vec()];
        // What is resumed is kept here and taken out once: so early data is accepted at most once, and none that was made
        // for a server that has been restarted since. The client's certificate is kept with it.
        tls.session_storage = ServerSessionMemoryCache::new(STORED_SESSIONS * connections as usize);
        tls.send_tls13_tickets = TICKETS;
        // QUIC has limits of its own for early data; any but this and none is forbidden (RFC 9001, section 4.6.1).
        tls.max_early_data_size = u32::MAX;
        let quic = quinn::crypto::rustls::QuicServerConfig::try_from(tls)
            .map_err(|error| unusable(&self.certificate, "QUIC cipher suite", error))?;
        Ok(quinn::ServerConfig::with_crypto(Arc::new(quic)))
    }
}

/// The common name of the certificate that the other party proved to own; `None` if it has none, or an empty one.
pub(crate) fn peer_name(connection: &quinn::Connection) -> Option<String> {
    let certificate = peer_certificate(connection)?;
    let (_, certificate) = X509Certificate::from_der(&certificate).ok()?;
    let name = certificate.subject().iter_common_name().next()?.as_str().ok()?;
    Some(rrto_core::wire::truncated(name)).filter(|name| !name.is_empty())
}

/// The certificate that the other party proved to own.
pub(crate) fn peer_certificate(connection: &quinn::Connection) -> Option<CertificateDer<'static>> {
    let chain = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    chain.into_iter().next()
}

pub(crate) fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
    let pem = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(unusable(path, "certificate", "there is none in it")),
        Err(error) => Err(unusable(path, "certificate", error)),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CredentialsError> {
    std::fs::read(path).map_err(|cause| unreadable(path, cause))
}

fn unreadable(path: &Path, cause: io::Error) -> CredentialsError {
    let path = path.to_owned();
    match cause.kind() {
        io::ErrorKind::NotFound => CredentialsError::Missing { path },
        _ => CredentialsError::Unreadable { path, cause },
    }
}

fn unusable(path: &Path, what: &'static str, reason: impl ToString) -> CredentialsError {
    CredentialsError::Unusable { path: path.to_owned(), what, reason: reason.to_string() }
}
