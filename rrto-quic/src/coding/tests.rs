//! What is coded comes back, whatever it is and however it arrives.

use bytes::Bytes;
use proptest::prelude::*;
use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::coder::Coder;
use super::rate::Pace;
use super::{BLOCK_BYTES, Coding, Decoder};

/// Random numbers of a normal distribution.
pub(super) fn floats(count: usize) -> Bytes {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut normal = move || (0..12).map(|_| random.random::<f32>()).sum::<f32>() - 6.0;
    (0..count).flat_map(|_| normal().to_le_bytes()).collect::<Vec<_>>().into()
}

pub(super) fn noise(bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    ChaCha8Rng::seed_from_u64(2).fill_bytes(&mut noise);
    noise
}

/// A camera's image of so many channels, planar or interleaved alike, normalised.
fn image(count: usize) -> Bytes {
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let pixel = |at: usize, noise: i32| (128.0 + 90.0 * (at as f32 / 300.0).sin()) as i32 + noise;
    let pixels = (0..count).map(|at| pixel(at, random.random_range(-4..=4)));
    pixels.flat_map(|pixel| ((pixel as f32 / 255.0 - 0.485) / 0.229).to_le_bytes()).collect::<Vec<_>>().into()
}

fn never_asked() -> Pace {
    panic!("the link does not matter")
}

/// The coded form, in pieces as they are handed to the stream; `None` if it goes as it is.
fn encode(payload: &Bytes) -> Option<Vec<Bytes>> {
    let mut coder = Coder::new(Coding::Always);
    let mut coded = coder.begin(payload.clone(), never_asked)?;
    Some(std::iter::from_fn(|| coded.next()).flatten().collect())
}

fn decode(
    pieces: impl IntoIterator<Item = Bytes>,
    bytes: u64,
) -> Result<Vec<u8>, rrto_core::wire::WireError> {
    let mut decoder = Decoder::new(bytes);
    let mut raw = Vec::new();
    for mut piece in pieces {
        while let Some(block) = decoder.poll(&mut piece)? {
            raw.extend_from_slice(&block);
        }
    }
    assert!(raw.len() as u64 <= bytes);
    Ok(raw)
}

/// Cuts at random places.
fn cut(coded: &[u8], seed: u64) -> Vec<Bytes> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut left = Bytes::copy_from_slice(coded);
    let mut pieces = Vec::new();
    while !left.is_empty() {
        let longest = *[1, 5, 1400, 100_000].get(random.random_range(0..4)).unwrap();
        pieces.push(left.split_to(random.random_range(0..=longest).min(left.len())));
    }
    pieces
}

/// A payload that is named by how it was made, not by its bytes.
#[derive(Debug)]
struct Made {
    element: usize,
    bytes: usize,
    /// How far an element's value reaches up.
    shift: u32,
    values: u64,
    seed: u64,
}

impl Made {
    fn bytes(&self) -> Bytes {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        let mut made = Vec::with_capacity(self.bytes + 2 * self.element);
        while made.len() < self.bytes {
            let value = random.random_range(0..self.values).wrapping_mul(0x0101_0101_0101_0101 >> self.shift);
            made.extend((0..self.element).map(|at| value.to_le_bytes().get(at).copied().unwrap_or_default()));
            // Now and then something that is out of step.
            if self.seed.is_multiple_of(7) && made.len() % 4099 < 8 {
                made.push(random.random());
            }
        }
        made.truncate(self.bytes);
        made.into()
    }
}

/// Payloads of all kinds: what tensors hold, and what nobody would send.
fn made() -> impl Strategy<Value = Made> {
    let element = prop_oneof![Just(1usize), Just(2), Just(3), Just(4), Just(8), Just(12)];
    let bytes = 0..(3 * BLOCK_BYTES + 100);
    (element, bytes, 0u32..8, 1u64..70_000, any::<u64>())
        .prop_map(|(element, bytes, shift, values, seed)| Made { element, bytes, shift, values, seed })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_coded_comes_back(made in made(), seed: u64) {
        let payload = made.bytes();
        if let Some(blocks) = encode(&payload) {
            let coded = blocks.concat();
            prop_assert!(coded.len() <= payload.len() + 4 * payload.len().div_ceil(BLOCK_BYTES));
            prop_assert!(decode(cut(&coded, seed), payload.len() as u64).unwrap() == payload);
        }
    }

    #[test]
    fn nonsense_is_an_error(made in made(), seed: u64, changes in 1..20) {
        let payload = made.bytes();
        let Some(blocks) = encode(&payload) else { return Ok(()) };
        let mut coded = blocks.concat();
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        for _ in 0..changes {
            // Where the forms and lengths are, more often than elsewhere.
            let range = if random.random() { coded.len().min(40) } else { coded.len() };
            coded[random.random_range(0..range)] = random.random();
        }
        // Whatever comes of it has the payload's length at most.
        let _ = decode(cut(&coded, seed), payload.len() as u64);
    }

    #[test]
    fn any_bytes_are_no_danger(form in 0u8..10, body in proptest::collection::vec(any::<u8>(), 0..3000), bytes in 1u64..100_000) {
        let length = (body.len() as u32).to_le_bytes();
        let block = [&[form, length[0], length[1], length[2]][..], &body].concat();
        let _ = decode([block.into()], bytes);
    }
}

#[test]
fn tensors_get_shorter() {
    let tokens: Bytes =
        (0..20_000u64).flat_map(|at| (at * at % 50_257).to_le_bytes()).collect::<Vec<_>>().into();
    let bytes_image: Bytes =
        image(100_000).chunks(4).map(|pixel| pixel[2] ^ pixel[3]).collect::<Vec<_>>().into();
    for (what, payload, most) in [
        ("random floats", floats(150_528), 0.85),
        ("zeros", vec![0; 600_000].into(), 0.01),
        ("tokens", tokens, 0.3),
        ("a normalised image", image(150_528), 0.2),
        ("bytes of few values", bytes_image, 0.9),
    ] {
        let coded: usize = encode(&payload).unwrap().iter().map(Bytes::len).sum();
        let ratio = coded as f64 / payload.len() as f64;
        assert!(ratio < most, "{what}: {ratio}");
    }
    assert_eq!(encode(&noise(600_000).into()), None);
}

#[test]
fn what_does_not_compress_in_the_midst_of_the_rest_is_not_copied() {
    let payload: Bytes =
        [&floats(3 * BLOCK_BYTES)[..], &noise(BLOCK_BYTES), &floats(3 * BLOCK_BYTES)].concat().into();
    let range = payload.as_ptr_range();
    let blocks = encode(&payload).unwrap();
    let own = blocks.iter().filter(|piece| range.contains(&piece.as_ptr())).count();
    assert_eq!(own, 1);
    assert_eq!(decode(blocks, payload.len() as u64).unwrap(), &payload[..]);
}

#[test]
fn a_block_that_ends_early_gives_nothing() {
    let payload = floats(10_000);
    let coded: Bytes = encode(&payload).unwrap().concat().into();
    let mut decoder = Decoder::new(payload.len() as u64);
    let mut piece = coded.slice(..coded.len() - 1);
    let mut raw = 0;
    while let Some(block) = decoder.poll(&mut piece).unwrap() {
        raw += block.len();
    }
    assert!(!decoder.is_complete());
    assert_eq!(raw % BLOCK_BYTES, 0);
    let mut last = coded.slice(coded.len() - 1..);
    assert_eq!(decoder.poll(&mut last).unwrap().map(|block| block.len() + raw), Some(payload.len()));
    assert!(decoder.is_complete());
}
