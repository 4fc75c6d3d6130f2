//! For tests: a fake device whose whole state a test can compare, a pair of engines joined by a link that loses its
//! connection, programs that run on them, and the model of a wireless link ([`link`]). Everything runs in virtual time,
//! in one thread, from one seed.

mod device;
pub mod link;
mod program;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

pub use device::{FakeDevice, Manner, kernel, launch};
pub use program::{Call, Script, Trace};

use crate::api::CuResult;
use crate::engine::{Client, ClientLimits, Lost, Ready, Server, ServerLimits, Work};
use crate::operator::{Outcome, Sequence, Span};
use crate::wire::{DeviceInfo, Mode, Welcome};

/// What the server of a [`Pair`] executes on.
pub trait Device {
    /// Executes one operator.
    fn execute(&mut self, ready: &Ready) -> Outcome;

    /// Executes a span, whose first operator has the number `first`; gives the failures.
    fn execute_span(&mut self, first: u64, sequence: &Sequence, span: &Span) -> Vec<(u64, CuResult)>;
}

/// A client and a server engine with a link between them. Bytes in flight move when a test says so, in pieces of a
/// size that it chooses, and a test can cut the connection.
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
    up: VecDeque<u8>,
    down: VecDeque<u8>,
    bulk_up: VecDeque<(u64, Bytes)>,
    bulk_down: VecDeque<(u64, Bytes)>,
}

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
            up: VecDeque::new(),
            down: VecDeque::new(),
            bulk_up: VecDeque::new(),
            bulk_down: VecDeque::new(),
        };
        pair.flush_client();
        pair.move_up(usize::MAX);
        pair.server.handle_welcome(Welcome {
            session: 1,
            server_version: String::new(),
            device: DeviceInfo::default(),
        });
        pair.settle();
        pair
    }

    /// Moves everything until nothing is left to do.
    pub fn settle(&mut self) {
        loop {
            self.flush_client();
            let moved = self.move_up(usize::MAX) + self.move_bulk_up(usize::MAX) + self.execute(usize::MAX);
            self.flush_server();
            if moved + self.move_down(usize::MAX) + self.move_bulk_down(usize::MAX) == 0 {
                return;
            }
        }
    }

    /// Puts what the client has to send on the link.
    pub fn flush_client(&mut self) {
        let mut out = Vec::new();
        if let Err(error) = self.client.poll_control(&mut out, usize::MAX) {
            self.client.handle_lost(Lost(error.to_string()));
        }
        self.up.extend(out);
        self.bulk_up.extend(std::iter::from_fn(|| self.client.poll_bulk()));
    }

    /// Puts what the server has to send on the link.
    pub fn flush_server(&mut self) {
        let mut out = Vec::new();
        self.server.handle_idle();
        if let Err(error) = self.server.poll_control(&mut out) {
            self.server.handle_end(&error.to_string());
        }
        self.down.extend(out);
        self.bulk_down.extend(std::iter::from_fn(|| self.server.poll_bulk()));
    }

    /// Moves at most `bytes` control bytes to the server; gives how many.
    pub fn move_up(&mut self, bytes: usize) -> usize {
        let piece: Vec<u8> = self.up.drain(..bytes.min(self.up.len())).collect();
        self.carried.control_up += piece.len() as u64;
        if let Err(error) = self.server.handle_control(&piece) {
            self.server.handle_end(&error.to_string());
        }
        piece.len()
    }

    /// Moves at most `count` bulk payloads to the server.
    pub fn move_bulk_up(&mut self, count: usize) -> usize {
        let moved: Vec<_> = self.bulk_up.drain(..count.min(self.bulk_up.len())).collect();
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

    /// Moves at most `bytes` control bytes to the client.
    pub fn move_down(&mut self, bytes: usize) -> usize {
        let piece: Vec<u8> = self.down.drain(..bytes.min(self.down.len())).collect();
        self.carried.control_down += piece.len() as u64;
        if let Err(error) = self.client.handle_control(&piece) {
            self.client.handle_lost(Lost(error.to_string()));
        }
        self.take_deliveries();
        piece.len()
    }

    /// Moves at most `count` bulk payloads to the client.
    pub fn move_bulk_down(&mut self, count: usize) -> usize {
        let moved: Vec<_> = self.bulk_down.drain(..count.min(self.bulk_down.len())).collect();
        for (number, payload) in &moved {
            self.carried.bulk_down += payload.len() as u64;
            self.delivered.insert(*number, payload.clone());
            if let Err(error) = self.client.handle_payload_delivered(*number) {
                self.client.handle_lost(Lost(error.to_string()));
            }
        }
        self.take_deliveries();
        moved.len()
    }

    /// Cuts the connection on the way up: what the client sent and the server has not received is gone, and both
    /// sides go on over a new one.
    pub fn cut_up(&mut self) {
        self.up.clear();
        self.bulk_up.clear();
        self.client.handle_reconnected();
        self.server.handle_reconnected();
    }

    fn take_deliveries(&mut self) {
        while let Some(delivery) = self.client.poll_delivery() {
            self.delivered.insert(delivery.number, delivery.bytes);
        }
    }
}
