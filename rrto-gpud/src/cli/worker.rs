//! The command line of a session's worker, which only the server writes.

use std::ffi::OsString;

use clap::{Parser, ValueEnum};
use tracing::level_filters::LevelFilter;

use super::{Args, DeviceKind};

/// What a worker's command line begins with. No option of the server's, so that `--help` tells only what is for people.
const WORKER: &str = "--worker";

/// How to be a worker: [`device::process`](crate::device::process) says what that is.
#[derive(Parser, Clone, Debug, PartialEq)]
#[command(name = "rrto-gpud --worker")]
pub struct WorkerArgs {
    /// What to execute on
    #[arg(long, value_enum)]
    pub device: DeviceKind,

    /// Which GPU, as CUDA counts them
    #[arg(long, default_value_t = 0)]
    pub gpu: usize,

    /// What to log on stderr
    #[arg(long, default_value_t = LevelFilter::INFO)]
    pub log_level: LevelFilter,
}

impl WorkerArgs {
    /// A worker for sessions on `device`, with the server's other settings.
    pub fn new(args: &Args, device: DeviceKind) -> Self {
        WorkerArgs { device, gpu: args.gpu, log_level: args.log_level }
    }

    /// The arguments that say this.
    pub fn command_line(&self) -> Vec<OsString> {
        let device = self.device.to_possible_value().map(|value| value.get_name().to_owned());
        let texts = [
            WORKER.to_owned(),
            "--device".to_owned(),
            device.unwrap_or_default(),
            "--gpu".to_owned(),
            self.gpu.to_string(),
            "--log-level".to_owned(),
            self.log_level.to_string(),
        ];
        texts.map(OsString::from).to_vec()
    }

    /// A worker's command line, for the parser, if `line` is one.
    pub(super) fn of(line: impl IntoIterator<Item = OsString>) -> Option<Vec<OsString>> {
        super::after(WORKER, line)
    }
}
