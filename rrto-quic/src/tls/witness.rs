//! What was wrong with a server's certificate: rustls decides, and this remembers.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::Validity;

/// A certificate that was refused.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    /// Why.
    pub(crate) error: CertificateError,
    /// When it is good, as it says itself.
    pub(crate) validity: Option<Validity>,
}

/// Accepts and refuses what rustls' own verifier does. An error of QUIC says only that a handshake has failed; this says what about
/// the certificate was wrong.
#[derive(Debug)]
pub(crate) struct Witness {
    inner: Arc<WebPkiServerVerifier>,
    refused: Mutex<Option<Refused>>,
}

impl Witness {
    pub(super) fn new(inner: Arc<WebPkiServerVerifier>) -> Arc<Self> {
        Arc::new(Witness { inner, refused: Mutex::default() })
    }

    /// The certificate that was refused last.
    pub(crate) fn refused(&self) -> Option<Refused> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified =
            self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        if let Err(Error::InvalidCertificate(error)) = &verified {
            let refused = Refused { error: error.clone(), validity: Validity::of(end_entity) };
            *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(refused);
        }
        verified
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        self.inner.root_hint_subjects()
    }
}
