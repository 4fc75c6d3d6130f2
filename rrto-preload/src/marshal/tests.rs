use std::ffi::c_void;

use proptest::prelude::*;
use rrto_core::api::CuResult;
use rrto_core::image::building::{EntrySpec, container};
use rrto_core::image::unread::Leftovers;
use rrto_core::operator::{LAUNCH_ATTRIBUTE_VALUE_BYTES, MAX_PARAM_BYTES};

use super::launch::RawAttribute;
use super::*;

const INVALID: CuResult = CuResult::INVALID_VALUE;

fn pack(params: Params, layout: &[(u32, u32)], unread: &Leftovers) -> Result<Vec<u8>, CuResult> {
    let mut block = ParamBlock::new();
    params.pack(layout, unread, &mut block).map(|()| block.into_vec())
}

fn copy(extra: Extra, unread: &Leftovers) -> Result<Vec<u8>, CuResult> {
    let mut block = ParamBlock::new();
    extra.copy(unread, &mut block).map(|()| block.into_vec())
}

proptest! {
    /// Every parameter lies at its offset, and what is between them is zero.
    #[test]
    fn parameters_are_packed_at_their_offsets(
        params in prop::collection::vec((0..16_u32, prop::collection::vec(1..=255_u8, 1..300)), 0..20),
    ) {
        let mut layout = Vec::new();
        let mut expected = Vec::new();
        for (gap, value) in &params {
            expected.resize(expected.len() + *gap as usize, 0);
            layout.push((expected.len() as u32, value.len() as u32));
            expected.extend(value);
        }
        let addresses: Vec<*const c_void> = params.iter().map(|(_, value)| value.as_ptr().cast()).collect();
        prop_assert_eq!(pack(Params::from(&addresses), &layout, &Leftovers::default()), Ok(expected));
    }

    /// What the kernel does not read is zero, in a block of either form, and all else as the program has it.
    #[test]
    fn leftovers_do_not_travel(
        block in prop::collection::vec(1..=255_u8, 1..300),
        unread in prop::collection::vec((0..400_u32, prop_oneof![0..100_u32, Just(u32::MAX)]), 0..6),
    ) {
        let is_unread = |at: usize| {
            let at = at as u64;
            unread.iter().any(|&(from, bytes)| (from.into()..u64::from(from) + u64::from(bytes)).contains(&at))
        };
        let expected: Vec<u8> =
            block.iter().enumerate().map(|(at, &byte)| if is_unread(at) { 0 } else { byte }).collect();
        let unread = Leftovers::new(unread, Vec::new());
        let addresses = [block.as_ptr().cast()];
        let packed = pack(Params::from(&addresses), &[(0, block.len() as u32)], &unread);
        prop_assert_eq!(packed, Ok(expected.clone()));

        let bytes = block.len();
        let key = |key: usize| std::ptr::without_provenance::<c_void>(key);
        let list = [key(1), block.as_ptr().cast(), key(2), (&raw const bytes).cast(), key(0)];
        prop_assert_eq!(copy(Extra(list.as_ptr()), &unread), Ok(expected));
    }
}

#[test]
fn parameters_that_are_not_there() {
    let value = 7_u8;
    let addresses = [(&raw const value).cast(), std::ptr::null()];
    let params = Params::from(&addresses);
    assert_eq!(pack(params, &[(0, 1), (8, 1)], &Leftovers::default()), Err(INVALID));
    assert_eq!(pack(params, &[(MAX_PARAM_BYTES as u32, 1)], &Leftovers::default()), Err(INVALID));
    assert_eq!(pack(params, &[(u32::MAX, u32::MAX)], &Leftovers::default()), Err(INVALID));
    let nothing = Params(std::ptr::null());
    assert_eq!(pack(nothing, &[(0, 1)], &Leftovers::default()), Err(INVALID));
    assert_eq!(pack(nothing, &[], &Leftovers::default()), Ok(vec![]));
    let addresses = [addresses[0]; 2];
    let twice = Params::from(&addresses);
    assert_eq!(pack(twice, &[(1, 1), (0, 1)], &Leftovers::default()), Err(INVALID), "not in order");
}

#[test]
fn a_block_that_the_program_packed() {
    let (block, mut bytes) = ([1_u8, 2, 3, 4], 4_usize);
    let key = |key: usize| std::ptr::without_provenance::<c_void>(key);
    let size = |bytes: &mut usize| (&raw const *bytes).cast::<c_void>();
    let list = |keys: &[*const c_void]| copy(Extra(keys.as_ptr()), &Leftovers::default());
    let whole = [key(1), block.as_ptr().cast(), key(2), size(&mut bytes), key(0)];
    assert_eq!(list(&whole), Ok(vec![1, 2, 3, 4]));
    assert_eq!(list(&[key(0)]), Ok(vec![]));
    assert_eq!(list(&[key(1), block.as_ptr().cast(), key(0)]), Ok(vec![]));
    assert_eq!(list(&[key(2), size(&mut bytes), key(0)]), Err(INVALID), "a size without a block");
    assert_eq!(list(&[key(3), key(0), key(0)]), Err(INVALID));
    bytes = MAX_PARAM_BYTES + 1;
    assert_eq!(list(&[key(1), block.as_ptr().cast(), key(2), size(&mut bytes), key(0)]), Err(INVALID));
    let endless: Vec<_> = [key(1), block.as_ptr().cast()].into_iter().cycle().take(40).collect();
    assert_eq!(list(&endless), Err(INVALID));
}

fn config(attributes: &[RawAttribute]) -> LaunchConfig {
    LaunchConfig {
        grid: [1, 2, 3],
        block: [4, 5, 6],
        shared_bytes: 7,
        stream: 0,
        attributes: In::from(attributes),
        attribute_count: attributes.len() as u32,
    }
}

fn attribute(id: u32, bytes: &[u8]) -> RawAttribute {
    // What the program leaves uninitialised.
    let mut value = [0xaa; LAUNCH_ATTRIBUTE_VALUE_BYTES];
    value[..bytes.len()].copy_from_slice(bytes);
    RawAttribute { id, padding: [0; 4], value }
}

#[test]
fn launch_attributes() {
    assert_eq!((size_of::<RawAttribute>(), size_of::<LaunchConfig>()), (72, 56), "as in cuda.h");
    let cluster = [2, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0];
    let raw = [attribute(0, &[]), attribute(4, &cluster), attribute(6, &[0; 4])];
    let attributes = config(&raw).attributes().unwrap();
    let values: Vec<(u32, &[u8])> = attributes.iter().map(|a| (a.id, &a.value[..])).collect();
    assert_eq!(values, [(4, &cluster[..9]), (6, &[])], "without what is ignored, unused or zero at the end");
    for handle in [7, 12, 13] {
        assert_eq!(config(&[attribute(handle, &[])]).attributes(), Err(CuResult::NOT_SUPPORTED));
    }
    let too_many = LaunchConfig { attribute_count: 33, ..config(&raw) };
    assert_eq!(too_many.attributes(), Err(INVALID));
    assert_eq!(LaunchConfig { attributes: In(std::ptr::null()), ..config(&raw) }.attributes(), Err(INVALID));
}

#[repr(C)]
struct Wrapper {
    magic: u32,
    version: u32,
    container: *const u8,
    unused: usize,
}

#[test]
fn images_behind_pointers() {
    let ptx = *b".version 8.0\0 and then something else";
    assert_eq!(Image::at(&ptx).bytes(), Ok(&b".version 8.0\0"[..]));
    assert_eq!(Image::at(&[0_u8]).bytes(), Ok(&[0_u8][..]), "no text at all");
    assert_eq!(Image::null().bytes(), Err(INVALID));
    let fat = container(&[EntrySpec::cubin(90, b"code"), EntrySpec::ptx(75, "text")]);
    let wrapper = Wrapper { magic: 0x4662_43b1, version: 1, container: fat.as_ptr(), unused: 0 };
    assert_eq!(Image::at(&wrapper).bytes(), Ok(&fat[..]));
    let empty = Wrapper { container: std::ptr::null(), ..wrapper };
    assert_eq!(Image::at(&empty).bytes(), Err(CuResult::INVALID_IMAGE));
    assert_eq!(file_image(fat.clone()), Ok(fat.clone()));
    assert_eq!(file_image(fat[..fat.len() - 1].to_vec()), Err(CuResult::INVALID_IMAGE), "cut off");
    assert_eq!(file_image(b"ptx".to_vec()), Ok(b"ptx\0".to_vec()));
    assert_eq!(file_image(Vec::new()), Ok(vec![0]));
}

#[test]
fn compiler_logs_are_empty() {
    let mut log = *b"old";
    let options = [0_i32, 3, 4];
    let mut values: [*mut c_void; 3] =
        [std::ptr::null_mut(), log.as_mut_ptr().cast(), std::ptr::without_provenance_mut(3)];
    let read = JitOptions::read(3, In::from(&options), Out::to(&mut values[0]));
    assert_eq!(read, Ok(JitOptions { chooses_target: false }));
    assert_eq!((log[0], values[2].addr()), (0, 0));
    let target = JitOptions::read(1, In::from(&[9]), Out::to(&mut values[0]));
    assert_eq!(target, Ok(JitOptions { chooses_target: true }));
    assert_eq!(JitOptions::read(1, In::from(&[9]), Out::unwanted()), Err(INVALID));
    assert_eq!(JitOptions::read(65, In::from(&[9]), Out::to(&mut values[0])), Err(INVALID));
    assert_eq!(JitOptions::read(0, In(std::ptr::null()), Out::unwanted()), Ok(JitOptions::default()));
}

#[test]
fn texts_are_cut_to_their_room() {
    let mut room = [1; 5];
    let [first, ..] = &mut room;
    let out = Out::to(first);
    assert_eq!(out.set_padded_text("NVIDIA", 0), Err(INVALID));
    assert_eq!(out.set_padded_text("NVIDIA", -1), Err(INVALID));
    out.set_padded_text("NVIDIA", 4).unwrap();
    assert_eq!(room, [b'N' as c_char, b'V' as c_char, b'I' as c_char, 0, 1]);
    let [first, ..] = &mut room;
    Out::to(first).set_padded_text("N", 4).unwrap();
    assert_eq!(room, [b'N' as c_char, 0, 0, 0, 1], "zeros to the end of the room");
}

#[test]
fn null_where_it_is_not_allowed() {
    assert_eq!(Out::<u32>::unwanted().set(1), Err(INVALID));
    assert_eq!(Out::<u32>::unwanted().get(), Err(INVALID));
    assert_eq!(In::<u32>(std::ptr::null()).get(), Err(INVALID));
    assert_eq!(In::<u32>(std::ptr::null()).array(1), Err(INVALID));
    assert_eq!(In::<u32>(std::ptr::null()).array(0), Ok(Vec::new()));
    assert_eq!(Text(std::ptr::null()).get(), Err(INVALID));
    assert_eq!(Text(c"name".as_ptr()).get(), Ok("name".into()));
    assert_eq!(Text(c"\xff".as_ptr()).get(), Err(INVALID));
}
