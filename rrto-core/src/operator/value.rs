//! What an executed operator answers.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

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
