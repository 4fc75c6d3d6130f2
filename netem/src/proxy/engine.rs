//! The thread that moves datagrams.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::flows::{FlowId, Flows};
use super::kernel::Drops;
use super::port::{Inbox, Origin, Port};
use super::stats::{Stats, WayStats};
use super::{Config, MAX_HELD_BYTES};
use crate::link::{Direction, Verdict, Way};
use crate::script::Roam;

/// The most batches taken from one socket before others, and what is due, have their turn.
const BATCHES_A_TURN: usize = 4;

/// How often silent clients are looked for, and the longest sleep.
const HOUSEKEEPING_EVERY: Duration = Duration::from_secs(1);

/// The kernel may wake a thread this much late to save power (50 µs by default): as little as it can.
const TIMER_SLACK_NS: u64 = 1;

/// So long after something has moved, and before something is due, the thread does not sleep: it would be back 50 to 100 us late on
/// a virtual machine, at each datagram's coming and at its going, and a link of 2 ms would be one of 2.5.
const AWAKE: Duration = Duration::from_millis(10);

/// With fewer processors it does sleep: they belong to what is measured.
const MIN_CORES_AWAKE: usize = 6;

/// What one datagram costs beside its bytes, in memory, roughly: so that empty ones are bounded too.
const HELD_OVERHEAD_BYTES: usize = 256;

/// A datagram on its way. Ordered by due time, then by arrival; the two are unique.
struct Held {
    due: Duration,
    number: u64,
    flow: FlowId,
    origin: Origin,
    payload: Box<[u8]>,
}

impl Ord for Held {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Held {}

/// One direction: the model, what it holds, and its counters.
struct Lane {
    model: Direction,
    held: BinaryHeap<Reverse<Held>>,
    held_bytes: usize,
    next_number: u64,
    stats: WayStats,
}

impl Lane {
    fn new(config: &Config, way: Way) -> Self {
        Self {
            model: Direction::new(config.scenario.timeline(way).clone(), config.seed, way)
                .shared_with(config.scenario.cross()),
            held: BinaryHeap::new(),
            held_bytes: 0,
            next_number: 0,
            stats: WayStats::default(),
        }
    }

    fn take(&mut self, now: Duration, flow: FlowId, origin: Origin, payload: &[u8]) {
        self.stats.count_sent(payload.len());
        let cost = payload.len() + HELD_OVERHEAD_BYTES;
        if self.held_bytes + cost > MAX_HELD_BYTES {
            self.stats.dropped.held_too_much += 1;
            return;
        }
        match self.model.enqueue(now, payload.len()) {
            Verdict::Dropped(reason) => self.stats.dropped.count(reason),
            Verdict::Deliver { at } => {
                let number = self.next_number;
                self.next_number += 1;
                self.held_bytes += cost;
                self.held.push(Reverse(Held { due: at, number, flow, origin, payload: payload.into() }));
            }
        }
    }

    fn next_due(&self) -> Option<Duration> {
        self.held.peek().map(|Reverse(held)| held.due)
    }

    /// The next datagram, if it is due and `fits`.
    fn pop_due(&mut self, now: Duration, fits: impl FnOnce(&Held) -> bool) -> Option<Held> {
        let Reverse(next) = self.held.peek()?;
        if next.due > now || !fits(next) {
            return None;
        }
        let Reverse(held) = self.held.pop()?;
        self.held_bytes -= held.payload.len() + HELD_OVERHEAD_BYTES;
        Some(held)
    }

    /// Sends all that is due. `route` finds the socket and the address for a flow.
    fn flush<'a>(
        &mut self,
        now: Duration,
        batch: &mut Vec<u8>,
        route: impl Fn(FlowId, &mut Origin) -> Option<(&'a Port, SocketAddr)>,
    ) {
        while let Some(first) = self.pop_due(now, |_| true) {
            let mut origin = first.origin;
            let Some((port, to)) = route(first.flow, &mut origin) else {
                self.stats.dropped.not_sent += 1;
                continue;
            };
            let size = first.payload.len();
            batch.clear();
            batch.extend_from_slice(&first.payload);
            let (mut count, mut late, mut last_size) = (1, now.saturating_sub(first.due), size);
            while let Some(next) = self.pop_due(now, |next| {
                last_size == size
                    && port.batches(size, count)
                    && next.flow == first.flow
                    && next.origin.ecn == first.origin.ecn
                    && (1..=size).contains(&next.payload.len())
            }) {
                batch.extend_from_slice(&next.payload);
                count += 1;
                last_size = next.payload.len();
                late = late.max(now.saturating_sub(next.due));
            }
            match port.send(batch, size, &origin, to) {
                Ok(()) => self.stats.count_delivered(count, batch.len(), late),
                Err(_) => self.stats.dropped.not_sent += count as u64,
            }
        }
    }
}

/// All that the thread owns.
pub(super) struct Engine {
    to: SocketAddr,
    idle_timeout: Duration,
    listen: Port,
    flows: Flows,
    /// Those that are still to come, in order of time.
    roams: VecDeque<Roam>,
    up: Lane,
    down: Lane,
    ended: UnixStream,
    started_at: Instant,
    /// How long it stays awake before and after something moves.
    awake: Duration,
    /// When something came last.
    moved_at: Duration,
    shared: Arc<Mutex<Stats>>,
    inbox: Inbox,
    batch: Vec<u8>,
}

impl Engine {
    pub(super) fn new(
        config: Config,
        socket: UdpSocket,
        ended: UnixStream,
        started_at: Instant,
        shared: Arc<Mutex<Stats>>,
    ) -> io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            to: config.to,
            idle_timeout: config.idle_timeout,
            listen: Port::new(socket)?,
            flows: Flows::new(config.to),
            roams: config.scenario.roams().iter().copied().collect(),
            up: Lane::new(&config, Way::Up),
            down: Lane::new(&config, Way::Down),
            ended,
            started_at,
            awake: if cores < MIN_CORES_AWAKE { Duration::ZERO } else { AWAKE },
            moved_at: Duration::ZERO,
            shared,
            inbox: Inbox::new(),
            batch: Vec::new(),
        })
    }

    /// Moves datagrams until the proxy is dropped.
    pub(super) fn run(mut self) {
        // Where the kernel refuses, wake-ups are 50 µs later.
        #[cfg(target_os = "linux")]
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(TIMER_SLACK_NS));
        let mut housekeeping_at = HOUSEKEEPING_EVERY;
        while let Some(ready) = self.wait(housekeeping_at) {
            self.roam();
            if ready.listen || !ready.flows.is_empty() {
                self.moved_at = self.now();
            }
            if ready.listen {
                self.receive_up();
            }
            for flow in ready.flows {
                self.receive_down(flow);
            }
            self.flush();
            self.publish();
            let now = self.now();
            if now >= housekeeping_at {
                self.flows.expire(now, self.idle_timeout);
                self.count_kernel_drops();
                housekeeping_at = now + HOUSEKEEPING_EVERY;
            }
        }
        self.count_kernel_drops();
        self.publish();
    }

    fn now(&self) -> Duration {
        self.started_at.elapsed()
    }

    /// Sleeps until something arrives or is due, at the latest at `until`. `None` means the end.
    fn wait(&self, until: Duration) -> Option<Ready> {
        let mut ids = Vec::new();
        let mut fds = vec![PollFd::new(&self.ended, PollFlags::IN), PollFd::new(&self.listen, PollFlags::IN)];
        for (id, flow) in self.flows.iter() {
            ids.push(id);
            fds.push(PollFd::new(&flow.upstream, PollFlags::IN));
        }
        let roam = self.roams.front().map(|roam| roam.at);
        let due = [self.up.next_due(), self.down.next_due(), roam, Some(until)].into_iter().flatten().min();
        let due = due.unwrap_or(until);
        loop {
            let now = self.now();
            let is_awake = now < self.moved_at + self.awake;
            let sleep = if is_awake { Duration::ZERO } else { due.saturating_sub(now + self.awake) };
            // Both casts hold: the sleep is a second at most.
            let timeout = Timespec { tv_sec: sleep.as_secs() as _, tv_nsec: sleep.subsec_nanos() as _ };
            // An interrupted poll reports nothing, as one that timed out.
            let arrived = poll(&mut fds, Some(&timeout)).unwrap_or(0);
            if arrived > 0 || self.now() >= due {
                break;
            }
        }
        let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
        if ready.next() == Some(true) {
            return None;
        }
        let listen = ready.next() == Some(true);
        let flows = ids.into_iter().zip(ready).filter(|&(_, ready)| ready).map(|(id, _)| id).collect();
        Some(Ready { listen, flows })
    }

    /// Makes the changes of address that are due.
    fn roam(&mut self) {
        let now = self.now();
        while self.roams.front().is_some_and(|roam| roam.at <= now)
            && let Some(roam) = self.roams.pop_front()
        {
            self.flows.roam(roam.change);
        }
    }

    fn receive_up(&mut self) {
        for _ in 0..BATCHES_A_TURN {
            let now = self.now();
            let Self { listen, inbox, flows, up, .. } = self;
            let more =
                listen.receive(inbox, |origin, payload| match flows.of(origin.from, origin.to_ip, now) {
                    Ok(flow) => up.take(now, flow, Origin { to_ip: None, ..*origin }, payload),
                    Err(_) => {
                        // No socket to be had: this datagram is lost, the next may fare better.
                        up.stats.count_sent(payload.len());
                        up.stats.dropped.not_sent += 1;
                    }
                });
            if !more {
                return;
            }
        }
    }

    fn receive_down(&mut self, id: FlowId) {
        for _ in 0..BATCHES_A_TURN {
            let now = self.now();
            let Self { inbox, flows, down, to, .. } = self;
            let Some(flow) = flows.get(id) else { return };
            let mut from_server = false;
            let more = flow.upstream.receive(inbox, |origin, payload| {
                // Only the server may answer: anything else on this port is not the link's.
                if origin.from == *to {
                    from_server = true;
                    down.take(now, id, *origin, payload);
                }
            });
            if from_server {
                flows.touch(id, now);
            }
            if !more {
                return;
            }
        }
    }

    fn flush(&mut self) {
        let now = self.now();
        let Self { listen, flows, up, down, to, batch, .. } = self;
        up.flush(now, batch, |id, _| flows.get(id).map(|flow| (&flow.upstream, *to)));
        down.flush(now, batch, |id, origin| {
            let flow = flows.get(id)?;
            origin.to_ip = flow.local_ip;
            Some((&*listen, flow.client))
        });
    }

    fn count_kernel_drops(&mut self) {
        let drops = Drops::read();
        self.up.stats.lost_before = drops.of(&self.listen);
        self.down.stats.lost_before = self.flows.kernel_drops(&drops);
    }

    fn publish(&mut self) {
        let now = self.now();
        for lane in [&mut self.up, &mut self.down] {
            // Others' traffic is computed as far as somebody asks.
            lane.model.queued_bytes(now);
            lane.stats.others_bytes = lane.model.others_bytes();
        }
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.clients = self.flows.seen();
        shared.clients_evicted = self.flows.evicted;
        shared.roams = self.flows.roams;
        shared.roams_failed = self.flows.roams_failed;
        shared.up.clone_from(&self.up.stats);
        shared.down.clone_from(&self.down.stats);
    }
}

/// What can be received.
struct Ready {
    listen: bool,
    flows: Vec<FlowId>,
}
