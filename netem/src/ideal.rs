//! The ideal that RRTO is compared with: a client and a server that are written for one network, so that the program is not
//! left as it is. An input goes up, an output comes down; over the same transport, certificates and link.
//!
//! The server waits as long as the GPU takes. Both sides know all lengths, so nothing but inputs and outputs travels, on one stream.
//! The output begins with a sum over the inputs so far, which the client checks.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rrto_quic::{Credentials, bare};
use rustix::time::{ClockId, clock_gettime};

/// A side that is silent for so long is gone; as long as the preload library waits for its server.
const SILENCE: Duration = Duration::from_secs(10);

/// The most bytes of an input or output: far above any model's.
pub const MAX_BYTES: usize = 1 << 28;

/// The seed of the inputs.
const INPUT_SEED: u64 = 2024;

/// FNV's prime.
const PRIME: u64 = 0x100_0000_01b3;

/// What an inference is, on both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Args)]
pub struct Network {
    /// Bytes of an input
    #[arg(long, value_name = "BYTES")]
    pub input_bytes: usize,
    /// Bytes of an output, at least 8
    #[arg(long, value_name = "BYTES")]
    pub output_bytes: usize,
}

impl Network {
    fn check(&self) -> Result<()> {
        let Network { input_bytes, output_bytes } = *self;
        let good = (1..=MAX_BYTES).contains(&input_bytes) && (8..=MAX_BYTES).contains(&output_bytes);
        ensure!(good, "an input has 1 to {MAX_BYTES} bytes and an output 8 to {MAX_BYTES}");
        Ok(())
    }
}

fn credentials(certs: &Path, certificate: &str) -> Credentials {
    let file = |extension: &str| certs.join(format!("{certificate}.{extension}"));
    Credentials { ca: certs.join("ca.pem"), certificate: file("pem"), key: file("key") }
}

/// A sum over some words of an input, after that over the inputs before.
fn chain(before: u64, input: &[u8]) -> u64 {
    let sampled = input.chunks(input.len().div_ceil(16).max(1));
    sampled.fold(before, |sum, piece| {
        piece
            .iter()
            .take(size_of::<u64>())
            .fold(sum, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(PRIME))
    })
}

/// Serves until the process ends. `listening` is told the address.
///
/// # Errors
/// No socket, or unusable certificates. A connection's end is none.
pub async fn serve(
    certs: &Path,
    listen: SocketAddr,
    network: Network,
    device: Duration,
    listening: impl FnOnce(SocketAddr) -> Result<()>,
) -> Result<()> {
    network.check()?;
    let listener = bare::Listener::bind(listen, &credentials(certs, "server"), SILENCE)?;
    listening(listener.local_addr()?)?;
    loop {
        if let Ok(connection) = listener.accept().await {
            // One client at a time; how it ends is the client's to tell.
            let _ = answer(&connection, network, device).await;
        }
    }
}

async fn answer(connection: &quinn::Connection, network: Network, device: Duration) -> Result<()> {
    let (mut send, mut receive) = connection.accept_bi().await?;
    let (mut input, mut output) = (vec![0; network.input_bytes], vec![0; network.output_bytes]);
    let mut sum = 0;
    loop {
        receive.read_exact(&mut input).await?;
        // As the software GPU waits: a timer is not precise enough.
        let done = Instant::now() + device;
        sum = chain(sum, &input);
        while Instant::now() < done {
            std::thread::yield_now();
        }
        if let Some(begin) = output.get_mut(..size_of::<u64>()) {
            begin.copy_from_slice(&sum.to_le_bytes());
        }
        send.write_all(&output).await?;
    }
}

/// What a client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// No inference begins later.
    pub length: Duration,
    /// The most inferences; 0 is any number.
    pub inferences: u32,
    /// An inference begins so long after the one before.
    pub period: Duration,
}

/// Makes inferences and prints a line for each, as the player does.
///
/// # Errors
/// The connection cannot be made, or is lost.
pub async fn infer(certs: &Path, server: SocketAddr, network: Network, pace: Pace) -> Result<()> {
    network.check()?;
    let end = Instant::now() + pace.length;
    let connection = bare::connect(server, &credentials(certs, "robots/robot"), SILENCE).await?;
    let (mut send, mut receive) = connection.open_bi().await?;
    let (mut input, mut output) = (vec![0; network.input_bytes], vec![0; network.output_bytes]);
    let mut luck = ChaCha8Rng::seed_from_u64(INPUT_SEED);
    let mut expected = 0;
    for number in 0.. {
        luck.fill_bytes(&mut input);
        let (begin, cpu) = (Instant::now(), cpu_time());
        if begin >= end || (pace.inferences > 0 && number >= pace.inferences) {
            break;
        }
        send.write_all(&input).await?;
        receive.read_exact(&mut output).await.context("the connection is lost")?;
        let (took, cpu) = (begin.elapsed(), cpu_time().saturating_sub(cpu));
        expected = chain(expected, &input);
        let got = output.first_chunk().map_or(0, |begin| u64::from_le_bytes(*begin));
        let wrong = if got == expected { "" } else { " wrong" };
        let (took, cpu) = (took.as_secs_f64(), cpu.as_secs_f64());
        let mut stdout = std::io::stdout().lock();
        writeln!(stdout, "inference {number} {took:.6} {got:016x} cpu={cpu:.6}{wrong}")?;
        stdout.flush()?;
        drop(stdout);
        tokio::time::sleep_until((begin + pace.period).into()).await;
    }
    connection.close(0_u32.into(), b"done");
    Ok(())
}

/// What this process has computed so far.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}
