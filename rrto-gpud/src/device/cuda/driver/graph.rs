//! CUDA graphs, in the current context: captured from what is issued on a stream.

use std::ffi::{c_int, c_void};
use std::ptr;

use cudarc::driver::sys::{CUDA_KERNEL_NODE_PARAMS_v2_st as KernelNode, CUgraph, CUgraphExec, CUgraphNode};
use rrto_core::api::CuResult;
use rrto_core::operator::Geometry;

use super::launch::ParamBlock;
use super::{Answer, Driver, Function, Stream, check, out};

/// `CU_STREAM_CAPTURE_MODE_RELAXED`: capturing here forbids nothing elsewhere, such as loading a kernel at its first
/// launch. The other modes are there to find calls that do not belong into a capture, and there are none.
const CAPTURE_RELAXED: c_int = 2;

/// A `CUgraph` that was captured.
pub(in crate::device::cuda) struct Graph {
    raw: CUgraph,
    driver: &'static Driver,
}

/// A `CUgraphExec`. Destroying it while it is being executed is safe: the driver frees it on completion.
pub(in crate::device::cuda) struct Executable {
    raw: CUgraphExec,
    /// Whose nodes name those of the executable.
    graph: Graph,
}

/// A `CUgraphNode`: good as long as its graph is there.
pub(in crate::device::cuda) struct Node(CUgraphNode);

impl Driver {
    /// Whether the driver has all functions that graphs need.
    pub(in crate::device::cuda) fn has_graphs(&self) -> bool {
        let f = &self.functions;
        f.cuStreamBeginCapture_v2.is_some()
            && f.cuStreamEndCapture.is_some()
            && f.cuGraphInstantiateWithFlags.is_some()
            && f.cuGraphLaunch.is_some()
            && f.cuGraphDestroy.is_some()
            && f.cuGraphExecDestroy.is_some()
    }

    /// `cuStreamBeginCapture`: what is issued on the stream from here on is not executed.
    pub(in crate::device::cuda) fn begin_capture(&self, stream: &Stream) -> Answer<()> {
        let begin = self.functions.cuStreamBeginCapture_v2.ok_or(CuResult::NOT_SUPPORTED)?;
        // SAFETY: the stream exists, and the mode is one that cuda.h has.
        check(unsafe { begin(stream.raw(), CAPTURE_RELAXED) })
    }

    /// The node that was captured last; `None` if the driver does not tell, or if there is not exactly one.
    pub(in crate::device::cuda) fn captured_node(&self, stream: &Stream) -> Option<Node> {
        let ask = self.functions.cuStreamGetCaptureInfo_v2?;
        let (mut status, mut nodes, mut count) = (0, ptr::null(), 0);
        let (no_id, no_graph) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: writes an enumeration, an address and a size_t; the id and the graph are not asked for. The stream
        // exists.
        let told =
            unsafe { ask(stream.raw(), &raw mut status, no_id, no_graph, &raw mut nodes, &raw mut count) };
        if check(told).is_err() || count != 1 || nodes.is_null() {
            return None;
        }
        // SAFETY: the driver has written the address of an array of `count` nodes, which lives until the next call that
        // concerns the stream.
        Some(Node(unsafe { *nodes }))
    }

    /// `cuStreamEndCapture`.
    pub(in crate::device::cuda) fn end_capture(&'static self, stream: &Stream) -> Answer<Graph> {
        let end = self.functions.cuStreamEndCapture.ok_or(CuResult::NOT_SUPPORTED)?;
        // SAFETY: writes one handle, which is null if the capture has failed; the stream exists.
        let raw = out(ptr::null_mut(), |graph| unsafe { end(stream.raw(), graph) })?;
        if raw.is_null() { Err(CuResult::UNKNOWN) } else { Ok(Graph { raw, driver: self }) }
    }
}

impl Graph {
    /// `cuGraphInstantiate`.
    pub(in crate::device::cuda) fn instantiate(self) -> Answer<Executable> {
        let instantiate = self.driver.functions.cuGraphInstantiateWithFlags.ok_or(CuResult::NOT_SUPPORTED)?;
        // SAFETY: writes one handle; the graph exists.
        let raw = out(ptr::null_mut(), |executable| unsafe { instantiate(executable, self.raw, 0) })?;
        Ok(Executable { raw, graph: self })
    }
}

impl Executable {
    /// `cuGraphUpload`: so that the next launch has less to do.
    pub(in crate::device::cuda) fn upload(&self, stream: &Stream) -> Answer<()> {
        let upload = self.graph.driver.functions.cuGraphUpload.ok_or(CuResult::NOT_SUPPORTED)?;
        // SAFETY: both exist.
        check(unsafe { upload(self.raw, stream.raw()) })
    }

    /// `cuGraphLaunch`.
    pub(in crate::device::cuda) fn launch(&self, stream: &Stream) -> Answer<()> {
        let launch = self.graph.driver.functions.cuGraphLaunch.ok_or(CuResult::NOT_SUPPORTED)?;
        // SAFETY: both exist. What its kernels do happens on the device, in the session's own address space, and what
        // its copies and fills name has been checked (`graphs`).
        check(unsafe { launch(self.raw, stream.raw()) })
    }

    /// `cuGraphExecKernelNodeSetParams`, for later launches: the node, which was captured into this graph, becomes this
    /// launch of the function that it is of. The parameter block is at least as long as the function's parameters.
    pub(in crate::device::cuda) fn set_kernel(
        &self,
        node: &Node,
        function: &Function,
        geometry: &Geometry,
        params: &[u8],
    ) -> Answer<()> {
        let set =
            self.graph.driver.functions.cuGraphExecKernelNodeSetParams_v2.ok_or(CuResult::NOT_SUPPORTED)?;
        let ([grid_x, grid_y, grid_z], [block_x, block_y, block_z]) = (geometry.grid, geometry.block);
        let mut block = ParamBlock::new(params);
        let launch = KernelNode {
            func: function.raw(),
            gridDimX: grid_x,
            gridDimY: grid_y,
            gridDimZ: grid_z,
            blockDimX: block_x,
            blockDimY: block_y,
            blockDimZ: block_z,
            sharedMemBytes: geometry.shared_bytes,
            kernelParams: ptr::null_mut::<*mut c_void>(),
            extra: block.extra(),
            kern: ptr::null_mut(),
            ctx: ptr::null_mut(),
        };
        // SAFETY: the executable and the function exist, and so does the node, because its graph does. `launch` is laid
        // out as cuda.h says; the driver copies the block, whose length it is told, before it returns.
        check(unsafe { set(self.raw, node.0, &raw const launch) })
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        let Some(destroy) = self.driver.functions.cuGraphDestroy else { return };
        // SAFETY: the graph exists, and its handle ends here.
        if let Err(error) = check(unsafe { destroy(self.raw) }) {
            tracing::debug!(%error, "destroying a graph");
        }
    }
}

impl Drop for Executable {
    fn drop(&mut self) {
        let Some(destroy) = self.graph.driver.functions.cuGraphExecDestroy else { return };
        // SAFETY: the executable exists, and its handle ends here.
        if let Err(error) = check(unsafe { destroy(self.raw) }) {
            // Only in a context that has failed; destroying that frees it.
            tracing::debug!(%error, "destroying an executable graph");
        }
    }
}
