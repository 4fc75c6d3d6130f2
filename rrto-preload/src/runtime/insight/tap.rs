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
            // The server answers an operator after it has issued all before it.
            if let ServerFrame::Reply { number: through, .. } | ServerFrame::Executed { through } = frame {
                trace.issued(at, through);
            }
        }
    }

    fn payload_sent(&self, number: u64, bytes: u64) {
        if let Some(trace) = &self.insight.trace {
            trace.payload_out(self.insight.elapsed(), number, bytes);
        }
    }
}
