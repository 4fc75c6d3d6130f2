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
