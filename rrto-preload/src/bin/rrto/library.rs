//! The preload library: where it is, and whether it is the one.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use rrto_core::wire::{RELEASE, RELEASE_BYTES, RELEASE_SYMBOL, release_text};

use crate::elf::Elf;

/// The library's file, as cargo names it.
const FILE_NAME: &str = "librrto_preload.so";

/// Where it lies, seen from the directory of this command: as built, and as installed.
const PLACES: [&str; 2] = ["", "../lib/rrto"];

/// The name under which programs look for the CUDA driver. The dynamic linker takes a library that is already there
/// under this name instead of the installed one.
pub(crate) const SONAME: &str = "libcuda.so.1";

/// Which library to preload.
#[derive(Args, Debug)]
pub(crate) struct LibraryArgs {
    /// Preload library [default: librrto_preload.so beside rrto, or in ../lib/rrto]
    #[arg(long, value_name = "FILE")]
    pub(crate) library: Option<PathBuf>,
}

impl LibraryArgs {
    /// The library's absolute path, checked.
    pub(crate) fn find(&self) -> Result<Library> {
        match &self.library {
            Some(path) => Library::at(path),
            None => Library::at(&beside(FILE_NAME, &PLACES)?),
        }
    }
}

/// A preload library that can be preloaded.
#[derive(Debug)]
pub(crate) struct Library {
    /// Where, as an absolute path.
    pub(crate) path: PathBuf,
    /// Its headers.
    pub(crate) elf: Elf,
}

impl Library {
    fn at(path: &Path) -> Result<Self> {
        let path = path.canonicalize().with_context(|| format!("the preload library {}", path.display()))?;
        if path.as_os_str().as_encoded_bytes().iter().any(|byte| b": ".contains(byte)) {
            bail!(
                "LD_PRELOAD cannot name {}, as it separates names by spaces and colons: put the library elsewhere \
                 and say where with --library",
                path.display()
            );
        }
        let elf = Elf::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let elf = elf.with_context(|| format!("{} is not a library", path.display()))?;
        if elf.soname.as_deref() != Some(SONAME) {
            let found = elf.soname.as_deref().unwrap_or("nothing");
            bail!(
                "{} calls itself {found} and not {SONAME}, so programs would not take it for the CUDA driver: build \
                 it with `cargo build --release`",
                path.display()
            );
        }
        check_release(&path, Elf::read_symbol(&path, RELEASE_SYMBOL, RELEASE_BYTES)?.as_deref())?;
        Ok(Self { path, elf })
    }
}

/// Whether the library at `path` is of this command's release, by what it says itself. Nothing of it has been run by then.
fn check_release(path: &Path, release: Option<&[u8]>) -> Result<()> {
    let of = |release| release_text(release).unwrap_or("an unknown release");
    match release {
        Some(release) if release == RELEASE => Ok(()),
        Some(other) => bail!(
            "{} is of {}, and this command of {}: install both from the same release",
            path.display(),
            of(other),
            of(&RELEASE)
        ),
        None => bail!(
            "{} is not RRTO's library, or of a release before this one ({}): name librrto_preload.so of this release with \
             --library, or leave that out to take the one that was installed with this command",
            path.display(),
            of(&RELEASE)
        ),
    }
}

/// The file called `name` in one of `places`, seen from the directory of this command.
pub(crate) fn beside(name: &str, places: &[&str]) -> Result<PathBuf> {
    let command = env::current_exe().context("cannot find out where rrto is")?;
    let dir = command.parent().context("rrto is in no directory")?;
    let candidates: Vec<_> = places.iter().map(|place| dir.join(place).join(name)).collect();
    candidates.into_iter().find(|path| path.is_file()).with_context(|| {
        format!(
            "there is no {name} beside {}: build everything with `cargo build --release`",
            command.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_has_to_call_itself_the_driver() {
        let this = env::current_exe().unwrap();
        let error = Library::at(&this).unwrap_err().to_string();
        assert!(error.contains("calls itself nothing"), "{error}");
        assert!(Library::at(Path::new("/nowhere.so")).is_err());
        assert!(Library::at(Path::new("/dev/null")).unwrap_err().to_string().contains("not a library"));
    }

    #[test]
    fn a_library_has_to_be_of_this_release() {
        let path = Path::new("/l.so");
        let said = |release: Option<&[u8]>| check_release(path, release).unwrap_err().to_string();
        assert!(check_release(path, Some(&RELEASE)).is_ok());
        let mut older = RELEASE;
        older[..12].copy_from_slice(b"rrto 0.0.1, ");
        assert!(said(Some(&older)).contains("/l.so is of rrto 0.0.1, "), "{}", said(Some(&older)));
        assert!(said(Some(&[7; RELEASE_BYTES])).contains("an unknown release"));
        assert!(said(None).contains("is not RRTO's library"));
    }

    #[test]
    fn a_path_that_ld_preload_cannot_hold_is_refused() {
        let dir = tempfile::Builder::new().prefix("a b:").tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        std::fs::write(&path, "").unwrap();
        assert!(Library::at(&path).unwrap_err().to_string().contains("--library"));
    }
}
