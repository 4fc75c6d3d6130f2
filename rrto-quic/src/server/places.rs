//! How many connections there may be, who of them stands behind somebody, and who gives way.
//!
//! A connection has its place from its first packet on, which anybody can send, also in another's name, and keeps it for
//! seconds though nothing follows: it was made up, or the first flight of a robot that was captured and is sent again. Until its
//! client has shown a certificate it is a *handshake*, and of those:
//!
//! - there are at most half as many as places, so that no stranger is in the way of robots that are there;
//! - when half of that is taken, whoever wants another one has to show that it gets what is sent to its address (a Retry; RFC 9000,
//!   sections 8.1.2 and 21.2). That costs a round trip, so it is not asked of robots as long as there is room;
//! - an address may have so many of them, and a quarter is kept for addresses from which a robot came lately, as it does when it
//!   resumes its session or starts its next program;
//! - who is over a bound does not wait for others to be done: the oldest unfinished one gives way to it. A robot's handshake
//!   is over within a round trip or two; to be in its way, a stranger has to begin that many again in each of them, from many
//!   addresses that it has.
//!
//! Of the others, one robot may have half: beyond that its own oldest gives way.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::Counted;

/// This share of the places is for handshakes, and of those this share may be had by who has not shown its address, and by one
/// address.
const HALF: usize = 2;

/// This share of the places for handshakes is for addresses from which robots came.
const QUARTER: usize = 4;

/// Addresses that are remembered of a robot: it may be on some networks at a time, and have some programs on each.
const ADDRESSES_OF_A_ROBOT: usize = 8;

/// Addresses that are remembered.
const MOST_ADDRESSES: usize = 1024;

/// Tells what has happened.
pub(super) type Count = Box<dyn Fn(Counted) + Send + Sync>;

/// All connections of a listener.
pub(super) struct Places {
    most: usize,
    count: Count,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    taken: u64,
    /// Oldest first, as all lists here.
    handshakes: Vec<Holder>,
    proven: Vec<(String, Holder)>,
    /// From where robots came.
    known: VecDeque<(String, IpAddr)>,
}

struct Holder {
    number: u64,
    source: IpAddr,
    /// A robot came from there.
    is_known: bool,
    gives_way: Arc<Notify>,
}

/// One of the connections that may be open, given back on drop.
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
    source: IpAddr,
    gives_way: Arc<Notify>,
}

/// Why there is no place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Denied {
    /// The client has to show that its address is its own.
    Unshown,
    /// Robots have them all.
    Full,
}

impl Places {
    pub(super) fn new(most: u32, count: Count) -> Self {
        Places { most: most as usize, count, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No state is half changed where a panic could come from.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a client at `source`, which may be shown to be its own.
    pub(super) fn take(self: &Arc<Self>, source: IpAddr, is_shown: bool) -> Result<Place, Denied> {
        let most = self.most.div_ceil(HALF);
        let mut state = self.lock();
        let is_known = state.known.iter().any(|(_, known)| *known == source);
        let full = state.handshakes.len() + state.proven.len() >= self.most;
        if full && state.handshakes.is_empty() {
            (self.count)(Counted::Full);
            return Err(Denied::Full);
        }
        let in_the_way = state.in_the_way(source, is_known, most, full);
        if !is_shown && (in_the_way.is_some() || state.handshakes.len() >= most.div_ceil(HALF)) {
            (self.count)(Counted::AddressAsked);
            return Err(Denied::Unshown);
        }
        if let Some(at) = in_the_way {
            state.handshakes.remove(at).gives_way.notify_one();
            (self.count)(Counted::HandshakeGaveWay);
        }
        state.taken += 1;
        let (number, gives_way) = (state.taken, Arc::new(Notify::new()));
        state.handshakes.push(Holder { number, source, is_known, gives_way: gives_way.clone() });
        Ok(Place { places: self.clone(), number, source, gives_way })
    }
}

impl State {
    /// Which handshake has to give way for another one from `source`, if one has to.
    fn in_the_way(&self, source: IpAddr, is_known: bool, most: usize, full: bool) -> Option<usize> {
        let count = |is: &dyn Fn(&Holder) -> bool| self.handshakes.iter().filter(|holder| is(holder)).count();
        let oldest = |is: &dyn Fn(&Holder) -> bool| self.handshakes.iter().position(is);
        let is_of_source = |holder: &Holder| holder.source == source;
        let is_stranger = |holder: &Holder| !holder.is_known;
        let share = most.div_ceil(if is_known { HALF } else { QUARTER });
        if count(&is_of_source) >= share {
            oldest(&is_of_source)
        } else if !is_known && count(&is_stranger) >= most - most / QUARTER {
            oldest(&is_stranger)
        } else if full || self.handshakes.len() >= most {
            oldest(&is_stranger).or(Some(0))
        } else {
            None
        }
    }

    fn note_known(&mut self, robot: &str, source: IpAddr) {
        self.known.retain(|(of, at)| of != robot || *at != source);
        self.known.push_back((robot.to_owned(), source));
        if self.known.iter().filter(|(of, _)| of == robot).count() > ADDRESSES_OF_A_ROBOT
            && let Some(oldest) = self.known.iter().position(|(of, _)| of == robot)
        {
            self.known.remove(oldest);
        }
        if self.known.len() > MOST_ADDRESSES {
            self.known.pop_front();
        }
    }
}

impl Place {
    /// The handshake is over: `robot` has a certificate, and is there. Whether it still had the place.
    pub(super) fn prove(&self, robot: &str) -> bool {
        let mut state = self.places.lock();
        let Some(at) = state.handshakes.iter().position(|holder| holder.number == self.number) else {
            return state.proven.iter().any(|(_, holder)| holder.number == self.number);
        };
        let holder = state.handshakes.remove(at);
        state.proven.push((robot.to_owned(), holder));
        state.note_known(robot, self.source);
        let share = self.places.most.div_ceil(HALF);
        if state.proven.iter().filter(|(of, _)| of == robot).count() > share
            && let Some(oldest) = state.proven.iter().position(|(of, _)| of == robot)
        {
            state.proven.remove(oldest).1.gives_way.notify_one();
            (self.places.count)(Counted::ConnectionGaveWay);
        }
        true
    }

    /// Is notified when the place is another's.
    pub(super) fn gives_way(&self) -> Arc<Notify> {
        self.gives_way.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.places.lock();
        state.handshakes.retain(|holder| holder.number != self.number);
        state.proven.retain(|(_, holder)| holder.number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    fn places(most: u32) -> Arc<Places> {
        Arc::new(Places::new(most, Box::new(|_| {})))
    }

    fn address(number: u32) -> IpAddr {
        Ipv4Addr::from(number).into()
    }

    fn has_place(place: &Place) -> bool {
        let state = place.places.lock();
        let mut numbers = state.handshakes.iter().chain(state.proven.iter().map(|(_, holder)| holder));
        numbers.any(|holder| holder.number == place.number)
    }

    #[test]
    fn an_address_is_asked_for_while_half_of_the_handshakes_are_there() {
        let places = places(16);
        let taken: Vec<_> = (0..4).map(|number| places.take(address(number), false).ok().unwrap()).collect();
        assert_eq!(places.take(address(9), false).err(), Some(Denied::Unshown));
        assert!(places.take(address(9), true).is_ok());
        taken.iter().for_each(|place| assert!(has_place(place)));
        assert!(taken[0].prove("robot") && taken[1].prove("robot"));
        assert!(places.take(address(9), false).is_ok());
    }

    #[test]
    fn strangers_give_way_to_each_other_and_to_robots_and_robots_to_none_of_them() {
        let places = places(48);
        let robot = places.take(address(1), true).ok().unwrap();
        assert!(robot.prove("robot"));
        // As many as it likes, from one address: no other one notices.
        let other = places.take(address(2), true).ok().unwrap();
        let greedy: Vec<_> = (0..500).map(|_| places.take(address(3), true).ok().unwrap()).collect();
        assert_eq!(greedy.iter().filter(|place| has_place(place)).count(), 6);
        assert!(has_place(greedy.last().unwrap()) && has_place(&other));
        // From many: the robot's address still has its places.
        let many: Vec<_> = (10..500).map(|number| places.take(address(number), true).ok().unwrap()).collect();
        assert!(has_place(many.last().unwrap()) && !has_place(&other));
        let resumed: Vec<_> = (0..6).map(|_| places.take(address(1), true).ok().unwrap()).collect();
        let _more: Vec<_> =
            (500..900).map(|number| places.take(address(number), true).ok().unwrap()).collect();
        assert!(resumed.iter().all(has_place) && has_place(&robot));
    }

    #[test]
    fn a_robot_has_half_of_the_connections() {
        let places = places(8);
        let of = |robot: &str, number| {
            let place = places.take(address(number), true).ok().unwrap();
            assert!(place.prove(robot));
            place
        };
        let greedy: Vec<_> = (0..9).map(|number| of("greedy", number)).collect();
        assert_eq!(greedy.iter().map(has_place).collect::<Vec<_>>()[4..], [false, true, true, true, true]);
        let modest: Vec<_> = (0..4).map(|number| of("modest", number)).collect();
        assert!(modest.iter().all(has_place));
        assert_eq!(places.take(address(1), true).err(), Some(Denied::Full));
        drop(greedy);
        assert!(places.take(address(1), true).is_ok());
    }

    proptest! {
        #[test]
        fn there_are_never_more_than_there_may_be(
            most in 1_u32..40,
            steps in prop::collection::vec((0_u32..12, any::<bool>(), 0_u8..4), 1..300),
        ) {
            let places = places(most);
            let mut held = Vec::new();
            for (number, is_shown, what) in steps {
                match what {
                    0 if !held.is_empty() => drop(held.swap_remove(number as usize % held.len())),
                    1 if !held.is_empty() => {
                        let place: &Place = &held[number as usize % held.len()];
                        let had = has_place(place);
                        prop_assert_eq!(place.prove(if is_shown { "one" } else { "other" }), had);
                    }
                    _ => held.extend(places.take(address(number), is_shown)),
                }
                let state = places.lock();
                prop_assert!(state.handshakes.len() + state.proven.len() <= most as usize);
                prop_assert!(state.handshakes.len() <= most.div_ceil(2) as usize);
            }
            drop(held);
            let state = places.lock();
            prop_assert!(state.handshakes.is_empty() && state.proven.is_empty());
        }
    }
}
