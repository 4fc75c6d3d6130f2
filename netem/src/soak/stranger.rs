//! Whoever can send datagrams to the server, and has no certificate of its authority.

use std::net::UdpSocket;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use rrto_quic::bare;
use tokio::task::JoinSet;

use super::{Scene, rogue};
use crate::proxy::{Config, Proxy};
use crate::script::Scenario;

/// Datagrams of one flood, and between two pauses.
const MOST_DATAGRAMS: u32 = 4000;
const BURST: u32 = 100;
const PAUSE: Duration = Duration::from_millis(5);

/// Handshakes that are begun at a time and never finished: with those of all other actors fewer than a server has places for.
const MOST_HANDSHAKES: u32 = 8;

/// How long whoever is not let in waits.
const PATIENCE: Duration = Duration::from_secs(5);

/// Datagrams that are nothing, or begin like QUIC (RFC 9000, section 17): long headers of this version and of others, short ones.
pub(super) fn noise(scene: &Scene, luck: &mut ChaCha8Rng) -> Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    for number in 0..luck.random_range(1..MOST_DATAGRAMS) {
        let length = [1, 20, 21, 40, 1200, 1452, 9000].choose(luck).copied().unwrap_or(1);
        let mut datagram = vec![0; length];
        luck.fill(&mut datagram[..]);
        let begin: &[u8] = match luck.random_range(0..5) {
            // Initial of version 1 with ids of 8 bytes, or of any length.
            0 => &[0xc3, 0, 0, 0, 1, 8],
            1 => &[0xc0, 0, 0, 0, 1],
            // 0-RTT, Handshake.
            2 => &[0xd0, 0, 0, 0, 1, 8],
            // A version that nobody speaks, which is to be answered with those that are spoken.
            3 => &[0xc0, 0x1a, 0x2a, 0x3a, 0x4a, 8],
            _ => &[],
        };
        datagram.iter_mut().zip(begin).for_each(|(to, from)| *to = *from);
        // The kernel may refuse what comes too fast.
        let _ = socket.send_to(&datagram, scene.address);
        if number % BURST == 0 {
            thread::sleep(PAUSE);
        }
    }
    Ok(())
}

/// Handshakes that stop somewhere, because from some moment on nothing arrives any more.
pub(super) fn half_a_handshake(scene: &Scene, luck: &mut ChaCha8Rng) -> Result<()> {
    let gone_at = f64::from(luck.random_range(2..60)) / 1e3;
    let script = format!("[[step]]\nat_s = 0\nrtt_ms = 10\n[[step]]\nat_s = {gone_at}\noutage = \"lose\"\n");
    let credentials = rogue::credentials(scene, "strangers", "stranger");
    let count = luck.random_range(1..=MOST_HANDSHAKES);
    rogue::on_a_runtime(async {
        let link =
            Proxy::start(Config::new(scene.address, Scenario::parse("gone", &script)?, luck.random()))?;
        let mut handshakes = JoinSet::new();
        for _ in 0..count {
            let (credentials, to) = (credentials.clone(), link.listen_addr());
            handshakes.spawn(async move { bare::connect(to, &credentials, PATIENCE).await.is_ok() });
        }
        tokio::time::sleep(PATIENCE / 2).await;
        // Its packets go to a link that is gone: the server hears no end.
        drop(link);
        Ok(())
    })
}

/// A certificate of another authority lets nobody in.
pub(super) fn foreign_certificate(scene: &Scene, _luck: &mut ChaCha8Rng) -> Result<()> {
    let foreign = rogue::credentials(scene, "strangers", "stranger");
    // Its own authority does not know the server's certificate either.
    let mixed = rrto_quic::Credentials { ca: scene.stage.file("certs").join("ca.pem"), ..foreign.clone() };
    rogue::on_a_runtime(async {
        for credentials in [foreign, mixed] {
            let Ok(connection) = bare::connect(scene.address, &credentials, PATIENCE).await else { continue };
            // The client's side may be done before the server has looked at the certificate.
            let closed = tokio::time::timeout(PATIENCE, connection.closed()).await;
            ensure!(closed.is_ok(), "a stranger is let in");
        }
        Ok(())
    })
}
