//! What the `wire` fuzz target does with its input: a plain function, so that a
//! test runs it as well.

use rrto_core::wire::repeat::Decoder;
use rrto_core::wire::{
    BULK_HEADER_BYTES, BulkHeader, ClientFrame, FrameReader, MAX_FRAME_BYTES, ServerFrame, put_frame,
};

/// Reads `input` as everything that a peer can send: either side's control
/// stream, coded operators, and the header of a bulk stream. Each is refused
/// or decoded, and what is decoded can be sent again.
pub(crate) fn wire(input: &[u8]) {
    let mut reader = FrameReader::default();
    let mut operators = Decoder::default();
    // In pieces, as a stream comes.
    for piece in input.chunks(97) {
        reader.handle_bytes(piece);
        while let Ok(Some(frame)) = reader.poll_frame::<ClientFrame>() {
            assert_sendable(&frame);
            if let ClientFrame::Operators { mut coded, .. } = frame {
                while !coded.is_empty() && operators.decode(&mut coded).is_ok() {}
            }
        }
    }
    let mut reader = FrameReader::default();
    reader.handle_bytes(input);
    while let Ok(Some(frame)) = reader.poll_frame::<ServerFrame>() {
        assert_sendable(&frame);
    }
    let mut coded = input.to_vec().into();
    let mut operators = Decoder::default();
    while operators.decode(&mut coded).is_ok() && !coded.is_empty() {}
    if let Some(header) = input.first_chunk::<BULK_HEADER_BYTES>()
        && let Ok(decoded) = BulkHeader::decode(header)
    {
        assert_eq!(decoded.encode(), *header);
    }
}

/// A frame that came in one piece goes out as one no longer: nothing that is
/// decoded takes more room than it came in, beyond what postcard's number
/// coding can be shortened by.
fn assert_sendable(frame: &impl serde::Serialize) {
    let mut out = Vec::new();
    assert!(put_frame(frame, &mut out).is_ok());
    assert!(out.len() <= MAX_FRAME_BYTES + size_of::<u32>());
}
