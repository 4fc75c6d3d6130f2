//! Makes RRTO's certificate authority, server and robot certificates.
//!
//! Server and robots prove to each other that one authority has signed them
//! (mutual TLS). [`create_all`] makes everything at once, [`add_robot`] and [`add_server`] make
//! another certificate later, [`add_room`] the secret of a relay's room; [`Authority`] is what they are made of.
//!
//! Everything lies in one directory as PEM files, see [`Files`]. Keys are
//! ECDSA P-256. A file that exists is never overwritten, and what a call has
//! written is removed again if the call fails.
//!
//! No key is ever sent, logged or shown by `Debug`: keys go from the generator
//! into files that only their owner may read, and nowhere else.

#![forbid(unsafe_code)]

mod authority;
mod files;
mod names;
mod revocation;

pub use authority::{Authority, Validity};
pub use files::{Files, Identity, RobotError};
pub use revocation::revoke;

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom, SystemRandom};

use files::Pending;
use names::check_room;

/// The name that every server certificate carries beside the names given: robots ask for it instead of the server's
/// address, which changes when a robot roams or a server moves.
pub const SERVER_NAME: &str = "rrto-gpud";

/// The authority's name in certificates that [`create_all`] makes.
pub const AUTHORITY_NAME: &str = "RRTO authority";

/// One command's work: an authority, a server certificate for `server_names`
/// (host names and IP addresses) and a certificate for each of `robots`, in
/// `dir`, which is made if it does not exist.
///
/// Either all files are there afterwards or, after an error, none that was not
/// there before.
///
/// # Errors
/// If a name cannot be in a certificate, a file exists, or cannot be written.
pub fn create_all<S: AsRef<str>, R: AsRef<str>>(
    dir: impl Into<PathBuf>,
    server_names: &[S],
    robots: &[R],
) -> Result<Files, CertsError> {
    let files = Files::new(dir);
    let (authority, mut pending) = Authority::generate(files.clone(), AUTHORITY_NAME, Validity::default())?;
    pending.append(authority.server(server_names)?);
    let mut seen = HashSet::new();
    for robot in robots.iter().map(AsRef::as_ref) {
        if !seen.insert(robot) {
            let rule = "it is given twice, and every robot needs a name of its own";
            return Err(CertsError::BadName { what: "a robot", name: robot.to_owned(), rule });
        }
        pending.append(authority.robot(robot)?);
    }
    pending.write()?;
    Ok(files)
}

/// Makes a certificate for one more robot, signed by the authority in `dir`.
///
/// # Errors
/// As [`Authority::open`] and [`Authority::issue_robot`].
pub fn add_robot(dir: impl Into<PathBuf>, name: &str) -> Result<Identity, CertsError> {
    Authority::open(dir)?.issue_robot(name)
}

/// Makes another certificate for a server, signed by the authority in `dir`: when the one before it has expired, or for a second server.
///
/// # Errors
/// As [`Authority::open`] and [`Authority::issue_server`].
pub fn add_server<S: AsRef<str>>(dir: impl Into<PathBuf>, names: &[S]) -> Result<Identity, CertsError> {
    Authority::open(dir)?.issue_server(names)
}

/// Bytes of a room's secret: as many as HMAC-SHA256 has of security.
const ROOM_SECRET_BYTES: usize = 32;

/// Makes the secret of a relay's room, at random, and says where it is. It has nothing to do with certificates: the relay
/// must know it, and must not be able to make any.
///
/// # Errors
/// If the name is not safe as a file's name, or the file exists or cannot be written.
pub fn add_room(dir: impl Into<PathBuf>, name: &str) -> Result<PathBuf, CertsError> {
    check_room(name)?;
    let mut secret = [0; ROOM_SECRET_BYTES];
    SystemRandom::new().fill(&mut secret).map_err(|_| CertsError::NoRandomness)?;
    let mut digits: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.push('\n');
    let path = Files::new(dir).room(name);
    Pending::secret(path.clone(), digits).write()?;
    Ok(path)
}

/// Why certificates could not be made, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum CertsError {
    /// A file that would have been written is there already.
    #[error(
        "{} already exists and is not overwritten, as certificates in use may depend on it: \
         choose another directory or name, or move the file away first",
        path.display()
    )]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// There is no authority in the directory.
    #[error(
        "there is no certificate authority in {}: {} is missing; \
         create one first, or give the directory that holds ca.pem and ca.key",
        dir.display(), missing.display()
    )]
    NoAuthority {
        /// The directory.
        dir: PathBuf,
        /// The file that is missing.
        missing: PathBuf,
    },
    /// A file of the authority does not hold what it should.
    #[error(
        "{} cannot be used: {cause}; restore it from a copy, or create a new authority in \
         another directory",
        path.display()
    )]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: rcgen::Error,
    },
    /// A robot's or authority's name is not usable.
    #[error("{name:?} cannot name {what}: {rule}")]
    BadName {
        /// What was to be named.
        what: &'static str,
        /// The name.
        name: String,
        /// What a name may be.
        rule: &'static str,
    },
    /// A server certificate needs a name.
    #[error(
        "a server certificate needs at least one name: give the host names or IP addresses \
         under which robots reach the server"
    )]
    NoServerName,
    /// A file or directory could not be read or written.
    #[error("cannot {action} {}: {cause}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        cause: io::Error,
    },
    /// A robot's certificate cannot be read.
    #[error("{} holds no certificate: {reason}; move it away to revoke all certificates of that name", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There is nothing to make a secret of.
    #[error("the system gives no random bytes")]
    NoRandomness,
    /// The generator failed.
    #[error("cannot make a certificate: {0}")]
    Generate(#[from] rcgen::Error),
}

impl CertsError {
    /// For `map_err` of an operation on `path`.
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |cause| Self::Io { action, path: path.to_owned(), cause }
    }
}
