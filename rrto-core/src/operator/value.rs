//! What an executed operator answers.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::bounded;
use crate::api::CuResult;
use crate::image::unread::Leftovers;

/// An executed operator's answer, or the error that the driver gave.
pub type Outcome = Result<Value, CuResult>;

/// What an operator answers when it succeeds.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Value {
    /// Success, and nothing else.
    None,
    /// A device address.
    Address(u64),
    /// A pitched allocation.
    Pitched {
        /// Device address.
        address: u64,
        /// Bytes from one row to the next.
        pitch_bytes: u64,
    },
    /// Device memory of the session, bytes.
    Memory {
        /// Free.
        free_bytes: u64,
        /// In all.
        total_bytes: u64,
    },
    /// A module-scope variable.
    Global {
        /// Device address.
        address: u64,
        /// Length.
        bytes: u64,
    },
    /// All there is to know about a kernel.
    Kernel(KernelInfo),
    /// A count or a limit.
    Number(u64),
    /// Time between two events.
    Milliseconds(f32),
    /// Kernel names.
    Names(Vec<String>),
    /// Bytes that go to the program's memory, or an opaque descriptor.
    Payload(Bytes),
    /// The place of each TPC, at most [`MAX_TPCS`].
    TpcPlaces(#[serde(deserialize_with = "bounded::list::<_, _, MAX_TPCS>")] Vec<TpcPlace>),
}

/// A kernel's parameter layout and attributes, sent once with its handle.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct KernelInfo {
    /// Offset and size in bytes of each parameter in the parameter block (`cuFuncGetParamInfo`).
    pub params: Vec<(u32, u32)>,
    /// The value of each `CUfunction_attribute`, by its number; `None` where the driver does not know it.
    pub attributes: Vec<Option<i32>>,
    /// What the kernel does not read of its parameter block. Launches send zeros there, so that leftovers in a program's
    /// structures do not make equal launches look different.
    pub unread: Leftovers,
}

/// More TPCs than a GPU has; the largest of 2025 has 96.
pub const MAX_TPCS: usize = 1024;

/// Where a TPC is on the die: a pair of multiprocessors, and the GPC that it is part of. Libraries that launch clusters of
/// blocks, which lie in one GPC, plan with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TpcPlace {
    /// The number of its GPC.
    pub gpc: u8,
    /// Its number in the GPC.
    pub index: u8,
}
