//! What leaves for the server and comes from it, for the trace.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rrto_core::wire::{ClientFrame, FrameReader, ServerFrame};
use rrto_quic::Tap;

use super::Insight;

/// Notes what passes on the link. Frames are decoded here once more, which only a traced run pays for.
pub(super) struct LinkTap {
    insight: Arc<Insight>,
    received: Mutex<FrameReader>,
}

impl LinkTap {
    pub(super) fn new(insight: Arc<Insight>) -> Self {
        LinkTap { insight, received: Mutex::default() }
    }
}

impl fmt::Debug for LinkTap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkTap").finish_non_exhaustive()
    }
}

/// What makes no sense is left out: the engines see the same and end the session.
impl Tap for LinkTap {
    fn control_sent(&self, frames: &[u8]) {
        let Insight { trace: Some(trace), .. } = &*self.insight else { return };
        let at = self.insight.elapsed();
        trace.control_out(at, frames.len() as u64);
        let mut sent = FrameReader::default();
        sent.handle_bytes(frames);
        while let Ok(Some(frame)) = sent.poll_frame() {
            match frame {
                ClientFrame::Operators { first, .. } => trace.operators_out(at, first),
                ClientFrame::Advance { first, span, .. } => trace.segment_out(at, first, &span),
                _ => {}
            }
        }
    }

    fn control_received(&self, bytes: &[u8]) {
        let Insight { trace: Some(trace), .. } = &*self.insight else { return };
        let at = self.insight.elapsed();
        trace.control_in(at, bytes.len() as u64);
        let mut received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        received.handle_bytes(bytes);
        while let Ok(Some(frame)) = received.poll_frame() {
            match frame {
                ServerFrame::Executed { through } => trace.issued(at, through),
                ServerFrame::Reply { number, .. } => trace.answered(at, number),
                _ => {}
            }
        }
    }

    fn reconnected(&self) {
        // The last frame of the old connection may have been cut off.
        *self.received.lock().unwrap_or_else(PoisonError::into_inner) = FrameReader::default();
    }

    fn payload_sent(&self, number: u64, bytes: u64) {
        if let Some(trace) = &self.insight.trace {
            trace.payload_out(self.insight.elapsed(), number, bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use bytes::Bytes;
    use rrto_core::operator::{SequenceId, Span, Value};
    use rrto_core::wire::{Answer, put_frame};

    use super::super::trace::Trace;
    use super::*;

    #[test]
    fn what_passes_is_in_the_timeline() {
        let insight = Arc::new(Insight {
            began: Instant::now(),
            inferences: None,
            trace: Some(Trace::default()),
            say_divergence: None,
        });
        let tap = insight.tap().unwrap();
        let span = Span { sequence: SequenceId(2), from: 5, count: 4, patches: Vec::new() };
        let mut sent = Vec::new();
        put_frame(&ClientFrame::Operators { first: 1, coded: Bytes::from_static(&[1; 20]) }, &mut sent)
            .unwrap();
        put_frame(&ClientFrame::Advance { first: 7, span, payloads: Bytes::new() }, &mut sent).unwrap();
        tap.payload_sent(7, 5000);
        tap.control_sent(&sent);
        let mut received = Vec::new();
        put_frame(&ServerFrame::Executed { through: 8 }, &mut received).unwrap();
        let outcome = Ok(Answer::Value(Value::None));
        put_frame(&ServerFrame::Reply { number: 10, outcome }, &mut received).unwrap();
        // Frames are not cut where pieces are.
        received.chunks(3).for_each(|piece| tap.control_received(piece));
        let file = tempfile::NamedTempFile::new().unwrap();
        insight.trace.as_ref().unwrap().write(file.path()).unwrap();
        let text = std::fs::read_to_string(file.path()).unwrap();
        for part in [
            "payload leaves",
            "control bytes leave",
            "control bytes arrive",
            "operators: ",
            "sequence 2, 5 to 9: ",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_left_out() {
        let insight = Arc::new(Insight {
            began: Instant::now(),
            inferences: None,
            trace: Some(Trace::default()),
            say_divergence: None,
        });
        let tap = insight.tap().unwrap();
        tap.control_sent(&[0xff; 100]);
        tap.control_received(&[0xff; 100]);
    }
}
