//! The command line: what it prints and what it says about mistakes.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::process::{Command, Output};

use serde_json::Value;

fn netem(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rrto-netem")).args(args).output().unwrap()
}

const LINK: [&str; 5] = ["link", "--listen", "127.0.0.1:0", "--to", "127.0.0.1:9"];

#[test]
fn a_link_prints_two_lines_of_json_and_saves_the_last() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("stats.json");
    let more =
        ["--seed", "7", "--rtt-ms", "10", "--reorder", "--for-s", "0", "--stats", file.to_str().unwrap()];
    let output = netem(&[&LINK[..], &more].concat());
    assert!(output.status.success(), "{output:?}");
    let lines: Vec<Value> =
        output.stdout.split(|&b| b == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    let [listening, ended] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!((&listening["event"], &listening["seed"]), (&"listening".into(), &7.into()));
    assert_ne!(listening["listen"], "127.0.0.1:0");
    assert_eq!((&ended["event"], &ended["up"]["dropped"]["queue_full"]), (&"ended".into(), &0.into()));
    assert_eq!(&serde_json::from_slice::<Value>(&std::fs::read(&file).unwrap()).unwrap(), ended);
}

#[test]
fn mistakes_are_named() {
    let cases: [(&[&str], &str); 5] = [
        (&["--scenario", "a.toml", "--loss", "0.1"], "cannot be used with"),
        (&["--scenario", "no/such.toml"], "no/such.toml: "),
        (&["--loss", "10"], "loss: must be 0 to 1; it is 10"),
        (&["--fade-every-ms", "10"], "set fade_ms too"),
        (&["--for-s", "soon"], "write seconds, such as 2.5"),
    ];
    for (args, expected) in cases {
        let output = netem(&[&LINK[..], args].concat());
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && message.contains(expected), "{args:?}: {message}");
    }
}

#[test]
fn check_names_good_and_bad_files() {
    let folder = tempfile::tempdir().unwrap();
    let (good, bad) = (folder.path().join("good.toml"), folder.path().join("bad.toml"));
    std::fs::write(&good, "about = \"x\"\n[[step]]\nat_s = 0\n").unwrap();
    std::fs::write(&bad, "[[step]]\nat_s = 0\nlos = 1\n").unwrap();
    let output = netem(&["check", good.to_str().unwrap(), bad.to_str().unwrap()]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("good.toml: good"));
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("bad.toml: ") && message.contains("los"), "{message}");
}
