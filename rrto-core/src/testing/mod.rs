//! For tests: a fake device whose whole state a test can compare, a pair of engines joined by a link that loses its
//! connection, programs that run on them, and the model of a wireless link ([`link`]). Everything runs in virtual time,
//! in one thread, from one seed.

mod device;
pub mod link;
mod program;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

pub use device::{FakeDevice, Manner, kernel, launch};
pub use program::{Call, Launches, Script, Trace};

use crate::api::CuResult;
use crate::engine::server::Greeting;
use crate::engine::{Client, ClientLimits, Lost, Ready, Server, ServerLimits, Work, client, server};
use crate::operator::{Outcome, Sequence, Span};
use crate::wire::{DeviceInfo, Mode, SessionToken, TOKEN_BYTES, Welcome, WireError};

/// What the server of a [`Pair`] executes on.
pub trait Device {
    /// Executes one operator.
    fn execute(&mut self, ready: &Ready) -> Outcome;

    /// Executes a span, whose first operator has the number `first`; gives the failures.
    fn execute_span(&mut self, first: u64, sequence: &Sequence, span: &Span) -> Vec<(u64, CuResult)>;
}

/// A client and a server engine with a link between them. Bytes in flight move when a test says so, in pieces of a
/// size that it chooses; a test can cut the connection, or race another one against it.
#[derive(Debug)]
pub struct Pair<D = FakeDevice> {
    /// The client engine.
    pub client: Client,
    /// The server engine.
    pub server: Server,
    /// What the server executes on.
    pub device: D,
    /// The program's memory: payloads delivered, by operator number.
    pub delivered: BTreeMap<u64, Bytes>,
    /// What the link has carried.
    pub carried: Carried,
    /// The newest last.
    connections: Vec<Connection>,
    /// How often something has moved: connections take turns.
    turns: usize,
}

/// One connection, and what is on its way over it.
#[derive(Debug)]
struct Connection {
    client: client::Channel,
    server: server::Channel,
    greeted: bool,
    up: VecDeque<u8>,
    down: VecDeque<u8>,
    bulk_up: VecDeque<(u64, Bytes)>,
    bulk_down: VecDeque<(u64, Bytes)>,
}

/// Connections at a time: a driver has no more.
const MOST_CONNECTIONS: usize = 4;

const TOKEN: SessionToken = SessionToken([7; TOKEN_BYTES]);

/// What a link has carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Bytes of the control stream to the server.
    pub control_up: u64,
    /// Bytes of the control stream to the client.
    pub control_down: u64,
    /// Bytes of bulk payloads to the server.
    pub bulk_up: u64,
    /// Bytes of bulk payloads to the client.
    pub bulk_down: u64,
    /// Spans that the server gave to the device, whole stretches.
    pub spans: u64,
}

impl<D: Device> Pair<D> {
    /// Two engines that have greeted each other.
    pub fn new(mode: Mode, limits: ClientLimits, device: D) -> Self {
        let mut pair = Pair {
            client: Client::new(mode, "test", limits),
            server: Server::new(ServerLimits::default()),
            device,
            delivered: BTreeMap::new(),
            carried: Carried::default(),
            connections: Vec::new(),
            turns: 0,
        };
        pair.race();
        pair.settle();
        pair
    }

    /// Opens a connection beside those that there are, or beside the newest of them. Everything is sent on all of them.
    pub fn race(&mut self) {
        self.connections.drain(..self.connections.len().saturating_sub(MOST_CONNECTIONS - 1));
        self.connections.push(Connection {
            client: self.client.open(),
            server: server::Channel::new(false),
            greeted: false,
            up: VecDeque::new(),
            down: VecDeque::new(),
            bulk_up: VecDeque::new(),
            bulk_down: VecDeque::new(),
        });
    }

    /// Cuts all connections, with everything that is on its way, and opens a new one.
    pub fn cut(&mut self) {
        self.connections.clear();
        self.race();
    }

    /// Cuts all connections but the newest.
    pub fn supersede(&mut self) {
        self.connections.drain(..self.connections.len().saturating_sub(1));
    }

    /// Cuts all connections but the newest that has been answered, and opens another one.
    pub fn roam(&mut self) {
        let answered = self.connections.iter().rposition(|connection| connection.client.is_answered());
        self.connections.truncate(answered.map_or(0, |at| at + 1));
        self.supersede();
        self.race();
    }

    /// Moves everything until nothing is left to do.
    pub fn settle(&mut self) {
        loop {
            self.flush_client();
            let mut moved = self.execute(usize::MAX);
            for at in 0..self.connections.len() {
                moved += self.move_up_on(at, usize::MAX) + self.move_bulk_up_on(at, usize::MAX);
            }
            moved += self.execute(usize::MAX);
            self.flush_server();
            for at in 0..self.connections.len() {
                moved += self.move_down_on(at, usize::MAX) + self.move_bulk_down_on(at, usize::MAX);
            }
            if moved == 0 {
                return;
            }
        }
    }

    /// Whether the client has something to send.
    pub fn client_has_output(&self) -> bool {
        self.connections.iter().any(|connection| self.client.has_output(&connection.client))
    }

    /// Whether the client has nothing left to send.
    pub fn is_drained(&self) -> bool {
        self.connections.iter().all(|connection| self.client.is_drained(&connection.client))
    }

    /// Puts what the client has to send on the link.
    pub fn flush_client(&mut self) {
        let Pair { client, connections, .. } = self;
        for connection in connections {
            let mut out = Vec::new();
            // As a driver does: in pieces.
            while client.has_output(&connection.client) {
                let before = out.len();
                if let Err(error) = client.poll_control(&mut connection.client, &mut out, usize::MAX) {
                    client.handle_lost(Lost(error.to_string()));
                }
                let bulk = std::iter::from_fn(|| client.poll_bulk(&mut connection.client));
                let waiting = connection.bulk_up.len();
                connection.bulk_up.extend(bulk);
                if (out.len(), connection.bulk_up.len()) == (before, waiting) {
                    break;
                }
            }
            connection.up.extend(out);
        }
    }

    /// Puts what the server has to send on the link.
    pub fn flush_server(&mut self) {
        self.server.handle_idle();
        let Pair { server, connections, .. } = self;
        for connection in connections {
            let mut out = Vec::new();
            if let Err(error) = server.poll_control(&mut connection.server, &mut out) {
                server.handle_end(&error.to_string());
            }
            connection.down.extend(out);
            connection.bulk_down.extend(std::iter::from_fn(|| server.poll_bulk(&mut connection.server)));
        }
    }

    /// Whose turn it is.
    fn next_turn(&mut self) -> usize {
        self.turns += 1;
        self.turns % self.connections.len().max(1)
    }

    /// Moves at most `bytes` control bytes to the server, on one connection; gives how many.
    pub fn move_up(&mut self, bytes: usize) -> usize {
        let at = self.next_turn();
        self.move_up_on(at, bytes)
    }

    fn move_up_on(&mut self, at: usize, bytes: usize) -> usize {
        let Some(connection) = self.connections.get_mut(at) else { return 0 };
        let piece: Vec<u8> = connection.up.drain(..bytes.min(connection.up.len())).collect();
        self.carried.control_up += piece.len() as u64;
        if let Err(error) = take(&mut self.server, connection, &piece) {
            self.server.handle_end(&error.to_string());
        }
        piece.len()
    }

    /// Moves at most `count` bulk payloads to the server, on one connection.
    pub fn move_bulk_up(&mut self, count: usize) -> usize {
        let at = self.next_turn();
        self.move_bulk_up_on(at, count)
    }

    fn move_bulk_up_on(&mut self, at: usize, count: usize) -> usize {
        let Some(connection) = self.connections.get_mut(at) else { return 0 };
        let moved: Vec<_> = connection.bulk_up.drain(..count.min(connection.bulk_up.len())).collect();
        for (number, payload) in &moved {
            self.carried.bulk_up += payload.len() as u64;
            if let Err(error) = self.server.handle_payload(*number, payload.clone().into()) {
                self.server.handle_end(&error.to_string());
            }
        }
        moved.len()
    }

    /// Executes at most `count` operators or spans.
    pub fn execute(&mut self, count: usize) -> usize {
        let mut executed = 0;
        while executed < count {
            match self.server.poll_ready() {
                Ok(Some(Work::Operator(ready))) => {
                    let outcome = self.device.execute(&ready);
                    self.server.handle_outcome(ready.number, outcome);
                    executed += 1;
                }
                Ok(Some(Work::Span { first, sequence, span })) => {
                    for (number, error) in self.device.execute_span(first, &sequence, &span) {
                        self.server.handle_outcome(number, Err(error));
                    }
                    self.carried.spans += 1;
                    executed += 1;
                }
                Ok(Some(Work::Retire(_))) => {}
                Ok(None) => break,
                Err(error) => {
                    self.server.handle_end(&error.to_string());
                    break;
                }
            }
        }
        executed
    }

    /// Moves at most `bytes` control bytes to the client, on one connection.
    pub fn move_down(&mut self, bytes: usize) -> usize {
        let at = self.next_turn();
        self.move_down_on(at, bytes)
    }

    fn move_down_on(&mut self, at: usize, bytes: usize) -> usize {
        let Some(connection) = self.connections.get_mut(at) else { return 0 };
        let piece: Vec<u8> = connection.down.drain(..bytes.min(connection.down.len())).collect();
        self.carried.control_down += piece.len() as u64;
        if let Err(error) = self.client.handle_control(&mut connection.client, &piece) {
            self.client.handle_lost(Lost(error.to_string()));
        }
        self.take_deliveries();
        piece.len()
    }

    /// Moves at most `count` bulk payloads to the client, on one connection.
    pub fn move_bulk_down(&mut self, count: usize) -> usize {
        let at = self.next_turn();
        self.move_bulk_down_on(at, count)
    }

    fn move_bulk_down_on(&mut self, at: usize, count: usize) -> usize {
        let Some(connection) = self.connections.get_mut(at) else { return 0 };
        let moved: Vec<_> = connection.bulk_down.drain(..count.min(connection.bulk_down.len())).collect();
        for (number, payload) in &moved {
            self.carried.bulk_down += payload.len() as u64;
            if !self.client.may_come(*number) {
                self.client.handle_lost(Lost(format!("payload of {number}")));
            } else if self.client.awaited_payload(*number) == Some(payload.len() as u64) {
                self.delivered.insert(*number, payload.clone());
                self.client.handle_payload_delivered(*number);
            }
        }
        self.take_deliveries();
        moved.len()
    }

    /// Takes what has come for the program's memory; to be called after each call that awaits something.
    pub fn take_deliveries(&mut self) {
        while let Some(delivery) = self.client.poll_delivery() {
            self.delivered.insert(delivery.number, delivery.bytes);
        }
    }
}

/// The server takes bytes of a connection's control stream.
fn take(server: &mut Server, connection: &mut Connection, mut bytes: &[u8]) -> Result<(), WireError> {
    if !connection.greeted {
        let Some(greeting) = connection.server.handle_greeting(bytes)? else { return Ok(()) };
        bytes = &[];
        connection.greeted = true;
        match greeting {
            Greeting::Hello(_) => {
                let welcome =
                    Welcome { session: 1, server_version: String::new(), device: DeviceInfo::default() };
                server.handle_welcome(&mut connection.server, welcome, TOKEN);
            }
            Greeting::Resume(resume) => {
                assert_eq!(resume.token, TOKEN);
                server.handle_resume(&mut connection.server, &resume);
            }
        }
    }
    server.handle_control(&mut connection.server, bytes)
}
