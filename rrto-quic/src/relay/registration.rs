//! A party's side of its registration, without I/O: says what to send when, and takes what the relay answers.

use std::time::{Duration, Instant};

use super::key::RoomKey;
use super::wire::{Answer, Cookie, FlowId, Party, REGISTER_BYTES, RefusedReason, Register, Role};

/// How long a client is not heard of by the relay at most: half of the 30 s after which the most forgetful address
/// translators forget who sent something (RFC 4787, section 4.3, wants two minutes; not all heed it).
pub const CLIENT_REFRESH: Duration = Duration::from_secs(15);

/// Likewise for a server. It may have nothing to send when the relay has been restarted, and its clients wait for it
/// until it has registered again.
pub const SERVER_REFRESH: Duration = Duration::from_secs(2);

/// How soon a client asks again whether the room has a server now.
const SERVER_AWAITED: Duration = Duration::from_secs(1);

/// How soon a registration is sent again that is not answered, at first; then twice as long each time.
const FIRST_RETRY: Duration = Duration::from_millis(100);

/// No wait for an answer is longer.
const MAX_RETRY: Duration = Duration::from_secs(2);

/// How soon a party that was refused asks again.
const REFUSED_RETRY: Duration = Duration::from_secs(2);

/// Strays are answered by registering no more often than this, for anybody can make them up.
const STRAY_PACE: Duration = Duration::from_millis(100);

/// Challenges answered at once after a registration was sent for another reason, likewise. Two: the first may have been
/// forged, or the address have changed between them.
const CHALLENGES_AT_ONCE: u8 = 2;

/// Unanswered registrations after which it is said that the relay does not answer.
const UNANSWERED_BEFORE_SILENT: u32 = 5;

/// How a party stands with the relay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Not heard of yet.
    Unknown,
    /// It forwards, as far as is known.
    Registered {
        /// Whether the room had a server.
        server_present: bool,
    },
    /// It refuses to.
    Refused(RefusedReason),
    /// It answers nothing.
    Silent,
}

/// Keeps one party registered.
///
/// The same message registers, keeps the registration and the address translators on the way alive, moves it to another
/// address, and registers anew with a relay that was restarted: so there is one thing that can go wrong, and it is
/// tried all the time.
///
/// Ask [`Self::poll_transmit`] until it gives nothing, then sleep until [`Self::timeout`]; after
/// [`Self::handle_answer`] both may have changed.
#[derive(Debug)]
pub struct Registration {
    key: RoomKey,
    role: Role,
    party: Party,
    cookie: Cookie,
    standing: Standing,
    /// When to send next.
    due: Instant,
    /// When one was last sent.
    sent: Option<Instant>,
    unanswered: u32,
    /// Challenges answered since a registration was sent for another reason.
    challenges: u8,
    /// The next one answers a challenge.
    challenged: bool,
}

impl Registration {
    /// A party's that has not registered yet, and is to do so at once.
    pub fn new(key: RoomKey, role: Role, party: Party, now: Instant) -> Self {
        Registration {
            key,
            role,
            party,
            cookie: Cookie::NONE,
            standing: Standing::Unknown,
            due: now,
            sent: None,
            unanswered: 0,
            challenges: 0,
            challenged: false,
        }
    }

    /// From now on another relay is asked, or the same one anew.
    pub fn restart(&mut self, now: Instant) {
        self.answered(Standing::Unknown, now);
    }

    /// The number that the party has at the relay, if it is a client.
    pub fn flow(&self) -> FlowId {
        self.key.flow(self.party)
    }

    /// As what it registers.
    pub fn role(&self) -> Role {
        self.role
    }

    /// How the party stands.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// When there is something to send, if nothing else happens before.
    pub fn timeout(&self) -> Instant {
        self.due
    }

    /// What to send to the relay now.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<[u8; REGISTER_BYTES]> {
        if now < self.due {
            return None;
        }
        if !std::mem::take(&mut self.challenged) {
            self.challenges = 0;
        }
        self.unanswered = self.unanswered.saturating_add(1);
        if self.unanswered > UNANSWERED_BEFORE_SILENT {
            self.standing = Standing::Silent;
        }
        let doublings = self.unanswered.saturating_sub(1).min(16);
        self.due = now + FIRST_RETRY.saturating_mul(1 << doublings).min(MAX_RETRY);
        self.sent = Some(now);
        Some(self.register(false))
    }

    /// What to send last.
    pub fn farewell(&self) -> [u8; REGISTER_BYTES] {
        self.register(true)
    }

    /// Takes a datagram that came from the relay's address and is no data.
    pub fn handle_answer(&mut self, now: Instant, datagram: &[u8]) {
        match Answer::decode(datagram, &self.key) {
            Some(Answer::Challenge { party, cookie }) if party == self.party => {
                self.cookie = cookie;
                if self.challenges < CHALLENGES_AT_ONCE {
                    self.challenges += 1;
                    self.challenged = true;
                    self.due = now;
                }
            }
            Some(Answer::Registered { party, server_present, cookie }) if party == self.party => {
                self.cookie = cookie;
                let refresh = match (self.role, server_present) {
                    (Role::Server, _) => SERVER_REFRESH,
                    (Role::Client, true) => CLIENT_REFRESH,
                    (Role::Client, false) => SERVER_AWAITED,
                };
                self.answered(Standing::Registered { server_present }, now + refresh);
            }
            Some(Answer::Refused { party, reason }) if party == self.party => {
                self.answered(Standing::Refused(reason), now + REFUSED_RETRY);
            }
            // The server's flows are many, and it costs little to believe this.
            Some(Answer::Stray { flow }) if self.role == Role::Server || flow == self.flow() => {
                let soonest = self.sent.map_or(now, |sent| now.max(sent + STRAY_PACE));
                self.due = self.due.min(soonest);
            }
            _ => {}
        }
    }

    fn answered(&mut self, standing: Standing, due: Instant) {
        self.standing = standing;
        self.due = due;
        self.unanswered = 0;
        self.challenged = false;
    }

    fn register(&self, leaving: bool) -> [u8; REGISTER_BYTES] {
        let room = self.key.room();
        let register = Register { role: self.role, leaving, party: self.party, room, cookie: self.cookie };
        register.encode(&self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::Request;
    use super::*;

    const PARTY: Party = Party([5; 16]);

    fn registration(role: Role) -> (Registration, RoomKey, Instant) {
        let (key, now) = (RoomKey::new(&[1; 32]), Instant::now());
        (Registration::new(key.clone(), role, PARTY, now), key, now)
    }

    fn sent(registration: &mut Registration, now: Instant) -> Option<Register> {
        match Request::decode(&registration.poll_transmit(now)?) {
            Some(Request::Register(register)) => Some(register),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_challenge_is_answered_at_once_and_a_registration_is_refreshed() {
        for (role, present, refresh) in [
            (Role::Server, true, SERVER_REFRESH),
            (Role::Client, true, CLIENT_REFRESH),
            (Role::Client, false, SERVER_AWAITED),
        ] {
            let (mut registration, key, now) = registration(role);
            assert_eq!(sent(&mut registration, now).unwrap().cookie, Cookie::NONE);
            assert_eq!(sent(&mut registration, now), None);
            let cookie = Cookie([9; 40]);
            registration.handle_answer(now, &Answer::Challenge { party: PARTY, cookie }.encode(None));
            assert_eq!(sent(&mut registration, now).unwrap().cookie, cookie);
            let cookie = Cookie([10; 40]);
            let registered = Answer::Registered { party: PARTY, server_present: present, cookie };
            registration.handle_answer(now, &registered.encode(Some(&key)));
            assert_eq!(registration.standing(), Standing::Registered { server_present: present });
            assert_eq!(registration.timeout(), now + refresh);
            assert_eq!(sent(&mut registration, now + refresh).unwrap().cookie, cookie);
        }
    }

    #[test]
    fn a_silent_relay_is_asked_less_and_less_often_and_for_ever() {
        let (mut registration, _, start) = registration(Role::Client);
        let mut gaps = Vec::new();
        for _ in 0..10 {
            let now = registration.timeout();
            assert!(sent(&mut registration, now).is_some());
            gaps.push((registration.timeout() - now).as_millis());
        }
        assert_eq!(gaps, [100, 200, 400, 800, 1600, 2000, 2000, 2000, 2000, 2000]);
        assert_eq!(registration.standing(), Standing::Silent);
        assert!(registration.timeout() < start + Duration::from_secs(20));
    }

    #[test]
    fn what_others_make_up_costs_little() {
        let (mut registration, key, start) = registration(Role::Client);
        let registered = Answer::Registered { party: PARTY, server_present: true, cookie: Cookie([1; 40]) };
        assert!(sent(&mut registration, start).is_some());
        registration.handle_answer(start, &registered.encode(Some(&key)));
        let lies = [
            Answer::Stray { flow: registration.flow() }.encode(None),
            Answer::Challenge { party: PARTY, cookie: Cookie([2; 40]) }.encode(None),
        ];
        let mut count = 0;
        for ms in 0..1000 {
            for lie in &lies {
                registration.handle_answer(start + Duration::from_millis(ms), lie);
                count += u32::from(sent(&mut registration, start + Duration::from_millis(ms)).is_some());
            }
        }
        assert!(count <= 10 * (1 + u32::from(CHALLENGES_AT_ONCE)), "{count}");
        // Not one's own flow, not oneself, or not proven: nothing.
        let before = registration.timeout();
        let other = Party([6; 16]);
        for nothing in [
            Answer::Stray { flow: key.flow(other) }.encode(None),
            Answer::Refused { party: other, reason: RefusedReason::Full }.encode(None),
            registered.encode(Some(&RoomKey::new(&[2; 32]))),
        ] {
            registration.handle_answer(start, &nothing);
            assert_eq!(registration.timeout(), before);
        }
    }
}
