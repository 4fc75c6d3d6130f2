//! The link's clients, and the socket that each has towards the server.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use super::MAX_FLOWS;
use super::kernel::Drops;
use super::port::Port;
use crate::script::Change;

/// Addresses that clients roam through: 127.0.0.1 to 127.0.0.200.
const LOOPBACK_ADDRESSES: u64 = 200;

/// Sockets that clients have left which are kept; the oldest ones go.
const MAX_LEFT: usize = 64;

/// A flow's number; never used twice, so that what is held for a forgotten flow goes nowhere.
pub(super) type FlowId = u64;

/// One client.
pub(super) struct Flow {
    pub(super) client: SocketAddr,
    /// The address it sends to: where its answers come from.
    pub(super) local_ip: Option<IpAddr>,
    pub(super) upstream: Port,
    /// When it last sent or was sent something.
    pub(super) active_at: Duration,
}

/// All clients, at most [`MAX_FLOWS`].
pub(super) struct Flows {
    server: SocketAddr,
    next: FlowId,
    by_id: HashMap<FlowId, Flow>,
    by_client: HashMap<SocketAddr, FlowId>,
    pub(super) evicted: u64,
    /// Changes of addresses so far, and clients that took no part.
    pub(super) roams: u64,
    pub(super) roams_failed: u64,
    /// How often it was the address that changed.
    moves: u64,
    /// Where clients were. As long as somebody has the port, this host does not tell the server that it is closed (ICMP), which
    /// whoever takes an address away does not do either: to the server, silence.
    left: VecDeque<Port>,
    /// What the kernel dropped of those that are forgotten.
    forgotten_drops: u64,
}

impl Flows {
    pub(super) fn new(server: SocketAddr) -> Self {
        Self {
            server,
            next: 0,
            by_id: HashMap::new(),
            by_client: HashMap::new(),
            evicted: 0,
            roams: 0,
            roams_failed: 0,
            moves: 0,
            left: VecDeque::new(),
            forgotten_drops: 0,
        }
    }

    /// How many there have ever been.
    pub(super) fn seen(&self) -> u64 {
        self.next
    }

    pub(super) fn get(&self, id: FlowId) -> Option<&Flow> {
        self.by_id.get(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (FlowId, &Flow)> {
        self.by_id.iter().map(|(&id, flow)| (id, flow))
    }

    pub(super) fn touch(&mut self, id: FlowId, now: Duration) {
        if let Some(flow) = self.by_id.get_mut(&id) {
            flow.active_at = now;
        }
    }

    /// The flow of `client`, made if it is new.
    pub(super) fn of(
        &mut self,
        client: SocketAddr,
        local_ip: Option<IpAddr>,
        now: Duration,
    ) -> io::Result<FlowId> {
        if let Some(&id) = self.by_client.get(&client) {
            self.touch(id, now);
            return Ok(id);
        }
        if self.by_id.len() >= MAX_FLOWS {
            // A roaming client leaves dead addresses behind; refusing new ones would end its roaming.
            let quietest = self.iter().min_by_key(|(_, flow)| flow.active_at).map(|(id, _)| id);
            self.evicted += 1;
            quietest.into_iter().for_each(|id| self.forget(id));
        }
        let upstream = Port::new(UdpSocket::bind((self.local_address(), 0))?)?;
        let id = self.next;
        self.next += 1;
        self.by_id.insert(id, Flow { client, local_ip, upstream, active_at: now });
        self.by_client.insert(client, id);
        Ok(id)
    }

    /// Gives every client another socket towards the server. What the server sends to the old ones is lost.
    pub(super) fn roam(&mut self, change: Change) {
        self.roams += 1;
        if change == Change::Address {
            self.moves += 1;
        }
        let address = self.local_address();
        let drops = Drops::read();
        for flow in self.by_id.values_mut() {
            // The old one is still bound, so that the new one has another port.
            match UdpSocket::bind((address, 0)).and_then(Port::new) {
                Ok(port) => {
                    let old = std::mem::replace(&mut flow.upstream, port);
                    self.forgotten_drops += drops.of(&old);
                    old.neglect();
                    self.left.push_back(old);
                }
                Err(_) => self.roams_failed += 1,
            }
        }
        self.left.drain(..self.left.len().saturating_sub(MAX_LEFT));
    }

    /// Forgets who has been silent for `idle`.
    pub(super) fn expire(&mut self, now: Duration, idle: Duration) {
        let silent = |flow: &Flow| now.saturating_sub(flow.active_at) >= idle;
        let ids: Vec<_> = self.iter().filter(|(_, flow)| silent(flow)).map(|(id, _)| id).collect();
        ids.into_iter().for_each(|id| self.forget(id));
    }

    /// What the kernel dropped of all flows' answers.
    pub(super) fn kernel_drops(&self, drops: &Drops) -> u64 {
        self.forgotten_drops + self.iter().map(|(_, flow)| drops.of(&flow.upstream)).sum::<u64>()
    }

    fn forget(&mut self, id: FlowId) {
        if let Some(flow) = self.by_id.remove(&id) {
            self.by_client.remove(&flow.client);
            self.forgotten_drops += Drops::read().of(&flow.upstream);
        }
    }

    /// Loopback stays loopback, so that nothing outside can reach a link between two local processes.
    fn local_address(&self) -> IpAddr {
        match self.server.ip() {
            IpAddr::V4(ip) if ip.is_loopback() => {
                let last = u8::try_from(self.moves % LOOPBACK_ADDRESSES).unwrap_or_default();
                Ipv4Addr::new(127, 0, 0, 1 + last).into()
            }
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(ip) if ip.is_loopback() => Ipv6Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        }
    }
}
