//! Data dependencies between the operators of a stretch: the *relationship graph* of the RRTO paper (section IV-B,
//! Algorithm 3), which takes operators that depend on no other as possible starts of an inference, and operators on
//! which none depends as its possible ends.
//!
//! An operator depends on another
//! - by device memory: copies and fills access exactly what they say. A launch may read and write all of every
//!   allocation that an aligned 8-byte word of its parameter block points into, because a kernel may go from a
//!   pointer in either direction. Where a program's allocator gives many tensors one allocation, dependencies are
//!   therefore coarser than the program's own.
//! - by handle: a wait for an event on its latest record, a record or synchronisation on the operators of the stream
//!   before it, and whatever follows a wait in its stream on that wait.
//!
//! That operators of one stream are executed in order is implied and gives no edge.

mod memory;
mod pieces;

use std::collections::HashMap;
use std::ops::Range;

pub use memory::{ALLOCATION_BYTES, MAX_ALLOCATIONS, Memory};
use pieces::Pieces;

use crate::operator::{Handle, Launch, Operator, StreamEffect};

/// Why one operator must come after another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum EdgeKind {
    /// It reads what the other has written.
    Flow,
    /// It overwrites what the other has read or written: no result passes, but the order counts.
    Overwrite,
    /// It waits for the other, by an event or a stream.
    Handle,
}

/// A dependency: `to` depends on `from`. Both are places in the stretch, and `from < to`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Edge {
    /// The earlier operator.
    pub from: u32,
    /// The later operator.
    pub to: u32,
    /// Why.
    pub kind: EdgeKind,
}

/// The steps that building one graph may take: words and pieces of memory looked at, and edges found. An inference of
/// a large detection model takes some hundred thousand.
const MAX_STEPS: usize = 512 << 10;

/// A stretch whose graph would take more than a bounded number of steps.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("there are too many dependencies")]
pub struct TooEntangled;

/// The dependencies of a stretch of operators.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Graph {
    operators: u32,
    edges: Vec<Edge>,
}

impl Graph {
    /// The dependencies between `operators`, with the program's memory as it is now.
    ///
    /// # Errors
    /// If they are too many to be found in bounded time.
    pub fn of<'a>(
        operators: impl IntoIterator<Item = &'a Operator>,
        memory: &Memory,
    ) -> Result<Graph, TooEntangled> {
        let mut building = Building {
            memory,
            hull: memory.hull(),
            pieces: Pieces::default(),
            streams: HashMap::new(),
            records: HashMap::new(),
            edges: Vec::new(),
            steps: 0,
        };
        let mut count = 0;
        for operator in operators {
            building.add(count, operator)?;
            count += 1;
        }
        let mut edges = building.edges;
        edges.sort_unstable();
        edges.dedup();
        Ok(Graph { operators: count, edges })
    }

    /// All dependencies, in order.
    pub fn edges(&self) -> &[Edge] {
        &self.edges
    }

    /// Start operators: those that get nothing from another one, in order. That one overwrites something counts
    /// not: the input of the second inference overwrites that of the first.
    pub fn starts(&self) -> Vec<u32> {
        self.without(|edge| edge.to)
    }

    /// End operators: those from which no other one gets anything, in order.
    pub fn ends(&self) -> Vec<u32> {
        self.without(|edge| edge.from)
    }

    /// The operators that are not the `end` of any edge along which something passes.
    fn without(&self, end: impl Fn(&Edge) -> u32) -> Vec<u32> {
        let mut has_edge = vec![false; self.operators as usize];
        for edge in self.edges.iter().filter(|edge| edge.kind != EdgeKind::Overwrite) {
            if let Some(has_edge) = has_edge.get_mut(end(edge) as usize) {
                *has_edge = true;
            }
        }
        (0..self.operators).zip(has_edge).filter(|(_, has_edge)| !has_edge).map(|(at, _)| at).collect()
    }
}

/// What is known of a stream at a place of the stretch.
#[derive(Clone, Copy, Default)]
struct Stream {
    /// Its latest operator.
    latest: Option<u32>,
    /// Its latest wait, until something has followed it.
    wait: Option<u32>,
}

struct Building<'a> {
    memory: &'a Memory,
    hull: Range<u64>,
    pieces: Pieces,
    streams: HashMap<Handle, Stream>,
    /// Latest record by event.
    records: HashMap<Handle, u32>,
    edges: Vec<Edge>,
    steps: usize,
}

impl Building<'_> {
    fn add(&mut self, at: u32, operator: &Operator) -> Result<(), TooEntangled> {
        self.add_handles(at, operator);
        match operator {
            Operator::CopyIn { dst, bytes, .. } => self.write(at, range(*dst, *bytes)),
            Operator::CopyOut { src, bytes, .. } => self.read(at, range(*src, *bytes)),
            Operator::CopyDevice { dst, src, bytes, .. } => {
                self.read(at, range(*src, *bytes));
                self.write(at, range(*dst, *bytes));
            }
            Operator::Memset { address, pitch_bytes, element_bytes, width, height, .. } => {
                let row_bytes = width.saturating_mul(u64::from(*element_bytes));
                // What is between the rows counts as written: nobody keeps anything else there.
                let rows = height.saturating_sub(1).saturating_mul(*pitch_bytes);
                self.write(at, range(*address, rows.saturating_add(row_bytes)));
            }
            Operator::Launch(launch) => self.add_launch(at, launch)?,
            _ => {}
        }
        if self.steps + self.pieces.steps + self.edges.len() > MAX_STEPS { Err(TooEntangled) } else { Ok(()) }
    }

    fn add_launch(&mut self, at: u32, launch: &Launch) -> Result<(), TooEntangled> {
        let (words, _) = launch.params.as_chunks::<8>();
        self.steps += words.len();
        if self.steps > MAX_STEPS {
            return Err(TooEntangled);
        }
        let addresses = words.iter().map(|word| u64::from_le_bytes(*word));
        let mut reached: Vec<Range<u64>> = addresses
            .filter(|address| self.hull.contains(address))
            .filter_map(|address| self.memory.allocation(address))
            .collect();
        reached.sort_unstable_by_key(|range| range.start);
        reached.dedup();
        // It reads all before it writes any: no launch depends on itself.
        for range in &reached {
            self.read(at, range.clone());
        }
        for range in reached {
            self.write(at, range);
        }
        Ok(())
    }

    fn add_handles(&mut self, at: u32, operator: &Operator) {
        match operator {
            Operator::EventRecord { event, stream, .. } => {
                self.follow(at, *stream);
                self.records.insert(*event, at);
            }
            Operator::StreamWaitEvent { stream, event, .. } => {
                self.follow_record(at, *event);
                self.follow_wait(at, *stream);
                self.streams.insert(*stream, Stream { latest: Some(at), wait: Some(at) });
            }
            Operator::EventSynchronize { event } => self.follow_record(at, *event),
            Operator::StreamSynchronize { stream } => self.follow(at, *stream),
            Operator::ContextSynchronize => {
                let mut latest: Vec<u32> = self.streams.values().filter_map(|stream| stream.latest).collect();
                latest.sort_unstable();
                latest.into_iter().for_each(|from| self.edge(from, at, EdgeKind::Handle));
            }
            Operator::CopyIn { stream, .. } => self.work(at, *stream),
            _ => match operator.stream_effect() {
                StreamEffect::Work(stream) | StreamEffect::Completes(stream) => self.work(at, stream),
                StreamEffect::None | StreamEffect::CompletesAll => {}
            },
        }
    }

    /// The operator at `at` is work on `stream`.
    fn work(&mut self, at: u32, stream: Handle) {
        self.follow_wait(at, stream);
        self.streams.insert(stream, Stream { latest: Some(at), wait: None });
    }

    fn follow(&mut self, at: u32, stream: Handle) {
        let latest = self.streams.get(&stream).and_then(|stream| stream.latest);
        latest.into_iter().for_each(|from| self.edge(from, at, EdgeKind::Handle));
    }

    fn follow_wait(&mut self, at: u32, stream: Handle) {
        let wait = self.streams.get(&stream).and_then(|stream| stream.wait);
        wait.into_iter().for_each(|from| self.edge(from, at, EdgeKind::Handle));
    }

    fn follow_record(&mut self, at: u32, event: Handle) {
        let record = self.records.get(&event).copied();
        record.into_iter().for_each(|from| self.edge(from, at, EdgeKind::Handle));
    }

    fn read(&mut self, at: u32, range: Range<u64>) {
        let Building { pieces, edges, .. } = self;
        pieces.read(range, at, |from| push_edge(edges, from, at, EdgeKind::Flow));
    }

    fn write(&mut self, at: u32, range: Range<u64>) {
        let Building { pieces, edges, .. } = self;
        pieces.write(range, at, |from| push_edge(edges, from, at, EdgeKind::Overwrite));
    }

    fn edge(&mut self, from: u32, to: u32, kind: EdgeKind) {
        push_edge(&mut self.edges, from, to, kind);
    }
}

/// Adds an edge, unless it leads to where it comes from or is the same as the last one.
fn push_edge(edges: &mut Vec<Edge>, from: u32, to: u32, kind: EdgeKind) {
    let edge = Edge { from, to, kind };
    if from != to && edges.last() != Some(&edge) {
        edges.push(edge);
    }
}

fn range(start: u64, bytes: u64) -> Range<u64> {
    start..start.saturating_add(bytes)
}

#[cfg(test)]
mod tests;
