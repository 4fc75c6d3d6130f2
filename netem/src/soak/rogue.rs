//! A robot with a good certificate that means harm: whatever it sends after the handshake, it ends only its own sessions.

use std::future::Future;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use quinn::{Connection, SendStream};
use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use rrto_core::operator::{Geometry, Handle, Launch, MAX_PAYLOAD_BYTES, Operator, SequenceId, Span};
use rrto_core::wire::repeat::{Encoder, Record};
use rrto_core::wire::{BulkHeader, ClientFrame, Hello, Mode, put_frame};
use rrto_quic::{Credentials, bare};

use super::Scene;
use super::robots::DEMO_PTX;

/// A connection that is silent for so long is gone.
const SILENCE: Duration = Duration::from_secs(5);

/// How long one of these waits for what its nonsense does; the server may also end the connection before.
const STAY: Duration = Duration::from_millis(1500);

/// How long it may take altogether: the server may hold it back, but not for ever.
const LIMIT: Duration = Duration::from_secs(15);

/// Sessions that it asks for at a time.
const MANY_SESSIONS: usize = 16;

pub(super) fn credentials(scene: &Scene, folder: &str, robot: &str) -> Credentials {
    let certs = scene.stage.file(folder);
    let file = |extension: &str| certs.join("robots").join(format!("{robot}.{extension}"));
    Credentials { ca: certs.join("ca.pem"), certificate: file("pem"), key: file("key") }
}

/// Runs this on a thread of its own runtime; what goes on when it ends is dropped.
pub(super) fn on_a_runtime(work: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(async { tokio::time::timeout(LIMIT, work).await });
    // That the server holds somebody like this back for so long is its right.
    ended.unwrap_or(Ok(()))
}

/// A connection with its control stream, on which nothing has been said.
async fn connect(scene: &Scene) -> Result<(Connection, SendStream)> {
    let connection = bare::connect(scene.address, &credentials(scene, "certs", "rogue"), SILENCE).await?;
    let (control, _) = connection.open_bi().await?;
    Ok((connection, control))
}

/// Sends `bytes` on a new connection behind a hello, does not read, stays for a while and is gone. That the server refuses the
/// connection or ends it is as it should be.
fn send(scene: &Scene, hello: bool, bytes: &[u8], payloads: &[Vec<u8>]) -> Result<()> {
    on_a_runtime(async {
        let Ok((connection, mut control)) = connect(scene).await else { return Ok(()) };
        let mut first = Vec::new();
        if hello {
            put_frame(&ClientFrame::Hello(Hello::new(Mode::Replay, "rogue")), &mut first)?;
        }
        if control.write_all(&first).await.is_err() || control.write_all(bytes).await.is_err() {
            return Ok(());
        }
        for payload in payloads {
            let Ok(mut stream) = connection.open_uni().await else { return Ok(()) };
            let _ = stream.write_all(payload).await;
        }
        let _ = tokio::time::timeout(STAY, connection.closed()).await;
        Ok(())
    })
}

fn noise(luck: &mut ChaCha8Rng, most: usize) -> Vec<u8> {
    let mut bytes = vec![0; luck.random_range(1..most)];
    luck.fill(&mut bytes[..]);
    bytes
}

/// Operators from number 1 on, each with its payload, as frames.
fn operators(calls: impl IntoIterator<Item = (Operator, Option<Vec<u8>>)>) -> Result<Vec<u8>> {
    let (mut encoder, mut stream) = (Encoder::default(), Vec::new());
    for (number, (operator, payload)) in (1..).zip(calls) {
        let mut coded = Vec::new();
        let record = Record { lane: 0, wants_answer: operator.needs_answer(), operator };
        encoder.encode(&record, payload.as_deref(), &mut coded)?;
        put_frame(&ClientFrame::Operators { first: number, coded: coded.into() }, &mut stream)?;
    }
    Ok(stream)
}

pub(super) fn random_bytes(scene: &Scene, luck: &mut ChaCha8Rng) -> Result<()> {
    let (hello, bytes) = (luck.random(), noise(luck, 20_000));
    let payloads: Vec<_> = (0..luck.random_range(0..5)).map(|_| noise(luck, 50_000)).collect();
    send(scene, hello, &bytes, &payloads)
}

/// Frames that are whole, with contents that are not: bytes of good ones changed.
pub(super) fn random_frames(scene: &Scene, luck: &mut ChaCha8Rng) -> Result<()> {
    let mut stream = operators([
        (Operator::MemAlloc { bytes: 4096 }, None),
        (Operator::CopyIn { dst: 1 << 40, bytes: 64, stream: Handle(0) }, Some(vec![1; 64])),
        (Operator::Launch(launch(luck)), None),
        (Operator::ContextSynchronize, None),
    ])?;
    for _ in 0..luck.random_range(1..8) {
        let at = luck.random_range(0..stream.len());
        if let Some(byte) = stream.get_mut(at) {
            *byte = luck.random();
        }
    }
    send(scene, true, &stream, &[])
}

fn launch(luck: &mut ChaCha8Rng) -> Launch {
    Launch {
        function: Handle(luck.random_range(0..4)),
        geometry: Geometry { grid: [u32::MAX; 3], block: [1024, 1, 1], shared_bytes: u32::MAX },
        stream: Handle(0),
        cooperative: luck.random(),
        attributes: Vec::new(),
        params: Bytes::from(noise(luck, 4000)),
    }
}

pub(super) fn huge_numbers(scene: &Scene, luck: &mut ChaCha8Rng) -> Result<()> {
    let most = u64::MAX;
    let mut stream = operators([
        (Operator::MemAlloc { bytes: most }, None),
        (Operator::MemAllocPitch { width_bytes: most, height: most, element_bytes: 16 }, None),
        (Operator::CopyOut { src: most, bytes: most, stream: Handle(most) }, None),
        (Operator::CopyDevice { dst: 1, src: most, bytes: most, stream: Handle(0) }, None),
        (Operator::ContextSetLimit { limit: u32::MAX, value: most }, None),
        (Operator::Launch(launch(luck)), None),
    ])?;
    let span = Span { sequence: SequenceId(u32::MAX), from: u32::MAX, count: u32::MAX, patches: vec![] };
    let frames = [
        ClientFrame::Received { answers: most },
        ClientFrame::Retire { number: most, id: SequenceId(0) },
        ClientFrame::Advance { first: most, span, payloads: Bytes::new() },
        ClientFrame::Operators { first: most, coded: Bytes::from_static(&[1, 1]) },
    ];
    if let Some(frame) = frames.choose(luck) {
        put_frame(frame, &mut stream)?;
    }
    if luck.random() {
        // A frame that would be longer than any.
        stream.extend(u32::MAX.to_le_bytes());
    }
    let header = |number, bytes, coded| BulkHeader { number, bytes, coded }.encode().to_vec();
    let payloads =
        [header(most, MAX_PAYLOAD_BYTES, false), header(2, MAX_PAYLOAD_BYTES + 1, true), vec![255; 16]];
    send(scene, true, &stream, &payloads)
}

/// Memory, streams and events, as much as there is, and no look at the answers.
pub(super) fn greed(scene: &Scene, luck: &mut ChaCha8Rng) -> Result<()> {
    let bytes = 1 << luck.random_range(4..28);
    let calls = (0..luck.random_range(100..20_000)).map(|number| match number % 4 {
        0 | 1 => (Operator::MemAlloc { bytes }, None),
        2 => (Operator::StreamCreate { stream: Handle(number), flags: 1, priority: 0 }, None),
        _ => (Operator::EventCreate { event: Handle(number), flags: 0 }, None),
    });
    send(scene, true, &operators(calls)?, &[])
}

/// Images that are none, or good ones that are damaged, again and again.
pub(super) fn garbage_modules(scene: &Scene, luck: &mut ChaCha8Rng) -> Result<()> {
    let mut calls = Vec::new();
    for number in 0..luck.random_range(1..40) {
        let mut image: Vec<u8> = match luck.random_range(0..3) {
            0 => noise(luck, 4000),
            // The beginnings of a container and of a cubin.
            1 => [&[0x50, 0xed, 0x55, 0xba, 1, 0, 16, 0][..], &noise(luck, 3000)].concat(),
            _ => DEMO_PTX.bytes().take(luck.random_range(1..4000)).collect(),
        };
        if luck.random()
            && let Some(byte) = image.first_mut()
        {
            *byte = luck.random();
        }
        let (handle, module) = (Handle(number * 2 + 1), Handle(number * 2 + 2));
        calls.push((Operator::ImageAppend { image: handle, bytes: image.len() as u64 }, Some(image)));
        calls.push((Operator::ModuleLoad { module, image: handle }, None));
    }
    send(scene, true, &operators(calls)?, &[])
}

/// As many sessions as it gets, which do nothing and end without a goodbye.
pub(super) fn many_sessions(scene: &Scene, _luck: &mut ChaCha8Rng) -> Result<()> {
    on_a_runtime(async {
        let mut held = Vec::new();
        for _ in 0..MANY_SESSIONS {
            let Ok((connection, mut control)) = connect(scene).await else { continue };
            let mut hello = Vec::new();
            put_frame(&ClientFrame::Hello(Hello::new(Mode::Pipeline, "one of many")), &mut hello)?;
            let _ = control.write_all(&hello).await;
            held.push((connection, control));
        }
        tokio::time::sleep(STAY).await;
        Ok(())
    })
}

/// Streams that begin and never go on.
pub(super) fn open_streams(scene: &Scene, luck: &mut ChaCha8Rng) -> Result<()> {
    let payloads: Vec<_> = (0..luck.random_range(1..200)).map(|_| noise(luck, 16)).collect();
    send(scene, true, &[], &payloads)
}
