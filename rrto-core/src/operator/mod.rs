//! An operator: one driver call that reaches the server, as data.
//!
//! Many functions of the driver API become the same operator (`cuMemcpyHtoD_v2`, its asynchronous form and its
//! per-thread-stream forms are all [`Operator::CopyIn`]): the preload library's marshal room decides that once, and
//! from there on the log, the wire, the engines and the devices know only this type. An operator holds no host
//! pointer: bytes that travel with it are its *payload* and stand beside it.
//!
//! Addresses in operators are the server's real device addresses, because programs put them inside kernel
//! arguments. Every other reference to a CUDA object is a [`Handle`] that the client made, so creating an object
//! waits for nothing.

pub(crate) mod bounded;
mod launch;
mod sequence;
mod tensor_map;
mod value;

use serde::{Deserialize, Serialize};

pub use launch::{
    Geometry, LAUNCH_ATTRIBUTE_VALUE_BYTES, Launch, LaunchAttribute, LaunchCall, MAX_LAUNCH_ATTRIBUTES,
    MAX_PARAM_BYTES,
};
pub use sequence::{
    Edit, MAX_PATCH_EDITS, MAX_SEQUENCE_BYTES, MAX_SEQUENCE_OPERATORS, MAX_SEQUENCES, MAX_SEQUENCES_BYTES,
    MAX_SPAN_PATCHES, Patch, Sequence, SequenceId, Span,
};
pub use tensor_map::{MAX_TENSOR_RANK, TensorMap};
pub use value::{KernelInfo, MAX_TPCS, Outcome, TpcPlace, Value};

/// A virtual handle: what the program holds instead of a driver pointer (stream, event, module, library, kernel,
/// image). Made by the client, unique within a session, never reused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub struct Handle(pub u64);

impl Handle {
    /// The legacy default stream (`CU_STREAM_LEGACY`, or a null stream). The only handle that nobody creates.
    pub const LEGACY_STREAM: Handle = Handle(0);
}

/// The largest payload that one operator carries, bytes. Longer copies are cut into several operators, so that the
/// memory for bulk in flight is bounded on both sides.
pub const MAX_PAYLOAD_BYTES: u64 = 1 << 20;

/// The longest kernel, global or program name that travels, bytes. Mangled C++ template names of real libraries
/// reach a few kB.
pub const MAX_NAME_BYTES: usize = 64 << 10;

/// A call that the server executes. Fields keep the meaning and unit of the driver API; sizes are in bytes.
///
/// A new operator comes last: recordings of before are read by these numbers.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Operator {
    /// `cuMemAlloc`: answers [`Value::Address`].
    MemAlloc {
        /// Bytes asked for.
        bytes: u64,
    },
    /// `cuMemAllocPitch`: answers [`Value::Pitched`].
    MemAllocPitch {
        /// Bytes of one row as asked.
        width_bytes: u64,
        /// Rows.
        height: u64,
        /// 4, 8 or 16.
        element_bytes: u32,
    },
    /// `cuMemFree`.
    MemFree {
        /// Start of the allocation.
        address: u64,
    },
    /// `cuMemGetInfo`: answers [`Value::Memory`].
    MemGetInfo,
    /// All of `cuMemsetD{8,16,32}` and `cuMemsetD2D{8,16,32}`; a one-dimensional fill has `height` 1.
    Memset {
        /// First byte to set.
        address: u64,
        /// Bytes from one row to the next; 0 if `height` is 1.
        pitch_bytes: u64,
        /// The value, in its low `element_bytes` bytes.
        value: u32,
        /// 1, 2 or 4.
        element_bytes: u8,
        /// Elements of a row.
        width: u64,
        /// Rows.
        height: u64,
        /// Where it is ordered.
        stream: Handle,
    },
    /// Host to device. The payload has `bytes` bytes, at most [`MAX_PAYLOAD_BYTES`].
    CopyIn {
        /// Device address.
        dst: u64,
        /// Length.
        bytes: u64,
        /// Where it is ordered.
        stream: Handle,
    },
    /// Device to host; answers [`Value::Payload`] once the copy has completed. At most [`MAX_PAYLOAD_BYTES`].
    CopyOut {
        /// Device address.
        src: u64,
        /// Length.
        bytes: u64,
        /// Where it is ordered.
        stream: Handle,
    },
    /// Device to device.
    CopyDevice {
        /// Device address written.
        dst: u64,
        /// Device address read.
        src: u64,
        /// Length.
        bytes: u64,
        /// Where it is ordered.
        stream: Handle,
    },
    /// `cuStreamCreate`, `cuStreamCreateWithPriority`.
    StreamCreate {
        /// The new handle.
        stream: Handle,
        /// `CU_STREAM_DEFAULT` 0 or `CU_STREAM_NON_BLOCKING` 1.
        flags: u32,
        /// As the driver API has it; clamped by the driver.
        priority: i32,
    },
    /// `cuStreamDestroy`.
    StreamDestroy {
        /// Which.
        stream: Handle,
    },
    /// `cuStreamQuery`: answers success or `CUDA_ERROR_NOT_READY`, at once.
    StreamQuery {
        /// Which.
        stream: Handle,
    },
    /// `cuStreamSynchronize`: answers once everything before it on the stream has completed.
    StreamSynchronize {
        /// Which.
        stream: Handle,
    },
    /// `cuStreamWaitEvent`.
    StreamWaitEvent {
        /// The stream that waits.
        stream: Handle,
        /// For this event's latest record.
        event: Handle,
        /// `CU_EVENT_WAIT_DEFAULT` 0 or `CU_EVENT_WAIT_EXTERNAL` 1.
        flags: u32,
    },
    /// `cuEventCreate`.
    EventCreate {
        /// The new handle.
        event: Handle,
        /// `CU_EVENT_*` flags.
        flags: u32,
    },
    /// `cuEventDestroy`.
    EventDestroy {
        /// Which.
        event: Handle,
    },
    /// `cuEventRecord`, `cuEventRecordWithFlags`.
    EventRecord {
        /// Which.
        event: Handle,
        /// Where.
        stream: Handle,
        /// `CU_EVENT_RECORD_*` flags.
        flags: u32,
    },
    /// `cuEventQuery`: answers success or `CUDA_ERROR_NOT_READY`, at once.
    EventQuery {
        /// Which.
        event: Handle,
    },
    /// `cuEventSynchronize`: answers once the latest record has completed.
    EventSynchronize {
        /// Which.
        event: Handle,
    },
    /// `cuEventElapsedTime`: answers [`Value::Milliseconds`].
    EventElapsedTime {
        /// Earlier event.
        start: Handle,
        /// Later event.
        end: Handle,
    },
    /// `cuCtxSynchronize`: answers once everything of the session has completed.
    ContextSynchronize,
    /// `cuCtxSetLimit`.
    ContextSetLimit {
        /// `CUlimit`.
        limit: u32,
        /// New value.
        value: u64,
    },
    /// `cuCtxGetLimit`: answers [`Value::Number`].
    ContextGetLimit {
        /// `CUlimit`.
        limit: u32,
    },
    /// A piece of a module image; the payload is appended to `image`. A module or library is then loaded from it.
    ImageAppend {
        /// The image, made by its first piece.
        image: Handle,
        /// Length of the payload, at most [`MAX_PAYLOAD_BYTES`].
        bytes: u64,
    },
    /// `cuModuleLoadData` and its siblings. Consumes the image.
    ModuleLoad {
        /// The new handle.
        module: Handle,
        /// What to load.
        image: Handle,
    },
    /// `cuModuleUnload`.
    ModuleUnload {
        /// Which.
        module: Handle,
    },
    /// `cuLibraryLoadData`. Consumes the image.
    LibraryLoad {
        /// The new handle.
        library: Handle,
        /// What to load.
        image: Handle,
    },
    /// `cuLibraryUnload`.
    LibraryUnload {
        /// Which.
        library: Handle,
    },
    /// `cuModuleGetFunction`: answers [`Value::Kernel`].
    ModuleGetFunction {
        /// Of which module.
        module: Handle,
        /// Kernel name.
        name: String,
        /// The new handle.
        function: Handle,
    },
    /// `cuLibraryGetKernel`: answers [`Value::Kernel`].
    LibraryGetKernel {
        /// Of which library.
        library: Handle,
        /// Kernel name.
        name: String,
        /// The new handle; it also stands for the kernel's `CUfunction`.
        function: Handle,
    },
    /// `cuLibraryGetModule`.
    LibraryGetModule {
        /// Of which library.
        library: Handle,
        /// The new handle.
        module: Handle,
    },
    /// `cuLibraryGetKernelCount`, `cuLibraryEnumerateKernels`, `cuModuleGetFunctionCount`,
    /// `cuModuleEnumerateFunctions`: answers [`Value::Names`], in the driver's order.
    KernelNames {
        /// Of which module or library.
        owner: Handle,
    },
    /// `cuModuleGetGlobal`: answers [`Value::Global`].
    ModuleGetGlobal {
        /// Of which module.
        module: Handle,
        /// Variable name.
        name: String,
    },
    /// `cuLibraryGetGlobal`: answers [`Value::Global`].
    LibraryGetGlobal {
        /// Of which library.
        library: Handle,
        /// Variable name.
        name: String,
    },
    /// `cuFuncSetAttribute`, `cuKernelSetAttribute`: answers [`Value::Kernel`] with the attributes as they are then.
    FunctionSetAttribute {
        /// Which.
        function: Handle,
        /// `CUfunction_attribute`.
        attribute: u32,
        /// New value.
        value: i32,
    },
    /// `cuFuncSetCacheConfig`, `cuKernelSetCacheConfig`.
    FunctionSetCacheConfig {
        /// Which.
        function: Handle,
        /// `CUfunc_cache`.
        config: u32,
    },
    /// `cuOccupancyMaxActiveBlocksPerMultiprocessor(WithFlags)`: answers [`Value::Number`].
    OccupancyMaxActiveBlocks {
        /// Which.
        function: Handle,
        /// Threads of a block.
        block_threads: i32,
        /// Dynamic shared memory of a block, bytes.
        shared_bytes: u64,
        /// `CUoccupancy_flags`.
        flags: u32,
    },
    /// `cuOccupancyAvailableDynamicSMemPerBlock`: answers [`Value::Number`].
    OccupancyAvailableSharedMemory {
        /// Which.
        function: Handle,
        /// Blocks per multiprocessor.
        blocks: i32,
        /// Threads of a block.
        block_threads: i32,
    },
    /// `cuOccupancyMaxActiveClusters` (answers the number of clusters) or, with `potential`,
    /// `cuOccupancyMaxPotentialClusterSize` (answers blocks of a cluster): [`Value::Number`].
    OccupancyClusters {
        /// Ask for the largest cluster instead of the number of clusters.
        potential: bool,
        /// Which.
        function: Handle,
        /// Grid, block and shared memory.
        geometry: Geometry,
        /// Launch attributes, at most [`MAX_LAUNCH_ATTRIBUTES`].
        attributes: Vec<LaunchAttribute>,
    },
    /// `cuTensorMapEncodeTiled`: answers [`Value::Payload`], the opaque 128-byte descriptor.
    TensorMapTiled(TensorMap),
    /// `cuTensorMapEncodeIm2col`: answers [`Value::Payload`], the opaque 128-byte descriptor.
    TensorMapIm2col {
        /// What both forms share; `box_dims` is empty.
        map: TensorMap,
        /// Lower corner of the bounding box, per spatial dimension.
        lower_corner: Vec<i32>,
        /// Upper corner of the bounding box, per spatial dimension.
        upper_corner: Vec<i32>,
        /// Channels of a pixel.
        channels_per_pixel: u32,
        /// Pixels of a column.
        pixels_per_column: u32,
    },
    /// `cuLaunchKernel`, `cuLaunchKernelEx`, `cuLaunchCooperativeKernel`.
    Launch(Launch),
    /// Whether the driver has the private table of `cuGetExportTable` with this UUID (its bytes in order): answers
    /// [`Value::None`], or the driver's error.
    ExportTable {
        /// Which.
        uuid: [u8; 16],
    },
    /// Which multiprocessors are together, as a private table of the driver tells: answers [`Value::TpcPlaces`], or
    /// `CUDA_ERROR_NOT_SUPPORTED` where no driver tells.
    TpcPlaces,
}

/// What an operator does to the stream it is on, for knowing what is still outstanding there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StreamEffect {
    /// Nothing that a synchronisation would have to wait for.
    None,
    /// Work that runs on this stream.
    Work(Handle),
    /// Completes when everything before it on this stream has completed.
    Completes(Handle),
    /// Completes when everything of the session has completed.
    CompletesAll,
}

impl Operator {
    /// Length of the payload that travels up with this operator, if it takes one.
    pub fn payload_bytes(&self) -> Option<u64> {
        match self {
            Operator::CopyIn { bytes, .. } | Operator::ImageAppend { bytes, .. } => Some(*bytes),
            _ => None,
        }
    }

    /// Whether the program needs this operator's answer; all others are acknowledged in bulk and only a failure
    /// is told.
    pub fn needs_answer(&self) -> bool {
        use Operator::*;
        !matches!(
            self,
            MemFree { .. }
                | Memset { .. }
                | CopyIn { .. }
                | CopyDevice { .. }
                | StreamCreate { .. }
                | StreamDestroy { .. }
                | StreamWaitEvent { .. }
                | EventCreate { .. }
                | EventDestroy { .. }
                | EventRecord { .. }
                | ImageAppend { .. }
                | ModuleUnload { .. }
                | LibraryLoad { .. }
                | LibraryUnload { .. }
                | FunctionSetCacheConfig { .. }
                | Launch(_)
        )
    }

    /// Whether it can be part of a [`Sequence`]: it does the same again when it is executed again. What makes or ends
    /// something has a new handle or address each time, and a question has a new answer.
    pub fn repeats(&self) -> bool {
        use Operator::*;
        matches!(
            self,
            Memset { .. }
                | CopyIn { .. }
                | CopyOut { .. }
                | CopyDevice { .. }
                | StreamSynchronize { .. }
                | StreamWaitEvent { .. }
                | EventRecord { .. }
                | EventSynchronize { .. }
                | ContextSynchronize
                | Launch(_)
        )
    }

    /// Whether it takes or gives something that travels beside it: it is then executed by itself, and never as a
    /// middle part of a span.
    pub fn is_slot(&self) -> bool {
        self.payload_bytes().is_some() || self.needs_answer()
    }

    /// The stream on which it reads or writes the device's memory.
    pub fn work_stream(&self) -> Option<Handle> {
        use Operator::*;
        match self {
            Memset { stream, .. }
            | CopyIn { stream, .. }
            | CopyOut { stream, .. }
            | CopyDevice { stream, .. }
            | Launch(self::Launch { stream, .. }) => Some(*stream),
            _ => None,
        }
    }

    /// What this operator means for the outstanding work of its stream. A copy from the host is no outstanding
    /// work: the program's buffer has been read before the call returns, so that nobody has to wait for it. That what comes
    /// after a wait comes after the copy is for the program's side to see to.
    pub fn stream_effect(&self) -> StreamEffect {
        use Operator::*;
        match self {
            Memset { stream, .. }
            | CopyDevice { stream, .. }
            | StreamWaitEvent { stream, .. }
            | Launch(self::Launch { stream, .. }) => StreamEffect::Work(*stream),
            CopyOut { stream, .. } | StreamSynchronize { stream } => StreamEffect::Completes(*stream),
            ContextSynchronize => StreamEffect::CompletesAll,
            _ => StreamEffect::None,
        }
    }

    /// Checks every length in the operator against its limit. The codec calls it on all that arrives, so that no
    /// later room has to.
    ///
    /// # Errors
    /// What was too long, in words.
    pub fn check_limits(&self) -> Result<(), &'static str> {
        use Operator::*;
        match self {
            CopyIn { bytes, .. } | CopyOut { bytes, .. } | ImageAppend { bytes, .. }
                if *bytes > MAX_PAYLOAD_BYTES =>
            {
                Err("a payload is longer than MAX_PAYLOAD_BYTES")
            }
            ModuleGetFunction { name, .. }
            | LibraryGetKernel { name, .. }
            | ModuleGetGlobal { name, .. }
            | LibraryGetGlobal { name, .. }
                if name.len() > MAX_NAME_BYTES || name.contains('\0') =>
            {
                Err("a name is longer than MAX_NAME_BYTES or has a zero byte")
            }
            OccupancyClusters { attributes, .. } if attributes.len() > MAX_LAUNCH_ATTRIBUTES => {
                Err("more than MAX_LAUNCH_ATTRIBUTES launch attributes")
            }
            TensorMapTiled(map) => map.check_rank(map.dims.len()),
            TensorMapIm2col { map, lower_corner, upper_corner, .. } => {
                if lower_corner.len() + 2 != map.dims.len() || upper_corner.len() != lower_corner.len() {
                    return Err("an im2col box does not fit its tensor's rank");
                }
                map.check_rank(0)
            }
            Launch(launch) => launch.check_limits(),
            _ => Ok(()),
        }
    }
}
