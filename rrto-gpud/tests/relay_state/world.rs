//! Parties, address translators and a relay in virtual time.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rrto_gpud::relay::{Limits, Place, Relay, RoomConfig, Verdict};
use rrto_quic::relay::wire::{Party, Role};
use rrto_quic::relay::{FlowId, Registration, RoomKey};

/// Enough for everything here that is not about limits.
pub(crate) const LIMITS: Limits = Limits {
    room_clients: 8,
    source_clients: 4,
    flow_bytes_per_s: 10_000_000,
    total_bytes_per_s: 20_000_000,
};

/// How often the world looks whether something is due.
pub(crate) const STEP: Duration = Duration::from_millis(50);

pub(crate) fn address(host: u8, port: u16) -> SocketAddr {
    ([192, 0, 2, host], port).into()
}

pub(crate) fn place(address: SocketAddr) -> Place {
    Place { address, local_ip: None }
}

pub(crate) fn key(number: u8) -> RoomKey {
    RoomKey::new(&[number; 32])
}

pub(crate) fn room(number: u8) -> RoomConfig {
    RoomConfig { name: format!("room-{number}"), key: key(number) }
}

/// A datagram of a flow.
pub(crate) fn data(flow: FlowId, bytes: usize) -> Vec<u8> {
    [&flow.header()[..], &vec![0x40; bytes]].concat()
}

/// A member of a room behind an address translator.
pub(crate) struct Member {
    pub(crate) registration: Registration,
    pub(crate) host: u8,
    /// The translator's port for it.
    port: u16,
    /// When something last went out through the translator.
    out_at: Duration,
    /// How often the translator has forgotten it.
    pub(crate) forgotten: u32,
    /// Everything that it has sent to the relay, with the address that it came from.
    pub(crate) sent: Vec<(SocketAddr, Vec<u8>)>,
}

impl Member {
    pub(crate) fn address(&self) -> SocketAddr {
        address(self.host, self.port)
    }
}

/// One relay at a time, and the members around it.
pub(crate) struct World {
    pub(crate) relay: Relay,
    pub(crate) members: Vec<Member>,
    pub(crate) now: Duration,
    epoch: Instant,
    started: Duration,
    random: ChaCha8Rng,
    /// Of datagrams, either way.
    pub(crate) loss: f64,
    /// A translator forgets who has sent nothing for so long.
    pub(crate) nat_timeout: Duration,
    next_port: u16,
}

impl World {
    /// A world with a server (member 0) and `clients` clients of room 1, of which none has said anything.
    pub(crate) fn new(seed: u64, clients: u8) -> Self {
        let mut world = World {
            relay: Relay::new(vec![room(1)], LIMITS).unwrap(),
            members: Vec::new(),
            now: Duration::from_micros(1),
            epoch: Instant::now(),
            started: Duration::ZERO,
            random: ChaCha8Rng::seed_from_u64(seed),
            loss: 0.0,
            nat_timeout: Duration::from_secs(30),
            next_port: 1024,
        };
        world.join(Role::Server);
        (0..clients).for_each(|_| world.join(Role::Client));
        world
    }

    pub(crate) fn join(&mut self, role: Role) {
        let number = u8::try_from(self.members.len()).unwrap();
        let registration = Registration::new(key(1), role, Party([number; 16]), self.epoch + self.now);
        let host = number + 1;
        let (port, out_at) = (self.new_port(), self.now);
        self.members.push(Member { registration, host, port, out_at, forgotten: 0, sent: Vec::new() });
    }

    pub(crate) fn new_port(&mut self) -> u16 {
        self.next_port += 1;
        self.next_port
    }

    /// The member's translator has forgotten it.
    pub(crate) fn rebind(&mut self, member: usize) {
        let port = self.new_port();
        self.members[member].port = port;
    }

    pub(crate) fn restart_relay(&mut self) {
        self.relay = Relay::new(vec![room(1)], LIMITS).unwrap();
        self.started = self.now;
    }

    /// The relay's own time.
    pub(crate) fn relay_now(&self) -> Duration {
        self.now - self.started
    }

    /// What the relay makes of a datagram. Never answers with more than it got.
    pub(crate) fn handle(&mut self, from: SocketAddr, datagram: &[u8]) -> Verdict {
        let verdict = self.relay.handle(self.relay_now(), place(from), datagram);
        if let Verdict::Answer(answer) = &verdict {
            assert!(answer.len() <= datagram.len(), "{answer:?} to {datagram:?}");
        }
        verdict
    }

    fn is_lost(&mut self) -> bool {
        self.loss > 0.0 && self.random.random_bool(self.loss)
    }

    /// Sends from behind a member's translator; what the relay makes of it, if it gets there.
    pub(crate) fn send(&mut self, member: usize, datagram: &[u8]) -> Option<Verdict> {
        if self.now - self.members[member].out_at > self.nat_timeout {
            self.rebind(member);
            self.members[member].forgotten += 1;
        }
        self.members[member].out_at = self.now;
        let from = self.members[member].address();
        self.members[member].sent.push((from, datagram.to_vec()));
        if self.is_lost() {
            return None;
        }
        let verdict = self.handle(from, datagram);
        if let Verdict::Answer(answer) = &verdict
            && !self.is_lost()
        {
            self.members[member].registration.handle_answer(self.epoch + self.now, answer);
        }
        Some(verdict)
    }

    /// Lets time pass: registrations are sent when they are due.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            for member in 0..self.members.len() {
                let at = self.epoch + self.now;
                while let Some(message) = self.members[member].registration.poll_transmit(at) {
                    self.send(member, &message);
                }
            }
            let relay_now = self.relay_now();
            self.relay.expire(relay_now);
            if self.now >= end {
                return;
            }
            self.now = end.min(self.now + STEP);
        }
    }

    /// Whether data gets from the client to the server and back, now, at the first try.
    pub(crate) fn is_connected(&mut self, client: usize) -> bool {
        let flow = self.members[client].registration.flow();
        let there = self.send(client, &data(flow, 100));
        let back = self.send(0, &data(flow, 100));
        let to = |member: usize| Some(Verdict::Forward(place(self.members[member].address())));
        there == to(0) && back == to(client)
    }

    pub(crate) fn chance(&mut self, chance: f64) -> bool {
        self.random.random_bool(chance)
    }

    pub(crate) fn choose(&mut self, count: usize) -> usize {
        self.random.random_range(0..count)
    }
}
