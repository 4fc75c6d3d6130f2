//! Endpoints on a simulated network in virtual time: minutes of traffic take seconds, and a seed repeats them.
//!
//! ```text
//! simulate(seed, |network| async {..})   one thread, tokio's clock stands still
//!   Host (a System)   sockets of a robot or a server; a robot is behind a symmetric NAT
//!     | datagrams, in no time
//!   Path              the robot's way to everybody: a link (rrto_core::testing::link) up and one down
//!   clock             when nobody has anything to do, goes to the next arrival, to the nanosecond
//! ```
//!
//! quinn and this crate run as they are, on tokio's timers, whose milliseconds they have in life too. A thread that waits would
//! stop the clock: [`AsyncLink`](crate::AsyncLink) and [`Session::next_async`](crate::Session::next_async) take the
//! place of the blocking faces, and [`System::start`](crate::System::start) of a [`Host`] runs its work at once, which
//! may not wait: a gate hands its sessions on to a task.
//!
//! Loss, jitter and fades follow from the seed, and so do quinn's own choices. TLS keys do not, nor does the length of what QUIC
//! greases its handshake with, so two runs are alike, not equal to the microsecond.

mod clock;
mod codec;
mod host;
mod network;
mod pair;

use std::time::Duration;

pub use codec::Codec;
pub use host::Host;
pub use network::{Counts, Network, Path};
pub use pair::{PairConfig, PairServer, write_control};
use rrto_core::testing::link::{Params, Timeline, TimelineError};

/// Runs `body` to its end in virtual time, on a network whose randomness follows from `seed`.
///
/// # Panics
/// If the system has no memory for a runtime.
#[expect(clippy::unwrap_used, reason = "for tests: without a runtime there is nothing to test")]
pub fn simulate<F: Future>(seed: u64, body: impl FnOnce(Network) -> F) -> F::Output {
    let network = Network::new(seed);
    let idle = network.clock.clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .on_thread_park(move || idle.handle_idle())
        .build()
        .unwrap();
    runtime.block_on(async {
        network.start();
        let clock = tokio::spawn(clock::run(network.clone()));
        let output = body(network).await;
        clock.abort();
        output
    })
}

/// A link that never changes: `rtt`, of which each direction has half, and `rate_mbps` (10^6 bits a second, IP and UDP headers
/// included; 0 is unlimited).
pub fn steady(rtt: Duration, rate_mbps: f64) -> Params {
    Params { delay: rtt / 2, rate_bps: (rate_mbps * 1e6) as u64, ..Params::default() }
}

/// A timeline of pieces that last as long as they say; the last one for ever.
///
/// # Errors
/// What is wrong with the pieces.
pub fn script(pieces: &[(Duration, Params)]) -> Result<Timeline, TimelineError> {
    let starts = pieces.iter().scan(Duration::ZERO, |at, (lasts, params)| {
        let from = *at;
        *at += *lasts;
        Some(rrto_core::testing::link::Piece { from, params: *params })
    });
    Timeline::new(&starts.collect::<Vec<_>>(), None, true)
}
