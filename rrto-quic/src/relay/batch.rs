//! Headers on and off whole batches: the system takes and gives many datagrams at a time as one buffer (GSO, GRO).

use std::collections::VecDeque;
use std::io::IoSliceMut;
use std::net::SocketAddr;

use quinn::udp::{EcnCodepoint, RecvMeta};

use super::wire::{FlowId, HEADER_BYTES, data};

/// Puts the flow's header before each datagram of `contents`, which are `segment_bytes` long but for the last.
/// Gives what they are then.
pub(super) fn wrap(
    flow: FlowId,
    contents: &[u8],
    segment_bytes: Option<usize>,
    out: &mut Vec<u8>,
) -> Option<usize> {
    let header = flow.header();
    out.clear();
    for datagram in contents.chunks(segment_bytes.unwrap_or(contents.len()).max(1)) {
        out.extend_from_slice(&header);
        out.extend_from_slice(datagram);
    }
    segment_bytes.map(|bytes| bytes + HEADER_BYTES)
}

/// Takes headers off, and keeps what has no place among the received until it is asked for.
///
/// A buffer that the system gave may hold datagrams of several flows, because for it they all come from the relay; what
/// QUIC gets in one buffer has to be from one. What comes behind the first flow's, of this buffer or a later one, waits here: so all stays in
/// order. Holds no more than what was received at once, for nothing is received before it is empty.
#[derive(Debug, Default)]
pub(super) struct Unwrapped {
    waiting: VecDeque<Run>,
}

/// Datagrams of one flow, one behind the other.
#[derive(Debug)]
struct Run {
    meta: RecvMeta,
    bytes: Vec<u8>,
}

impl Unwrapped {
    /// Takes the headers off what was received. What the relay sent and has no flow that `peer` knows goes to `control`. Gives how
    /// many of the buffers are good now; some may be empty.
    pub(super) fn take(
        &mut self,
        bufs: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
        relay: Option<SocketAddr>,
        peer: impl Fn(FlowId) -> Option<SocketAddr>,
        mut control: impl FnMut(&[u8]),
    ) -> usize {
        let mut good = 0;
        for (buf, meta) in bufs.iter_mut().zip(metas) {
            let in_place = self.waiting.is_empty();
            let len = meta.len.min(buf.len());
            if Some(meta.addr) == relay {
                self.take_relayed(
                    buf.get_mut(..len).unwrap_or_default(),
                    meta,
                    in_place,
                    &peer,
                    &mut control,
                );
            } else if !in_place {
                let bytes = buf.get(..len).unwrap_or_default().to_vec();
                self.waiting.push_back(Run { meta: *meta, bytes });
            }
            good += usize::from(in_place);
        }
        good
    }

    fn take_relayed(
        &mut self,
        buf: &mut [u8],
        meta: &mut RecvMeta,
        in_place: bool,
        peer: &impl Fn(FlowId) -> Option<SocketAddr>,
        control: &mut impl FnMut(&[u8]),
    ) {
        let (stride, ecn) = (meta.stride.max(1), meta.ecn);
        let (mut kept, mut kept_peer, mut waiting_peer) = (0, None, None);
        for start in (0..buf.len()).step_by(stride) {
            let content = start + HEADER_BYTES..buf.len().min(start + stride);
            let Some(datagram) = buf.get(start..content.end) else { break };
            let Some(from) = data(datagram).and_then(peer) else {
                control(datagram);
                continue;
            };
            let is_next = in_place && waiting_peer.is_none() && kept_peer.is_none_or(|kept| kept == from);
            if is_next {
                kept_peer = Some(from);
                let bytes = content.len();
                buf.copy_within(content, kept);
                kept += bytes;
                continue;
            }
            if waiting_peer.replace(from) != Some(from) {
                self.waiting.push_back(Run { meta: described(from, 0, stride, ecn), bytes: Vec::new() });
            }
            if let Some(run) = self.waiting.back_mut() {
                run.bytes.extend_from_slice(buf.get(content).unwrap_or_default());
            }
        }
        meta.len = kept;
        if let Some(from) = kept_peer {
            *meta = described(from, kept, stride, ecn);
        }
    }

    /// Gives what waits, as if it were received now, and how many buffers it has filled.
    pub(super) fn give(&mut self, bufs: &mut [IoSliceMut<'_>], metas: &mut [RecvMeta]) -> usize {
        let mut given = 0;
        for (buf, meta) in bufs.iter_mut().zip(metas) {
            let Some(run) = self.waiting.pop_front() else { break };
            // The buffers are as long as those that it came in.
            let len = run.bytes.len().min(buf.len());
            if let (Some(to), Some(from)) = (buf.get_mut(..len), run.bytes.get(..len)) {
                to.copy_from_slice(from);
            }
            *meta = RecvMeta { len, ..run.meta };
            given += 1;
        }
        given
    }
}

fn described(addr: SocketAddr, len: usize, stride: usize, ecn: Option<EcnCodepoint>) -> RecvMeta {
    let stride = stride.saturating_sub(HEADER_BYTES).max(1);
    // QUIC would answer from the address that it came to; that is the relay's affair.
    RecvMeta { addr, len, stride, ecn, dst_ip: None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::key::RoomKey;
    use super::super::wire::Party;
    use super::*;

    const BUFFERS: usize = 4;
    const BUFFER_BYTES: usize = 2000;

    fn flow(number: u8) -> FlowId {
        RoomKey::new(&[1; 32]).flow(Party([number; 16]))
    }

    fn relay() -> SocketAddr {
        ([192, 0, 2, 1], 7787).into()
    }

    /// Who sent it, and what.
    type Datagram = (SocketAddr, Vec<u8>);

    /// Everything that comes out: datagrams, and what is the relay's own.
    fn unwrap_all(received: &[(SocketAddr, usize, Vec<u8>)]) -> (Vec<Datagram>, Vec<Vec<u8>>) {
        let (mut unwrapped, mut datagrams, mut controls) = (Unwrapped::default(), Vec::new(), Vec::new());
        let mut memory = vec![vec![0; BUFFER_BYTES]; BUFFERS];
        let mut metas = vec![RecvMeta::default(); BUFFERS];
        for ((memory, meta), (addr, stride, bytes)) in memory.iter_mut().zip(&mut metas).zip(received) {
            memory[..bytes.len()].copy_from_slice(bytes);
            *meta = RecvMeta { addr: *addr, len: bytes.len(), stride: *stride, ecn: None, dst_ip: None };
        }
        let mut bufs: Vec<_> = memory.iter_mut().map(|memory| IoSliceMut::new(memory)).collect();
        let count = received.len().min(BUFFERS);
        let control = |datagram: &[u8]| controls.push(datagram.to_vec());
        let mut good = {
            let peer = |flow: FlowId| Some(flow.address());
            unwrapped.take(&mut bufs[..count], &mut metas[..count], Some(relay()), peer, control)
        };
        while good > 0 {
            for (meta, buf) in metas.iter().zip(&bufs).take(good) {
                datagrams.extend(
                    buf[..meta.len].chunks(meta.stride.max(1)).map(|bytes| (meta.addr, bytes.to_vec())),
                );
            }
            good = unwrapped.give(&mut bufs, &mut metas);
        }
        (datagrams, controls)
    }

    proptest! {
        /// Whatever flows follow each other in whatever buffers, each datagram comes out once, whole, in order, as its flow's.
        #[test]
        fn what_is_wrapped_comes_out_as_it_was(
            buffers in prop::collection::vec(
                (any::<bool>(), 1..60_usize, prop::collection::vec((0..4_u8, any::<u8>()), 1..12), 0..60_usize),
                0..=BUFFERS,
            ),
        ) {
            let (mut received, mut expected, mut expected_controls) = (Vec::new(), Vec::new(), Vec::new());
            for (is_relayed, bytes, datagrams, shorter) in buffers {
                let mut buffer = Vec::new();
                let from = if is_relayed { relay() } else { ([192, 0, 2, 9], 1).into() };
                let last = datagrams.len() - 1;
                for (index, (who, content)) in datagrams.into_iter().enumerate() {
                    let bytes = if index == last { bytes.saturating_sub(shorter).max(1) } else { bytes };
                    let content = vec![content; bytes];
                    match (is_relayed, who) {
                        (false, _) => {
                            let padded = [&[9; HEADER_BYTES][..], &content].concat();
                            buffer.extend_from_slice(&padded);
                            expected.push((from, padded));
                        }
                        (true, 0) => {
                            let control = [&[5; HEADER_BYTES][..], &content].concat();
                            buffer.extend_from_slice(&control);
                            expected_controls.push(control);
                        }
                        (true, who) => {
                            let mut wrapped = Vec::new();
                            wrap(flow(who), &content, None, &mut wrapped);
                            buffer.extend_from_slice(&wrapped);
                            expected.push((flow(who).address(), content));
                        }
                    }
                }
                received.push((from, bytes + HEADER_BYTES, buffer));
            }
            let (datagrams, controls) = unwrap_all(&received);
            prop_assert_eq!(datagrams, expected);
            prop_assert_eq!(controls, expected_controls);
        }

        /// Nothing that anybody sends makes it panic or invents bytes.
        #[test]
        fn garbage_is_harmless(
            buffers in prop::collection::vec(
                (0..100_usize, prop::collection::vec(0..8_u8, 0..300)), 0..=BUFFERS),
        ) {
            let received: Vec<_> =
                buffers.into_iter().map(|(stride, bytes)| (relay(), stride, bytes)).collect();
            let total: usize = received.iter().map(|(_, _, bytes)| bytes.len()).sum();
            let (datagrams, controls) = unwrap_all(&received);
            let out = datagrams.iter().map(|(_, bytes)| bytes.len() + HEADER_BYTES).sum::<usize>()
                + controls.iter().map(Vec::len).sum::<usize>();
            prop_assert!(out <= total, "{} of {}", out, total);
        }

        #[test]
        fn a_batch_stays_a_batch(count in 1..10_usize, bytes in 1..150_usize, last in 1..150_usize) {
            let contents: Vec<u8> = (0..(count - 1) * bytes + last.min(bytes)).map(|at| at as u8).collect();
            let mut wrapped = Vec::new();
            let stride = wrap(flow(1), &contents, Some(bytes), &mut wrapped).unwrap();
            prop_assert_eq!(wrapped.len(), contents.len() + count * HEADER_BYTES);
            let (datagrams, _) = unwrap_all(&[(relay(), stride, wrapped)]);
            let out: Vec<u8> = datagrams.into_iter().flat_map(|(_, bytes)| bytes).collect();
            prop_assert_eq!(out, contents);
        }
    }
}
