//! How many lines of a kind are logged.
//!
//! Anybody can send datagrams, in anybody's name, and each may be worth a line: so of each kind, which is a place in the program,
//! so many lines are logged in a time, and the others are summed up, with how many addresses they were from. Memory is bounded:
//! there are as many kinds as places that log, and of the addresses of each only so many are told apart.

use std::collections::{HashMap, HashSet};
use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rrto_quic::source_of;
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{self, Context};

use super::writer::Writer;
use super::{count_lost, line};

/// Lines of a kind are counted for so long..
pub(super) const WINDOW: Duration = Duration::from_secs(10);

/// ..and of what anybody can cause, so many are logged in it..
pub(super) const LINES: u32 = 20;

/// ..and so many of what names a session: only who has a certificate has one.
const SESSION_LINES: u32 = 200;

/// Addresses that are told apart.
pub(super) const MOST_ADDRESSES: usize = 1024;

/// Characters of the text that a sum quotes.
const QUOTED: usize = 160;

/// All kinds.
#[derive(Debug)]
pub(super) struct Limiter {
    started: Instant,
    kinds: Mutex<HashMap<Identifier, Kind>>,
}

#[derive(Debug)]
pub(super) struct Kind {
    since: Instant,
    most: u32,
    logged: u32,
    more: u64,
    addresses: HashSet<IpAddr>,
    level: Level,
    /// Of the latest one that was left out.
    text: String,
}

impl Kind {
    pub(super) fn new(now: Instant, most: u32, level: Level) -> Self {
        Kind { since: now, most, logged: 0, more: 0, addresses: HashSet::new(), level, text: String::new() }
    }

    /// The sum of what was left out, once its time is over, or at once; counts anew then.
    pub(super) fn poll_sum(&mut self, now: Instant, at_once: bool) -> Option<Vec<u8>> {
        if now.saturating_duration_since(self.since) < WINDOW && !(at_once && self.more > 0) {
            return None;
        }
        let ended = std::mem::replace(self, Kind::new(now, self.most, self.level));
        (ended.more > 0).then(|| ended.sum(now))
    }

    fn sum(&self, now: Instant) -> Vec<u8> {
        let from = match self.addresses.len() {
            0 => String::new(),
            1 => " from 1 address".to_owned(),
            MOST_ADDRESSES => format!(" from {} addresses or more", grouped(MOST_ADDRESSES as u64)),
            several => format!(" from {} addresses", grouped(several as u64)),
        };
        let more = grouped(self.more);
        let seconds = now.saturating_duration_since(self.since).as_secs();
        let text = format_args!("and {more} more{from} in {seconds} s, the last one: {}", self.text);
        line(self.level.as_str(), text)
    }

    /// Whether another line may be logged.
    pub(super) fn has_room(&mut self) -> bool {
        let has_room = self.logged < self.most;
        self.logged += u32::from(has_room);
        has_room
    }

    /// Counts a line that is not logged.
    pub(super) fn leave_out(&mut self, text: String, peer: Option<IpAddr>) {
        self.more += 1;
        self.text = text;
        if self.addresses.len() < MOST_ADDRESSES {
            self.addresses.extend(peer);
        }
    }
}

impl Limiter {
    pub(super) fn new(now: Instant) -> Self {
        Limiter { started: now, kinds: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Identifier, Kind>> {
        // Counts that a panic leaves behind are worth no less than others.
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The sums of what was left out and has not been told: where the time is over, or all of them at once.
    pub(super) fn poll_sums(&self, now: Instant, at_once: bool) -> Vec<Vec<u8>> {
        self.lock().values_mut().filter_map(|kind| kind.poll_sum(now, at_once)).collect()
    }
}

/// Details for developers are logged without a limit, unless strangers cause them: then they name a peer, or come from the
/// libraries below.
fn is_limited(metadata: &Metadata<'_>) -> bool {
    let is_detail = *metadata.level() > Level::INFO;
    !is_detail || metadata.fields().field("peer").is_some() || !metadata.target().starts_with("rrto_")
}

/// Has events pass as far as their kind allows.
pub(super) struct Filter {
    pub(super) limiter: Arc<Limiter>,
    pub(super) writer: Writer,
}

impl<S: Subscriber> layer::Filter<S> for Filter {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if !is_limited(metadata) {
            return true;
        }
        let now = Instant::now();
        let mut kinds = self.limiter.lock();
        let most = if metadata.fields().field("session").is_some() { SESSION_LINES } else { LINES };
        let kind = kinds
            .entry(metadata.callsite())
            .or_insert_with(|| Kind::new(self.limiter.started, most, *metadata.level()));
        let sum = kind.poll_sum(now, false);
        let has_room = kind.has_room();
        if !has_room {
            let mut seen = Seen::default();
            event.record(&mut seen);
            kind.leave_out(seen.text, seen.peer);
        }
        drop(kinds);
        if let Some(sum) = sum {
            self.writer.line(sum);
        }
        if !has_room {
            count_lost("summed", 1);
        }
        has_room
    }
}

/// What a sum says of an event.
#[derive(Default)]
struct Seen {
    text: String,
    peer: Option<IpAddr>,
}

impl Visit for Seen {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => {
                let _ = write!(Cut(&mut self.text), "{value:?}");
            }
            "peer" => {
                let mut text = String::new();
                let _ = write!(Cut(&mut text), "{value:?}");
                self.peer = text.parse().ok().map(source_of);
            }
            _ => {}
        }
    }
}

/// A text that takes no more than is quoted of it.
struct Cut<'a>(&'a mut String);

impl fmt::Write for Cut<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = QUOTED.saturating_sub(self.0.chars().count());
        self.0.extend(text.chars().take(room));
        Ok(())
    }
}

/// A number as people write it.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
