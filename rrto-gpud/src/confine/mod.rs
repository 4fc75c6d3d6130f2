//! What the server's processes give up, so that whoever takes one of them over has little.
//!
//! | room | what it takes away |
//! |---|---|
//! | `descriptors` | files that whoever started the server left open |
//! | `files` | the file system, but for what the driver opens as it goes (Landlock) |
//! | `calls` | system calls that no worker makes (seccomp) |
//!
//! The server itself gives up what nothing in it needs, [at once](server): to gain privileges by executing a program, and to
//! be read by processes of the same user, for it has the certificates' keys.
//!
//! A worker executes what strangers send, in a device's driver that was not written for that. It gives up in three steps, as
//! the driver allows, and all of it before the first byte from its session: what it [never needs](begin); when the
//! device is open, [files and capabilities](Confinement::close_files); when its context is open,
//! [system calls](Confinement::close_calls). It keeps the socket to the server, standard error, and what the driver has open.
//!
//! A kernel that lacks one of these is no reason not to serve. A worker tells the server what is lacking, and goes on.

mod calls;
mod descriptors;
mod files;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit, setsid};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs};

/// Which process the system ends first when there is no memory left, as `/proc/self/oom_score_adj` says it
/// (`proc_pid_oom_score_adj(5)`): a worker before the server and before most of the machine, the largest worker first.
const OUT_OF_MEMORY_SCORE: &str = "800";

/// What a worker of the software GPU may have besides device memory: images, modules, payloads, stacks.
const HOST_BYTES: u64 = 4 << 30;

/// Files that a worker of the software GPU may have open. It has about eight.
const MOST_FILES: u64 = 64;

/// Takes from the server what it does not need. Must come before anything that opens a file or starts a thread.
pub fn server() {
    report("no_new_privs", set_no_new_privs(true));
    report("PR_SET_DUMPABLE", set_dumpable_behavior(DumpableBehavior::NotDumpable));
    report("inherited descriptors", descriptors::close_at_exec());
}

/// Takes from a worker what it does not need even for opening the device. Must come before it starts a thread.
pub fn begin() {
    report("no_new_privs", set_no_new_privs(true));
    // Its own session: it has no terminal, and where the system shares out time by sessions (`sched(7)`, autogroups) it gets
    // one share, however many threads it has.
    report("setsid", setsid().map(drop));
    // Before the next step, after which the file is root's.
    report("oom_score_adj", std::fs::write("/proc/self/oom_score_adj", OUT_OF_MEMORY_SCORE));
    report("PR_SET_DUMPABLE", set_dumpable_behavior(DumpableBehavior::NotDumpable));
    report("RLIMIT_CORE", limit(Resource::Core, 0));
}

/// Takes everything from a thread that opens nothing and talks to nobody.
pub(crate) fn thread() {
    report("capabilities", drop_capabilities());
    report("Landlock", files::deny_all());
}

/// How a worker is confined.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Confinement {
    /// With what NVIDIA's driver needs.
    Driver,
    /// The software GPU's: it opens nothing, and has this much device memory, in bytes.
    Nothing {
        /// Device memory.
        memory_bytes: u64,
    },
}

impl Confinement {
    /// When the device is open: takes files, the network and capabilities from this thread and those that it starts. Gives
    /// what could not be taken, for the server's log.
    pub fn close_files(self) -> Vec<String> {
        let mut lacking = Lacking::default();
        lacking.note("dropping capabilities", drop_capabilities());
        match self {
            Confinement::Driver => lacking.note("Landlock", files::allow_driver()),
            Confinement::Nothing { memory_bytes } => {
                lacking.note("Landlock", files::deny_all());
                let bytes = memory_bytes.saturating_add(HOST_BYTES);
                lacking.note("RLIMIT_DATA", limit(Resource::Data, bytes));
                lacking.note("RLIMIT_NOFILE", limit(Resource::Nofile, MOST_FILES));
            }
        }
        lacking.0
    }

    /// When the context is open: takes system calls from all threads. Gives what could not be taken.
    pub fn close_calls(self) -> Vec<String> {
        let mut lacking = Lacking::default();
        lacking.note("seccomp", calls::close(matches!(self, Confinement::Nothing { .. })));
        lacking.0
    }
}

/// What could not be taken, and why.
#[derive(Default)]
struct Lacking(Vec<String>);

impl Lacking {
    fn note<E: std::fmt::Display>(&mut self, what: &str, result: Result<(), E>) {
        if let Err(error) = result {
            self.0.push(format!("{what} ({error})"));
        }
    }
}

fn report<E: std::fmt::Display>(what: &str, result: Result<(), E>) {
    if let Err(error) = result {
        tracing::debug!(%error, "{what} is not to be had");
    }
}

/// Root without capabilities is a user like others, but for what files root owns.
fn drop_capabilities() -> rustix::io::Result<()> {
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
}

/// Lowers a limit, for good. One that is lower stays.
fn limit(resource: Resource, most: u64) -> rustix::io::Result<()> {
    let now = rustix::process::getrlimit(resource);
    let most = now.maximum.map_or(most, |now| now.min(most));
    let current = now.current.map_or(most, |now| now.min(most));
    setrlimit(resource, Rlimit { current: Some(current), maximum: Some(most) })
}
