//! Spans of sequences, as CUDA graphs where that is worth it.
//!
//! A span is cut into *pieces*: the longest stretches of launches, fills and copies that are all on one stream, and what
//! is between them. A stretch with [`MIN_LAUNCHES`] launches becomes a graph, which is captured from the very calls that
//! issue its operators one by one, but on a stream of our own, so that everything that a launch can have (clusters,
//! cooperation, programmatic dependence) is the driver's to take over. It is launched into the stream that the stretch
//! names, also into the legacy default stream, where nothing can be captured. It does there what its operators would
//! have done one by one: the same kernels with the same parameters in the same order.
//!
//! A graph is made when a span has been issued for the second time, once the device has that work to do meanwhile.
//! Whatever does not go as expected (a driver that cannot capture an operator, a graph that does not start) is issued
//! one by one, which gives the errors that the program would have seen; so graphs are never the cause of an error.
//!
//! A launch that is patched in one run changes its node of the executable graph for this and later runs; so the graph
//! remembers what its nodes are, and a node that is not patched in the next run is changed back.
//!
//! What a graph contains was checked when it was captured, and may have changed since. The ranges of copies and fills
//! are checked anew at each launch (see `memory`: a range may have been freed, and may be another session's by then), and
//! so is the stream. Graphs hold functions, and the attributes and limits with which they may be launched: all are
//! forgotten when code is unloaded or these change, which programs do before and after inferences but hardly in them.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use rrto_core::api::CuResult;
use rrto_core::operator::{Handle, Launch, MAX_SEQUENCES, Operator, Patch, Sequence, SequenceId, Span};

use super::context::CudaContext;
use super::driver::{Answer, Driver, Executable, Node, Stream};
use super::memory::fill_bytes;
use crate::device::SpanUse;

/// Launches that make a graph worth its own launch, which takes about as long as two of them.
const MIN_LAUNCHES: usize = 4;

/// Graphs of one sequence. A sequence has about a dozen segments; what is more comes from spans that were cut elsewhere
/// and are seldom.
const MAX_SEQUENCE_GRAPHS: usize = 64;

/// Graphs of a session: for every sequence that it may have the dozen that it is expected to need, since a graph takes
/// some kB of memory for each of its kernels.
const MAX_GRAPHS: usize = 512;

/// Spans of one sequence that are remembered for having been issued.
const MAX_SEQUENCE_SPANS: usize = 256;

/// Runs of a span after which its graphs are made.
const RUNS_BEFORE_GRAPH: u32 = 2;

/// `CU_STREAM_NON_BLOCKING`, so that capturing has nothing to do with the legacy default stream.
const NON_BLOCKING: u32 = 1;

/// A session's graphs.
pub(super) struct Graphs {
    driver: &'static Driver,
    /// Where graphs are captured; made when the first one is.
    stream: Option<Stream>,
    sequences: HashMap<SequenceId, HashMap<Place, Vec<Piece>>>,
    /// What has become of spans since this was asked last.
    pub(super) used: SpanUse,
}

/// Where a span is in its sequence: from, and how many.
type Place = (u32, u32);

/// A part of a span.
struct Piece {
    range: Range<u32>,
    state: State,
}

enum State {
    /// Issued one by one, always.
    Single,
    /// Issued one by one so many times on this stream, all of it without an error.
    Issued(Handle, u32),
    Built(Box<Built>),
}

/// A graph that can be launched.
struct Built {
    executable: Executable,
    stream: Handle,
    /// Kernel nodes by their place in the sequence, in order; without those that the driver did not tell.
    nodes: Vec<(u32, Node)>,
    /// What its copies and fills name.
    ranges: Vec<(u64, u64)>,
    /// How nodes differ from the sequence now.
    applied: Vec<Patch>,
}

/// The stream of an operator that can be captured.
fn stream_of(operator: &Operator) -> Option<Handle> {
    match operator {
        Operator::Memset { stream, .. }
        | Operator::CopyDevice { stream, .. }
        | Operator::Launch(Launch { stream, .. }) => Some(*stream),
        _ => None,
    }
}

/// Cuts a part of a sequence into pieces.
fn pieces(sequence: &Sequence, (from, count): Place) -> Vec<Piece> {
    let operators = sequence.operators().get(from as usize..(from + count) as usize).unwrap_or_default();
    let mut pieces: Vec<Piece> = Vec::new();
    let mut start = from;
    for stretch in operators.chunk_by(|one, next| stream_of(one) == stream_of(next)) {
        let launches = stretch.iter().filter(|operator| matches!(operator, Operator::Launch(_))).count();
        let end = start + stretch.len() as u32;
        let stream = stretch.first().and_then(stream_of).filter(|_| launches >= MIN_LAUNCHES);
        match (stream, pieces.last_mut()) {
            (Some(stream), _) => pieces.push(Piece { range: start..end, state: State::Issued(stream, 0) }),
            (None, Some(Piece { range, state: State::Single })) => range.end = end,
            (None, _) => pieces.push(Piece { range: start..end, state: State::Single }),
        }
        start = end;
    }
    pieces
}

/// The device memory that a copy or fill names: address and bytes.
fn ranges_of(operator: &Operator) -> Answer<[(u64, u64); 2]> {
    Ok(match *operator {
        Operator::Memset { address, pitch_bytes, element_bytes, width, height, .. } => {
            [(address, fill_bytes(pitch_bytes, element_bytes, width, height)?), (0, 0)]
        }
        Operator::CopyDevice { dst, src, bytes, .. } => [(dst, bytes), (src, bytes)],
        _ => [(0, 0); 2],
    })
}

impl Graphs {
    pub(super) fn new(driver: &'static Driver) -> Self {
        Graphs { driver, stream: None, sequences: HashMap::new(), used: SpanUse::default() }
    }

    /// Forgets all, to make them anew where they are still needed. Their context must be current.
    pub(super) fn forget(&mut self) {
        self.sequences.clear();
    }

    /// Forgets those of one sequence. Their context must be current.
    pub(super) fn retire(&mut self, sequence: SequenceId) {
        self.sequences.remove(&sequence);
    }

    /// Frees everything, because the session ends.
    pub(super) fn clear(&mut self) {
        self.forget();
        self.drop_stream();
    }

    /// The pieces of a span; to be given back.
    fn take(&mut self, sequence: &Sequence, span: &Span) -> Vec<Piece> {
        let place = (span.from, span.count);
        let known = self.sequences.get_mut(&span.sequence).and_then(|spans| spans.remove(&place));
        known.unwrap_or_else(|| pieces(sequence, place))
    }

    fn give_back(&mut self, span: &Span, pieces: Vec<Piece>) {
        let is_new = !self.sequences.contains_key(&span.sequence);
        if is_new && self.sequences.len() >= MAX_SEQUENCES {
            return;
        }
        let spans = self.sequences.entry(span.sequence).or_default();
        if spans.len() >= MAX_SEQUENCE_SPANS {
            // Those that were issued once or twice: the ones that are issued again and again come back.
            spans.retain(|_, pieces| pieces.iter().any(Piece::is_built));
        }
        spans.insert((span.from, span.count), pieces);
    }

    /// How many more graphs of this sequence may be made, besides those in `pieces`.
    fn room(&self, sequence: SequenceId, pieces: &[Piece]) -> usize {
        let here = pieces.iter().filter(|piece| piece.is_built()).count();
        let count = |spans: &HashMap<Place, Vec<Piece>>| {
            spans.values().flatten().filter(|piece| piece.is_built()).count()
        };
        let of_sequence = self.sequences.get(&sequence).map_or(0, count);
        let all: usize = self.sequences.values().map(count).sum();
        MAX_SEQUENCE_GRAPHS.saturating_sub(of_sequence + here).min(MAX_GRAPHS.saturating_sub(all + here))
    }

    fn take_stream(&mut self) -> Answer<Stream> {
        match self.stream.take() {
            Some(stream) => Ok(stream),
            None => self.driver.stream_create(NON_BLOCKING, 0),
        }
    }

    fn drop_stream(&mut self) {
        if let Some(Err(error)) = self.stream.take().map(|stream| self.driver.stream_destroy(stream)) {
            tracing::debug!(%error, "destroying the stream that graphs are captured on");
        }
    }
}

impl Piece {
    fn is_built(&self) -> bool {
        matches!(self.state, State::Built(_))
    }

    /// Whether a graph is worth changing its nodes for this run. Changing one takes about as long as launching a kernel.
    fn is_worth_a_graph(&self, span: &Span) -> bool {
        let patched = span.patches.iter().filter(|patch| self.range.contains(&patch.at)).count();
        2 * patched <= self.range.len()
    }

    /// Takes note that it was issued one by one, and whether without an error.
    fn note_issued(&mut self, good: bool) {
        match &mut self.state {
            State::Issued(_, runs) if good => *runs = runs.saturating_add(1),
            // What fails one by one is never captured.
            State::Issued(..) => self.state = State::Single,
            State::Single | State::Built(_) => {}
        }
    }

    /// The stream of a graph that is due to be made.
    fn is_due(&self) -> Option<Handle> {
        match self.state {
            State::Issued(stream, runs) if runs >= RUNS_BEFORE_GRAPH => Some(stream),
            _ => None,
        }
    }
}

impl CudaContext {
    /// Executes a span; gives the failures that show at once.
    pub(super) fn run_span(
        &mut self,
        first: u64,
        sequence: &Arc<Sequence>,
        span: &Span,
    ) -> Vec<(u64, CuResult)> {
        if let Err(error) = self.check_usable().and_then(|()| self.context.make_current()) {
            return (first..).take(span.count as usize).map(|number| (number, error)).collect();
        }
        let mut failures = Vec::new();
        let mut pieces = self.graphs.take(sequence, span);
        for piece in &mut pieces {
            let is_worth_it = piece.is_worth_a_graph(span);
            if is_worth_it && self.launch_graph(piece, sequence, span) {
                continue;
            }
            let before = failures.len();
            for at in piece.range.clone() {
                if let Err(error) = self.issue_at(at, sequence, span) {
                    failures.push((first + u64::from(at - span.from), error));
                }
            }
            self.graphs.used.single_operators += piece.range.len() as u64;
            let good = failures.len() == before;
            if is_worth_it || !good {
                piece.note_issued(good);
            }
        }
        self.build_due(sequence, span.sequence, &mut pieces);
        self.graphs.give_back(span, pieces);
        failures
    }

    /// Makes the graphs that are due. Where there is no room for one, its piece is issued one by one for good.
    fn build_due(&mut self, sequence: &Sequence, id: SequenceId, pieces: &mut [Piece]) {
        if !self.driver.has_graphs() || pieces.iter().all(|piece| piece.is_due().is_none()) {
            return;
        }
        let mut room = self.graphs.room(id, pieces);
        for piece in pieces {
            let Some(stream) = piece.is_due() else { continue };
            piece.state = match room.checked_sub(1) {
                Some(left) => {
                    room = left;
                    self.build(sequence, id, piece.range.clone(), stream)
                }
                None => State::Single,
            };
        }
    }

    fn issue_at(&mut self, at: u32, sequence: &Sequence, span: &Span) -> Answer<()> {
        self.check_usable()?;
        let operator = sequence.operator(at, span).ok_or(CuResult::INVALID_VALUE)?;
        let result = self.issue(&operator);
        self.note_fault(&result);
        result
    }

    /// Launches a piece's graph, if it has one that can be launched now; gives whether it has been.
    fn launch_graph(&mut self, piece: &mut Piece, sequence: &Sequence, span: &Span) -> bool {
        let State::Built(built) = &mut piece.state else { return false };
        let is_ours = |&(address, bytes): &(u64, u64)| self.check_range(address, bytes).is_ok();
        if !built.ranges.iter().all(is_ours) {
            return false;
        }
        let part = span.part(piece.range.clone());
        if part.patches.iter().any(|patch| built.node(patch.at).is_none()) {
            return false;
        }
        let Ok(stream) = self.streams.get(built.stream) else { return false };
        let patched = self.apply(built, sequence, part);
        match patched.and_then(|patched| built.executable.launch(stream).map(|()| patched)) {
            Ok(patched) => {
                self.graphs.used.patched_nodes += patched;
                self.graphs.used.graph_launches += 1;
                self.graphs.used.graph_operators += piece.range.len() as u64;
                true
            }
            Err(error) => {
                // Its nodes may now be anything.
                tracing::debug!(%error, from = piece.range.start, to = piece.range.end, "a graph is of no use");
                piece.state = State::Single;
                false
            }
        }
    }

    /// Makes the kernel nodes of a graph what they are in this part of a span; gives how many had to be changed.
    fn apply(&self, built: &mut Built, sequence: &Sequence, part: Span) -> Answer<u64> {
        if built.applied == part.patches {
            return Ok(0);
        }
        let mut changed = 0;
        let is_patched = |at: u32| part.patches.binary_search_by_key(&at, |patch| patch.at).is_ok();
        let back = built.applied.iter().filter(|patch| !is_patched(patch.at));
        let new = part.patches.iter().filter(|patch| !built.applied.contains(patch));
        for patch in back.chain(new) {
            let operator = sequence.operator(patch.at, &part).ok_or(CuResult::INVALID_VALUE)?;
            let Operator::Launch(launch) = &*operator else { return Err(CuResult::INVALID_VALUE) };
            let node = built.node(patch.at).ok_or(CuResult::INVALID_VALUE)?;
            let kernel = self.code.kernel(launch.function)?;
            let params = kernel.params_of(launch)?;
            built.executable.set_kernel(node, &kernel.function, &launch.geometry, params)?;
            changed += 1;
        }
        built.applied = part.patches;
        Ok(changed)
    }

    /// Makes a graph; what cannot become one is issued one by one for good.
    fn build(&mut self, sequence: &Sequence, id: SequenceId, range: Range<u32>, stream: Handle) -> State {
        let started = Instant::now();
        match self.capture(sequence, range.clone(), stream) {
            Ok(built) => {
                self.graphs.used.graph_builds += 1;
                let (from, to, kernels) = (range.start, range.end, built.nodes.len());
                let took = started.elapsed();
                tracing::debug!(sequence = id.0, from, to, kernels, ?took, "a graph has been built");
                State::Built(Box::new(built))
            }
            Err(error) => {
                let (from, to) = (range.start, range.end);
                tracing::debug!(sequence = id.0, from, to, %error, "no graph can be built");
                State::Single
            }
        }
    }

    fn capture(&mut self, sequence: &Sequence, range: Range<u32>, into: Handle) -> Answer<Built> {
        let stream = self.graphs.take_stream()?;
        let captured = self.capture_on(&stream, sequence, range, into);
        self.graphs.stream = Some(stream);
        if captured.is_err() {
            // It may still be capturing.
            self.graphs.drop_stream();
        }
        captured
    }

    fn capture_on(
        &self,
        stream: &Stream,
        sequence: &Sequence,
        range: Range<u32>,
        into: Handle,
    ) -> Answer<Built> {
        let operators = sequence.operators().get(range.start as usize..range.end as usize);
        let operators = operators.ok_or(CuResult::INVALID_VALUE)?;
        let (mut nodes, mut ranges) = (Vec::new(), Vec::new());
        self.driver.begin_capture(stream)?;
        let issued = range.zip(operators).try_for_each(|(at, operator)| {
            self.issue_on(operator, stream)?;
            ranges.extend(ranges_of(operator)?.into_iter().filter(|(_, bytes)| *bytes > 0));
            if let Operator::Launch(_) = operator {
                nodes.extend(self.driver.captured_node(stream).map(|node| (at, node)));
            }
            Ok(())
        });
        let graph = self.driver.end_capture(stream);
        issued?;
        let executable = graph?.instantiate()?;
        // Without it the first launch only takes longer.
        if let Err(error) = executable.upload(self.streams.get(into)?) {
            tracing::debug!(%error, "uploading a graph");
        }
        Ok(Built { executable, stream: into, nodes, ranges, applied: Vec::new() })
    }
}

impl Built {
    /// The kernel node at this place of the sequence.
    fn node(&self, at: u32) -> Option<&Node> {
        let found = self.nodes.binary_search_by_key(&at, |(at, _)| *at).ok()?;
        self.nodes.get(found).map(|(_, node)| node)
    }
}

#[cfg(test)]
#[path = "graphs_tests.rs"]
mod tests;
