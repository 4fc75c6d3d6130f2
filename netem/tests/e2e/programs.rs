//! Programs that do nothing wrong.

use std::path::Path;
use std::thread;

use rrto_netem::proxy::{Config, Proxy};
use rrto_netem::script::{Scenario, Settings};

use crate::harness::{Client, Server, built};

#[test]
fn both_modes_give_the_same_right_outputs() {
    let server = Server::start();
    let hashes = ["percall", "pipeline"].map(|mode| Client { mode, ..server.client() }.demo("4"));
    assert_eq!(hashes[0], hashes[1]);
}

#[test]
fn a_slow_and_lossy_link_changes_no_bit() {
    let server = Server::start();
    let settings =
        Settings { rtt_ms: Some(10.0), rate_mbps: Some(50.0), loss: Some(0.02), ..Settings::default() };
    let scenario = Scenario::constant(&settings).unwrap();
    let link = Proxy::start(Config::new(server.address, scenario, 7)).unwrap();
    let across = Client { server: link.listen_addr(), ..server.client() };
    assert_eq!(across.demo("4"), server.client().demo("4"));
    let stats = link.stop();
    assert!(stats.up.delivered > 0, "the program went around the link: {stats:?}");
}

#[test]
fn several_programs_share_a_server() {
    let server = Server::start();
    let client = server.client();
    thread::scope(|scope| {
        let programs =
            ["10", "20", "30", "40"].map(|rounds| (rounds, scope.spawn(|| client.probe(&["work", rounds]))));
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
    let nowhere = Client { server: ([127, 0, 0, 1], 1).into(), ..server.client() };
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
fn a_forked_child_is_refused_and_its_parent_unharmed() {
    let server = Server::start();
    let printed = server.client().probe(&["fork"]);
    assert_eq!(printed, "child refused\nchild's status 0\nparent got 1\n");
}
