//! How many connections there may be, and how many of them nobody may stand behind.
//!
//! A connection has its place from its first packet on, which anybody can send, also in another's name, and which keeps the place for
//! seconds though nothing follows it: one that was made up, or the first flight of a robot that was captured and is sent again. So
//! when half of the places are taken by handshakes that are not over, whoever wants another one has to show that it gets
//! what is sent to its address. That costs a round trip, so it is not asked of robots as long as there is room.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// This share of the places is for handshakes whose clients have shown nothing yet: half of them.
const UNPROVEN_SHARE: u32 = 2;

/// All connections of a listener.
#[derive(Debug)]
pub(super) struct Places {
    most: u32,
    open: AtomicU32,
    /// Those whose handshake is not over.
    unproven: AtomicU32,
}

/// One of the connections that may be open, given back on drop.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    is_proven: bool,
}

impl Places {
    pub(super) fn new(most: u32) -> Self {
        Places { most, open: AtomicU32::new(0), unproven: AtomicU32::new(0) }
    }

    /// Whether too many of them are taken by handshakes.
    pub(super) fn are_scarce(&self) -> bool {
        self.unproven.load(Ordering::Relaxed) >= self.most.div_ceil(UNPROVEN_SHARE)
    }

    /// One of them, if one is free. They are taken one after the other, by the listener.
    pub(super) fn take(self: &Arc<Self>) -> Option<Place> {
        if self.open.load(Ordering::Relaxed) >= self.most {
            return None;
        }
        self.open.fetch_add(1, Ordering::Relaxed);
        self.unproven.fetch_add(1, Ordering::Relaxed);
        Some(Place { places: self.clone(), is_proven: false })
    }
}

impl Place {
    /// The handshake is over: the client has a certificate, and is there.
    pub(super) fn prove(&mut self) {
        if !std::mem::replace(&mut self.is_proven, true) {
            self.places.unproven.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.prove();
        self.places.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_scarce_while_half_of_them_are_for_handshakes() {
        let places = Arc::new(Places::new(5));
        let mut taken: Vec<_> = (0..3).filter_map(|_| places.take()).collect();
        assert!(places.are_scarce());
        taken[0].prove();
        taken[0].prove();
        assert!(!places.are_scarce());
        taken.extend(places.take());
        assert!(places.are_scarce());
        taken.truncate(2);
        assert!(!places.are_scarce());
        taken.extend((0..9).filter_map(|_| places.take()));
        assert_eq!(taken.len(), 5);
        drop(taken);
        assert!(!places.are_scarce() && places.take().is_some());
    }
}
