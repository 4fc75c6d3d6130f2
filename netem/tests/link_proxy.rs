//! The proxy between real sockets on loopback.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use rrto_netem::proxy::{Config, Proxy};
use rrto_netem::script::{Scenario, Settings};

/// Only so that a broken link fails a test instead of hanging it.
const GIVE_UP_AFTER: Duration = Duration::from_secs(20);

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(GIVE_UP_AFTER)).unwrap();
    socket
}

fn start(server: &UdpSocket, settings: Settings) -> Proxy {
    let scenario = Scenario::constant(&settings).unwrap();
    Proxy::start(Config::new(server.local_addr().unwrap(), scenario, 1)).unwrap()
}

fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 2048];
    let (length, from) = socket.recv_from(&mut buffer).unwrap();
    (buffer[..length].to_vec(), from)
}

#[test]
fn datagrams_go_both_ways_unchanged_and_in_order() {
    let (server, client) = (socket(), socket());
    let settings =
        Settings { rtt_ms: Some(4.0), rate_mbps: Some(200.0), jitter_ms: Some(0.2), ..Settings::default() };
    let proxy = start(&server, settings);
    let messages: Vec<Vec<u8>> =
        (0..200_u16).map(|n| n.to_be_bytes().repeat(usize::from(n % 7) * 100)).collect();

    // So many at a time as a socket's default buffer holds even if nobody reads: a loss there would not be the link's.
    for messages in messages.chunks(40) {
        messages.iter().for_each(|message| assert!(client.send_to(message, proxy.listen_addr()).is_ok()));
        for message in messages {
            let (received, from) = receive(&server);
            assert_eq!(&received, message);
            server.send_to(&received, from).unwrap();
        }
        for message in messages {
            let (received, from) = receive(&client);
            assert_eq!((&received, from), (message, proxy.listen_addr()));
        }
    }

    let stats = proxy.stop();
    let bytes = messages.iter().map(|message| message.len() as u64).sum();
    for way in [&stats.up, &stats.down] {
        assert_eq!((way.sent, way.delivered, way.dropped.total()), (200, 200, 0));
        assert_eq!((way.sent_bytes, way.delivered_bytes), (bytes, bytes));
    }
    assert_eq!(stats.clients, 1);
}

#[test]
fn each_client_gets_its_own_answers() {
    let server = socket();
    let proxy = start(&server, Settings::default());
    // More than the proxy keeps: the quiet ones are forgotten and nobody is refused.
    let clients: Vec<_> = (0..100).map(|_| socket()).collect();
    for (n, client) in clients.iter().enumerate() {
        client.send_to(&[n as u8], proxy.listen_addr()).unwrap();
        let (received, from) = receive(&server);
        server.send_to(&received, from).unwrap();
        assert_eq!(receive(client).0, [n as u8]);
    }
    let stats = proxy.stop();
    assert_eq!((stats.clients, stats.clients_evicted), (100, 36));
}

#[test]
fn strangers_cannot_answer_for_the_server() {
    let (server, client, stranger) = (socket(), socket(), socket());
    let proxy = start(&server, Settings::default());
    client.send_to(b"ask", proxy.listen_addr()).unwrap();
    let (_, upstream) = receive(&server);
    stranger.send_to(b"lie", upstream).unwrap();
    server.send_to(b"truth", upstream).unwrap();
    assert_eq!(receive(&client).0, b"truth");
    assert_eq!(proxy.stop().down.sent, 1);
}

#[test]
fn a_dead_link_counts_what_it_loses_and_survives_a_missing_server() {
    let client = socket();
    let nobody = { socket().local_addr().unwrap() };
    let scenario = Scenario::constant(&Settings { loss: Some(0.5), ..Settings::default() }).unwrap();
    let proxy = Proxy::start(Config::new(nobody, scenario, 9)).unwrap();
    for _ in 0..100 {
        client.send_to(b"anyone?", proxy.listen_addr()).unwrap();
    }
    let begin = std::time::Instant::now();
    while proxy.stats().up.sent < 100 && begin.elapsed() < GIVE_UP_AFTER {
        std::thread::yield_now();
    }
    let up = proxy.stop().up;
    assert_eq!((up.sent, up.delivered + up.dropped.loss), (100, 100));
    assert!((20..80).contains(&up.dropped.loss));
}

#[test]
fn the_port_is_free_again_after_the_end() {
    let server = socket();
    let address = start(&server, Settings::default()).listen_addr();
    assert!(UdpSocket::bind(address).is_ok());
}

#[test]
fn a_taken_port_is_named() {
    let taken = socket();
    let scenario = Scenario::constant(&Settings::default()).unwrap();
    let listen = taken.local_addr().unwrap();
    let config = Config { listen, ..Config::new(listen, scenario, 1) };
    let message = Proxy::start(config).unwrap_err().to_string();
    assert!(message.contains(&listen.to_string()), "{message}");
}

/// A client asks twice, before and after a change; where the server saw it each time.
fn seen_before_and_after(change: &str) -> [SocketAddr; 2] {
    let (server, client) = (socket(), socket());
    let text = format!("[[step]]\nat_s = 0\n[[roam]]\nat_s = 0.2\nchange = \"{change}\"\n");
    let scenario = Scenario::parse("roam.toml", &text).unwrap();
    let proxy = Proxy::start(Config::new(server.local_addr().unwrap(), scenario, 1)).unwrap();
    let ask = || {
        client.send_to(b"where am I?", proxy.listen_addr()).unwrap();
        let (_, from) = receive(&server);
        server.send_to(b"there", from).unwrap();
        assert_eq!(receive(&client), (b"there".to_vec(), proxy.listen_addr()));
        from
    };
    let before = ask();
    let begin = std::time::Instant::now();
    while proxy.stats().roams == 0 {
        assert!(begin.elapsed() < GIVE_UP_AFTER, "it does not roam");
        std::thread::yield_now();
    }
    // What is sent to where the client was goes nowhere, and no host says so (on loopback the next call would tell).
    let late = socket();
    late.connect(before).unwrap();
    for _ in 0..3 {
        late.send(b"too late").unwrap();
    }
    let after = ask();
    let stats = proxy.stop();
    assert_eq!((stats.clients, stats.roams, stats.roams_failed), (1, 1, 0));
    [before, after]
}

#[test]
fn a_roam_changes_the_port_or_the_address() {
    let [before, after] = seen_before_and_after("port");
    assert!(before.ip() == after.ip() && before.port() != after.port(), "{before} {after}");
    let [before, after] = seen_before_and_after("address");
    assert!(before.ip() != after.ip() && after.ip().is_loopback(), "{before} {after}");
}

#[test]
fn addresses_change_on_loopback_only() {
    let text = "[[step]]\nat_s = 0\n[[roam]]\nat_s = 1\nchange = \"address\"\n";
    let scenario = Scenario::parse("roam.toml", text).unwrap();
    let elsewhere = "192.0.2.1:9".parse().unwrap();
    let message = Proxy::start(Config::new(elsewhere, scenario, 1)).unwrap_err().to_string();
    assert!(message.contains("only change their address"), "{message}");
}
