//! The rooms that a relay has: a file for each.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use rrto_quic::relay::wire::RoomId;
use rrto_quic::relay::{RoomKey, RoomKeyError};

/// More are a mistake in the directory's name.
const MAX_ROOMS: usize = 1024;

/// A room's name, for the log, and its secret.
#[derive(Clone, Debug)]
pub struct RoomConfig {
    /// The file's name without `.key`.
    pub name: String,
    /// What is in it.
    pub key: RoomKey,
}

/// Why there are no rooms.
#[derive(Debug, thiserror::Error)]
pub enum RoomsError {
    /// The directory is not there or not readable.
    #[error("cannot read the rooms in {}: {cause}", dir.display())]
    Unreadable {
        /// Which.
        dir: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// A room's file is not readable, or holds something else.
    #[error(transparent)]
    Key(#[from] RoomKeyError),
    /// Nobody could come.
    #[error("there are no rooms in {}: make one with rrto certs CERTS --add-room NAME, and copy CERTS/rooms/NAME.key there", dir.display())]
    None {
        /// Where they were looked for.
        dir: PathBuf,
    },
    /// The directory has something else in it, too.
    #[error("there are more than {MAX_ROOMS} files NAME.key in {}: is it a directory of rooms?", dir.display())]
    TooMany {
        /// Where they were looked for.
        dir: PathBuf,
    },
    /// A party says where it wants to be by the secret.
    #[error("the rooms {one} and {other} have the same secret: keep one of them")]
    Same {
        /// A room.
        one: String,
        /// Another.
        other: String,
    },
}

/// The room of each file `NAME.key` in `dir`, in the order of their names.
///
/// # Errors
/// Why they cannot be used, all of them or one.
pub fn load(dir: &Path) -> Result<Vec<RoomConfig>, RoomsError> {
    let unreadable = |cause| RoomsError::Unreadable { dir: dir.to_owned(), cause };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension() == Some(OsStr::new("key")) {
            paths.push(path);
        }
        if paths.len() > MAX_ROOMS {
            return Err(RoomsError::TooMany { dir: dir.to_owned() });
        }
    }
    if paths.is_empty() {
        return Err(RoomsError::None { dir: dir.to_owned() });
    }
    paths.sort();
    let (mut rooms, mut names) = (Vec::new(), HashMap::<RoomId, String>::new());
    for path in paths {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let key = RoomKey::read(&path)?;
        if let Some(one) = names.insert(key.room(), name.clone()) {
            return Err(RoomsError::Same { one, other: name });
        }
        rooms.push(RoomConfig { name, key });
    }
    Ok(rooms)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn every_key_file_is_a_room() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
        };
        assert!(matches!(load(folder.path()), Err(RoomsError::None { .. })));
        write("b.key", &"ab".repeat(32));
        write("a.1.key", &"cd".repeat(32));
        write("README", "not a room");
        let names: Vec<_> = load(folder.path()).unwrap().into_iter().map(|room| room.name).collect();
        assert_eq!(names, ["a.1", "b"]);
        write("c.key", &"AB".repeat(32));
        let same = load(folder.path()).unwrap_err().to_string();
        assert!(same.contains("b and c"), "{same}");
        write("c.key", "short");
        assert!(matches!(load(folder.path()), Err(RoomsError::Key(_))));
        assert!(matches!(load(&folder.path().join("none")), Err(RoomsError::Unreadable { .. })));
    }
}
