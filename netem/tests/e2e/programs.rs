//! Programs that do nothing wrong.

use std::path::Path;
use std::thread;

use rrto_netem::proxy::{Config, Proxy};
use rrto_netem::script::{Scenario, Settings};

use crate::harness::{Client, MODES, Server, built};

/// Inferences after which a repetition is known to be one, and some that are replayed.
const SOME_INFERENCES: &str = "8";

#[test]
fn all_modes_give_the_same_right_outputs() {
    let server = Server::start();
    let hashes = MODES.map(|mode| server.client().mode(mode).demo(SOME_INFERENCES));
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
}

#[test]
fn a_slow_and_lossy_link_changes_no_bit() {
    let server = Server::start();
    let settings =
        Settings { rtt_ms: Some(10.0), rate_mbps: Some(50.0), loss: Some(0.02), ..Settings::default() };
    let scenario = Scenario::constant(&settings).unwrap();
    let link = Proxy::start(Config::new(server.address, scenario, 7)).unwrap();
    let right = server.client().demo(SOME_INFERENCES);
    for mode in ["pipeline", "replay"] {
        let across = Client { server: link.listen_addr().to_string(), mode, ..server.client() };
        assert_eq!(across.demo(SOME_INFERENCES), right, "{mode}");
    }
    let stats = link.stop();
    assert!(stats.up.delivered > 0, "the program went around the link: {stats:?}");
}

#[test]
fn several_programs_share_a_server() {
    let server = Server::start();
    thread::scope(|scope| {
        let programs = [("10", "percall"), ("20", "pipeline"), ("30", "replay"), ("40", "replay")].map(
            |(rounds, mode)| {
                let client = server.client().mode(mode);
                (rounds, scope.spawn(move || client.probe(&["work", rounds])))
            },
        );
        for (rounds, program) in programs {
            assert_eq!(program.join().unwrap(), format!("sum {rounds}\n"));
        }
    });
}

#[test]
fn a_program_without_cuda_is_left_alone() {
    let server = Server::start();
    let outcome = server.client().run(Path::new("/bin/echo"), &["hello"]);
    assert_eq!((outcome.status, &*outcome.stdout, &*outcome.stderr), (Some(0), "hello\n", ""));
}

#[test]
fn a_program_without_cuda_needs_no_server() {
    let server = Server::start();
    let nowhere = Client { server: "127.0.0.1:1".into(), ..server.client() };
    let outcome = nowhere.run(Path::new("/bin/echo"), &["hello"]);
    assert_eq!((outcome.status, &*outcome.stdout, &*outcome.stderr), (Some(0), "hello\n", ""));
}

#[test]
fn a_program_may_end_with_work_outstanding() {
    let server = Server::start();
    for how in ["return", "exit", "_exit", "quick_exit", "thread"] {
        let outcome = server.client().run(&built().probe, &["leave", how]);
        assert_eq!((outcome.status, &*outcome.stderr), (Some(0), ""), "{how}: {outcome:?}");
    }
    assert_eq!(server.client().probe(&["work", "3"]), "sum 3\n");
}

#[test]
fn a_program_may_end_in_an_inference_that_is_known() {
    let server = Server::start();
    let client = server.client().mode("replay");
    for how in ["return", "exit", "_exit", "quick_exit", "thread"] {
        let outcome = client.run(&built().probe, &["infer-leave", how]);
        assert_eq!((outcome.status, &*outcome.stderr), (Some(0), ""), "{how}: {outcome:?}");
    }
    assert_eq!(client.probe(&["work", "3"]), "sum 3\n");
}

/// What an inference more costs, which is neither the program's start nor the search for what it repeats.
#[test]
fn a_replayed_inference_is_one_message_each_way() {
    const FEW: u32 = 20;
    const MANY: u32 = 80;
    /// `probe.c`'s input and output, bytes.
    const PAYLOAD_BYTES: f64 = 256.0;
    /// What an inference may cost beyond these each way, bytes.
    const MOST_BYTES: f64 = 256.0;
    let server = Server::start();
    let client = server.client().mode("replay");
    let [few, many] = [FEW, MANY].map(|times| client.statistics(&["infer", &times.to_string()]));
    let each = |name: &str| {
        let [few, many] = [&few, &many].map(|statistics| statistics[name].as_f64().unwrap());
        (many - few) / f64::from(MANY - FEW)
    };
    let sums = format!("{few} {many}");
    assert!(each("round_trips") <= 1.0, "{sums}");
    assert!(each("control_bytes_up") <= PAYLOAD_BYTES + MOST_BYTES, "{sums}");
    assert!(each("control_bytes_down") <= PAYLOAD_BYTES + MOST_BYTES, "{sums}");
}

#[test]
fn a_forked_child_is_refused_and_its_parent_unharmed() {
    let server = Server::start();
    let printed = server.client().probe(&["fork"]);
    assert_eq!(printed, "child refused\nchild's status 0\nparent got 1\n");
}
