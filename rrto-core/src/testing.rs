//! For tests: a fake device whose whole state a test can compare, and a pair of engines joined by a seeded link that
//! loses its connection. Everything runs in virtual time, in one thread, from one seed.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::api::CuResult;
use crate::engine::{Client, ClientLimits, Lost, Ready, Server, ServerLimits, Work};
use crate::operator::{Operator, Outcome, Value};
use crate::wire::{DeviceInfo, Mode, Welcome};

/// A device that is a flat piece of memory. It executes memory operators at once, answers success to the rest, and
/// keeps the number of everything that it executed.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct FakeDevice {
    /// Device memory, from address 0.
    pub memory: Vec<u8>,
    /// Numbers executed, in order.
    pub executed: Vec<u64>,
}

impl FakeDevice {
    /// A device with `bytes` bytes of zeroed memory.
    pub fn new(bytes: usize) -> Self {
        FakeDevice { memory: vec![0; bytes], executed: Vec::new() }
    }

    /// Executes one operator.
    pub fn execute(&mut self, ready: &Ready) -> Outcome {
        self.executed.push(ready.number);
        match &ready.operator {
            Operator::CopyIn { dst, bytes, .. } => {
                let payload = ready.payload.as_deref().unwrap_or_default();
                self.range(*dst, *bytes)?.copy_from_slice(payload);
                Ok(Value::None)
            }
            Operator::CopyOut { src, bytes, .. } => {
                Ok(Value::Payload(Bytes::copy_from_slice(self.range(*src, *bytes)?)))
            }
            Operator::CopyDevice { dst, src, bytes, .. } => {
                let copied = self.range(*src, *bytes)?.to_vec();
                self.range(*dst, *bytes)?.copy_from_slice(&copied);
                Ok(Value::None)
            }
            Operator::Memset { address, value, width, .. } => {
                self.range(*address, *width)?.fill(*value as u8);
                Ok(Value::None)
            }
            _ => Ok(Value::None),
        }
    }

    fn range(&mut self, address: u64, bytes: u64) -> Result<&mut [u8], CuResult> {
        let start = usize::try_from(address).map_err(|_| CuResult::INVALID_VALUE)?;
        let end = usize::try_from(bytes).ok().and_then(|bytes| start.checked_add(bytes));
        end.and_then(|end| self.memory.get_mut(start..end)).ok_or(CuResult::INVALID_VALUE)
    }
}

/// A client and a server engine with a link between them. Bytes in flight move when a test says so, in pieces of a
/// size that it chooses, and a test can cut the connection.
#[derive(Debug)]
pub struct Pair {
    /// The client engine.
    pub client: Client,
    /// The server engine.
    pub server: Server,
    /// What the server executes on.
    pub device: FakeDevice,
    /// The program's memory: payloads delivered, by operator number.
    pub delivered: BTreeMap<u64, Bytes>,
    up: VecDeque<u8>,
    down: VecDeque<u8>,
    bulk_up: VecDeque<(u64, Bytes)>,
    bulk_down: VecDeque<(u64, Bytes)>,
}

impl Pair {
    /// Two engines that have greeted each other.
    pub fn new(mode: Mode, limits: ClientLimits, device: FakeDevice) -> Self {
        let mut pair = Pair {
            client: Client::new(mode, "test", limits),
            server: Server::new(ServerLimits::default()),
            device,
            delivered: BTreeMap::new(),
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
        if let Err(error) = self.server.handle_control(&piece) {
            self.server.handle_end(&error.to_string());
        }
        piece.len()
    }

    /// Moves at most `count` bulk payloads to the server.
    pub fn move_bulk_up(&mut self, count: usize) -> usize {
        let moved: Vec<_> = self.bulk_up.drain(..count.min(self.bulk_up.len())).collect();
        for (number, payload) in &moved {
            if let Err(error) = self.server.handle_payload(*number, payload.clone()) {
                self.server.handle_end(&error.to_string());
            }
        }
        moved.len()
    }

    /// Executes at most `count` operators.
    pub fn execute(&mut self, count: usize) -> usize {
        let mut executed = 0;
        while executed < count {
            match self.server.poll_ready() {
                Ok(Some(Work::Operator(ready))) => {
                    let outcome = self.device.execute(&ready);
                    self.server.handle_outcome(ready.number, outcome);
                    executed += 1;
                }
                Ok(Some(Work::Span { .. } | Work::Retire(_))) => {}
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
