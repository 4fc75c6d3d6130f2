//! A model whose inferences are all alike.

use bytes::Bytes;
use rrto_core::operator::{Handle, Operator};
use rrto_core::testing::{Call, Manner, kernel, launch};

/// Device memory of every test.
pub(crate) const MEMORY_BYTES: usize = 16 << 10;

/// The stream that a lane's model runs on.
pub(crate) fn stream(lane: u32) -> Handle {
    Handle(1 + u64::from(lane))
}

/// The event that it records.
pub(crate) fn event(lane: u32) -> Handle {
    Handle(100 + u64::from(lane))
}

/// What comes before the first inference.
pub(crate) fn setup(lanes: u32) -> Vec<Call> {
    let make = |lane| {
        let stream = Operator::StreamCreate { stream: stream(lane), flags: 1, priority: 0 };
        let event = Operator::EventCreate { event: event(lane), flags: 0 };
        [Call::new(lane, stream), Call::new(lane, event)]
    };
    (0..lanes).flat_map(make).collect()
}

/// A copy to the device with a payload of its own.
pub(crate) fn copy_in(lane: u32, dst: u64, bytes: u64, seed: u64) -> Call {
    let payload: Vec<u8> = (0..bytes).map(|at| (at ^ seed.wrapping_mul(167) ^ (seed >> 3)) as u8).collect();
    let operator = Operator::CopyIn { dst, bytes, stream: stream(lane) };
    Call { payload: Some(payload.into()), ..Call::new(lane, operator) }
}

/// A launch that reads one page of memory and writes another.
pub(crate) fn mix(lane: u32, function: u64, dst: u64, src: u64) -> Operator {
    launch(function, stream(lane), kernel(dst, src, 60, Manner::Mixes))
}

/// One inference: inputs, `kernels` kernels and what else there is on a stream, an output.
pub(crate) fn inference(lane: u32, kernels: u64, round: u64) -> Vec<Call> {
    let stream = stream(lane);
    let base = u64::from(lane) * 512;
    let mut calls = vec![copy_in(lane, base, 5000, round), copy_in(lane, base + 300, 40, round)];
    for at in 0..kernels {
        let (dst, src) = (base + at * 48 % 1900, base + at * 80 % 2100);
        let operator = match at % 9 {
            3 => Operator::CopyDevice { dst, src, bytes: 32, stream },
            5 => Operator::EventRecord { event: event(lane), stream, flags: 0 },
            6 => Operator::StreamWaitEvent { stream, event: event(lane), flags: 0 },
            7 => Operator::Memset {
                address: dst,
                pitch_bytes: 0,
                value: at as u32,
                element_bytes: 1,
                width: 20,
                height: 1,
                stream,
            },
            _ => mix(lane, at % 5, dst, src),
        };
        calls.push(Call::new(lane, operator));
    }
    calls.push(Call::new(lane, Operator::CopyOut { src: base, bytes: 1000, stream }));
    calls
}

/// `rounds` inferences, one after the other, from round `first` on.
pub(crate) fn inferences(lane: u32, kernels: u64, first: u64, rounds: u64) -> Vec<Call> {
    (first..first + rounds).flat_map(|round| inference(lane, kernels, round)).collect()
}

/// The bytes of a launch's parameters.
pub(crate) fn params(call: &mut Call) -> Option<&mut Bytes> {
    match &mut call.operator {
        Operator::Launch(launch) => Some(&mut launch.params),
        _ => None,
    }
}
