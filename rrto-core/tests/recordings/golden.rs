//! The recordings (`RRTO_RECORD`, compressed with xz or zstd).
//!
//! All are of stock PyTorch on an H200. Every inference in them differs from all others, because kernels get structures
//! with bytes that nobody set.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rrto_core::log::recording::{Event, Reader};
use ruzstd::decoding::StreamingDecoder;

/// The files, by their names up to the first dot.
fn files() -> BTreeMap<String, PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "xz" || extension == "zst"))
        .map(|path| {
            let file = path.file_name().unwrap().to_string_lossy().into_owned();
            (file.split('.').next().unwrap().to_owned(), path)
        })
        .collect()
}

/// The names of all recordings, in order.
pub(crate) fn names() -> Vec<String> {
    files().into_keys().collect()
}

/// The bytes of a recording.
pub(crate) fn recording(name: &str) -> Bytes {
    let path = &files()[name];
    let mut file = BufReader::new(File::open(path).unwrap());
    let mut recording = Vec::new();
    if path.extension().unwrap() == "xz" {
        lzma_rs::xz_decompress(&mut file, &mut recording).unwrap();
    } else {
        StreamingDecoder::new(file).unwrap().read_to_end(&mut recording).unwrap();
    }
    recording.into()
}

/// The events of a recording.
pub(crate) fn events(recording: Bytes) -> impl Iterator<Item = Event> {
    Reader::new(recording).unwrap().map(Result::unwrap)
}
