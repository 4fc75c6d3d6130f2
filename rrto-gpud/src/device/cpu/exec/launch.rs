//! Launching a grid.

use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use rrto_core::api::CuResult;

use super::block::{Block, Progress};
use super::fault::Fault;
use crate::device::cpu::alu::WARP;
use crate::device::cpu::memory::{Memory, View};
use crate::device::cpu::module::{Kernel, Module};
use crate::device::cpu::ptx::ir::{Inst, Pc, Routine};

/// Most threads in a block.
pub const MAX_THREADS_PER_BLOCK: u32 = 1024;
/// Most threads of a block along each axis.
pub const MAX_BLOCK_DIM: [u32; 3] = [1024, 1024, 64];
/// Most blocks along each axis.
pub const MAX_GRID_DIM: [u32; 3] = [0x7fff_ffff, 65_535, 65_535];
/// Most static shared memory of a kernel in bytes, and how much it may have in all without asking for more.
pub const MAX_STATIC_SHARED_BYTES: u32 = 48 << 10;
/// Most shared memory of a block in bytes, for kernels that ask for more.
pub const MAX_SHARED_BYTES: u32 = 163 << 10;
/// Most bytes of registers and local memory of one block. A block of 1024 threads has 64 MiB of registers
/// with 8192 each.
const MAX_BLOCK_STATE_BYTES: usize = 512 << 20;
/// Turns that a block takes alone on its thread. After them it is taken to wait for other blocks, and another
/// is started beside it.
const TURNS_ALONE: u32 = 256;
/// Most blocks that one thread runs at once, but for a cooperative launch: what a multiprocessor holds.
const MAX_RESIDENT_BLOCKS: usize = 32;
/// Most bytes of registers and local memory of the blocks of a cooperative launch, which are all there at once.
const MAX_COOPERATIVE_STATE_BYTES: u64 = 2 << 30;
/// Longest text that an assertion's message shows.
const MAX_TEXT_BYTES: u64 = 512;
/// Size of a cooperative launch's workspace in bytes. The device runtime keeps its barrier there.
const WORKSPACE_BYTES: u64 = 256;

/// The shape of a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Blocks along each axis.
    pub grid: [u32; 3],
    /// Threads of a block along each axis.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub dynamic_shared_bytes: u32,
    /// All blocks run at once and may wait for each other.
    pub cooperative: bool,
}

impl Launch {
    /// A launch along one axis, without dynamic shared memory.
    pub fn linear(blocks: u32, threads: u32) -> Self {
        Self { grid: [blocks, 1, 1], block: [threads, 1, 1], dynamic_shared_bytes: 0, cooperative: false }
    }
}

/// How much a launch may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long a launch may run.
    pub time: Duration,
    /// The threads that its blocks are spread over.
    pub workers: NonZero<usize>,
    /// Most shared memory of a block in bytes, static and dynamic; up to [`MAX_SHARED_BYTES`].
    pub shared_bytes: u32,
}

impl Default for Limits {
    /// A minute, all processors, and the shared memory that needs no asking for.
    fn default() -> Self {
        Self {
            time: Duration::from_secs(60),
            workers: std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN),
            shared_bytes: MAX_STATIC_SHARED_BYTES,
        }
    }
}

/// Where the frame of each call depth begins. The kernel's own comes first; all the functions that it calls
/// get frames as large as the largest of them, so that lanes which came to the same depth by different ways
/// can run together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Frames {
    kernel: [usize; 3],
    function: [usize; 3],
}

impl Frames {
    fn of(module: &Module, kernel: &Kernel) -> Self {
        let sizes = |r: &Routine| [r.registers, r.predicates, r.frame_bytes].map(|n| n as usize);
        let routines = &module.lowered.routines;
        let mut frames = Self::default();
        let Some(first) = routines.get(kernel.routine) else { return frames };
        frames.kernel = sizes(first);
        let mut seen = vec![false; routines.len()];
        let mut rest: Vec<usize> = first.calls.clone();
        while let Some(number) = rest.pop() {
            let (Some(seen), Some(routine)) = (seen.get_mut(number), routines.get(number)) else { continue };
            if !std::mem::replace(seen, true) {
                for (largest, size) in frames.function.iter_mut().zip(sizes(routine)) {
                    *largest = (*largest).max(size);
                }
                rest.extend(&routine.calls);
            }
        }
        frames
    }

    /// Bytes of registers and local memory of a block, before any call.
    fn state_bytes(&self, launch: &Launch) -> usize {
        let threads: u64 = launch.block.iter().map(|&n| u64::from(n)).product();
        let lanes = (threads as usize).next_multiple_of(WARP);
        lanes.saturating_mul(8 * self.registers(1) + self.local(1))
    }

    #[inline(always)]
    fn at<const KIND: usize>(&self, depth: usize) -> usize {
        match depth.checked_sub(1) {
            None => 0,
            Some(calls) => self.kernel[KIND] + calls * self.function[KIND],
        }
    }

    #[inline(always)]
    pub(super) fn registers(&self, depth: usize) -> usize {
        self.at::<0>(depth)
    }

    #[inline(always)]
    pub(super) fn predicates(&self, depth: usize) -> usize {
        self.at::<1>(depth)
    }

    #[inline(always)]
    pub(super) fn local(&self, depth: usize) -> usize {
        self.at::<2>(depth)
    }
}

/// A launch that is running: everything its blocks share.
pub(super) struct Grid<'g> {
    module: &'g Module,
    kernel: &'g Kernel,
    code: &'g [Inst],
    pub params: &'g [u8],
    pub view: View,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub frames: Frames,
    pub dynamic_shared: u32,
    /// Where dynamic shared memory begins.
    pub dynamic_base: u32,
    pub workspace: u64,
    pub workers: u32,
    /// Differs from launch to launch.
    pub number: u64,
    pub started: Instant,
    /// When it started, in nanoseconds since 1970.
    pub epoch_nanos: u64,
    deadline: Option<Instant>,
    cooperative: bool,
    /// Bytes of registers and local memory of a block.
    block_bytes: usize,
    blocks: u64,
    next_block: AtomicU64,
    /// A worker has failed.
    stopped: AtomicBool,
    /// Somebody outside wants it to end.
    stop: &'g AtomicBool,
    fault: Mutex<Option<Fault>>,
}

impl<'g> Grid<'g> {
    #[inline(always)]
    pub(super) fn inst(&self, pc: Pc) -> Option<&'g Inst> {
        self.code.get(pc as usize)
    }

    pub(super) fn line(&self, pc: Pc) -> u32 {
        self.module.lowered.lines.get(pc as usize).copied().unwrap_or(0)
    }

    pub(super) fn routine(&self) -> &'g Routine {
        // A kernel exists only with its routine.
        &self.module.lowered.routines[self.kernel.routine]
    }

    pub(super) fn entry_of(&self, routine: usize) -> Pc {
        self.module.lowered.routines.get(routine).map_or(Pc::MAX, |r| r.entry)
    }

    pub(super) fn kernel_name(&self) -> &'g str {
        &self.routine().name
    }

    pub(super) fn threads(&self) -> u32 {
        self.block.iter().product()
    }

    pub(super) fn warps(&self) -> u32 {
        self.threads().div_ceil(WARP as u32)
    }

    pub(super) fn shared_bytes(&self) -> usize {
        (self.dynamic_base + self.dynamic_shared) as usize
    }

    /// A string of the program, as far as it can be read.
    pub(super) fn text(&self, address: u64) -> String {
        let byte = |at: u64| {
            let allocation = self.view.find(address.wrapping_add(at))?;
            Some(allocation.load(address.wrapping_add(at) - allocation.base(), 1) as u8).filter(|&c| c != 0)
        };
        let bytes: Vec<u8> = (0..MAX_TEXT_BYTES).map_while(byte).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn fail(&self, fault: Fault) {
        let mut first = self.fault.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        first.get_or_insert(fault);
        self.stopped.store(true, Relaxed);
    }

    fn take_block(&self) -> Option<u64> {
        // The counter never passes the number of blocks by more than the number of workers' attempts.
        let number = self.next_block.fetch_add(1, Relaxed);
        (number < self.blocks).then_some(number)
    }

    /// Runs blocks until there are no more. Blocks start in order, and one that was started is never put off
    /// for good, so a block may wait for any that came before it.
    fn work(&self, sm: u32) {
        if let Err(fault) = self.work_or_fail(sm) {
            self.fail(fault);
        }
    }

    fn work_or_fail(&self, sm: u32) -> Result<(), Fault> {
        let fit = (MAX_BLOCK_STATE_BYTES / self.block_bytes.max(1)).clamp(1, MAX_RESIDENT_BLOCKS);
        let most = if self.cooperative { usize::MAX } else { fit };
        let mut resident: Vec<Block> = Vec::new();
        let mut spare: Vec<Block> = Vec::new();
        let (mut more, mut turns) = (true, 0);
        loop {
            let admit =
                resident.is_empty() || (resident.len() < most && (self.cooperative || turns >= TURNS_ALONE));
            if more && admit {
                turns = 0;
                match self.take_block() {
                    Some(number) => {
                        let mut block = spare.pop().unwrap_or_default();
                        block.begin(number, self)?;
                        resident.push(block);
                    }
                    None => more = false,
                }
            }
            if resident.is_empty() {
                return Ok(());
            }
            let mut at = 0;
            while let Some(block) = resident.get_mut(at) {
                if self.stopped.load(Relaxed) {
                    return Ok(());
                }
                if self.stop.load(Relaxed) {
                    return Err(Fault::new(CuResult::CONTEXT_IS_DESTROYED, "the launch was given up"));
                }
                match block.turn(self, sm)? {
                    Progress::Running => at += 1,
                    Progress::Done => spare.push(resident.swap_remove(at)),
                }
            }
            turns = turns.saturating_add(1);
            if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                let message = format!("kernel `{}` ran longer than it may", self.kernel_name());
                return Err(Fault::new(CuResult::LAUNCH_TIMEOUT, message));
            }
        }
    }
}

/// A launch that has been checked and has all it needs; nothing that happens to the program's memory
/// afterwards changes what it sees.
#[derive(Debug)]
pub(crate) struct Prepared {
    launch: Launch,
    frames: Frames,
    dynamic_base: u32,
    view: View,
    workspace: Option<Workspace>,
}

impl Prepared {
    /// Checks a launch against the kernel, its parameters and the limits.
    ///
    /// # Errors
    /// What the driver says to a launch that cannot be: `INVALID_HANDLE`, `INVALID_VALUE`,
    /// `LAUNCH_OUT_OF_RESOURCES`.
    pub(crate) fn new(
        module: &Module,
        kernel: &Kernel,
        launch: &Launch,
        params: &[u8],
        memory: &Arc<Memory>,
        limits: &Limits,
    ) -> Result<Self, Fault> {
        if module.lowered.routines.get(kernel.routine).is_none_or(|routine| routine.name != kernel.name()) {
            return Err(Fault::new(CuResult::INVALID_HANDLE, "the kernel is another module's"));
        }
        let frames = Frames::of(module, kernel);
        let dynamic_base = check(kernel, launch, params, limits, &frames)?;
        let workspace = if launch.cooperative { Some(Workspace::new(memory)?) } else { None };
        Ok(Self { launch: *launch, frames, dynamic_base, view: memory.view(), workspace })
    }

    /// Runs the kernel to its end, or until somebody sets `stop`.
    ///
    /// # Errors
    /// Why it was stopped.
    pub(crate) fn run(
        self,
        module: &Module,
        kernel: &Kernel,
        params: &[u8],
        limits: &Limits,
        stop: &AtomicBool,
    ) -> Result<(), Fault> {
        static LAUNCHES: AtomicU64 = AtomicU64::new(1);
        let blocks = self.launch.grid.iter().map(|&n| u64::from(n)).product();
        let workers = u64::try_from(limits.workers.get()).unwrap_or(1).min(blocks) as u32;
        let started = Instant::now();
        let epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let grid = Grid {
            module,
            kernel,
            code: &module.lowered.code,
            params,
            view: self.view,
            grid: self.launch.grid,
            block: self.launch.block,
            frames: self.frames,
            dynamic_shared: self.launch.dynamic_shared_bytes,
            dynamic_base: self.dynamic_base,
            workspace: self.workspace.as_ref().map_or(0, |w| w.address),
            workers,
            number: LAUNCHES.fetch_add(1, Relaxed),
            started,
            epoch_nanos: epoch.as_nanos() as u64,
            deadline: started.checked_add(limits.time),
            cooperative: self.launch.cooperative,
            block_bytes: self.frames.state_bytes(&self.launch),
            blocks,
            next_block: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            stop,
            fault: Mutex::new(None),
        };
        std::thread::scope(|scope| {
            for sm in 1..workers {
                let grid = &grid;
                let thread = std::thread::Builder::new().name(format!("rrto-sm{sm}"));
                if thread.spawn_scoped(scope, move || grid.work(sm)).is_err() {
                    // Fewer threads do the same work.
                    break;
                }
            }
            grid.work(0);
        });
        match grid.fault.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
            Some(fault) => Err(fault),
            None => Ok(()),
        }
    }
}

/// Runs a kernel to its end. `params` is its parameter block.
///
/// # Errors
/// What the driver says to a launch that cannot be (`INVALID_VALUE`, `LAUNCH_OUT_OF_RESOURCES`), and what the
/// program then learns when a kernel fails while it runs (`ILLEGAL_ADDRESS`, `MISALIGNED_ADDRESS`,
/// `LAUNCH_TIMEOUT`, `ASSERT` and their like).
pub fn launch(
    module: &Module,
    kernel: &Kernel,
    launch: &Launch,
    params: &[u8],
    memory: &Arc<Memory>,
    limits: &Limits,
) -> Result<(), Fault> {
    let prepared = Prepared::new(module, kernel, launch, params, memory, limits)?;
    prepared.run(module, kernel, params, limits, &AtomicBool::new(false))
}

/// Refuses what cannot be launched; gives the place of dynamic shared memory.
fn check(
    kernel: &Kernel,
    launch: &Launch,
    params: &[u8],
    limits: &Limits,
    frames: &Frames,
) -> Result<u32, Fault> {
    let invalid = |what: String| Err(Fault::new(CuResult::INVALID_VALUE, what));
    let within = |size: [u32; 3], most: [u32; 3]| size.iter().zip(most).all(|(&n, most)| 0 < n && n <= most);
    if !within(launch.grid, MAX_GRID_DIM) {
        return invalid(format!("the grid {:?} is not within {MAX_GRID_DIM:?}", launch.grid));
    }
    let threads: u32 = launch.block.iter().fold(1, |product: u32, &n| product.saturating_mul(n));
    if !within(launch.block, MAX_BLOCK_DIM) || threads > kernel.max_threads() {
        return invalid(format!("a block of {:?} threads, where {} fit", launch.block, kernel.max_threads()));
    }
    if params.len() < kernel.param_bytes() as usize {
        return invalid(format!(
            "{} bytes of parameters where {} are needed",
            params.len(),
            kernel.param_bytes()
        ));
    }
    let dynamic_base = match launch.dynamic_shared_bytes {
        0 => Some(kernel.shared_bytes()),
        _ => kernel.shared_bytes().checked_next_multiple_of(kernel.dynamic_align),
    };
    let dynamic_base = dynamic_base.unwrap_or(u32::MAX);
    let shared = u64::from(dynamic_base) + u64::from(launch.dynamic_shared_bytes);
    if shared > u64::from(limits.shared_bytes.min(MAX_SHARED_BYTES)) {
        return invalid(format!("{shared} bytes of shared memory, where {} fit", limits.shared_bytes));
    }
    let bytes = frames.state_bytes(launch);
    let blocks = launch.grid.iter().fold(1u64, |product, &n| product.saturating_mul(n.into()));
    let all = blocks.saturating_mul(bytes as u64 + shared);
    if bytes > MAX_BLOCK_STATE_BYTES || (launch.cooperative && all > MAX_COOPERATIVE_STATE_BYTES) {
        let message = "the registers and local memory of its blocks do not fit";
        return Err(Fault::new(CuResult::LAUNCH_OUT_OF_RESOURCES, message));
    }
    Ok(dynamic_base)
}

/// The memory in which the blocks of a cooperative launch meet.
#[derive(Debug)]
struct Workspace {
    memory: Arc<Memory>,
    address: u64,
}

impl Workspace {
    fn new(memory: &Arc<Memory>) -> Result<Self, Fault> {
        match memory.alloc(WORKSPACE_BYTES) {
            Ok(address) => Ok(Self { memory: Arc::clone(memory), address }),
            Err(code) => Err(Fault::new(code, "there is no memory for a cooperative launch's workspace")),
        }
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        // It is ours alone, so it is there.
        let _ = self.memory.free(self.address);
    }
}
