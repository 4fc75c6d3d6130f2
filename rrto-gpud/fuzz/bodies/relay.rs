//! What the `relay` fuzz target does with its input: a plain function, so that a test runs it as well.

use std::time::Duration;

use rrto_gpud::relay::{Limits, Place, Relay, RoomConfig, Verdict};
use rrto_quic::relay::RoomKey;
use rrto_quic::relay::wire::{Answer, Cookie, Party, Register, Role};

const LIMITS: Limits =
    Limits { room_clients: 4, source_clients: 2, flow_bytes_per_s: 1_000_000, total_bytes_per_s: 2_000_000 };

/// The longest datagram of an input.
const MOST_BYTES: usize = 255;

/// Takes `input` as what comes to a relay one after the other. Of each piece the first byte says what it is, the second one from
/// where, and how much later than the one before: a datagram as it stands behind its length, or a registration by somebody who
/// knows the room's secret, which nobody could guess.
pub(crate) fn relay(input: &[u8]) {
    let key = RoomKey::new(&[1; 32]);
    let room = RoomConfig { name: "room".into(), key: key.clone() };
    let Ok(mut relay) = Relay::new(vec![room], LIMITS) else { return };
    let (mut now, mut cookie, mut input) = (Duration::ZERO, Cookie::NONE, input);
    while let Some(([what, from], rest)) = input.split_first_chunk::<2>() {
        now += Duration::from_millis(u64::from(from >> 4) * 1000);
        let place = Place { address: ([192, 0, 2, from & 7], 1).into(), local_ip: None };
        let (datagram, rest) = match what & 7 {
            0..=3 => match rest.split_first() {
                Some((length, rest)) => rest.split_at(rest.len().min(usize::from(*length)).min(MOST_BYTES)),
                None => return,
            },
            4 => {
                relay.expire(now);
                (&[][..], rest)
            }
            _ => (&[][..], rest),
        };
        input = rest;
        let proven = match what & 7 {
            5..=7 => {
                let role = if what & 8 == 0 { Role::Client } else { Role::Server };
                let party = Party([from >> 4 & 3; 16]);
                let leaving = what & 16 != 0;
                Some(Register { role, leaving, party, room: key.room(), cookie }.encode(&key))
            }
            _ => None,
        };
        let datagram = proven.as_ref().map_or(datagram, |proven| &proven[..]);
        // What a party makes of it, if it is sent to one.
        let _ = Answer::decode(datagram, &key);
        if let Verdict::Answer(answer) = relay.handle(now, place, datagram) {
            assert!(answer.len() <= datagram.len(), "the relay makes more of what it gets");
            match Answer::decode(&answer, &key) {
                Some(Answer::Challenge { cookie: fresh, .. } | Answer::Registered { cookie: fresh, .. }) => {
                    cookie = fresh;
                }
                Some(_) => {}
                None => panic!("the relay's answer is none"),
            }
        }
        assert!(relay.clients() <= LIMITS.room_clients as usize && relay.servers() <= 1);
    }
}
