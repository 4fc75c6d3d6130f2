//! Memory: copies, fills, limits, and whose it is.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use crate::harness::*;
use bytes::Bytes;
use rrto_core::api::CuResult;
use rrto_core::engine::{Payload, Staged};
use rrto_core::operator::{MAX_PAYLOAD_BYTES, Operator, Outcome, Value};
use rrto_gpud::device::Limits;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::{pread, pwrite};

#[test]
fn copies_of_every_length_come_back() {
    let Some((device, _one)) = gpu() else { return };
    let mut session = Session::open(&device, Limits::default());
    let address = session.alloc(MAX_PAYLOAD_BYTES);
    let other = session.alloc(MAX_PAYLOAD_BYTES);
    for (seed, len) in [0, 1, 3, 4096, 4097, 65_536, 65_537, 1 << 20].into_iter().enumerate() {
        let sent = pattern(len, seed);
        assert_eq!(session.copy_in(address, &sent, LEGACY), Ok(Value::None));
        session.done(Operator::CopyDevice { dst: other, src: address, bytes: len as u64, stream: LEGACY });
        assert_eq!(session.copy_out(other, len as u64, LEGACY), sent, "{len} bytes");
    }
    let wrong = Operator::CopyIn { dst: address, bytes: 5, stream: LEGACY };
    assert_eq!(session.issue(wrong, Some(Bytes::from_static(b"four"))), Err(Err(CuResult::INVALID_VALUE)));
    session.done(Operator::MemFree { address });
    session.fails(Operator::MemFree { address }, CuResult::INVALID_VALUE);
    assert_eq!(session.context.pending(), 0);
}

/// What another process would have put into the second place of a file.
#[derive(Debug)]
struct Second(OwnedFd, u64);

impl Staged for Second {
    fn place(&self) -> u64 {
        1
    }

    fn bytes(&self) -> u64 {
        self.1
    }

    fn copy_to(&self, into: &mut [u8]) -> bool {
        let len = into.len();
        pread(&self.0, into, MAX_PAYLOAD_BYTES) == Ok(len)
    }
}

#[test]
fn a_payload_is_copied_from_where_another_process_puts_it() {
    let Some((device, _one)) = gpu() else { return };
    for is_shared in [true, false] {
        let mut session = Session::open(&device, Limits::default());
        let address = session.alloc(MAX_PAYLOAD_BYTES);
        let file = memfd_create("test", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&file, 2 * MAX_PAYLOAD_BYTES).unwrap();
        if is_shared {
            session.context.share(file.as_fd());
        }
        for (seed, len) in [5000, 1 << 20, 70_000].into_iter().enumerate() {
            let sent = pattern(len, seed);
            assert_eq!(pwrite(&file, &sent, MAX_PAYLOAD_BYTES), Ok(len));
            let copy = Operator::CopyIn { dst: address, bytes: len as u64, stream: LEGACY };
            let staged = Second(file.try_clone().unwrap(), len as u64);
            match session.issue_with(copy, Some(Payload::Staged(Arc::new(staged)))) {
                // The place is free again when it is over.
                Ok(number) => assert_eq!((is_shared, session.wait(number)), (true, Ok(Value::None))),
                Err(outcome) => assert_eq!((is_shared, outcome), (false, Ok(Value::None))),
            }
            assert_eq!(pwrite(&file, &[0; 5000], MAX_PAYLOAD_BYTES), Ok(5000));
            assert_eq!(session.copy_out(address, len as u64, LEGACY), sent, "{len} bytes");
        }
    }
}

#[test]
fn many_copies_pass_through_little_staging_memory() {
    let Some((device, _one)) = gpu() else { return };
    let limits = Limits { staging_bytes: 0, ..Limits::default() };
    let mut session = Session::open(&device, limits);
    let (pieces, bytes) = (40, MAX_PAYLOAD_BYTES);
    let address = session.alloc(pieces * bytes);
    let at = |piece: u64| address + piece * bytes;
    for piece in 0..pieces {
        assert_eq!(session.copy_in(at(piece), &pattern(1 << 20, piece as usize), LEGACY), Ok(Value::None));
    }
    for small in 0..2000_u64 {
        assert_eq!(session.copy_in(at(small % pieces), &[small as u8], LEGACY), Ok(Value::None));
    }
    // All issued before any is waited for, and all payloads kept.
    let numbers: Vec<u64> = (0..pieces)
        .map(|piece| session.pending(Operator::CopyOut { src: at(piece), bytes, stream: LEGACY }))
        .collect();
    assert_eq!(session.context.pending() as u64, pieces);
    let kept: Vec<Outcome> = numbers.into_iter().map(|number| session.wait(number)).collect();
    assert_eq!(session.context.pending(), 0);
    drop(session);
    for (piece, outcome) in kept.into_iter().enumerate() {
        let Ok(Value::Payload(bytes)) = outcome else { panic!("{outcome:?}") };
        assert_eq!(bytes[1..], pattern(1 << 20, piece)[1..]);
        assert_eq!(bytes[0], (0..2000).rfind(|small| small % 40 == piece).unwrap() as u8);
    }
}

#[test]
fn fills() {
    let Some((device, _one)) = gpu() else { return };
    let mut session = Session::open(&device, Limits::default());
    let address = session.alloc(1024);
    let fill = |address, value, element_bytes, width, height| Operator::Memset {
        address,
        pitch_bytes: 256,
        value,
        element_bytes,
        width,
        height,
        stream: LEGACY,
    };
    session.done(fill(address, 0, 1, 1024, 1));
    session.done(fill(address, 0x1122_3344, 4, 2, 1));
    session.done(fill(address + 256, 0xaabb, 2, 2, 2));
    session.done(fill(address + 768, 0x77, 1, 3, 1));
    let bytes = session.copy_out(address, 1024, LEGACY);
    let mut expected = vec![0_u8; 1024];
    for (at, part) in [
        (0, &0x1122_3344_1122_3344_u64.to_ne_bytes()[..]),
        (256, &0xaabb_aabb_u32.to_ne_bytes()),
        (512, &0xaabb_aabb_u32.to_ne_bytes()),
        (768, &[0x77; 3]),
    ] {
        expected[at..at + part.len()].copy_from_slice(part);
    }
    assert_eq!(bytes, expected);
    session.fails(fill(address, 0, 1, 1025, 1), CuResult::INVALID_VALUE);
    session.fails(fill(address + 1, 0, 4, 1, 1), CuResult::INVALID_VALUE);
    session.fails(fill(address, 0, 3, 1, 1), CuResult::INVALID_VALUE);
    session.done(fill(0, 0, 1, 0, 1));
}

#[test]
fn memory_has_limits() {
    let Some((device, _one)) = gpu() else { return };
    let limits = Limits { memory_bytes: 1 << 20, allocations: 2, ..Limits::default() };
    let mut session = Session::open(&device, limits);
    session.fails(Operator::MemAlloc { bytes: 0 }, CuResult::INVALID_VALUE);
    session.fails(Operator::MemAlloc { bytes: (1 << 20) + 1 }, CuResult::OUT_OF_MEMORY);
    let address = session.alloc(1 << 19);
    match session.call(Operator::MemGetInfo) {
        Ok(Value::Memory { free_bytes, total_bytes }) => {
            assert_eq!(free_bytes, 1 << 19);
            assert!(total_bytes > 1 << 20);
        }
        other => panic!("{other:?}"),
    }
    let pitched = Operator::MemAllocPitch { width_bytes: 100, height: 4, element_bytes: 4 };
    assert!(matches!(session.call(pitched), Ok(Value::Pitched { pitch_bytes: 100.., .. })));
    session.fails(Operator::MemAlloc { bytes: 1 }, CuResult::OUT_OF_MEMORY);
    session.done(Operator::MemFree { address });
    session.done(Operator::MemFree { address: 0 });
    session.alloc(1);
    session.fails(Operator::ContextSetLimit { limit: 2, value: 1 << 30 }, CuResult::OUT_OF_MEMORY);
    assert!(matches!(session.call(Operator::ContextGetLimit { limit: 0 }), Ok(Value::Number(1..))));
}

#[test]
fn a_session_names_no_memory_but_its_own() {
    let Some((device, _one)) = gpu() else { return };
    let mut mine = Session::open(&device, Limits::default());
    let mut other = Session::open(&device, Limits::default());
    let (address, theirs) = (mine.alloc(256), other.alloc(256));
    let host = [7_u8; 256];
    for foreign in [theirs, host.as_ptr() as u64, 16, u64::MAX - 8] {
        let (bytes, stream) = (16, LEGACY);
        mine.fails(Operator::CopyOut { src: foreign, bytes, stream }, CuResult::INVALID_VALUE);
        mine.fails(
            Operator::CopyDevice { dst: foreign, src: address, bytes, stream },
            CuResult::INVALID_VALUE,
        );
        mine.fails(
            Operator::CopyDevice { dst: address, src: foreign, bytes, stream },
            CuResult::INVALID_VALUE,
        );
        assert_eq!(mine.copy_in(foreign, &[0; 16], LEGACY), Err(CuResult::INVALID_VALUE));
        mine.fails(Operator::MemFree { address: foreign }, CuResult::INVALID_VALUE);
    }
    assert_eq!(host, [7; 256]);
}

#[test]
fn the_end_of_a_session_frees_its_memory() {
    let Some((device, _one)) = gpu() else { return };
    let mut watch = Session::open(&device, Limits::default());
    let mut free = || match watch.call(Operator::MemGetInfo) {
        Ok(Value::Memory { free_bytes, .. }) => free_bytes,
        other => panic!("{other:?}"),
    };
    let before = free();
    let big = 256 << 20;
    let mut session = Session::open(&device, Limits::default());
    session.load();
    let address = session.alloc(big);
    assert_eq!(session.copy_in(address, &[1; 1 << 16], LEGACY), Ok(Value::None));
    session.pending(Operator::CopyOut { src: address, bytes: 1 << 16, stream: LEGACY });
    assert!(free() <= before - big);
    drop(session);
    assert!(free() > before - big / 2, "{} of {before} free", free());
}
