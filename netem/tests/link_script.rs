//! Scenario files: what they mean, and what is said about wrong ones.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::time::Duration;

use rrto_netem::link::{Direction, Params, Way};
use rrto_netem::script::{Scenario, Settings};

fn params(scenario: &Scenario, way: Way, at_s: f64) -> Params {
    Direction::new(scenario.timeline(way).clone(), 1, way).params(Duration::from_secs_f64(at_s))
}

#[test]
fn every_scenario_of_the_repository_is_good() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 6);
    for file in files {
        let scenario = Scenario::load(&file).unwrap();
        assert!(!scenario.about().is_empty(), "{} does not say what it is about", file.display());
    }
}

#[test]
fn steps_carry_over_and_directions_differ() {
    let scenario = Scenario::parse(
        "x.toml",
        r#"
        repeat_every_s = 20
        [[step]]
        at_s = 0
        rtt_ms = 10
        rate_mbps = 100
        down = { rate_mbps = 160, delay_ms = 7 }
        [[step]]
        at_s = 10
        ramp_s = 2
        rate_mbps = 50
        loss = 0.1
        queue_kb = 16
        "#,
    )
    .unwrap();
    let up = |at_s| params(&scenario, Way::Up, at_s);
    assert_eq!(up(0.0).delay, Duration::from_millis(5));
    assert_eq!(params(&scenario, Way::Down, 0.0).delay, Duration::from_millis(7));
    assert_eq!(params(&scenario, Way::Down, 9.9).rate_bps, 160_000_000);
    assert_eq!(up(9.999).rate_bps, 100_000_000);
    assert!((74_000_000..=76_000_000).contains(&up(11.0).rate_bps));
    assert!((0.04..0.06).contains(&up(11.0).loss));
    assert_eq!((up(10.0).queue_bytes, up(12.0).queue_bytes), (16 * 1024, 16 * 1024));
    assert_eq!((up(12.0).rate_bps, up(12.0).loss), (50_000_000, 0.1));
    assert_eq!(up(12.0).delay, Duration::from_millis(5));
    assert_eq!(up(20.0), up(0.0));
}

#[test]
fn ramps_may_follow_each_other() {
    let text = "[[step]]\nat_s = 0\nrate_mbps = 100\n\
                [[step]]\nat_s = 0.1\nramp_s = 0.2\nrate_mbps = 10\n\
                [[step]]\nat_s = 0.3\nramp_s = 0.2\nrate_mbps = 100\n";
    let scenario = Scenario::parse("x.toml", text).unwrap();
    assert!(params(&scenario, Way::Up, 0.3).rate_bps < 20_000_000);
    assert_eq!(params(&scenario, Way::Up, 0.5).rate_bps, 100_000_000);
}

#[test]
fn an_error_says_where_and_what() {
    let first = "[[step]]\nat_s = 0\n";
    let cases = [
        ("rate_mbs = 3\n", "rate_mbs"),
        ("[[step]]\nat_s = 0\nrate_mbs = 3\n", "step 1: unknown field `rate_mbs`, expected one of"),
        ("[[step]]\nrate_mbps = 3\n", "step 1: at_s: each [[step]] needs it"),
        ("[[step]]\nat_s = 0\nup = { los = 1 }\n", "up: unknown field `los`"),
        (
            "[[step]]\nat_s = 0\nloss = \"1%\"\n",
            "step 1: invalid type: string \"1%\", expected f64 in `loss`",
        ),
        ("[[step]]\nat_s = 0\noutage = \"flood\"\n", "unknown variant `flood`"),
        ("[[step]]\nat_s = 0\nloss = 5\n", "step 1 (at_s = 0): loss: must be 0 to 1; it is 5"),
        (
            "[[step]]\nat_s = 0\ndown = { rate_mbps = -1 }\n",
            "down.rate_mbps: must be 0.001 to 100000, or 0 for unlimited; it is -1",
        ),
        ("[[step]]\nat_s = 0\nrtt_ms = nan\n", "rtt_ms: must be"),
        ("[[step]]\nat_s = 0\nrtt_ms = 1\ndelay_ms = 1\n", "give one of them"),
        ("[[step]]\nat_s = 0\nup = { rtt_ms = 1 }\n", "set up.delay_ms"),
        ("[[step]]\nat_s = 0\nfade_every_ms = 10\n", "set fade_ms too"),
        ("[[step]]\nat_s = 0\nmtu_bytes = 9000\nqueue_kb = 8\n", "queue_kb: the queue (8192 bytes)"),
        ("[[step]]\nat_s = 1\n", "the first step must be at 0"),
        ("step = []\n", "the first piece must begin at 0"),
        ("repeat_every_s = -1\n[[step]]\nat_s = 0\n", "repeat_every_s: must be 0.01 to 86400 seconds"),
        (
            "repeat_every_s = 3\n[[step]]\nat_s = 0\n[[step]]\nat_s = 3\n",
            "it must repeat after its last piece begins",
        ),
    ];
    let follow_ups = [
        ("[[step]]\nat_s = 0\n", "step 2 (at_s = 0): at_s: must come after"),
        ("[[step]]\nat_s = 1\nramp_s = 2\n[[step]]\nat_s = 2\n", "the step before, which ends at 3 s"),
        ("[[step]]\nat_s = 1\nramp_s = 2\nrate_mbps = 5\n", "0 is unlimited, and nothing ramps"),
        ("[[step]]\nat_s = 1\nramp_s = 9000\nloss = 0.5\n", "ramp_s: all ramps together"),
    ];
    let follow_ups = follow_ups.map(|(text, expected)| (format!("{first}{text}"), expected));
    for (text, expected) in
        cases.map(|(text, expected)| (text.to_owned(), expected)).into_iter().chain(follow_ups)
    {
        let message = Scenario::parse("x.toml", &text).unwrap_err().to_string();
        assert!(
            message.starts_with("x.toml: ") && message.contains(expected),
            "{text}\ngives: {message}\nnot: {expected}"
        );
    }
}

#[test]
fn the_command_line_and_missing_files_are_named() {
    let settings = Settings { loss: Some(2.0), ..Settings::default() };
    let message = Scenario::constant(&settings).unwrap_err().to_string();
    assert_eq!(message, "command line: loss: must be 0 to 1; it is 2");
    let message = Scenario::load(Path::new("no/such.toml")).unwrap_err().to_string();
    assert!(message.starts_with("no/such.toml: "), "{message}");
}

#[test]
fn roams_and_others_and_the_experiment_are_read() {
    let scenario = Scenario::parse(
        "x.toml",
        r#"
        seed = 7
        [run]
        for_s = 12
        modes = ["replay", "ideal"]
        [workload]
        recording = "other.calls"
        period_ms = 33.3
        [[step]]
        at_s = 0
        rate_mbps = 10
        [[roam]]
        at_s = 5
        change = "address"
        [[roam]]
        at_s = 1
        every_s = 3
        times = 3
        change = "port"
        [[cross]]
        way = "down"
        flow = "constant"
        rate_mbps = 2
        "#,
    )
    .unwrap();
    let roams: Vec<_> = scenario.roams().iter().map(|roam| (roam.at.as_secs(), roam.change)).collect();
    use rrto_netem::script::Change::{Address, Port};
    assert_eq!(roams, [(1, Port), (4, Port), (5, Address), (7, Port)]);
    let [cross] = scenario.cross() else { panic!("{:?}", scenario.cross()) };
    assert_eq!(
        (cross.way, cross.flow),
        (Way::Down, rrto_netem::link::Flow::Constant { rate_bps: 2_000_000 })
    );
    assert_eq!((scenario.seed(), scenario.run().length.as_secs(), scenario.run().modes.len()), (7, 12, 2));
    assert_eq!(scenario.workload().period, Duration::from_micros(33_300));
    // What is not said is as it always is.
    assert_eq!((scenario.run().inferences, scenario.workload().own_cpu), (0, Duration::from_micros(1_580)));
}

#[test]
fn errors_about_experiments_name_the_line() {
    let cases = [
        ("[run]\nfor_s = -1", "line 4", "0 to 86400 seconds"),
        ("[run]\nmodes = [\"reply\"]", "line 4", "`replay`"),
        ("[run]\nfor = 3", "line 4", "for_s"),
        ("[run]\nfor_s = 3\nmeasure_from_s = 3", "run: ", "measure_from_s must come before for_s"),
        ("[[roam]]\nat_s = 1", "line 3", "change"),
        ("[[roam]]\nat_s = 1\nchange = \"name\"", "line 5", "`address`"),
        ("[[roam]]\nat_s = 1\nchange = \"port\"\ntimes = 0", "line 6", "1 to 1000 times"),
        ("[[cross]]\nway = \"up\"\nflow = \"cubic\"", "cross 1: ", "give every step a rate_mbps"),
        ("[[cross]]\nway = \"up\"\nflow = \"constant\"", "cross 1: ", "a constant flow needs it"),
        ("[[cross]]\nway = \"up\"\nflow = \"cubic\"\nfrom_s = 2\nuntil_s = 2", "cross 1: ", "until_s"),
        ("[workload]\ndevice_ms = 1e9", "line 4", "milliseconds"),
    ];
    for (text, place, problem) in cases {
        let text = format!("[[step]]\nat_s = 0\n{text}\n");
        let message = Scenario::parse("x.toml", &text).unwrap_err().to_string();
        assert!(
            message.contains("x.toml: ") && message.contains(place) && message.contains(problem),
            "{message}"
        );
    }
}
