//! Files with secrets in them: read only if they are secret.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// No file with a secret in it is longer; more is not read.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// What others than the owner and the group may do with a file.
const OTHERS: u32 = 0o007;

/// What the group may do with it.
const GROUP: u32 = 0o070;

/// The group may read it, and nothing else.
const GROUP_READS: u32 = 0o040;

/// Why a secret is not taken.
#[derive(Debug)]
pub(crate) enum SecretError {
    /// The file is not there or not readable.
    Unreadable(io::Error),
    /// Others can read or change the file; its mode.
    Exposed(u32),
}

/// What is in the file, unless others can read or change it.
///
/// # Errors
/// Why not.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, SecretError> {
    let file = File::open(path).map_err(SecretError::Unreadable)?;
    // Of the file that is open, so that it cannot be another one afterwards.
    let metadata = file.metadata().map_err(SecretError::Unreadable)?;
    if !is_secret(&metadata) {
        return Err(SecretError::Exposed(metadata.mode() & 0o777));
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES).read_to_end(&mut bytes).map_err(SecretError::Unreadable)?;
    Ok(bytes)
}

/// A file is its owner's alone. One of root's may be read by its group too: so service managers and Kubernetes give secrets
/// to services that do not run as root.
fn is_secret(metadata: &Metadata) -> bool {
    is_private(metadata.uid(), metadata.mode())
}

fn is_private(owner: u32, mode: u32) -> bool {
    let for_group = if owner == 0 { GROUP & !GROUP_READS } else { GROUP };
    mode & (OTHERS | for_group) == 0
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions, write};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_is_its_owners_or_roots_for_a_group() {
        let root = 0;
        for (owner, mode) in
            [(1000, 0o600), (1000, 0o400), (1000, 0o700), (root, 0o600), (root, 0o440), (root, 0o640)]
        {
            assert!(is_private(owner, 0o100_000 | mode), "{owner} {mode:o}");
        }
        for (owner, mode) in
            [(1000, 0o640), (1000, 0o604), (1000, 0o620), (root, 0o644), (root, 0o660), (root, 0o601)]
        {
            assert!(!is_private(owner, 0o100_000 | mode), "{owner} {mode:o}");
        }
    }

    #[test]
    fn what_others_can_read_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        write(&path, "secret").unwrap();
        set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(read(&path), Err(SecretError::Exposed(0o644))));
        set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        assert_eq!(read(&path).unwrap(), b"secret");
        assert!(matches!(read(&folder.path().join("none")), Err(SecretError::Unreadable(_))));
    }
}
