//! The image readers on what nvcc 13.0 makes; `fixtures/kernels.cu` says how.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use rrto_core::image::cubin::{Param, kernels};
use rrto_core::image::{
    Compression, Container, Entry, EntryKind, Kind, Target, best_ptx, has_binary_for, image_bytes, select,
};

const NONE: &[u8] = include_bytes!("fixtures/none.fatbin");
const SPEED: &[u8] = include_bytes!("fixtures/speed.fatbin");
const SIZE: &[u8] = include_bytes!("fixtures/size.fatbin");

fn entries(image: &[u8]) -> Vec<Entry<'_>> {
    Container::parse(image).unwrap().entries().collect::<Result<_, _>>().unwrap()
}

/// The length of `image`, whose reader fails beyond its end.
fn length(image: &[u8]) -> usize {
    image_bytes(|at, len| image.get(at as usize..(at + len) as usize)).unwrap()
}

#[test]
fn every_compression_mode_reads() {
    use Compression::{Lz4, None, Zstd};
    use EntryKind::{Cubin, Ptx};
    let cases: [(&[u8], &[_]); 3] = [
        (NONE, &[(Ptx, 90, None, false)]),
        (SPEED, &[(Ptx, 75, Lz4, false), (Ptx, 90, Lz4, true)]),
        (
            SIZE,
            &[
                (Ptx, 75, Zstd, false),
                (Cubin, 80, Zstd, false),
                (Cubin, 90, Zstd, false),
                (Ptx, 90, Zstd, false),
            ],
        ),
    ];
    for (image, wanted) in cases {
        assert_eq!(Kind::of(image), Kind::Container);
        assert_eq!(length(image), image.len());
        let found: Vec<_> = entries(image)
            .iter()
            .map(|entry| (entry.kind, entry.architecture, entry.compression, entry.is_specific()))
            .collect();
        assert_eq!(found, wanted);
        for entry in entries(image) {
            let content = entry.image().unwrap();
            match entry.kind {
                Ptx => assert!(content.trim_ascii().ends_with(b"}")),
                _ => assert_eq!(length(&content), content.len()),
            }
        }
    }
}

#[test]
fn the_same_ptx_comes_out_of_every_compression() {
    let from = |image, target: &str| {
        let text = best_ptx(image).unwrap().unwrap();
        assert!(text.contains(target), "{text}");
        text.trim().replace(target, "")
    };
    let plain = from(NONE, ".target sm_90\n");
    assert_eq!(plain, from(SIZE, ".target sm_90\n"));
    assert_eq!(plain, from(SPEED, ".target sm_75\n"));
}

#[test]
fn parameter_layouts_are_those_of_the_source() {
    let param = |offset, bytes| Param { offset, bytes };
    let wanted = [
        ("fill", vec![param(0, 12), param(16, 8), param(24, 8)], 32),
        ("look_up", vec![param(0, 1), param(4, 20_000), param(20_008, 8)], 20_016),
        ("nothing", vec![], 0),
        ("saxpy", vec![param(0, 8), param(8, 8), param(16, 8), param(24, 4), param(28, 4)], 32),
    ];
    for entry in entries(SIZE).iter().filter(|entry| entry.kind == EntryKind::Cubin) {
        let cubin = entry.image().unwrap();
        assert_eq!(Kind::of(&cubin), Kind::Cubin);
        let mut found: Vec<_> = kernels(&cubin)
            .unwrap()
            .into_iter()
            .map(|kernel| (kernel.name, kernel.params, kernel.block_bytes))
            .collect();
        found.sort_by_key(|(name, ..)| *name);
        assert_eq!(found, wanted);
    }
}

#[test]
fn select_leaves_what_each_device_uses() {
    let cases = [
        (Target::gpu(7, 5), vec![(EntryKind::Ptx, 75)]),
        (Target::gpu(8, 0), vec![(EntryKind::Cubin, 80)]),
        (Target::gpu(8, 6), vec![(EntryKind::Ptx, 75), (EntryKind::Cubin, 80)]),
        (Target::gpu(9, 0), vec![(EntryKind::Cubin, 90)]),
        (Target::gpu(12, 0), vec![(EntryKind::Ptx, 75), (EntryKind::Ptx, 90)]),
        (Target::software(), vec![(EntryKind::Ptx, 75), (EntryKind::Ptx, 90)]),
    ];
    for (target, wanted) in cases {
        let selected = select(SIZE, target);
        let found: Vec<_> = entries(&selected).iter().map(|entry| (entry.kind, entry.architecture)).collect();
        assert_eq!(found, wanted, "{target:?}");
        assert_eq!(length(&selected), selected.len());
        assert!(has_binary_for(&selected, target));
    }
    assert!(!has_binary_for(SIZE, Target::gpu(7, 0)));
    assert_eq!(&*select(SIZE, Target::gpu(7, 0)), SIZE, "nothing fits, so nothing is left out");
}
