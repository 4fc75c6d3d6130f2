//! What the `wire` fuzz target does with its input: a plain function, so that a
//! test runs it as well.

use rrto_core::engine::server::Channel;
use rrto_core::engine::{Server, ServerLimits, Work};
use rrto_core::wire::repeat::Decoder;
use rrto_core::wire::{
    BULK_HEADER_BYTES, BulkHeader, ClientFrame, FrameReader, Hello, MAX_FRAME_BYTES, Mode, ServerFrame,
    put_frame,
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
            match frame {
                ClientFrame::Operators { mut coded, .. } => {
                    while !coded.is_empty() && operators.decode(&mut coded).is_ok() {}
                }
                ClientFrame::Define { mut coded, .. } => {
                    while !coded.is_empty() && operators.decode_record(&mut coded).is_ok() {}
                }
                _ => {}
            }
        }
    }
    let mut reader = FrameReader::default();
    reader.handle_bytes(input);
    while let Ok(Some(frame)) = reader.poll_frame::<ServerFrame>() {
        assert_sendable(&frame);
    }
    serve(input);
    let mut coded = input.to_vec().into();
    let mut operators = Decoder::default();
    while operators.decode(&mut coded).is_ok() && !coded.is_empty() {}
    if let Some(header) = input.first_chunk::<BULK_HEADER_BYTES>()
        && let Ok(decoded) = BulkHeader::decode(header)
    {
        assert_eq!(decoded.encode(), *header);
    }
}

/// What a server does with `input` after a hello: it executes what it can, or the session ends.
fn serve(input: &[u8]) {
    let mut server = Server::new(ServerLimits::default());
    let mut hello = Vec::new();
    assert!(put_frame(&ClientFrame::Hello(Hello::new(Mode::Replay, "fuzz")), &mut hello).is_ok());
    let mut channel = Channel::new(false);
    assert!(matches!(channel.handle_greeting(&hello), Ok(Some(_))));
    // A frame's damage ends the session: what came before it is executed all the same.
    let _ = server.handle_control(&mut channel, input);
    let mut next = 1;
    while let Ok(Some(work)) = server.poll_ready() {
        match work {
            Work::Operator(ready) => {
                assert!(ready.number >= next, "in order");
                next = ready.number + 1;
            }
            Work::Span { first, sequence, span } => {
                assert!(first >= next && sequence.check(&span).is_ok(), "in order, and what it says it is");
                next = first + u64::from(span.count);
            }
            Work::Retire(_) => {}
        }
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
