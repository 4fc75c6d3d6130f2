//! Locking a robot out.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use x509_parser::pem::parse_x509_pem;

use crate::names::check_robot;
use crate::{CertsError, Files};

/// The list is no secret: certificates' numbers and robots' names.
const MODE: u32 = 0o644;

/// Adds the certificate of the robot `name` to the list of those that are good no longer, `revoked.txt`, and says where that
/// is. If its certificate is not here, every certificate of that name is revoked, also one that is made later. Does
/// nothing if it is on the list.
///
/// # Errors
/// If the name cannot be a robot's, its certificate cannot be read, or the list cannot be written.
pub fn revoke(dir: impl Into<PathBuf>, name: &str) -> Result<PathBuf, CertsError> {
    check_robot(name)?;
    let files = Files::new(dir);
    let certificate = files.robot(name).certificate;
    let line = match serial(&certificate)? {
        Some(serial) => format!("{serial} # {name}"),
        None => format!("robot {name}"),
    };
    let path = files.revoked();
    add_line(&path, &line).map_err(CertsError::io("write", &path))?;
    Ok(path)
}

/// The serial number in a certificate's file, if there is one.
fn serial(path: &Path) -> Result<Option<String>, CertsError> {
    let unusable = |reason: String| CertsError::NoCertificate { path: path.to_owned(), reason };
    let pem = match std::fs::read(path) {
        Ok(pem) => pem,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(CertsError::io("read", path)(error)),
    };
    let (_, pem) = parse_x509_pem(&pem).map_err(|error| unusable(error.to_string()))?;
    let certificate = pem.parse_x509().map_err(|error| unusable(error.to_string()))?;
    Ok(Some(certificate.raw_serial_as_string()))
}

fn add_line(path: &Path, line: &str) -> io::Result<()> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    if text.lines().any(|other| other == line) {
        return Ok(());
    }
    let mut file = OpenOptions::new().append(true).create(true).mode(MODE).open(path)?;
    // Whoever wrote the last line may not have ended it.
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    file.write_all(format!("{end}{line}\n").as_bytes()).and_then(|()| file.sync_all())
}
