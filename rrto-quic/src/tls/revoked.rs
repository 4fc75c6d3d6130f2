//! Certificates that are good no longer, though the authority has signed them and their time is not over.
//!
//! They are named beside `ca.pem`, in either of two files or in both: `revoked.txt`, which `rrto certs DIR --revoke NAME`
//! writes and a person can, and `revoked.pem`, a certificate revocation list (CRL, RFC 5280, section 5) as other tools make them.
//!
//! ```text
//! # one to a line: a certificate by its serial number in hexadecimal digits, or all of a robot's by its name
//! 4f:1c:07:aa
//! robot spot
//! ```

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

use super::{CredentialsError, certificates, unusable};

/// The two files.
const TEXT: &str = "revoked.txt";
const CRL: &str = "revoked.pem";

/// What a line begins with that names a robot.
const ROBOT: &str = "robot";

/// What is revoked.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Revoked {
    /// Serial numbers, big-endian, without zeros in front.
    serials: HashSet<Vec<u8>>,
    robots: HashSet<String>,
}

impl Revoked {
    /// What the files beside the authority's certificate `ca` say; nothing if there are none.
    ///
    /// # Errors
    /// One of them is there and cannot be used. That is not the same as none: whom it names must not get in.
    pub(crate) fn read(ca: &Path) -> Result<Self, CredentialsError> {
        let mut revoked = Revoked::default();
        if let Some((path, text)) = read_beside(ca, TEXT)? {
            let text = String::from_utf8(text)
                .map_err(|error| unusable(&path, "list of revoked certificates", error))?;
            revoked.add_lines(&text).map_err(|line| {
                let reason =
                    format!("line {line} is neither a serial number in hexadecimal digits nor `robot NAME`");
                unusable(&path, "list of revoked certificates", reason)
            })?;
        }
        if let Some((path, pem)) = read_beside(ca, CRL)? {
            let list = CertificateRevocationListDer::from_pem_slice(&pem);
            let list = list.map_err(|error| unusable(&path, "certificate revocation list", error))?;
            revoked
                .add_list(&list, &certificates(ca)?)
                .map_err(|reason| unusable(&path, "certificate revocation list", reason))?;
        }
        Ok(revoked)
    }

    /// # Errors
    /// The number of the line that means nothing.
    fn add_lines(&mut self, text: &str) -> Result<(), usize> {
        for (number, line) in (1_usize..).zip(text.lines()) {
            let line = line.split('#').next().unwrap_or_default().trim();
            match line.split_once(char::is_whitespace) {
                _ if line.is_empty() => {}
                Some((ROBOT, name)) => drop(self.robots.insert(name.trim().to_owned())),
                _ => drop(self.serials.insert(serial(line).ok_or(number)?)),
            }
        }
        Ok(())
    }

    /// Whether the list's own time is over does not matter: what was revoked stays so.
    fn add_list(&mut self, list: &[u8], authorities: &[CertificateDer<'_>]) -> Result<(), String> {
        let (_, list) = CertificateRevocationList::from_der(list).map_err(|error| error.to_string())?;
        let is_signed = authorities.iter().any(|authority| {
            let authority = X509Certificate::from_der(authority);
            authority.is_ok_and(|(_, authority)| list.verify_signature(authority.public_key()).is_ok())
        });
        if !is_signed {
            return Err("it is not signed by the authority".to_owned());
        }
        self.serials
            .extend(list.iter_revoked_certificates().map(|one| significant(one.raw_serial()).to_vec()));
        Ok(())
    }

    /// Whether this certificate is revoked. One that cannot be read is.
    pub(crate) fn holds(&self, certificate: &[u8]) -> bool {
        if *self == Revoked::default() {
            return false;
        }
        let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return true };
        let mut names = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
        self.serials.contains(significant(certificate.raw_serial()))
            || names.any(|name| self.robots.contains(name))
    }
}

/// The file beside `ca`, if it is there.
fn read_beside(ca: &Path, name: &str) -> Result<Option<(PathBuf, Vec<u8>)>, CredentialsError> {
    let path = ca.with_file_name(name);
    match std::fs::read(&path) {
        Ok(bytes) => Ok(Some((path, bytes))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(CredentialsError::Unreadable { path, cause }),
    }
}

/// A serial number as tools write it: `4F:1C:07`, `4f1c07`, `0x4f1c07`.
fn serial(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("0x").unwrap_or(text).replace(':', "");
    // An odd number of digits lacks a zero in front.
    let digits = if digits.len().is_multiple_of(2) { digits } else { format!("0{digits}") };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, _) = digits.as_bytes().as_chunks::<2>();
    let bytes: Option<Vec<u8>> =
        pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
    bytes.filter(|bytes| !bytes.is_empty()).map(|bytes| significant(&bytes).to_vec())
}

/// Without zeros in front, of which DER has one where the first bit is set.
fn significant(serial: &[u8]) -> &[u8] {
    let zeros = serial.iter().take_while(|byte| **byte == 0).count();
    serial.get(zeros..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_name_certificates_and_robots() {
        let mut revoked = Revoked::default();
        revoked
            .add_lines("# all\n\n4F:1c:07 # stolen\n0x00ff\n f \nrobot  spot\nrobot rex # lost\n")
            .unwrap();
        let serials: [&[u8]; 3] = [&[0x4f, 0x1c, 7], &[0xff], &[0xf]];
        assert_eq!(revoked.serials, serials.map(<[u8]>::to_vec).into());
        assert_eq!(revoked.robots, ["spot", "rex"].map(str::to_owned).into());
        for (text, line) in
            [("nonsense", 1), ("12\n\nrobots spot", 3), ("12 34", 1), ("0x", 1), (":", 1), ("robot", 1)]
        {
            assert_eq!(Revoked::default().add_lines(text), Err(line), "{text}");
        }
    }

    #[test]
    fn a_list_without_the_authoritys_signature_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let files = rrto_certs::create_all(folder.path(), &["localhost"], &["robot", "other"]).unwrap();
        let ca = files.authority().certificate;
        let of = |robot: &str| certificates(&files.robot(robot).certificate).unwrap().remove(0);
        assert_eq!(Revoked::read(&ca).unwrap(), Revoked::default());
        assert!(!Revoked::default().holds(&of("robot")));

        let serial_of = |robot| X509Certificate::from_der(&of(robot)).unwrap().1.raw_serial().to_vec();
        let list = |issuer: &rcgen::Issuer<'_, rcgen::KeyPair>| {
            let revoked = rcgen::RevokedCertParams {
                serial_number: rcgen::SerialNumber::from_slice(&serial_of("robot")),
                revocation_time: rcgen::date_time_ymd(2024, 1, 1),
                reason_code: None,
                invalidity_date: None,
            };
            let list = rcgen::CertificateRevocationListParams {
                this_update: rcgen::date_time_ymd(2024, 1, 1),
                next_update: rcgen::date_time_ymd(2024, 2, 1),
                crl_number: rcgen::SerialNumber::from(1_u64),
                issuing_distribution_point: None,
                revoked_certs: vec![revoked],
                key_identifier_method: rcgen::KeyIdMethod::Sha256,
            };
            std::fs::write(folder.path().join(CRL), list.signed_by(issuer).unwrap().pem().unwrap()).unwrap();
        };
        let pem = std::fs::read_to_string(&ca).unwrap();
        let key = std::fs::read_to_string(files.authority().key).unwrap();
        list(&rcgen::Issuer::from_ca_cert_pem(&pem, rcgen::KeyPair::from_pem(&key).unwrap()).unwrap());
        let revoked = Revoked::read(&ca).unwrap();
        assert!(revoked.holds(&of("robot")) && !revoked.holds(&of("other")));

        list(&rcgen::Issuer::from_ca_cert_pem(&pem, rcgen::KeyPair::generate().unwrap()).unwrap());
        let error = Revoked::read(&ca).unwrap_err().to_string();
        assert!(error.contains(CRL) && error.contains("signed"), "{error}");
    }
}
