//! Which entries of a container a device can use.

use std::borrow::Cow;

use super::container::{Container, ENTRIES_BYTES_AT, Entry, EntryKind, until_zero};
use super::{ImageError, Kind};

/// Architectures that are binary compatible although their major numbers
/// differ: compute capability 10.1 was renamed 11.0 in CUDA 13.
const RENAMED: [u32; 2] = [101, 110];

/// What executes the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// The device's architecture, or `None` for the software GPU.
    architecture: Option<u32>,
}

impl Target {
    /// An NVIDIA GPU with compute capability `major.minor`.
    #[must_use]
    pub const fn gpu(major: u32, minor: u32) -> Self {
        Self { architecture: Some(major.saturating_mul(10).saturating_add(minor)) }
    }

    /// The software GPU, which executes PTX of any architecture and no machine code.
    #[must_use]
    pub const fn software() -> Self {
        Self { architecture: None }
    }

    /// Whether its driver might execute `entry`; true if that is not certain.
    fn may_use(self, entry: &Entry<'_>) -> bool {
        match (self.architecture, entry.kind) {
            (None, EntryKind::Ptx) => true,
            (None, EntryKind::Cubin | EntryKind::Other(_)) => false,
            (Some(_), EntryKind::Other(_)) => true,
            (Some(device), EntryKind::Ptx) => entry.architecture <= device,
            (Some(device), EntryKind::Cubin) => {
                let made_for = entry.architecture;
                (made_for / 10 == device / 10 && made_for <= device)
                    || (RENAMED.contains(&made_for) && RENAMED.contains(&device))
            }
        }
    }

    /// Whether its driver certainly executes `entry` as it is.
    fn surely_uses(self, entry: &Entry<'_>) -> bool {
        entry.kind == EntryKind::Cubin && self.architecture == Some(entry.architecture)
    }
}

/// `image` without the entries that `target` cannot use; `image` itself if
/// there is nothing to leave out, or if it is not a container that can be read
/// to its end. A fat binary of a library has machine code for five to eight
/// architectures, so this is most of what a first inference would send.
///
/// What the driver chooses from the result is what it would have chosen from
/// `image`. It takes a cubin that the device can execute if there is one, and
/// otherwise compiles the PTX with the highest architecture not above the
/// device's (CUDA C++ Programming Guide, "Binary Compatibility" and "PTX
/// Compatibility"). Entries are kept byte for byte and in order, so a choice
/// changes only if the entry chosen is left out, and the only ones left out are:
///
/// - cubins of another major architecture, or of a later minor one: machine
///   code runs only on its own major architecture and later minors of it
///   (10.1 and 11.0 are two names of one, and count as the same);
/// - PTX of a later architecture: PTX is compiled forward, never back;
/// - other PTX, only if there is a cubin for exactly this architecture, which
///   every driver prefers. A cubin for an earlier minor architecture is not
///   enough: Tegra devices and the variants ending in `a` do not share code;
/// - for the software GPU, everything that is not PTX.
///
/// If nothing at all would be left, `image` stays whole, so that the error is
/// the driver's own.
///
/// The argument does not hold if the program asks for a different choice:
/// **do not call this** for a load with `CU_JIT_TARGET` or
/// `CU_JIT_FALLBACK_STRATEGY`, or for a server that has `CUDA_FORCE_PTX_JIT` set.
#[must_use]
pub fn select(image: &[u8], target: Target) -> Cow<'_, [u8]> {
    reduced(image, target).map_or(Cow::Borrowed(image), Cow::Owned)
}

/// The smaller container, or `None` if `image` has to stay as it is.
fn reduced(image: &[u8], target: Target) -> Option<Vec<u8>> {
    let container = Container::parse(image).ok()?;
    let entries = entries(image).ok()?;
    let has_own_code = entries.iter().any(|entry| target.surely_uses(entry));
    let keep = |entry: &&Entry<'_>| target.may_use(entry) && !(has_own_code && entry.kind == EntryKind::Ptx);
    let kept: Vec<_> = entries.iter().filter(keep).map(|entry| entry.raw).collect();
    if kept.is_empty() || kept.len() == entries.len() {
        return None;
    }
    let kept = kept.concat();
    let mut output = Vec::with_capacity(container.header.len() + kept.len());
    output.extend_from_slice(container.header);
    let length = output.get_mut(ENTRIES_BYTES_AT..ENTRIES_BYTES_AT + size_of::<u64>())?;
    length.copy_from_slice(&(kept.len() as u64).to_le_bytes());
    output.extend_from_slice(&kept);
    Some(output)
}

/// Whether `image` holds something that `target` might execute.
///
/// `false` is certain, and `cuModuleLoadData` would return
/// `CUDA_ERROR_NO_BINARY_FOR_GPU`; `true` is not, because the driver has the
/// last word about bare images and about what cannot be read here.
#[must_use]
pub fn has_binary_for(image: &[u8], target: Target) -> bool {
    match Kind::of(image) {
        Kind::Ptx => true,
        Kind::Cubin => target != Target::software(),
        Kind::Container => match entries(image) {
            Ok(entries) => entries.iter().any(|entry| target.may_use(entry)),
            Err(_) => true,
        },
    }
}

/// The entries of the container `image`.
fn entries(image: &[u8]) -> Result<Vec<Entry<'_>>, ImageError> {
    Container::parse(image)?.entries().collect()
}

/// The newest PTX in `image`, decompressed: that of the highest architecture,
/// and PTX that runs everywhere before variants such as `compute_90a`. `None`
/// if the image has none, as a cubin does not.
///
/// PTX is ASCII, but comments may hold a file's name in any encoding; bytes
/// that are not UTF-8 are replaced.
///
/// # Errors
/// If the container cannot be read, or the PTX chosen cannot be decompressed.
pub fn best_ptx(image: &[u8]) -> Result<Option<String>, ImageError> {
    let text = match Kind::of(image) {
        Kind::Cubin => return Ok(None),
        Kind::Ptx => Cow::Borrowed(until_zero(image)),
        Kind::Container => {
            let newest = entries(image)?
                .into_iter()
                .filter(|entry| entry.kind == EntryKind::Ptx)
                .max_by_key(|entry| (!entry.is_specific(), entry.architecture, entry.version));
            match newest {
                None => return Ok(None),
                Some(entry) => entry.image()?,
            }
        }
    };
    Ok(Some(String::from_utf8_lossy(&text).into_owned()))
}
