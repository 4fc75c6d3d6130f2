//! What the fuzz targets of this module do with their input. Plain functions,
//! so that the tests run them as well.

use super::{
    Container, Kind, MAX_IMAGE_BYTES, Target, best_ptx, cubin, has_binary_for, image_bytes, select, unread,
};

/// Every kind of target that [`select`] treats differently.
pub const TARGETS: [Target; 5] =
    [Target::gpu(7, 5), Target::gpu(8, 6), Target::gpu(9, 0), Target::gpu(11, 0), Target::software()];

/// Reads `input` as any image: length, entries, decompression, selection.
///
/// # Panics
/// If what [`select`] promises does not hold, which is what fuzzing looks for.
pub fn container(input: &[u8]) {
    let read = |at: u64, len: u64| {
        let start = usize::try_from(at).ok()?;
        input.get(start..)?.get(..usize::try_from(len).ok()?)
    };
    if let Ok(bytes) = image_bytes(read) {
        assert!(bytes as u64 <= MAX_IMAGE_BYTES);
    }
    // What a server asks of an image that it has loaded, and of each kernel.
    let kernels = unread::Kernels::of(input, input.len());
    assert!(kernels.code_bytes() <= input.len());
    if let Ok(container) = Container::parse(input) {
        for entry in container.entries().flatten() {
            let Ok(image) = entry.image() else { continue };
            leftovers(&kernels, &image);
        }
    }
    let _ = best_ptx(input);
    for target in TARGETS {
        let selected = select(input, target);
        assert!(selected.len() <= input.len());
        assert_eq!(has_binary_for(&selected, target), has_binary_for(input, target));
        assert_eq!(select(&selected, target), selected, "selecting twice changes nothing");
        assert_eq!(Kind::of(&selected), Kind::of(input));
    }
}

/// What is left unread by each kernel of a cubin of the image that `known` is of: no more than the client is to be told.
fn leftovers(known: &unread::Kernels, cubin: &[u8]) {
    for kernel in unread::kernels(cubin).unwrap_or_default() {
        assert!(known.leftovers(kernel.name).always().len() <= unread::MAX_UNREAD_RANGES);
    }
}

/// Reads `input` as a cubin: parameter layouts and what kernels leave unread, each inside its block.
///
/// # Panics
/// If a parameter or an unread range reaches out of its block, or ranges touch.
pub fn cubin(input: &[u8]) {
    for kernel in cubin::kernels(input).unwrap_or_default() {
        for param in kernel.params {
            assert!(param.offset.saturating_add(param.bytes) <= kernel.block_bytes);
        }
    }
    for kernel in unread::kernels(input).unwrap_or_default() {
        let mut end = 0;
        for (at, bytes) in kernel.ranges.unwrap_or_default() {
            assert!(bytes > 0 && (at > end || at == 0) && at + bytes <= kernel.block_bytes);
            end = at + bytes;
        }
    }
    leftovers(&unread::Kernels::of(input, input.len()), input);
}
