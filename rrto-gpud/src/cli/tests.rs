use clap::CommandFactory;
use clap::error::ErrorKind;

use super::*;

fn parse(line: &str) -> Result<Args, clap::Error> {
    Args::try_parse_from(std::iter::once("rrto-gpud").chain(line.split_whitespace()))
}

#[test]
fn the_definition_is_sound_and_help_shows_every_default() {
    let mut command = Args::command();
    command.clone().debug_assert();
    let help = command.render_help().to_string();
    for expected in [
        "0.0.0.0:7786",
        "[default: 16]",
        "[default: 10]",
        "[default: 15]",
        "[default: 30]",
        "all there is",
        "[default: info]",
        "rrto certs",
    ] {
        assert!(help.contains(expected), "{expected} is missing in:\n{help}");
    }
}

#[test]
fn a_short_line_is_enough() {
    let args = parse("--device cpu --certs c").unwrap();
    assert_eq!(args.device, DeviceKind::Cpu);
    assert_eq!(args.listen.port(), DEFAULT_PORT);
    assert_eq!((args.session_memory, args.metrics, args.in_process), (None, None, false));
    assert_eq!(args.relay, None);
    assert_eq!(args.session_idle, Duration::from_secs(10));
    assert_eq!(args.grace, Duration::from_secs(30));
    assert_eq!(args.drain, Duration::from_secs(15));
    let credentials = args.credentials();
    assert_eq!(credentials.ca, PathBuf::from("c/ca.pem"));
    assert_eq!(credentials.certificate, PathBuf::from("c/server.pem"));
    assert_eq!(credentials.key, PathBuf::from("c/server.key"));
}

#[test]
fn everything_can_be_given() {
    let line = "--device cuda --gpu 2 --in-process --listen [::1]:99 --certs c --max-sessions 3 --sessions-per-robot 2 --session-memory 4GiB \
                --session-idle 1.5 --grace 60 --drain 5 --congestion cubic --relay relay://r:1/a --metrics 9464 --log-level debug";
    let expected = Args {
        device: DeviceKind::Cuda,
        gpu: 2,
        in_process: true,
        listen: "[::1]:99".parse().unwrap(),
        certs: "c".into(),
        relay: Some("relay://r:1/a".parse().unwrap()),
        max_sessions: 3,
        sessions_per_robot: Some(2),
        session_memory: Some(4 << 30),
        session_idle: Duration::from_millis(1500),
        grace: Duration::from_secs(60),
        drain: Duration::from_secs(5),
        congestion: Congestion::Cubic,
        metrics: Some("127.0.0.1:9464".parse().unwrap()),
        log_level: LevelFilter::DEBUG,
    };
    assert_eq!(parse(line).unwrap(), expected);
}

#[test]
fn a_worker_is_told_what_its_server_was() {
    for device in [DeviceKind::Cuda, DeviceKind::Cpu] {
        for log_level in [LevelFilter::OFF, LevelFilter::INFO, LevelFilter::TRACE] {
            let worker = WorkerArgs { device, gpu: 3, log_level };
            let program = std::iter::once("rrto-gpud".into());
            let line = WorkerArgs::of(program.chain(worker.command_line())).unwrap();
            assert_eq!(WorkerArgs::try_parse_from(line).unwrap(), worker);
        }
    }
    assert_eq!(WorkerArgs::of(["rrto-gpud", "--certs", "--worker"].map(Into::into)), None);
    assert!(!Args::command().render_long_help().to_string().contains("--worker"));
    WorkerArgs::command().debug_assert();
}

#[test]
fn a_relay_is_another_command() {
    let line = ["rrto-gpud", "relay", "--rooms", "r", "--client-mbit", "8", "--total-mbit", "16"];
    let args = RelayArgs::try_parse_from(RelayArgs::of(line.map(Into::into)).unwrap()).unwrap();
    assert_eq!((args.listen.port(), args.rooms.as_path()), (DEFAULT_PORT + 1, "r".as_ref()));
    assert_eq!((args.limits().flow_bytes_per_s, args.limits().total_bytes_per_s), (1_000_000, 2_000_000));
    assert_eq!(RelayArgs::of(["rrto-gpud", "--certs", "relay"].map(Into::into)), None);
    RelayArgs::command().debug_assert();
    let help = RelayArgs::try_parse_from(["rrto-gpud", "--help"]).unwrap_err().to_string();
    assert!(help.contains("Usage: rrto-gpud relay [OPTIONS]"), "{help}");
    assert!(Args::command().render_help().to_string().contains("rrto-gpud relay --help"));
    for (line, kind) in [
        ("", ErrorKind::MissingRequiredArgument),
        ("--rooms r --client-mbit 0", ErrorKind::ValueValidation),
        ("--rooms r --room-clients 0", ErrorKind::ValueValidation),
        ("--rooms r --source-clients 65537", ErrorKind::ValueValidation),
    ] {
        let line = std::iter::once("rrto-gpud relay").chain(line.split_whitespace());
        assert_eq!(RelayArgs::try_parse_from(line).unwrap_err().kind(), kind);
    }
}

#[test]
fn mistakes_are_told() {
    use ErrorKind::*;
    for (line, kind) in [
        ("", MissingRequiredArgument),
        ("--certs c --device gpu", InvalidValue),
        ("--certs c --max-sessions 0", ValueValidation),
        ("--certs c --max-sessions 1025", ValueValidation),
        ("--certs c --sessions-per-robot 0", ValueValidation),
        ("--certs c --session-memory 4XB", ValueValidation),
        ("--certs c --session-idle 0", ValueValidation),
        ("--certs c --session-idle nan", ValueValidation),
        ("--certs c --metrics here", ValueValidation),
        ("--certs c --listen 7786", ValueValidation),
        ("--certs c --relay r:1", ValueValidation),
        ("--certs c --log-level loud", ValueValidation),
        ("--certs c more", UnknownArgument),
    ] {
        assert_eq!(parse(line).unwrap_err().kind(), kind, "{line}");
    }
}

#[test]
fn sizes() {
    for (text, bytes) in [
        ("1", Some(1)),
        ("512B", Some(512)),
        ("1k", Some(1 << 10)),
        ("3KiB", Some(3 << 10)),
        ("3kB", Some(3_000)),
        ("500 MB", Some(500_000_000)),
        ("2g", Some(2 << 30)),
        ("1TiB", Some(1 << 40)),
        ("0", None),
        ("", None),
        ("GiB", None),
        ("-1", None),
        ("1.5G", None),
        ("18446744073709551615", Some(u64::MAX)),
        ("18446744073709551616", None),
        ("99999999TiB", None),
        ("1é", None),
    ] {
        assert_eq!(units::bytes(text).ok(), bytes, "{text}");
    }
}
