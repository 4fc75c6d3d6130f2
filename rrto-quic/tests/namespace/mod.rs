//! A network of a test's own, in which it may give its machine other addresses: a network namespace, and the few words of rtnetlink(7)
//! that this takes. Needs util-linux's `unshare`, which every Debian has, and a system that lets users have namespaces.
#![allow(clippy::print_stdout, reason = "a test that is skipped says so")]
#![allow(dead_code, reason = "not every test that has a namespace changes addresses in it")]

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::process::Command;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};

/// Says that this process is in a namespace of its own.
const INSIDE: &str = "RRTO_TEST_NAMESPACE";

/// Message types of rtnetlink, linux/rtnetlink.h.
const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;

/// `NLM_F_REQUEST | NLM_F_ACK`, and for what is new `NLM_F_CREATE | NLM_F_EXCL`, linux/netlink.h.
const REQUEST: u16 = 0x1 | 0x4;
const CREATE: u16 = 0x400 | 0x200;

/// `NLMSG_ERROR`: also the answer that all is well, with the error 0.
const ANSWER: u16 = 2;

/// The loopback interface, which a new namespace has, as its first.
const LOOPBACK: u32 = 1;

/// `AF_INET`, `IFF_UP`, `IFA_LOCAL`.
const INET: u8 = 2;
const UP: u32 = 1;
const LOCAL: u16 = 2;

/// Runs the test called `name` again, in a namespace, unless this process is that run already: then the test is to go on. Where there
/// are no namespaces, it is skipped and says so.
pub(crate) fn is_inside(name: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--net", "--"]);
        command
    };
    match unshare().arg("true").output() {
        Ok(output) if output.status.success() => {
            let test = std::env::current_exe().unwrap();
            let test = unshare().arg(test).args([name, "--exact", "--nocapture"]).env(INSIDE, "1").output();
            let test = test.unwrap();
            let said = String::from_utf8_lossy(&test.stdout);
            assert!(test.status.success(), "{said}{}", String::from_utf8_lossy(&test.stderr));
            assert!(said.contains("1 passed"), "{name} is not the test's name: {said}");
        }
        Ok(output) => println!("skipped {name}: {}", String::from_utf8_lossy(&output.stderr).trim_end()),
        Err(error) => println!("skipped {name}: no unshare: {error}"),
    }
    false
}

/// The loopback interface of the namespace. All of its networks' addresses are this machine's.
pub(crate) struct Loopback(OwnedFd);

impl Loopback {
    /// Up, with 127.0.0.1.
    pub(crate) fn up() -> Self {
        let socket =
            socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None).unwrap();
        let loopback = Loopback(socket);
        let mut link = vec![0; 4];
        for word in [LOOPBACK, UP, UP] {
            link.extend(word.to_ne_bytes());
        }
        loopback.ask(RTM_NEWLINK, REQUEST, &link);
        loopback
    }

    /// From now on packets to this network, of 16 bits, leave from `address`.
    pub(crate) fn add(&self, address: Ipv4Addr) {
        self.ask(RTM_NEWADDR, REQUEST | CREATE, &Self::network(address));
    }

    /// Until now.
    pub(crate) fn remove(&self, address: Ipv4Addr) {
        self.ask(RTM_DELADDR, REQUEST, &Self::network(address));
    }

    /// An `ifaddrmsg`, and the address as an attribute.
    fn network(address: Ipv4Addr) -> Vec<u8> {
        let mut body = vec![INET, 16, 0, 0];
        body.extend(LOOPBACK.to_ne_bytes());
        body.extend([8, LOCAL].map(u16::to_ne_bytes).concat());
        body.extend(address.octets());
        body
    }

    fn ask(&self, kind: u16, flags: u16, body: &[u8]) {
        const HEADER_BYTES: usize = 16;
        let mut message = ((HEADER_BYTES + body.len()) as u32).to_ne_bytes().to_vec();
        message.extend([kind, flags].map(u16::to_ne_bytes).concat());
        // Neither a number nor a port: there is one request at a time.
        message.extend([0; 8]);
        message.extend(body);
        sendto(&self.0, &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0)).unwrap();
        let mut answer = [0; 256];
        let (bytes, _) = recv(&self.0, &mut answer[..], RecvFlags::empty()).unwrap();
        assert!(bytes >= HEADER_BYTES + 4 && answer[4..6] == ANSWER.to_ne_bytes(), "{answer:?}");
        let error = i32::from_ne_bytes(answer[HEADER_BYTES..HEADER_BYTES + 4].try_into().unwrap());
        assert_eq!(error, 0, "{}", std::io::Error::from_raw_os_error(-error));
    }
}
