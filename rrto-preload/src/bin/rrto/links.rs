//! The driver as a file. What is preloaded is found by name, but some look for `libcuda.so.1` or `libcuda.so` in directories: compilers
//! that link with it (Triton, and so torch.compile), and programs that open the other name.
//!
//! `rrto run` becomes the program, so it cannot clean up after it: the links lie where they may stay, and are the same for every run. They
//! lead to the very file that is preloaded, so whatever is opened through them is that one library and not a second one
//! (ld.so compares device and inode).

use std::env;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process;

use anyhow::{Context, Result, bail};

use crate::library::SONAME;

/// The names that an installed driver has.
const NAMES: [&str; 2] = [SONAME, "libcuda.so"];

/// The directory's name.
const DIRECTORY: &str = "rrto-driver";

/// Not beside other people's files.
const MODE: u32 = 0o755;

/// A directory with a link to `library` under each of the driver's names: beside the library if that can be, else in the user's cache.
pub(crate) fn directory(library: &Path) -> Result<PathBuf> {
    let mut problem = None;
    for place in places(library, |name| env::var_os(name).map(PathBuf::from)) {
        match prepare(&place, library).with_context(|| place.display().to_string()) {
            Ok(()) => return Ok(place),
            // The first place is the one that people know.
            Err(error) => problem = problem.or(Some(error)),
        }
    }
    Err(problem.context("there is no place for it")?)
}

/// Where the directory may be.
fn places(library: &Path, variable: impl Fn(&str) -> Option<PathBuf>) -> Vec<PathBuf> {
    let cache = variable("XDG_CACHE_HOME").filter(|path| path.is_absolute());
    let cache = cache.or_else(|| Some(variable("HOME").filter(|path| path.is_absolute())?.join(".cache")));
    let beside = library.parent().map(|dir| dir.join(DIRECTORY));
    // Several libraries of one user, one for each release, say, do not take each other's place.
    let of_library = format!("{:016x}", fnv(library.as_os_str()));
    beside.into_iter().chain(cache.map(|dir| dir.join(DIRECTORY).join(of_library))).collect()
}

/// FNV-1a: the same on every machine and for every release.
fn fnv(text: &OsStr) -> u64 {
    text.as_encoded_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn prepare(place: &Path, library: &Path) -> Result<()> {
    if place.as_os_str().as_encoded_bytes().iter().any(|byte| b":;".contains(byte)) {
        bail!("LD_LIBRARY_PATH separates directories by colons and semicolons");
    }
    DirBuilder::new().recursive(true).mode(MODE).create(place)?;
    nobody_else_writes(place)?;
    for name in NAMES {
        let link = place.join(name);
        if !is_same_file(&link, library) {
            // In one step: another process may be looking.
            let new = place.join(format!(".{name}.{}", process::id()));
            let made = symlink(library, &new).and_then(|()| fs::rename(&new, &link));
            made.inspect_err(|_| drop(fs::remove_file(&new)))?;
            if !is_same_file(&link, library) {
                bail!("{name} is not the library although it was just made so");
            }
        }
    }
    Ok(())
}

/// What lies in there is loaded into programs.
fn nobody_else_writes(place: &Path) -> Result<()> {
    let directory = fs::symlink_metadata(place)?;
    // /proc/self belongs to this process' user.
    let me = fs::metadata("/proc/self")?.uid();
    if !directory.is_dir() || directory.mode() & 0o022 != 0 || ![me, 0].contains(&directory.uid()) {
        bail!("others may write there");
    }
    Ok(())
}

fn is_same_file(link: &Path, library: &Path) -> bool {
    let identity = |path| fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
    identity(link).is_some() && identity(link) == identity(library)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn library(folder: &Path) -> PathBuf {
        let library = folder.join("ours.so");
        fs::write(&library, "").unwrap();
        library
    }

    #[test]
    fn every_name_leads_to_the_library_also_when_it_has_moved() {
        let folder = tempfile::tempdir().unwrap();
        let (place, first) = (folder.path().join("links"), library(folder.path()));
        for _ in 0..2 {
            prepare(&place, &first).unwrap();
            assert!(NAMES.iter().all(|name| is_same_file(&place.join(name), &first)));
        }
        let moved = folder.path().join("moved.so");
        fs::rename(&first, &moved).unwrap();
        prepare(&place, &moved).unwrap();
        assert!(NAMES.iter().all(|name| is_same_file(&place.join(name), &moved)));
        assert_eq!(fs::read_dir(&place).unwrap().count(), NAMES.len());
    }

    #[test]
    fn where_others_may_write_there_are_no_links() {
        let folder = tempfile::tempdir().unwrap();
        let (place, library) = (folder.path().join("links"), library(folder.path()));
        fs::create_dir(&place).unwrap();
        fs::set_permissions(&place, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(prepare(&place, &library).unwrap_err().to_string().contains("others"));
        assert!(prepare(&folder.path().join("a:b"), &library).is_err());
    }

    #[test]
    fn the_place_is_beside_the_library_or_in_the_users_cache() {
        let places = |home: Option<&str>, cache: Option<&str>| {
            places(Path::new("/lib/ours.so"), |name| match name {
                "HOME" => home.map(PathBuf::from),
                _ => cache.map(PathBuf::from),
            })
        };
        let beside = Path::new("/lib/rrto-driver");
        assert_eq!(places(None, None), [beside]);
        assert_eq!(places(Some("relative"), Some("relative")), [beside]);
        let at_home = places(Some("/home/me"), None);
        assert_eq!(at_home[0], beside);
        assert!(at_home[1].starts_with("/home/me/.cache/rrto-driver"));
        assert!(places(Some("/home/me"), Some("/cache"))[1].starts_with("/cache/rrto-driver"));
    }
}
