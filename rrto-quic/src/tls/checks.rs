//! Whether a party's files are good and fit each other: said where they lie, before anything is sent.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{CertificateError, Error, InconsistentKeys};

use super::{
    Credentials, CredentialsError, Date, Loaded, SERVER_NAME, Standing, Validity, provider, unusable,
};

/// What a party's certificate is to be good for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// rrto-gpud.
    Server,
    /// A robot.
    Robot,
}

impl Credentials {
    /// Whether the files are there, hold what they should, fit each other, and are good at `now`. Gives until when they are.
    ///
    /// # Errors
    /// What is wrong, and what to do about it.
    pub fn check(&self, role: Role, now: Date) -> Result<Validity, CredentialsError> {
        let loaded = self.load()?;
        self.check_fit(&loaded, role)?;
        self.check_key(loaded)?;
        self.check_date(now)
    }

    /// When the party's certificate is good.
    ///
    /// # Errors
    /// The file cannot be read, or holds no certificate.
    pub fn validity(&self) -> Result<Validity, CredentialsError> {
        let chain = super::certificates(&self.certificate)?;
        let validity = chain.first().and_then(|own| Validity::of(own));
        validity.ok_or_else(|| unusable(&self.certificate, "certificate", "it does not say when it is valid"))
    }

    /// Whether the certificate is good at `now`.
    pub(super) fn check_date(&self, now: Date) -> Result<Validity, CredentialsError> {
        let validity = self.validity()?;
        let path = self.certificate.clone();
        match validity.standing(now) {
            Standing::Good => Ok(validity),
            Standing::NotYet => Err(CredentialsError::NotYetValid { path, from: validity.from, now }),
            Standing::Expired => Err(CredentialsError::Expired { path, until: validity.until, now }),
        }
    }

    /// Whether the certificate is of the authority and for `role`, as the other party will see it, whatever time it is.
    pub(super) fn check_fit(&self, loaded: &Loaded, role: Role) -> Result<(), CredentialsError> {
        let (certificate, ca) = (&self.certificate, &self.ca);
        let Some((own, intermediates)) = loaded.chain.split_first() else { return Ok(()) };
        let from = Validity::of(own).map_or(0, |validity| validity.from.unix());
        let at = UnixTime::since_unix_epoch(Duration::from_secs(from));
        let roots = Arc::new(loaded.roots.clone());
        let unbuilt = |error| unusable(ca, "authority certificate", error);
        let verified = match role {
            Role::Server => {
                let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider());
                let name = ServerName::try_from(SERVER_NAME)
                    .map_err(|error| unusable(certificate, "server certificate", error))?;
                let verifier = verifier.build().map_err(unbuilt)?;
                verifier.verify_server_cert(own, intermediates, &name, &[], at).map(drop)
            }
            Role::Robot => {
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
                let verifier = verifier.build().map_err(unbuilt)?;
                verifier.verify_client_cert(own, intermediates, at).map(drop)
            }
        };
        verified.map_err(|error| match error {
            Error::InvalidCertificate(error) if is_of_another_authority(&error) => {
                CredentialsError::OtherAuthority { certificate: certificate.clone(), ca: ca.clone() }
            }
            Error::InvalidCertificate(error) if is_for_something_else(&error) => {
                CredentialsError::OtherRole { certificate: certificate.clone(), role }
            }
            error => unusable(certificate, "certificate", error),
        })
    }

    /// Whether the key is the certificate's.
    fn check_key(&self, loaded: Loaded) -> Result<(), CredentialsError> {
        let own = rustls::sign::CertifiedKey::from_der(loaded.chain, loaded.key, &provider());
        own.map(drop).map_err(|error| self.unfit(&error))
    }

    /// Why rustls does not take the certificate and its key.
    pub(super) fn unfit(&self, error: &Error) -> CredentialsError {
        match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                CredentialsError::OtherKey { certificate: self.certificate.clone(), key: self.key.clone() }
            }
            error => unusable(&self.certificate, "certificate", error),
        }
    }
}

/// Whether the authority is not the one that is trusted. One of the same name with another key looks like a wrong signature.
pub(crate) fn is_of_another_authority(error: &CertificateError) -> bool {
    matches!(error, CertificateError::UnknownIssuer | CertificateError::BadSignature)
}

/// Whether it was made for the other party, or for nobody here.
pub(crate) fn is_for_something_else(error: &CertificateError) -> bool {
    use CertificateError as E;
    matches!(
        error,
        E::InvalidPurpose
            | E::InvalidPurposeContext { .. }
            | E::NotValidForName
            | E::NotValidForNameContext { .. }
    )
}

/// A certificate file of `role`, by the name that `rrto certs` gives it.
pub(super) fn file_of(role: Role) -> &'static str {
    match role {
        Role::Server => "server.pem",
        Role::Robot => "robots/NAME.pem",
    }
}

/// How to get another certificate like the one at `path`: files that exist are never overwritten.
pub(super) fn renewal(path: &Path) -> String {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let is_robot = path.parent().is_some_and(|dir| dir.ends_with("robots"));
    let option = if is_robot { format!("--add-robot {name}") } else { "--add-server".to_owned() };
    format!("where ca.key is, move the old files away, run `rrto certs DIR {option}`, and bring the new ones")
}
