//! Kernel launches.

use std::sync::Arc;

use bytes::Bytes;
use rrto_core::api::CuResult;
use rrto_core::operator::{Geometry, Handle, Launch, LaunchAttribute, Operator};

use super::{Call, Kernel, done, handles};
use crate::marshal::{Extra, Params};

/// A kernel's arguments, in either of the two forms.
#[derive(Clone, Copy)]
pub(crate) struct Arguments {
    /// An address for each parameter.
    pub(crate) params: Params,
    /// The whole block.
    pub(crate) extra: Extra,
}

impl Arguments {
    /// The kernel's parameter block.
    fn block(&self, kernel: &Kernel) -> Result<Bytes, CuResult> {
        match (self.params.is_null(), self.extra.is_null()) {
            (true, false) => self.extra.block(kernel.unread()),
            (false, false) => Err(CuResult::INVALID_VALUE),
            _ => self.params.pack(kernel.params(), kernel.unread()),
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
        let checked = |kernel: &Arc<Kernel>| {
            self.check_geometry(kernel, &geometry)?;
            arguments.block(kernel)
        };
        let params = self.client.kernels.look(function, checked)??;
        let Manner { cooperative, attributes } = manner;
        let launch = Launch { function, geometry, stream, cooperative, attributes, params };
        self.send(Operator::Launch(launch)).map(done)
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
