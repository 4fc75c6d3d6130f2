//! Sessions from end to end: a link, real QUIC on loopback, the gate, the executor, the software GPU.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod harness;
mod peer;

use std::time::Duration;

use bytes::Bytes;
use harness::{PATIENCE, Program, Server, certificates};
use rrto_core::api::CuResult;
use rrto_core::operator::{Geometry, Handle, Launch, Operator, Value};
use rrto_core::wire::{ClientFrame, Hello, Mode, put_frame};
use rrto_gpud::device::Limits;
use rrto_quic::ConnectError;

const STREAM: Handle = Handle::LEGACY_STREAM;

/// `c[i] = a[i] + b[i]` for `i < n`.
const VECTOR_ADD: &str = "
.version 7.8
.target sm_75
.address_size 64
.visible .entry add(.param .u64 a, .param .u64 b, .param .u64 c, .param .u32 n)
{
    .reg .pred %p<2>;
    .reg .f32 %f<4>;
    .reg .b32 %r<6>;
    .reg .b64 %rd<11>;
    ld.param.u64 %rd1, [a];
    ld.param.u64 %rd2, [b];
    ld.param.u64 %rd3, [c];
    ld.param.u32 %r2, [n];
    mov.u32 %r3, %ctaid.x;
    mov.u32 %r4, %ntid.x;
    mov.u32 %r5, %tid.x;
    mad.lo.s32 %r1, %r3, %r4, %r5;
    setp.ge.u32 %p1, %r1, %r2;
    @%p1 bra $done;
    cvta.to.global.u64 %rd4, %rd1;
    mul.wide.u32 %rd5, %r1, 4;
    add.s64 %rd6, %rd4, %rd5;
    cvta.to.global.u64 %rd7, %rd2;
    add.s64 %rd8, %rd7, %rd5;
    ld.global.f32 %f1, [%rd8];
    ld.global.f32 %f2, [%rd6];
    add.f32 %f3, %f2, %f1;
    cvta.to.global.u64 %rd9, %rd3;
    add.s64 %rd10, %rd9, %rd5;
    st.global.f32 [%rd10], %f3;
$done:
    ret;
}
";

/// Allocates, fills and reads back: a session that works.
fn assert_works(program: &Program) {
    let address = program.alloc(64);
    assert_eq!(program.copy_in(address, &[7; 64]), Ok(Value::None));
    assert_eq!(program.copy_out(address, 64), [7; 64]);
    assert_eq!(program.call(Operator::MemFree { address }), Ok(Value::None));
    assert_eq!(program.call(Operator::ContextSynchronize), Ok(Value::None));
}

fn bytes_of(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[test]
fn memory_holds_what_is_put_there() {
    let server = Server::with_sessions(2);
    for mode in [Mode::Pipeline, Mode::Percall] {
        let program = Program::connect(server.address, server.certificates.path(), mode).unwrap();
        let bytes = 1 << 20;
        let address = program.alloc(bytes);
        let mut expected: Vec<u8> = (0..bytes).map(|i| (i % 251) as u8).collect();
        assert_eq!(program.copy_in(address, &expected), Ok(Value::None));
        let (pitch_bytes, value) = (0, 0xabcd);
        let memset = |address, element_bytes, width| Operator::Memset {
            address,
            pitch_bytes,
            value,
            element_bytes,
            width,
            height: 1,
            stream: STREAM,
        };
        assert_eq!(program.call(memset(address + 10, 2, 3)), Ok(Value::None));
        expected[10..16].copy_from_slice(&[0xcd, 0xab, 0xcd, 0xab, 0xcd, 0xab]);
        assert_eq!(program.copy_out(address, bytes), expected);
        assert_eq!(program.copy_out(address + 11, 3), expected[11..14]);
    }
}

#[test]
fn a_kernel_computes() {
    let server = Server::with_sessions(1);
    let program = server.connect().unwrap();
    let (image, module, function) = (Handle(1), Handle(2), Handle(3));
    let text = Bytes::from_static(VECTOR_ADD.as_bytes());
    let append = Operator::ImageAppend { image, bytes: text.len() as u64 };
    assert_eq!(program.link.call(0, append, Some(text)), Ok(Value::None));
    assert_eq!(program.call(Operator::ModuleLoad { module, image }), Ok(Value::None));
    match program.call(Operator::ModuleGetFunction { module, name: "add".to_owned(), function }) {
        Ok(Value::Kernel(info)) => assert_eq!(info.params, [(0, 8), (8, 8), (16, 8), (24, 4)]),
        other => panic!("cuModuleGetFunction answered {other:?}"),
    }

    let n = 1000_u32;
    let a: Vec<f32> = (0..n).map(|i| i as f32 * 0.5).collect();
    let b: Vec<f32> = (0..n).map(|i| 1.0 / (i + 1) as f32).collect();
    let sum: Vec<f32> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
    let bytes = u64::from(n) * 4;
    let [at_a, at_b, at_c] = [(); 3].map(|()| program.alloc(bytes));
    assert_eq!(program.copy_in(at_a, &bytes_of(&a)), Ok(Value::None));
    assert_eq!(program.copy_in(at_b, &bytes_of(&b)), Ok(Value::None));
    let mut params: Vec<u8> = [at_a, at_b, at_c].iter().flat_map(|address| address.to_le_bytes()).collect();
    params.extend(n.to_le_bytes());
    let launch = Operator::Launch(Launch {
        function,
        geometry: Geometry { grid: [n.div_ceil(128), 1, 1], block: [128, 1, 1], shared_bytes: 0 },
        stream: STREAM,
        cooperative: false,
        attributes: Vec::new(),
        params: params.into(),
    });
    assert_eq!(program.call(launch), Ok(Value::None));
    assert_eq!(program.copy_out(at_c, bytes), bytes_of(&sum));
}

#[test]
fn a_session_has_no_more_memory_than_its_limit() {
    let limits = Limits { memory_bytes: 1 << 20, ..Limits::default() };
    let server = Server::start(2, limits, PATIENCE);
    let program = server.connect().unwrap();
    assert_eq!(program.link.welcome().device.total_bytes, 1 << 20);
    let address = program.alloc(1 << 19);
    let too_much = Operator::MemAlloc { bytes: (1 << 19) + 1 };
    assert_eq!(program.call(too_much.clone()), Err(CuResult::OUT_OF_MEMORY));
    assert_works(&server.connect().unwrap());
    assert_eq!(program.call(Operator::MemFree { address }), Ok(Value::None));
    assert!(matches!(program.call(too_much), Ok(Value::Address(_))));
}

#[test]
fn a_full_server_says_so_and_has_room_again() {
    let server = Server::with_sessions(1);
    let first = server.connect().unwrap();
    match server.connect().map(drop) {
        Err(ConnectError::Refused { reason, .. }) => assert!(reason.contains("--max-sessions"), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert_works(&first);
    first.link.close(PATIENCE);
    assert_eq!(server.gate.wait_until_empty(PATIENCE), 0);
    assert_works(&server.connect().unwrap());
}

#[test]
fn another_authority_s_robot_stays_out() {
    let server = Server::with_sessions(1);
    let stranger = certificates();
    match Program::connect(server.address, stranger.path(), Mode::Pipeline).map(drop) {
        Err(ConnectError::ServerCertificate { .. }) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(server.gate.sessions(), 0);
    assert_works(&server.connect().unwrap());
}

#[test]
fn garbage_ends_its_own_session_only() {
    let server = Server::with_sessions(8);
    let bystander = server.connect().unwrap();
    let hello = peer::frame(&ClientFrame::Hello(Hello::new(Mode::Pipeline, "garbage")));
    let mut late = Vec::new();
    put_frame(&ClientFrame::Operators { first: 9, coded: Bytes::new() }, &mut late).unwrap();
    let cases: [&[u8]; 5] = [
        &[0xff; 64],                   // a frame over the limit
        &[4, 0, 0, 0, 99, 99, 99, 99], // no such frame
        &late,                         // operators are missing before it
        &hello,                        // a second hello
        &[3, 0, 0, 0, 1, 1, 200],      // an operator cut short
    ];
    for garbage in cases {
        let told = peer::talk(&server, &hello, garbage);
        assert!(told.ended.is_some(), "{garbage:?} got {told:?}");
        assert_works(&bystander);
    }
    // Not even a hello: there is no session to end.
    assert!(!peer::talk(&server, &[0xff; 64], &[]).welcomed);
    assert_works(&bystander);
    bystander.link.close(PATIENCE);
    assert_eq!(server.gate.wait_until_empty(PATIENCE), 0);
}

#[test]
fn a_client_that_vanishes_frees_its_session() {
    let server = Server::start(1, Limits::default(), Duration::from_secs(1));
    peer::vanish(&server);
    assert_eq!(server.gate.wait_until_empty(PATIENCE), 0);
    assert_works(&server.connect().unwrap());
}
