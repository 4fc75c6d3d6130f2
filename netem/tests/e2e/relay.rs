//! A server behind a relay, and a program that knows nothing of it: `rrto-gpud relay`, `rrto-gpud --relay` and `rrto run` as they are
//! installed. The relay is killed and started anew, and the robot's address changes, while the program runs.

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use rrto_netem::proxy::{Config, Proxy};
use rrto_netem::script::Scenario;

use crate::harness::{Client, Daemon, MODES, Server, add_room, built, certificates};

/// Inferences after which a repetition is known to be one, and some that are replayed.
const SOME_INFERENCES: u32 = 8;

/// Longer than any pause of a busy machine. Nothing is lost before that.
const SILENCE_TIMEOUT_MS: &str = "60000";

/// The robot has another address time and again, sooner than its program ends.
const ROAMS: &str = r#"
about = "Another address every 300 ms."
[[step]]
at_s = 0
rtt_ms = 10
rate_mbps = 100
queue_kb = 256
[[roam]]
at_s = 0.3
every_s = 0.3
times = 400
change = "address"
"#;

/// Enough of them to meet every phase of an inference.
const ENOUGH_ROAMS: u64 = 6;

/// A relay, and a server that is reached through it.
struct Stage {
    relay: Daemon,
    server: Server,
}

impl Stage {
    fn set() -> Self {
        let folder = certificates();
        add_room(&folder.path().join("certs"), "room");
        let relay = start_relay(folder.path().join("certs"), ([127, 0, 0, 1], 0).into());
        let server = Server::start_with(folder, &["--relay", &in_room(relay.address)]);
        Stage { relay, server }
    }

    /// A client that reaches the server through what listens at `relay`.
    fn client_by(&self, relay: SocketAddr) -> Client {
        Client { server: in_room(relay), ..self.server.client() }
    }

    /// Another relay in the place of this one, which has never heard of anybody.
    fn restart_relay(&mut self) {
        self.relay = start_relay(self.server.certs(), self.relay.address);
    }
}

fn start_relay(certs: PathBuf, listen: SocketAddr) -> Daemon {
    let mut command = Command::new(&built().gpud);
    command.arg("relay").arg("--listen").arg(listen.to_string()).arg("--rooms").arg(certs.join("rooms"));
    Daemon::start(&mut command, certs.with_file_name("relay.log"))
}

fn in_room(relay: SocketAddr) -> String {
    format!("relay://{relay}/room")
}

/// A program that does an inference when it is asked to.
struct Program {
    process: Child,
    /// Until no more is to be asked.
    asks: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
    answered: u32,
}

impl Program {
    fn start(client: &Client) -> Self {
        let mut command = client.command(&built().probe);
        command.arg("infer-asked").env("RRTO_SILENCE_TIMEOUT_MS", SILENCE_TIMEOUT_MS);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let asks = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().unwrap()).lines();
        Program { process, asks, answers, answered: 0 }
    }

    fn ask(&mut self) {
        writeln!(self.asks.as_mut().unwrap()).unwrap();
    }

    /// The output was right.
    fn expect_answer(&mut self) {
        let line = self.answers.next().map(Result::unwrap);
        assert_eq!(line, Some(format!("inference {}", self.answered)), "{}", self.stderr());
        self.answered += 1;
    }

    fn infer(&mut self, times: u32) {
        for _ in 0..times {
            self.ask();
            self.expect_answer();
        }
    }

    /// It ends well, and says nothing of what happened.
    fn end(mut self) {
        self.asks = None;
        assert_eq!(self.answers.next().map(Result::unwrap), None);
        assert_eq!((&*self.stderr(), self.process.wait().unwrap().code()), ("", Some(0)));
    }

    /// All that it said, once it has ended.
    fn stderr(&mut self) -> String {
        let mut text = String::new();
        self.process.stderr.as_mut().unwrap().read_to_string(&mut text).unwrap();
        text
    }
}

#[test]
fn a_relay_that_restarts_is_a_pause() {
    let mut stage = Stage::set();
    for mode in MODES {
        let mut program = Program::start(&stage.client_by(stage.relay.address).mode(mode));
        program.infer(SOME_INFERENCES);
        // Between two inferences, and while one waits for its answer.
        stage.relay.kill();
        stage.restart_relay();
        program.infer(SOME_INFERENCES);
        stage.relay.kill();
        program.ask();
        stage.restart_relay();
        program.expect_answer();
        program.infer(SOME_INFERENCES);
        program.end();
    }
}

#[test]
fn a_robot_whose_address_changes_goes_on_through_the_relay() {
    let stage = Stage::set();
    for mode in ["pipeline", "replay"] {
        let scenario = Scenario::parse("roams", ROAMS).unwrap();
        let link = Proxy::start(Config::new(stage.relay.address, scenario, 7)).unwrap();
        let mut program = Program::start(&stage.client_by(link.listen_addr()).mode(mode));
        program.infer(SOME_INFERENCES);
        let before = link.stats().roams;
        while link.stats().roams < before + ENOUGH_ROAMS {
            program.infer(1);
        }
        program.end();
        assert_eq!(link.stop().roams_failed, 0);
    }
}
