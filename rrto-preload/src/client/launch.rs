//! Kernel launches.

use rrto_core::api::{CuResult, DeviceAttribute, FunctionAttribute};
use rrto_core::operator::{Geometry, Handle, Launch, LaunchAttribute, Operator};

use super::{Call, Kernel, done};
use crate::marshal::{Extra, Params};

/// A kernel's arguments, in either of the two forms.
#[derive(Clone, Copy)]
pub(crate) struct Arguments {
    /// An address for each parameter.
    pub(crate) params: Params,
    /// The whole block.
    pub(crate) extra: Extra,
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
        let (function, kernel) = self.client.kernel(function)?;
        self.check_geometry(&kernel, &geometry)?;
        let Manner { cooperative, attributes } = manner;
        let params = match (arguments.params.is_null(), arguments.extra.is_null()) {
            (true, false) => arguments.extra.block(kernel.unread())?,
            (false, false) => return Err(CuResult::INVALID_VALUE),
            _ => arguments.params.pack(kernel.params(), kernel.unread())?,
        };
        let launch = Launch { function, geometry, stream, cooperative, attributes, params };
        self.send(Operator::Launch(launch)).map(done)
    }

    /// What the driver checks at once.
    fn check_geometry(&self, kernel: &Kernel, geometry: &Geometry) -> Result<(), CuResult> {
        use DeviceAttribute as A;
        let device = &self.client.device;
        let limits = [
            [A::MAX_GRID_DIM_X, A::MAX_GRID_DIM_Y, A::MAX_GRID_DIM_Z],
            [A::MAX_BLOCK_DIM_X, A::MAX_BLOCK_DIM_Y, A::MAX_BLOCK_DIM_Z],
        ];
        let dimensions = geometry.grid.iter().chain(&geometry.block).zip(limits.as_flattened());
        for (&dimension, &limit) in dimensions {
            if dimension == 0 || u64::from(dimension) > device.limit(limit) {
                return Err(CuResult::INVALID_VALUE);
            }
        }
        let threads = geometry.block.iter().fold(1_u64, |product, &side| product.saturating_mul(side.into()));
        let fits = threads <= device.limit(A::MAX_THREADS_PER_BLOCK)
            && threads <= kernel.limit(FunctionAttribute::MAX_THREADS_PER_BLOCK)
            && u64::from(geometry.shared_bytes)
                <= kernel.limit(FunctionAttribute::MAX_DYNAMIC_SHARED_SIZE_BYTES);
        if fits { Ok(()) } else { Err(CuResult::INVALID_VALUE) }
    }
}
