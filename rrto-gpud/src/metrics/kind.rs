//! Kinds of operators, as metrics tell them apart.

use rrto_core::operator::Operator;

macro_rules! define_kinds {
    ($($kind:ident = $label:literal;)*) => {
        /// A kind of operators.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Kind {
            $(#[doc = concat!("Labelled `", $label, "`.")] $kind),*
        }

        impl Kind {
            /// All, each at the index that it has as a number.
            pub const ALL: [Kind; [$($label),*].len()] = [$(Kind::$kind),*];

            /// The label of this kind.
            pub fn label(self) -> &'static str {
                match self { $(Kind::$kind => $label),* }
            }
        }
    };
}

define_kinds! {
    Memory = "memory";
    Memset = "memset";
    CopyIn = "copy_in";
    CopyOut = "copy_out";
    CopyDevice = "copy_device";
    Stream = "stream";
    Event = "event";
    Synchronize = "synchronize";
    Context = "context";
    Module = "module";
    Query = "query";
    Launch = "launch";
}

impl From<&Operator> for Kind {
    // Names every operator, so that a new one does not compile without a kind.
    fn from(operator: &Operator) -> Self {
        use Operator::*;
        match operator {
            MemAlloc { .. } | MemAllocPitch { .. } | MemFree { .. } | MemGetInfo => Kind::Memory,
            Memset { .. } => Kind::Memset,
            CopyIn { .. } => Kind::CopyIn,
            CopyOut { .. } => Kind::CopyOut,
            CopyDevice { .. } => Kind::CopyDevice,
            StreamCreate { .. } | StreamDestroy { .. } | StreamQuery { .. } | StreamWaitEvent { .. } => {
                Kind::Stream
            }
            EventCreate { .. }
            | EventDestroy { .. }
            | EventRecord { .. }
            | EventQuery { .. }
            | EventElapsedTime { .. } => Kind::Event,
            StreamSynchronize { .. } | EventSynchronize { .. } | ContextSynchronize => Kind::Synchronize,
            ContextSetLimit { .. } | ContextGetLimit { .. } => Kind::Context,
            ImageAppend { .. }
            | ModuleLoad { .. }
            | ModuleUnload { .. }
            | LibraryLoad { .. }
            | LibraryUnload { .. }
            | ModuleGetFunction { .. }
            | LibraryGetKernel { .. }
            | LibraryGetModule { .. }
            | KernelNames { .. }
            | ModuleGetGlobal { .. }
            | LibraryGetGlobal { .. }
            | FunctionSetAttribute { .. }
            | FunctionSetCacheConfig { .. } => Kind::Module,
            OccupancyMaxActiveBlocks { .. }
            | OccupancyAvailableSharedMemory { .. }
            | OccupancyClusters { .. }
            | ExportTable { .. }
            | TpcPlaces
            | TensorMapTiled(_)
            | TensorMapIm2col { .. } => Kind::Query,
            Launch(_) => Kind::Launch,
        }
    }
}
