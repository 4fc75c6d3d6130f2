//! Makes containers and cubins, for tests here and in other crates.
//!
//! What is made has the layout that nvcc gives it; machine code is in it only as a test gives it.

use super::container::{FLAG_ARCHITECTURE_SPECIFIC, HEADER_BYTES};
use super::cubin::{KernelParams, Param};
use super::{CONTAINER_MAGIC, Compression, ELF_MAGIC};

/// An entry to be put into a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntrySpec {
    /// 1 PTX, 2 cubin.
    pub kind: u16,
    /// 75, 90, ...
    pub architecture: u32,
    /// As `sm_90a` instead of `sm_90`.
    pub specific: bool,
    /// How to compress it. [`Compression::Unknown`] compresses nothing but says so.
    pub compression: Compression,
    /// A source file's name, or nothing.
    pub name: Vec<u8>,
    /// The image.
    pub image: Vec<u8>,
}

impl EntrySpec {
    /// Uncompressed PTX.
    #[must_use]
    pub fn ptx(architecture: u32, text: &str) -> Self {
        Self::new(1, architecture, text.as_bytes())
    }

    /// An uncompressed cubin.
    #[must_use]
    pub fn cubin(architecture: u32, code: &[u8]) -> Self {
        Self::new(2, architecture, code)
    }

    fn new(kind: u16, architecture: u32, image: &[u8]) -> Self {
        Self {
            kind,
            architecture,
            specific: false,
            compression: Compression::None,
            name: Vec::new(),
            image: image.to_vec(),
        }
    }

    /// The entry's header, payload and padding.
    #[must_use]
    pub fn build(&self) -> Vec<u8> {
        let (payload, compression_flag) = match self.compression {
            Compression::None => (self.image.clone(), 0),
            Compression::Unknown => (self.image.clone(), 0x1000),
            Compression::Lz4 => (lz4_flex::block::compress(&self.image), 0x2000),
            Compression::Zstd => {
                let level = ruzstd::encoding::CompressionLevel::Fastest;
                (ruzstd::encoding::compress_to_vec(self.image.as_slice(), level), 0x8000)
            }
        };
        let compressed = self.compression != Compression::None;
        let when_compressed = |bytes: usize| if compressed { bytes as u64 } else { 0 };
        let specific = if self.specific { FLAG_ARCHITECTURE_SPECIFIC } else { 0 };
        let name_at = if self.name.is_empty() { 0 } else { 64_u32 };

        let mut entry = Vec::new();
        entry.extend(self.kind.to_le_bytes());
        entry.extend([1, 1]);
        entry.extend((64 + padded(self.name.len()) as u32).to_le_bytes());
        entry.extend((padded(payload.len()) as u64).to_le_bytes());
        entry.extend((when_compressed(payload.len()) as u32).to_le_bytes());
        entry.extend([0; 4]);
        entry.extend(if self.kind == 1 { [0, 0, 9, 0] } else { [8, 0, 1, 0] });
        entry.extend(self.architecture.to_le_bytes());
        entry.extend(name_at.to_le_bytes());
        entry.extend((self.name.len() as u32).to_le_bytes());
        entry.extend((0x11 | compression_flag | specific).to_le_bytes());
        entry.extend([0; 8]);
        entry.extend(when_compressed(self.image.len()).to_le_bytes());
        append_padded(&mut entry, &self.name);
        append_padded(&mut entry, &payload);
        entry
    }
}

/// A container with `entries`.
#[must_use]
pub fn container(entries: &[EntrySpec]) -> Vec<u8> {
    let entries: Vec<u8> = entries.iter().flat_map(EntrySpec::build).collect();
    let mut container = CONTAINER_MAGIC.to_vec();
    container.extend(1_u16.to_le_bytes());
    container.extend((HEADER_BYTES as u16).to_le_bytes());
    container.extend((entries.len() as u64).to_le_bytes());
    container.extend(entries);
    container
}

/// A cubin with nothing but the parameter layouts of `kernels`.
#[must_use]
pub fn cubin(kernels: &[KernelParams<'_>]) -> Vec<u8> {
    cubin_with_code(90, kernels, &[])
}

/// A cubin for `architecture` with the parameter layouts of `kernels` and other sections: name and contents.
#[must_use]
pub fn cubin_with_code(
    architecture: u32,
    kernels: &[KernelParams<'_>],
    others: &[(String, Vec<u8>)],
) -> Vec<u8> {
    // Section 0 is unused, section 1 holds the names.
    let mut names = b"\0.shstrtab\0".to_vec();
    let mut sections = vec![(0_u32, 0_u32, Vec::new())];
    for kernel in kernels {
        sections.push((names.len() as u32, 0x7000_0000, attributes(kernel)));
        names.extend(format!(".nv.info.{}\0", kernel.name).bytes());
    }
    for (name, contents) in others {
        sections.push((names.len() as u32, 1, contents.clone()));
        names.extend(name.bytes().chain([0]));
    }
    sections.insert(1, (1, 3, names));

    let mut contents = Vec::new();
    let mut headers = Vec::new();
    for (name, kind, bytes) in &sections {
        headers.extend(name.to_le_bytes());
        headers.extend(kind.to_le_bytes());
        headers.extend([0; 16]);
        headers.extend((64 + contents.len() as u64).to_le_bytes());
        headers.extend((bytes.len() as u64).to_le_bytes());
        headers.extend([0; 24]);
        append_padded(&mut contents, bytes);
    }

    let mut file = ELF_MAGIC.to_vec();
    file.extend([2, 1, 1, 0x41, 8, 0, 0, 0, 0, 0, 0, 0]);
    file.extend(2_u16.to_le_bytes());
    file.extend(190_u16.to_le_bytes());
    file.extend(1_u32.to_le_bytes());
    file.extend([0; 16]);
    file.extend((64 + contents.len() as u64).to_le_bytes());
    file.extend((0x0600_0004 | architecture << 8).to_le_bytes());
    for halfword in [64_u16, 56, 0, 64, sections.len() as u16, 1] {
        file.extend(halfword.to_le_bytes());
    }
    file.extend(contents);
    file.extend(headers);
    file
}

/// A function's `.nv.info` section, parameters last to first as nvcc writes them.
fn attributes(kernel: &KernelParams<'_>) -> Vec<u8> {
    // What every function has: format 4, CUDA_API_VERSION.
    let mut bytes = vec![4, 0x37, 4, 0, 0x82, 0, 0, 0];
    let long = kernel.params.iter().any(|param| param.bytes >= 1 << 14);
    for (ordinal, Param { offset, bytes: size }) in kernel.params.iter().enumerate().rev() {
        bytes.extend([4, if long { 0x45 } else { 0x17 }, 12, 0, 0, 0, 0, 0]);
        bytes.extend((ordinal as u16).to_le_bytes());
        bytes.extend((*offset as u16).to_le_bytes());
        bytes.extend(if long { *size } else { size << 18 | 0x1f000 }.to_le_bytes());
    }
    if !kernel.params.is_empty() {
        bytes.extend([3, 0x19]);
        bytes.extend((kernel.block_bytes as u16).to_le_bytes());
    }
    if kernel.block_at != 0 {
        bytes.extend([4, 0x0a, 8, 0, 0, 0, 0, 0]);
        bytes.extend((kernel.block_at as u16).to_le_bytes());
        bytes.extend((kernel.block_bytes as u16).to_le_bytes());
    }
    bytes
}

/// `len` up to the next multiple of 8.
fn padded(len: usize) -> usize {
    len.next_multiple_of(8)
}

/// Appends `bytes` and zeros up to a multiple of 8.
fn append_padded(output: &mut Vec<u8>, bytes: &[u8]) {
    output.extend_from_slice(bytes);
    output.resize(output.len() + padded(bytes.len()) - bytes.len(), 0);
}
