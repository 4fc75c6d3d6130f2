//! The relay's state machine and the registrations of its parties, in virtual time.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod world;

use std::time::Duration;

use proptest::prelude::*;
use rrto_gpud::relay::{CLIENT_IDLE, Limits, Relay, SERVER_IDLE, Verdict};
use rrto_quic::relay::wire::{Answer, Cookie, Party, RefusedReason, Register, Role};
use rrto_quic::relay::{CLIENT_REFRESH, Standing};
use world::{LIMITS, World, address, data, key, place, room};

const SECOND: Duration = Duration::from_secs(1);
/// A party that has just registered for another reason lets as long pass before it does for a stray.
const STRAYS_HEEDED: Duration = Duration::from_millis(100);
const PRESENT: Standing = Standing::Registered { server_present: true };

/// Registers with whatever cookies the relay gives; the last verdict.
fn register(
    relay: &mut Relay,
    now: Duration,
    host: u8,
    port: u16,
    mut wish: Register,
    secret: u8,
) -> Verdict {
    loop {
        let verdict = relay.handle(now, place(address(host, port)), &wish.encode(&key(secret)));
        match &verdict {
            Verdict::Answer(answer) => match Answer::decode(answer, &key(secret)) {
                Some(Answer::Challenge { cookie, .. }) if wish.cookie == Cookie::NONE => wish.cookie = cookie,
                _ => return verdict,
            },
            _ => return verdict,
        }
    }
}

fn wish(role: Role, party: u8) -> Register {
    Register { role, leaving: false, party: Party([party; 16]), room: key(1).room(), cookie: Cookie::NONE }
}

fn refused(verdict: &Verdict) -> Option<RefusedReason> {
    let Verdict::Answer(answer) = verdict else { return None };
    match Answer::decode(answer, &key(1)) {
        Some(Answer::Refused { reason, .. }) => Some(reason),
        _ => None,
    }
}

fn is_registered(verdict: &Verdict) -> bool {
    let Verdict::Answer(answer) = verdict else { return false };
    matches!(Answer::decode(answer, &key(1)), Some(Answer::Registered { .. }))
}

#[test]
fn a_client_and_a_server_reach_each_other_and_nobody_else() {
    let mut world = World::new(0, 2);
    world.pass(2 * SECOND);
    for member in 0..3 {
        assert_eq!(world.members[member].registration.standing(), PRESENT);
    }
    assert!(world.is_connected(1) && world.is_connected(2));
    // A client cannot speak for another one, nor to it.
    let other = world.members[2].registration.flow();
    assert!(matches!(world.send(1, &data(other, 10)), Some(Verdict::Answer(_))));
    assert_eq!((world.relay.clients(), world.relay.servers()), (2, 1));
}

#[test]
fn an_idle_connection_outlives_translators_that_forget_after_30_s() {
    let mut world = World::new(0, 2);
    world.pass(2 * SECOND);
    world.nat_timeout = Duration::from_secs(30);
    world.pass(Duration::from_secs(3600));
    assert!(world.is_connected(1) && world.is_connected(2));
    assert!(world.members.iter().all(|member| member.forgotten == 0));
    let registrations = world.members[1].sent.len() as u64;
    assert!(registrations <= 3600 / CLIENT_REFRESH.as_secs() + 10, "{registrations}");
}

#[test]
fn a_restarted_relay_is_noticed_at_once_by_who_sends_and_soon_by_who_does_not() {
    let mut world = World::new(0, 1);
    world.pass(2 * SECOND);
    world.restart_relay();
    let flow = world.members[1].registration.flow();
    assert!(matches!(world.send(1, &data(flow, 10)), Some(Verdict::Answer(_))));
    world.pass(Duration::from_millis(2500));
    assert!(world.is_connected(1));
    assert_eq!(world.members[1].registration.flow(), flow);
}

#[test]
fn whoever_moves_is_forwarded_again_right_after_its_first_datagram() {
    let mut world = World::new(0, 1);
    for round in 0..100 {
        world.pass(SECOND);
        world.rebind(round % 2);
        let flow = world.members[1].registration.flow();
        assert!(matches!(world.send(round % 2, &data(flow, 10)), Some(Verdict::Answer(_))));
        world.pass(STRAYS_HEEDED);
        assert!(world.is_connected(1), "{round}");
    }
    assert_eq!(world.relay.clients(), 1);
}

#[test]
fn a_room_has_one_server_until_it_leaves_or_falls_silent() {
    let mut relay = Relay::new(vec![room(1)], LIMITS).unwrap();
    let mut now = SECOND;
    let server = |relay: &mut Relay, now, party, leaving| {
        register(relay, now, party, 1, Register { leaving, ..wish(Role::Server, party) }, 1)
    };
    assert!(is_registered(&server(&mut relay, now, 1, false)));
    assert_eq!(refused(&server(&mut relay, now, 2, false)), Some(RefusedReason::ServerPresent));
    assert_eq!(refused(&server(&mut relay, now, 2, true)), Some(RefusedReason::ServerPresent));
    now += SERVER_IDLE + SECOND;
    relay.expire(now);
    assert!(is_registered(&server(&mut relay, now, 2, false)));
    now += SECOND;
    assert_eq!(server(&mut relay, now, 2, true), Verdict::Drop);
    assert_eq!(relay.servers(), 0);
    now += SECOND;
    assert!(is_registered(&server(&mut relay, now, 1, false)));
}

#[test]
fn a_client_is_forgotten_when_it_leaves_or_falls_silent() {
    let mut relay = Relay::new(vec![room(1)], LIMITS).unwrap();
    for party in 0..4 {
        assert!(is_registered(&register(
            &mut relay,
            SECOND,
            1,
            1 + u16::from(party),
            wish(Role::Client, party),
            1
        )));
    }
    let leaving = Register { leaving: true, ..wish(Role::Client, 0) };
    assert_eq!(register(&mut relay, SECOND, 1, 1, leaving, 1), Verdict::Drop);
    assert_eq!(relay.clients(), 3);
    relay.expire(SECOND + CLIENT_IDLE);
    assert_eq!(relay.clients(), 3);
    relay.expire(2 * SECOND + CLIENT_IDLE);
    assert_eq!(relay.clients(), 0);
    // And does not count any longer.
    for party in 0..4 {
        let verdict = register(&mut relay, 2 * SECOND, 1, 1 + u16::from(party), wish(Role::Client, party), 1);
        assert!(is_registered(&verdict));
    }
}

#[test]
fn places_are_limited_by_room_and_by_source() {
    let mut relay = Relay::new(vec![room(1)], LIMITS).unwrap();
    let mut join =
        |party: u8, host| register(&mut relay, SECOND, host, u16::from(party), wish(Role::Client, party), 1);
    for party in 0..4 {
        assert!(is_registered(&join(party, 1)));
    }
    assert_eq!(refused(&join(4, 1)), Some(RefusedReason::Full));
    for party in 4..8 {
        assert!(is_registered(&join(party, 2)));
    }
    assert_eq!(refused(&join(8, 3)), Some(RefusedReason::Full));
    // Who is in stays in, and may move to where there are too many.
    assert!(is_registered(&join(5, 1)));
    assert_eq!(relay.clients(), 8);
}

#[test]
fn rates_are_limited_for_each_and_for_all() {
    let limits = Limits { flow_bytes_per_s: 100_000, total_bytes_per_s: 150_000, ..LIMITS };
    let mut relay = Relay::new(vec![room(1)], limits).unwrap();
    assert!(is_registered(&register(&mut relay, SECOND, 9, 9, wish(Role::Server, 9), 1)));
    let flows: Vec<_> = (0..2)
        .map(|party| {
            assert!(is_registered(&register(&mut relay, SECOND, party, 1, wish(Role::Client, party), 1)));
            key(1).flow(Party([party; 16]))
        })
        .collect();
    let mut through = [0_u64; 2];
    let senders = [0_usize, 1];
    for ms in 0..10_000 {
        // One alone for the first half; then both, each in both directions.
        let senders = if ms < 5000 { &senders[..1] } else { &senders };
        for &client in senders {
            for host in [client as u8, 9] {
                let from = place(address(host, if host == 9 { 9 } else { 1 }));
                let datagram = data(flows[client], 92);
                let verdict = relay.handle(SECOND + Duration::from_millis(ms), from, &datagram);
                through[client] += if matches!(verdict, Verdict::Forward(_)) { 200 } else { 0 };
            }
        }
    }
    let total = through[0] + through[1];
    assert!((480_000..=1_030_000).contains(&through[0]), "{through:?}");
    assert!((1_200_000..=1_320_000).contains(&total), "{through:?}");
    assert!(relay.statistics().over_rate > 0);
}

#[test]
fn rooms_are_apart() {
    let mut relay = Relay::new(vec![room(1), room(2)], LIMITS).unwrap();
    let mut server = wish(Role::Server, 1);
    assert!(is_registered(&register(&mut relay, SECOND, 1, 1, server, 1)));
    server.room = key(2).room();
    assert!(matches!(register(&mut relay, SECOND, 2, 2, server, 2), Verdict::Answer(_)));
    assert_eq!(relay.servers(), 2);
    assert!(is_registered(&register(&mut relay, SECOND, 3, 3, wish(Role::Client, 3), 1)));
    let flow = key(1).flow(Party([3; 16]));
    assert_eq!(
        relay.handle(SECOND, place(address(3, 3)), &data(flow, 1)),
        Verdict::Forward(place(address(1, 1)))
    );
    assert_eq!(
        relay.handle(SECOND, place(address(1, 1)), &data(flow, 1)),
        Verdict::Forward(place(address(3, 3)))
    );
    assert!(matches!(relay.handle(SECOND, place(address(2, 2)), &data(flow, 1)), Verdict::Answer(_)));
}

#[test]
fn another_release_is_told_so() {
    let mut relay = Relay::new(vec![room(1)], LIMITS).unwrap();
    let mut datagram = wish(Role::Client, 1).encode(&key(1));
    datagram[1] += 1;
    let verdict = relay.handle(SECOND, place(address(1, 1)), &datagram);
    assert_eq!(refused(&verdict), Some(RefusedReason::Version));
}

#[test]
fn who_proves_nothing_is_answered_only_so_often() {
    let mut relay = Relay::new(vec![room(1)], LIMITS).unwrap();
    let datagram = wish(Role::Client, 1).encode(&key(1));
    let answered = (0..100_000_u32)
        .filter(|at| {
            let now = SECOND + Duration::from_micros(10) * *at;
            matches!(relay.handle(now, place(address(1, 1)), &datagram), Verdict::Answer(_))
        })
        .count();
    assert!((20_000..=26_000).contains(&answered), "{answered}");
}

/// What somebody does who sees everything and can send from any address, and does not know the secret.
#[derive(Clone, Debug)]
enum Attack {
    Garbage(Vec<u8>),
    /// Something that a member once sent, from elsewhere.
    FromElsewhere {
        member: usize,
        which: usize,
    },
    /// From where it was sent.
    Again {
        member: usize,
        which: usize,
    },
    /// With a bit changed.
    Changed {
        member: usize,
        which: usize,
        bit: usize,
    },
    /// Data of a member's flow.
    Data {
        member: usize,
    },
    /// A registration under another secret, with a cookie that the relay gave for the attacker's address.
    WrongSecret {
        server: bool,
        member: u8,
    },
}

fn attack() -> impl Strategy<Value = Attack> {
    let member = 0..3_usize;
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200).prop_map(Attack::Garbage),
        (0..6_u8, prop::collection::vec(any::<u8>(), 0..200))
            .prop_map(|(tag, rest)| Attack::Garbage([&[tag], &rest[..]].concat())),
        (member.clone(), any::<usize>()).prop_map(|(member, which)| Attack::FromElsewhere { member, which }),
        (member.clone(), any::<usize>()).prop_map(|(member, which)| Attack::Again { member, which }),
        (member.clone(), any::<usize>(), any::<usize>()).prop_map(|(member, which, bit)| Attack::Changed {
            member,
            which,
            bit
        }),
        member.clone().prop_map(|member| Attack::Data { member }),
        (any::<bool>(), 0..4_u8).prop_map(|(server, member)| Attack::WrongSecret { server, member }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Nothing that an attacker sends is forwarded or moves anybody; members stay connected, while they move themselves.
    #[test]
    fn nobody_without_the_secret_gets_anything_forwarded(
        seed in any::<u64>(),
        rounds in prop::collection::vec((prop::collection::vec(attack(), 0..20), 0..4_usize, 0..5_u64), 1..12),
    ) {
        let mut world = World::new(seed, 2);
        world.pass(2 * SECOND);
        let attacker = address(66, 666);
        for (attacks, moves, seconds) in rounds {
            if moves < 3 {
                world.rebind(moves);
                let flow = world.members[moves.max(1)].registration.flow();
                world.send(moves, &data(flow, 1));
            }
            world.pass(Duration::from_secs(seconds));
            for attack in attacks {
                let sent = |world: &World, member: usize, which: usize| {
                    let sent = &world.members[member].sent;
                    sent[which % sent.len()].clone()
                };
                // Data that is sent again from its own address cannot be told from what the member sends.
                let (from, datagram) = match attack {
                    Attack::Garbage(datagram) => (attacker, datagram),
                    Attack::FromElsewhere { member, which } => (attacker, sent(&world, member, which).1),
                    Attack::Again { member, which } => sent(&world, member, which),
                    Attack::Changed { member, which, bit } => {
                        let (from, mut datagram) = sent(&world, member, which);
                        let bit = bit % (datagram.len() * 8);
                        datagram[bit / 8] ^= 1 << (bit % 8);
                        (from, datagram)
                    }
                    Attack::Data { member } => (attacker, data(world.members[member].registration.flow(), 50)),
                    Attack::WrongSecret { server, member } => {
                        let role = if server { Role::Server } else { Role::Client };
                        let now = world.relay_now();
                        let verdict = register(&mut world.relay, now, 66, 666, wish(role, member), 2);
                        prop_assert!(!is_registered(&verdict) && !matches!(verdict, Verdict::Forward(_)));
                        continue;
                    }
                };
                let verdict = world.handle(from, &datagram);
                if let Verdict::Forward(to) = verdict {
                    prop_assert!(from != attacker && to.address != attacker);
                }
            }
            world.pass(STRAYS_HEEDED);
            prop_assert_eq!((world.relay.clients(), world.relay.servers()), (2, 1));
            prop_assert!(world.is_connected(1) && world.is_connected(2));
        }
    }

    /// Without a member there is nothing to remember, whatever comes.
    #[test]
    fn nothing_is_remembered_without_proof(
        datagrams in prop::collection::vec((0..8_u8, prop::collection::vec(any::<u8>(), 0..150)), 0..100),
    ) {
        let mut world = World::new(0, 0);
        for (tag, rest) in datagrams {
            let verdict = world.handle(address(tag, 1), &[&[tag], &rest[..]].concat());
            prop_assert!(!matches!(verdict, Verdict::Forward(_)));
        }
        prop_assert_eq!((world.relay.clients(), world.relay.servers()), (0, 0));
    }

    /// What a server that has left once sent does not bring it back.
    #[test]
    fn a_server_that_has_left_stays_away(seed in any::<u64>(), seconds in 0..60_u64) {
        let mut world = World::new(seed, 0);
        world.pass(Duration::from_secs(5));
        let farewell = world.members[0].registration.farewell();
        world.send(0, &farewell);
        prop_assert_eq!(world.relay.servers(), 0);
        world.now += Duration::from_secs(seconds);
        for (from, datagram) in std::mem::take(&mut world.members[0].sent) {
            world.handle(from, &datagram);
            prop_assert_eq!(world.relay.servers(), 0);
        }
    }

    /// Minutes of loss, moves on both sides, restarts and long silences; when it is quiet again, all are connected,
    /// as the same flows.
    #[test]
    fn everybody_finds_back(seed in any::<u64>(), loss in 0.0..0.4_f64) {
        let mut world = World::new(seed, 3);
        let flows: Vec<_> = world.members.iter().map(|member| member.registration.flow()).collect();
        for _ in 0..10 {
            world.loss = loss;
            for _ in 0..world.choose(10) {
                if world.chance(0.3) {
                    world.restart_relay();
                }
                let member = world.choose(4);
                world.rebind(member);
                let pause = Duration::from_millis(world.choose(20_000) as u64);
                world.pass(pause);
            }
            world.loss = 0.0;
            // A refresh at the latest, which a silent relay may have made wait.
            world.pass(CLIENT_REFRESH + 3 * SECOND);
            for (client, flow) in flows.iter().enumerate().skip(1) {
                prop_assert!(world.is_connected(client), "{:?}", world.members[client].registration);
                prop_assert_eq!(world.members[client].registration.flow(), *flow);
            }
        }
    }
}

#[test]
fn rooms_come_and_go_and_who_is_in_one_that_stays_is_not_disturbed() {
    let mut relay = Relay::new(vec![room(1), room(2)], LIMITS).unwrap();
    let now = SECOND;
    let in_room = |role, party, number| Register { room: key(number).room(), ..wish(role, party) };
    for number in [1, 2] {
        let server = register(&mut relay, now, 10 + number, 1, in_room(Role::Server, number, number), number);
        assert!(matches!(server, Verdict::Answer(_)));
        register(&mut relay, now, 20 + number, 1, in_room(Role::Client, 20 + number, number), number);
    }
    assert_eq!((relay.servers(), relay.clients()), (2, 2));
    let mut renamed = room(2);
    renamed.name = "renamed".to_owned();
    relay.set_rooms(vec![room(3), renamed]);
    assert_eq!((relay.servers(), relay.clients()), (1, 1));
    let forwarded = |relay: &mut Relay, number: u8| {
        let flow = key(number).flow(Party([20 + number; 16]));
        relay.handle(now, place(address(20 + number, 1)), &data(flow, 100))
    };
    assert_eq!(forwarded(&mut relay, 2), Verdict::Forward(place(address(12, 1))));
    assert!(!matches!(forwarded(&mut relay, 1), Verdict::Forward(_)));
    let gone = register(&mut relay, now, 11, 1, in_room(Role::Server, 1, 1), 1);
    assert_eq!(refused(&gone), Some(RefusedReason::UnknownRoom));
    let new = register(&mut relay, now, 13, 1, in_room(Role::Server, 3, 3), 3);
    assert!(matches!(new, Verdict::Answer(_)));
    assert_eq!(relay.servers(), 2);
}
