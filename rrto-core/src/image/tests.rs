//! Properties, on images made by [`super::building`].

use std::borrow::Cow;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select as one_of};

use super::building::{EntrySpec, container, cubin};
use super::cubin::{KernelParams, Param, kernels};
use super::fuzzing::{self, TARGETS};
use super::*;

fn image() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..200),
        // Repetitive enough for matches and runs, and longer than a zstd step.
        (vec(1_u8..5, 1..40), 1_usize..9000).prop_map(|(run, times)| run.repeat(times)),
        ".{0,300}".prop_map(String::into_bytes),
    ]
}

fn entry() -> impl Strategy<Value = EntrySpec> {
    let compression =
        one_of(vec![Compression::None, Compression::Lz4, Compression::Zstd, Compression::Unknown]);
    let architecture = one_of(vec![50_u32, 75, 80, 86, 87, 90, 100, 101, 103, 110, 120]);
    (1_u16..4, architecture, any::<bool>(), compression, vec(1_u8.., 0..12), image()).prop_map(
        |(kind, architecture, specific, compression, name, image)| EntrySpec {
            kind,
            architecture,
            specific,
            compression,
            name,
            image,
        },
    )
}

/// Kernels with distinct names and parameters that lie in their blocks.
fn layouts() -> impl Strategy<Value = Vec<(String, Vec<u32>)>> {
    let bytes = prop_oneof![9 => 1_u32..64, 1 => 1_u32..20_000];
    vec(("[a-zA-Z_][a-zA-Z0-9_$]{0,30}", vec(bytes, 0..6)), 0..8)
}

/// The layout with parameters of these lengths, one after the other.
fn kernel<'a>(name: &'a str, lengths: &[u32]) -> Option<KernelParams<'a>> {
    let mut block_bytes = 0_u32;
    let mut params = Vec::new();
    for bytes in lengths {
        params.push(Param { offset: block_bytes, bytes: *bytes });
        block_bytes += bytes.next_multiple_of(8);
    }
    // The format's own limit on a parameter block.
    (block_bytes <= 0x7fff).then_some(KernelParams { name, params, block_bytes, block_at: 0 })
}

/// Like [`select`]'s documentation, but for one entry among `all`.
fn must_stay(entry: &EntrySpec, device: u32, all: &[EntrySpec]) -> bool {
    let has_own_code = all.iter().any(|other| other.kind == 2 && other.architecture == device);
    match entry.kind {
        1 => entry.architecture <= device && !has_own_code,
        2 => entry.architecture / 10 == device / 10 && entry.architecture <= device,
        _ => true,
    }
}

proptest! {
    #[test]
    fn a_container_reads_back_as_it_was_built(specs in vec(entry(), 0..5)) {
        let built = container(&specs);
        let entries: Vec<_> = Container::parse(&built).unwrap().entries().collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(entries.len(), specs.len());
        for (entry, spec) in entries.iter().zip(&specs) {
            prop_assert_eq!(entry.architecture, spec.architecture);
            prop_assert_eq!(entry.is_specific(), spec.specific);
            prop_assert_eq!(entry.compression, if spec.image.is_empty() && spec.compression == Compression::Unknown { Compression::None } else { spec.compression });
            prop_assert_eq!(entry.name.unwrap_or_default(), spec.name.as_slice());
            match (entry.image(), entry.kind) {
                (Err(error), _) => prop_assert!(
                    matches!(error, ImageError::UnknownCompression { .. }) && spec.compression == Compression::Unknown,
                    "{error}"
                ),
                (Ok(text), EntryKind::Ptx) => prop_assert_eq!(&*text, container::until_zero(&spec.image)),
                // Padded, if it is not compressed.
                (Ok(code), _) => prop_assert!(code.starts_with(&spec.image) && code.len() < spec.image.len() + 8),
            }
        }
    }

    #[test]
    fn the_length_is_found_reading_nothing_beyond_the_image(specs in vec(entry(), 0..4), layouts in layouts(), text in "[ -~\n]{0,300}") {
        let kernels: Vec<_> = layouts.iter().filter_map(|(name, lengths)| kernel(name, lengths)).collect();
        for image in [container(&specs), cubin(&kernels), format!("{text}\0").into_bytes()] {
            let mut followed = image.clone();
            followed.extend([0xab; 32]);
            let read = |at: u64, len: u64| {
                assert!(at + len <= image.len() as u64, "read beyond the image");
                followed.get(at as usize..(at + len) as usize)
            };
            prop_assert_eq!(image_bytes(read), Ok(image.len()));
        }
    }

    #[test]
    fn select_keeps_what_must_stay_and_nothing_else_changes(specs in vec(entry(), 0..7), device in one_of(vec![(7, 5), (8, 6), (8, 7), (9, 0), (10, 3), (12, 1)])) {
        let built = container(&specs);
        let selected = select(&built, Target::gpu(device.0, device.1));
        let needed: Vec<_> = specs.iter().filter(|spec| must_stay(spec, device.0 * 10 + device.1, &specs)).cloned().collect();
        if needed.is_empty() || needed.len() == specs.len() {
            prop_assert!(matches!(selected, Cow::Borrowed(_)));
            prop_assert_eq!(&*selected, &built);
        } else {
            prop_assert_eq!(&*selected, &container(&needed));
        }
    }

    #[test]
    fn layouts_read_back_as_they_were_built(layouts in layouts()) {
        let wanted: Vec<_> = layouts.iter().filter_map(|(name, lengths)| kernel(name, lengths)).collect();
        let built = cubin(&wanted);
        prop_assert_eq!(kernels(&built), Ok(wanted));
    }

    #[test]
    fn damaged_containers_never_panic(specs in vec(entry(), 0..4), damage in vec((any::<Index>(), any::<u8>()), 1..6), cut in any::<Index>()) {
        let mut built = container(&specs);
        fuzzing::container(&built);
        for (at, value) in damage {
            let at = at.index(built.len());
            built[at] = value;
        }
        fuzzing::container(&built);
        fuzzing::container(&built[..cut.index(built.len())]);
    }

    #[test]
    fn damaged_cubins_never_panic(layouts in layouts(), damage in vec((any::<Index>(), any::<u8>()), 1..6), cut in any::<Index>()) {
        let wanted: Vec<_> = layouts.iter().filter_map(|(name, lengths)| kernel(name, lengths)).collect();
        let mut built = cubin(&wanted);
        for (at, value) in damage {
            let at = at.index(built.len());
            built[at] = value;
        }
        fuzzing::cubin(&built);
        fuzzing::container(&built);
        fuzzing::cubin(&built[..cut.index(built.len())]);
    }

    #[test]
    fn the_fuzz_targets_accept_anything(input in vec(any::<u8>(), 0..400), magic in one_of(vec![&CONTAINER_MAGIC, &ELF_MAGIC])) {
        fuzzing::container(&input);
        fuzzing::cubin(&input);
        let input = [magic.as_slice(), &input].concat();
        fuzzing::container(&input);
        fuzzing::cubin(&input);
    }
}

#[test]
fn ptx_is_left_out_only_beside_code_for_exactly_this_device() {
    let older = EntrySpec::cubin(80, b"older");
    let ptx = EntrySpec::ptx(80, ".version 9.0");
    let other = EntrySpec::cubin(75, b"other");
    let exact = EntrySpec::cubin(86, b"exact");
    let target = Target::gpu(8, 6);
    let kept =
        |specs: &[&EntrySpec]| container(&specs.iter().map(|spec| (*spec).clone()).collect::<Vec<_>>());
    let cases: [(&[&EntrySpec], &[&EntrySpec]); 4] = [
        (&[&older, &ptx, &other], &[&older, &ptx]),
        (&[&older, &ptx, &exact], &[&older, &exact]),
        (&[&ptx, &other], &[&ptx]),
        (&[&other], &[&other]),
    ];
    for (given, wanted) in cases {
        assert_eq!(*select(&kept(given), target), kept(wanted));
    }
    assert!(!has_binary_for(&kept(&[&other]), target));
    assert!(has_binary_for(&kept(&[&ptx]), target));
}

#[test]
fn the_software_gpu_keeps_ptx_of_every_architecture() {
    let ptx = EntrySpec::ptx(120, "new");
    let image = container(&[EntrySpec::cubin(90, b"code"), ptx.clone()]);
    assert_eq!(*select(&image, Target::software()), container(&[ptx]));
    assert!(!has_binary_for(&container(&[EntrySpec::cubin(90, b"code")]), Target::software()));
}

#[test]
fn the_best_ptx_is_the_newest_that_runs_everywhere() {
    let specific = EntrySpec { specific: true, ..EntrySpec::ptx(100, "a") };
    let cases: [(&[EntrySpec], Option<&str>); 4] = [
        (&[EntrySpec::ptx(75, "old"), EntrySpec::ptx(90, "new"), specific.clone()], Some("new")),
        (&[specific], Some("a")),
        (&[EntrySpec::cubin(90, b"code")], None),
        (&[], None),
    ];
    for (specs, wanted) in cases {
        assert_eq!(best_ptx(&container(specs)).unwrap().as_deref(), wanted);
    }
    assert_eq!(best_ptx(b".version 9.0\0junk").unwrap().as_deref(), Some(".version 9.0"));
}

#[test]
fn a_payload_that_gives_another_length_than_declared_is_refused() {
    for compression in [Compression::Lz4, Compression::Zstd] {
        let image = vec![7; 400 << 10];
        let spec = EntrySpec { compression, ..EntrySpec::cubin(90, &image) };
        for declared in [0, image.len() - 1, image.len() + 1, 1 << 27, usize::MAX] {
            let mut built = container(std::slice::from_ref(&spec));
            built[16 + 56..16 + 64].copy_from_slice(&(declared as u64).to_le_bytes());
            let entry = Container::parse(&built).unwrap().entries().next().unwrap().unwrap();
            let error = entry.image().unwrap_err();
            let expected = matches!(error, ImageError::Corrupt { .. } | ImageError::TooLarge { .. });
            assert!(expected, "{compression:?} declared {declared}: {error}");
        }
    }
}

#[test]
fn wrong_lengths_are_errors_that_say_what_is_wrong() {
    let good = container(&[EntrySpec::ptx(90, "text")]);
    let mut too_long = good.clone();
    too_long[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    let read = |at: u64, len: u64| too_long.get(at as usize..(at + len) as usize);
    assert!(matches!(image_bytes(read), Err(ImageError::TooLarge { .. })));
    assert!(matches!(Container::parse(&too_long), Err(ImageError::Truncated { .. })));
    for cut in 0..good.len() {
        assert!(Container::parse(&good[..cut]).is_err());
        assert_eq!(*select(&good[..cut], TARGETS[0]), good[..cut]);
    }
}

/// A few seconds of what `cargo fuzz` does with these files as its corpus.
#[test]
fn damaged_fixtures_never_panic() {
    use rand::{Rng, SeedableRng};
    let fixtures: [&[u8]; 3] = [
        include_bytes!("../../tests/fixtures/none.fatbin"),
        include_bytes!("../../tests/fixtures/speed.fatbin"),
        include_bytes!("../../tests/fixtures/size.fatbin"),
    ];
    let cubins =
        Container::parse(fixtures[2]).unwrap().entries().map(|entry| entry.unwrap().image().unwrap());
    let inputs: Vec<_> = fixtures.into_iter().map(Cow::Borrowed).chain(cubins).collect();
    for seed in 0..300 {
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        for input in &inputs {
            let mut damaged = input.to_vec();
            for _ in 0..random.random_range(1..8) {
                let at = random.random_range(0..damaged.len());
                damaged[at] = random.random();
            }
            fuzzing::container(&damaged);
            fuzzing::cubin(&damaged);
        }
    }
}
