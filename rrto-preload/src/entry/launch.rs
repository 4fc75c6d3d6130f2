//! Launches.

use rrto_core::operator::Geometry;

use super::exports;
use crate::client::{Arguments, Manner};
use crate::marshal::{Extra, In, LaunchConfig, Params};
use crate::runtime;

exports! {
    fn cuLaunchKernel / cuLaunchKernel_ptsz(
        function: usize,
        grid_x: u32,
        grid_y: u32,
        grid_z: u32,
        block_x: u32,
        block_y: u32,
        block_z: u32,
        shared_bytes: u32,
        stream: usize,
        params: Params,
        extra: Extra,
    ) |default| {
        let call = runtime::call()?;
        let geometry =
            Geometry { grid: [grid_x, grid_y, grid_z], block: [block_x, block_y, block_z], shared_bytes };
        let stream = call.stream(stream, default)?;
        call.launch(function, geometry, stream, Arguments { params, extra }, Manner::default())
    }

    fn cuLaunchCooperativeKernel / cuLaunchCooperativeKernel_ptsz(
        function: usize,
        grid_x: u32,
        grid_y: u32,
        grid_z: u32,
        block_x: u32,
        block_y: u32,
        block_z: u32,
        shared_bytes: u32,
        stream: usize,
        params: Params,
    ) |default| {
        let call = runtime::call()?;
        let geometry =
            Geometry { grid: [grid_x, grid_y, grid_z], block: [block_x, block_y, block_z], shared_bytes };
        let stream = call.stream(stream, default)?;
        let manner = Manner { cooperative: true, ..Manner::default() };
        call.launch(function, geometry, stream, Arguments { params, extra: Extra::none() }, manner)
    }

    fn cuLaunchKernelEx / cuLaunchKernelEx_ptsz(
        config: In<LaunchConfig>,
        function: usize,
        params: Params,
        extra: Extra,
    ) |default| {
        let call = runtime::call()?;
        let config = config.get()?;
        let stream = call.stream(config.stream, default)?;
        let manner = Manner { cooperative: false, attributes: config.attributes()? };
        call.launch(function, config.geometry(), stream, Arguments { params, extra }, manner)
    }
}
