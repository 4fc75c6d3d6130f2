//! A server of a GPU that computes nothing: it tells programs that it is an H100, loads their machine code, and lets every
//! kernel take as long as it is told to. What comes out is meaningless, so it is no device of rrto-gpud's; but an
//! unmodified PyTorch program runs on it, on a machine without a GPU, and everything that the program, the preload library and the
//! transport cost there can be measured: what no eager program gets under, and what RRTO adds to that.
//!
//! A program that goes by what it computes goes astray: generation of text never ends. And cuBLAS, which chooses kernels by what the
//! driver says of them, now and then finds none.
//!
//! ```text
//! cargo run --release -p rrto-gpud --example idle -- --certs certs --kernel-us 4
//! rrto run --server 127.0.0.1:7786 --certs certs -- python3 netem/gpu/model.py resnet50
//! ```

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "the ready line")]

mod code;
mod context;
mod info;

use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use rrto_gpud::cli::Args;
use rrto_gpud::daemon::Daemon;

use context::IdleDevice;

/// Serves a GPU that computes nothing, to measure what programs and RRTO take themselves.
#[derive(Parser)]
struct Command {
    #[command(flatten)]
    server: Args,

    /// How long each kernel takes, microseconds
    #[arg(long, value_name = "US", default_value_t = 0.0)]
    kernel_us: f64,
}

fn main() -> anyhow::Result<()> {
    let Command { server, kernel_us } = Command::parse();
    tracing_subscriber::fmt().with_max_level(server.log_level).with_writer(std::io::stderr).init();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let kernel_time = Duration::try_from_secs_f64(kernel_us / 1e6)?;
        let daemon = Daemon::start(&server, Arc::new(IdleDevice::new(kernel_time)))?;
        println!("rrto-gpud listening on {} (device {})", daemon.local_addr(), daemon.device_name());
        daemon.serve(async { tokio::signal::ctrl_c().await.unwrap_or_default() }).await;
        Ok(())
    })
}
