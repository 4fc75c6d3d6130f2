//! The relay as a state machine: says of each datagram where it goes.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rrto_quic::relay::wire::{Answer, Party, RefusedReason, Register, Request, Role, RoomId};
use rrto_quic::relay::{FlowId, RoomKey};
use rrto_quic::source_of;

use super::bucket::Bucket;
use super::cookie::Cookies;
use super::rooms::RoomConfig;

/// A client that has not registered for so long is forgotten: three times in a row it did not come through.
pub const CLIENT_IDLE: Duration = Duration::from_secs(50);

/// A server likewise; another one of the room may take its place then.
pub const SERVER_IDLE: Duration = Duration::from_secs(10);

/// Answers a second to those who have proven nothing. Making one costs about 2 microseconds, so this is a twentieth
/// of a processor, whatever comes.
const UNPROVEN_ANSWERS_PER_S: u64 = 20_000;

/// What a datagram costs beside its bytes: so a limit on bytes is one on datagrams too, which are what costs the relay.
const DATAGRAM_BYTES: u64 = 100;

/// What parties may have of the relay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Clients of a room at a time.
    pub room_clients: u32,
    /// Clients at one IP address (of IPv6, a network of 64 bits) at a time.
    pub source_clients: u32,
    /// Both directions of a client, bytes a second; each datagram counts 100 more.
    pub flow_bytes_per_s: u64,
    /// All clients, likewise.
    pub total_bytes_per_s: u64,
}

/// Where a party is, and which of this machine's addresses it knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The party's address.
    pub address: SocketAddr,
    /// The address that it sent to, from which it is answered; unknown where the system does not say.
    pub local_ip: Option<IpAddr>,
}

/// What becomes of a datagram.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It goes there, as it is.
    Forward(Place),
    /// This goes back to where it came from. Never longer than what came.
    Answer(Vec<u8>),
    /// Nothing.
    Drop,
}

macro_rules! define_statistics {
    ($($field:ident = $help:literal;)*) => {
        /// What has happened so far, in datagrams unless something else is said.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub struct Statistics { $(#[doc = $help] pub $field: u64,)* }
    };
}

define_statistics! {
    forwarded = "Forwarded.";
    forwarded_bytes = "Bytes forwarded, without headers of UDP and IP.";
    over_rate = "Dropped because a rate was used up.";
    no_server = "Dropped because the room had no server.";
    strays = "From where their flow is not expected.";
    malformed = "That made no sense.";
    registrations = "Registrations taken, renewals among them.";
    challenges = "Registrations answered with a challenge.";
    refusals = "Registrations refused.";
    unanswered = "Not answered because too many came that prove nothing.";
}

/// A client of a room.
struct Flow {
    room: usize,
    place: Place,
    /// When the cookie was made with which it last registered, microseconds.
    cookie_made: u64,
    heard: Duration,
    rate: Bucket,
}

struct Server {
    party: Party,
    place: Place,
    heard: Duration,
}

struct Room {
    name: String,
    key: RoomKey,
    server: Option<Server>,
    /// As of a flow. Stays when the server has gone, so that nobody can bring it back with what it once sent.
    cookie_made: u64,
    clients: u32,
}

impl Room {
    fn new(RoomConfig { name, key }: RoomConfig) -> Self {
        Room { name, key, server: None, cookie_made: 0, clients: 0 }
    }
}

/// The relay. Times are since it started. Without proof, nobody makes it remember anything.
pub struct Relay {
    limits: Limits,
    cookies: Cookies,
    rooms: Vec<Room>,
    by_id: HashMap<RoomId, usize>,
    flows: HashMap<FlowId, Flow>,
    /// How many flows each source has.
    sources: HashMap<IpAddr, u32>,
    total: Bucket,
    unproven: Bucket,
    statistics: Statistics,
}

impl Relay {
    /// A relay with these rooms.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn new(rooms: Vec<RoomConfig>, limits: Limits) -> io::Result<Self> {
        let by_id = rooms.iter().enumerate().map(|(index, room)| (room.key.room(), index)).collect();
        Ok(Relay {
            limits,
            cookies: Cookies::new()?,
            rooms: rooms.into_iter().map(Room::new).collect(),
            by_id,
            flows: HashMap::new(),
            sources: HashMap::new(),
            total: Bucket::new(limits.total_bytes_per_s),
            unproven: Bucket::new(UNPROVEN_ANSWERS_PER_S),
            statistics: Statistics::default(),
        })
    }

    /// Has these rooms from now on. Those that stay keep their server and clients, also under another name.
    pub fn set_rooms(&mut self, rooms: Vec<RoomConfig>) {
        let by_id: HashMap<_, _> =
            rooms.iter().enumerate().map(|(index, room)| (room.key.room(), index)).collect();
        let moved: Vec<_> = self.rooms.iter().map(|room| by_id.get(&room.key.room()).copied()).collect();
        let is_gone = |flow: &Flow| moved.get(flow.room).is_none_or(Option::is_none);
        let gone: Vec<_> = self.flows.iter().filter(|(_, flow)| is_gone(flow)).map(|(id, _)| *id).collect();
        gone.into_iter().for_each(|flow| self.forget(flow));
        for flow in self.flows.values_mut() {
            flow.room = moved.get(flow.room).copied().flatten().unwrap_or(usize::MAX);
        }
        let before = std::mem::replace(&mut self.rooms, rooms.into_iter().map(Room::new).collect());
        for (room, to) in before.into_iter().zip(moved) {
            if let Some(new) = to.and_then(|to| self.rooms.get_mut(to)) {
                *new = Room { name: std::mem::take(&mut new.name), ..room };
            }
        }
        self.by_id = by_id;
    }

    /// What has happened so far.
    pub fn statistics(&self) -> Statistics {
        self.statistics
    }

    /// Clients now.
    pub fn clients(&self) -> usize {
        self.flows.len()
    }

    /// Rooms that have a server now.
    pub fn servers(&self) -> usize {
        self.rooms.iter().filter(|room| room.server.is_some()).count()
    }

    /// Takes a datagram.
    pub fn handle(&mut self, now: Duration, from: Place, datagram: &[u8]) -> Verdict {
        match Request::decode(datagram) {
            Some(Request::Data(flow)) => self.forward(now, from, flow, datagram.len()),
            Some(Request::Register(register)) => self.register(now, from, &register, datagram),
            Some(Request::OtherVersion(party)) => self.refuse(now, party, RefusedReason::Version),
            None => {
                self.statistics.malformed += 1;
                Verdict::Drop
            }
        }
    }

    /// Forgets who has not been heard of. To be called every second or so.
    pub fn expire(&mut self, now: Duration) {
        let is_over = |heard: Duration, idle| now.saturating_sub(heard) > idle;
        let silent = self.flows.iter().filter(|(_, flow)| is_over(flow.heard, CLIENT_IDLE));
        let silent: Vec<_> = silent.map(|(id, _)| *id).collect();
        silent.into_iter().for_each(|flow| self.forget(flow));
        for room in &mut self.rooms {
            if room.server.as_ref().is_some_and(|server| is_over(server.heard, SERVER_IDLE)) {
                tracing::info!(room = room.name, "the server is not heard of any more");
                room.server = None;
            }
        }
    }

    fn forward(&mut self, now: Duration, from: Place, id: FlowId, bytes: usize) -> Verdict {
        let Some(flow) = self.flows.get_mut(&id) else { return self.stray(now, id) };
        let server = self.rooms.get(flow.room).and_then(|room| room.server.as_ref());
        let to = if from.address == flow.place.address {
            let Some(server) = server else {
                self.statistics.no_server += 1;
                return Verdict::Drop;
            };
            server.place
        } else if server.is_some_and(|server| server.place.address == from.address) {
            flow.place
        } else {
            return self.stray(now, id);
        };
        let price = bytes as u64 + DATAGRAM_BYTES;
        if !flow.rate.take(now, price) || !self.total.take(now, price) {
            self.statistics.over_rate += 1;
            return Verdict::Drop;
        }
        self.statistics.forwarded += 1;
        self.statistics.forwarded_bytes += bytes as u64;
        Verdict::Forward(to)
    }

    /// Data is at least as long as this answer.
    fn stray(&mut self, now: Duration, flow: FlowId) -> Verdict {
        self.statistics.strays += 1;
        self.answer_unproven(now, &Answer::Stray { flow })
    }

    fn register(&mut self, now: Duration, from: Place, register: &Register, datagram: &[u8]) -> Verdict {
        let Some(cookie_made) = self.cookies.open(&register.cookie, from.address, now) else {
            return self.challenge(now, from, register.party);
        };
        let room = self.by_id.get(&register.room).and_then(|index| Some((*index, self.rooms.get(*index)?)));
        let Some((index, room)) = room.filter(|(_, room)| Register::is_proven(datagram, &room.key)) else {
            return self.refuse(now, register.party, RefusedReason::UnknownRoom);
        };
        let key = room.key.clone();
        let taken = match register.role {
            Role::Server => self.register_server(now, from, register, index, cookie_made),
            Role::Client => self.register_client(now, from, register, index, cookie_made),
        };
        match taken {
            Taken::No(reason) => self.refuse(now, register.party, reason),
            Taken::Late => self.challenge(now, from, register.party),
            Taken::Left => Verdict::Drop,
            Taken::Yes => {
                self.statistics.registrations += 1;
                let server_present = self.rooms.get(index).is_some_and(|room| room.server.is_some());
                let cookie = self.cookies.mint(from.address, now);
                let answer = Answer::Registered { party: register.party, server_present, cookie };
                Verdict::Answer(answer.encode(Some(&key)))
            }
        }
    }

    fn register_server(
        &mut self,
        now: Duration,
        place: Place,
        register: &Register,
        room: usize,
        cookie_made: u64,
    ) -> Taken {
        let Some(room) = self.rooms.get_mut(room) else { return Taken::No(RefusedReason::UnknownRoom) };
        match &room.server {
            Some(server) if server.party != register.party => {
                return Taken::No(RefusedReason::ServerPresent);
            }
            Some(_) if cookie_made < room.cookie_made => return Taken::Late,
            Some(_) => {}
            // What a server that has gone once sent is no server.
            None if cookie_made <= room.cookie_made => return Taken::Late,
            None if register.leaving => return Taken::Left,
            None => tracing::info!(room = room.name, server = %place.address, "a server has come"),
        }
        room.cookie_made = cookie_made;
        if register.leaving {
            tracing::info!(room = room.name, "the server has left");
            room.server = None;
            return Taken::Left;
        }
        room.server = Some(Server { party: register.party, place, heard: now });
        Taken::Yes
    }

    fn register_client(
        &mut self,
        now: Duration,
        place: Place,
        register: &Register,
        index: usize,
        cookie_made: u64,
    ) -> Taken {
        let Some(room) = self.rooms.get_mut(index) else { return Taken::No(RefusedReason::UnknownRoom) };
        let id = room.key.flow(register.party);
        match self.flows.entry(id) {
            Entry::Occupied(known) if known.get().room != index => return Taken::No(RefusedReason::Full),
            Entry::Occupied(known) if cookie_made < known.get().cookie_made => return Taken::Late,
            Entry::Occupied(_) if register.leaving => {
                self.forget(id);
                return Taken::Left;
            }
            Entry::Occupied(mut known) => {
                let flow = known.get_mut();
                // One that moves is let in even where there are too many: it is there already.
                release(&mut self.sources, source_of(flow.place.address));
                *self.sources.entry(source_of(place.address)).or_default() += 1;
                (flow.place, flow.cookie_made, flow.heard) = (place, cookie_made, now);
            }
            Entry::Vacant(_) if register.leaving => return Taken::Left,
            Entry::Vacant(free) => {
                let at_source = self.sources.get(&source_of(place.address)).copied().unwrap_or(0);
                if room.clients >= self.limits.room_clients || at_source >= self.limits.source_clients {
                    return Taken::No(RefusedReason::Full);
                }
                let rate = Bucket::new(self.limits.flow_bytes_per_s);
                free.insert(Flow { room: index, place, cookie_made, heard: now, rate });
                room.clients += 1;
                *self.sources.entry(source_of(place.address)).or_default() += 1;
                tracing::debug!(room = room.name, client = %place.address, "a client has come");
            }
        }
        Taken::Yes
    }

    fn forget(&mut self, id: FlowId) {
        let Some(flow) = self.flows.remove(&id) else { return };
        release(&mut self.sources, source_of(flow.place.address));
        if let Some(room) = self.rooms.get_mut(flow.room) {
            room.clients = room.clients.saturating_sub(1);
            tracing::debug!(room = room.name, client = %flow.place.address, "a client has gone");
        }
    }

    fn challenge(&mut self, now: Duration, from: Place, party: Party) -> Verdict {
        self.statistics.challenges += 1;
        let cookie = self.cookies.mint(from.address, now);
        self.answer_unproven(now, &Answer::Challenge { party, cookie })
    }

    fn refuse(&mut self, now: Duration, party: Party, reason: RefusedReason) -> Verdict {
        self.statistics.refusals += 1;
        self.answer_unproven(now, &Answer::Refused { party, reason })
    }

    fn answer_unproven(&mut self, now: Duration, answer: &Answer) -> Verdict {
        if self.unproven.take(now, 1) {
            return Verdict::Answer(answer.encode(None));
        }
        self.statistics.unanswered += 1;
        Verdict::Drop
    }
}

/// What became of a registration by somebody who knows the room's secret.
enum Taken {
    Yes,
    No(RefusedReason),
    /// There was a later one: this may be a recording.
    Late,
    /// It was the party's last.
    Left,
}

/// Takes one flow away from a source.
fn release(sources: &mut HashMap<IpAddr, u32>, source: IpAddr) {
    if let Entry::Occupied(mut flows) = sources.entry(source) {
        *flows.get_mut() = flows.get().saturating_sub(1);
        if *flows.get() == 0 {
            flows.remove();
        }
    }
}
