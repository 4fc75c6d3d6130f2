//! Scripts for the kernel's emulation. Whether the kernel has it is another matter, so only the shell reads them here.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::process::Command;

use rrto_netem::link::Way;
use rrto_netem::script::Scenario;
use rrto_netem::tc;

fn script(text: &str, way: Way) -> String {
    tc::script(&Scenario::parse("x.toml", text).unwrap(), way, "wl'an0")
}

#[test]
fn a_step_is_a_netem_command() {
    let text = "about = \"a\\nb\"\n[[step]]\nat_s = 0\nrtt_ms = 10\nrate_mbps = 12\nqueue_kb = 100\nloss = 0.01\ndown = { loss = 0 }\n\
        [[step]]\nat_s = 5.5\njitter_ms = 2\nfade_every_ms = 1000\nfade_ms = 20\nfade_loss = 0.9\n\
        [[step]]\nat_s = 6\noutage = \"lose\"\n";
    let up = script(text, Way::Up);
    assert!(up.contains("# a b\n") && up.contains("device='wl'\\''an0'\n"), "{up}");
    assert!(up.contains("\nlink limit 74 delay 5000us loss 1.0000% rate 12000000bit\nat 5.5\n"), "{up}");
    assert!(up.contains("delay 7000us 2000us loss gemodel 0.1000% 5.0000% 90.0000% 1.0000% rate"), "{up}");
    assert!(up.contains("at 6\nlink limit 76 delay 7000us 2000us loss 100% rate"), "{up}");
    assert!(script(text, Way::Down).contains("\nlink limit 74 delay 5000us rate 12000000bit\n"));
}

#[test]
fn what_netem_cannot_is_said() {
    let text = "[[step]]\nat_s = 0\nrate_mbps = 1\nstall_every_ms = 5\nstall_ms = 1\n[[roam]]\nat_s = 1\nchange = \"port\"\n\
        [[cross]]\nway = \"up\"\nflow = \"cubic\"\n";
    let not = |way| script(text, way).matches("# Not in this script: ").count();
    assert_eq!((not(Way::Up), not(Way::Down)), (3, 2));
}

#[test]
fn the_shell_takes_every_scenario() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    for file in std::fs::read_dir(folder).unwrap() {
        let scenario = Scenario::load(&file.unwrap().path()).unwrap();
        let status = Command::new("sh").args(["-n", "-c", &tc::script(&scenario, Way::Up, "eth0")]).status();
        assert!(status.unwrap().success(), "{}", scenario.about());
    }
}
