//! Where certificates and keys lie, and how they get there.

use std::fs::{DirBuilder, OpenOptions};
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

/// The files in a directory of certificates.
///
/// ```text
/// DIR/ca.pem            to every robot and server: whom to trust
/// DIR/ca.key            stays here: whoever has it can make certificates
/// DIR/server.pem, .key  to the server
/// DIR/robots/NAME.pem, .key  to the robot NAME
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
        Identity::new(&self.dir.join("robots"), name)
    }
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
