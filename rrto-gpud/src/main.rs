//! The RRTO GPU server. `rrto-gpud --help` says how to start it; `rrto_gpud` is what it is made of.

#![forbid(unsafe_code)]

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use rrto_gpud::cli::{Args, DeviceKind, Invocation, RelayArgs, WorkerArgs};
use rrto_gpud::confine::{self, Confinement};
use rrto_gpud::daemon::{Daemon, start_metrics};
use rrto_gpud::device::cpu::CpuDevice;
use rrto_gpud::device::cuda::CudaDevice;
use rrto_gpud::device::process::{ProcessDevice, WorkerCommand, worker};
use rrto_gpud::device::{Device, DeviceError};
use rrto_gpud::log::{self, Manner};
use rrto_gpud::relay::{self, Relay, RelayServer};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What shells give for a process that ended by SIGINT.
const INTERRUPTED: i32 = 130;

/// This program, even if its file has been replaced by a newer one's since.
const THIS_PROGRAM: &str = "/proc/self/exe";

fn main() -> ExitCode {
    let ended = match Invocation::parse() {
        Invocation::Serve(args) => {
            confine::server();
            let _log = log::start(args.log_level, Manner::Thread);
            run(&args)
        }
        Invocation::Relay(args) => {
            confine::server();
            let _log = log::start(args.log_level, Manner::Thread);
            relay(&args)
        }
        Invocation::Work(args) => {
            let _log = log::start(args.log_level, Manner::Direct);
            work(&args)
        }
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The log may be off; why nothing runs is told anyway. If stderr is gone, nobody is there to be told.
            let _ = writeln!(std::io::stderr(), "rrto-gpud: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    take_descriptors();
    // One thread moves all packets, so that it can stay awake for them (rrto-quic's `hot`), and nothing that it does
    // waits; operators are executed on the sessions' own threads. It moves a few Gbit/s.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the transport")?;
    runtime.block_on(async {
        // Before the ready line: whoever reads that may send a signal at once.
        let interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
        let terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
        let hangup = signal(SignalKind::hangup()).context("cannot handle SIGHUP")?;
        // These errors have their causes in their texts already.
        let daemon = Daemon::start(args, open_device(args)?).map_err(|error| anyhow!("{error}"))?;
        announce(&format!("listening on {} (device {})", daemon.local_addr(), daemon.device_name()));
        let reloader = daemon.reloader();
        tokio::spawn(at_each(hangup, move || match reloader.reload() {
            Ok(revoked) => tracing::info!(revoked, "certificates and revocation lists were read again"),
            Err(error) => tracing::error!("certificates stay as they were: {error}"),
        }));
        daemon.serve(first_of(interrupt, terminate)).await;
        Ok(())
    })
}

/// Takes as many descriptors as there may be: each session's process needs two, and systems give a thousand at first.
fn take_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    // If it cannot be had, a session that finds none left is refused.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// The device that sessions are opened on.
fn open_device(args: &Args) -> anyhow::Result<Arc<dyn Device>> {
    let device: Result<Arc<dyn Device>, DeviceError> = match args.device {
        DeviceKind::Cpu if args.in_process => CpuDevice::new().map(|device| Arc::new(device) as _),
        DeviceKind::Cuda if args.in_process => CudaDevice::new(args.gpu).map(|device| Arc::new(device) as _),
        DeviceKind::Cpu | DeviceKind::Cuda => {
            let arguments = WorkerArgs::new(args, args.device).command_line();
            let command = WorkerCommand { program: PathBuf::from(THIS_PROGRAM), arguments };
            ProcessDevice::new(command).map(|device| Arc::new(device) as _)
        }
    };
    device.map_err(|error| match args.device {
        DeviceKind::Cpu => anyhow!("cannot use the software GPU: {error}"),
        DeviceKind::Cuda => {
            anyhow!("cannot use GPU {}: {error}\nTo serve the software GPU instead: --device cpu", args.gpu)
        }
    })
}

/// Is a relay. One thread: it waits for the network and nothing else.
fn relay(args: &RelayArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
        let terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
        let hangup = signal(SignalKind::hangup()).context("cannot handle SIGHUP")?;
        if let Some(address) = args.metrics {
            start_metrics(address).map_err(|error| anyhow!("{error}"))?;
        }
        let rooms = relay::load(&args.rooms).map_err(|error| anyhow!("{error}"))?;
        let count = rooms.len();
        let mut server =
            RelayServer::bind(args.listen, Relay::new(rooms, args.limits())?).with_context(|| {
                format!("cannot listen on UDP {}; give another address with --listen", args.listen)
            })?;
        announce(&format!("relay listening on {} (rooms {count})", server.local_addr()?));
        let (rooms, reloads) = (args.rooms.clone(), server.reloads());
        tokio::spawn(at_each(hangup, move || match relay::load(&rooms) {
            Ok(rooms) => {
                tracing::info!(rooms = rooms.len(), "rooms were read again");
                // If nobody takes them, the relay is about to end.
                let _ = reloads.send(rooms);
            }
            Err(error) => tracing::error!("rooms stay as they were: {error}"),
        }));
        server.serve(first_of(interrupt, terminate)).await.context("the relay's socket failed")
    })
}

/// Is one session's worker: the socket to the server is the standard input.
fn work(args: &WorkerArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let _inside = runtime.enter();
    // A service manager sends these to all processes of the server. It is the server that ends its sessions then, and
    // workers end with them; the handlers stay for as long as the process does, and do nothing.
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let _ignored: Vec<Signal> = kinds.into_iter().map(signal).collect::<Result<_, _>>()?;
    let socket = std::io::stdin().as_fd().try_clone_to_owned().context("no standard input")?;
    let socket = UnixStream::from(socket);
    let (device, gpu) = (args.device, args.gpu);
    let served = match device {
        DeviceKind::Cuda => worker::serve(socket, || CudaDevice::new(gpu), |_| Confinement::Driver),
        DeviceKind::Cpu => worker::serve(socket, CpuDevice::new, |info| Confinement::Nothing {
            memory_bytes: info.total_bytes,
        }),
    };
    served.context("a worker failed; only a server starts one")
}

/// The one line on stdout, for people and for scripts that wait for it. If it cannot be written, nobody waits.
fn announce(text: &str) {
    let mut stdout = std::io::stdout().lock();
    if let Err(error) = writeln!(stdout, "rrto-gpud {text}").and_then(|()| stdout.flush()) {
        tracing::warn!("{text}; the standard output does not take this: {error}");
    }
}

/// Ready at the first of the two signals; the next one ends the process at once.
async fn first_of(mut interrupt: Signal, mut terminate: Signal) {
    next_of(&mut interrupt, &mut terminate).await;
    tokio::spawn(async move {
        next_of(&mut interrupt, &mut terminate).await;
        std::process::exit(INTERRUPTED);
    });
}

/// Does something each time that the signal comes.
async fn at_each(mut signal: Signal, mut work: impl FnMut()) {
    while signal.recv().await.is_some() {
        work();
    }
}

async fn next_of(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
