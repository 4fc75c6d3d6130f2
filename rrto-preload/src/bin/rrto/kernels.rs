//! `rrto kernels`: which parameter bytes the kernels of a library never read, for people who work on that analysis.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use rrto_core::image::unread::{self, Case, Guard, Unread, Word};
use rrto_core::image::{CONTAINER_MAGIC, Container, Entry, EntryKind};
use serde_json::{Value, json};

/// Show the parameter blocks of a library's kernels, and which of their bytes are never read
#[derive(Args, Debug)]
pub(crate) struct KernelsArgs {
    /// A library or program with fat binaries in it, a fat binary or a cubin
    file: PathBuf,
    /// Only machine code for this architecture, such as 90
    #[arg(long, value_name = "SM")]
    architecture: Option<u32>,
    /// A line of JSON for each cubin
    #[arg(long)]
    json: bool,
    /// Write the cubins to this folder as 0.cubin, 1.cubin and so on, in the order shown
    #[arg(long, value_name = "DIR")]
    cubins: Option<PathBuf>,
}

/// Prints it.
pub(crate) fn run(arguments: &KernelsArgs) -> Result<()> {
    let path = arguments.file.display();
    let bytes = fs::read(&arguments.file).with_context(|| format!("cannot read {path}"))?;
    let mut out = io::stdout().lock();
    let mut summary = Summary::default();
    let mut show = |cubin: &[u8]| -> Result<()> {
        let kernels = unread::kernels(cubin).with_context(|| format!("{path}, cubin {}", summary.cubins))?;
        if let Some(folder) = &arguments.cubins {
            let file = folder.join(format!("{}.cubin", summary.cubins));
            fs::write(&file, cubin).with_context(|| format!("cannot write {}", file.display()))?;
        }
        if arguments.json {
            let kernels: Vec<Value> = kernels.iter().map(as_json).collect();
            writeln!(out, "{}", json!({ "cubin": summary.cubins, "kernels": kernels }))?;
        } else {
            for kernel in &kernels {
                writeln!(out, "{}", as_text(kernel))?;
            }
        }
        summary.count(&kernels);
        Ok(())
    };
    let containers = containers(&bytes);
    if containers.is_empty() {
        show(&bytes)?;
    }
    for container in containers {
        for entry in container.entries() {
            let entry = entry.with_context(|| path.to_string())?;
            if is_wanted(&entry, arguments.architecture) {
                show(&entry.image().with_context(|| path.to_string())?)?;
            }
        }
    }
    if !arguments.json {
        write!(out, "\n{}", summary.text())?;
    }
    Ok(())
}

fn is_wanted(entry: &Entry<'_>, architecture: Option<u32>) -> bool {
    entry.kind == EntryKind::Cubin && architecture.is_none_or(|wanted| wanted == entry.architecture)
}

/// The fat binaries in a file, which the compiler aligns to 8 bytes.
fn containers(file: &[u8]) -> Vec<Container<'_>> {
    let starts = (0..file.len()).step_by(8);
    let images = starts.filter_map(|at| file.get(at..).filter(|rest| rest.starts_with(&CONTAINER_MAGIC)));
    images.filter_map(|image| Container::parse(image).ok()).collect()
}

fn as_json(kernel: &Unread<'_>) -> Value {
    let (ranges, doubt) = match &kernel.ranges {
        Ok(ranges) => (ranges.as_slice(), None),
        Err(doubt) => (&[][..], Some(doubt.to_string())),
    };
    let case = |case: &Case| json!({ "from": case.from, "to": case.to, "unread": case.ranges });
    let guard = |Guard { word, cases }: &Guard| json!({ "at": word.at, "bytes": word.bytes, "cases": cases.iter().map(case).collect::<Vec<_>>() });
    json!({
        "name": kernel.name, "block_bytes": kernel.block_bytes, "unread": ranges, "doubt": doubt,
        "guards": kernel.guards.iter().map(guard).collect::<Vec<_>>(),
    })
}

fn as_text(kernel: &Unread<'_>) -> String {
    let what = match &kernel.ranges {
        Ok(ranges) if ranges.is_empty() => "all read".to_owned(),
        Ok(ranges) => format!("unread {}", parts(ranges)),
        Err(doubt) => format!("all read, because {doubt}"),
    };
    let mut text = format!("{} bytes, {what}: {}", kernel.block_bytes, kernel.name);
    for Guard { word, cases } in &kernel.guards {
        for Case { from, to, ranges } in cases {
            let Word { at, bytes } = word;
            text += &format!("\n  if {at}..{} is {from} to {to}, unread {}", at + bytes, parts(ranges));
        }
    }
    text
}

fn parts(ranges: &[unread::Range]) -> String {
    let part = |(at, bytes): &unread::Range| format!("{at}..{}", at + bytes);
    ranges.iter().map(part).collect::<Vec<_>>().join(" ")
}

/// Counts over all cubins.
#[derive(Default)]
struct Summary {
    cubins: usize,
    kernels: usize,
    with_unread: usize,
    with_guards: usize,
    block_bytes: u64,
    unread_bytes: u64,
    doubts: BTreeMap<String, usize>,
}

impl Summary {
    fn count(&mut self, kernels: &[Unread<'_>]) {
        self.cubins += 1;
        self.kernels += kernels.len();
        for kernel in kernels {
            self.with_guards += usize::from(!kernel.guards.is_empty());
            self.block_bytes += u64::from(kernel.block_bytes);
            match &kernel.ranges {
                Ok(ranges) => {
                    self.with_unread += usize::from(!ranges.is_empty());
                    self.unread_bytes += ranges.iter().map(|(_, bytes)| u64::from(*bytes)).sum::<u64>();
                }
                Err(doubt) => *self.doubts.entry(doubt.to_string()).or_default() += 1,
            }
        }
    }

    fn text(&self) -> String {
        let mut text = format!(
            "{} cubins, {} kernels, {} with unread bytes, {} with more for some values; {} of {} bytes unread always\n",
            self.cubins,
            self.kernels,
            self.with_unread,
            self.with_guards,
            self.unread_bytes,
            self.block_bytes
        );
        for (doubt, kernels) in &self.doubts {
            text += &format!("{kernels} all read, because {doubt}\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use rrto_core::image::building::{EntrySpec, container, cubin_with_code};
    use rrto_core::image::cubin::{KernelParams, Param};

    use super::*;

    #[test]
    fn fat_binaries_are_found_in_a_library() {
        let image =
            container(&[EntrySpec::cubin(90, b"one"), EntrySpec::ptx(90, "two"), EntrySpec::cubin(80, b"3")]);
        let library = [&[0_u8; 24][..], &image, &[0; 8], &image, &CONTAINER_MAGIC].concat();
        let found = containers(&library);
        assert_eq!(found.len(), 2);
        for (architecture, wanted) in [(None, 2), (Some(90), 1), (Some(75), 0)] {
            let entries = found.iter().flat_map(|container| container.entries()).flatten();
            assert_eq!(entries.filter(|entry| is_wanted(entry, architecture)).count(), 2 * wanted);
        }
    }

    #[test]
    fn a_kernel_is_shown_and_counted() {
        let params = vec![Param { offset: 0, bytes: 16 }];
        let kernel = KernelParams { name: "k", params, block_bytes: 16, block_at: 0x210 };
        // LDC.64 R2, c[0x0][0x210]
        let load: u128 = 0x000e_2200_0000_0a00_0000_8400_ff02_7b82;
        let section = (".text.k".to_owned(), load.to_le_bytes().to_vec());
        let mut summary = Summary::default();
        for (architecture, text, unread, doubt) in [
            (90, "16 bytes, unread 8..16: k", json!([[8, 8]]), Value::Null),
            (
                75,
                "16 bytes, all read, because the architecture is not known: k",
                json!([]),
                json!("the architecture is not known"),
            ),
        ] {
            let cubin =
                cubin_with_code(architecture, std::slice::from_ref(&kernel), std::slice::from_ref(&section));
            let kernels = unread::kernels(&cubin).unwrap();
            assert_eq!(as_text(&kernels[0]), text);
            let wanted =
                json!({ "name": "k", "block_bytes": 16, "unread": unread, "doubt": doubt, "guards": [] });
            assert_eq!(as_json(&kernels[0]), wanted);
            summary.count(&kernels);
        }
        assert_eq!(
            summary.text(),
            "2 cubins, 2 kernels, 1 with unread bytes, 0 with more for some values; 8 of 32 bytes unread always\n\
             1 all read, because the architecture is not known\n"
        );
    }
}
