//! The environment variables.

use std::env::{self, VarError};
use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use rrto_certs::{Files, Identity, RobotError};
use rrto_core::wire::Mode;
use rrto_quic::{Coding, Congestion, Credentials};

use super::insight::Destination;

/// How long connecting may take, ms. Above the few round trips that it takes on any link that is of use.
const CONNECT_TIMEOUT_MS: u64 = 5_000;

/// How long the server may be silent while an answer is awaited, ms. Above any handover of a wireless network.
const SILENCE_TIMEOUT_MS: u64 = 10_000;

/// What the environment says.
#[derive(Clone, Debug)]
pub(super) struct Config {
    /// `RRTO_SERVER`, HOST:PORT or relay://HOST:PORT/ROOM.
    pub(super) server: String,
    /// The robot's in `RRTO_CERTS`, or `~/.config/rrto`.
    pub(super) credentials: Credentials,
    /// `RRTO_MODE`.
    pub(super) mode: Mode,
    /// `RRTO_CODING`.
    pub(super) coding: Coding,
    /// `RRTO_CONNECT_TIMEOUT_MS`.
    pub(super) connect_timeout: Duration,
    /// `RRTO_SILENCE_TIMEOUT_MS`.
    pub(super) silence_timeout: Duration,
    /// `RRTO_CONGESTION`.
    pub(super) congestion: Congestion,
    /// `RRTO_RECORD`: where to write what is asked of the server.
    pub(super) record: Option<PathBuf>,
    /// `RRTO_REPORT`: where to report what the run has cost.
    pub(super) report: Option<Destination>,
    /// `RRTO_TRACE`: where to write a timeline.
    pub(super) trace: Option<PathBuf>,
    /// `RRTO_STATS`: where to write statistics when the process ends.
    pub(super) statistics: Option<PathBuf>,
}

/// What is wrong with the environment, and what to do.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum ConfigError {
    #[error(
        "{name} is not set: {what} (`rrto run --server HOST:PORT --certs DIR -- PROGRAM` sets everything)"
    )]
    Missing { name: &'static str, what: &'static str },
    #[error("{name}={value:?} makes no sense: {expected}")]
    Invalid { name: &'static str, value: OsString, expected: String },
    #[error(transparent)]
    Robot(RobotError),
}

impl Config {
    pub(super) fn from_environment() -> Result<Self, ConfigError> {
        Self::from(env::var_os)
    }

    fn from(variable: impl Fn(&'static str) -> Option<OsString>) -> Result<Self, ConfigError> {
        let get = |name| variable(name).filter(|value| !value.is_empty());
        let text = |name| match get(name).map(OsString::into_string).transpose() {
            Ok(text) => Ok(text),
            Err(value) => Err(ConfigError::Invalid { name, value, expected: "text in UTF-8".into() }),
        };
        let missing = |name, what| ConfigError::Missing { name, what };
        let server =
            text("RRTO_SERVER")?.ok_or(missing("RRTO_SERVER", "set it to the HOST:PORT of an rrto-gpud"))?;
        let files = get("RRTO_CERTS").map(Files::new).or_else(|| Files::in_home(get("HOME").as_deref()));
        let files = files.ok_or(missing(
            "RRTO_CERTS",
            "set it to the directory of this robot's certificates, as there is no HOME either",
        ))?;
        let mode = text("RRTO_MODE")?.map(|mode| parse("RRTO_MODE", &mode)).transpose()?.unwrap_or_default();
        let coding =
            text("RRTO_CODING")?.map(|coding| parse("RRTO_CODING", &coding)).transpose()?.unwrap_or_default();
        let congestion = text("RRTO_CONGESTION")?.map(|name| parse("RRTO_CONGESTION", &name)).transpose()?;
        let duration = |name, default| {
            let chosen = text(name)?.map(|text| parse::<u64>(name, &text)).transpose()?;
            Ok(Duration::from_millis(chosen.unwrap_or(default)))
        };
        Ok(Config {
            server,
            credentials: credentials(&files, text("RRTO_ROBOT")?.as_deref())?,
            mode,
            coding,
            connect_timeout: duration("RRTO_CONNECT_TIMEOUT_MS", CONNECT_TIMEOUT_MS)?,
            silence_timeout: duration("RRTO_SILENCE_TIMEOUT_MS", SILENCE_TIMEOUT_MS)?,
            congestion: congestion.unwrap_or_default(),
            record: get("RRTO_RECORD").map(of_this_process),
            report: get("RRTO_REPORT").map(|text| Destination::of(text, of_this_process)),
            trace: get("RRTO_TRACE").map(of_this_process),
            statistics: get("RRTO_STATS").map(|name| lasting(name.into())),
        })
    }

    /// For a session without a server.
    pub(super) fn nowhere() -> Self {
        Config {
            server: String::new(),
            credentials: Credentials { ca: PathBuf::new(), certificate: PathBuf::new(), key: PathBuf::new() },
            mode: Mode::default(),
            coding: Coding::default(),
            connect_timeout: Duration::ZERO,
            silence_timeout: Duration::ZERO,
            congestion: Congestion::default(),
            record: None,
            report: None,
            trace: None,
            statistics: None,
        }
    }
}

/// A file's name in which `%p` stands for the process: the children of a program inherit its environment, and two
/// processes would write into one file.
fn of_this_process(name: OsString) -> PathBuf {
    lasting(match name.into_string() {
        Ok(name) => name.replace("%p", &std::process::id().to_string()).into(),
        Err(name) => name.into(),
    })
}

/// A path that stays right when the program changes its directory: files are opened when there is something to write.
fn lasting(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

fn parse<T: FromStr<Err: ToString>>(name: &'static str, text: &str) -> Result<T, ConfigError> {
    text.parse().map_err(|error: T::Err| ConfigError::Invalid {
        name,
        value: text.into(),
        expected: error.to_string(),
    })
}

/// The certificates of the robot of this name, or of the only one there is.
fn credentials(files: &Files, robot: Option<&str>) -> Result<Credentials, ConfigError> {
    let Identity { certificate, key } = files.robot(&files.choose_robot(robot).map_err(ConfigError::Robot)?);
    Ok(Credentials { ca: files.authority().certificate, certificate, key })
}

/// The program's name, for the server's log.
pub(super) fn program() -> String {
    let path = env::current_exe().unwrap_or_default();
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Whether `CUDA_VISIBLE_DEVICES` leaves nothing of one device, which is number 0. Names of devices (`GPU-...`) are
/// of no machine in particular, and are taken for it.
pub(super) fn hides_the_device() -> bool {
    match env::var("CUDA_VISIBLE_DEVICES") {
        Ok(visible) => leaves_nothing(&visible),
        Err(VarError::NotPresent | VarError::NotUnicode(_)) => false,
    }
}

fn leaves_nothing(visible: &str) -> bool {
    let first = visible.split(',').next().unwrap_or_default().trim();
    let is_name = first.starts_with("GPU-") || first.starts_with("MIG-");
    !is_name && first.parse() != Ok(0_u32)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::from(|name| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| value.into()))
    }

    #[test]
    fn defaults() {
        let config =
            config(&[("RRTO_SERVER", "gpu:4433"), ("RRTO_CERTS", "/c"), ("RRTO_ROBOT", "r.1")]).unwrap();
        assert_eq!((config.server.as_str(), config.mode), ("gpu:4433", Mode::Replay));
        assert_eq!(config.coding, Coding::Auto);
        assert_eq!(config.credentials.ca, Path::new("/c/ca.pem"));
        assert_eq!(config.credentials.certificate, Path::new("/c/robots/r.1.pem"));
        assert_eq!(config.connect_timeout.as_millis(), u128::from(CONNECT_TIMEOUT_MS));
        assert_eq!(config.statistics, None);
    }

    #[test]
    fn a_file_can_be_the_process_own() {
        let own = format!("/a{}.log", std::process::id());
        assert_eq!(of_this_process("/a%p.log".into()), Path::new(&own));
        assert_eq!(of_this_process("/a.log".into()), Path::new("/a.log"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let base = [("RRTO_SERVER", "gpu:4433"), ("RRTO_CERTS", "/nowhere"), ("RRTO_ROBOT", "r")];
        for (changed, name) in [
            (("RRTO_SERVER", ""), "RRTO_SERVER"),
            (("RRTO_CERTS", ""), "RRTO_CERTS"),
            (("RRTO_ROBOT", ""), "/nowhere"),
            (("RRTO_MODE", "warp"), "RRTO_MODE"),
            (("RRTO_CONGESTION", "vegas"), "RRTO_CONGESTION"),
            (("RRTO_CONNECT_TIMEOUT_MS", "-1"), "RRTO_CONNECT_TIMEOUT_MS"),
        ] {
            let variables: Vec<_> = std::iter::once(changed).chain(base).collect();
            let error = config(&variables).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn certificates_are_in_the_home_unless_said() {
        let home = tempfile::tempdir().unwrap();
        let robots = home.path().join(".config/rrto/robots");
        let variables = [("RRTO_SERVER", "gpu:1"), ("HOME", home.path().to_str().unwrap())];
        assert!(matches!(config(&variables), Err(ConfigError::Robot(_))));
        std::fs::create_dir_all(&robots).unwrap();
        std::fs::write(robots.join("a.pem"), "").unwrap();
        assert_eq!(config(&variables).unwrap().credentials.certificate, robots.join("a.pem"));
        let homeless = config(&variables[..1]).unwrap_err().to_string();
        assert!(homeless.contains("RRTO_CERTS") && homeless.contains("HOME"), "{homeless}");
    }

    #[test]
    fn visible_devices() {
        for (visible, nothing) in [
            ("0", false),
            ("0,1", false),
            ("GPU-8932f937", false),
            ("", true),
            ("-1", true),
            ("1", true),
            ("NoDevFiles", true),
        ] {
            assert_eq!(leaves_nothing(visible), nothing, "{visible}");
        }
    }
}
