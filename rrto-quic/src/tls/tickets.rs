//! The tickets that a client resumes its TLS session with.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;

/// Tickets kept. Each attempt at a connection takes one, and on a link that is down for six seconds so many are made.
const MOST_TICKETS: usize = 96;

/// Tickets of the one server that a [`Link`](crate::Link) has, oldest first. The newest is used first: a server that is
/// short of room has forgotten it last. Each is used once (RFC 8446, appendix C.4).
#[derive(Debug, Default)]
pub(super) struct Tickets {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    tickets: VecDeque<Tls13ClientSessionValue>,
    group: Option<NamedGroup>,
}

impl Tickets {
    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.with(|state| state.group = Some(group));
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.with(|state| state.group)
    }

    // There is no TLS 1.2 in QUIC.
    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        self.with(|state| {
            state.tickets.push_back(ticket);
            if state.tickets.len() > MOST_TICKETS {
                state.tickets.pop_front();
            }
        });
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.with(|state| state.tickets.pop_back())
    }
}
