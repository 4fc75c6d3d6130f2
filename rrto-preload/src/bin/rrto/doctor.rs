//! `rrto doctor`: goes every step from this machine to the server's GPU and says where it ends.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use clap::Args;
use rrto_core::api::CuResult;
use rrto_core::engine::ClientLimits;
use rrto_core::operator::{Handle, MAX_PAYLOAD_BYTES, Operator, Value};
use rrto_core::wire::{DeviceInfo, Mode, PROTOCOL_VERSION, RELEASE, release_text};
use rrto_quic::relay::ServerAddress;
use rrto_quic::{Coding, Congestion, ConnectError, Date, Link, LinkConfig, ProgramMemory, Role, Submission};

use crate::connection::{Robot, ServerArgs};
use crate::library::{LibraryArgs, SONAME};

/// A server that is there answers within a few round trips; a person waits for this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longer than a link that stalls, shorter than patience.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long saying goodbye may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Calls of which the round trip is the median.
const ROUND_TRIPS: usize = 20;
/// Pieces that go there and back to find the bandwidth: enough to leave QUIC's slow start behind on a fast link, and
/// a few seconds' work on a slow one.
const PIECES: u64 = 8;

/// Check everything between this machine and a server's GPU
///
/// One line a step, OK or FAIL and what to do; exit status 1 if any fails. Copies 8 MiB there and back.
#[derive(Args, Debug)]
#[command(verbatim_doc_comment, after_help = "Example:\n  rrto doctor --server gpu.lan:7786 --certs certs")]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    library: LibraryArgs,
}

/// What a step found: a line for it, or why not.
type Found = Result<String>;

/// Prints lines, and remembers whether all were good.
struct Report {
    out: io::Stdout,
    good: bool,
}

impl Report {
    fn line(&mut self, verdict: &str, step: &str, text: impl fmt::Display) -> Result<()> {
        writeln!(self.out, "{verdict:<5} {step:<13} {text}")?;
        Ok(())
    }

    /// Prints what a step found; whether it was good.
    fn step(&mut self, step: &str, found: Found) -> Result<bool> {
        match found {
            Ok(text) => self.line("OK", step, text).map(|()| true),
            Err(error) => {
                self.good = false;
                self.line("FAIL", step, format_args!("{error:#}")).map(|()| false)
            }
        }
    }
}

/// Whether everything is good. Errors are only those of printing.
pub(crate) fn run(arguments: &DoctorArgs) -> Result<bool> {
    let mut report = Report { out: io::stdout(), good: true };
    report.line("", "rrto", super::VERSION.as_str())?;
    report.step("library", library(&arguments.library))?;
    let robot = arguments.server.robot();
    let server = arguments.server.server.as_str();
    let described = match &robot {
        Ok(robot) => describe(robot),
        Err(error) => Err(anyhow::anyhow!("{error:#}")),
    };
    let certificates = report.step("certificates", described)?;
    let room = match &robot {
        Ok(robot) => room(&mut report, server, robot)?,
        Err(_) => false,
    };
    let resolved = report.step("name", resolve(server))?;
    match robot {
        Ok(robot) if certificates && room && resolved => examine(&mut report, server, &robot)?,
        _ => report.line("-", "server", "not tried: first put right what fails above")?,
    }
    Ok(report.good)
}

/// The dynamic linker only warns about a library that it cannot preload, and goes on without.
fn library(arguments: &LibraryArgs) -> Found {
    let library = arguments.find()?;
    let this = std::env::current_exe().context("cannot find out where rrto is")?;
    let output = Command::new(this)
        .arg("--version")
        .env("LD_PRELOAD", &library.path)
        .stdin(Stdio::null())
        .output()
        .context("cannot start a program with the library preloaded")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success() && said.is_empty(),
        "a program with {} preloaded ends with {}: {}",
        library.path.display(),
        output.status,
        said.trim()
    );
    let release = release_text(&RELEASE).unwrap_or_default();
    Ok(format!("{} loads, as {SONAME}, of {release}", library.path.display()))
}

fn describe(robot: &Robot) -> Found {
    let validity = robot.credentials().check(Role::Robot, Date::now())?;
    Ok(format!(
        "{}: ca.pem, and certificate and key of the robot {}, valid until {}",
        robot.dir.display(),
        robot.name,
        validity.until
    ))
}

/// The secret of a relay's room, if the server is in one; whether it is there.
fn room(report: &mut Report, server: &str, robot: &Robot) -> Result<bool> {
    match robot.room_key(server) {
        None => Ok(true),
        Some(found) => {
            report.step("room", found.map(|path| format!("{}: the room's secret", path.display())))
        }
    }
}

fn resolve(server: &str) -> Found {
    let address: ServerAddress = server.parse()?;
    let addresses = rrto_quic::resolve(address.host_and_port())
        .map_err(|cause| ConnectError::Unresolved { server: server.to_owned(), reason: cause.to_string() })?;
    let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    Ok(format!("{server} is {}", addresses.join(", ")))
}

/// The steps of a connection, in the order in which they are taken.
const CONNECT_STEPS: [&str; 3] = ["server", "identity", "admission"];

/// How many of [`CONNECT_STEPS`] were good before this error.
fn steps_before(error: &ConnectError) -> usize {
    match error {
        ConnectError::ServerCertificate { .. }
        | ConnectError::RobotCertificate { .. }
        | ConnectError::Credentials(_) => 1,
        ConnectError::NoWelcome { .. } | ConnectError::Refused { .. } => 2,
        _ => 0,
    }
}

fn examine(report: &mut Report, server: &str, robot: &Robot) -> Result<()> {
    let memory = Arc::new(Received::default());
    let config = LinkConfig {
        server: server.to_owned(),
        credentials: robot.credentials(),
        mode: Mode::Pipeline,
        program: "rrto doctor".into(),
        limits: ClientLimits::default(),
        connect_timeout: CONNECT_TIMEOUT,
        silence_timeout: SILENCE_TIMEOUT,
        coding: Coding::Auto,
        congestion: Congestion::default(),
        tap: None,
    };
    let (link, failure) = match Link::connect(config, memory.clone()) {
        Ok(link) => (Some(link), None),
        Err(error) => (None, Some(error)),
    };
    let good = failure.as_ref().map_or(CONNECT_STEPS.len(), steps_before);
    let details = [
        "answers QUIC".to_owned(),
        format!("the server and the robot {} accept each other's certificates", robot.name),
        format!("taken; both sides speak protocol version {PROTOCOL_VERSION}"),
    ];
    for (step, detail) in CONNECT_STEPS.into_iter().zip(details).take(good) {
        report.step(step, Ok(detail))?;
    }
    if let (Some(step), Some(error)) = (CONNECT_STEPS.get(good), failure) {
        report.step(step, Err(error.into()))?;
    }
    let Some(link) = link else { return Ok(()) };
    let welcome = link.welcome();
    report.line(
        "OK",
        "session",
        format_args!("{} on rrto-gpud {}", welcome.session, welcome.server_version),
    )?;
    report.step("device", Ok(device(&welcome.device)))?;
    if report.step("round trip", round_trip(&link))? {
        report.step("bandwidth", bandwidth(&link, &memory))?;
    }
    link.close(CLOSE_TIMEOUT);
    Ok(())
}

fn device(device: &DeviceInfo) -> String {
    let (major, minor) = device.compute_capability();
    let (driver_major, driver_minor) = (device.driver_version / 1000, device.driver_version % 1000 / 10);
    let gib = device.total_bytes as f64 / f64::from(1 << 30);
    format!(
        "{}, {gib:.1} GiB, compute capability {major}.{minor}, driver for CUDA {driver_major}.{driver_minor}",
        device.name
    )
}

/// What the server sent of the copies to this machine, by operator number.
#[derive(Default)]
struct Received {
    copies: Mutex<BTreeMap<u64, Vec<u8>>>,
}

impl Received {
    fn take(&self, number: u64) -> Option<Vec<u8>> {
        self.copies.lock().unwrap_or_else(PoisonError::into_inner).remove(&number)
    }
}

impl ProgramMemory for Received {
    fn deliver(&self, number: u64, offset: u64, bytes: &[u8]) {
        // No copy that was asked for is longer.
        let Some(start) = usize::try_from(offset).ok().filter(|start| *start <= MAX_PAYLOAD_BYTES as usize)
        else {
            return;
        };
        let mut copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        let copy = copies.entry(number).or_default();
        copy.resize(copy.len().max(start.saturating_add(bytes.len())), 0);
        if let Some(part) = copy.get_mut(start..start.saturating_add(bytes.len())) {
            part.copy_from_slice(bytes);
        }
    }
}

/// A driver error, or the connection's end where that is why.
fn failed(link: &Link, what: &str, result: CuResult) -> anyhow::Error {
    match link.lost() {
        Some(reason) => {
            anyhow::anyhow!("the connection was lost: {reason}; is the network up, and rrto-gpud running?")
        }
        None => anyhow::anyhow!("{what}: CUDA error {} on the server; its log may say more", result.0),
    }
}

fn call(link: &Link, what: &str, operator: Operator, payload: Option<Bytes>) -> Result<Value> {
    link.call(0, operator, payload).map_err(|result| failed(link, what, result))
}

fn round_trip(link: &Link) -> Found {
    let mut taken = Vec::with_capacity(ROUND_TRIPS);
    for _ in 0..ROUND_TRIPS {
        let start = Instant::now();
        call(link, "asking for free memory", Operator::MemGetInfo, None)?;
        taken.push(start.elapsed());
    }
    taken.sort();
    let median = taken.get(taken.len() / 2).copied().unwrap_or_default();
    Ok(format!("{:.2} ms for a call and its answer (median of {ROUND_TRIPS})", median.as_secs_f64() * 1e3))
}

/// Copies to the device and back, and compares.
fn bandwidth(link: &Link, memory: &Received) -> Found {
    let bytes = PIECES * MAX_PAYLOAD_BYTES;
    let Value::Address(start) = call(link, "allocating memory", Operator::MemAlloc { bytes }, None)? else {
        bail!(
            "the server answers an allocation with something else: use the same RRTO release on both sides"
        );
    };
    let result = there_and_back(link, memory, start);
    call(link, "freeing memory", Operator::MemFree { address: start }, None)?;
    let (up, down) = result?;
    let mbps = |taken: Duration| bytes as f64 * 8.0 / taken.as_secs_f64().max(1e-9) / 1e6;
    Ok(format!(
        "{:.0} Mbit/s up, {:.0} Mbit/s down ({} MiB there and back, unchanged)",
        mbps(up),
        mbps(down),
        bytes >> 20
    ))
}

/// Each piece is different, so that one in another's place is found.
fn piece(index: u64) -> Bytes {
    (0..MAX_PAYLOAD_BYTES)
        .map(|at| (at ^ (at >> 8) ^ index.wrapping_mul(31)) as u8)
        .collect::<Vec<_>>()
        .into()
}

/// How long the way up and the way down took.
fn there_and_back(link: &Link, memory: &Received, start: u64) -> Result<(Duration, Duration)> {
    let stream = Handle::LEGACY_STREAM;
    let pieces: Vec<_> = (0..PIECES).map(|index| (start + index * MAX_PAYLOAD_BYTES, piece(index))).collect();
    let began = Instant::now();
    for (dst, piece) in &pieces {
        let copy = Operator::CopyIn { dst: *dst, bytes: MAX_PAYLOAD_BYTES, stream };
        call(link, "copying to the device", copy, Some(piece.clone()))?;
    }
    // A synchronisation would not do: copies from the host are complete for the program before they arrive.
    call(link, "waiting for the copies", Operator::MemGetInfo, None)?;
    let up = began.elapsed();

    let began = Instant::now();
    let mut copies = Vec::new();
    for (src, piece) in &pieces {
        let copy = Operator::CopyOut { src: *src, bytes: MAX_PAYLOAD_BYTES, stream };
        match link.submit(0, copy, None, |_| {}) {
            Submission::Awaits(number) => copies.push((number, piece)),
            Submission::Answered(Err(result)) => return Err(failed(link, "copying from the device", result)),
            other => bail!("a copy from the device was not waited for: {other:?}"),
        }
    }
    for (number, _) in &copies {
        link.wait(*number).map_err(|result| failed(link, "copying from the device", result))?;
    }
    let down = began.elapsed();
    for (number, sent) in copies {
        let received = memory.take(number);
        ensure!(
            received.as_deref() == Some(sent.as_ref()),
            "what came back from the device is not what was sent there: please report this"
        );
    }
    Ok((up, down))
}

#[cfg(test)]
mod tests {
    use rrto_quic::ServerFault;

    use super::*;

    #[test]
    fn an_error_tells_how_far_it_got() {
        let (server, reason) = (String::from("gpu:1"), String::new());
        let refused = ConnectError::Refused { server: server.clone(), reason };
        let fault = ServerFault::OtherRole;
        let certificate = ConnectError::ServerCertificate { server: server.clone(), fault };
        let table =
            [(ConnectError::Timeout { server }, "server"), (certificate, "identity"), (refused, "admission")];
        for (error, step) in table {
            assert_eq!(CONNECT_STEPS[steps_before(&error)], step);
        }
    }

    #[test]
    fn copies_are_put_together_from_pieces() {
        let received = Received::default();
        received.deliver(7, 2, b"cd");
        received.deliver(7, 0, b"ab");
        received.deliver(7, u64::MAX, b"x");
        assert_eq!(received.take(7).as_deref(), Some(&b"abcd"[..]));
        assert_eq!(received.take(7), None);
    }

    #[test]
    fn pieces_differ() {
        assert_ne!(piece(0), piece(1));
        assert_eq!(piece(3).len() as u64, MAX_PAYLOAD_BYTES);
    }

    #[test]
    fn a_device_is_one_line() {
        let mut info = DeviceInfo {
            name: "GPU".into(),
            total_bytes: 3 << 29,
            driver_version: 12080,
            ..Default::default()
        };
        info.attributes = vec![None; 77];
        info.attributes[75] = Some(9);
        info.attributes[76] = Some(0);
        assert_eq!(device(&info), "GPU, 1.5 GiB, compute capability 9.0, driver for CUDA 12.8");
    }
}
