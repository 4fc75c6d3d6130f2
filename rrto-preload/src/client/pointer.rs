//! What is known of an address.

use super::Client;
use crate::context::ContextHandle;

/// Whose memory it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// CU_MEMORYTYPE_DEVICE.
    Device,
    /// CU_MEMORYTYPE_HOST, pinned.
    Host,
}

/// A range of memory that CUDA knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PointerFacts {
    /// Where it is.
    pub(crate) place: Place,
    /// The context that it was made in.
    pub(crate) context: ContextHandle,
    /// Its first address.
    pub(crate) start: u64,
    /// Its length.
    pub(crate) bytes: u64,
    /// A number that no other range has.
    pub(crate) id: u64,
    /// The address asked about, as the device sees it, if it does.
    pub(crate) device_address: Option<u64>,
}

impl Client {
    /// What is known of the range that `address` is in.
    pub(crate) fn pointer(&self, address: u64) -> Option<PointerFacts> {
        let device = self.memory.look(address, |start, bytes, region| PointerFacts {
            place: Place::Device,
            context: region.context,
            start,
            bytes,
            id: region.id,
            device_address: Some(address),
        });
        device.or_else(|| {
            self.pinned.look(address, |start, bytes, pinned| PointerFacts {
                place: Place::Host,
                context: pinned.context,
                start,
                bytes,
                id: pinned.id,
                device_address: pinned.device.map(|device| device + (address - start)),
            })
        })
    }
}
