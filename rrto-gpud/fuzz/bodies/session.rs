//! What the `session` fuzz target does with its input: a plain function, so that a test runs it as well.

use std::num::NonZero;
use std::time::Duration;

use rrto_core::engine::server::Channel;
use rrto_core::engine::{Server, ServerLimits, Work};
use rrto_core::wire::{ClientFrame, Hello, Mode, put_frame};
use rrto_gpud::device::cpu::{CpuDevice, CpuSettings};
use rrto_gpud::device::{Context, Device, Limits, Progress};

/// Small enough for many runs a second, and for every limit to be met.
const MEMORY_BYTES: u64 = 4 << 20;
const LIMITS: Limits = Limits {
    memory_bytes: MEMORY_BYTES,
    allocations: 64,
    handles: 256,
    image_bytes: 1 << 20,
    staging_bytes: 1 << 20,
};

/// How long a kernel may run.
const KERNEL_TIME: Duration = Duration::from_millis(2);

/// Operators and spans that are executed of one input.
const MOST_WORK: usize = 256;

/// Takes `input` as all that a client sends on its control stream after the hello, and executes what there is to execute on a
/// software GPU: whatever it is, this returns.
pub(crate) fn session(input: &[u8]) {
    let settings =
        CpuSettings { memory_bytes: MEMORY_BYTES, workers: NonZero::<usize>::MIN, kernel_time: KERNEL_TIME };
    let Ok(mut context) = CpuDevice::with(settings).open(LIMITS) else { return };
    let (mut server, mut channel) = (Server::new(ServerLimits::default()), Channel::new(false));
    let mut hello = Vec::new();
    assert!(put_frame(&ClientFrame::Hello(Hello::new(Mode::Replay, "fuzz")), &mut hello).is_ok());
    assert!(matches!(channel.handle_greeting(&hello), Ok(Some(_))));
    // A frame's damage ends the session: what came before it is executed all the same.
    let _ = server.handle_control(&mut channel, input);
    for _ in 0..MOST_WORK {
        let Ok(Some(work)) = server.poll_ready() else { break };
        execute(&mut server, context.as_mut(), work);
    }
    let _ = server.poll_control(&mut channel, &mut Vec::new());
}

fn execute(server: &mut Server, context: &mut dyn Context, work: Work) {
    match work {
        Work::Operator(ready) => {
            if let Progress::Done(outcome) = context.execute(ready.number, ready.operator, ready.payload) {
                server.handle_outcome(ready.number, outcome);
            }
        }
        Work::Span { first, sequence, span } => {
            for (number, error) in context.execute_span(first, &sequence, &span) {
                server.handle_outcome(number, Err(error));
            }
        }
        Work::Retire(sequence) => context.retire(sequence),
    }
    let mut finished = Vec::new();
    context.poll(&mut finished);
    finished.drain(..).for_each(|(number, outcome)| server.handle_outcome(number, outcome));
}
