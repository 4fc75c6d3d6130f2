//! The authority: its own certificate, and those that it signs.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};

use crate::SERVER_NAME;
use crate::files::Pending;
use crate::names::{check_authority, check_robot, check_server};
use crate::{CertsError, Files, Identity};

/// A day, the unit of [`Validity`].
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long before now certificates become valid: a robot's clock may be behind.
const CLOCK_TOLERANCE: Duration = DAY;

/// How long certificates are valid, from the moment they are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The authority's own certificate. When it ends, every certificate has to
    /// be made anew.
    pub authority_days: u16,
    /// Server and robot certificates.
    pub identity_days: u16,
}

impl Default for Validity {
    /// Ten years for the authority, two for what it signs.
    fn default() -> Self {
        Self { authority_days: 3650, identity_days: 730 }
    }
}

/// A certificate authority whose files are in one directory.
pub struct Authority {
    files: Files,
    issuer: Issuer<'static, KeyPair>,
    validity: Validity,
}

impl fmt::Debug for Authority {
    /// Shows where the authority is, and nothing of its key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("dir", &self.files.dir()).finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes an authority called `name`, and `ca.pem` and `ca.key` in `dir`,
    /// which is made if it does not exist.
    ///
    /// # Errors
    /// If the name does not fit a certificate, or a file exists or cannot be written.
    pub fn create(dir: impl Into<PathBuf>, name: &str) -> Result<Self, CertsError> {
        Self::create_with(dir, name, Validity::default())
    }

    /// Like [`Self::create`], with another validity than the default.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn create_with(dir: impl Into<PathBuf>, name: &str, validity: Validity) -> Result<Self, CertsError> {
        let (authority, pending) = Self::generate(Files::new(dir), name, validity)?;
        pending.write()?;
        Ok(authority)
    }

    /// The authority that [`Self::create`] made in `dir`.
    ///
    /// # Errors
    /// If `ca.pem` or `ca.key` is missing, unreadable or damaged.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, CertsError> {
        let files = Files::new(dir);
        let Identity { certificate, key } = files.authority();
        let certificate_pem = read(&files, &certificate)?;
        let key_pem = read(&files, &key)?;
        let unusable = |path| |cause| CertsError::Unusable { path, cause };
        let key = KeyPair::from_pem(&key_pem).map_err(unusable(key))?;
        let issuer = Issuer::from_ca_cert_pem(&certificate_pem, key).map_err(unusable(certificate))?;
        Ok(Self { files, issuer, validity: Validity::default() })
    }

    /// The same authority, giving what it signs from now on another validity.
    #[must_use]
    pub fn with_validity(self, validity: Validity) -> Self {
        Self { validity, ..self }
    }

    /// The authority's files and those of what it signs.
    #[must_use]
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// Makes the server's certificate, for the host names and IP addresses
    /// under which robots reach it.
    ///
    /// # Errors
    /// If there is no name or one is not a host name or address, or a file
    /// exists or cannot be written.
    pub fn issue_server<S: AsRef<str>>(&self, names: &[S]) -> Result<Identity, CertsError> {
        self.server(names)?.write()?;
        Ok(self.files.server())
    }

    /// Makes the certificate of the robot `name`.
    ///
    /// # Errors
    /// If the name is not safe as a file's name, or a file exists or cannot be written.
    pub fn issue_robot(&self, name: &str) -> Result<Identity, CertsError> {
        self.robot(name)?.write()?;
        Ok(self.files.robot(name))
    }

    /// A new authority, not yet written.
    pub(crate) fn generate(
        files: Files,
        name: &str,
        validity: Validity,
    ) -> Result<(Self, Pending), CertsError> {
        check_authority(name)?;
        let mut params = params(name, validity.authority_days);
        // Nothing that it signs may sign in turn.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = new_key()?;
        let certificate = params.self_signed(&key)?;
        let pending = Pending::identity(&files.authority(), certificate.pem(), key.serialize_pem());
        Ok((Self { files, issuer: Issuer::new(params, key), validity }, pending))
    }

    /// The server's certificate, not yet written.
    pub(crate) fn server<S: AsRef<str>>(&self, names: &[S]) -> Result<Pending, CertsError> {
        if names.is_empty() {
            return Err(CertsError::NoServerName);
        }
        let mut names: Vec<_> = names.iter().map(|name| name.as_ref().to_owned()).collect();
        names.iter().try_for_each(|name| check_server(name))?;
        if !names.iter().any(|name| name == SERVER_NAME) {
            names.push(SERVER_NAME.to_owned());
        }
        let mut params = params("RRTO server", self.validity.identity_days);
        params.subject_alt_names = CertificateParams::new(names)?.subject_alt_names;
        self.sign(params, ExtendedKeyUsagePurpose::ServerAuth, &self.files.server())
    }

    /// The certificate of the robot `name`, not yet written.
    pub(crate) fn robot(&self, name: &str) -> Result<Pending, CertsError> {
        check_robot(name)?;
        let params = params(name, self.validity.identity_days);
        self.sign(params, ExtendedKeyUsagePurpose::ClientAuth, &self.files.robot(name))
    }

    /// A key of its own and a certificate that is good for `purpose` only, so
    /// that a robot cannot pose as a server, nor a server as a robot.
    fn sign(
        &self,
        mut params: CertificateParams,
        purpose: ExtendedKeyUsagePurpose,
        identity: &Identity,
    ) -> Result<Pending, CertsError> {
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![purpose];
        params.use_authority_key_identifier_extension = true;
        let key = new_key()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Pending::identity(identity, certificate.pem(), key.serialize_pem()))
    }
}

/// What all certificates have: a common name and a time.
fn params(common_name: &str, days: u16) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    // A clock before 1970 is as wrong as one at 1970.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now.saturating_sub(CLOCK_TOLERANCE);
    params.not_after = epoch + now + DAY * u32::from(days);
    params
}

/// A new key.
fn new_key() -> Result<KeyPair, CertsError> {
    Ok(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?)
}

/// The text of one of the authority's files.
fn read(files: &Files, path: &Path) -> Result<String, CertsError> {
    std::fs::read_to_string(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => {
            CertsError::NoAuthority { dir: files.dir().to_owned(), missing: path.to_owned() }
        }
        _ => CertsError::io("read", path)(source),
    })
}
