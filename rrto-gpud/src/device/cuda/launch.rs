//! Launches, occupancy and tensor maps.

use bytes::Bytes;
use rrto_core::api::CuResult;
use rrto_core::operator::{Geometry, Handle, Launch, LaunchAttribute, TensorMap, Value};

use super::context::{CudaContext, Step};
use super::driver::{Answer, Im2col, RawAttribute, Stream};

/// `CU_LAUNCH_ATTRIBUTE_COOPERATIVE`.
const COOPERATIVE: u32 = 2;

/// The `CUlaunchAttributeID`s that are passed on: those of CUDA 13 whose values are plain numbers. The others hold
/// event handles (7 PROGRAMMATIC_EVENT, 12 LAUNCH_COMPLETION_EVENT) or give one back (13
/// DEVICE_UPDATABLE_KERNEL_NODE), and the driver would follow what a client sent; so would it perhaps with one that
/// is not known here.
const PLAIN_ATTRIBUTES: [u32; 13] = [0, 1, COOPERATIVE, 3, 4, 5, 6, 8, 9, 10, 11, 14, 16];

/// The driver's form of a launch's attributes.
///
/// # Errors
/// `NOT_SUPPORTED` for one that is not passed on, `INVALID_VALUE` for a value that is too long.
fn attributes(attributes: &[LaunchAttribute], cooperative: bool) -> Answer<Vec<RawAttribute>> {
    let cooperative = cooperative.then(|| RawAttribute::new(COOPERATIVE, &1_i32.to_ne_bytes())).into_iter();
    let given = attributes.iter().map(|attribute| {
        if !PLAIN_ATTRIBUTES.contains(&attribute.id) {
            return Err(CuResult::NOT_SUPPORTED);
        }
        Ok(RawAttribute::new(attribute.id, &attribute.value))
    });
    given.chain(cooperative.map(Ok)).map(|raw| raw?.ok_or(CuResult::INVALID_VALUE)).collect()
}

fn number(count: i32) -> Step {
    Ok(Some(Value::Number(u64::try_from(count).map_err(|_| CuResult::UNKNOWN)?)))
}

impl CudaContext {
    /// Issues a launch on `stream`, which need not be the one that it names.
    pub(super) fn launch(&self, launch: &Launch, stream: &Stream) -> Answer<()> {
        let kernel = self.code.kernel(launch.function)?;
        let mut attributes = attributes(&launch.attributes, launch.cooperative)?;
        let params = kernel.params_of(launch)?;
        self.driver.launch(&kernel.function, &launch.geometry, stream, &mut attributes, params)
    }

    pub(super) fn max_active_blocks(
        &self,
        function: Handle,
        block_threads: i32,
        shared_bytes: u64,
        flags: u32,
    ) -> Step {
        let function = &self.code.kernel(function)?.function;
        let shared_bytes = usize::try_from(shared_bytes).map_err(|_| CuResult::INVALID_VALUE)?;
        number(self.driver.max_active_blocks(function, block_threads, shared_bytes, flags)?)
    }

    pub(super) fn available_shared_bytes(&self, function: Handle, blocks: i32, block_threads: i32) -> Step {
        let function = &self.code.kernel(function)?.function;
        let bytes = self.driver.available_shared_bytes(function, blocks, block_threads)?;
        Ok(Some(Value::Number(bytes as u64)))
    }

    pub(super) fn clusters(
        &self,
        potential: bool,
        function: Handle,
        geometry: &Geometry,
        given: &[LaunchAttribute],
    ) -> Step {
        let function = &self.code.kernel(function)?.function;
        let mut attributes = attributes(given, false)?;
        number(self.driver.clusters(potential, function, geometry, &mut attributes)?)
    }

    pub(super) fn tensor_map_tiled(&self, map: &TensorMap) -> Step {
        let map = self.driver.tensor_map_tiled(map)?;
        Ok(Some(Value::Payload(Bytes::copy_from_slice(&map))))
    }

    pub(super) fn tensor_map_im2col(&self, map: &TensorMap, im2col: &Im2col<'_>) -> Step {
        let map = self.driver.tensor_map_im2col(map, im2col)?;
        Ok(Some(Value::Payload(Bytes::copy_from_slice(&map))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_with_handles_are_refused() {
        let one = |id, len| [LaunchAttribute { id, value: Bytes::from(vec![0xff; len]) }];
        for handle in [7, 12, 13, 15, 17, u32::MAX] {
            assert_eq!(attributes(&one(handle, 8), false).err(), Some(CuResult::NOT_SUPPORTED), "{handle}");
        }
        for plain in PLAIN_ATTRIBUTES {
            assert_eq!(attributes(&one(plain, 64), true).map(|raw| raw.len()), Ok(2), "{plain}");
        }
        assert_eq!(attributes(&one(4, 65), false).err(), Some(CuResult::INVALID_VALUE));
        assert_eq!(attributes(&[], false).map(|raw| raw.len()), Ok(0));
    }
}
