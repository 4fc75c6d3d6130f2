use rrto_core::image::building::{EntrySpec, container, cubin_with_code};
use rrto_core::image::cubin::{KernelParams, Param};

use super::*;

#[test]
fn text_is_ended() {
    let mut text = b".version 8.0".to_vec();
    assert_eq!(complete(&mut text), Ok(()));
    assert_eq!(text.last(), Some(&0));
}

#[test]
fn images_that_are_cut_off_never_reach_the_driver() {
    let mut container = vec![0x50, 0xed, 0x55, 0xba, 1, 0, 16, 0];
    container.extend_from_slice(&100_u64.to_le_bytes());
    assert_eq!(complete(&mut container), Err(CuResult::INVALID_IMAGE));
    container.resize(116, 0);
    assert_eq!(complete(&mut container), Ok(()));
    assert_eq!(complete(&mut b"\x7fELF".to_vec()), Err(CuResult::INVALID_IMAGE));
    assert_eq!(complete(&mut Vec::new()), Ok(()), "empty text, which the driver refuses itself");
}

#[test]
fn an_image_that_cannot_be_used_is_no_longer_counted() {
    let mut code = Code::default();
    code.images.insert(Handle(1), b"\x7fELF".to_vec());
    code.image_bytes = 4;
    assert_eq!(code.take_image(Handle(2)).err(), Some(CuResult::INVALID_IMAGE));
    assert_eq!(code.len(), 1);
    assert_eq!(code.take_image(Handle(1)).err(), Some(CuResult::INVALID_IMAGE));
    assert_eq!((code.image_bytes, code.len()), (0, 0));
}

#[test]
fn layouts_of_what_is_no_code_are_none() {
    assert!(layouts(b"no code").is_empty());
    assert!(layouts(b"\x7fELFno code").is_empty());
    assert!(layouts(b"\x50\xed\x55\xbano code").is_empty());
}

#[test]
fn what_kernels_never_read_is_a_fact_of_the_image() {
    let params = vec![Param { offset: 0, bytes: 16 }];
    let kernel = KernelParams { name: "k", params, block_bytes: 16, block_at: 0x210 };
    // LDC.64 R2, c[0x0][0x210]
    let load: u128 = 0x000e_2200_0000_0a00_0000_8400_ff02_7b82;
    let cubin = cubin_with_code(90, &[kernel], &[(".text.k".into(), load.to_le_bytes().into())]);
    let container = container(&[EntrySpec::cubin(90, &cubin)]);
    for image in [&cubin, &container] {
        let told = Facts::of(image, true, 1 << 10);
        assert_eq!(told.unread.leftovers("k").always(), [(8, 8)]);
        assert!(told.layouts.is_none());
        assert_eq!(Facts::of(image, false, 0).layouts.unwrap()["k"], [(0, 16)]);
    }
    assert!(Facts::of(b"no code", true, 1 << 10).unread.leftovers("k").always().is_empty());
}
