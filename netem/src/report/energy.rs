//! What an inference costs the robot, by the power model of the RRTO and Intra-DP drafts (their tables "Power (Watt) of our robot
//! in different states", measured on a Jetson Xavier NX; motors not included).
//!
//! ```text
//! E = 13.35 W x computing + 4.25 W x communicating + 4.04 W x standing by
//!
//! computing      what the program's process computes in the inference (its own work, and RRTO's in it)
//! standing by    while the server's GPU is at work and nothing travels, as far as the process does not compute meanwhile
//! communicating  the rest of the latency: something travels, or is lost and waited for
//! ```
//!
//! 13.35 W is with the robot's CPU and GPU busy. An offloaded inference leaves its GPU alone, so this is too much rather than too
//! little for it. Energy between inferences is not an inference's.

use crate::run::Sample;

/// The robot computes with all it has.
pub const COMPUTING_W: f64 = 13.35;

/// The robot communicates with the server.
pub const COMMUNICATING_W: f64 = 4.25;

/// The robot has nothing to do and must be ready.
pub const STANDING_BY_W: f64 = 4.04;

/// The energy of an inference in mJ. `device_ms` is what the server's GPU takes for it; 0 if that is not known.
pub fn energy_mj(sample: &Sample, device_ms: f64) -> f64 {
    let computing = sample.cpu_ms.unwrap_or(0.0).min(sample.latency_ms);
    let standing_by = device_ms.min(sample.latency_ms - computing);
    let communicating = sample.latency_ms - computing - standing_by;
    COMPUTING_W * computing + STANDING_BY_W * standing_by + COMMUNICATING_W * communicating
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_millisecond_is_counted_once() {
        let sample = |latency_ms, cpu_ms| Sample { at_s: 0.0, latency_ms, cpu_ms: Some(cpu_ms) };
        assert_eq!(energy_mj(&sample(10.0, 0.0), 0.0), 42.5);
        assert_eq!(energy_mj(&sample(10.0, 2.0), 3.0), 2.0 * 13.35 + 3.0 * 4.04 + 5.0 * 4.25);
        // Threads that compute at the same time, and a GPU that waits for the program.
        assert_eq!(energy_mj(&sample(10.0, 25.0), 3.0), 133.5);
        assert_eq!(energy_mj(&sample(10.0, 9.0), 3.0), 9.0 * 13.35 + 4.04);
    }
}
