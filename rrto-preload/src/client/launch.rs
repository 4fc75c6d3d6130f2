//! Kernel launches.

use std::sync::Arc;

use rrto_core::api::{CuResult, DeviceAttribute, FunctionAttribute};
use rrto_core::operator::{Geometry, Handle, LaunchAttribute, LaunchCall};

use super::{Call, Kernel, attributes, done, handles};
use crate::marshal::{Extra, ParamBlock, Params};

/// A kernel's arguments, in either of the two forms.
#[derive(Clone, Copy)]
pub(crate) struct Arguments {
    /// An address for each parameter.
    pub(crate) params: Params,
    /// The whole block.
    pub(crate) extra: Extra,
}

impl Arguments {
    /// Puts the kernel's parameter block into the empty `block`.
    fn put(&self, kernel: &Kernel, block: &mut ParamBlock) -> Result<(), CuResult> {
        match (self.params.is_null(), self.extra.is_null()) {
            (true, false) => self.extra.copy(kernel.unread(), block),
            (false, false) => Err(CuResult::INVALID_VALUE),
            _ => self.params.pack(kernel.params(), kernel.unread(), block),
        }
    }
}

/// How a launch is made, beside its geometry and arguments.
#[derive(Clone, Debug, Default)]
pub(crate) struct Manner {
    /// cuLaunchCooperativeKernel.
    pub(crate) cooperative: bool,
    /// Launch attributes.
    pub(crate) attributes: Vec<LaunchAttribute>,
}

impl Call<'_> {
    /// cuLaunchKernel and its relatives.
    pub(crate) fn launch(
        &self,
        function: usize,
        geometry: Geometry,
        stream: Handle,
        arguments: Arguments,
        manner: Manner,
    ) -> Result<(), CuResult> {
        let function = handles::handle(function)?;
        let mut params = ParamBlock::new();
        self.client.kernels.look(function, |kernel| {
            self.check_geometry(kernel, &geometry)?;
            arguments.put(kernel, &mut params)
        })??;
        if manner.cooperative || !manner.attributes.is_empty() {
            self.check_manner(function, &geometry, &manner)?;
        }
        self.order(Some(stream))?;
        let Manner { cooperative, attributes } = manner;
        let (attributes, params) = (&attributes[..], &params[..]);
        let launch = LaunchCall { function, geometry, stream, cooperative, attributes, params };
        self.outcome(self.client.remote.launch(self.lane, &launch)).map(done)
    }

    /// What the driver checks at once of a launch that is not a plain one.
    fn check_manner(&self, function: Handle, geometry: &Geometry, manner: &Manner) -> Result<(), CuResult> {
        let allows_large_clusters = |kernel: &Arc<Kernel>| {
            kernel
                .attribute(FunctionAttribute::NON_PORTABLE_CLUSTER_SIZE_ALLOWED)
                .is_ok_and(|value| value != 0)
        };
        let allows_large_clusters = self.client.kernels.look(function, allows_large_clusters)?;
        attributes::check(geometry, &manner.attributes, allows_large_clusters)?;
        if manner.cooperative || attributes::is_cooperative(&manner.attributes) {
            self.check_cooperative(function, geometry)?;
        }
        Ok(())
    }

    /// All blocks of a cooperative launch have to be resident at once. How many a multiprocessor holds is asked once.
    fn check_cooperative(&self, function: Handle, geometry: &Geometry) -> Result<(), CuResult> {
        // Where the device does not tell, the server has to.
        let Ok(multiprocessors) = self.client.device.attribute(DeviceAttribute::MULTIPROCESSOR_COUNT) else {
            return Ok(());
        };
        let product =
            |sides: &[u32; 3]| sides.iter().fold(1_u64, |all, &side| all.saturating_mul(side.into()));
        let threads = i32::try_from(product(&geometry.block)).map_err(|_| CuResult::INVALID_VALUE)?;
        let each =
            self.max_active_blocks(handles::visible(function), threads, geometry.shared_bytes.into(), 0)?;
        let most = i64::from(each).saturating_mul(multiprocessors.into());
        let fits = i64::try_from(product(&geometry.grid)).is_ok_and(|blocks| blocks <= most);
        if fits { Ok(()) } else { Err(CuResult::COOPERATIVE_LAUNCH_TOO_LARGE) }
    }

    /// What the driver checks at once.
    fn check_geometry(&self, kernel: &Kernel, geometry: &Geometry) -> Result<(), CuResult> {
        let (device, kernel) = (self.client.device.launch_limits(), kernel.launch_limits());
        let mut sides = geometry.grid.iter().chain(&geometry.block).zip(&device.sides);
        let threads = geometry.block.iter().fold(1_u64, |product, &side| product.saturating_mul(side.into()));
        let fits = sides.all(|(&side, &limit)| side != 0 && u64::from(side) <= limit)
            && threads <= device.block_threads
            && threads <= kernel.block_threads
            && u64::from(geometry.shared_bytes) <= kernel.shared_bytes;
        if fits { Ok(()) } else { Err(CuResult::INVALID_VALUE) }
    }
}
