//! Where certificates and keys lie, and how they get there.

use std::ffi::OsStr;
use std::fs::{DirBuilder, OpenOptions, read_dir};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::CertsError;

/// For keys: their owner may read and write them, nobody else anything.
const KEY_MODE: u32 = 0o600;

/// For certificates, which are public. The user's umask narrows it.
const CERTIFICATE_MODE: u32 = 0o644;

/// For the directories with keys in them.
const DIRECTORY_MODE: u32 = 0o700;

/// Where a robot's certificates lie unless another directory is named, below the home directory.
const DIRECTORY_IN_HOME: &str = ".config/rrto";

/// The files in a directory of certificates.
///
/// ```text
/// DIR/ca.pem            to every robot and server: whom to trust
/// DIR/ca.key            stays here: whoever has it can make certificates
/// DIR/server.pem, .key  to the server
/// DIR/robots/NAME.pem, .key  to the robot NAME
/// DIR/revoked.txt       to the server: whom not to take any more
/// DIR/rooms/NAME.key    to the relay, and to the server and robots that meet there
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    dir: PathBuf,
}

impl Files {
    /// The files in `dir`, whether they exist or not.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The files in the directory that is taken if none is named: `~/.config/rrto`. `home` is what the variable `HOME` says;
    /// `None` if that is nothing.
    #[must_use]
    pub fn in_home(home: Option<&OsStr>) -> Option<Self> {
        let home = home.filter(|home| !home.is_empty())?;
        Some(Self::new(Path::new(home).join(DIRECTORY_IN_HOME)))
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The authority's certificate, `ca.pem`, and key.
    #[must_use]
    pub fn authority(&self) -> Identity {
        Identity::new(&self.dir, "ca")
    }

    /// The server's certificate and key.
    #[must_use]
    pub fn server(&self) -> Identity {
        Identity::new(&self.dir, "server")
    }

    /// The certificate and key of the robot `name`.
    #[must_use]
    pub fn robot(&self, name: &str) -> Identity {
        Identity::new(&self.robots_dir(), name)
    }

    /// The secret of the relay's room `name`: 64 hexadecimal digits.
    #[must_use]
    pub fn room(&self, name: &str) -> PathBuf {
        self.dir.join("rooms").join(format!("{name}.key"))
    }

    /// The list of certificates that are good no longer.
    #[must_use]
    pub fn revoked(&self) -> PathBuf {
        self.dir.join("revoked.txt")
    }

    /// Names of the robots that have a certificate here, sorted.
    #[must_use]
    pub fn robots(&self) -> Vec<String> {
        let entries = read_dir(self.robots_dir()).into_iter().flatten().flatten();
        let mut names: Vec<_> = entries
            .map(|entry| entry.path())
            .filter(|path| path.extension() == Some(OsStr::new("pem")))
            .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
            .collect();
        names.sort();
        names
    }

    /// As which robot to speak: `name` if there is one, else the only robot that has a certificate here.
    ///
    /// # Errors
    /// There is no name, and no certificate or several.
    pub fn choose_robot(&self, name: Option<&str>) -> Result<String, RobotError> {
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            return Ok(name.to_owned());
        }
        let mut robots = self.robots();
        match (robots.pop(), robots.is_empty()) {
            (Some(only), true) => Ok(only),
            (None, _) => Err(RobotError::None { dir: self.dir.clone() }),
            (Some(last), false) => {
                robots.push(last);
                Err(RobotError::Several { dir: self.dir.clone(), robots })
            }
        }
    }

    fn robots_dir(&self) -> PathBuf {
        self.dir.join("robots")
    }
}

/// Why it is not clear as which robot to speak, and what to do about it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RobotError {
    /// The directory has no robot's certificate.
    #[error(
        "there is no robot's certificate in {}: copy ca.pem and robots/ there from where `rrto certs` made them, or name \
         another directory (--certs, RRTO_CERTS)",
        dir.display()
    )]
    None {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory has certificates of several.
    #[error(
        "{} has certificates of several robots: choose one (--robot, RRTO_ROBOT) of {}",
        dir.display(),
        robots.join(", ")
    )]
    Several {
        /// The directory.
        dir: PathBuf,
        /// Whose.
        robots: Vec<String>,
    },
}

/// The two files with which one side proves who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, PEM.
    pub certificate: PathBuf,
    /// Its private key, PKCS #8 in PEM.
    pub key: PathBuf,
}

impl Identity {
    /// `dir/name.pem` and `dir/name.key`. A name may have dots in it.
    fn new(dir: &Path, name: &str) -> Self {
        let file = |extension| dir.join(format!("{name}.{extension}"));
        Self { certificate: file("pem"), key: file("key") }
    }
}

/// Files that have been made and are to be written together. Not `Debug`,
/// since the contents are secrets.
#[derive(Default)]
pub(crate) struct Pending {
    files: Vec<PendingFile>,
}

/// One file to write.
struct PendingFile {
    path: PathBuf,
    contents: String,
    mode: u32,
}

impl Pending {
    /// A certificate and its key, to be written to `identity`'s paths.
    pub(crate) fn identity(identity: &Identity, certificate: String, key: String) -> Self {
        let file = |path: &Path, contents, mode| PendingFile { path: path.to_owned(), contents, mode };
        let key = file(&identity.key, key, KEY_MODE);
        Self { files: vec![key, file(&identity.certificate, certificate, CERTIFICATE_MODE)] }
    }

    /// A secret, to be written to `path`.
    pub(crate) fn secret(path: PathBuf, contents: String) -> Self {
        Self { files: vec![PendingFile { path, contents, mode: KEY_MODE }] }
    }

    /// Adds `other`'s files.
    pub(crate) fn append(&mut self, mut other: Self) {
        self.files.append(&mut other.files);
    }

    /// Writes all files, or removes those written and says why not.
    pub(crate) fn write(&self) -> Result<(), CertsError> {
        for (index, file) in self.files.iter().enumerate() {
            if let Err(error) = file.write() {
                for written in self.files.iter().take(index) {
                    // The error that led here says more than one from cleaning up.
                    let _ = std::fs::remove_file(&written.path);
                }
                return Err(error);
            }
        }
        Ok(())
    }
}

impl PendingFile {
    /// Writes the file, which must not exist; leaves none behind on failure.
    fn write(&self) -> Result<(), CertsError> {
        let path = &self.path;
        if let Some(dir) = path.parent() {
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(DIRECTORY_MODE);
            builder.create(dir).map_err(CertsError::io("create the directory", dir))?;
        }
        // One step, so that there is no moment in which the file exists with
        // other permissions, and no other process or link can get in between.
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(self.mode).open(path).map_err(|source| {
                match source.kind() {
                    io::ErrorKind::AlreadyExists => CertsError::Exists { path: path.clone() },
                    _ => CertsError::io("create", path)(source),
                }
            })?;
        file.write_all(self.contents.as_bytes()).and_then(|()| file.sync_all()).map_err(|source| {
            let _ = std::fs::remove_file(path);
            CertsError::io("write", path)(source)
        })
    }
}
