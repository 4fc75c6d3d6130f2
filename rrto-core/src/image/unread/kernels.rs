//! The kernels of an image, each followed when somebody asks for it: a module has hundreds, of which a program launches
//! a few.

use std::collections::HashMap;

use super::super::{Container, EntryKind, Kind};
use super::{Code, Doubt, Leftovers, MAX_UNREAD_RANGES, Range, scan};

/// How many times its own length an image's code may have to be kept, and how many bytes; what is beyond gets no guards.
/// Compressed images of PyTorch's have up to five times theirs, cuBLASLt's, whose kernels are much alike, more than eight
/// times and some megabytes.
const MAX_KEPT_TIMES: usize = 64;
const MAX_KEPT_BYTES: usize = 32 << 20;

/// What the kernels of an image do not read, of every cubin that has them; of kernels that are not named, nothing. None
/// is named if there is anything else than cubins in the image, because the driver may choose that.
/// [`select`](super::super::select) leaves out what it cannot.
#[derive(Default)]
pub struct Kernels(HashMap<String, Kernel>);

/// A kernel that nobody has asked for.
struct Kernel {
    always: Result<Vec<Range>, Doubt>,
    code: Option<Code<'static>>,
}

/// Why an image says nothing about what its kernels read.
struct Unknown;

impl Kernels {
    /// Those of an image.
    #[must_use]
    pub fn of(image: &[u8]) -> Self {
        let mut kernels = Kernels::default();
        let mut room = image.len().saturating_mul(MAX_KEPT_TIMES).min(MAX_KEPT_BYTES);
        let complete = match Kind::of(image) {
            Kind::Ptx => false,
            Kind::Cubin => kernels.add(image, &mut room).is_ok(),
            Kind::Container => kernels.add_container(image, &mut room).is_ok(),
        };
        if complete { kernels } else { Kernels::default() }
    }

    /// What a kernel does not read: some milliseconds of work if its code is long.
    #[must_use]
    pub fn leftovers(&self, name: &str) -> Leftovers {
        let Some(Kernel { always, code }) = self.0.get(name) else { return Leftovers::default() };
        let guards = code.as_ref().map(|code| code.guards(always)).unwrap_or_default();
        Leftovers::new(always.clone().unwrap_or_default(), guards)
    }

    fn add_container(&mut self, image: &[u8], room: &mut usize) -> Result<(), Unknown> {
        for entry in Container::parse(image).map_err(|_| Unknown)?.entries() {
            let entry = entry.map_err(|_| Unknown)?;
            if entry.kind != EntryKind::Cubin {
                return Err(Unknown);
            }
            self.add(&entry.image().map_err(|_| Unknown)?, room)?;
        }
        Ok(())
    }

    /// Adds those of `cubin`, and takes what is kept of it from `room`. Of one that is there already, what both always
    /// leave unread.
    fn add(&mut self, cubin: &[u8], room: &mut usize) -> Result<(), Unknown> {
        for kernel in scan(cubin).map_err(|_| Unknown)? {
            match self.0.get_mut(kernel.name) {
                Some(other) => {
                    let both =
                        [&other.always, &kernel.ranges].map(|always| always.as_deref().unwrap_or_default());
                    *other = Kernel { always: Ok(common(both)), code: None };
                }
                None => {
                    let code = kernel.code.filter(|code| take(room, code.instructions.len())).map(Code::keep);
                    self.0.insert(kernel.name.to_owned(), Kernel { always: kernel.ranges, code });
                }
            }
        }
        Ok(())
    }
}

/// Takes so many bytes, if they are there.
fn take(room: &mut usize, bytes: usize) -> bool {
    let left = room.checked_sub(bytes);
    *room = left.unwrap_or(*room);
    left.is_some()
}

/// What is in both of two ordered lists.
fn common([one, other]: [&[Range]; 2]) -> Vec<Range> {
    let both = |&(at, bytes): &Range| {
        let overlap = move |&(other_at, other_bytes): &Range| {
            let from = at.max(other_at);
            let to = (at + bytes).min(other_at + other_bytes);
            (from < to).then(|| (from, to - from))
        };
        other.iter().filter_map(overlap)
    };
    one.iter().flat_map(both).take(MAX_UNREAD_RANGES).collect()
}
