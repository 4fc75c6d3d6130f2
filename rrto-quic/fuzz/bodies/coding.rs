//! What the `coding` fuzz target does with its input: a plain function, so that a test runs it as well.

use bytes::Bytes;
use rrto_quic::testing::Codec;

/// The longest payload that a decoder is told of: several blocks, the last one short.
const MOST_BYTES: u64 = 100_000;

/// Reads `input`, behind four bytes that say how long the payload is and how the coded form is cut, as a coded payload: it is
/// refused, or gives no more than was announced, however it is cut. And as a payload, which comes back as it was.
pub(crate) fn coding(input: &[u8]) {
    let Some(([a, b, c, cut], rest)) = input.split_first_chunk() else { return };
    let bytes = u64::from(u32::from_le_bytes([*a, *b, *c, 0])) % MOST_BYTES;
    let coded = Bytes::copy_from_slice(rest);
    let whole = Codec::decode(&coded, bytes);
    let pieces = rest.chunks(usize::from(*cut) + 1).map(Bytes::copy_from_slice);
    let in_pieces = Codec::decode_pieces(pieces, bytes);
    match (whole, in_pieces) {
        (Ok(whole), Ok(in_pieces)) => {
            assert_eq!(whole, in_pieces);
            assert!(whole.iter().map(|block| block.len() as u64).sum::<u64>() <= bytes);
        }
        (Err(_), Err(_)) => {}
        differ => panic!("cutting the coded form changes what it means: {differ:?}"),
    }
    let payload = coded;
    let sent = Codec::default().encode(&payload);
    if sent.iter().map(Bytes::len).sum::<usize>() < payload.len() {
        let decoded = Codec::decode_pieces(sent, payload.len() as u64);
        assert_eq!(decoded.map(|blocks| blocks.concat()).ok().as_deref(), Some(&payload[..]));
    }
}
