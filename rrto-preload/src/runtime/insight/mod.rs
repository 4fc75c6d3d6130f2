//! What a run was like: `RRTO_REPORT` and `RRTO_TRACE`, and divergences in the log.
//!
//! [`Watch`] stands before the link and notes what passes: durations of inferences for the report, every call for the
//! trace; and it says in the log which runs of sequences were given up. It is there only if one of these is asked for;
//! counting calls by function is all that is always done.
//!
//! What is noted is written when the process ends. Nothing here waits for a lock then, because the thread that has it
//! may be the one that is ending.

mod inferences;
mod report;
mod tap;
mod trace;
mod watch;

use std::sync::Arc;
use std::time::{Duration, Instant};

use rrto_core::replay::Divergence;
use rrto_quic::{ProgramMemory, Tap};

use super::config::Config;
use crate::client::Remote;
use crate::log;

use inferences::Inferences;
pub(super) use report::Destination;
use report::Report;
pub(super) use report::link_json;
use tap::LinkTap;
use trace::Trace;
use watch::{Arrivals, Watch};

type SayDivergence = Box<dyn Fn(&Divergence) + Send + Sync>;

/// What is noted of a session.
pub(super) struct Insight {
    began: Instant,
    inferences: Option<Inferences>,
    trace: Option<Trace>,
    /// Says that a run was given up, and why.
    say_divergence: Option<SayDivergence>,
}

impl Insight {
    /// Notes what `config` asks for, if it does.
    pub(super) fn asked_by(config: &Config) -> Option<Arc<Self>> {
        let says_divergences = log::is_on(log::Level::Debug);
        let say = || Box::new(|divergence: &Divergence| log::debug!("{divergence}")) as SayDivergence;
        (config.report.is_some() || config.trace.is_some() || says_divergences).then(|| {
            let inferences = config.report.is_some().then(Inferences::default);
            Arc::new(Insight {
                began: Instant::now(),
                inferences,
                trace: config.trace.is_some().then(Trace::default),
                say_divergence: says_divergences.then(say),
            })
        })
    }

    /// `remote`, watched.
    pub(super) fn watch(self: &Arc<Self>, remote: Box<dyn Remote>) -> Box<dyn Remote> {
        Box::new(Watch::new(remote, self.clone()))
    }

    /// `memory`, with a note of what arrives there.
    pub(super) fn watch_memory(self: &Arc<Self>, memory: Arc<dyn ProgramMemory>) -> Arc<dyn ProgramMemory> {
        if self.trace.is_some() { Arc::new(Arrivals::new(memory, self.clone())) } else { memory }
    }

    /// Who notes what the link carries, if that is asked for.
    pub(super) fn tap(self: &Arc<Self>) -> Option<Arc<dyn Tap>> {
        self.trace.as_ref().map(|_| Arc::new(LinkTap::new(self.clone())) as Arc<dyn Tap>)
    }

    /// Gives the report where it was asked for.
    pub(super) fn report(&self, config: &Config, remote: &dyn Remote) {
        if let Some(destination) = &config.report {
            let report = Report {
                mode: config.mode,
                server: &config.server,
                elapsed: self.elapsed(),
                link: remote.statistics(),
                replay: remote.replay_statistics(),
                calls: crate::calls::counts(),
                inferences: self.inferences.as_ref().map(Inferences::summary).unwrap_or_default(),
            };
            if let Err(error) = destination.write(&report) {
                log::error!("cannot write the report: {error}; set RRTO_REPORT to another file");
            }
        }
    }

    /// Writes the trace where it was asked for.
    pub(super) fn write_trace(&self, config: &Config) {
        if let (Some(trace), Some(path)) = (&self.trace, &config.trace)
            && let Err(error) = trace.write(path)
        {
            log::error!(
                "cannot write the trace to {}: {error}; set RRTO_TRACE to another file",
                path.display()
            );
        }
    }

    /// Time since the session's beginning.
    fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}
