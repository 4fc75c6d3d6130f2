//! Bytes that an operator takes, or where the server has put them.

use std::fmt::Debug;
use std::sync::Arc;

use bytes::Bytes;

/// A payload that was put, as it arrived, where whoever executes its operator finds it: so its bytes need not pass through
/// everything in between. Dropping the last reference gives the place back.
pub trait Staged: Debug + Send + Sync {
    /// Names the place; nobody else's while this value lives.
    fn place(&self) -> u64;

    /// Its length.
    fn bytes(&self) -> u64;

    /// Copies its bytes to `into`, which is exactly as long. Whether that was possible.
    #[must_use]
    fn copy_to(&self, into: &mut [u8]) -> bool;
}

/// What an operator takes beside its arguments.
#[derive(Clone, Debug)]
pub enum Payload {
    /// The bytes.
    Bytes(Bytes),
    /// Where they are.
    Staged(Arc<dyn Staged>),
}

impl Payload {
    /// Its length.
    pub fn bytes(&self) -> u64 {
        match self {
            Payload::Bytes(bytes) => bytes.len() as u64,
            Payload::Staged(staged) => staged.bytes(),
        }
    }

    /// Copies its bytes to `into`, which is exactly as long. Whether that was possible.
    #[must_use]
    pub fn copy_to(&self, into: &mut [u8]) -> bool {
        match self {
            Payload::Bytes(bytes) if bytes.len() == into.len() => {
                into.copy_from_slice(bytes);
                true
            }
            Payload::Staged(staged) if staged.bytes() == into.len() as u64 => staged.copy_to(into),
            _ => false,
        }
    }

    /// The bytes; a copy of them, if they are elsewhere. `None` if they are not to be had.
    pub fn into_bytes(self) -> Option<Bytes> {
        match self {
            Payload::Bytes(bytes) => Some(bytes),
            Payload::Staged(staged) => {
                let len = usize::try_from(staged.bytes()).ok()?;
                let mut bytes = Vec::new();
                bytes.try_reserve_exact(len).ok()?;
                bytes.resize(len, 0);
                staged.copy_to(&mut bytes).then(|| bytes.into())
            }
        }
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        Payload::Bytes(bytes)
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Payload::Bytes(one), Payload::Bytes(other)) => one == other,
            (Payload::Staged(one), Payload::Staged(other)) => {
                (one.place(), one.bytes()) == (other.place(), other.bytes())
            }
            _ => false,
        }
    }
}

impl Eq for Payload {}
