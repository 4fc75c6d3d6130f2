//! The kernels of an image, each followed when somebody asks for it: a module has hundreds, of which a program launches
//! a few.

use std::collections::HashMap;

use super::super::{Container, EntryKind, Kind};
use super::{Code, Doubt, Leftovers, MAX_UNREAD_RANGES, Range, scan};

/// What the kernels of an image do not read, of every cubin that has them; of kernels that are not named, nothing. None
/// is named if there is anything else than cubins in the image, because the driver may choose that.
/// [`select`](super::super::select) leaves out what it cannot.
#[derive(Default)]
pub struct Kernels {
    by_name: HashMap<String, Kernel>,
    /// Of the code that is kept.
    code_bytes: usize,
}

/// A kernel that nobody has asked for.
struct Kernel {
    always: Result<Vec<Range>, Doubt>,
    code: Option<Code<'static>>,
}

/// Why an image says nothing about what its kernels read.
struct Unknown;

impl Kernels {
    /// Those of an image. Their code is kept until they are asked for, if it is no more than `room` bytes; the others' get no guards.
    #[must_use]
    pub fn of(image: &[u8], room: usize) -> Self {
        let mut kernels = Kernels::default();
        let complete = match Kind::of(image) {
            Kind::Ptx => false,
            Kind::Cubin => kernels.add(image, room).is_ok(),
            Kind::Container => kernels.add_container(image, room).is_ok(),
        };
        if complete { kernels } else { Kernels::default() }
    }

    /// What a kernel does not read: some milliseconds of work if its code is long.
    #[must_use]
    pub fn leftovers(&self, name: &str) -> Leftovers {
        let Some(Kernel { always, code }) = self.by_name.get(name) else { return Leftovers::default() };
        let guards = code.as_ref().map(|code| code.guards(always)).unwrap_or_default();
        Leftovers::new(always.clone().unwrap_or_default(), guards)
    }

    /// Bytes of the code that is kept.
    #[must_use]
    pub fn code_bytes(&self) -> usize {
        self.code_bytes
    }

    fn add_container(&mut self, image: &[u8], room: usize) -> Result<(), Unknown> {
        for entry in Container::parse(image).map_err(|_| Unknown)?.entries() {
            let entry = entry.map_err(|_| Unknown)?;
            if entry.kind != EntryKind::Cubin {
                return Err(Unknown);
            }
            self.add(&entry.image().map_err(|_| Unknown)?, room)?;
        }
        Ok(())
    }

    /// Adds those of `cubin`. Of one that is there already, what both always
    /// leave unread.
    fn add(&mut self, cubin: &[u8], room: usize) -> Result<(), Unknown> {
        for kernel in scan(cubin).map_err(|_| Unknown)? {
            match self.by_name.get_mut(kernel.name) {
                Some(other) => {
                    let both =
                        [&other.always, &kernel.ranges].map(|always| always.as_deref().unwrap_or_default());
                    *other = Kernel { always: Ok(common(both)), code: None };
                }
                None => {
                    let has_room = |code: &Code<'_>| self.code_bytes + code.instructions.len() <= room;
                    let code = kernel.code.filter(has_room).map(Code::keep);
                    self.code_bytes += code.as_ref().map_or(0, |code| code.instructions.len());
                    self.by_name.insert(kernel.name.to_owned(), Kernel { always: kernel.ranges, code });
                }
            }
        }
        Ok(())
    }
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
