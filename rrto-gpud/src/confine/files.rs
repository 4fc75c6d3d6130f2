//! What a worker may open: Landlock rules (`landlock(7)`), which hold for the thread that sets them and those it starts.
//!
//! NVIDIA's driver opens as it goes: device nodes for each context, its own libraries (the compiler of PTX among them),
//! what the kernel says about itself in `/proc` and `/sys`, and its cache of compiled kernels. The server's key is in
//! none of these, unless somebody puts it below `/usr`. Landlock also forbids to look into any process
//! that is not confined by the same rules, whatever `/proc` shows, and to send it signals.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

/// The newest version of Landlock whose rules are used; an older kernel has fewer, and enforces those.
const VERSION: ABI = ABI::V6;

/// Where libraries, and what is known about the machine, can be read.
const READ: &[&str] = &[
    "/usr",
    "/lib",
    "/lib64",
    "/proc",
    "/sys",
    "/etc/ld.so.cache",
    "/etc/nvidia",
    "/run/nvidia-persistenced",
];

/// Devices that are not the GPU's.
const DEVICES: &[&str] =
    &["/dev/null", "/dev/zero", "/dev/urandom", "/dev/random", "/dev/shm", "/dev/dri", "/dev/dxg"];

/// How the names of the GPU's devices begin: `nvidia0`, `nvidiactl`, `nvidia-uvm`, `nvidia-caps`; `nvhost-gpu`, `nvmap`,
/// `nvgpu` on Jetson boards.
const DEVICE_PREFIX: &str = "nv";

/// Where the driver keeps what it has compiled, below the home directory (CUDA C++ Programming Guide, CUDA_CACHE_PATH).
const CACHE_IN_HOME: &str = ".nv/ComputeCache";

/// Where the Multi-Process Service is, unless CUDA_MPS_PIPE_DIRECTORY says otherwise.
const MPS_PIPES: &str = "/tmp/nvidia-mps";

/// Why there are no rules.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The kernel was built or started without.
    #[error("this kernel has none")]
    Absent,
    /// Something else.
    #[error(transparent)]
    Rules(#[from] RulesetError),
}

/// Lets this thread open nothing.
///
/// # Errors
/// There is no Landlock.
pub(super) fn deny_all() -> Result<(), Error> {
    enforce(rules()?)
}

/// Lets this thread open what NVIDIA's driver opens once it has been started.
///
/// # Errors
/// There is no Landlock.
pub(super) fn allow_driver() -> Result<(), Error> {
    let mut rules = rules()?;
    let read = AccessFs::from_read(VERSION);
    let libraries = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for path in READ.iter().map(PathBuf::from).chain(directories(&libraries)) {
        rules = allow(rules, &path, read)?;
    }
    let gpus = std::fs::read_dir("/dev").into_iter().flatten().flatten();
    let gpus =
        gpus.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(DEVICE_PREFIX.as_bytes()));
    for path in DEVICES.iter().map(PathBuf::from).chain(gpus.map(|entry| entry.path())).chain(written()) {
        rules = allow(rules, &path, AccessFs::from_all(VERSION))?;
    }
    enforce(rules)
}

/// Denies all that Landlock can deny and this kernel knows of.
fn rules() -> Result<RulesetCreated, RulesetError> {
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(VERSION))?
        .handle_access(AccessNet::from_all(VERSION))?
        .scope(Scope::from_all(VERSION))?
        .create()
}

/// Allows `access` to a file, or to everything in a directory. What is not there cannot be allowed.
fn allow(
    rules: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    let Ok(file) = PathFd::new(path) else { return Ok(rules) };
    let access = if path.is_dir() { access } else { access & AccessFs::from_file(VERSION) };
    rules.add_rule(PathBeneath::new(file, access))
}

fn enforce(rules: RulesetCreated) -> Result<(), Error> {
    match rules.restrict_self()?.ruleset {
        RulesetStatus::NotEnforced => Err(Error::Absent),
        RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Ok(()),
    }
}

/// The directories of the driver's libraries, from what is mapped (`proc_pid_maps(5)`): a container's are anywhere.
fn directories(maps: &str) -> BTreeSet<PathBuf> {
    let files = maps.lines().filter_map(|line| line.find('/').and_then(|at| line.get(at..)));
    let is_drivers = |path: &Path| {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        name.starts_with(b"libcuda") || name.starts_with(b"libnv")
    };
    let libraries = files.map(Path::new).filter(|path| is_drivers(path));
    libraries.filter_map(|path| path.parent().map(Path::to_owned)).collect()
}

/// Directories that the driver writes to.
fn written() -> impl Iterator<Item = PathBuf> {
    let path = |name| std::env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
    let cache = path("CUDA_CACHE_PATH").or_else(|| Some(path("HOME")?.join(CACHE_IN_HOME)));
    if let Some(cache) = &cache {
        // The driver makes it when it has something to keep, which it could not later. Without it nothing is kept.
        let _ = std::fs::create_dir_all(cache);
    }
    let pipes = path("CUDA_MPS_PIPE_DIRECTORY").unwrap_or_else(|| MPS_PIPES.into());
    cache.into_iter().chain([pipes])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drivers_libraries_are_found_wherever_they_are() {
        let maps = "\
7f0000000000-7f0000001000 r-xp 00000000 08:01 123    /opt/driver/lib/libcuda.so.580.1\n\
7f0000001000-7f0000002000 rw-p 00000000 00:00 0 \n\
7f0000002000-7f0000003000 r--p 00000000 08:01 124    /opt/other/libnvidia-ptxjitcompiler.so.1\n\
7f0000003000-7f0000004000 r--p 00000000 08:01 125    /home/someone/libc.so.6\n\
7f0000004000-7f0000005000 rw-s 00000000 00:01 126    /dev/zero (deleted)\n";
        let expected = ["/opt/driver/lib", "/opt/other"].map(PathBuf::from);
        assert!(directories(maps).into_iter().eq(expected));
    }
}
