//! What relay and parties say to each other, byte for byte.
//!
//! ```text
//! data        0 flow[7] QUIC...                                       either way, unchanged by the relay
//! register    1 version role leaving party[16] room[16] cookie[40] proof[32]   party to relay, 108 bytes
//! challenge   2 party[16] cookie[40]                                  relay to party
//! registered  3 party[16] present cookie[40] proof[32]                relay to party
//! refused     4 party[16] reason                                      relay to party
//! stray       5 flow[7]                                               relay to whoever sent data
//! ```
//!
//! The first byte tells what a datagram is. It is below 64, so that no QUIC packet looks like any of these: those have the
//! bit of 64 set (RFC 9000, section 17). Every answer is shorter than what it answers.

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};

use super::key::RoomKey;

/// What the relay adds to every QUIC datagram, bytes.
pub const HEADER_BYTES: usize = 1 + FlowId::BYTES;

/// A registration, bytes.
pub const REGISTER_BYTES: usize = SIGNED_BYTES + PROOF_BYTES;

/// The longest of what the relay answers by itself, bytes.
pub const MAX_ANSWER_BYTES: usize = 1 + ID_BYTES + 1 + COOKIE_BYTES + PROOF_BYTES;

/// Bytes of a cookie.
pub const COOKIE_BYTES: usize = 40;

const ID_BYTES: usize = 16;
const PROOF_BYTES: usize = 32;

/// Of a registration, what its proof is about.
const SIGNED_BYTES: usize = 4 + 2 * ID_BYTES + COOKIE_BYTES;

/// Relay and parties of different versions do not understand each other.
const VERSION: u8 = 1;

const DATA: u8 = 0;
const REGISTER: u8 = 1;
const CHALLENGE: u8 = 2;
const REGISTERED: u8 = 3;
const REFUSED: u8 = 4;
const STRAY: u8 = 5;

/// The first half of every flow's address: 100::/64 is for packets that are to be discarded (RFC 6666), so nothing
/// gets anywhere if one is ever taken for a real one.
const PREFIX: [u8; 8] = [1, 0, 0, 0, 0, 0, 0, 0];

/// The port of every flow's address. It means nothing.
const PORT: u16 = 1;

/// A client's number at the relay. Nobody can guess it, but whoever sees datagrams sees it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FlowId(pub(super) [u8; FlowId::BYTES]);

impl FlowId {
    /// Bytes of it.
    pub const BYTES: usize = 7;

    /// No client's: a client sees its server at this one's address, and never sees another flow.
    pub const SERVER: FlowId = FlowId([0; FlowId::BYTES]);

    /// What stands before each of the flow's datagrams.
    pub fn header(self) -> [u8; HEADER_BYTES] {
        let mut header = [DATA; HEADER_BYTES];
        for (to, from) in header.iter_mut().skip(1).zip(self.0) {
            *to = from;
        }
        header
    }

    /// The flow as an address, for QUIC, which knows its peers by theirs.
    pub fn address(self) -> SocketAddr {
        let [a, b, c, d, e, f, g] = self.0;
        let mut bytes = [0; 16];
        for (to, from) in bytes.iter_mut().zip(PREFIX.into_iter().chain([0, a, b, c, d, e, f, g])) {
            *to = from;
        }
        SocketAddrV6::new(Ipv6Addr::from(bytes), PORT, 0, 0).into()
    }

    /// The flow whose address this is, if it is one's.
    pub fn of_address(address: SocketAddr) -> Option<Self> {
        let SocketAddr::V6(address) = address else { return None };
        let octets = address.ip().octets();
        let [0, id @ ..] = octets.strip_prefix(&PREFIX)? else { return None };
        Some(FlowId(id.try_into().ok()?))
    }
}

/// Names a room on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct RoomId(pub(super) [u8; ID_BYTES]);

/// Names one socket of a member of a room, at random, for as long as it lives.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Party(pub [u8; ID_BYTES]);

/// What a party has to know to have got an answer at its address: only the relay that made it can read it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cookie(pub [u8; COOKIE_BYTES]);

impl Cookie {
    /// Of a party that has none yet.
    pub const NONE: Cookie = Cookie([0; COOKIE_BYTES]);
}

/// An HMAC-SHA256.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Proof(pub(super) [u8; PROOF_BYTES]);

/// What a party is in its room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Gets every client's datagrams.
    Server,
    /// Gets the server's.
    Client,
}

/// Why the relay does not take a party.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RefusedReason {
    /// The relay has no room of this secret.
    UnknownRoom,
    /// The room has a server already.
    ServerPresent,
    /// The room, or what one address may have, is full.
    Full,
    /// The relay speaks another version.
    Version,
}

/// The reasons as they travel.
const REASONS: [(u8, RefusedReason); 4] = [
    (1, RefusedReason::UnknownRoom),
    (2, RefusedReason::ServerPresent),
    (3, RefusedReason::Full),
    (4, RefusedReason::Version),
];

impl RefusedReason {
    /// In words, after "the relay refuses:".
    pub fn text(self) -> &'static str {
        match self {
            RefusedReason::UnknownRoom => "it has no room with this secret",
            RefusedReason::ServerPresent => "the room has a server already",
            RefusedReason::Full => "there is no place left in the room, or for this address",
            RefusedReason::Version => "it is of another RRTO release",
        }
    }
}

/// A party's wish to be forwarded to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Register {
    /// As what.
    pub role: Role,
    /// Not any longer.
    pub leaving: bool,
    /// Who.
    pub party: Party,
    /// Where.
    pub room: RoomId,
    /// The last one that the relay gave, or [`Cookie::NONE`].
    pub cookie: Cookie,
}

impl Register {
    /// As it travels, with the proof that the sender knows the secret.
    pub fn encode(&self, key: &RoomKey) -> [u8; REGISTER_BYTES] {
        let role = match self.role {
            Role::Server => 1,
            Role::Client => 2,
        };
        let mut out = [0; REGISTER_BYTES];
        let start = [REGISTER, VERSION, role, u8::from(self.leaving)];
        put(&mut out, &[&start, &self.party.0, &self.room.0, &self.cookie.0]);
        let (signed, proof) = out.split_at_mut(SIGNED_BYTES);
        proof.copy_from_slice(&key.prove_registration(signed).0);
        out
    }

    /// Whether the sender of `datagram`, which this was decoded from, knows the secret.
    pub fn is_proven(datagram: &[u8], key: &RoomKey) -> bool {
        let Some((signed, proof)) = datagram.split_at_checked(SIGNED_BYTES) else { return false };
        proof.try_into().is_ok_and(|proof| key.is_registration(signed, &Proof(proof)))
    }
}

/// What the relay answers by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Register again, with this cookie.
    Challenge {
        /// Who is asked.
        party: Party,
        /// Proves that the party gets what is sent to its address.
        cookie: Cookie,
    },
    /// The party is forwarded to.
    Registered {
        /// Who.
        party: Party,
        /// For a client: the room has a server. For a server: it is the one.
        server_present: bool,
        /// For the next time.
        cookie: Cookie,
    },
    /// The party is not forwarded to.
    Refused {
        /// Who.
        party: Party,
        /// Why not.
        reason: RefusedReason,
    },
    /// A datagram of this flow came from where the relay does not expect it: its sender should register.
    Stray {
        /// Of which flow.
        flow: FlowId,
    },
}

impl Answer {
    /// As it travels. `key` is the room's, and is needed only for [`Answer::Registered`]: without one, that is nothing.
    pub fn encode(&self, key: Option<&RoomKey>) -> Vec<u8> {
        match self {
            Answer::Challenge { party, cookie } => [&[CHALLENGE], &party.0[..], &cookie.0].concat(),
            Answer::Registered { party, server_present, cookie } => {
                let Some(key) = key else { return Vec::new() };
                let signed = [&[REGISTERED], &party.0[..], &[u8::from(*server_present)], &cookie.0].concat();
                let proof = key.prove_answer(&signed);
                [&signed[..], &proof.0].concat()
            }
            Answer::Refused { party, reason } => {
                let code = REASONS.iter().find(|(_, known)| known == reason).map_or(0, |(code, _)| *code);
                [&[REFUSED], &party.0[..], &[code]].concat()
            }
            Answer::Stray { flow } => [&[STRAY], &flow.0[..]].concat(),
        }
    }

    /// What a party makes of a datagram. `None` if it is no answer, or does not prove what it has to.
    pub fn decode(datagram: &[u8], key: &RoomKey) -> Option<Self> {
        let mut reader = Reader(datagram);
        let answer = match reader.byte()? {
            CHALLENGE => Answer::Challenge { party: Party(reader.take()?), cookie: Cookie(reader.take()?) },
            REGISTERED => {
                let party = Party(reader.take()?);
                let server_present = reader.byte()? != 0;
                let cookie = Cookie(reader.take()?);
                let proof = Proof(reader.take()?);
                let signed = datagram.get(..datagram.len().checked_sub(PROOF_BYTES)?)?;
                // After the length, so that what was signed is what was read.
                reader.end()?;
                key.is_answer(signed, &proof).then_some(())?;
                Answer::Registered { party, server_present, cookie }
            }
            REFUSED => {
                let (party, code) = (Party(reader.take()?), reader.byte()?);
                let reason = REASONS.iter().find(|(known, _)| *known == code)?.1;
                Answer::Refused { party, reason }
            }
            STRAY => Answer::Stray { flow: FlowId(reader.take()?) },
            _ => return None,
        };
        reader.end()?;
        Some(answer)
    }
}

/// What the relay gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Request {
    /// To forward.
    Data(FlowId),
    /// To take in.
    Register(Register),
    /// From a party of another version, of which nothing but this is understood.
    OtherVersion(Party),
}

impl Request {
    /// What a datagram is, if it is anything.
    pub fn decode(datagram: &[u8]) -> Option<Self> {
        if let Some(flow) = data(datagram) {
            return Some(Request::Data(flow));
        }
        let mut reader = Reader(datagram);
        if reader.byte()? != REGISTER || datagram.len() < REGISTER_BYTES {
            return None;
        }
        let (version, role, leaving) = (reader.byte()?, reader.byte()?, reader.byte()? != 0);
        let party = Party(reader.take()?);
        if version != VERSION {
            return Some(Request::OtherVersion(party));
        }
        let role = match role {
            1 => Role::Server,
            2 => Role::Client,
            _ => return None,
        };
        let (room, cookie, _) =
            (RoomId(reader.take()?), Cookie(reader.take()?), reader.take::<PROOF_BYTES>()?);
        reader.end()?;
        Some(Request::Register(Register { role, leaving, party, room, cookie }))
    }
}

/// The flow of a datagram that is forwarded.
pub fn data(datagram: &[u8]) -> Option<FlowId> {
    match datagram {
        // With nothing behind the header it would be no QUIC packet.
        [DATA, a, b, c, d, e, f, g, _, ..] => Some(FlowId([*a, *b, *c, *d, *e, *f, *g])),
        _ => None,
    }
}

/// Copies the parts one behind the other; what does not fit is left out.
fn put(out: &mut [u8], parts: &[&[u8]]) {
    for (to, from) in out.iter_mut().zip(parts.iter().copied().flatten()) {
        *to = *from;
    }
}

/// The rest of a datagram.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take().map(|[byte]| byte)
    }

    fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTY: Party = Party([5; 16]);
    const COOKIE: Cookie = Cookie([6; 40]);

    fn answers() -> [Answer; 5] {
        [
            Answer::Challenge { party: PARTY, cookie: COOKIE },
            Answer::Registered { party: PARTY, server_present: true, cookie: COOKIE },
            Answer::Registered { party: PARTY, server_present: false, cookie: COOKIE },
            Answer::Refused { party: PARTY, reason: RefusedReason::Full },
            Answer::Stray { flow: FlowId([1, 2, 3, 4, 5, 6, 7]) },
        ]
    }

    #[test]
    fn what_is_said_is_understood_and_nothing_beside_it() {
        let key = RoomKey::new(&[1; 32]);
        for answer in answers() {
            let bytes = answer.encode(Some(&key));
            assert!(bytes.len() <= MAX_ANSWER_BYTES && bytes.len() < REGISTER_BYTES);
            assert_eq!(Answer::decode(&bytes, &key), Some(answer));
            assert_eq!(Request::decode(&bytes), None);
            for length in 0..bytes.len() {
                assert_eq!(Answer::decode(&bytes[..length], &key), None);
            }
            assert_eq!(Answer::decode(&[&bytes[..], &[0]].concat(), &key), None);
        }
        for (role, leaving) in [(Role::Server, false), (Role::Client, true)] {
            let register = Register { role, leaving, party: PARTY, room: key.room(), cookie: COOKIE };
            let bytes = register.encode(&key);
            assert_eq!(Request::decode(&bytes), Some(Request::Register(register)));
            assert!(Register::is_proven(&bytes, &key));
            for length in 0..bytes.len() {
                assert_eq!(Request::decode(&bytes[..length]), None);
                assert!(!Register::is_proven(&bytes[..length], &key));
            }
        }
    }

    #[test]
    fn a_changed_bit_is_no_proof() {
        let key = RoomKey::new(&[1; 32]);
        let register =
            Register { role: Role::Server, leaving: false, party: PARTY, room: key.room(), cookie: COOKIE };
        let registered = Answer::Registered { party: PARTY, server_present: true, cookie: COOKIE };
        let (register, registered) = (register.encode(&key), registered.encode(Some(&key)));
        for bit in 0..REGISTER_BYTES * 8 {
            let mut forged = register;
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(!Register::is_proven(&forged, &key));
        }
        for bit in 8..registered.len() * 8 {
            let mut forged = registered.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Answer::decode(&forged, &key), None);
        }
    }

    #[test]
    fn flows_have_addresses_that_no_machine_has() {
        let flow = FlowId([1, 2, 3, 4, 5, 6, 255]);
        assert_eq!(flow.address().to_string(), "[100::1:203:405:6ff]:1");
        assert_eq!(FlowId::of_address(flow.address()), Some(flow));
        for other in ["127.0.0.1:1", "[::1]:1", "[100::100:0:0:1]:1", "[100:0:0:1::1]:1"] {
            assert_eq!(FlowId::of_address(other.parse().unwrap()), None, "{other}");
        }
        let datagram = [&flow.header()[..], b"quic"].concat();
        assert_eq!(data(&datagram), Some(flow));
        assert_eq!(data(&datagram[..HEADER_BYTES]), None);
    }
}
